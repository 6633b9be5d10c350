package erofs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"time"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/member"
)

var errCorrupt = errors.New("the image is damaged")

// Image reads an image that Write wrote, without mounting it and so without privileges. Several goroutines may use it if
// they may use the files.
type Image struct {
	meta, tar io.ReaderAt
	super     super
	overlay   string
}

// Node is one name in an image. Its Member says what the layer means: a character device 0:0 is a Whiteout, escaped
// attributes have their own names, and of overlayfs's marks only that of an opaque directory is told. Data is not set; Content reads.
type Node struct {
	member.Member
	Number uint64 // of the inode: names with the same are hard links
	Links  uint32
	Opaque bool

	layout  uint16
	union   uint32
	inline  int64 // where inline data or the chunks' indexes stand
	rawMode uint16
	marks   string // overlayfs's own attributes
}

// Open returns the image in meta over the layer's tar. The files stay the caller's. opts are those of the Builder.
func Open(meta, tar io.ReaderAt, opts Options) (*Image, error) {
	i := &Image{meta: meta, tar: tar, overlay: newXattrTable(opts.UserXattr).overlay()}
	if err := i.open(); err != nil {
		return nil, &fault.Error{Op: "open", Path: "the EROFS image of a layer", Err: err, Phase: fault.PhaseState}
	}
	return i, nil
}

func (i *Image) open() error {
	b, err := i.read(superOffset, blockSize)
	switch {
	case err != nil:
		return err
	case le.Uint32(b) != magic:
		return errors.New("no EROFS image")
	case b[12] != blockBits || le.Uint32(b[80:]) != supportedIncompat || le.Uint16(b[86:]) != 1 ||
		le.Uint16(b[88:]) != (superOffset+superSize)/slotSize:
		return errors.New("an EROFS image that Berth did not write")
	}
	want := le.Uint32(b[4:])
	le.PutUint32(b[4:], 0)
	if checksum(b) != want {
		return fmt.Errorf("%w: the superblock's checksum is wrong", errCorrupt)
	}
	i.super = super{
		root: uint64(le.Uint16(b[14:])), inodes: le.Uint64(b[16:]), blocks: le.Uint32(b[36:]),
		xattrBlock: le.Uint32(b[44:]), tarBlocks: le.Uint32(b[superSize+64:]),
		uuid: [16]byte(b[48:]), tag: [64]byte(b[superSize:]),
	}
	return nil
}

// DiffID is the digest that the image was written for.
func (i *Image) DiffID() string { return "sha256:" + string(i.super.tag[:]) }

// Root returns the root directory, whose Path is "".
func (i *Image) Root() (Node, error) { return i.node(i.super.root, "") }

// Lookup returns what clean path p names. Symbolic links are not followed: it asks for the path in this layer alone.
// Where there is nothing the error is fs.ErrNotExist.
func (i *Image) Lookup(p string) (Node, error) {
	n, err := i.Root()
	for part := range strings.SplitSeq(p, "/") {
		if p == "" || err != nil {
			break
		}
		if n.Kind != member.Dir {
			return Node{}, fs.ErrNotExist
		}
		n, err = i.child(n, part)
	}
	return n, err
}

// child finds a name by halving the directory's blocks.
func (i *Image) child(d Node, name string) (Node, error) {
	lo, hi := int64(0), (d.Size-1)/blockSize
	for lo < hi {
		middle := (lo + hi + 1) / 2
		names, err := i.dirBlock(d, middle)
		if err != nil {
			return Node{}, err
		}
		if names[0].name <= name {
			lo = middle
		} else {
			hi = middle - 1
		}
	}
	names, err := i.dirBlock(d, lo)
	if err != nil {
		return Node{}, err
	}
	at, ok := slices.BinarySearchFunc(names, name, func(e dirent, name string) int { return strings.Compare(e.name, name) })
	if !ok {
		return Node{}, fs.ErrNotExist
	}
	return i.node(names[at].number, join(d.Path, name))
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// ReadDir returns what is in a directory in the order of the names, as bytes. It ends at the first error.
func (i *Image) ReadDir(d Node) iter.Seq2[Node, error] {
	return func(yield func(Node, error) bool) {
		for block := int64(0); block*blockSize < d.Size; block++ {
			names, err := i.dirBlock(d, block)
			if err != nil {
				yield(Node{}, err)
				return
			}
			for _, e := range names {
				if e.name == "." || e.name == ".." {
					continue
				}
				n, err := i.node(e.number, join(d.Path, e.name))
				if err == nil && entryTypeOf(n.rawMode) != e.typ {
					err = i.damaged(n.Path, "the directory and the inode name different types")
				}
				if !yield(n, err) || err != nil {
					return
				}
			}
		}
	}
}

// Walk returns all of the image, each directory before what is in it. It ends at the first error.
func (i *Image) Walk() iter.Seq2[Node, error] {
	return func(yield func(Node, error) bool) {
		n, err := i.Root()
		if !yield(n, err) || err != nil {
			return
		}
		seen := map[uint64]bool{}
		for todo := []Node{n}; len(todo) > 0; {
			d := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			if seen[d.Number] {
				yield(Node{}, i.damaged(d.Path, "a directory that is in another place, too"))
				return
			}
			seen[d.Number] = true
			first := len(todo)
			for n, err := range i.ReadDir(d) {
				if !yield(n, err) || err != nil {
					return
				}
				if n.Kind == member.Dir {
					todo = append(todo, n)
				}
			}
			slices.Reverse(todo[first:])
		}
	}
}

type dirent struct {
	name   string
	number uint64
	typ    byte
}

// dirBlock returns the entries of one block of a directory, at least one.
func (i *Image) dirBlock(d Node, block int64) ([]dirent, error) {
	b := make([]byte, min(blockSize, d.Size-block*blockSize))
	if err := i.readData(d, b, block*blockSize); err != nil {
		return nil, err
	}
	bad := func() ([]dirent, error) { return nil, i.damaged(d.Path, "a block of the directory") }
	if len(b) < direntSize {
		return bad()
	}
	count := int(le.Uint16(b[8:])) / direntSize
	if count == 0 || count*direntSize > len(b) {
		return bad()
	}
	out := make([]dirent, count)
	end := len(b)
	for k := count - 1; k >= 0; k-- {
		e := b[k*direntSize:]
		start := int(le.Uint16(e[8:]))
		if start < count*direntSize || start > end {
			return bad()
		}
		name := b[start:end]
		if k == count-1 {
			name, _, _ = bytes.Cut(name, []byte{0})
		}
		if len(name) == 0 || len(name) > maxName || bytes.IndexByte(name, '/') >= 0 {
			return bad()
		}
		out[k] = dirent{name: string(name), number: le.Uint64(e), typ: e[10]}
		end = start
	}
	return out, nil
}

// node reads an inode.
func (i *Image) node(number uint64, path string) (Node, error) {
	if number > uint64(i.super.blocks)*blockSize/inodeAlign {
		return Node{}, i.damaged(path, "no such inode")
	}
	at := int64(number) * inodeAlign
	b, err := i.read(at, inodeSize)
	if err != nil {
		return Node{}, err
	}
	var raw inode
	raw.get(b)
	n := Node{
		Number: number, Links: raw.nlink, layout: raw.layout, union: raw.union, rawMode: raw.mode,
		Member: member.Member{
			Path: path, Mode: uint32(raw.mode) & 0o7777, UID: raw.uid, GID: raw.gid, Size: int64(raw.size),
			MTime: time.Unix(raw.mtime, int64(raw.nsec)),
		},
	}
	if le.Uint16(b)&extended == 0 || n.Size < 0 || raw.nsec >= 1e9 {
		return Node{}, i.damaged(path, "its inode")
	}
	body := int64(0)
	if raw.xattrCount > 0 {
		body = xattrHeader + 4*int64(raw.xattrCount-1)
		if err := i.xattrs(&n, at+inodeSize, body); err != nil {
			return Node{}, err
		}
	}
	n.inline = at + inodeSize + body
	return n, i.kind(&n)
}

// kind sets what depends on the type of the inode.
func (i *Image) kind(n *Node) error {
	switch n.rawMode & modeType {
	case modeFile:
		n.Kind = member.File
		return nil
	case modeDir:
		if n.Kind = member.Dir; n.Size < 1 || n.Size > int64(i.super.blocks)*blockSize {
			return i.damaged(n.Path, "the size of the directory")
		}
		return nil
	case modeSymlink:
		if n.Kind = member.Symlink; n.Size < 1 || n.Size > maxTarget {
			return i.damaged(n.Path, "the size of the symbolic link")
		}
		to := make([]byte, n.Size)
		err := i.readData(*n, to, 0)
		n.Target, n.Size = string(to), 0
		return err
	case modeChar:
		if n.Kind = member.Char; n.union == 0 {
			n.Kind = member.Whiteout
		}
	case modeBlock:
		n.Kind = member.Block
	case modeFifo:
		n.Kind = member.Fifo
		return nil
	default:
		return i.damaged(n.Path, "its type")
	}
	n.Major, n.Minor = deviceNumbers(n.union)
	return nil
}

func entryTypeOf(mode uint16) byte {
	return map[uint16]byte{
		modeFile: typeFile, modeDir: typeDir, modeSymlink: typeSymlink, modeChar: typeChar, modeBlock: typeBlock,
		modeFifo: typeFifo,
	}[mode&modeType]
}

// xattrs reads the extended attributes behind an inode, length bytes at the place at.
func (i *Image) xattrs(n *Node, at, length int64) error {
	b, err := i.read(at, length)
	if err != nil {
		return err
	}
	count := int(b[4])
	if xattrHeader+4*count > len(b) {
		return i.damaged(n.Path, "its extended attributes")
	}
	var all []member.Xattr
	for k := range count {
		x, err := i.sharedXattr(le.Uint32(b[xattrHeader+4*k:]))
		if err != nil {
			return i.damaged(n.Path, "its shared extended attributes")
		}
		all = append(all, x)
	}
	for b = b[xattrHeader+4*count:]; len(b) > 0; {
		var x member.Xattr
		if x, b, err = decodeXattr(b); err != nil {
			return i.damaged(n.Path, "its extended attributes")
		}
		all = append(all, x)
	}
	for _, x := range all {
		i.add(n, x)
	}
	slices.SortFunc(n.Xattrs, func(a, b member.Xattr) int { return strings.Compare(a.Name, b.Name) })
	return nil
}

// add gives a node an attribute as the layer means it. Overlayfs's own are no content.
func (i *Image) add(n *Node, x member.Xattr) {
	rest, own := strings.CutPrefix(x.Name, i.overlay)
	content, escaped := strings.CutPrefix(rest, "overlay.")
	switch {
	case own && !escaped:
		n.marks += rest + "=" + string(x.Value) + " "
		n.Opaque = n.Opaque || rest == markOpaque
		return
	case own:
		x.Name = i.overlay + content
	}
	n.Xattrs = append(n.Xattrs, x)
}

func (i *Image) sharedXattr(place uint32) (member.Xattr, error) {
	at := int64(i.super.xattrBlock)*blockSize + 4*int64(place)
	head, err := i.read(at, xattrEntry)
	if err != nil {
		return member.Xattr{}, err
	}
	b, err := i.read(at, xattrEntry+int64(head[0])+int64(le.Uint16(head[2:])))
	if err != nil {
		return member.Xattr{}, err
	}
	x, _, err := decodeXattr(b)
	return x, err
}

// read reads from the image itself.
func (i *Image) read(at, length int64) ([]byte, error) {
	b := make([]byte, length)
	if n, err := i.meta.ReadAt(b, at); n < len(b) {
		if err == io.EOF {
			err = fmt.Errorf("%w: it ends at %d", errCorrupt, at+int64(n))
		}
		return nil, err
	}
	return b, nil
}

func (i *Image) damaged(path, what string) error {
	return &fault.Error{Op: "read", Path: "/" + path, Err: errCorrupt, Msg: what, Phase: fault.PhaseState,
		Hint: "the image can be made again from the layer's tar: fsck --repair"}
}
