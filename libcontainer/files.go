package libcontainer

import (
	"golang.org/x/sys/unix"
)

// The functions of package os put every file they open to Go's poller, whose
// set-up costs each command several system calls for files that cannot even be
// polled. The errors here are bare errnos.

func openFile(path string, flags int, mode uint32) (int, error) {
	for {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, mode)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// openAt is openFile below a directory's descriptor, for a file that exists.
func openAt(dir int, name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, flags|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// writeFile makes a file of mode 0600, or replaces what is in it. It follows no
// link.
func writeFile(path string, raw []byte) error {
	fd, err := openFile(path, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return err
	}
	for len(raw) > 0 && err == nil {
		var n int
		if n, err = unix.Write(fd, raw); err == unix.EINTR {
			n, err = 0, nil
		}
		raw = raw[max(n, 0):]
	}
	if closeErr := unix.Close(fd); err == nil {
		err = closeErr
	}
	return err
}
