package libcontainer

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/libcontainer/defaults"
	"berth/libcontainer/fault"
	"berth/nsenter"
)

// Containers' IDs, and so the names of their groups: no other run of these tests has them.
var (
	leftoverID = fmt.Sprintf("leftover.%d", os.Getpid())
	killedID   = fmt.Sprintf("killed.%d", os.Getpid())
)

// TestMain lets this binary be a runtime that is killed at a message.
func TestMain(m *testing.M) {
	if at := os.Getenv("TEST_KILL_AT"); at != "" {
		runtimeKilledAt(at)
	}
	os.Exit(m.Run())
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 || testing.Short() {
		t.Skip("[root] needs root")
	}
	if _, err := os.Stat("/bin/busybox"); err != nil {
		t.Skip("[busybox] needs busybox-static")
	}
}

// testBundle is a bundle with a busybox root and the default configuration
// after change.
func testBundle(t *testing.T, change func(*specs.Spec)) string {
	t.Helper()
	dir := t.TempDir()
	bin := filepath.Join(dir, "rootfs", "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	os.Chmod(filepath.Dir(dir), 0o755)
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bin, "busybox"), busybox, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, applet := range []string{"sh", "true", "sleep", "cat"} {
		if err := os.Link(filepath.Join(bin, "busybox"), filepath.Join(bin, applet)); err != nil {
			t.Fatal(err)
		}
	}
	spec := defaults.Spec(false, 0, 0)
	spec.Process.Terminal = false
	spec.Process.Args = []string{"/bin/true"}
	if change != nil {
		change(spec)
	}
	if spec.Hostname == ownedRoot {
		chownTree(t, filepath.Join(dir, "rootfs"), 100000)
	}
	raw, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), raw, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// ownedRoot as a hostname asks for a root that the container's own root owns.
const ownedRoot = "owned"

func chownTree(t *testing.T, root string, id int) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, id, id)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func testOptions(root, dir, id string) CreateOptions {
	return CreateOptions{
		PlanOptions: PlanOptions{ID: id, Fifo: true, CgroupManager: "cgroupfs"},
		ProcessOptions: ProcessOptions{
			Stdio: [3]int{0, 1, 2}, Detach: true, Warn: func(*fault.Error) {},
		},
		Root: root, Bundle: dir,
	}
}

// machine is what a container could leave behind.
type machine struct {
	mounts, groups, children []string
}

// look is what there is of container id, whose bundle is in dir, now.
func look(t *testing.T, dir, id string) machine {
	t.Helper()
	var m machine
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if strings.Contains(line, dir) {
			m.mounts = append(m.mounts, line)
		}
	}
	m.groups, _ = filepath.Glob("/sys/fs/cgroup/*/" + id)
	more, _ := filepath.Glob("/sys/fs/cgroup/" + id)
	m.groups = append(m.groups, more...)
	m.children = childrenOf(t)
	return m
}

// parent is a process's parent, 0 of the first.
func parent(pid string) string {
	raw, _ := os.ReadFile("/proc/" + pid + "/stat")
	if _, rest, ok := strings.Cut(string(raw), ") "); ok {
		return strings.Fields(rest)[1]
	}
	return "0"
}

// childrenOf lists this process's children, and the container processes that
// were orphaned: an ancestor of this process has got them.
func childrenOf(t *testing.T) []string {
	t.Helper()
	self := strconv.Itoa(os.Getpid())
	ancestors := map[string]bool{}
	for pid := parent(self); pid != "0"; pid = parent(pid) {
		ancestors[pid] = true
	}
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	var out []string
	for _, path := range stats {
		raw, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		name := string(raw[strings.IndexByte(string(raw), '('):])
		fields := strings.Fields(name[strings.LastIndexByte(name, ')')+1:])
		exe, _ := os.Readlink(filepath.Dir(path) + "/exe")
		sealed := exe == "/"+filepath.Base(os.Args[0]) || strings.HasPrefix(exe, "/memfd:berth")
		if sealed && ancestors[fields[1]] || fields[1] == self {
			out = append(out, filepath.Dir(path)+" "+name)
		}
	}
	return out
}

func (m machine) diff(other machine) string {
	var out []string
	report := func(what string, a, b []string) {
		for _, s := range b {
			if !slices.Contains(a, s) {
				out = append(out, what+" left: "+s)
			}
		}
	}
	report("mount", m.mounts, other.mounts)
	report("group", m.groups, other.groups)
	report("process", m.children, other.children)
	return strings.Join(out, "\n")
}

// configurations are containers of different kinds, for tests that break each
// of them everywhere.
func configurations() map[string]func(*specs.Spec) {
	return map[string]func(*specs.Spec){
		"default": nil,
		"userns": func(s *specs.Spec) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
			s.Linux.UIDMappings = []specs.LinuxIDMapping{{HostID: 100000, Size: 65536}}
			s.Linux.GIDMappings = s.Linux.UIDMappings
			s.Hostname = ownedRoot
		},
		"host mounts": func(s *specs.Spec) {
			s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool {
				return n.Type == specs.MountNamespace
			})
			s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = nil, nil
		},
		"host pids": func(s *specs.Spec) {
			s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(n specs.LinuxNamespace) bool {
				return n.Type == specs.PIDNamespace
			})
		},
	}
}

// TestEveryStepFails replaces each step of a program in turn, by a call that
// fails and by the walker's end: create must fail and leave nothing.
func TestEveryStepFails(t *testing.T) {
	needRoot(t)
	fails := nsenter.Step{Call: unix.SYS_CLOSE, Args: []nsenter.Arg{nsenter.Num(1 << 20)}}
	ends := nsenter.Step{Call: unix.SYS_EXIT_GROUP, Args: []nsenter.Arg{nsenter.Num(9)}}
	for name, change := range configurations() {
		t.Run(name, func(t *testing.T) {
			dir, root := testBundle(t, change), t.TempDir()
			before := look(t, dir, leftoverID)
			tried := 0
			for at := 0; ; at++ {
				steps := 0
				broken := []nsenter.Step{fails, ends}
				if name != "default" {
					broken = broken[at%2 : at%2+1]
				}
				for _, broken := range broken {
					opt := testOptions(root, dir, leftoverID)
					opt.test.program = func(p *nsenter.Program) {
						steps = lastBeforeReady(p)
						if at < steps {
							broken.Origin = p.Steps[at].Origin
							p.Steps[at] = broken
						}
					}
					c, p, err := Create(opt)
					if err == nil { // the step stands on a branch that was not taken
						if err := c.Delete(true); err != nil {
							t.Fatal(err)
						}
						c.Unlock()
						p.Pidfd.Close()
						unix.Wait4(p.PID, nil, 0, nil)
					} else {
						tried++
					}
					if diff := before.diff(look(t, dir, leftoverID)); diff != "" {
						t.Fatalf("step %d: %v\n%s", at, err, diff)
					}
				}
				if left, _ := os.ReadDir(root); len(left) > 0 {
					t.Fatalf("step %d left %v", at, left)
				}
				if at >= steps {
					t.Logf("%d steps, %d failures", steps, tried)
					return
				}
			}
		})
	}
}

// lastBeforeReady is how many steps come before init waits for start.
func lastBeforeReady(p *nsenter.Program) int {
	return slices.IndexFunc(p.Steps, func(s nsenter.Step) bool {
		n, _ := s.First()
		return s.Call == nsenter.Sync && nsenter.SyncID(n) == nsenter.SyncReady
	})
}

// runtimeKilledAt is a runtime that is killed at its n-th message, or in the
// moment between two steps of its own.
func runtimeKilledAt(at string) {
	n, _ := strconv.Atoi(at)
	opt := testOptions(os.Getenv("TEST_ROOT"), os.Getenv("TEST_BUNDLE"), os.Getenv("TEST_ID"))
	suicide := func() {
		if n--; n == 0 {
			unix.Kill(os.Getpid(), unix.SIGKILL)
			select {}
		}
	}
	opt.test.program = func(*nsenter.Program) { suicide() }
	opt.test.event = func(nsenter.Event) { suicide() }
	_, _, err := Create(opt)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// TestRuntimeKilled kills the runtime at every message: delete --force brings
// the machine back to where it was.
func TestRuntimeKilled(t *testing.T) {
	needRoot(t)
	for name, change := range configurations() {
		t.Run(name, func(t *testing.T) {
			dir, root := testBundle(t, change), t.TempDir()
			before := look(t, dir, killedID)
			for at := 1; ; at++ {
				cmd := exec.Command("/proc/self/exe")
				cmd.Env = append(os.Environ(), "TEST_KILL_AT="+strconv.Itoa(at), "TEST_ROOT="+root, "TEST_BUNDLE="+dir, "TEST_ID="+killedID)
				cmd.Stderr = os.Stderr
				err := cmd.Run()
				if err := ForceRemove(root, killedID, nil); err != nil {
					t.Fatalf("message %d: %v", at, err)
				}
				diff := "unknown"
				for deadline := time.Now().Add(5 * time.Second); diff != "" && time.Now().Before(deadline); {
					time.Sleep(5 * time.Millisecond)
					diff = before.diff(look(t, dir, killedID))
				}
				if diff != "" {
					t.Fatalf("message %d:\n%s", at, diff)
				}
				if left, _ := os.ReadDir(root); len(left) > 0 {
					t.Fatalf("message %d left %v", at, left)
				}
				var exit *exec.ExitError
				if !errors.As(err, &exit) {
					t.Logf("killed at %d messages", at-1)
					return
				}
			}
		})
	}
}
