package supervise

import (
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// TTY is the host's side of a container's terminal. The methods accept a nil
// *TTY: a container without a terminal.
//
// Between a terminal on the host and the container's, exactly one side may
// turn "\n" into "\r\n" and echo what is typed. With a terminal on both sides
// that is the container's, because its programs set it as they need; the
// host's is in raw mode. Where standard output is no terminal nobody needs
// carriage returns, and `run >file` writes what the process wrote.
type TTY struct {
	ptmx   *os.File // nil once closed
	master int      // its descriptor; Fd would make it blocking again
	stdin  int
	stdout int
	host   int           // the terminal whose size counts, or -1
	saved  *unix.Termios // of stdin, while it is in raw mode
	peer   int           // see reopen; or -1
	exited wake          // tells the copying goroutine that the process has ended
	done   chan struct{} // closed by the copying goroutine; nil before Start
	stuck  bool          // the goroutine cannot be ended
	reset  sync.Once
}

// OpenTTY takes over the container's ptmx (also on failure) and gives it the
// window size of the first of stdin, stdout and stderr that is a terminal. The
// three stay the caller's and must stay open until Close. Nothing is copied
// and the host's terminal is not changed before Start.
func OpenTTY(ptmx, stdin, stdout, stderr *os.File) (*TTY, error) {
	t := &TTY{ptmx: ptmx, master: int(ptmx.Fd()), stdin: int(stdin.Fd()), stdout: int(stdout.Fd()), host: -1, peer: -1, exited: -1}
	t.host = firstTerminal(t.stdin, t.stdout, int(stderr.Fd()))
	if err := t.prepare(); err != nil {
		t.Close()
		return nil, err
	}
	t.Resize()
	return t, nil
}

func (t *TTY) prepare() (err error) {
	// The open file description is ours alone: only the pty's other side is
	// shared with the container.
	if err := unix.SetNonblock(t.master, true); err != nil {
		return fail(err, "fcntl", "the container's terminal")
	}
	if !isTerminal(t.stdout) {
		if err := clearONLCR(t.master); err != nil {
			return fail(err, "tcsetattr", "the container's terminal")
		}
	}
	if t.exited, err = newWake(); err != nil {
		return fail(err, "eventfd", "")
	}
	return nil
}

// Resize gives the container's terminal the size of the host's. The kernel
// sends SIGWINCH to the container's foreground process group.
func (t *TTY) Resize() {
	if t == nil || t.host < 0 {
		return
	}
	size, err := unix.IoctlGetWinsize(t.host, unix.TIOCGWINSZ)
	if err != nil || size.Row == 0 && size.Col == 0 {
		return
	}
	_ = unix.IoctlSetWinsize(t.master, unix.TIOCSWINSZ, size)
}

// Start puts stdin into raw mode where it is a terminal, and begins to copy
// both ways.
func (t *TTY) Start() error {
	if t == nil {
		return nil
	}
	if err := t.raw(); err != nil {
		return fail(err, "tcsetattr", "standard input")
	}
	t.done = make(chan struct{})
	go t.copy()
	return nil
}

// raw changes nothing where stdin is no terminal.
func (t *TTY) raw() error {
	saved, err := unix.IoctlGetTermios(t.stdin, unix.TCGETS)
	if err != nil {
		return nil
	}
	t.saved = saved
	return setTermios(t.stdin, rawMode(*saved))
}

// restore gives stdin its mode back, once.
func (t *TTY) restore() {
	t.reset.Do(func() {
		if t.saved != nil {
			_ = setTermios(t.stdin, *t.saved)
		}
	})
}

// finish copies what the process has written before it ended, which must have
// happened. A user who does not want to wait for whoever reads our output
// sends a signal.
func (t *TTY) finish(signals *Signals) {
	if t == nil || t.done == nil {
		return
	}
	t.exited.set()
	if !signals.ended(t.done) {
		// The goroutine is stuck in a write; its descriptors must not be
		// closed under it. The runtime is about to exit.
		t.restore()
		t.stuck = true
	}
}

// Close restores the host's terminal, ends the copying and closes the
// container's ptmx. It may be called again.
func (t *TTY) Close() {
	if t == nil {
		return
	}
	t.restore()
	if t.ptmx == nil || t.stuck {
		return
	}
	if t.done != nil {
		t.exited.set()
		<-t.done
	}
	t.hangUp()
	if t.exited >= 0 {
		t.exited.close()
	}
	_ = t.ptmx.Close()
	t.ptmx = nil
}

// reopen opens the other side of the container's terminal. As long as any
// process has it open, reading the ptmx waits; with none it fails with EIO.
// A container whose processes have closed their terminal may open /dev/console
// again (systemd does), so EIO is the end only after the process has ended.
// TIOCGPTPEER (Linux 4.13) needs no path into the container.
func (t *TTY) reopen() bool {
	t.hangUp()
	flags := uintptr(unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC)
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(t.master), unix.TIOCGPTPEER, flags)
	if errno != 0 {
		return false
	}
	t.peer = int(fd)
	return true
}

func (t *TTY) hangUp() {
	if t.peer >= 0 {
		_ = unix.Close(t.peer)
		t.peer = -1
	}
}

// SetSize sets the window size of a terminal, given as its ptmx or its other
// side: process.consoleSize.
func SetSize(ptmx *os.File, rows, cols uint16) error {
	err := unix.IoctlSetWinsize(int(ptmx.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
	if err != nil {
		return fail(err, "set the window size", "the container's terminal")
	}
	return nil
}

// PTYName is the path of a ptmx's other side in its own devpts, such as
// "/dev/pts/0" (ptsname(3)).
func PTYName(ptmx *os.File) (string, error) {
	n, err := unix.IoctlGetUint32(int(ptmx.Fd()), unix.TIOCGPTN)
	if err != nil {
		return "", fail(err, "get the name of", "the container's terminal")
	}
	return fmt.Sprintf("/dev/pts/%d", n), nil
}

func firstTerminal(fds ...int) int {
	for _, fd := range fds {
		if isTerminal(fd) {
			return fd
		}
	}
	return -1
}

func isTerminal(fd int) bool {
	_, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	return err == nil
}

// rawMode is cfmakeraw(3).
func rawMode(t unix.Termios) unix.Termios {
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	return t
}

func clearONLCR(fd int) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	t.Oflag &^= unix.ONLCR
	return setTermios(fd, *t)
}

func setTermios(fd int, t unix.Termios) error {
	_, err := retry(func() (int, error) { return 0, unix.IoctlSetTermios(fd, unix.TCSETS, &t) })
	return err
}
