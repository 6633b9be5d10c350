package rootfs

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/rootfs/overlayfs"
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

// ReadLinks reads the symbolic links that are to be copied (copy-symlink), for
// Compile. What is not a link, or cannot be read, is bound.
func (p *Plan) ReadLinks() {
	for _, op := range p.Ops {
		if m, ok := op.(*Bind); ok && m.Flags.CopyLink {
			m.link, _ = os.Readlink(m.Source)
		}
	}
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
	if s.Fresh != nil && s.Fresh.Overlay != nil {
		fd, err = s.overlay(maps)
		s.IDMap = nil // its layers are mapped
	} else {
		fd, err = s.detached()
	}
	if err != nil {
		return -1, err
	}
	if s.CopyUp != nil {
		err = s.CopyUp.fill(fd, fixedBy(s.Fresh.Params), maps)
	}
	if err == nil {
		err = s.change(fd, maps)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// detached is the mount before it is changed.
func (s Source) detached() (fd int, err error) {
	if s.Fresh != nil {
		return s.fresh()
	}
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if s.Recursive {
		flags |= unix.AT_RECURSIVE
	}
	if s.NoFollow {
		flags |= unix.AT_SYMLINK_NOFOLLOW
	}
	return unix.OpenTree(unix.AT_FDCWD, s.Path, flags)
}

// overlay mounts an overlay, detached.
func (s Source) overlay(maps userns) (int, error) {
	o := *s.Fresh.Overlay
	if s.IDMap != nil {
		ns, err := maps.get(*s.IDMap)
		if err != nil {
			return -1, err
		}
		o.Userns = ns
	}
	f, err := overlayfs.Open(&o, s.Fresh.Kernel)
	if err != nil {
		return -1, err
	}
	defer f.Close()
	return unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
}

// fresh makes the file system, detached.
func (s Source) fresh() (int, error) {
	fs, err := unix.Fsopen(s.Fresh.Type, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fs)
	for _, q := range s.Fresh.Params {
		if q.HasValue {
			err = unix.FsconfigSetString(fs, q.Key, q.Value)
		} else {
			err = unix.FsconfigSetFlag(fs, q.Key)
		}
		if err != nil {
			return -1, fault.From(err, "mount "+s.Fresh.Type+" -o "+q.String(), s.Path).For(q.field(s.Field))
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, err
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, int(s.Fresh.Attrs))
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
