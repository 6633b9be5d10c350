package nsenter

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain is also the program that tests execute: a process that tells what it
// was given. As a subreaper the test sees what is left of a child that forked.
func TestMain(m *testing.M) {
	if os.Getenv("NSENTER_TEST") == "tell" {
		tell()
		os.Exit(0)
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// told is what the executed program says about itself.
type told struct {
	FDs  []int
	Env  []string
	Args []string
}

// tell looks at descriptors without opening any; the Go runtime's own, its poller
// and its cgroup's CPU limit, were not handed down.
func tell() {
	what := told{Env: os.Environ(), Args: os.Args}
	for fd := range 4096 {
		link := make([]byte, 64)
		n, err := unix.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd), link)
		if err == nil && !strings.HasPrefix(string(link[:n]), "anon_inode:[event") && !strings.HasPrefix(string(link[:n]), "/sys/fs/cgroup/") {
			what.FDs = append(what.FDs, fd)
		}
	}
	raw, _ := json.Marshal(what)
	unix.Write(1, raw)
}

// start makes a child with config's descriptors, /dev/null where none is set.
func start(t *testing.T, config Config) *Child {
	t.Helper()
	config.Exe = open(t, "/proc/self/exe", unix.O_RDONLY)
	null := open(t, "/dev/null", unix.O_RDWR)
	for i, fd := range config.Stdio {
		if fd == 0 {
			config.Stdio[i] = int(null.Fd())
		}
	}
	c, err := Start(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		unix.Kill(c.PID, unix.SIGKILL)
		c.Wait()
	})
	return c
}

func open(t *testing.T, path string, flags int) *os.File {
	t.Helper()
	fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatalf("open %s: %v", path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	t.Cleanup(func() { f.Close() })
	return f
}

// built is the program that the steps make.
func built(t *testing.T, received int, steps func(*Builder)) *Program {
	t.Helper()
	b := NewBuilder(received)
	steps(b)
	p, err := b.Program()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// walked is what a program did.
type walked struct {
	status unix.WaitStatus
	out    string // standard output
	fds    []*os.File
	syncs  []SyncID
	err    error // of the step that failed
}

// walk runs a program to its end, says Go to every Sync and keeps what it is
// handed.
func walk(t *testing.T, received []*os.File, steps func(*Builder)) walked {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c := start(t, Config{Stdio: [3]int{0, int(w.Fd()), 0}})
	w.Close()
	if err := c.Send(built(t, len(received), steps), received); err != nil {
		t.Fatal(err)
	}
	var got walked
	for {
		e, err := c.Next()
		got.err = err
		if err != nil || e.End {
			break
		}
		if e.FD != nil {
			t.Cleanup(func() { e.FD.Close() })
			got.fds = append(got.fds, e.FD)
		} else if e.Sync != 0 {
			got.syncs = append(got.syncs, e.Sync)
			if err := c.Go(e.Sync); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got.err != nil {
		c.Close() // a program that was not executed waits for that
	}
	got.out = readAll(t, r)
	if got.status, err = c.Wait(); err != nil {
		t.Fatal(err)
	}
	return got
}

func readAll(t *testing.T, r *os.File) string {
	t.Helper()
	r.SetReadDeadline(time.Now().Add(20 * time.Second))
	var all []byte
	buf := make([]byte, 64<<10)
	for {
		n, err := r.Read(buf)
		all = append(all, buf[:n]...)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("the child still has its standard output open")
		}
		if err != nil {
			return string(all)
		}
	}
}

// say writes text to standard output.
func (b *Builder) say(text string) {
	b.Append(unix.SYS_WRITE, Num(1), b.Str(text), Num(len(text)))
}

// show writes the 32 bits of a register to standard output.
func (b *Builder) show(r Reg) {
	at := b.Bytes(make([]byte, 4), "shown")
	b.Append(Store, at, FD(r))
	b.Append(unix.SYS_WRITE, Num(1), at, Num(4))
}

// gone waits until pid is no process any more, and reaps it where it is ours.
func gone(t *testing.T, pid int) {
	t.Helper()
	for range 2000 {
		unix.Wait4(pid, nil, unix.WNOHANG, nil)
		if errors.Is(unix.Kill(pid, 0), unix.ESRCH) {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Errorf("process %d is still there", pid)
}

func wantErrno(t *testing.T, err error, want syscall.Errno) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
}
