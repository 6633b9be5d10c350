package layer

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/overlay"
)

// Mount mounts the root file system of a bundle where it is not mounted, and returns where.
func (s *Store) Mount(ctx context.Context, path string) (string, error) {
	b, err := s.FindBundle(path)
	if err != nil {
		return "", err
	}
	if b.Form != Mounted {
		return "", &fault.Error{Op: "mount", Path: b.Path, Msg: "its overlay is in config.json, for the runtime to mount in the container", Hint: "berth run it"}
	}
	held, err := s.lockName(ctx, b.ID)
	if err != nil {
		return "", err
	}
	defer held.free()
	if there, err := overlay.Mounted(b.Rootfs(), mountName(b)); there || err != nil {
		return b.Rootfs(), err
	}
	layers, err := s.openBundle(b)
	if err != nil {
		return "", err
	}
	defer layers.Close()
	return b.Rootfs(), overlay.Mount(s.overlay(b, layers), b.Rootfs())
}

// openBundle opens the layers of a bundle, with what Create has put on top of them.
func (s *Store) openBundle(b *Bundle) (*stack, error) {
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
	b, err := s.FindBundle(path)
	if err != nil {
		return err
	}
	held, err := s.lockName(ctx, b.ID)
	if err != nil {
		return err
	}
	defer held.free()
	return s.unmount(b, false)
}

func (s *Store) unmount(b *Bundle, detach bool) error {
	if b.Form != Mounted {
		return nil
	}
	return overlay.Unmount(b.Rootfs(), mountName(b), detach)
}

// unused refuses where a process has the bundle's overlay as its root: its container runs. Others may have it where the
// host has it, in a copy of the host's mounts.
func (s *Store) unused(b *Bundle) error {
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
		ns, err := os.Readlink(dir + "/ns/mnt")
		if err != nil || seen[ns] {
			continue // it has ended, or is not ours to look at
		}
		seen[ns] = true
		mounts, err := os.ReadFile(dir + "/mountinfo")
		if err == nil && rootIs(string(mounts), s.upper(b.ID)) {
			return &fault.Error{Op: "remove the bundle", Path: b.Path, Msg: "process " + filepath.Base(dir) + " is in a container made of it",
				Code: "bundle-busy", Hint: "berth delete the container first, or use --force"}
		}
	}
	return nil
}

// rootIs tells whether "/" of a mountinfo (proc_pid_mountinfo(5)) is an overlay with that upper directory.
func rootIs(mountinfo, upper string) bool {
	for line := range strings.Lines(mountinfo) {
		if fields := strings.Fields(line); len(fields) > 4 && fields[4] == "/" && strings.Contains(line, "upperdir="+upper) {
			return true
		}
	}
	return false
}
