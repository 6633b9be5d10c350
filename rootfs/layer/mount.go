package layer

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/overlay"
)

// Mount mounts the root file system of a bundle where it is not mounted, and returns where. Of one whose overlay is in
// config.json it is the file system of limited size that its container writes to.
func (s *Store) Mount(ctx context.Context, path string) (string, error) {
	b, held, err := s.lockBundle(ctx, path)
	if err != nil {
		return "", err
	}
	defer held.free()
	if b.Form != Mounted && b.Size == 0 {
		return "", &fault.Error{Op: "mount", Path: b.Path, Msg: "its overlay is in config.json, for the runtime to mount in the container",
			Hint: "berth run -b " + b.Path}
	}
	layers, err := s.openBundle(b)
	if err != nil {
		return "", err
	}
	defer layers.Close()
	if b.Form != Mounted {
		return s.written(b.ID), s.fillVolumes(b)
	}
	if there, err := overlay.Mounted(b.Rootfs(), mountName(b)); there || err != nil {
		return b.Rootfs(), err
	}
	mount, err := s.open(b, layers)
	if err != nil {
		return "", err
	}
	defer mount.Close()
	if err := s.fillVolumes(b); err != nil {
		return "", err
	}
	return b.Rootfs(), overlay.Attach(mount, b.Rootfs())
}

// openBundle opens the layers of a bundle, with what Create has put on top of them. What it writes to is there then, after
// a reboot too.
func (s *Store) openBundle(b *Bundle) (*stack, error) {
	layers, err := s.openCovered(b)
	if err != nil {
		return nil, err
	}
	before, err := exists(s.upper(b.ID))
	if err == nil {
		err = s.mountScratch(b)
	}
	if err == nil && !before && b.Volatile { // it was in memory
		err = s.setRoot(b, layers)
	}
	if err != nil {
		layers.Close()
		return nil, err
	}
	return layers, nil
}

func (s *Store) openCovered(b *Bundle) (*stack, error) {
	layers, err := s.openStack(b.Layers)
	if err != nil {
		return nil, err
	}
	cover := s.path(bundlesDir, b.ID, "parents")
	if there, err := exists(cover); err != nil || !there {
		return layers, err
	}
	if err := layers.cover(cover); err != nil {
		layers.Close()
		return nil, err
	}
	return layers, nil
}

// Unmount unmounts the root file system of a bundle. What was written is kept.
func (s *Store) Unmount(ctx context.Context, path string) error {
	b, held, err := s.lockBundle(ctx, path)
	if err != nil {
		return err
	}
	defer held.free()
	if b.Form != Mounted {
		if err := s.unused("unmount the bundle", b); err != nil {
			return err
		}
	}
	return s.unmount(b, false, false)
}

// unused refuses where a process has the bundle's overlay as its root: its container runs. Others may have it where the
// host has it, in a copy of the host's mounts.
func (s *Store) unused(op string, b *Bundle) error {
	own, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return err
	}
	seen := map[string]bool{own: true}
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return err
	}
	for _, dir := range processes {
		// Which namespace it is in is not for everybody to see, but what is mounted there is.
		ns, err := os.Readlink(dir + "/ns/mnt")
		if err == nil && seen[ns] {
			continue
		}
		seen[ns] = err == nil
		mounts, err := os.ReadFile(dir + "/mountinfo")
		if err == nil && rootIs(string(mounts), mountName(b)) {
			return &fault.Error{Op: op, Path: b.Path, Msg: "process " + filepath.Base(dir) + " is in a container made of it",
				Code: "bundle-busy", Hint: "berth delete the container first, or use --force"}
		}
	}
	return nil
}

// rootIs tells whether "/" of a mountinfo (proc_pid_mountinfo(5)) is the overlay of that name.
func rootIs(mountinfo, name string) bool {
	for line := range strings.Lines(mountinfo) {
		if fields := strings.Fields(line); len(fields) > 4 && fields[4] == "/" && strings.Contains(line, " - overlay "+name+" ") {
			return true
		}
	}
	return false
}
