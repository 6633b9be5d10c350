package layer

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/diff"
	"berth/rootfs/layer/member"
	"berth/rootfs/layer/overlay"
)

// Change is a path that a bundle changes, as `diff` prints it.
type Change struct {
	Kind   diff.Kind `json:"kind"`
	Path   string    `json:"path"`
	Size   int64     `json:"size"`
	Opaque bool      `json:"opaque,omitempty"` // a directory that was removed and made again
	Type   bool      `json:"type,omitempty"`   // it is of another type than in the layers
	Parent bool      `json:"parent,omitempty"` // changed only in what is in it
}

// Diff lists what a bundle changes of its image, sorted by path. Its container may run meanwhile.
func (s *Store) Diff(ctx context.Context, bundle string) ([]Change, error) {
	b, err := s.FindBundle(bundle)
	if err != nil {
		return nil, err
	}
	found, done, err := s.changes(b, diff.Options{})
	if err != nil {
		return nil, s.unlessGone(b, err)
	}
	defer done()
	out := []Change{}
	for _, c := range found {
		if c.Member.Path == "" && c.Parent {
			continue
		}
		out = append(out, Change{c.Kind, "/" + c.Member.Path, c.Member.Size, c.Opaque, c.Type, c.Parent})
	}
	slices.SortFunc(out, func(a, b Change) int { return cmp.Compare(a.Path, b.Path) })
	return out, context.Cause(ctx)
}

// changes finds what the upper directory of a bundle changes. done closes what that was read from.
func (s *Store) changes(b *Bundle, o diff.Options) (found []diff.Change, done func(), err error) {
	layers, err := s.openBundle(b)
	if err != nil {
		return nil, nil, err
	}
	upper, err := overlay.OpenDir(s.upper(b.ID), !initialUserNS())
	if err != nil {
		layers.Close()
		return nil, nil, err
	}
	done = func() {
		upper.Close()
		layers.Close()
	}
	o.Skip = mountPoints(b)
	o.Warn = func(e *fault.Error) { s.warn(e.Error()) }
	if found, err = diff.Changes(upper, &layers.Stack, o); err != nil {
		done()
		return nil, nil, err
	}
	return found, done, nil
}

// mountPoints tells the places of config.json's mounts: a runtime makes those that the image has not, and what is below
// them in the upper directory is no process of the container's.
func mountPoints(b *Bundle) func(path string) bool {
	var config struct {
		Mounts []struct{ Destination string }
	}
	data, err := os.ReadFile(filepath.Join(b.Path, "config.json"))
	if err != nil || json.Unmarshal(data, &config) != nil {
		return nil
	}
	places := map[string]bool{}
	for _, m := range config.Mounts {
		if place := overlay.Clean(m.Destination); place != "" {
			places[place] = true
		}
	}
	return func(path string) bool { return places[path] }
}

// Place is what one layer has at a path.
type Place struct {
	Shows bool   `json:"shows"` // this is what is seen
	Layer string `json:"layer"` // the diffID; "bundle" for what was written in it
	What  string `json:"what"`  // file, directory, symlink …
	Mode  string `json:"mode"`
	Size  int64  `json:"size"`
	By    string `json:"by"`            // the step of the history that made the layer
	Why   string `json:"why,omitempty"` // it does not show: what hides it
}

// Why says which layers have something at a path of a bundle, or of an image, the topmost first: what shows, and what is
// hidden.
func (s *Store) Why(name, file string) ([]Place, error) {
	layers, i, err := s.openNamed(name)
	if err != nil {
		return nil, err
	}
	defer layers.Close()
	clean := overlay.Clean(file)
	supply, err := layers.Why(clean)
	if err != nil {
		return nil, err
	}
	w := &whys{layers: layers, steps: i.history()}
	if supply.Layer >= 0 {
		w.add(supply.Layer, supply.Node, true, "")
	}
	for _, n := range supply.Merged {
		node, err := layers.Layers[n].Node(clean)
		if err != nil {
			return nil, err
		}
		w.add(n, node, true, "merged")
	}
	for _, h := range supply.Hidden {
		node, err := layers.Layers[h.Layer].Node(clean)
		if err != nil {
			return nil, err
		}
		w.add(h.Layer, node, false, fmt.Sprintf("%s at %s in %s", h.How, path.Join("/", h.At), w.name(h.By)))
	}
	if len(w.out) == 0 {
		return nil, &fault.Error{Op: "find", Path: file, Msg: "no layer of " + name + " has it"}
	}
	return w.out, nil
}

// whys collects places.
type whys struct {
	layers *stack
	steps  []Step
	out    []Place
}

func (w *whys) name(layer int) string {
	if d := w.layers.diffID[layer]; d != "" {
		return d.String()
	}
	return "bundle"
}

func (w *whys) add(layer int, node *overlay.Node, shows bool, why string) {
	p := Place{Shows: shows, Layer: w.name(layer), Why: why}
	if node != nil {
		p.What, p.Mode, p.Size = kindName(node.Kind), fmt.Sprintf("%04o", node.Mode), node.Size
	}
	for _, step := range w.steps {
		if step.DiffID != "" && step.DiffID == w.layers.diffID[layer] {
			p.By = step.CreatedBy
		}
	}
	w.out = append(w.out, p)
}

func kindName(k member.Kind) string {
	names := map[member.Kind]string{member.File: "file", member.Dir: "directory", member.Symlink: "symlink", member.Link: "file",
		member.Char: "character device", member.Block: "block device", member.Fifo: "fifo", member.Whiteout: "whiteout"}
	return names[k]
}

// openNamed opens the layers of a bundle, with its own changes on top, or of an image.
func (s *Store) openNamed(name string) (*stack, *Image, error) {
	if b, err := s.FindBundle(name); err == nil {
		layers, i, err := s.openWritten(b)
		if err != nil {
			return nil, nil, s.unlessGone(b, err)
		}
		return layers, i, nil
	}
	i, err := s.Find(name)
	if err != nil {
		return nil, nil, err
	}
	layers, err := s.openStack(i.DiffIDs())
	return layers, i, err
}

// openWritten opens what a bundle shows: its changes on top of its layers.
func (s *Store) openWritten(b *Bundle) (*stack, *Image, error) {
	i, err := s.image(b.Manifest)
	if err != nil {
		return nil, nil, err
	}
	layers, err := s.openBundle(b)
	if err != nil {
		return nil, nil, err
	}
	if err := layers.cover(s.upper(b.ID)); err != nil {
		layers.Close()
		return nil, nil, err
	}
	layers.Cached = false // the container may change it meanwhile
	return layers, i, nil
}
