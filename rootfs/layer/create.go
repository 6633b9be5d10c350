package layer

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/convert"
	"berth/rootfs/layer/overlay"
	"berth/rootfs/layer/userns"
)

// CreateOptions say how to make a bundle.
type CreateOptions struct {
	Form     Form  // empty: Mounted, or InConfig with Rootless
	Size     int64 // bytes of the file system that is written to; 0: it is that of the store
	Volatile bool
	// Userns is a user namespace for the container, to which its layers are mapped; nil: it has the host's ids.
	Userns *userns.Mapping
	// Rootless: the bundle is for the ordinary user around the user namespace that this process is root in. The container
	// has the same ids, so that owners are those that the layers were unpacked with.
	Rootless bool
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
		ID: bundleID(abs), Path: abs, Form: o.form(), Name: image, Manifest: i.Descriptor, Layers: i.DiffIDs(),
		Size: o.Size, Volatile: o.Volatile, Userns: o.Userns, Created: time.Now().UTC().Truncate(time.Second),
	}
	if err := b.check(o.Rootless); err != nil {
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
	return b, s.fill(ctx, i, b, o, &undo)
}

func (o *CreateOptions) form() Form {
	switch {
	case o.Form != "":
		return o.Form
	case o.Rootless:
		return InConfig
	}
	return Mounted
}

// check refuses what cannot be.
func (b *Bundle) check(rootless bool) error {
	bad := &fault.Error{Op: "create the bundle", Path: b.Path}
	switch {
	case b.Form != Mounted && b.Form != InConfig:
		bad.Msg, bad.Hint = "there is no form "+string(b.Form), "mounted or in-config"
	case rootless && b.Form == Mounted:
		bad.Msg, bad.Hint = "what an ordinary user mounts only his own programs see, until they end", "use --form in-config: the runtime mounts it in the container"
	case rootless && b.Size > 0:
		bad.Msg, bad.Hint = "an ordinary user has no file system of limited size to write to", "leave out --size, or create the bundle as root"
	case rootless && b.Userns != nil:
		bad.Msg, bad.Hint = "an ordinary user's container has the ids that his layers were unpacked with", "leave the mapping out"
	default:
		return nil
	}
	return bad
}

// record makes the store's directory of a bundle. What is in it first is its needs: from then on no layer goes.
func (s *Store) record(b *Bundle, undo *fault.Undo) error {
	dir := s.path(bundlesDir, b.ID)
	switch taken, err := s.taken(b.ID); {
	case err != nil:
		return err
	case taken:
		return &fault.Error{Op: "create the bundle", Path: b.Path, Msg: "it is there already", Code: "bundle-exists", Hint: "berth-layer rm removes it"}
	}
	// Before there is a record: what is there is somebody's, and not of a bundle that was not completed.
	if err := vacant(b); err != nil {
		return err
	}
	stage, err := s.stage()
	if err != nil {
		return err
	}
	defer stage.end()
	made := filepath.Join(stage.path, "bundle")
	dirs := []string{made, filepath.Join(made, "upper"), filepath.Join(made, "work")}
	if b.Size > 0 {
		dirs = []string{made, filepath.Join(made, scratchDir)}
	}
	for _, dir := range dirs {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	data, err := encode(b)
	if err != nil {
		return err
	}
	if err := writeSynced(filepath.Join(made, "bundle.json"), data, 0o644); err != nil {
		return err
	}
	if err := syncDir(made); err != nil {
		return err
	}
	if err := s.rename(made, dir); err != nil {
		return err
	}
	undo.Add(func() error { return s.discardNow(dir) })
	return nil
}

func writeSynced(path string, data []byte, mode os.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
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

// taken says whether there is a bundle of an ID. What is left of one whose making was killed goes. Its lock is held.
func (s *Store) taken(id string) (bool, error) {
	b, err := s.bundle(id)
	if os.IsNotExist(err) {
		return exists(s.path(bundlesDir, id))
	}
	if err != nil {
		return true, err
	}
	if made, err := s.made(b); made || err != nil {
		return true, err
	}
	return false, s.unmake(b, true)
}

// made says whether a bundle is complete: its config.json is written last. One that somebody has written to is none that
// was not made.
func (s *Store) made(b *Bundle) (bool, error) {
	if there, err := exists(filepath.Join(b.Path, "config.json")); there || err != nil {
		return true, err
	}
	written, err := os.ReadDir(s.upper(b.ID))
	if os.IsNotExist(err) {
		return false, nil
	}
	return len(written) > 0, err
}

// vacant refuses a directory that has what a bundle would have.
func vacant(b *Bundle) error {
	for _, name := range []string{"config.json", "rootfs"} {
		if there, _ := exists(filepath.Join(b.Path, name)); there {
			return &fault.Error{Op: "create the bundle", Path: b.Path, Msg: "there is a " + name + " in it", Hint: "name another directory, which need not exist"}
		}
	}
	return nil
}

// makeBundleDir makes the bundle's directory with rootfs in it.
func makeBundleDir(b *Bundle, undo *fault.Undo) error {
	switch err := os.Mkdir(b.Path, 0o700); {
	case err == nil:
		undo.Add(func() error { return os.Remove(b.Path) })
	case !os.IsExist(err):
		return fault.From(err, "create the bundle", b.Path)
	}
	if err := os.Mkdir(b.Rootfs(), 0o755); err != nil {
		return fault.From(err, "create the bundle", b.Path)
	}
	undo.Add(func() error { return os.Remove(b.Rootfs()) })
	return nil
}

// fill mounts the bundle, and writes its config.json.
func (s *Store) fill(ctx context.Context, i *Image, b *Bundle, o CreateOptions, undo *fault.Undo) error {
	if b.Form == InConfig {
		if err := s.unpackTrees(ctx, b.Layers); err != nil {
			return err
		}
	}
	layers, err := s.openStack(b.Layers)
	if err != nil {
		return err
	}
	defer layers.Close()
	if err := s.cover(b, layers); err != nil {
		return err
	}
	undo.Add(func() error { return s.scratch(b).Unmount(true) })
	if err := s.mountScratch(b); err != nil {
		return err
	}
	if err := s.setRoot(b, layers); err != nil {
		return err
	}
	return s.configure(i, b, o, layers)
}

// cover adds the directories that made-up parents need.
func (s *Store) cover(b *Bundle, layers *stack) error {
	nodes, err := overlay.Parents(&layers.Stack, layers.made)
	if err != nil || len(nodes) == 0 {
		return err
	}
	dir := s.path(bundlesDir, b.ID, "parents")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := overlay.MakeParents(dir, nodes, !initialUserNS()); err != nil {
		return err
	}
	return layers.cover(dir)
}

// setRoot gives a new upper directory the metadata of the image's root.
func (s *Store) setRoot(b *Bundle, layers *stack) error {
	root, _, err := layers.Lookup("")
	if err != nil {
		return err
	}
	if root == nil {
		root = &overlay.Node{}
		root.Mode, root.MTime = 0o755, time.Unix(0, 0)
	}
	return overlay.SetDir(s.upper(b.ID), root, !initialUserNS())
}

// overlay is how a bundle is mounted from its layers.
func (s *Store) overlay(b *Bundle, layers *stack) overlay.Options {
	return overlay.Options{
		Lower: layers.lower, Upper: s.upper(b.ID), Work: s.work(b.ID), Volatile: b.Volatile, UserXattr: !initialUserNS(),
		Name: mountName(b),
	}
}

// open mounts the overlay of a bundle, attached nowhere.
func (s *Store) open(b *Bundle, layers *stack) (*os.File, error) {
	how := s.overlay(b, layers)
	if b.Userns != nil {
		ns, err := userns.Open(*b.Userns)
		if err != nil {
			return nil, err
		}
		defer ns.Close()
		how.Userns = ns
	}
	return overlay.Open(how)
}

// view mounts the layers of a bundle to be looked at, attached nowhere, with the owners that the image has.
func (s *Store) view(b *Bundle, layers *stack) (*os.File, error) {
	how := s.overlay(b, layers)
	how.Upper, how.Empty = "", b.Rootfs() // there may be as many layers as the kernel takes
	return overlay.Open(how.View())
}

// viewAgain is view where the layers have been mounted: before Linux 6.15 an EROFS image is no use for a second mount.
func (s *Store) viewAgain(b *Bundle) (*os.File, error) {
	layers, err := s.openCovered(b)
	if err != nil {
		return nil, err
	}
	defer layers.Close()
	return s.view(b, layers)
}

// mountName is how mountinfo tells a bundle's overlay from others.
func mountName(b *Bundle) string { return "berth-layer-" + b.ID }
