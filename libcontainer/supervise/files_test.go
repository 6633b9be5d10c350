package supervise

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWritePidFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "init.pid")
	for _, c := range []struct {
		name string
		pid  int
		want string
		prep func() error
	}{
		{"new", 42, "42", func() error { return nil }},
		{"replaces an old one", 7, "7", func() error { return nil }},
		{"a crash left a temporary file", 8, "8", func() error { return os.WriteFile(filepath.Join(dir, ".init.pid"), []byte("longer"), 0o600) }},
		{"and a link is not followed", 9, "9", func() error { return os.Symlink(filepath.Join(dir, "victim"), filepath.Join(dir, ".init.pid")) }},
	} {
		if err := c.prep(); err != nil {
			t.Fatal(err)
		}
		if err := WritePidFile(path, c.pid); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if got, _ := os.ReadFile(path); string(got) != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
		if list, _ := os.ReadDir(dir); len(list) != 1 {
			t.Errorf("%s: leaves %v", c.name, list)
		}
	}
}

func TestWritePidFileRelative(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := WritePidFile("pid", 5); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile("pid"); string(got) != "5" {
		t.Errorf("got %q", got)
	}
}

func TestWritePidFileFails(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none", "pid")
	err := WritePidFile(path, 1)
	want := "write pid file " + path + ": no such file or directory; the directory of the pid file must exist"
	if err == nil || err.Error() != want || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want %s", err, want)
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "pid"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := WritePidFile(filepath.Join(dir, "pid"), 1); err == nil {
		t.Error("replaces a directory")
	}
	if list, _ := os.ReadDir(dir); len(list) != 1 {
		t.Errorf("leaves %v", list)
	}
}

func TestPreserved(t *testing.T) {
	for _, c := range []struct {
		name string
		fds  int // open ones from 3 on, holding "a", "b", …
		env  []string
		want string
		exit int
	}{
		{"none", 2, nil, "[]\n", 0},
		{"two", 2, []string{"HELPER_N=2"}, "0 at 3, close-on-exec 1: a\n1 at 4, close-on-exec 1: b\n[]\n", 0},
		{"one of two", 2, []string{"HELPER_N=1"}, "0 at 3, close-on-exec 1: a\n[]\n", 0},
		{"missing", 1, []string{"HELPER_N=2"}, "unable to stat preserved-fd 1 (of 2): bad file descriptor\n", 1},
		{"far too many", 1, []string{"HELPER_N=100"}, "unable to stat preserved-fd 1 (of 100): bad file descriptor\n", 1},
		{
			"socket activation", 1, []string{"LISTEN_FDS=1", "LISTEN_PID=self", "LISTEN_FDNAMES=web"},
			"0 at 3, close-on-exec 1: a\n[LISTEN_FDS=1 LISTEN_PID=1 LISTEN_FDNAMES=web]\n", 0,
		},
		{
			"both", 2, []string{"LISTEN_FDS=1", "LISTEN_PID=self", "HELPER_N=1"},
			"0 at 3, close-on-exec 1: a\n1 at 4, close-on-exec 1: b\n[LISTEN_FDS=1 LISTEN_PID=1]\n", 0,
		},
		{"activation of another process", 1, []string{"LISTEN_FDS=1", "LISTEN_PID=1"}, "[]\n", 0},
		{"activation without a pid", 1, []string{"LISTEN_FDS=1"}, "[]\n", 0},
		{"activation with nonsense", 1, []string{"LISTEN_FDS=-1", "LISTEN_PID=self"}, "[]\n", 0},
		{
			"missing activation", 0, []string{"LISTEN_FDS=1", "LISTEN_PID=self"},
			"unable to stat descriptor 0 (of 1) of LISTEN_FDS: bad file descriptor\n", 1,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = append(os.Environ(), "SUPERVISE_HELPER=preserved")
			cmd.Env = append(cmd.Env, c.env...)
			for i := range c.fds {
				cmd.ExtraFiles = append(cmd.ExtraFiles, holding(t, string(rune('a'+i))))
			}
			out, _ := cmd.Output()
			if string(out) != c.want || cmd.ProcessState.ExitCode() != c.exit {
				t.Errorf("exit %d, got %q, want %q", cmd.ProcessState.ExitCode(), out, c.want)
			}
		})
	}
}

// holding is a file that yields text.
func holding(t *testing.T, text string) *os.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// receiver listens like a manager on a console socket, and yields what comes.
func receiver(t *testing.T, path string) (receive func() (payload string, f *os.File)) {
	t.Helper()
	s, err := withSocket(unix.SOCK_STREAM, func(s int) error {
		dir, err := unix.Open(filepath.Dir(path), unix.O_PATH, 0)
		if err != nil {
			return err
		}
		defer unix.Close(dir)
		return unix.Bind(s, &unix.SockaddrUnix{Name: procFD(dir) + "/" + filepath.Base(path)})
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(s) })
	if err := unix.Listen(s, 1); err != nil {
		t.Fatal(err)
	}
	return func() (string, *os.File) {
		c, _, err := unix.Accept4(s, unix.SOCK_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(c)
		payload, oob := make([]byte, 4096), make([]byte, 64)
		n, oobn, _, _, err := unix.Recvmsg(c, payload, oob, unix.MSG_CMSG_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		return string(payload[:n]), theDescriptor(t, oob[:oobn])
	}
}

func theDescriptor(t *testing.T, oob []byte) *os.File {
	t.Helper()
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(messages) != 1 {
		t.Fatalf("%d control messages, %v", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		t.Fatalf("%d descriptors, %v", len(fds), err)
	}
	f := os.NewFile(uintptr(fds[0]), "received")
	t.Cleanup(func() { f.Close() })
	return f
}

//spec:21
func TestSendPTY(t *testing.T) {
	ptmx, slave := pty(t)
	name, err := PTYName(ptmx)
	if err != nil || name != slave.Name() || !strings.HasPrefix(name, "/dev/pts/") {
		t.Fatalf("PTYName: %q, %v", name, err)
	}
	for where, dir := range map[string]string{"short": t.TempDir(), "long": longDir(t)} {
		t.Run(where, func(t *testing.T) {
			before := openFDs(t)
			path := filepath.Join(dir, "console.sock")
			receive := receiver(t, path)
			if err := SendPTY(path, ptmx, name); err != nil {
				t.Fatal(err)
			}
			payload, got := receive()
			if gotName, _ := PTYName(got); payload != name || gotName != name {
				t.Errorf("payload %q, descriptor of %q, want %q", payload, gotName, name)
			}
			if after := openFDs(t); after > before+2 { // the listener and the received one
				t.Errorf("%d descriptors, %d before", after, before)
			}
		})
	}
}

func TestSendPidfd(t *testing.T) {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		t.Fatal(err)
	}
	pidfd := os.NewFile(uintptr(fd), "pidfd")
	defer pidfd.Close()
	path := filepath.Join(t.TempDir(), "pidfd.sock")
	receive := receiver(t, path)
	if err := SendPidfd(path, pidfd, "standard"); err != nil {
		t.Fatal(err)
	}
	payload, got := receive()
	if payload != "standard" || unix.PidfdSendSignal(int(got.Fd()), 0, nil, 0) != nil {
		t.Errorf("payload %q, pidfd of a living process: %v", payload, unix.PidfdSendSignal(int(got.Fd()), 0, nil, 0))
	}
}

func TestSendFails(t *testing.T) {
	ptmx, _ := pty(t)
	long := filepath.Join(longDir(t), "none")
	if err := SendPTY(long, ptmx, "x"); !errors.Is(err, unix.ENOENT) || strings.Contains(err.Error(), "/proc/") {
		t.Errorf("got %v", err)
	}
	path := filepath.Join(t.TempDir(), "s")
	s, err := bind(path)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(s)
	err = SendPTY(path, ptmx, "x")
	if want := "connect to " + path + ": protocol wrong type for socket; the socket must be of type SOCK_STREAM"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestExplain(t *testing.T) {
	for _, c := range []struct {
		op    string
		errno syscall.Errno
		want  string
	}{
		{"hook", unix.ENOENT, "interpreter"},
		{"hook", unix.EACCES, "executable"},
		{"hook", unix.ENOEXEC, "#!"},
		{"hook", unix.EIO, ""},
		{"connect to", unix.ENOENT, "must listen"},
		{"connect to", unix.ECONNREFUSED, "nobody listens"},
		{"connect to", unix.EPROTOTYPE, "SOCK_STREAM"},
		{"wait for", unix.ECHILD, "no child"},
		{"wait for", unix.EINVAL, ""},
		{"write pid file", unix.ENOENT, "directory"},
		{"nothing", unix.ENOENT, ""},
	} {
		got := explain(c.op, c.errno)
		if !strings.Contains(got, c.want) || (c.want == "") != (got == "") {
			t.Errorf("%s, %v: %q", c.op, c.errno, got)
		}
	}
}

func TestSealDescriptors(t *testing.T) {
	for name, seal := range map[string]func() error{"close_range": SealDescriptors, "each": sealEach} {
		fd, err := unix.Dup(0)
		if err != nil {
			t.Fatal(err)
		}
		if err := seal(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := inherited(fd); err != unix.EBADF {
			t.Errorf("%s: still inherited", name)
		}
		unix.Close(fd)
	}
}
