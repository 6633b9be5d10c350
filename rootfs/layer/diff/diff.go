// Package diff finds what an overlay's upper directory changes, and writes it
// as a layer. It takes time in proportion to the upper directory alone: below
// it, only what has the same path is looked at.
//
// What an upper directory cannot say is lost. A hard link between a file of the
// layers and a changed one is broken by the copy-up (Change.BrokenLink); sockets
// are in no layer and left out with a warning.
package diff

import (
	"errors"
	"io"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/member"
	"berth/rootfs/layer/overlay"
)

// Kind is what has become of a path, as `docker diff` writes it.
type Kind string

// The kinds.
const (
	Added   Kind = "A"
	Changed Kind = "C"
	Removed Kind = "D"
)

// Change is one path that the upper directory changes.
type Change struct {
	Kind Kind
	// Member is what goes into the layer. It is a Whiteout where the path is
	// removed, and a Link for all but the first name of an inode.
	Member member.Member
	// Opaque: a directory that was removed and made again. What the layers have
	// in it is gone.
	Opaque bool
	// Type: it is something else than in the layers, such as a file that was a
	// directory.
	Type bool
	// Metadata: content and kind are as in the layers. Only with Options.Detail,
	// or of what is not a file.
	Metadata bool
	// Parent: the directory itself is as in the layers and is here because of
	// what is in it: the layer could not say otherwise what it is like.
	Parent bool
	// BrokenLink: the layers have the file under several names, and only this
	// one has changed.
	BrokenLink bool
	// Data is where a sparse file has data; nil where it has no holes. At and
	// Length are those of the file; Offset is 0.
	Data []member.Segment
}

// Lower is what the upper directory lies on; overlay.Stack is one.
type Lower interface {
	// Lookup returns what is at a clean relative path, nil where nothing is, and
	// the layer that it is from.
	Lookup(path string) (*overlay.Node, int, error)
	// Open opens the regular file at path.
	Open(path string) (io.ReadCloser, error)
}

// Options is how changes are looked for.
type Options struct {
	// Epoch, if not zero, is the latest time that anything in the layer has
	// (SOURCE_DATE_EPOCH).
	Epoch time.Time
	// Detail finds out whether a file with other metadata has the same content,
	// which means reading both.
	Detail bool
	// Skip leaves out a clean relative path and what is below it, such as a
	// mount point that a runtime has made.
	Skip func(path string) bool
	// Foreign tells an attribute that is the host's and not the image's;
	// HostXattr where nil.
	Foreign func(name string) bool
	// Warn gets what is left out. May be nil.
	Warn func(*fault.Error)
}

// HostXattr tells the attributes that the host's security modules and file
// systems give every file.
func HostXattr(name string) bool {
	return slices.Contains([]string{"security.selinux", "security.ima", "security.evm", "system.nfs4_acl"}, name)
}

// Changes returns what upper changes of lower, in the order of the layer: each
// directory before what is in it, names sorted by bytes, a removed one at its
// place among them. The same changes are the same list. A file with the content
// and metadata that it has in lower is no change, nor is the time of the root
// directory. upper may change meanwhile, as that of a running container: the
// result then has some of that.
func Changes(upper *overlay.Dir, lower Lower, o Options) ([]Change, error) {
	if o.Foreign == nil {
		o.Foreign = HostXattr
	}
	w := &walk{upper: upper, lower: lower, opt: o, links: map[overlay.Inode][]*entry{}}
	top, err := w.root()
	if err != nil {
		return nil, err
	}
	w.keepTogether()
	var out []Change
	top.flatten(&out)
	w.link(out)
	return out, nil
}

// walk is the search of one upper directory.
type walk struct {
	upper *overlay.Dir
	lower Lower
	opt   Options
	links map[overlay.Inode][]*entry // names of inodes that have several
}

// entry is one path of the upper directory.
type entry struct {
	Change
	same bool // as in lower, so that it is here only for what is in it or its other names
	in   []*entry
}

// flatten appends what goes into the layer.
func (e *entry) flatten(out *[]Change) {
	at := len(*out)
	*out = append(*out, e.Change)
	for _, in := range e.in {
		in.flatten(out)
	}
	if !e.same {
		return
	}
	if e.Member.Path == "" || len(*out) == at+1 {
		*out = slices.Delete(*out, at, at+1)
		return
	}
	(*out)[at].Parent = true
}

func (w *walk) root() (*entry, error) {
	node, err := w.upper.Node("")
	if err != nil {
		return nil, err
	}
	if node == nil {
		return nil, &fault.Error{Op: "compare", Path: w.upper.Name(), Msg: "the upper directory is gone"}
	}
	low, err := w.below("", true)
	if err != nil {
		return nil, err
	}
	if low != nil {
		node.MTime = low.MTime
	}
	return w.dir(node, low, true)
}

// below is what lower has, nil where an opaque directory hides it.
func (w *walk) below(path string, seen bool) (*overlay.Node, error) {
	if !seen {
		return nil, nil
	}
	low, _, err := w.lower.Lookup(path)
	if low != nil {
		low = w.clean(low)
	}
	return low, err
}

// clean is a node without attributes of the host.
func (w *walk) clean(n *overlay.Node) *overlay.Node {
	c := *n
	c.Xattrs = slices.DeleteFunc(slices.Clone(n.Xattrs), func(x member.Xattr) bool { return w.opt.Foreign(x.Name) })
	return &c
}

// dir compares a directory and what is in it. seen tells whether lower is to be
// seen at its place.
func (w *walk) dir(node, low *overlay.Node, seen bool) (*entry, error) {
	node = w.clean(node)
	e := w.entry(node, low)
	merged := low != nil && low.Kind == member.Dir
	e.Opaque = node.Opaque && merged
	e.same = merged && !e.Opaque && sameMetadata(node, low)
	e.Metadata = merged && !e.Opaque && !e.same
	names, err := w.upper.Names(node.Path)
	if errors.Is(err, unix.ENOENT) && node.Path != "" {
		return nil, nil // gone meanwhile
	}
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		path := join(node.Path, name)
		if w.opt.Skip != nil && w.opt.Skip(path) {
			continue
		}
		in, err := w.one(path, seen && merged && !e.Opaque)
		if err != nil {
			return nil, err
		}
		if in != nil {
			e.in = append(e.in, in)
		}
	}
	return e, nil
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}

// one compares one path; nil is no change.
func (w *walk) one(path string, seen bool) (*entry, error) {
	node, err := w.upper.Node(path)
	if err != nil || node == nil {
		return nil, err // gone meanwhile
	}
	if len(node.Foreign) > 0 {
		return nil, &fault.Error{Op: "compare", Path: path, Msg: "overlayfs has left " + node.Foreign[0] + " on it: it is not what the directory says",
			Hint: "the overlay was mounted with redirect_dir=on or metacopy=on; only one mounted by the options that create writes can be committed"}
	}
	low, err := w.below(path, seen)
	if err != nil {
		return nil, err
	}
	switch node.Kind {
	case member.Whiteout:
		return w.removed(path, low), nil
	case overlay.Socket:
		w.warn(path, "a socket cannot be in a layer: it is left out")
		return w.removed(path, low), nil
	case member.Dir:
		return w.dir(node, low, seen)
	}
	return w.file(w.clean(node), low)
}

func (w *walk) warn(path, msg string) {
	if w.opt.Warn != nil {
		w.opt.Warn(&fault.Error{Op: "compare", Path: path, Msg: msg})
	}
}

// removed is a path that is to be hidden; where lower has nothing, nothing is.
func (w *walk) removed(path string, low *overlay.Node) *entry {
	if low == nil {
		return nil
	}
	return &entry{Change: Change{Kind: Removed, Member: member.Member{Path: path, Kind: member.Whiteout, MTime: time.Unix(0, 0)}}}
}

// entry is a node as it goes into the layer.
func (w *walk) entry(node, low *overlay.Node) *entry {
	e := &entry{Change: Change{Kind: Added, Member: node.Member}}
	if low != nil {
		e.Kind, e.Type = Changed, low.Kind != node.Kind
	}
	if !w.opt.Epoch.IsZero() && node.MTime.After(w.opt.Epoch) {
		e.Member.MTime = w.opt.Epoch
	}
	return e
}

// file compares what is no directory.
func (w *walk) file(node, low *overlay.Node) (*entry, error) {
	e := w.entry(node, low)
	if low != nil && low.Kind == node.Kind {
		metadata := sameMetadata(node, low)
		content := true
		var err error
		if node.Kind == member.File && (metadata || w.opt.Detail) {
			if content, err = w.sameContent(node, low); err != nil {
				return nil, err
			}
		} else if node.Kind == member.File {
			content = false
		}
		e.same = metadata && content
		e.Metadata = !metadata && content && sameNode(node, low)
		e.BrokenLink = !e.same && low.Links > 1 && node.Links == 1
	}
	if node.Links > 1 {
		w.links[node.Inode] = append(w.links[node.Inode], e)
	} else if e.same {
		return nil, nil
	}
	if node.Kind == member.File && !e.same {
		var err error
		if e.Data, err = w.data(node); err != nil {
			return nil, err
		}
	}
	return e, nil
}

// keepTogether keeps all names of an inode, of which one is a change: a link to
// a file of another layer is none.
func (w *walk) keepTogether() {
	for _, names := range w.links {
		if slices.ContainsFunc(names, func(e *entry) bool { return !e.same }) {
			for _, e := range names {
				e.same = false
			}
		}
	}
}

// link makes the second and further names of an inode hard links to the first.
func (w *walk) link(list []Change) {
	inode := map[string]overlay.Inode{}
	for i, names := range w.links {
		for _, e := range names {
			inode[e.Member.Path] = i
		}
	}
	first := map[overlay.Inode]string{}
	for i := range list {
		m := &list[i].Member
		at, several := inode[m.Path]
		if !several {
			continue
		}
		if target, ok := first[at]; ok {
			*m = member.Member{Path: m.Path, Kind: member.Link, Target: target, MTime: m.MTime, Mode: m.Mode, UID: m.UID, GID: m.GID}
			list[i].Data = nil
			continue
		}
		first[at] = m.Path
	}
}
