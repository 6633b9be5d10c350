package supervise

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// console is a TTY under test: the container's terminal (slave is what its
// processes have open), and pipes as the host's standard descriptors.
type console struct {
	*TTY
	slave  *os.File
	stdin  *os.File // the test's end
	output func() string
}

func newConsole(t *testing.T) *console {
	t.Helper()
	stdin, typed := pipe(t)
	printed, stdout := pipe(t)
	ptmx, slave := pty(t)
	tty, err := OpenTTY(ptmx, stdin, stdout, stdout)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tty.Close)
	c := &console{TTY: tty, slave: slave, stdin: typed}
	c.output = collect(printed, stdout)
	return c
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

// collect reads r in the background. The function it returns closes the
// writing end and returns all that was read.
func collect(r, w *os.File) func() string {
	var b bytes.Buffer
	done := make(chan struct{})
	go func() { defer close(done); _, _ = io.Copy(&b, r) }()
	return func() string { w.Close(); <-done; return b.String() }
}

func (c *console) start(t *testing.T) {
	t.Helper()
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
}

// end is the end of the container's process.
func (c *console) end(t *testing.T) string {
	t.Helper()
	var text string
	soon(t, "the terminal's end", func() {
		c.finish(&Signals{})
		c.Close()
		text = c.output()
	})
	return text
}

// say writes to the container's terminal as its process would.
func (c *console) say(t *testing.T, text string) {
	t.Helper()
	if _, err := c.slave.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func TestTTYCopiesOutput(t *testing.T) {
	c := newConsole(t)
	c.say(t, "before\n") // the process may be faster than the runtime
	c.start(t)
	c.say(t, "after\n")
	c.slave.Close()
	if got := c.end(t); got != "before\nafter\n" {
		t.Errorf("got %q", got)
	}
}

// All output arrives, also what is still on its way when the process ends, and
// also where another process keeps the terminal open.
func TestTTYDrains(t *testing.T) {
	text := strings.Repeat("0123456789abcdef\n", 20000)
	for name, closed := range map[string]bool{"closed": true, "kept open": false} {
		t.Run(name, func(t *testing.T) {
			c := newConsole(t)
			c.start(t)
			soon(t, "writing", func() { c.say(t, text) })
			if closed {
				c.slave.Close()
			}
			if got := c.end(t); got != text {
				t.Errorf("%d of %d bytes", len(got), len(text))
			}
		})
	}
}

func TestTTYCopiesInput(t *testing.T) {
	c := newConsole(t)
	c.start(t)
	if _, err := c.stdin.WriteString("typed\n"); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	soon(t, "input", func() {
		if n, err := c.slave.Read(b); string(b[:n]) != "typed\n" {
			t.Errorf("got %q, %v", b[:n], err)
		}
	})
	c.end(t) // stdin is never closed
}

// A long paste passes while the container writes: neither direction waits for
// the other.
func TestTTYBothWays(t *testing.T) {
	c := newConsole(t)
	if err := setTermios(int(c.slave.Fd()), rawOf(t, int(c.slave.Fd()))); err != nil {
		t.Fatal(err)
	}
	c.start(t)
	text := strings.Repeat("x", 300000)
	var group sync.WaitGroup
	group.Go(func() { _, _ = c.stdin.WriteString(text) })
	group.Go(func() { c.say(t, text) })
	got := 0
	soon(t, "both ways", func() {
		b := make([]byte, 4096)
		for got < len(text) {
			n, err := c.slave.Read(b)
			if err != nil {
				t.Error(err)
				return
			}
			got += n
		}
		group.Wait()
	})
	if out := c.end(t); out != text || got != len(text) {
		t.Errorf("%d out, %d in of %d", len(out), got, len(text))
	}
}

func rawOf(t *testing.T, fd int) unix.Termios {
	t.Helper()
	m, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return rawMode(*m)
}

// The end of stdin is not the end of the terminal.
func TestTTYStdinEnds(t *testing.T) {
	c := newConsole(t)
	c.start(t)
	c.stdin.Close()
	c.say(t, "still here\n")
	if got := c.end(t); got != "still here\n" {
		t.Errorf("got %q", got)
	}
}

// A process that closes its terminal may open it again.
func TestTTYReopened(t *testing.T) {
	c := newConsole(t)
	c.start(t)
	for range 3 {
		c.slave.Close()
		eventually(t, "the runtime keeps the terminal open", func() bool { return pollHUP(c.master) == 0 })
		fd, err := unix.Open(c.slave.Name(), unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		c.slave = os.NewFile(uintptr(fd), c.slave.Name())
		c.say(t, "again\n")
	}
	c.slave.Close()
	if got := c.end(t); got != "again\nagain\nagain\n" {
		t.Errorf("got %q", got)
	}
}

func pollHUP(fd int) int16 {
	fds := []unix.PollFd{{Fd: int32(fd)}}
	_, _ = unix.Poll(fds, 0)
	return fds[0].Revents & unix.POLLHUP
}

// Whoever reads the output may go away; the container does not hang.
func TestTTYReaderGone(t *testing.T) {
	ptmx, slave := pty(t)
	stdin, _ := pipe(t)
	r, stdout := pipe(t)
	r.Close()
	tty, err := OpenTTY(ptmx, stdin, stdout, stdout)
	if err != nil {
		t.Fatal(err)
	}
	if err := tty.Start(); err != nil {
		t.Fatal(err)
	}
	soon(t, "writing to nobody", func() { _, _ = slave.WriteString(strings.Repeat("x", 200000)) })
	soon(t, "the end", func() { tty.finish(collecting(t)); tty.Close() })
}

// collecting is NewSignals for a test.
func collecting(t *testing.T) *Signals {
	t.Helper()
	s, err := NewSignals()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	return s
}

// Whoever reads the output may stop reading; a signal ends the waiting.
func TestTTYReaderStuck(t *testing.T) {
	ptmx, slave := pty(t)
	stdin, _ := pipe(t)
	r, stdout := pipe(t)
	tty, err := OpenTTY(ptmx, stdin, stdout, stdout)
	if err != nil {
		t.Fatal(err)
	}
	if err := tty.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = slave.WriteString(strings.Repeat("x", 200000)) }()
	eventually(t, "the pipe is full", func() bool { return pollOut(int(stdout.Fd())) == 0 })
	signals := collecting(t)
	_, _ = write(signals.fill, []byte{byte(unix.SIGUSR1)}) // is no wish to end
	_, _ = write(signals.fill, []byte{byte(unix.SIGTERM)})
	soon(t, "the end", func() { tty.finish(signals); tty.Close() })
	r.Close() // lets the goroutine end
	soon(t, "the goroutine", func() { <-tty.done })
}

func pollOut(fd int) int16 {
	fds := []unix.PollFd{writable(fd)}
	_, _ = unix.Poll(fds, 0)
	return fds[0].Revents & unix.POLLOUT
}

func TestTTYNone(t *testing.T) {
	var none *TTY
	if err := none.Start(); err != nil {
		t.Error(err)
	}
	none.Resize()
	none.finish(nil)
	none.Close()
}

func TestTTYNeverStarted(t *testing.T) {
	before := openFDs(t)
	ptmx, slave, err := openPTY()
	if err != nil {
		t.Skip("[pty] needs /dev/ptmx: ", err)
	}
	tty, err := OpenTTY(ptmx, os.Stdin, os.Stdout, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	tty.Close()
	tty.Close()
	slave.Close()
	if after := openFDs(t); after > before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

func TestOpenTTYFails(t *testing.T) {
	r, w := pipe(t)
	if tty, err := OpenTTY(r, r, w, w); tty != nil || err == nil || !strings.Contains(err.Error(), "the container's terminal: inappropriate ioctl") {
		t.Errorf("%v, %v", tty, err)
	}
}

//spec:22
func TestSetSize(t *testing.T) {
	ptmx, slave := pty(t)
	if err := SetSize(ptmx, 33, 111); err != nil {
		t.Fatal(err)
	}
	if got := sizeOf(t, slave); got != [2]uint16{33, 111} {
		t.Errorf("got %v", got)
	}
	r, _ := pipe(t)
	if err := SetSize(r, 1, 1); err == nil {
		t.Error("a pipe has no size")
	}
	if _, err := PTYName(r); err == nil {
		t.Error("a pipe has no name")
	}
}

func sizeOf(t *testing.T, f *os.File) [2]uint16 {
	t.Helper()
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		t.Fatal(err)
	}
	return [2]uint16{size.Row, size.Col}
}

func modeOf(t *testing.T, f *os.File) unix.Termios {
	t.Helper()
	m, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return *m
}

// The host has a terminal: it is raw from Start to Close and the container's
// keeps its carriage returns; otherwise it is the other way round.
func TestTTYModes(t *testing.T) {
	_, host := pty(t)
	stdin, _ := pipe(t)
	_, stdout := pipe(t)
	cooked := modeOf(t, host)
	for _, c := range []struct {
		name          string
		stdin, stdout *os.File
		raw           bool
		onlcr         uint32
	}{
		{"terminal", host, host, true, unix.ONLCR},
		{"output to a file", host, stdout, true, 0},
		{"input from a file", stdin, host, false, unix.ONLCR},
		{"no terminal", stdin, stdout, false, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			ptmx, slave := pty(t)
			tty, err := OpenTTY(ptmx, c.stdin, c.stdout, c.stdout)
			if err != nil {
				t.Fatal(err)
			}
			if got := modeOf(t, slave).Oflag & unix.ONLCR; got != c.onlcr {
				t.Errorf("the container's ONLCR is %#x", got)
			}
			if modeOf(t, host) != cooked {
				t.Error("changed before Start")
			}
			if err := tty.Start(); err != nil {
				t.Fatal(err)
			}
			want := cooked
			if c.raw {
				want = rawMode(cooked)
			}
			if got := modeOf(t, host); got != want {
				t.Errorf("the host's mode is %+v, want %+v", got, want)
			}
			tty.Close()
			if modeOf(t, host) != cooked {
				t.Error("not restored")
			}
		})
	}
}

func TestTTYRestoredOnPanic(t *testing.T) {
	_, host := pty(t)
	cooked := modeOf(t, host)
	tty := &TTY{stdin: int(host.Fd())}
	if err := tty.raw(); err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() { _ = recover() }()
		defer tty.restoreOnPanic()
		panic("x")
	}()
	if !reflect.DeepEqual(modeOf(t, host), cooked) {
		t.Error("not restored")
	}
}

// onTerminal starts a runtime whose standard descriptors are a terminal of
// 24 by 80, and returns both its ends and its mode.
func onTerminal(t *testing.T, script string) (cmd *exec.Cmd, ptmx, slave *os.File, before unix.Termios) {
	t.Helper()
	ptmx, slave = pty(t)
	before = modeOf(t, slave)
	if err := SetSize(ptmx, 24, 80); err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command("/proc/self/exe", script)
	cmd.Env = append(os.Environ(), "SUPERVISE_HELPER=foreground", "HELPER_TTY=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &unix.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd, ptmx, slave, before
}

// until reads from a terminal until it has printed text.
func until(t *testing.T, ptmx *os.File, text string) string {
	t.Helper()
	var all []byte
	soon(t, "output "+text, func() {
		b := make([]byte, 1)
		for !bytes.HasSuffix(all, []byte(text)) {
			if _, err := ptmx.Read(b); err != nil {
				t.Errorf("%v after %q", err, all)
				return
			}
			all = append(all, b...)
		}
	})
	return string(all)
}

// The whole of it, as a user sees it: size, typing without double echo, ^C as
// a signal of the container's terminal, a resized window, and the shell's
// terminal as it was.
func TestForegroundTerminal(t *testing.T) {
	script := `trap 'echo interrupted' INT; trap 'echo size $(stty size)' WINCH
stty size; read line; echo "line $line"
while ! [ "$done" ]; do read done; done; echo bye; exit 5`
	cmd, ptmx, slave, cooked := onTerminal(t, script)
	if got := until(t, ptmx, "24 80\r\n"); got != "collecting\r\n24 80\r\n" {
		t.Errorf("got %q", got)
	}
	eventually(t, "raw mode", func() bool { return modeOf(t, slave).Lflag&unix.ICANON == 0 })
	for _, step := range []struct{ typed, want string }{
		{"abc\r", "abc\r\nline abc\r\n"},
		{"\x03", "interrupted\r\n"},
	} {
		if _, err := ptmx.WriteString(step.typed); err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimPrefix(until(t, ptmx, step.want), "^C"); got != step.want {
			t.Errorf("%q: got %q", step.typed, got)
		}
	}
	if err := SetSize(ptmx, 50, 132); err != nil {
		t.Fatal(err)
	}
	until(t, ptmx, "size 50 132\r\n")
	if _, err := ptmx.WriteString("yes\r"); err != nil {
		t.Fatal(err)
	}
	until(t, ptmx, "bye\r\n")
	soon(t, "the end", func() { _ = cmd.Wait() })
	if code := cmd.ProcessState.ExitCode(); code != 5 {
		t.Errorf("exit status %d", code)
	}
	if modeOf(t, slave) != cooked {
		t.Error("the terminal is not restored")
	}
}

// A container's output through a pipe has no carriage returns, and a stdin
// that never closes is waited for by nobody.
func TestForegroundTerminalPiped(t *testing.T) {
	r := run(t, `test -t 0 && test -t 1 && echo one && echo two; exit 6`, "HELPER_TTY=1")
	if rest, code := r.finish(t); rest != "one\ntwo\n" || code != 6 {
		t.Errorf("%q, exit status %d", rest, code)
	}
}

func BenchmarkTTYOutput(b *testing.B) {
	ptmx, slave, err := openPTY()
	if err != nil {
		b.Skip("[pty] needs /dev/ptmx: ", err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		b.Fatal(err)
	}
	tty, err := OpenTTY(ptmx, null, null, null)
	if err != nil {
		b.Fatal(err)
	}
	if err := tty.Start(); err != nil {
		b.Fatal(err)
	}
	text := bytes.Repeat([]byte("0123456789abcdef"), 4096)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := slave.Write(text); err != nil {
			b.Fatal(err)
		}
	}
	slave.Close()
	tty.Close()
}
