package unpack

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"berth/rootfs/layer/member"
)

// Limits of a walk: the kernel's number of symbolic links (MAXSYMLINKS), and twice as many directories as the longest
// path can name (PATH_MAX), since whoever removes a tree has them open one in the other.
const (
	linksMax = 40
	depthMax = 4096
)

// tree is what the members so far make of the layer, names only. It decides what a member means; acting on it is up to
// others. The rules are those of tests/layers/flatten.
type tree struct {
	root *dir
	made int64 // directories made up
	// makeDir acts on a directory that is made up.
	makeDir func(d *dir) error
	last    struct { // the directory found last
		path string
		dir  *dir
	}
}

// dir is a directory of the layer.
type dir struct {
	parent  *dir // nil for the root
	name    string
	depth   int
	entries map[string]*node
	hides   map[string]struct{} // names that are hidden in the layers below
	opaque  bool                // as if all of them were
	meta    *member.Member      // the last to list the directory; nil if it is made up
	number  int64               // of that member in the stream
	open    *opened             // nil unless in the cache
}

// node is what a name stands for. Hard links share it.
type node struct {
	kind   member.Kind
	dir    *dir   // of a Dir
	target string // of a Symlink
	state  *state // of a comparison
}

func newTree(makeDir func(*dir) error) *tree {
	return &tree{root: &dir{entries: map[string]*node{}}, makeDir: makeDir}
}

// path is the name of an entry of d as the layer means it, links followed; the name "" stands for d itself.
func (d *dir) path(name string) string {
	var parts []string
	if name != "" {
		parts = append(parts, name)
	}
	for ; d.parent != nil; d = d.parent {
		parts = append(parts, d.name)
	}
	slices.Reverse(parts)
	return strings.Join(parts, "/")
}

// child is the directory name in d, nil if there is none.
func (d *dir) child(name string) *dir {
	if n := d.entries[name]; n != nil {
		return n.dir
	}
	return nil
}

// locate returns where the path of a member is. Missing directories are made up.
func (t *tree) locate(clean string) (parent *dir, name string, err error) {
	at, name := path.Split(clean)
	parent, err = t.find(strings.TrimSuffix(at, "/"), t.makeUp)
	return parent, name, err
}

// find returns the directory that clean names, symbolic links followed as in a chroot; missing says what to do for a
// name that is not there.
func (t *tree) find(clean string, missing func(*dir, string) (*dir, error)) (*dir, error) {
	if t.last.dir != nil && t.last.path == clean {
		return t.last.dir, nil
	}
	d, links := t.root, 0
	for rest := clean; rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		n := d.entries[name]
		var err error
		switch {
		case name == "" || name == ".":
		case name == "..":
			if d.parent != nil {
				d = d.parent
			}
		case n == nil:
			d, err = missing(d, name)
		case n.kind == member.Dir:
			d = n.dir
		case n.kind == member.Symlink && links < linksMax:
			links++
			if n.target[0] == '/' {
				d = t.root
			}
			rest = n.target + "/" + rest
		case n.kind == member.Symlink:
			err = errors.New("too many symbolic links in the name")
		default:
			err = fmt.Errorf("%s is not a directory", d.path(name))
		}
		if err != nil {
			return nil, err
		}
	}
	t.last.path, t.last.dir = clean, d
	return d, nil
}

func (t *tree) makeUp(parent *dir, name string) (*dir, error) {
	d, err := t.newDir(parent, name)
	if err != nil {
		return nil, err
	}
	t.made++
	if len(name) > 255 {
		return nil, errors.New("a part of the target of a symbolic link is longer than 255 bytes")
	}
	return d, t.makeDir(d)
}

// newDir enters an empty directory, which replaces nothing.
func (t *tree) newDir(parent *dir, name string) (*dir, error) {
	if parent.depth == depthMax {
		return nil, fmt.Errorf("more than %d directories deep", depthMax)
	}
	name = strings.Clone(name)
	d := &dir{parent: parent, name: name, depth: parent.depth + 1, entries: map[string]*node{}}
	parent.entries[name] = &node{kind: member.Dir, dir: d}
	return d, nil
}

// place enters a name, which replaces nothing.
func (t *tree) place(parent *dir, name string, n *node) { parent.entries[strings.Clone(name)] = n }

// remove takes a name away with all that is below it.
func (t *tree) remove(parent *dir, name string) {
	delete(parent.entries, name)
	t.last.dir = nil
}

// linked returns what a hard link to clean names once more, and where that is.
func (t *tree) linked(clean string) (parent *dir, name string, n *node, err error) {
	none := func(*dir, string) (*dir, error) { return nil, errNotHere }
	at, name := path.Split(clean)
	if parent, err = t.find(strings.TrimSuffix(at, "/"), none); err != nil {
		return nil, "", nil, err
	}
	if n = parent.entries[name]; n == nil && name != "" {
		return nil, "", nil, errNotHere
	}
	if name == "" || n.kind == member.Dir {
		return nil, "", nil, errors.New("it is a directory")
	}
	return parent, name, n, nil
}

var errNotHere = errors.New("it is not in this layer, at least not before the link")

// mark takes in a whiteout: of a name below, or of all.
func (t *tree) mark(m *member.Member) error {
	if m.Kind == member.Opaque {
		d, err := t.find(m.Path, t.makeUp)
		if err == nil {
			d.opaque = true
		}
		return err
	}
	d, name, err := t.locate(m.Path)
	if err != nil {
		return err
	}
	if d.hides == nil {
		d.hides = map[string]struct{}{}
	}
	d.hides[strings.Clone(name)] = struct{}{}
	return nil
}

// startsEmpty says whether nothing shows through d from the layers below, which covered says of its parent.
func (d *dir) startsEmpty(covered bool) bool {
	if covered || d.parent == nil {
		return covered
	}
	_, hidden := d.parent.hides[d.name]
	return hidden || d.parent.opaque
}
