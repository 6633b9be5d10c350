package rootfs

import (
	"errors"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/libcontainer/host"
)

// fill copies the directory that the tmpfs will cover. One that is missing
// leaves it empty.
func (c *CopyUp) fill(tmpfs int, keep fixed, maps userns) error {
	root, err := c.open(maps)
	if err != nil {
		return err
	}
	defer unix.Close(root)
	from, err := host.OpenIn(root, c.Target, unix.O_RDONLY|unix.O_DIRECTORY)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return err
	}
	to, err := unix.Openat(tmpfs, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		unix.Close(from)
		return err
	}
	t := treeCopy{top: tmpfs, links: map[inode]string{}}
	return t.dir(os.NewFile(uintptr(from), c.Target), os.NewFile(uintptr(to), ""), "", keep)
}

// open opens the container's root.
func (c *CopyUp) open(maps userns) (int, error) {
	if c.Layers != nil {
		return c.Layers.overlay(maps)
	}
	return unix.Open(c.Root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

// fixedBy tells which attributes of the top directory the options set, so that
// the copy leaves them.
func fixedBy(params []Param) fixed {
	return fixed{mode: hasParam(params, "mode"), owner: hasParam(params, "uid") || hasParam(params, "gid")}
}

type fixed struct{ mode, owner bool }

type inode struct{ dev, ino uint64 }

// treeCopy copies a tree that may change under it: it never follows a link and
// never opens what is not a regular file or a directory.
type treeCopy struct {
	top   int              // the new tree
	links map[inode]string // files with several names, by their first copy
}

// dir copies what is in from to to, and then from's own attributes. It closes
// both. rel is to's path in the new tree.
func (t treeCopy) dir(from, to *os.File, rel string, keep fixed) error {
	defer from.Close()
	defer to.Close()
	names, err := from.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := t.entry(from, to, name, path.Join(rel, name)); err != nil {
			return fault.From(err, "tmpcopyup", path.Join(from.Name(), name))
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(from.Fd()), &st); err != nil {
		return err
	}
	return attributes(from, to, &st, keep)
}

func (t treeCopy) entry(from, to *os.File, name, rel string) error {
	src, dst := int(from.Fd()), int(to.Fd())
	var st unix.Stat_t
	if err := unix.Fstatat(src, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if first, ok := t.links[inode{st.Dev, st.Ino}]; ok {
		return unix.Linkat(t.top, first, dst, name, 0)
	}
	if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		t.links[inode{st.Dev, st.Ino}] = rel
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return t.subdir(from, to, name, rel)
	case unix.S_IFREG:
		return t.file(from, to, name)
	case unix.S_IFLNK:
		return link(src, dst, name, &st)
	}
	if err := unix.Mknodat(dst, name, st.Mode, int(st.Rdev)); err != nil {
		return err
	}
	if err := unix.Fchownat(dst, name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	return unix.Fchmodat(dst, name, st.Mode&0o7777, 0)
}

func (t treeCopy) subdir(from, to *os.File, name, rel string) error {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW
	if err := unix.Mkdirat(int(to.Fd()), name, 0o700); err != nil {
		return err
	}
	src, err := openIn(from, name, flags, 0)
	if err != nil {
		return err
	}
	dst, err := openIn(to, name, flags, 0)
	if err != nil {
		src.Close()
		return err
	}
	return t.dir(src, dst, rel, fixed{})
}

func (t treeCopy) file(from, to *os.File, name string) error {
	src, err := openIn(from, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer src.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(src.Fd()), &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return unix.EAGAIN // exchanged meanwhile
	}
	dst, err := openIn(to, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer dst.Close()
	if _, err := io.Copy(dst, src); err != nil {
		return err
	}
	return attributes(src, dst, &st, fixed{})
}

func openIn(dir *os.File, name string, flags int, mode uint32) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, flags|unix.O_CLOEXEC, mode)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path.Join(dir.Name(), name)), nil
}

func link(src, dst int, name string, st *unix.Stat_t) error {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(src, name, buf)
	if err != nil {
		return err
	}
	if err := unix.Symlinkat(string(buf[:n]), dst, name); err != nil {
		return err
	}
	return unix.Fchownat(dst, name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW)
}

// attributes copies owner, mode, extended attributes and times, in an order in
// which none undoes another: chown(2) clears set-id bits.
func attributes(from, to *os.File, st *unix.Stat_t, keep fixed) error {
	fd := int(to.Fd())
	if !keep.owner {
		if err := unix.Fchown(fd, int(st.Uid), int(st.Gid)); err != nil {
			return err
		}
	}
	if !keep.mode {
		if err := unix.Fchmod(fd, st.Mode&0o7777); err != nil {
			return err
		}
	}
	if err := xattrs(int(from.Fd()), fd); err != nil {
		return err
	}
	times := [2]unix.Timeval{
		{Sec: st.Atim.Sec, Usec: st.Atim.Nsec / 1000},
		{Sec: st.Mtim.Sec, Usec: st.Mtim.Nsec / 1000},
	}
	return unix.Futimes(fd, times[:])
}

// xattrs copies what tmpfs takes.
func xattrs(from, to int) error {
	list, err := sized(func(buf []byte) (int, error) { return unix.Flistxattr(from, buf) })
	if err != nil {
		return ignoreUnsupported(err)
	}
	for _, name := range strings.Split(string(list), "\x00") {
		if name == "" {
			continue
		}
		value, err := sized(func(buf []byte) (int, error) { return unix.Fgetxattr(from, name, buf) })
		if err != nil {
			continue // removed meanwhile
		}
		if err := ignoreUnsupported(unix.Fsetxattr(to, name, value, 0)); err != nil {
			return err
		}
	}
	return nil
}

func ignoreUnsupported(err error) error {
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENODATA) {
		return nil
	}
	return err
}

// sized asks for the size first, as the xattr calls want it.
func sized(call func([]byte) (int, error)) ([]byte, error) {
	n, err := call(nil)
	if err != nil || n == 0 {
		return nil, err
	}
	buf := make([]byte, n)
	n, err = call(buf)
	if err != nil {
		return nil, err
	}
	return buf[:n], nil
}
