package rootfs

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

// Open opens the sources of a plan, in their order: detached clones of host
// mounts, with their attributes, and filled tmpfs. The descriptors are the
// caller's. Where one fails, none is left open and the error names its entry.
func Open(sources []Source) (_ []*os.File, err error) {
	out := make([]*os.File, 0, len(sources))
	maps := userns{}
	defer maps.close()
	defer func() {
		if err != nil {
			closeAll(out)
		}
	}()
	for _, s := range sources {
		fd, err := s.open(maps)
		if err != nil {
			return out, s.fail(err)
		}
		out = append(out, os.NewFile(uintptr(fd), s.Path))
	}
	return out, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// fail is err about s.
func (s Source) fail(err error) error {
	e := fault.From(err, s.Op, s.Path).For(s.Field).In(fault.PhaseMounts)
	if e.Hint == "" {
		e.Hint = Explain(e.Op, e.Errno)
	}
	return e
}

func (s Source) open(maps userns) (fd int, err error) {
	if s.CopyUp != nil {
		return s.CopyUp.open()
	}
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if s.Recursive {
		flags |= unix.AT_RECURSIVE
	}
	fd, err = unix.OpenTree(unix.AT_FDCWD, s.Path, flags)
	if err != nil {
		return -1, err
	}
	if err := s.change(fd, maps); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// change sets attributes, propagation and id map of the clone fd.
func (s Source) change(fd int, maps userns) error {
	own := unix.MountAttr{Attr_set: s.Attr.Set, Attr_clr: s.Attr.Clear}
	all := unix.MountAttr{Attr_set: s.Rec.Set, Attr_clr: s.Rec.Clear, Propagation: s.base &^ unix.MS_REC}
	if err := errors.Join(setattr(fd, false, own), setattr(fd, true, all)); err != nil {
		return err
	}
	if s.alone && s.base != unix.MS_PRIVATE|unix.MS_REC {
		if err := setattr(fd, false, unix.MountAttr{Propagation: unix.MS_PRIVATE}); err != nil {
			return err
		}
	}
	if s.IDMap == nil {
		return nil
	}
	ns, err := maps.get(*s.IDMap)
	if err != nil {
		return err
	}
	err = setattr(fd, s.IDMap.Recursive, unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(ns.Fd())})
	if err != nil {
		return fault.From(err, "idmap", s.Path)
	}
	return nil
}

// setattr is mount_setattr(2) on a descriptor; nothing to change is no call.
func setattr(fd int, all bool, a unix.MountAttr) error {
	if a == (unix.MountAttr{}) {
		return nil
	}
	flags := uint(unix.AT_EMPTY_PATH)
	if all {
		flags |= unix.AT_RECURSIVE
	}
	return unix.MountSetattr(fd, "", flags, &a)
}
