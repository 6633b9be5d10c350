package layer

import (
	"context"
	"os"

	"berth/rootfs/layer/overlay"
)

// scratchDir is where the file system of a bundle with a limited size is mounted, scratchFile its image.
const (
	scratchDir  = "scratch"
	scratchFile = "scratch.ext4"
)

// written is the directory that has all that a bundle's container writes: upper, work, volumes.
func (s *Store) written(id string) string {
	limited := s.path(bundlesDir, id, scratchDir)
	if there, _ := exists(limited); there {
		return limited
	}
	return s.path(bundlesDir, id)
}

// scratch is the file system of limited size that a bundle writes to: in memory where nothing need survive.
func (s *Store) scratch(b *Bundle) overlay.Scratch {
	out := overlay.Scratch{Dir: s.path(bundlesDir, b.ID, scratchDir), Size: b.Size}
	if !b.Volatile {
		out.File = s.path(bundlesDir, b.ID, scratchFile)
	}
	return out
}

// mountScratch mounts the file system of a bundle with a limited size; others have none.
func (s *Store) mountScratch(b *Bundle) error {
	if b.Size == 0 {
		return nil
	}
	held, err := s.lockName(context.Background(), b.ID+"-"+scratchDir) // of two at once both would mount it
	if err != nil {
		return err
	}
	defer held.free()
	return s.scratch(b).Mount()
}

// settle makes what was written to a volatile bundle last, so that the runtime can use its upper directory again: the
// kernel's mark says that it may have missed something (overlayfs.rst, "Volatile mount"). Nothing may use it.
func (s *Store) settle(b *Bundle) error {
	mark := s.work(b.ID) + "/work/incompat"
	if there, err := exists(mark); err != nil || !there {
		return err
	}
	if err := syncFS(s.upper(b.ID)); err != nil {
		return err
	}
	return os.RemoveAll(mark)
}

// unmount unmounts what is mounted of a bundle. What is in memory only stays, unless all is to go.
func (s *Store) unmount(b *Bundle, detach, all bool) error {
	if b.Form == Mounted {
		if err := overlay.Unmount(b.Rootfs(), mountName(b), detach); err != nil {
			return err
		}
	}
	switch {
	case b.Volatile && !all && b.Form == InConfig:
		return s.settle(b)
	case b.Size == 0, b.Volatile && !all:
		return nil
	}
	return s.scratch(b).Unmount(detach)
}
