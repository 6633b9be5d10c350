package libcontainer

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/cgroups"
	"berth/libcontainer/defaults"
	"berth/libcontainer/fault"
)

// soon fails where do waits for something that never comes.
func soon[T any](t *testing.T, what string, do func() T) T {
	t.Helper()
	done := make(chan T, 1)
	go func() { done <- do() }()
	select {
	case got := <-done:
		return got
	case <-time.After(10 * time.Second):
		t.Fatalf("%s hangs", what)
		panic("unreachable")
	}
}

// damagedState is a state directory that berth has not made like that.
type damagedState struct {
	name string
	make func(dir string) error
	want string // in the error, which has a hint
	code string
}

func damagedStates(t *testing.T) []damagedState {
	whole := record{ID: "c", PID: 1, Cgroup: cgroups.State{Dirs: []cgroups.Dir{{Path: "/sys/fs/cgroup/c", Mountpoint: "/sys/fs/cgroup"}}}}
	elsewhere := t.TempDir()
	if err := os.WriteFile(filepath.Join(elsewhere, stateFile), whole.encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	with := func(content []byte) func(string) error {
		return func(dir string) error {
			return errors.Join(os.Mkdir(dir, 0o711), os.WriteFile(dir+"/state.json", content, 0o600))
		}
	}
	changed := func(change func(*record)) func(string) error {
		r := whole
		r.Cgroup.Dirs = []cgroups.Dir{whole.Cgroup.Dirs[0]}
		change(&r)
		return with(r.encode())
	}
	return []damagedState{
		{"empty file", with(nil), "unexpected end of JSON input", ""},
		{"half-written", with(whole.encode()[:40]), "unexpected end of JSON input", ""},
		{"of another container", changed(func(r *record) { r.ID = "d" }), `it is of container "d"`, ""},
		{"binary", with([]byte("\x7fELF\x00\x00")), "invalid character", ""},
		{"negative pid", with([]byte(`{"id":"c","pid":-1}`)), "-1 is no process's id", ""},
		{"overflowing pid", with([]byte(`{"id":"c","pid":18446744073709551615}`)), "cannot unmarshal number", ""},
		{"impossible pid", changed(func(r *record) { r.PID = maxPID + 1 }), "4194305 is no process's id", ""},
		{"the hierarchy's top", changed(func(r *record) { r.Cgroup.Dirs[0].Path = "/sys/fs/cgroup" }), `"/sys/fs/cgroup" is no group below "/sys/fs/cgroup"`, ""},
		{"the root", changed(func(r *record) { r.Cgroup.Dirs[0].Path, r.Cgroup.Dirs[0].Mountpoint = "/", "/" }), `"/" is no group`, ""},
		{"a group out of the hierarchy", changed(func(r *record) { r.Cgroup.Dirs[0].Path = "/sys/fs/cgroup/../x" }), "is no group below", ""},
		{"a directory above from elsewhere", changed(func(r *record) { r.Cgroup.Above = []string{"/etc"} }), `"/etc" is above no group`, ""},
		{"a relative root", changed(func(r *record) { r.HostMount, r.Rootfs = 5, "../x" }), `the root file system is at "../x"`, ""},
		{"FIFO", func(dir string) error {
			return errors.Join(os.Mkdir(dir, 0o711), unix.Mkfifo(dir+"/state.json", 0o600))
		}, "not a regular file", ""},
		{"directory", func(dir string) error { return errors.Join(os.Mkdir(dir, 0o711), os.Mkdir(dir+"/state.json", 0o700)) }, "not a regular file", ""},
		{"symlink to a good one", func(dir string) error {
			return errors.Join(os.Mkdir(dir, 0o711), os.Symlink(elsewhere+"/state.json", dir+"/state.json"))
		}, "too many levels of symbolic links", ""},
		{"huge", func(dir string) error {
			return errors.Join(with(nil)(dir), os.Truncate(dir+"/state.json", maxRecord+1))
		}, "larger than 128 MiB", ""},
		{"state.json of everybody", func(dir string) error {
			return errors.Join(with(whole.encode())(dir), os.Chmod(dir+"/state.json", 0o666))
		}, "others may write to it (mode 666)", "foreign-state"},
		{"directory of everybody", func(dir string) error { return errors.Join(with(whole.encode())(dir), os.Chmod(dir, 0o777)) }, "others may write to it (mode 777)", "foreign-state"},
		{"symlink as directory", func(dir string) error { return os.Symlink(elsewhere, dir) }, "not a directory", ""},
		{"file as directory", func(dir string) error { return os.WriteFile(dir, nil, 0o600) }, "not a directory", ""},
		{"FIFO as directory", func(dir string) error { return unix.Mkfifo(dir, 0o600) }, "not a directory", ""},
	}
}

// TestDamagedStates: every command says what is wrong and what to do, waits for
// nothing and touches nothing, list goes on with the others, and delete
// --force removes it.
func TestDamagedStates(t *testing.T) {
	for _, d := range damagedStates(t) {
		t.Run(d.name, func(t *testing.T) { d.try(t) })
	}
}

// TestForeignStates is TestDamagedStates for what root finds of another user.
func TestForeignStates(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("[root] needs root")
	}
	good := (&record{ID: "c", PID: 1}).encode()
	for _, d := range []damagedState{
		{"directory", func(dir string) error {
			return errors.Join(os.Mkdir(dir, 0o711), os.WriteFile(dir+"/state.json", good, 0o600), os.Chown(dir, 1000, 1000))
		}, "belongs to user 1000, not to 0", "foreign-state"},
		{"file", func(dir string) error {
			return errors.Join(os.Mkdir(dir, 0o711), os.WriteFile(dir+"/state.json", good, 0o600), os.Chown(dir+"/state.json", 1000, 0))
		}, "belongs to user 1000, not to 0", "foreign-state"},
	} {
		t.Run(d.name, func(t *testing.T) { d.try(t) })
	}
}

func (d damagedState) try(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "c")
	if err := d.make(dir); err != nil {
		t.Fatal(err)
	}
	before := listing(t, root)
	for name, do := range map[string]func() error{
		"load":    func() error { _, err := Load(root, "c"); return err },
		"acquire": func() error { _, err := Acquire(root, "c"); return err },
	} {
		err := soon(t, name, do)
		var e *fault.Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), d.want) || e.Hint == "" || e.Phase != fault.PhaseState || e.Code != d.code {
			t.Errorf("%s: got %#v: %v", name, e, err)
		}
	}
	if _, _, err := Create(CreateOptions{Root: root, Bundle: goodBundle(t), PlanOptions: PlanOptions{ID: "c", Fifo: true}}); err == nil || !strings.Contains(err.Error(), "already exists") {
		// Without root a default bundle is refused before the directory is looked at.
		if os.Geteuid() == 0 {
			t.Errorf("create: %v", err)
		}
	}
	if err := os.Mkdir(filepath.Join(root, "good"), 0o711); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "good", stateFile), (&record{ID: "good", PID: 1}).encode(), 0o600); err != nil {
		t.Fatal(err)
	}
	var warnings fault.List
	list := soon(t, "list", func() []*Container {
		list, err := List(root, func(e *fault.Error) { warnings = append(warnings, e) })
		if err != nil {
			t.Error(err)
		}
		return list
	})
	if len(list) != 1 || list[0].ID != "good" || len(warnings) != 1 || !strings.Contains(warnings.Error(), d.want) {
		t.Errorf("list has %v and says %v", list, warnings)
	}
	if err := os.RemoveAll(filepath.Join(root, "good")); err != nil {
		t.Fatal(err)
	}
	if after := listing(t, root); after != before {
		t.Errorf("changed: %s, was %s", after, before)
	}
	if err := soon(t, "delete", func() error { return ForceRemove(root, "c", nil) }); err != nil {
		t.Error(err)
	}
	if left := listing(t, root); left != "" {
		t.Errorf("left: %s", left)
	}
}

// goodBundle is one that is refused by nothing but its ID.
func goodBundle(t *testing.T) string {
	dir := t.TempDir()
	spec := defaults.Spec(false, 0, 0)
	spec.Process.Terminal = false
	raw, err := json.Marshal(spec)
	if err := errors.Join(err, os.Mkdir(filepath.Join(dir, "rootfs"), 0o755), os.WriteFile(filepath.Join(dir, "config.json"), raw, 0o600)); err != nil {
		t.Fatal(err)
	}
	return dir
}

// listing is what is below a directory.
func listing(t *testing.T, root string) string {
	t.Helper()
	var out []string
	err := filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
		if err == nil && path != root {
			out = append(out, info.Mode().String()+" "+path[len(root):])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(out, "\n")
}

// TestListTells: an abandoned directory is worth a word, one that is being made
// is not, and neither is the cache beside them.
func TestListTells(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"made", "left", seccompCache, "odd name"} {
		if err := os.Mkdir(filepath.Join(root, name), 0o711); err != nil {
			t.Fatal(err)
		}
	}
	creator := &Container{ID: "made", dir: filepath.Join(root, "made")}
	if err := creator.lock(true); err != nil {
		t.Fatal(err)
	}
	defer creator.Unlock()
	var warnings fault.List
	if list, err := List(root, func(e *fault.Error) { warnings = append(warnings, e) }); err != nil || len(list) != 0 {
		t.Errorf("got %v, %v", list, err)
	}
	want := "list " + root + "/left: has no state.json; a runtime that was killed has left it; delete --force removes it\n" +
		"container odd name: invalid container ID format; use letters, digits, and any of _ + - . (1 to 1024 of them)"
	if got := warnings.Error(); got != want {
		t.Errorf("\n got: %s\nwant: %s", got, want)
	}
}

// TestHostileFifo: start opens nothing but the FIFO that init waits at.
func TestHostileFifo(t *testing.T) {
	for name, c := range map[string]struct {
		make func(path string) error
		want string
	}{
		"a file":      {func(p string) error { return os.WriteFile(p, nil, 0o600) }, "not a FIFO"},
		"a directory": {func(p string) error { return os.Mkdir(p, 0o700) }, "not a FIFO"},
		"a link": {func(p string) error {
			return errors.Join(unix.Mkfifo(p+".real", 0o600), os.Symlink(p+".real", p))
		}, "too many levels of symbolic links"},
	} {
		c2 := stateDir(t)
		ticks, _, err := startTime(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		c2.record = record{ID: "c", PID: os.Getpid(), StartTime: ticks, Process: true}
		if err := c.make(c2.path(fifoFile)); err != nil {
			t.Fatal(err)
		}
		err = soon(t, "start", c2.release)
		var e *fault.Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) || e.Hint == "" {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestHostileConfig: hooks are read from the config.json of the state
// directory, which must be the one that create wrote.
func TestHostileConfig(t *testing.T) {
	for name, c := range map[string]struct {
		make func(path string) error
		want string
	}{
		"nothing":      {func(string) error { return nil }, "no such file"},
		"empty":        {func(p string) error { return os.WriteFile(p, nil, 0o600) }, "the document ends"},
		"half-written": {func(p string) error { return os.WriteFile(p, []byte(`{"hooks": {"posts`), 0o600) }, "the document ends"},
		"a FIFO":       {func(p string) error { return unix.Mkfifo(p, 0o600) }, "not a regular file"},
		"a link":       {func(p string) error { return os.Symlink("/etc/passwd", p) }, "not a regular file"},
		"everybody's":  {func(p string) error { return errors.Join(os.WriteFile(p, []byte("{}"), 0o600), os.Chmod(p, 0o666)) }, "others may write"},
	} {
		c2 := stateDir(t)
		c2.record = record{ID: "c", Hooks: []string{"poststop"}}
		if err := c.make(c2.path(configFile)); err != nil {
			t.Fatal(err)
		}
		err := soon(t, "hooks", func() error { _, err := c2.hooksFor("poststop"); return err })
		var e *fault.Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v", name, err)
		}
		// It is no reason to keep the container.
		warned := ""
		c2.Warn = func(e *fault.Error) { warned = e.Error() }
		if err := soon(t, "delete", func() error { return c2.Delete(false) }); err != nil || !strings.Contains(warned, c.want) {
			t.Errorf("%s: delete says %v, warns %q", name, err, warned)
		}
	}
}

// TestReusedPID: a process that has the pid of a dead init by now is neither
// signalled nor waited for.
func TestReusedPID(t *testing.T) {
	c := stateDir(t)
	c.record = record{ID: "c", PID: os.Getpid(), StartTime: 1, Process: true}
	if err := unix.Mkfifo(c.path(fifoFile), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := c.status(); got != specs.StateStopped {
		t.Errorf("it is %s", got)
	}
	if got := c.State().PID; got != 0 {
		t.Errorf("its pid is %d", got)
	}
	if err := soon(t, "start", c.release); err == nil || !strings.Contains(err.Error(), "container not running") {
		t.Errorf("start: %v", err)
	}
	for _, signal := range []unix.Signal{unix.SIGKILL, unix.SIGTERM} {
		if err := c.Kill(signal, false); err == nil || !strings.Contains(err.Error(), "container not running") {
			t.Errorf("kill %s: %v", strconv.Itoa(int(signal)), err)
		}
		if err := c.signalInit(signal); err == nil {
			t.Error("signalled")
		}
	}
	if err := c.killInit(); err != nil {
		t.Error(err)
	}
	if err := c.Delete(false); err != nil {
		t.Error(err)
	}
}
