package libcontainer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/fault"
	"berth/libcontainer/host"
	"berth/nsenter"
)

// joining is a container that runs and has these namespaces of its own, with
// the plan of a process that joins it.
func joining(t *testing.T, machine string, own []string, change func(*specs.Spec)) *execPlan {
	t.Helper()
	c := &Container{ID: "id", record: record{ID: "id", PID: 42, Namespaces: own}}
	spec := load(t, change).Spec
	joined := &specs.Spec{Version: spec.Version, Process: spec.Process, Linux: spec.Linux}
	plan, err := c.planExec(joined, machines()[machine], 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := compileSeccomp(plan.process, ""); err != nil {
		t.Fatal(err)
	}
	return plan
}

// The programs of exec hold to the security rules like those of create.
func TestExecProgramsHold(t *testing.T) {
	all := []string{"ipc", "uts", "net", "pid", "cgroup", "time", "mnt", "user"}
	changes := configurations()
	changes["terminal, other user"] = func(s *specs.Spec) {
		s.Process.Terminal = true
		s.Process.User = specs.User{UID: 1000, GID: 1000}
	}
	changes["seccomp, CPUs"] = func(s *specs.Spec) {
		s.Process.NoNewPrivileges = false
		s.Process.ExecCPUAffinity = &specs.CPUAffinity{Initial: "0", Final: "0-3,5"}
		s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow,
			Syscalls: []specs.LinuxSyscall{{Names: []string{"reboot"}, Action: specs.ActErrno}}}
	}
	delete(changes, "no process")
	for machine := range machines() {
		for name, change := range changes {
			for _, own := range [][]string{nil, all[:7], all, {"mnt"}, {"pid"}, {"mnt", "pid", "user"}} {
				name := fmt.Sprintf("%s, %s, %v", machine, name, own)
				program, err := joining(t, machine, own, change).compile()
				if err != nil {
					t.Errorf("%s: %v", name, err)
					continue
				}
				if err := nsenter.Verify(program); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	}
}

func execLines(t *testing.T, own []string, change func(*specs.Spec)) []string {
	t.Helper()
	program, err := joining(t, "6.18 cgroup2", own, func(s *specs.Spec) {
		s.Process.Terminal = false
		if change != nil {
			change(s)
		}
	}).compile()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSpace(program.String()), "\n")
}

func index(lines []string, text string) int {
	return slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, text) })
}

// All namespaces are joined at once, and the root is open before the fork that
// enters the pid namespace.
func TestExecJoinsAtOnce(t *testing.T) {
	lines := execLines(t, []string{"pid", "net", "mnt"}, nil)
	if n := strings.Count(strings.Join(lines, "\n"), "setns("); n != 1 {
		t.Errorf("%d setns", n)
	}
	for _, flag := range []string{"CLONE_NEWPID", "CLONE_NEWNET", "CLONE_NEWNS"} {
		if !strings.Contains(lines[index(lines, "setns(")], flag) {
			t.Errorf("no %s in %s", flag, lines[index(lines, "setns(")])
		}
	}
	if join, fork, root := index(lines, "setns("), index(lines, "FORK"), index(lines, `openat(AT_FDCWD, "/"`); join >= root || root >= fork {
		t.Errorf("setns %d, fork %d, open %d", join, fork, root)
	}
	if index(lines, `"/proc"`) >= 0 {
		t.Error("a procfs is opened that nothing needs")
	}
}

// A terminal needs a procfs: the host's, before anything of the container's
// can be in its place.
func TestExecTerminal(t *testing.T) {
	lines := execLines(t, []string{"pid", "mnt"}, func(s *specs.Spec) { s.Process.Terminal = true })
	proc, join, fork := index(lines, `"/proc"`), index(lines, "setns("), index(lines, "FORK")
	if proc < 0 || proc >= join {
		t.Errorf("proc %d, setns %d", proc, join)
	}
	register, _, _ := strings.Cut(strings.TrimLeft(lines[proc], " 0123456789"), " ")
	if end := index(lines, "close("+register+")"); end < 0 || end >= fork {
		t.Errorf("%s is still open in the container: close %d, fork %d", register, end, fork)
	}
}

// Labels are written through the host's procfs, which is closed before the
// container sees the process; the child inherits them.
//
//spec:26,27
func TestExecLabels(t *testing.T) {
	c := &Container{ID: "id", record: record{ID: "id", PID: 42, Namespaces: []string{"pid", "mnt"}}}
	facts := machines()["6.18 cgroup2"]
	facts.LSM = host.LSM{AppArmor: true, SELinux: true}
	spec := load(t, func(s *specs.Spec) {
		s.Process.Terminal = false
		s.Process.ApparmorProfile, s.Process.SelinuxLabel = "p", "u:r:t:s0"
	}).Spec
	plan, err := c.planExec(&specs.Spec{Process: spec.Process}, facts, 0)
	if err != nil {
		t.Fatal(err)
	}
	program, err := plan.compile()
	if err != nil {
		t.Fatal(err)
	}
	if err := nsenter.Verify(program); err != nil {
		t.Error(err)
	}
	lines := strings.Split(strings.TrimSpace(program.String()), "\n")
	proc, fork := index(lines, `"/proc"`), index(lines, "FORK")
	apparmor, selinux := index(lines, `"exec p", 6)  # /process/apparmorProfile`), index(lines, `"u:r:t:s0", 8)  # /process/selinuxLabel`)
	if !(0 <= proc && proc < apparmor && apparmor < selinux && selinux < fork) || index(lines, "keycreate") >= 0 {
		t.Errorf("proc %d, AppArmor %d, SELinux %d, fork %d", proc, apparmor, selinux, fork)
	}
	register, _, _ := strings.Cut(strings.TrimLeft(lines[proc], " 0123456789"), " ")
	if end := index(lines, "close("+register+")"); end < selinux || end >= fork {
		t.Errorf("%s: close %d, fork %d", register, end, fork)
	}
}

// Without namespaces of its own the container's root is where its init is.
func TestExecWithoutNamespaces(t *testing.T) {
	lines := execLines(t, nil, nil)
	if index(lines, "setns(") >= 0 || index(lines, "FORK") >= 0 || index(lines, "chroot") < 0 {
		t.Errorf("%s", strings.Join(lines, "\n"))
	}
}

// execCPUAffinity/final is set by the process itself, which is in its group.
//
//spec:33
func TestExecCPUs(t *testing.T) {
	affinity := func(initial, final string) func(*specs.Spec) {
		return func(s *specs.Spec) {
			s.Process.ExecCPUAffinity = &specs.CPUAffinity{Initial: initial, Final: final}
		}
	}
	lines := execLines(t, []string{"pid"}, affinity("", "0-1,64"))
	if at := index(lines, "sched_setaffinity(0, 16, [0-1,64])"); at < 0 {
		t.Errorf("%s", strings.Join(lines, "\n"))
	}
	if joining(t, "6.18 cgroup2", nil, affinity("", "3")).process.HasInitialCPUs() {
		t.Error("initial CPUs that nobody asked for")
	}
	if !joining(t, "6.18 cgroup2", nil, affinity("3", "")).process.HasInitialCPUs() {
		t.Error("no initial CPUs")
	}
}

func ownProcess() specs.Process {
	return specs.Process{
		Cwd: "/own", Env: []string{"A=1"}, Args: []string{"own"}, Terminal: true, NoNewPrivileges: true,
		User:            specs.User{UID: 1, GID: 2, AdditionalGids: []uint32{3}},
		ApparmorProfile: "own-profile", SelinuxLabel: "own-label",
		Capabilities: &specs.LinuxCapabilities{
			Bounding: []string{"CAP_KILL"}, Permitted: []string{"CAP_KILL"}, Effective: []string{"CAP_KILL"},
			Inheritable: []string{"CAP_CHOWN"}, Ambient: []string{"CAP_KILL"},
		},
		Rlimits:   []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 5, Hard: 6}},
		Scheduler: &specs.Scheduler{Policy: specs.SchedBatch},
	}
}

func TestCommand(t *testing.T) {
	user := "7:8"
	tests := []struct {
		name string
		Command
		want func(*specs.Process)
	}{
		{"nothing but arguments", Command{Args: []string{"ls"}}, func(*specs.Process) {}},
		{"cwd", Command{Cwd: "/x"}, func(p *specs.Process) { p.Cwd = "/x" }},
		{"terminal", Command{Terminal: true}, func(p *specs.Process) { p.Terminal = true }},
		{"env", Command{Env: []string{"A=2", "B="}}, func(p *specs.Process) { p.Env = []string{"A=1", "A=2", "B="} }},
		{"user", Command{User: &user}, func(p *specs.Process) { p.User.UID, p.User.GID = 7, 8 }},
		{"groups", Command{AdditionalGids: []uint32{9}}, func(p *specs.Process) { p.User.AdditionalGids = []uint32{3, 9} }},
		{"labels", Command{ApparmorProfile: "a", SelinuxLabel: "b"}, func(p *specs.Process) { p.ApparmorProfile, p.SelinuxLabel = "a", "b" }},
		// Never inheritable, and ambient only where it was (CVE-2022-29162).
		{"capability", Command{Caps: []string{"CAP_SYS_PTRACE"}}, func(p *specs.Process) {
			both := []string{"CAP_KILL", "CAP_SYS_PTRACE"}
			p.Capabilities.Bounding, p.Capabilities.Permitted, p.Capabilities.Effective = both, both, both
		}},
		{"inheritable capability", Command{Caps: []string{"CAP_CHOWN"}}, func(p *specs.Process) {
			both := []string{"CAP_KILL", "CAP_CHOWN"}
			p.Capabilities.Bounding, p.Capabilities.Permitted, p.Capabilities.Effective, p.Capabilities.Ambient = both, both, both, both
		}},
	}
	for _, tt := range tests {
		own, got, want := ownProcess(), ownProcess(), ownProcess()
		want.Args, want.Terminal = tt.Args, false
		tt.want(&want)
		if err := tt.change(&got, "/nonexistent"); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", tt.name, got, want)
		}
		if !reflect.DeepEqual(own, ownProcess()) {
			t.Errorf("%s: the container's own process changed", tt.name)
		}
	}
}

func firstFault(err error) *fault.Error {
	var e *fault.Error
	errors.As(err, &e)
	return e
}

func TestProcessFrom(t *testing.T) {
	write := func(text string) string {
		path := filepath.Join(t.TempDir(), "process.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	own := ownProcess()
	got, err := processFrom(write(`{"cwd":"/","args":["x"],"user":{"uid":5,"gid":6}}`), &own)
	if err != nil {
		t.Fatal(err)
	}
	want := &specs.Process{Cwd: "/", Args: []string{"x"}, User: specs.User{UID: 5, GID: 6}, Capabilities: own.Capabilities,
		Scheduler: own.Scheduler, ApparmorProfile: "own-profile", SelinuxLabel: "own-label"}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	got, err = processFrom(write(`{"cwd":"/","args":["x"],"capabilities":{},"rlimits":[{"type":"RLIMIT_CORE","soft":0,"hard":0}]}`), &own)
	if err != nil || len(got.Capabilities.Bounding) != 0 || got.Rlimits[0].Type != "RLIMIT_CORE" {
		t.Errorf("%+v, %v", got, err)
	}
	for text, want := range map[string]string{
		`{"args":[1]}`:        "/process/args/0",
		`{"user":{"uid":-1}}`: "/process/user/uid",
		`[]`:                  "/process",
		`{"cwd":"/"} x`:       "/process",
	} {
		path := write(text)
		_, err := processFrom(path, &own)
		if err == nil {
			t.Errorf("%s: no error", text)
			continue
		}
		if first := firstFault(err); first == nil || string(first.Field) != want {
			t.Errorf("%s: %v, at %+v", text, err, first)
		}
	}
	if _, err := processFrom("/nonexistent", &own); err == nil {
		t.Error("a missing file is no error")
	}
}
