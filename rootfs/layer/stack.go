package layer

import (
	"io"
	"slices"

	"github.com/opencontainers/go-digest"

	"berth/rootfs/layer/overlay"
	"berth/rootfs/overlayfs"
)

// stack is the layers of an image, open for overlayfs and for looking into, the topmost first.
type stack struct {
	overlay.Stack
	lower  []overlayfs.Layer
	diffID []digest.Digest
	made   overlay.MadeUp
	closers
}

// openStack opens layers, which are given from the bottom up. Below one that hides all below it none is for overlayfs,
// but the root's mode and owner may come from there. Of a layer that is there more than once only the topmost counts:
// overlayfs takes each once, and whatever the others have is in that one or hidden by it. The caller closes the stack.
func (s *Store) openStack(diffIDs []digest.Digest) (*stack, error) {
	out := &stack{Stack: overlay.Stack{Cached: true}, made: overlay.MadeUp{}}
	hidden := false
	for n := len(diffIDs) - 1; n >= 0; n-- {
		if slices.Contains(diffIDs[n+1:], diffIDs[n]) {
			continue
		}
		m, err := s.meta(diffIDs[n])
		if err != nil {
			out.Close()
			return nil, err
		}
		if err := out.add(s, diffIDs[n], m); err != nil {
			out.Close()
			return nil, err
		}
		if hidden {
			out.lower = out.lower[:len(out.lower)-1]
		}
		hidden = hidden || m.Opaque
	}
	return out, nil
}

func (t *stack) add(s *Store, diffID digest.Digest, m *Meta) error {
	lower, tree, closer, err := s.lowerOf(s.layer(diffID), m)
	if err != nil {
		return err
	}
	if len(m.Parents) > 0 {
		t.made[len(t.Layers)] = m.Parents
	}
	t.lower, t.Layers, t.closers = append(t.lower, lower), append(t.Layers, tree), append(t.closers, closer)
	t.diffID = append(t.diffID, diffID)
	return nil
}

// cover puts a directory on top of all layers, which is none of the image's.
func (t *stack) cover(dir string) error {
	tree, err := overlay.OpenDir(dir, !initialUserNS())
	if err != nil {
		return err
	}
	t.lower = append([]overlayfs.Layer{{Path: dir}}, t.lower...)
	t.Layers = append([]overlay.Tree{tree}, t.Layers...)
	t.diffID = append([]digest.Digest{""}, t.diffID...)
	t.closers = append(t.closers, io.Closer(tree))
	return nil
}
