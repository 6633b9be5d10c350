// Package flatten is the reference interpreter of layers: a stack of tars in, the listing of the tree that they mean out.
// It is naive, works in memory and shares no code with rootfs/layer, whose judge it is.
//
// What a layer means is decided in two steps. A layer alone (read):
//
//   - Members apply in the order of the stream; what is left at the end counts, not how it came about.
//   - A name is cleaned lexically, a leading "/" dropped; one that climbs above the root is refused.
//   - A symlink of this layer in a parent's place is followed as in a chroot: "/" is the layer's root, ".." stops there.
//   - A directory that is needed and not there is made up: its metadata is whatever shows there in the layers below,
//     and 0755, root, the epoch where nothing does.
//   - Anything but a directory in a parent's place is refused.
//   - A directory over a directory keeps what is in it and takes the new metadata; anything else over anything replaces
//     it, whole trees too, and never writes through a symlink or into other names of the inode. The root stays a directory.
//   - A hard link is one more name of an inode of this layer; its own metadata says nothing. Its target is found like any
//     parent, the last name is not followed, and it is found before what stands in the link's place goes away.
//   - A whiteout belongs to the directory in which it stands and hides that name in the layers below, whatever the order;
//     it goes where the directory goes. An opaque whiteout does so for all names. Both need their directory like any member.
//   - Names that begin with ".wh..wh." (anywhere but the opaque whiteout) are AUFS's own and ignored.
//   - Extended attributes that Linux cannot have on such an inode are dropped; all others are content, trusted.overlay.* too.
//   - A character device 0:0 is refused: overlayfs could not show it.
//
// A layer over what the layers below make (merge), as overlayfs does it:
//
//   - A directory over a directory merges: the names of both, the upper one's metadata unless it was made up.
//   - Everything else hides what is below, a symlink to a directory too.
//   - A name with a whiteout has nothing below, so a directory there that is in the same layer begins empty.
package flatten

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"berth/tests/layers/tree"
)

// Flatten lists the tree that uncompressed layers mean, the bottom one first.
func Flatten(tars ...[]byte) ([]tree.Entry, error) {
	root := &inode{Entry: madeUp}
	for i, raw := range tars {
		l := layer{root: newDir()}
		if err := l.read(tar.NewReader(bytes.NewReader(raw))); err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		root = merge(root, l.root)
	}
	return list(root), nil
}

type inode struct {
	tree.Entry                   // without path and link
	children   map[string]*inode // of a directory
	hides      map[string]bool   // names below this directory with a whiteout
	opaque     bool
}

var madeUp = tree.Entry{Type: tree.Dir, Mode: 0o755, MadeUp: true}

func newDir() *inode {
	return &inode{Entry: madeUp, children: map[string]*inode{}, hides: map[string]bool{}}
}

type layer struct{ root *inode }

func (l *layer) read(r *tar.Reader) error {
	for {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil && h.Typeflag != tar.TypeXGlobalHeader {
			err = l.member(h, r)
		}
		if err != nil && h != nil {
			return fmt.Errorf("%q: %w", h.Name, err)
		}
		if err != nil {
			return err
		}
	}
}

func (l *layer) member(h *tar.Header, body io.Reader) error {
	parts, err := clean(h.Name)
	if err != nil {
		return err
	}
	if len(parts) == 0 {
		return l.rootMember(h)
	}
	dirs, base := parts[:len(parts)-1], parts[len(parts)-1]
	if slices.ContainsFunc(dirs, aufs) || aufs(base) && base != ".wh..wh..opq" {
		return nil
	}
	hidden, whiteout := strings.CutPrefix(base, ".wh.")
	if whiteout && (hidden == "" || hidden == "." || hidden == "..") {
		return errors.New("a whiteout of nothing")
	}
	parent, err := l.find(dirs, true)
	if err != nil {
		return err
	}
	switch {
	case base == ".wh..wh..opq":
		parent.opaque = true
		return nil
	case whiteout:
		parent.hides[hidden] = true
		return nil
	}
	n, err := l.make(h, body)
	if err != nil {
		return err
	}
	if old := parent.children[base]; old != nil && old.Type == tree.Dir && n.Type == tree.Dir {
		old.Entry = n.Entry
		return nil
	}
	parent.children[base] = n
	return nil
}

func aufs(name string) bool { return strings.HasPrefix(name, ".wh..wh.") }

func (l *layer) rootMember(h *tar.Header) error {
	if h.Typeflag != tar.TypeDir {
		return errors.New("the root can only be a directory")
	}
	n, err := l.make(h, nil)
	if err == nil {
		l.root.Entry = n.Entry
	}
	return err
}

// clean splits a name into its parts.
func clean(name string) ([]string, error) {
	if name == "" {
		return nil, errors.New("no name")
	}
	var parts []string
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case part == "" || part == ".":
		case part == "..":
			if len(parts) == 0 {
				return nil, errors.New("climbs above the root")
			}
			parts = parts[:len(parts)-1]
		default:
			parts = append(parts, part)
		}
	}
	for _, part := range parts {
		if len(strings.TrimPrefix(part, ".wh.")) > 255 || strings.Contains(part, "\x00") {
			return nil, errors.New("no file can have this name")
		}
	}
	return parts, nil
}

// find walks to a directory. What is missing is made up, or an error.
func (l *layer) find(parts []string, makeUp bool) (*inode, error) {
	way := []*inode{l.root}
	for links := 0; len(parts) > 0; {
		part, here := parts[0], way[len(way)-1]
		parts = parts[1:]
		next := here.children[part]
		switch {
		case part == "" || part == ".":
		case part == "..":
			way = way[:max(1, len(way)-1)]
		case next == nil && !makeUp:
			return nil, fmt.Errorf("%s is not in this layer", part)
		case next == nil:
			here.children[part] = newDir()
			way = append(way, here.children[part])
		case next.Type == tree.Dir:
			way = append(way, next)
		case next.Type == tree.Symlink:
			if links++; links > 40 {
				return nil, errors.New("a circle of symlinks")
			}
			if next.Target[0] == '/' {
				way = way[:1]
			}
			parts = append(strings.Split(string(next.Target), "/"), parts...)
		default:
			return nil, fmt.Errorf("%s is a %s of this layer, not a directory", part, next.Type)
		}
	}
	return way[len(way)-1], nil
}

func (l *layer) make(h *tar.Header, body io.Reader) (*inode, error) {
	n := newDir()
	n.Entry = tree.Entry{Mode: tree.Mode(h.Mode & 0o7777), UID: uint32(h.Uid), GID: uint32(h.Gid),
		MTime: tree.Time{Sec: h.ModTime.Unix(), Nsec: int64(h.ModTime.Nanosecond())}}
	for _, id := range []int{h.Uid, h.Gid} {
		if id < 0 || id > 1<<32-2 {
			return nil, fmt.Errorf("nobody can have the ID %d", id)
		}
	}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		content, err := io.ReadAll(body)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(content)
		n.Type, n.Size, n.SHA256 = tree.File, int64(len(content)), hex.EncodeToString(sum[:])
	case tar.TypeDir:
		n.Type = tree.Dir
	case tar.TypeSymlink:
		if h.Linkname == "" || len(h.Linkname) > 4095 {
			return nil, errors.New("a symlink cannot have this target")
		}
		n.Type, n.Target, n.Mode = tree.Symlink, tree.Name(h.Linkname), 0o777
	case tar.TypeLink:
		return l.linked(h.Linkname)
	case tar.TypeChar, tar.TypeBlock:
		n.Type, n.Major, n.Minor = tree.Block, uint32(h.Devmajor), uint32(h.Devminor)
		if h.Typeflag == tar.TypeChar {
			n.Type = tree.Char
		}
		if n.Type == tree.Char && n.Major == 0 && n.Minor == 0 {
			return nil, errors.New("a character device 0:0 is overlayfs's whiteout")
		}
		if h.Devmajor < 0 || h.Devmajor >= 1<<12 || h.Devminor < 0 || h.Devminor >= 1<<20 {
			return nil, errors.New("there is no such device number")
		}
	case tar.TypeFifo:
		n.Type = tree.Fifo
	default:
		return nil, fmt.Errorf("%q is no type of member that a layer has", h.Typeflag)
	}
	var err error
	n.Xattrs, err = xattrs(h, n.Type)
	return n, err
}

// linked finds the inode that a hard link names once more.
func (l *layer) linked(name string) (*inode, error) {
	parts, err := clean(name)
	if err != nil {
		return nil, fmt.Errorf("hard link to %q: %w", name, err)
	}
	if len(parts) == 0 {
		return nil, fmt.Errorf("hard link to %q: a directory", name)
	}
	last := len(parts) - 1
	parent, err := l.find(parts[:last], false)
	if err != nil {
		return nil, fmt.Errorf("hard link to %q: %w", name, err)
	}
	n := parent.children[parts[last]]
	if n == nil {
		return nil, fmt.Errorf("hard link to %q, which is not in this layer", name)
	}
	if n.Type == tree.Dir {
		return nil, fmt.Errorf("hard link to %q: a directory", name)
	}
	return n, nil
}

// merge returns what shows of a layer's inode over what shows below it, which may be nothing.
func merge(below, above *inode) *inode {
	if above.Type != tree.Dir {
		return above
	}
	out := newDir()
	out.Entry = above.Entry
	if below != nil && below.Type == tree.Dir {
		if above.MadeUp {
			out.Entry = below.Entry
			out.Inherited = !below.MadeUp
		}
		if !above.opaque {
			maps.Copy(out.children, below.children)
		}
	}
	for name := range above.hides {
		delete(out.children, name)
	}
	for name, child := range above.children {
		out.children[name] = merge(out.children[name], child)
	}
	return out
}

func list(root *inode) []tree.Entry {
	var entries []tree.Entry
	first := map[*inode]int{}
	var walk func(n *inode, path string)
	walk = func(n *inode, path string) {
		e := n.Entry
		e.Path = tree.Name(path)
		if i, again := first[n]; again {
			entries[i].Link, e.Link = entries[i].Path, entries[i].Path
		} else {
			first[n] = len(entries)
		}
		entries = append(entries, e)
		for _, name := range slices.Sorted(maps.Keys(n.children)) {
			walk(n.children[name], strings.TrimPrefix(path+"/"+name, "./"))
		}
	}
	walk(root, ".")
	return entries
}
