package erofs

import (
	"cmp"
	"fmt"
	"io"
	"runtime"
	"strings"
	"unsafe"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/member"
)

// Options is what a layer's image is made for.
type Options struct {
	// UserXattr marks opaque directories with user.overlay.opaque, for overlayfs with userxattr, in the place of
	// trusted.overlay.opaque.
	UserXattr bool
	// MaxCopy limits what of one sparse file may be copied into the image, and the size of its map, in bytes; 0 is
	// 1 GiB. Only a file whose data does not stand on blocks of the tar, or that is cut into very many pieces, needs it.
	MaxCopy int64
	// MaxMemory limits what the Builder holds, in bytes; 0 is 1 GiB. A layer of a million entries needs a tenth of it.
	MaxMemory int64
}

// Builder collects the members of a layer. It holds some sixty bytes for each, and its name, outside of Go's heap.
type Builder struct {
	opts     Options
	arena    *arena
	tree     *nodeTree
	text     text // targets of symbolic links
	attrs    interned[attr]
	xattrs   *xattrTable
	maps     []chunkMap
	segments int64    // in maps
	parent   struct { // where the last member was, as long as nothing has been replaced
		path string
		dir  ref
	}
	tarEnd int64 // where the last content ends
	total  int64 // bytes of all contents
}

// attr is what many inodes share.
type attr struct {
	uid, gid, xattrs uint32 // xattrs is a set of Builder.xattrs
	mode             uint16
}

// interned gives each distinct value one number.
type interned[T comparable] struct {
	values  []T
	numbers map[T]uint32
}

func (i *interned[T]) number(v T) uint32 {
	n, ok := i.numbers[v]
	if !ok {
		if i.numbers == nil {
			i.numbers = map[T]uint32{}
		}
		n = uint32(len(i.values))
		i.values, i.numbers[v] = append(i.values, v), n
	}
	return n
}

// NewBuilder returns a Builder without a member.
func NewBuilder(opts Options) *Builder {
	opts.MaxCopy = cmp.Or(opts.MaxCopy, 1<<30)
	opts.MaxMemory = cmp.Or(opts.MaxMemory, 1<<30)
	a := &arena{}
	b := &Builder{opts: opts, arena: a, tree: newTree(a), text: text{arena: a}, xattrs: newXattrTable(opts.UserXattr)}
	runtime.AddCleanup(b, (*arena).free, a)
	b.tree.at(root).attr = b.attrs.number(attr{mode: 0o755})
	b.parent.dir = root
	return b
}

// Build returns a Builder with the members of r up to its end. r must have been made with Offsets, over the whole stream
// that is kept as the tar: io.TeeReader writes it meanwhile. An error about a member is a *fault.Error that names it;
// others are those of r.
func Build(r *member.Reader, opts Options) (*Builder, error) {
	b := NewBuilder(opts)
	for {
		m, err := r.Next()
		if err == io.EOF {
			return b, nil
		}
		if err == nil {
			err = b.Add(m)
		}
		if err != nil {
			b.release()
			return nil, err
		}
	}
}

// Add takes the next member of the stream; of a file it keeps where the content is, so the member must come from a
// Reader with Offsets. It keeps nothing of m itself. An error is a *fault.Error that names the member; the Builder is
// of no use after one.
func (b *Builder) Add(m *member.Member) error {
	defer runtime.KeepAlive(b)
	b.total += m.Size
	if err := b.apply(m); err != nil {
		return &fault.Error{Op: "layer", Path: "/" + m.Path, Err: err, Phase: fault.PhasePlan}
	}
	return nil
}

// memory is about how many bytes the Builder holds.
func (b *Builder) memory() int64 {
	const (
		perAttr    = 64
		perSegment = int64(unsafe.Sizeof(member.Segment{}))
	)
	return b.arena.size() + 2*perAttr*int64(len(b.attrs.values)) + b.xattrs.held + b.segments*perSegment +
		4*int64(len(b.tree.buckets))
}

// release gives the memory back; nothing is left of b.
func (b *Builder) release() {
	b.arena.free()
	*b = Builder{}
}

func (b *Builder) apply(m *member.Member) error {
	if held := b.memory(); held > b.opts.MaxMemory || b.tree.full() || b.text.full() {
		return fmt.Errorf("what the layer says of its files takes %d MiB, too much for an EROFS image%s", held>>20, elsewhere)
	}
	switch m.Kind {
	case member.Opaque:
		r, err := b.directory(m.Path)
		if err == nil {
			b.tree.at(r).marks |= opaque
		}
		return err
	case member.Dir:
		return b.dir(m)
	}
	dir, name, err := b.split(m.Path)
	if err != nil {
		return err
	}
	switch m.Kind {
	case member.Whiteout:
		b.tree.at(b.named(dir, name)).marks |= hidden
		return nil
	case member.Link:
		return b.link(dir, name, m.Target)
	}
	return b.inode(dir, name, m)
}

// elsewhere is the way out for what only this backend cannot hold.
const elsewhere = "; the directory backend can hold it (--backend=dir)"

// dir makes a directory, or gives the one that is there its attributes.
func (b *Builder) dir(m *member.Member) error {
	r := root
	if m.Path != "" {
		parent, name, err := b.split(m.Path)
		if err != nil {
			return err
		}
		r = b.named(parent, name)
		if b.tree.at(r).kind != kindDir {
			r = b.replace(r, kindDir)
		}
	}
	a, err := b.attr(m)
	if err != nil {
		return err
	}
	n := b.tree.at(r)
	n.attr, n.marks = a, n.marks&^madeUp
	setTime(n, m)
	return nil
}

// inode makes all that is neither a directory nor a link.
func (b *Builder) inode(dir ref, name string, m *member.Member) error {
	a, err := b.attr(m)
	if err != nil {
		return err
	}
	var made node
	switch m.Kind {
	case member.File:
		made.kind = kindFile
		err = b.content(&made, m)
	case member.Symlink:
		made.kind = kindSymlink
		err = b.target(&made, m.Target)
	case member.Char:
		made.kind = kindChar
		if m.Major|m.Minor == 0 {
			return fmt.Errorf("a character device 0:0, which overlayfs takes for a whiteout; the layer must be made without it")
		}
		made.data, err = deviceOf(m)
	case member.Block:
		made.kind = kindBlock
		made.data, err = deviceOf(m)
	case member.Fifo:
		made.kind = kindFifo
	default:
		err = fmt.Errorf("a member of kind %d", m.Kind)
	}
	if err != nil {
		return err
	}
	n := b.tree.at(b.replace(b.named(dir, name), made.kind))
	n.attr, n.data, n.size, n.marks = a, made.data, made.size, n.marks|made.marks
	setTime(n, m)
	return nil
}

func setTime(n *node, m *member.Member) {
	n.mtime, n.nsec = m.MTime.Unix(), uint32(m.MTime.Nanosecond())
}

func deviceOf(m *member.Member) (uint32, error) {
	d := device(m.Major, m.Minor)
	if major, minor := deviceNumbers(d); major != m.Major || minor != m.Minor {
		return 0, fmt.Errorf("device %d:%d: Linux has majors up to 4095 and minors up to 1048575", m.Major, m.Minor)
	}
	return d, nil
}

func (b *Builder) target(n *node, to string) error {
	switch {
	case to == "":
		return fmt.Errorf("a symbolic link to nothing")
	case len(to) > maxTarget:
		return fmt.Errorf("the target of the symbolic link has %d bytes; Linux takes up to %d", len(to), maxTarget)
	case strings.IndexByte(to, 0) >= 0:
		return fmt.Errorf("a NUL in the target of the symbolic link")
	}
	n.data, n.size = b.text.put([]byte(to)), int64(len(to))
	return nil
}

// link makes another name of what target is. To what has that name already it does nothing.
func (b *Builder) link(dir ref, name, target string) error {
	to := b.find(target)
	if to == 0 {
		return fmt.Errorf("a hard link to /%s, which is not in this layer before it", target)
	}
	if b.tree.at(to).kind == kindDir {
		return fmt.Errorf("a hard link to /%s, a directory", target)
	}
	to = b.tree.inode(to)
	r := b.named(dir, name)
	if b.tree.inode(r) == to {
		return nil
	}
	b.tree.at(to).marks |= linked
	n := b.tree.at(b.replace(r, kindLink))
	n.data = uint32(to)
	return nil
}

// named returns the node called name in a directory; it makes an absent one where there is none.
func (b *Builder) named(dir ref, name string) ref {
	bytes := []byte(name)
	if r := b.tree.child(dir, bytes); r != 0 {
		return r
	}
	return b.tree.add(dir, bytes)
}

// replace empties a node to become something else, and returns the one that has its name from now on: another one if
// what was there has other names. What a directory held is removed; that a whiteout named it remains.
func (b *Builder) replace(r ref, k kind) ref {
	t, n := b.tree, b.tree.at(r)
	if n.kind != kindAbsent { // the path of the parent may lead over it: symlink c to ., file c/c
		b.parent.path, b.parent.dir = "", root
	}
	if n.kind == kindDir {
		t.clear(r)
	}
	keep := n.marks & hidden
	if n.marks&linked != 0 {
		t.unhash(r)
		r = t.add(n.parent, t.name(n))
		n = t.at(r)
	}
	*n = node{name: n.name, nameLen: n.nameLen, parent: n.parent, next: n.next, chain: n.chain, kind: k, marks: keep}
	return r
}

// attr returns the number of what m says of mode, owner and extended attributes.
func (b *Builder) attr(m *member.Member) (uint32, error) {
	set, err := b.xattrs.set(m.Xattrs)
	mode := uint16(m.Mode & 0o7777)
	if m.Kind == member.Symlink {
		mode = 0o777 // symlink(7)
	}
	return b.attrs.number(attr{uid: m.UID, gid: m.GID, mode: mode, xattrs: set}), err
}
