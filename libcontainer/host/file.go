package host

import (
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// ReadFile reads a whole file with as few system calls as possible: os.ReadFile
// would stat it and offer it to Go's poller first. The error is a bare errno.
func ReadFile(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	for err == unix.EINTR {
		fd, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	return ReadAll(fd, maxFile)
}

// BootID names this boot of the machine: pids, groups and mounts of another one
// mean nothing (random(4), boot_id). It is "" where there is none to read.
var BootID = sync.OnceValue(func() string {
	raw, _ := ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(raw))
})

// OpenIn opens a path of an image inside its root: links stay inside, magic
// links are refused (openat2(2)). It is tried again where the kernel gives a
// path with ".." in it up because something was renamed meanwhile. The
// descriptor is the caller's and close-on-exec; the error is a bare errno.
func OpenIn(root int, path string, flags uint64) (fd int, err error) {
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	for range walkTries {
		if fd, err = unix.Openat2(root, path, &how); err != unix.EAGAIN && err != unix.EINTR {
			break
		}
	}
	return fd, err
}

// walkTries is WALK_TRIES of nsenter.c.
const walkTries = 1_000_000

// maxFile is more than any file of the kernel or of the runtime's own has.
const maxFile = 1 << 30

// ReadAll reads what fd has, at most limit bytes of it.
func ReadAll(fd, limit int) ([]byte, error) {
	buf := make([]byte, 0, min(limit, 8192))
	for len(buf) < limit {
		n, err := unix.Read(fd, buf[len(buf):cap(buf)])
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return nil, err
		case n == 0:
			return buf, nil
		}
		buf = buf[:len(buf)+n]
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, min(cap(buf), limit-len(buf)))
		}
	}
	return buf[:limit], nil
}

// OpenRegularIn is OpenIn for reading a file of an image. What is no regular
// file is not opened at all: to open a device can already be too much.
func OpenRegularIn(root int, path string) (int, error) {
	at, err := OpenIn(root, path, unix.O_PATH)
	if err != nil {
		return -1, err
	}
	defer unix.Close(at)
	var st unix.Stat_t
	if err := unix.Fstat(at, &st); err != nil {
		return -1, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return -1, unix.EINVAL
	}
	return unix.Open("/proc/self/fd/"+strconv.Itoa(at), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
}
