package layer

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"berth/libcontainer/fault"
)

// unpackTrees unpacks the directories of layers that are kept as images, beside the image, where they are not there: a
// mount of config.json cannot be made of images. A tree goes with its layer.
func (s *Store) unpackTrees(ctx context.Context, diffIDs []digest.Digest) error {
	f := finisher{s: s}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(4 * runtime.NumCPU()) // most of them wait for the disk, together
	for n, d := range diffIDs {
		if !slices.Contains(diffIDs[:n], d) && !s.hasTree(d) {
			group.Go(func() error { return s.unpackTree(ctx, &f, d) })
		}
	}
	return group.Wait()
}

// hasTree says whether the layer, which is here, can be mounted as a directory.
func (s *Store) hasTree(diffID digest.Digest) bool {
	there, err := exists(filepath.Join(s.layer(diffID), treeDir))
	return there && err == nil
}

func (s *Store) unpackTree(ctx context.Context, f *finisher, diffID digest.Digest) error {
	m, err := s.meta(diffID)
	if err != nil || m.Backend == Directory {
		return err
	}
	held, err := s.lockName(ctx, diffID.Encoded())
	if err != nil {
		return err
	}
	defer held.free()
	if s.hasTree(diffID) {
		return nil
	}
	stage, err := s.stage()
	if err != nil {
		return err
	}
	defer stage.end()
	if err := s.unpackKept(ctx, stage.path, diffID, m); err != nil {
		return err
	}
	disk := sizeOf(filepath.Join(stage.path, treeDir))
	if err := f.name(renaming{filepath.Join(stage.path, treeDir), filepath.Join(s.layer(diffID), treeDir)}); err != nil {
		return err
	}
	m.Disk += disk
	data, err := encode(m)
	if err != nil {
		return err
	}
	return s.writeFile(filepath.Join(layersDir, diffID.Encoded(), "meta.json"), data)
}

// unpackKept unpacks a layer's kept tar in dir, and verifies it.
func (s *Store) unpackKept(ctx context.Context, dir string, diffID digest.Digest, m *Meta) error {
	tar, err := os.Open(s.layer(diffID) + "/layer.tar")
	if err != nil {
		return err
	}
	defer tar.Close()
	sum := diffID.Verifier()
	r := io.TeeReader(io.NewSectionReader(tar, 0, m.Tar), sum)
	if _, err := (&trees{}).unpack(ctx, dir, known(diffID), r); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	if !sum.Verified() {
		return &fault.Error{Op: "unpack", Path: tar.Name(), Msg: "it is damaged", Hint: "berth-layer fsck --repair makes the layer again from its blob"}
	}
	return nil
}
