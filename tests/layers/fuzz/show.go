package fuzz

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"

	"berth/rootfs/layer/overlay"
	"berth/rootfs/overlayfs"
	"berth/tests/layers/tree"
)

// Backend makes a layer below dir, an empty directory, of its uncompressed tar.
type Backend func(raw []byte, dir string) (*layer, error)

// layer is what a backend made, as overlayfs wants it.
type layer struct {
	lower   overlayfs.Layer
	user    bool // overlayfs's attributes are user.overlay.*
	tree    *overlay.Dir
	parents []string // directories that it does not list
	opaque  bool     // nothing of the layers below shows
	close   func()
}

// Show returns the tree that the kernel shows for uncompressed layers, the bottom one first. Each is made alone, in an order
// that r says, and overlayfs puts them together. It needs root; dir is where it works, a file system that can hold
// overlayfs's attributes.
func Show(tars [][]byte, backend Backend, dir string, r *rand.Rand) ([]tree.Entry, error) {
	work, err := os.MkdirTemp(dir, "stack")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(work)
	layers := make([]*layer, len(tars))
	defer func() {
		for _, l := range layers {
			if l != nil {
				l.close()
			}
		}
	}()
	if err := makeAll(layers, tars, backend, work, r); err != nil {
		return nil, err
	}
	return mounted(topmostOnce(layers, tars), work)
}

// makeAll makes the layers one after the other in random order, or all at once.
func makeAll(layers []*layer, tars [][]byte, backend Backend, work string, r *rand.Rand) error {
	atOnce := r.IntN(4) == 0
	errs := make([]error, len(tars))
	var wait sync.WaitGroup
	for _, i := range r.Perm(len(tars)) {
		work := func() {
			at := filepath.Join(work, strconv.Itoa(i))
			if errs[i] = os.Mkdir(at, 0o700); errs[i] == nil {
				layers[i], errs[i] = backend(tars[i], at)
			}
		}
		if atOnce {
			wait.Go(work)
		} else {
			work()
		}
	}
	wait.Wait()
	for i, err := range errs {
		if err != nil {
			return fmt.Errorf("layer %d: %w", i, err)
		}
	}
	return nil
}

// topmostOnce returns the topmost layer first, and a layer that is there several times only where it is topmost: overlayfs
// refuses a directory twice, and what the upper one shows and hides, the lower one shows and hides too.
func topmostOnce(layers []*layer, tars [][]byte) []*layer {
	var out []*layer
	seen := map[string]bool{}
	for i := len(layers) - 1; i >= 0; i-- {
		if !seen[string(tars[i])] {
			seen[string(tars[i])] = true
			out = append(out, layers[i])
		}
	}
	return out
}

// mounted returns what an overlay of layers shows, the topmost first.
func mounted(layers []*layer, work string) ([]tree.Entry, error) {
	stack := overlay.Stack{Cached: true}
	made := overlay.MadeUp{}
	for i, l := range layers {
		stack.Layers, made[i] = append(stack.Layers, l.tree), l.parents
	}
	if i := slices.IndexFunc(layers, func(l *layer) bool { return l.opaque }); i >= 0 {
		layers = layers[:i+1]
	}
	var lower []overlayfs.Layer
	parents, empty := filepath.Join(work, "parents"), filepath.Join(work, "empty")
	for _, dir := range []string{parents, empty} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, err
		}
	}
	nodes, err := overlay.Parents(&stack, made)
	if err != nil {
		return nil, err
	}
	if len(nodes) > 0 {
		if err := overlay.MakeParents(parents, nodes, layers[0].user); err != nil {
			return nil, err
		}
		lower = append(lower, overlayfs.Layer{Path: parents})
	}
	for _, l := range layers {
		lower = append(lower, l.lower)
	}
	mount, err := overlay.Open(overlay.Options{Lower: lower, Empty: empty, Name: "berth-fuzz", UserXattr: layers[0].user})
	if err != nil {
		return nil, err
	}
	defer mount.Close()
	return tree.ReadFile(mount)
}
