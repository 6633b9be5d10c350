package tests

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a script waits for what must come.
const patience = 60 * time.Second

// runPTY runs a command with a new terminal as its controlling one. The terminal's output is copied to standard output,
// and the file says what happens, one action a line:
//
//	size ROWS COLUMNS   the window's size; the foreground gets SIGWINCH
//	expect TEXT         wait until the terminal has printed it
//	send TEXT           type it; \r, \n, \x03 are understood
//	mode raw|cooked     wait until the terminal is in that mode
func runPTY(args []string) error {
	ptmx, tty, err := openPTY()
	if err != nil {
		return err
	}
	if err := resize(ptmx, 24, 80); err != nil {
		return err
	}
	cmd := exec.Command(args[1], args[2:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	tty.Close()
	err = converse(args[0], ptmx)
	if err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		return err
	}
	return cmd.Wait()
}

// runConsole listens at a socket for a terminal, prints the payload that came with it and does what the file says.
func runConsole(args []string) error {
	ptmx, payload, err := receive(args[0])
	if err != nil {
		return err
	}
	fmt.Printf("payload %s\n", payload)
	file := os.DevNull
	if len(args) > 1 {
		file = args[1]
	}
	return converse(file, ptmx)
}

func runPidfd(args []string) error {
	pidfd, payload, err := receive(args[0])
	if err != nil {
		return err
	}
	info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", pidfd.Fd()))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(info)) {
		if pid, ok := strings.CutPrefix(line, "Pid:"); ok {
			fmt.Printf("payload %s\npid %s\n", payload, strings.TrimSpace(pid))
		}
	}
	return nil
}

// receive waits at a socket for one descriptor.
func receive(socket string) (*os.File, string, error) {
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		return nil, "", err
	}
	defer listener.Close()
	if err := listener.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, "", err
	}
	conn, err := listener.AcceptUnix()
	if err != nil {
		return nil, "", err
	}
	defer conn.Close()
	payload, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := conn.ReadMsgUnix(payload, oob)
	if err != nil {
		return nil, "", err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(messages) != 1 {
		return nil, "", fmt.Errorf("no descriptor came with %q (%v)", payload[:n], err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return nil, "", err
	}
	return os.NewFile(uintptr(fds[0]), "received"), string(payload[:n]), nil
}

func openPTY() (ptmx, tty *os.File, err error) {
	ptmx, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	fd := int(ptmx.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, nil, err
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		return nil, nil, err
	}
	tty, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	return ptmx, tty, err
}

func resize(ptmx *os.File, rows, columns int) error {
	return unix.IoctlSetWinsize(int(ptmx.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: uint16(rows), Col: uint16(columns)})
}

// converse plays a file's actions on a terminal and then copies what it prints until the last process has closed it.
func converse(file string, ptmx *os.File) error {
	script, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	t := &terminal{ptmx: ptmx, ended: make(chan bool)}
	go t.listen()
	for line := range strings.Lines(string(script)) {
		if err := t.act(strings.TrimSuffix(line, "\n")); err != nil {
			return fmt.Errorf("%q: %w", strings.TrimSpace(line), err)
		}
	}
	select {
	case <-t.ended:
		return nil
	case <-time.After(patience):
		return fmt.Errorf("the terminal stays in use")
	}
}

// terminal is the side of a pseudo-terminal where the user sits.
type terminal struct {
	ptmx  *os.File
	ended chan bool // closed at end of file

	mu     sync.Mutex
	screen bytes.Buffer // printed and not yet expected
}

// listen reads until EIO: nobody has the other side open.
func (t *terminal) listen() {
	defer close(t.ended)
	buf := make([]byte, 4096)
	for {
		n, err := t.ptmx.Read(buf)
		t.mu.Lock()
		t.screen.Write(buf[:n])
		t.mu.Unlock()
		os.Stdout.Write(bytes.ReplaceAll(buf[:n], []byte("\r"), nil))
		if err != nil {
			return
		}
	}
}

func (t *terminal) act(line string) error {
	verb, rest, _ := strings.Cut(line, " ")
	switch verb {
	case "", "#":
		return nil
	case "size":
		var rows, columns int
		if _, err := fmt.Sscan(rest, &rows, &columns); err != nil {
			return err
		}
		return resize(t.ptmx, rows, columns)
	case "send":
		text, err := strconv.Unquote(`"` + rest + `"`)
		if err != nil {
			return err
		}
		_, err = t.ptmx.WriteString(text)
		return err
	case "expect":
		return t.until(func() bool { return t.printed(rest) })
	case "mode":
		return t.until(func() bool { return t.mode() == rest })
	}
	return fmt.Errorf("no such action")
}

// printed takes everything up to a text from the screen.
func (t *terminal) printed(text string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := bytes.Index(t.screen.Bytes(), []byte(text))
	if i < 0 {
		return false
	}
	t.screen.Next(i + len(text))
	return true
}

// mode is raw where nothing typed is echoed or edited.
func (t *terminal) mode() string {
	termios, err := unix.IoctlGetTermios(int(t.ptmx.Fd()), unix.TCGETS)
	if err != nil || termios.Lflag&(unix.ICANON|unix.ECHO|unix.ISIG) == 0 {
		return "raw"
	}
	return "cooked"
}

func (t *terminal) until(done func() bool) error {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if done() {
			return nil
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return fmt.Errorf("it does not come; the screen has %q", t.screen.String())
}
