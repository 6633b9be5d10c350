package unpack

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// again repeats a system call that a signal interrupted, as network and FUSE file systems allow.
func again(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

func openAt(dir int, name string, flags int, mode uint32) (fd int, err error) {
	err = again(func() error {
		fd, err = unix.Openat(dir, name, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, mode)
		return err
	})
	return fd, err
}

func openDirAt(dir int, name string) (int, error) {
	return openAt(dir, name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
}

// times sets the modification time and leaves the access time.
func times(mtime time.Time) [2]unix.Timespec {
	if mtime.IsZero() {
		mtime = time.Unix(0, 0)
	}
	return [2]unix.Timespec{
		{Nsec: unix.UTIME_OMIT},
		{Sec: mtime.Unix(), Nsec: int64(mtime.Nanosecond())},
	}
}

// setTimes does not follow links.
func setTimes(h handle, mtime time.Time) error {
	ts := times(mtime)
	if h.name != "" {
		return unix.UtimesNanoAt(h.fd, h.name, ts[:], unix.AT_SYMLINK_NOFOLLOW)
	}
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(h.fd), 0, uintptr(unsafe.Pointer(&ts[0])), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// attrPath is for the calls on attributes, which know no directories before Linux 6.13.
func (h handle) attrPath() string { return "/proc/self/fd/" + strconv.Itoa(h.fd) + "/" + h.name }

// handle is an inode: the open file fd, or name in the directory fd.
type handle struct {
	fd   int
	name string
}

func setAttr(h handle, attr string, value []byte) error {
	if h.name == "" {
		return unix.Fsetxattr(h.fd, attr, value, 0)
	}
	return unix.Lsetxattr(h.attrPath(), attr, value, 0)
}

func chown(h handle, uid, gid int) error {
	if h.name == "" {
		return unix.Fchown(h.fd, uid, gid)
	}
	return unix.Fchownat(h.fd, h.name, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
}

func chmod(h handle, mode uint32) error {
	if h.name == "" {
		return unix.Fchmod(h.fd, mode)
	}
	return unix.Fchmodat(h.fd, h.name, mode, 0) // never a symbolic link: those are not asked for
}

func errnoOf(err error) syscall.Errno {
	errno, _ := err.(syscall.Errno)
	return errno
}

// listAttrs returns the names of the attributes of an inode, links not followed.
func listAttrs(h handle) ([]string, error) {
	list := func(buf []byte) (int, error) {
		if h.name == "" {
			return unix.Flistxattr(h.fd, buf)
		}
		return unix.Llistxattr(h.attrPath(), buf)
	}
	raw, err := sized(list)
	if err == unix.EOPNOTSUPP || len(raw) == 0 {
		return nil, nil
	}
	return strings.Split(strings.TrimSuffix(string(raw), "\x00"), "\x00"), err
}

func getAttr(h handle, attr string) ([]byte, error) {
	return sized(func(buf []byte) (int, error) {
		if h.name == "" {
			return unix.Fgetxattr(h.fd, attr, buf)
		}
		return unix.Lgetxattr(h.attrPath(), attr, buf)
	})
}

// sized calls what fills a buffer with one that is large enough.
func sized(call func([]byte) (int, error)) ([]byte, error) {
	for buf := make([]byte, 256); ; buf = make([]byte, 2*len(buf)) {
		n, err := call(buf)
		if err != unix.ERANGE {
			return buf[:max(n, 0)], err
		}
	}
}

// dropAttrs removes the attributes of an inode, as far as the host's security modules let it.
func dropAttrs(h handle) error {
	names, err := listAttrs(h)
	for _, name := range names {
		if err := removeAttr(h, name); err != nil && !strings.HasPrefix(name, "security.") {
			return os.NewSyscallError("remove attribute "+name, err)
		}
	}
	return err
}

func removeAttr(h handle, attr string) error {
	if h.name == "" {
		return unix.Fremovexattr(h.fd, attr)
	}
	return unix.Lremovexattr(h.attrPath(), attr)
}
