package layer

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/convert"
	"berth/rootfs/layer/overlay"
)

// CreateOptions say how to make a bundle.
type CreateOptions struct {
	Form     Form
	Size     int64 // bytes that may be written; 0 is no limit
	Volatile bool
	Config   convert.Options
}

// Create makes a bundle from an image in the directory path, which is made if it is missing and must have no config.json
// and no rootfs. After an error nothing of it is left.
func (s *Store) Create(ctx context.Context, image, path string, o CreateOptions) (b *Bundle, err error) {
	var undo fault.Undo
	defer func() { err = undo.OnError(err) }()
	held, err := s.lockStore(ctx, unix.LOCK_SH)
	if err != nil {
		return nil, err
	}
	defer held.free()
	i, err := s.Find(image)
	if err != nil {
		return nil, err
	}
	abs, err := bundlePath(path)
	if err != nil {
		return nil, err
	}
	b = &Bundle{
		ID: bundleID(abs), Path: abs, Form: o.Form, Name: image, Manifest: i.Descriptor, Layers: i.DiffIDs(),
		Size: o.Size, Volatile: o.Volatile, Created: time.Now().UTC().Truncate(time.Second),
	}
	if err := b.check(); err != nil {
		return nil, err
	}
	mine, err := s.lockName(ctx, b.ID)
	if err != nil {
		return nil, err
	}
	defer mine.free()
	if err := s.record(b, &undo); err != nil {
		return nil, err
	}
	if err := makeBundleDir(b, &undo); err != nil {
		return nil, err
	}
	return b, s.fill(i, b, o)
}

// check refuses what cannot be.
func (b *Bundle) check() error {
	switch b.Form {
	case Mounted, InConfig:
		return nil
	}
	return &fault.Error{Op: "create the bundle", Path: b.Path, Msg: "there is no form " + string(b.Form), Hint: "mounted or in-config"}
}

// record makes the store's directory of a bundle. What is in it first is its needs: from then on no layer goes.
func (s *Store) record(b *Bundle, undo *fault.Undo) error {
	dir := s.path(bundlesDir, b.ID)
	switch taken, err := exists(dir); {
	case err != nil:
		return err
	case taken:
		return &fault.Error{Op: "create the bundle", Path: b.Path, Msg: "it is there already", Code: "bundle-exists", Hint: "berth-layer rm removes it"}
	}
	stage, err := s.stage()
	if err != nil {
		return err
	}
	defer stage.end()
	made := filepath.Join(stage.path, "bundle")
	for _, dir := range []string{made, filepath.Join(made, "upper"), filepath.Join(made, "work")} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	data, err := json.MarshalIndent(b, "", "\t")
	if err != nil {
		return err
	}
	if err := writeSynced(filepath.Join(made, "bundle.json"), append(data, '\n')); err != nil {
		return err
	}
	if err := s.rename(made, dir); err != nil {
		return err
	}
	undo.Add(func() error { return s.discardNow(dir) })
	return nil
}

func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// discardNow discards and deletes.
func (s *Store) discardNow(path string) error {
	if err := s.discard(path); err != nil {
		return err
	}
	_, err := s.emptyTrash()
	return err
}

// makeBundleDir makes the bundle's directory with rootfs in it.
func makeBundleDir(b *Bundle, undo *fault.Undo) error {
	switch err := os.Mkdir(b.Path, 0o700); {
	case err == nil:
		undo.Add(func() error { return os.Remove(b.Path) })
	case !os.IsExist(err):
		return fault.From(err, "create the bundle", b.Path)
	}
	for _, name := range []string{"config.json", "rootfs"} {
		if there, _ := exists(filepath.Join(b.Path, name)); there {
			return &fault.Error{Op: "create the bundle", Path: b.Path, Msg: "there is a " + name + " in it", Hint: "name another directory, which need not exist"}
		}
	}
	if err := os.Mkdir(b.Rootfs(), 0o755); err != nil {
		return fault.From(err, "create the bundle", b.Path)
	}
	undo.Add(func() error { return os.Remove(b.Rootfs()) })
	return nil
}

// fill mounts the bundle, and writes its config.json.
func (s *Store) fill(i *Image, b *Bundle, o CreateOptions) error {
	layers, err := s.openStack(b.Layers)
	if err != nil {
		return err
	}
	defer layers.Close()
	root, err := s.cover(b, layers)
	if err != nil {
		return err
	}
	if err := overlay.SetDir(s.upper(b.ID), root, !initialUserNS()); err != nil {
		return err
	}
	return s.configure(i, b, o.Config, s.overlay(b, layers))
}

// cover adds the directories that made-up parents need, and returns what the root has to be.
func (s *Store) cover(b *Bundle, layers *stack) (*overlay.Node, error) {
	nodes, err := overlay.Parents(&layers.Stack, layers.made)
	if err != nil {
		return nil, err
	}
	if n := slices.IndexFunc(nodes, func(n *overlay.Node) bool { return n.Path == "" }); n >= 0 {
		dir := s.path(bundlesDir, b.ID, "parents")
		if err := os.Mkdir(dir, 0o755); err != nil {
			return nil, err
		}
		if err := overlay.MakeParents(dir, nodes, !initialUserNS()); err != nil {
			return nil, err
		}
		return nodes[n], layers.cover(dir)
	}
	root, _, err := layers.Lookup("")
	if err == nil && root == nil {
		root = &overlay.Node{}
		root.Mode, root.MTime = 0o755, time.Unix(0, 0)
	}
	return root, err
}

// overlay is how a bundle is mounted from its layers.
func (s *Store) overlay(b *Bundle, layers *stack) overlay.Options {
	return overlay.Options{
		Lower: layers.lower, Upper: s.upper(b.ID), Work: s.work(b.ID), Volatile: b.Volatile, UserXattr: !initialUserNS(),
		Name: mountName(b),
	}
}

// mountName is how mountinfo tells a bundle's overlay from others.
func mountName(b *Bundle) string { return "berth-layer-" + b.ID }
