package libcontainer

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/libcontainer/host"
)

func TestReadWriteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, size := range []int{0, 1, 4095, 4096, 4097, 100000} {
		want := bytes.Repeat([]byte("x"), size)
		if err := writeFile(path, want); err != nil {
			t.Fatal(err)
		}
		if got, err := host.ReadFile(path); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes: got %d, %v", size, len(got), err)
		}
	}
	if _, err := host.ReadFile(path + "none"); err != unix.ENOENT {
		t.Errorf("got %v", err)
	}
	if err := writeFile(filepath.Dir(path), nil); err != unix.EISDIR {
		t.Errorf("got %v", err)
	}
}

// stateDir is a container without anything but its directory.
func stateDir(t *testing.T) *Container {
	t.Helper()
	c := &Container{ID: "c", dir: filepath.Join(t.TempDir(), "c")}
	if err := os.Mkdir(c.dir, 0o711); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Unlock)
	return c
}

// TestLockOfDeleted: whoever comes back must not get hold of another container
// with the same ID.
func TestLockOfDeleted(t *testing.T) {
	for name, replace := range map[string]bool{"deleted": false, "replaced": true} {
		c := stateDir(t)
		if err := c.lock(true); err != nil {
			t.Fatal(err)
		}
		c.Yield()
		if err := c.Lock(); err != nil {
			t.Errorf("%s: not back: %v", name, err)
		}
		c.Yield()
		if err := os.Remove(c.dir); err != nil {
			t.Fatal(err)
		}
		if replace {
			if err := os.Mkdir(c.dir, 0o711); err != nil {
				t.Fatal(err)
			}
		}
		if err := c.Lock(); !errors.Is(err, ErrNotExist) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestCreating tells a creation that goes on from one whose runtime was killed.
func TestCreating(t *testing.T) {
	c := stateDir(t)
	creator := &Container{ID: "c", dir: c.dir}
	if err := creator.lock(false); err != nil {
		t.Fatal(err)
	}
	if got := c.status(); got != specs.StateCreating {
		t.Errorf("while it is created: %s", got)
	}
	if err := c.lock(false); !errors.Is(err, unix.EWOULDBLOCK) {
		t.Errorf("got %v", err)
	}
	creator.Unlock()
	if got := c.status(); got != specs.StateStopped {
		t.Errorf("after the creator's end: %s", got)
	}
	if c.locked {
		t.Error("asking has left it locked")
	}
}

func TestReadRecord(t *testing.T) {
	c := stateDir(t)
	for _, x := range []struct{ text, want string }{
		{`{"id":"c","pid":1}`, ""},
		{`{"id":"d","pid":1}`, `it is of container "d"`},
		{`{"id":"c","pi`, "unexpected end of JSON input"},
		{``, "unexpected end of JSON input"},
	} {
		if err := writeFile(c.path(stateFile), []byte(x.text)); err != nil {
			t.Fatal(err)
		}
		err := c.readRecord()
		if x.want == "" && err != nil || x.want != "" && (err == nil || !bytes.Contains([]byte(err.Error()), []byte(x.want))) {
			t.Errorf("%s: got %v", x.text, err)
		}
	}
}

// TestForceRemoveDamaged removes whatever is under the name, and follows no
// link.
func TestForceRemoveDamaged(t *testing.T) {
	root, other := t.TempDir(), t.TempDir()
	makers := map[string]func(path string) error{
		"nothing": func(string) error { return nil },
		"empty":   func(p string) error { return os.Mkdir(p, 0o700) },
		"truncated": func(p string) error {
			return errors.Join(os.Mkdir(p, 0o700), os.WriteFile(p+"/state.json", nil, 0o600))
		},
		"a file":     func(p string) error { return os.WriteFile(p, nil, 0o600) },
		"a link":     func(p string) error { return os.Symlink(other, p) },
		"a dangling": func(p string) error { return os.Symlink("nowhere", p) },
	}
	for name, make := range makers {
		path := filepath.Join(root, "c")
		if err := make(path); err != nil {
			t.Fatal(err)
		}
		if containers, err := List(root, nil); err != nil || len(containers) != 0 {
			t.Errorf("%s: list has %v, %v", name, containers, err)
		}
		if err := ForceRemove(root, "c", nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s: still there", name)
		}
	}
	if _, err := os.Stat(other); err != nil {
		t.Error("followed a link")
	}
}

// TestAwaitRecord: an init that was killed before it opened the fifo is not
// one that has executed its process, although read(2) sees an end of file of
// both.
func TestAwaitRecord(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	fifo, err := openFile(path, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fifo)
	var ended [2]int // readable for ever, as the pidfd of one that has ended
	if err := unix.Pipe2(ended[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ended[0])
	unix.Close(ended[1])
	if awaitRecord(fifo, ended[0]) {
		t.Error("nobody has opened it")
	}
	writer, err := openFile(path, unix.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(writer)
	if !awaitRecord(fifo, ended[0]) {
		t.Error("it was opened and closed")
	}
}

func TestInnerPID(t *testing.T) {
	for status, want := range map[string]int{
		"Name:\tsh\nNSpid:\t123\t7\t1\nNSpgid:\t5\n": 1,
		"NSpid:\t123\n":     123,
		"NSpid:\n":          0,
		"Name:\tNSpid: 4\n": 0,
		"":                  0,
	} {
		if got := innerPID(status); got != want {
			t.Errorf("%q: got %d, want %d", status, got, want)
		}
	}
}

func TestKindsOf(t *testing.T) {
	one := []specs.Hook{{Path: "/x"}}
	//lint:ignore SA1019 deprecated, and still used by managers
	got := kindsOf(&specs.Hooks{Poststop: one, Prestart: one, Poststart: []specs.Hook{}})
	if !slices.Equal(got, []string{"prestart", "poststop"}) || kindsOf(nil) != nil {
		t.Errorf("got %v", got)
	}
}

// TestSharedGroup: a container that is refused because its group is in use
// leaves those alone who use it.
func TestSharedGroup(t *testing.T) {
	if testing.Short() {
		t.Skip("[root] needs root")
	}
	needRoot(t)
	dir, root := testBundle(t, func(s *specs.Spec) {
		s.Linux.CgroupsPath = "/berth-shared/group"
		s.Process.Args = []string{"/bin/sleep", "60"}
	}), t.TempDir()
	first, p, err := Create(testOptions(root, dir, "first"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		first.Delete(true)
		first.Unlock()
		p.Pidfd.Close()
		unix.Wait4(p.PID, nil, 0, nil)
	}()
	if len(first.record.Cgroup.Dirs) == 0 {
		t.Skip("[cgroup] no groups here")
	}
	above := testBundle(t, func(s *specs.Spec) { s.Linux.CgroupsPath = "/berth-shared" })
	for _, dir := range []string{dir, above} {
		if _, _, err := Create(testOptions(root, dir, "second")); err == nil || !strings.Contains(err.Error(), "cgroup is not empty") {
			t.Errorf("two containers in one group: %v", err)
		}
	}
	if got := first.Status(); got != specs.StateCreated {
		t.Errorf("the first one is %s", got)
	}
}

// TestRunWithoutProcess: what cannot be started later is not made.
func TestRunWithoutProcess(t *testing.T) {
	if testing.Short() {
		t.Skip("[root] needs root")
	}
	needRoot(t)
	opt := testOptions(t.TempDir(), testBundle(t, func(s *specs.Spec) { s.Process = nil }), "none")
	opt.Fifo = false
	_, _, err := Create(opt)
	if want := "start none: process is missing (config.json /process)"; err == nil || !bytes.HasPrefix([]byte(err.Error()), []byte(want)) {
		t.Errorf("got %v", err)
	}
}

// TestResctrl makes a container in a group of resctrl: init is in it, the
// record says so, and what is there stays.
//
//spec:70
func TestResctrl(t *testing.T) {
	if testing.Short() {
		t.Skip("[root] needs root")
	}
	needRoot(t)
	resctrl, root := t.TempDir(), t.TempDir()
	gold := filepath.Join(resctrl, "gold")
	if err := os.Mkdir(gold, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"tasks": "", "schemata": "    L3:0=ff\n"} {
		if err := os.WriteFile(filepath.Join(gold, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	create := func(rdt specs.LinuxIntelRdt) (*Container, *Process, error) {
		opt := testOptions(root, testBundle(t, func(s *specs.Spec) { s.Linux.IntelRdt = &rdt }), "rdt")
		opt.test.facts = func(f *host.Facts) { f.Resctrl = resctrl }
		return Create(opt)
	}
	if _, _, err := create(specs.LinuxIntelRdt{ClosID: "gold", Schemata: []string{"L3:0=1"}}); err == nil {
		t.Fatal("a group with other schemata was taken")
	}
	if _, err := os.Stat(filepath.Join(root, "rdt")); err == nil {
		t.Error("the refused container has left its state")
	}
	c, p, err := create(specs.LinuxIntelRdt{ClosID: "gold", Schemata: []string{"L3:0=ff"}})
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Wait4(p.PID, nil, 0, nil)
	defer p.Pidfd.Close()
	defer c.Unlock()
	if tasks, _ := os.ReadFile(filepath.Join(gold, "tasks")); strings.TrimSpace(string(tasks)) != fmt.Sprint(p.PID) {
		t.Errorf("in the group is %q, not init %d", tasks, p.PID)
	}
	var saved Container
	saved.dir, saved.ID = c.dir, c.ID
	if err := saved.readRecord(); err != nil || !slices.Equal(saved.record.Resctrl.Tasks, []string{gold}) {
		t.Errorf("recorded: %+v, %v", saved.record.Resctrl, err)
	}
	if err := c.Delete(true); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(gold); err != nil {
		t.Error(err)
	}
}
