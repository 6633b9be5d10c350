package supervise

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

// TestMain makes the test binary the program that tests run in processes of
// their own.
func TestMain(m *testing.M) {
	if helper := os.Getenv("SUPERVISE_HELPER"); helper != "" {
		os.Exit(runHelper(helper))
	}
	if err := SealDescriptors(); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func runHelper(name string) int {
	switch name {
	case "foreground":
		return helperForeground()
	case "preserved":
		return helperPreserved()
	}
	fmt.Fprintln(os.Stderr, "no helper", name)
	return 99
}

// helperForeground is a small runtime: it starts its arguments with `sh -c` as
// init and supervises that, with HELPER_TTY on a terminal of its own.
func helperForeground() int {
	signals, err := NewSignals()
	if err != nil {
		panic(err)
	}
	fmt.Println("collecting")
	if os.Getenv("HELPER_WAIT") != "" {
		_, _ = io.ReadFull(os.Stdin, make([]byte, 1))
	}
	o := Options{Signals: signals}
	attr := &os.ProcAttr{Env: os.Environ(), Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}}
	if os.Getenv("HELPER_TTY") != "" {
		ptmx, slave, err := openPTY()
		if err != nil {
			panic(err)
		}
		if o.TTY, err = OpenTTY(ptmx, os.Stdin, os.Stdout, os.Stderr); err != nil {
			panic(err)
		}
		attr.Files = []*os.File{slave, slave, slave}
		attr.Sys = &unix.SysProcAttr{Setsid: true, Setctty: true}
		defer slave.Close()
	}
	if os.Getenv("HELPER_SUBREAPER") != "" {
		if err := SetSubreaper(true); err != nil {
			panic(err)
		}
	}
	p, err := os.StartProcess("/bin/sh", []string{"sh", "-c", strings.Join(os.Args[1:], " ")}, attr)
	if err != nil {
		panic(err)
	}
	if attr.Sys != nil {
		attr.Files[0].Close()
	}
	o.Process.Pid = p.Pid
	status, err := Foreground(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 98
	}
	return status.Code()
}

func helperPreserved() int {
	getenv := func(key string) string {
		if key == "LISTEN_PID" && os.Getenv(key) == "self" {
			return fmt.Sprint(os.Getpid())
		}
		return os.Getenv(key)
	}
	var n int
	fmt.Sscan(os.Getenv("HELPER_N"), &n)
	files, env, err := Preserved(n, getenv)
	if err != nil {
		fmt.Println(err)
		return 1
	}
	for i, f := range files {
		flags, _ := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0)
		b, _ := io.ReadAll(f)
		fmt.Printf("%d at %d, close-on-exec %d: %s\n", i, f.Fd(), flags, b)
	}
	fmt.Println(env)
	return 0
}

// openPTY is a new terminal: its ptmx, blocking, and the other side.
func openPTY() (ptmx, slave *os.File, err error) {
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	ptmx = os.NewFile(uintptr(fd), "ptmx")
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, nil, err
	}
	name, err := PTYName(ptmx)
	if err != nil {
		return nil, nil, err
	}
	fd, err = unix.Open(name, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	return ptmx, os.NewFile(uintptr(fd), name), err
}

// pty is openPTY for tests that close neither side themselves.
func pty(t *testing.T) (ptmx, slave *os.File) {
	t.Helper()
	ptmx, slave, err := openPTY()
	if err != nil {
		t.Skip("[pty] needs /dev/ptmx: ", err)
	}
	t.Cleanup(func() { ptmx.Close(); slave.Close() })
	return ptmx, slave
}

// eventually polls until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("never happened: %s", what)
}

// soon fails the test where f does not return.
func soon(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("hangs: %s", what)
	}
}

// longDir is a directory whose path does not fit into a socket address.
func longDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 100))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// openFDs counts descriptors. It may fall at any time: of files that an
// earlier test has dropped, the garbage collector closes some.
func openFDs(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
