package overlay

import (
	"io"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/member"
)

// Stack is layers as an overlay shows them, the topmost first. It is for one
// goroutine at a time. The layers must not change, but the first one may where
// Cached is not set.
type Stack struct {
	Layers []Tree
	Cached bool // what directories the layers have is remembered

	dirs map[string][]int
}

// Lookup returns what the overlay shows at a clean relative path, nil where
// there is nothing, and which layer it comes from. Links are not followed, in
// no component.
func (s *Stack) Lookup(name string) (*Node, int, error) {
	found, node, err := s.find(name, nil)
	if err != nil || len(found) == 0 {
		return nil, -1, err
	}
	return node, found[0], nil
}

// Open opens the regular file that the overlay shows.
func (s *Stack) Open(name string) (io.ReadCloser, error) {
	node, layer, err := s.Lookup(name)
	if err != nil {
		return nil, err
	}
	if node == nil {
		return nil, missing(name)
	}
	return s.Layers[layer].Open(name)
}

// barrier is what keeps the layers below one from being seen.
type barrier struct {
	layer int
	at    string // where, the path or a directory above it
	how   Hiding
}

// find returns the layers that have a part in path: those whose directories
// are merged, or the one with anything else. stop learns of each barrier and
// the layers that it hides.
func (s *Stack) find(name string, stop func(barrier, []int)) ([]int, *Node, error) {
	alive, err := s.parents(name, stop)
	if err != nil || len(alive) == 0 {
		return nil, nil, err
	}
	return s.step(name, alive, stop)
}

// parents are the layers in which path's directory is to be looked into.
func (s *Stack) parents(name string, stop func(barrier, []int)) ([]int, error) {
	if name == "" {
		all := make([]int, len(s.Layers))
		for i := range all {
			all[i] = i
		}
		return all, nil
	}
	dir := parent(name)
	if list, ok := s.dirs[dir]; ok && stop == nil {
		return list, nil
	}
	found, node, err := s.find(dir, stop)
	if err != nil {
		return nil, err
	}
	if node == nil || node.Kind != member.Dir {
		found = nil
	}
	if s.Cached && stop == nil {
		if s.dirs == nil {
			s.dirs = map[string][]int{}
		}
		s.dirs[dir] = found
	}
	return found, nil
}

// step looks at path in layers that are alive at its directory.
func (s *Stack) step(name string, alive []int, stop func(barrier, []int)) (found []int, first *Node, err error) {
	hide := func(i int, how Hiding) {
		if stop != nil {
			stop(barrier{alive[i], name, how}, alive[i+1:])
		}
	}
	for i, layer := range alive {
		node, err := s.Layers[layer].Node(name)
		switch {
		case err != nil:
			return nil, nil, err
		case node == nil:
			continue
		case node.Kind == member.Whiteout:
			hide(i, ByWhiteout)
			return found, first, nil
		case node.Kind != member.Dir && first != nil: // below a directory
			if stop != nil {
				stop(barrier{found[0], name, ByOther}, alive[i:])
			}
			return found, first, nil
		}
		found = append(found, layer)
		if first == nil {
			first = node
		}
		switch {
		case node.Kind != member.Dir:
			hide(i, ByOther)
			return found, first, nil
		case node.Opaque:
			hide(i, ByOpaque)
			return found, first, nil
		}
	}
	return found, first, nil
}

func missing(name string) error {
	return &fault.Error{Op: "open", Path: name, Errno: unix.ENOENT}
}

func parent(name string) string {
	dir := path.Dir(name)
	if dir == "." {
		return ""
	}
	return dir
}

// Hiding is how a layer hides what those below it have.
type Hiding string

// The ways: a whiteout, an opaque directory, or that there is something else.
const (
	ByWhiteout Hiding = "whiteout"
	ByOpaque   Hiding = "opaque directory"
	ByOther    Hiding = "replaced"
)

// Hidden is something that a layer has at a path and the overlay does not show.
type Hidden struct {
	Layer int         // of the stack
	Kind  member.Kind // what it has
	By    int         // the layer that hides it
	At    string      // at this path: the same, or a directory above
	How   Hiding
}

// Supply says where a path comes from.
type Supply struct {
	Path   string
	Layer  int   // that it comes from; -1: the overlay does not show it
	Node   *Node // nil likewise
	Merged []int // further layers whose directories of this name are seen
	Hidden []Hidden
}

// Why finds which layer supplies a clean relative path and what is hidden by
// it, or why there is nothing. No link is followed.
func (s *Stack) Why(name string) (Supply, error) {
	hidden := map[int]barrier{}
	found, node, err := s.find(name, func(b barrier, layers []int) {
		for _, l := range layers {
			hidden[l] = b
		}
	})
	if err != nil {
		return Supply{}, err
	}
	out := Supply{Path: name, Layer: -1, Node: node}
	if len(found) > 0 {
		out.Layer, out.Merged = found[0], found[1:]
	}
	for layer, tree := range s.Layers {
		b, is := hidden[layer]
		if !is {
			continue
		}
		under, err := tree.Node(name)
		if err != nil {
			return out, err
		}
		if under != nil && under.Kind != member.Whiteout {
			out.Hidden = append(out.Hidden, Hidden{Layer: layer, Kind: under.Kind, By: b.layer, At: b.at, How: b.how})
		}
	}
	return out, nil
}

// Clean is a path of a container as Lookup and Why take it.
func Clean(name string) string {
	return strings.TrimPrefix(path.Clean("/"+name), "/")
}
