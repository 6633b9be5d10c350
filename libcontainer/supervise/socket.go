package supervise

import (
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// pathMax is the longest path that fits into sockaddr_un with its final NUL
// (unix(7)).
const pathMax = 107

// SendPTY hands the ptmx of a container's terminal to the manager that listens
// on the --console-socket: one message with the descriptor and, as payload,
// the terminal's name ("/dev/pts/0"). ptmx stays the caller's.
func SendPTY(socketPath string, ptmx *os.File, name string) error {
	return SendFile(socketPath, ptmx, []byte(name))
}

// SendPidfd hands the pidfd of a container's process to whoever listens on the
// --pidfd-socket. The payload is "standard" for init and "setns" for exec.
// pidfd stays the caller's.
func SendPidfd(socketPath string, pidfd *os.File, payload string) error {
	return SendFile(socketPath, pidfd, []byte(payload))
}

// SendFile sends payload and the descriptor of f to whoever listens at
// socketPath, on a connection of its own. f stays the caller's.
func SendFile(socketPath string, f *os.File, payload []byte) error {
	s, err := connect(socketPath, unix.SOCK_STREAM)
	if err != nil {
		return fail(err, "connect to", socketPath)
	}
	defer unix.Close(s)
	for rights := unix.UnixRights(int(f.Fd())); len(payload) > 0; rights = nil {
		n, err := retry(func() (int, error) { return unix.SendmsgN(s, payload, rights, nil, unix.MSG_NOSIGNAL) })
		if err != nil {
			return fail(err, "send a descriptor to", socketPath)
		}
		payload = payload[n:]
	}
	return nil
}

func sendmsg(s int, payload []byte, fd int) error {
	_, err := retry(func() (int, error) {
		return unix.SendmsgN(s, payload, unix.UnixRights(fd), nil, unix.MSG_NOSIGNAL)
	})
	return err
}

// connect returns a new socket of the given type (SOCK_STREAM, SOCK_DGRAM),
// connected to a path or, where that begins with '@', an abstract name.
func connect(path string, kind int) (int, error) {
	return withSocket(kind, func(s int) error {
		if len(path) <= pathMax {
			return connectTo(s, path)
		}
		fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return connectTo(s, procFD(fd))
	})
}

func connectTo(s int, path string) error {
	_, err := retry(func() (int, error) { return 0, unix.Connect(s, &unix.SockaddrUnix{Name: path}) })
	return err
}

// bind returns a new datagram socket at a path.
func bind(path string) (int, error) {
	return withSocket(unix.SOCK_DGRAM, func(s int) error {
		if len(path) <= pathMax {
			return unix.Bind(s, &unix.SockaddrUnix{Name: path})
		}
		dir, err := unix.Open(filepath.Dir(path), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(dir)
		return unix.Bind(s, &unix.SockaddrUnix{Name: procFD(dir) + "/" + filepath.Base(path)})
	})
}

// withSocket makes a socket and closes it where prepare fails.
func withSocket(kind int, prepare func(s int) error) (int, error) {
	s, err := unix.Socket(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := prepare(s); err != nil {
		_ = unix.Close(s)
		return -1, err
	}
	return s, nil
}

func procFD(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }
