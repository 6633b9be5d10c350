package supervise

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestTranslate(t *testing.T) {
	for _, c := range []struct {
		datagram, want string
		ready          bool
	}{
		{"READY=1", "READY=1\nMAINPID=42\n", true},
		{"READY=1\n", "READY=1\nMAINPID=42\n", true},
		{"STATUS=up\nREADY=1", "STATUS=up\nREADY=1\nMAINPID=42\n", true},
		{"READY=0", "READY=0\n", false},
		{"STATUS=starting", "STATUS=starting\n", false},
		{"STOPPING=1", "STOPPING=1\n", false},
		{"RELOADING=1\nMONOTONIC_USEC=5", "RELOADING=1\nMONOTONIC_USEC=5\n", false},
		{"WATCHDOG=1", "WATCHDOG=1\n", false},
		{"EXTEND_TIMEOUT_USEC=1", "EXTEND_TIMEOUT_USEC=1\n", false},
		{"MAINPID=1", "", false},
		{"READY=1\nMAINPID=1", "READY=1\nMAINPID=42\n", true},
		{"MAINPIDFD=1", "", false},
		{"FDSTORE=1\nFDNAME=x", "", false},
		{"NOTIFYACCESS=all", "", false},
		{"WATCHDOG_USEC=1", "", false},
		{"BARRIER=1", "", false},
		{"STATUS", "", false},
		{"", "", false},
	} {
		got, ready := translate(c.datagram, 42)
		if got != c.want || ready != c.ready {
			t.Errorf("%q: got %q, %v, want %q, %v", c.datagram, got, ready, c.want, c.ready)
		}
	}
}

func TestNotifyMount(t *testing.T) {
	m := NotifyMount("/run/berth/c1/notify")
	if m.Source != "/run/berth/c1/notify" || NotifyEnv != "NOTIFY_SOCKET="+filepath.Join(m.Destination, notifyName) {
		t.Errorf("%v, %s", m, NotifyEnv)
	}
	if !reflect.DeepEqual(m.Options, []string{"bind", "nosuid", "noexec", "nodev", "ro"}) {
		t.Errorf("%v", m.Options)
	}
}

// manager is a service manager's socket.
type manager struct {
	path string
	fd   int
}

func newManager(t *testing.T, path string) manager {
	t.Helper()
	fd, err := bind(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return manager{path, fd}
}

// receive is the next datagram; descriptors that come along are closed.
func (m manager) receive(t *testing.T) string {
	t.Helper()
	if ok, _ := poll([]unix.PollFd{readable(m.fd)}, time.Now().Add(patience)); !ok {
		t.Fatal("the service manager gets nothing")
	}
	b := make([]byte, 4096)
	n, err := unix.Read(m.fd, b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

// say is sd_notify(3) in the container.
func say(t *testing.T, dir, text string) {
	t.Helper()
	s, err := connect(filepath.Join(dir, notifyName), unix.SOCK_DGRAM)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(s)
	if _, err := unix.Write(s, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

func proxy(t *testing.T, m manager, dir string) *Notify {
	t.Helper()
	n, err := NotifyProxy(m.path, dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

func TestNotifyForeground(t *testing.T) {
	for name, dir := range map[string]string{"short": t.TempDir(), "long": longDir(t)} {
		t.Run(name, func(t *testing.T) {
			before := openFDs(t)
			m := newManager(t, filepath.Join(dir, "host.sock"))
			state := filepath.Join(dir, "notify")
			n := proxy(t, m, state)
			n.Start(42)
			say(t, state, "STATUS=one\nMAINPID=1")
			if got := m.receive(t); got != "STATUS=one\n" {
				t.Errorf("got %q", got)
			}
			say(t, state, "READY=1")
			if got := m.receive(t); got != "READY=1\nMAINPID=42\n" {
				t.Errorf("got %q", got)
			}
			say(t, state, "STOPPING=1")
			n.Close()
			n.Close()
			if got := m.receive(t); got != "STOPPING=1\n" {
				t.Errorf("got %q", got)
			}
			if list, _ := os.ReadDir(state); len(list) != 0 {
				t.Errorf("leaves %v", list)
			}
			if after := openFDs(t); after > before+1 {
				t.Errorf("%d descriptors, %d before", after, before)
			}
		})
	}
}

func TestNotifyWaitReady(t *testing.T) {
	init := sleeper(t)
	dir := t.TempDir()
	m := newManager(t, filepath.Join(dir, "host.sock"))
	n := proxy(t, m, filepath.Join(dir, "notify"))
	done := make(chan error, 1)
	go func() { done <- n.WaitReady(Process{Pid: init.Process.Pid}) }()
	say(t, filepath.Dir(n.path), "STATUS=almost")
	if got := m.receive(t); got != "STATUS=almost\n" {
		t.Errorf("got %q", got)
	}
	say(t, filepath.Dir(n.path), "READY=1")
	if got, want := m.receive(t), "READY=1\nMAINPID="+strconv.Itoa(init.Process.Pid)+"\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	select {
	case err := <-done:
		t.Fatalf("does not wait for the barrier: %v", err)
	case <-time.After(20 * time.Millisecond):
	}
	if got := m.receive(t); got != "BARRIER=1" {
		t.Errorf("got %q", got)
	}
	soon(t, "WaitReady after the barrier", func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestNotifyBarrierTimesOut(t *testing.T) {
	dir := t.TempDir()
	m := newManager(t, filepath.Join(dir, "host.sock"))
	n := proxy(t, m, dir)
	n.barrier = 10 * time.Millisecond
	say(t, dir, "READY=1")
	soon(t, "a service manager that does not read", func() {
		if err := n.WaitReady(Process{Pid: sleeper(t).Process.Pid}); err != nil {
			t.Error(err)
		}
	})
}

func TestNotifyWaitReadyEnds(t *testing.T) {
	init := sleeper(t)
	dir := t.TempDir()
	m := newManager(t, filepath.Join(dir, "host.sock"))
	n := proxy(t, m, dir)
	if err := init.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	soon(t, "a container that ends unready", func() {
		if err := n.WaitReady(Process{Pid: init.Process.Pid}); err != nil {
			t.Error(err)
		}
	})
}

// sleeper is a child that the test's end kills.
func sleeper(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "100")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

func TestNotifyProxyAbstractAndStale(t *testing.T) {
	dir := t.TempDir()
	name := "@supervise-test-" + strconv.Itoa(os.Getpid())
	m := newManager(t, name)
	if err := os.WriteFile(filepath.Join(dir, notifyName), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	n := proxy(t, m, dir)
	n.Start(1)
	say(t, dir, "STATUS=x")
	if got := m.receive(t); got != "STATUS=x\n" {
		t.Errorf("got %q", got)
	}
}

func TestNotifyProxyNone(t *testing.T) {
	n, err := NotifyProxy("", "/none")
	if n != nil || err != nil {
		t.Fatalf("%v, %v", n, err)
	}
	n.Start(1)
	n.Close()
	if err := n.WaitReady(Process{}); err != nil {
		t.Error(err)
	}
}

func TestNotifyProxyFails(t *testing.T) {
	before := openFDs(t)
	_, err := NotifyProxy("/no/such.sock", t.TempDir())
	if err == nil || !strings.HasPrefix(err.Error(), "connect to /no/such.sock: no such file") {
		t.Errorf("got %v", err)
	}
	if after := openFDs(t); after > before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}
