package overlayfs

import (
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

// mapped makes every directory one of an id-mapped clone. Directories of one
// mount share a clone of what is above all of them: upper and work have to be
// on one mount, and each mount that goes costs a wait of the kernel.
func (b *builder) mapped(dirs []setting) error {
	groups := map[uint64][]*setting{}
	var order []uint64
	for i := range dirs {
		d := &dirs[i]
		if d.fd >= 0 {
			if err := b.mappedMount(d); err != nil {
				return err
			}
			continue
		}
		id, err := d.resolve()
		if err != nil {
			return b.m.failed(err, d.path)
		}
		if groups[id] == nil {
			order = append(order, id)
		}
		groups[id] = append(groups[id], d)
	}
	for _, id := range order {
		if err := b.mappedGroup(groups[id]); err != nil {
			return err
		}
	}
	return nil
}

// resolve makes the path one without links and returns the mount it is on.
func (s *setting) resolve() (mount uint64, err error) {
	if s.Value, err = filepath.EvalSymlinks(s.path); err != nil {
		return 0, err
	}
	return mountOf(s.Value)
}

// mountOf is the id of the mount that a path is on (statx(2), STATX_MNT_ID).
func mountOf(path string) (uint64, error) {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_MNT_ID, &st)
	return st.Mnt_id, err
}

// mappedMount maps a detached mount: a clone of it where the kernel makes one
// (Linux 6.15), else itself.
func (b *builder) mappedMount(d *setting) error {
	fd, err := cloneMount(d.fd, "")
	if err == nil {
		d.fd = b.keep(fd)
	}
	b.loose = append(b.loose, d.fd)
	return b.idmap(d.fd, d.path)
}

func (b *builder) mappedGroup(dirs []*setting) error {
	top := dirs[0].Value
	for _, d := range dirs[1:] {
		for !inside(d.Value, top) {
			top = filepath.Dir(top)
		}
	}
	fd, err := cloneMount(unix.AT_FDCWD, top)
	if err != nil {
		return b.m.failed(err, top)
	}
	b.loose = append(b.loose, b.keep(fd))
	if err := b.idmap(fd, top); err != nil {
		return err
	}
	for _, d := range dirs {
		below := strings.TrimPrefix(strings.TrimPrefix(d.Value, top), "/")
		if d.fd, err = openDir(fd, "./"+below); err != nil {
			return b.m.failed(err, d.path)
		}
		b.keep(d.fd)
	}
	return nil
}

// cloneMount clones one mount, without those below it.
func cloneMount(dir int, path string) (int, error) {
	flags := uint(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if path == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	return unix.OpenTree(dir, path, flags)
}

func (b *builder) idmap(fd int, path string) error {
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(b.m.Userns.Fd())}
	err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr)
	if err == nil {
		return nil
	}
	e := fault.From(err, "mount overlay, idmap", path)
	switch e.Errno {
	case unix.EINVAL:
		e.Hint = "the file system of this layer has no id-mapped mounts (tmpfs has since Linux 6.3, an overlay never)"
	case unix.EPERM:
		e.Hint = "an id-mapped layer needs CAP_SYS_ADMIN in the user namespace of its file system, and is not mapped yet"
	}
	return e
}

// asOwner makes the thread act on files as the owner of the mapped upper
// directory: an overlay makes its own files as who mounted it, and the runtime's
// root has no id in a mapped directory (EOVERFLOW, and the overlay is read-only).
func (b *builder) asOwner(dirs []setting) error {
	for _, d := range dirs {
		if d.Key != "upperdir" {
			continue
		}
		var st unix.Stat_t
		if err := unix.Fstatat(d.fd, "", &st, unix.AT_EMPTY_PATH); err != nil {
			return b.m.failed(err, d.path)
		}
		if err := actAs(int(st.Uid), int(st.Gid)); err != nil {
			return b.m.failed(err, d.path)
		}
		if unix.Faccessat(d.fd, ".", unix.W_OK, unix.AT_EACCESS) == unix.EOVERFLOW {
			return complaint(d.path, "the upper directory's owner has no id in the user namespace",
				"give upperdir and workdir to an id of the image, such as 0")
		}
	}
	return nil
}

// actAs changes the thread's file system ids and keeps its capabilities, of
// which setfsuid(2) takes some away.
func actAs(uid, gid int) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var caps [2]unix.CapUserData
	if err := unix.Capget(&header, &caps[0]); err != nil {
		return err
	}
	if _, err := unix.SetfsgidRetGid(gid); err != nil {
		return err
	}
	if _, err := unix.SetfsuidRetUid(uid); err != nil {
		return err
	}
	return unix.Capset(&header, &caps[0])
}
