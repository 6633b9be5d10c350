package layer

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/convert"
	"berth/rootfs/layer/overlay"
	"berth/rootfs/layer/userns"
	"berth/rootfs/overlayfs"
)

// configure writes a bundle's config.json, fills its volumes and mounts its root file system.
func (s *Store) configure(i *Image, b *Bundle, o CreateOptions, layers *stack) error {
	mount, view, err := s.openBoth(b, layers)
	if err != nil {
		return err
	}
	defer view.Close()
	defer mount.Close() // the same, another, or nil
	options, err := s.options(b, o, layers)
	if err != nil {
		return err
	}
	spec, volumes, err := convert.Config(&i.Config, convert.Root{File: view}, options)
	if err != nil {
		return err
	}
	if err := s.beginVolumes(b, volumes, view); err != nil {
		return err
	}
	data, err := encode(spec)
	if err != nil {
		return err
	}
	if mount != nil {
		if err := overlay.Attach(mount, b.Rootfs()); err != nil {
			return err
		}
	}
	if err := s.complete(b, data); err != nil {
		return errors.Join(err, s.unmount(b, true, true))
	}
	return nil
}

// complete writes config.json, whole or not at all. A bundle that has one is complete.
func (s *Store) complete(b *Bundle, data []byte) error {
	staged := filepath.Join(b.Path, ".config.json")
	if err := os.Remove(staged); err != nil && !os.IsNotExist(err) {
		return err
	}
	defer os.Remove(staged)
	if err := writeSynced(staged, data, 0o600); err != nil {
		return err
	}
	return s.rename(staged, filepath.Join(b.Path, "config.json"))
}

// openBoth mounts what is to be attached, nil where that is the runtime's, and what is to be looked at.
func (s *Store) openBoth(b *Bundle, layers *stack) (mount, view *os.File, err error) {
	if b.Form == InConfig {
		view, err = s.view(b, layers)
		return nil, view, err
	}
	if mount, err = s.open(b, layers); err != nil || b.Userns == nil {
		return mount, mount, err
	}
	if view, err = s.viewAgain(b); err != nil {
		mount.Close()
	}
	return mount, view, err
}

// options are how an image's configuration becomes the bundle's.
func (s *Store) options(b *Bundle, o CreateOptions, layers *stack) (convert.Options, error) {
	c := o.Config
	c.CgroupNS, c.Volumes = true, s.volumes(b)
	if b.Form == InConfig {
		c.Root = s.rootMount(b, layers)
	}
	if b.Userns != nil {
		ns, err := userns.Open(*b.Userns) // now, not when the container starts, it is told what cannot be
		if err != nil {
			return c, err
		}
		ns.Close()
		c.UIDMappings, c.GIDMappings = b.Userns.UIDs, b.Userns.GIDs
	}
	if !o.Rootless {
		return c, nil
	}
	own, err := userns.Current()
	if err != nil {
		return c, err
	}
	uid, gid, ok := own.Root()
	if !ok {
		return c, &fault.Error{Op: "create the bundle", Path: b.Path, Msg: "root of this user namespace is nobody around it"}
	}
	c.Rootless, c.EUID, c.EGID = true, int(uid), int(gid)
	c.UIDMappings, c.GIDMappings = own.UIDs, own.GIDs
	return c, nil
}

// rootMount is the overlay as the first mount of config.json. A configuration names directories: of layers that are
// images it is the tree beside the image (unpackTrees).
func (s *Store) rootMount(b *Bundle, layers *stack) *specs.Mount {
	how := s.overlay(b, layers)
	how.Lower = nil
	for n, l := range layers.lower {
		if l.Dir != nil {
			l = overlayfs.Layer{Path: s.layer(layers.diffID[n]) + "/" + treeDir}
		}
		how.Lower = append(how.Lower, l)
	}
	m := how.ConfigMount()
	return &m
}

// volumes is where the content of the image's volumes is kept. As with Docker's anonymous volumes, it stays until the
// bundle is removed, and is not part of what is committed.
func (s *Store) volumes(b *Bundle) string { return filepath.Join(s.written(b.ID), "volumes") }

// beginVolumes records the volumes of a bundle, and gives them what the image has there.
func (s *Store) beginVolumes(b *Bundle, volumes []convert.Volume, root *os.File) error {
	if len(volumes) == 0 {
		return nil
	}
	b.Volumes = volumes
	data, err := encode(b)
	if err != nil {
		return err
	}
	if err := s.writeFile(filepath.Join(bundlesDir, b.ID, "bundle.json"), data); err != nil {
		return err
	}
	return seed(volumes, root)
}

func seed(volumes []convert.Volume, root *os.File) error {
	for _, v := range volumes {
		if err := convert.Seed(root, v); err != nil {
			return err
		}
	}
	return nil
}

// fillVolumes fills volumes that are not there: they were in memory.
func (s *Store) fillVolumes(b *Bundle) error {
	if there, err := exists(s.volumes(b)); there || err != nil || len(b.Volumes) == 0 {
		return err
	}
	root, err := s.viewAgain(b)
	if err != nil {
		return err
	}
	defer root.Close()
	return seed(b.Volumes, root)
}
