package libcontainer

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/bundle"
	"berth/libcontainer/defaults"
	"berth/libcontainer/fault"
	"berth/libcontainer/host"
	"berth/nsenter"
)

// machines are hosts that no single machine can be.
func machines() map[string]host.Facts {
	all := []string{"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"}
	v2 := host.Cgroup{V2: "/sys/fs/cgroup", V2Root: "/", V2Self: "/", V2Controllers: []string{"cpuset", "cpu", "io", "memory", "hugetlb", "pids"}}
	v1 := host.Cgroup{}
	for _, c := range []string{"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "name=systemd"} {
		v1.V1 = append(v1.V1, host.V1Hierarchy{Controllers: []string{c}, Mountpoint: "/sys/fs/cgroup/" + strings.TrimPrefix(c, "name="), Root: "/", Self: "/"})
	}
	root := host.Facts{Kernel: host.Version{Major: 6, Minor: 18}, Caps: 1<<41 - 1, LastCap: 40, Namespaces: all, Cgroup: v2, Resctrl: "/sys/fs/resctrl", Seccomp: true}
	old := root
	old.Kernel, old.Cgroup = host.Version{Major: 5, Minor: 10}, v1
	user := root
	user.EUID, user.EGID, user.Caps = 1000, 1000, 0
	delegated := user
	delegated.Cgroup.V2Self, delegated.Cgroup.V2Delegated = "/user/session", "/sys/fs/cgroup/user"
	delegated.Cgroup.V2DelegatedControllers = []string{"memory", "pids"}
	nested := root
	nested.UserNS = true
	return map[string]host.Facts{"6.18 cgroup2": root, "5.10 cgroup1": old, "6.18 user": user,
		"6.18 user with a group": delegated, "6.18 root of a user namespace": nested}
}

// load is the default bundle after change, without a file.
func load(t testing.TB, change func(*specs.Spec)) *bundle.Bundle {
	t.Helper()
	spec := defaults.Spec(false, 0, 0)
	if change != nil {
		change(spec)
	}
	raw, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "config.json"), raw, 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := bundle.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestProgramsHold asserts the security rules over the programs of many
// configurations on many machines, and that every step's pointer leads into
// config.json.
func TestProgramsHold(t *testing.T) {
	changes := configurations()
	changes["hooks"] = func(s *specs.Spec) {
		s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/true"}}}
	}
	changes["hooks, user namespace"] = func(s *specs.Spec) {
		s.Hooks = &specs.Hooks{CreateContainer: []specs.Hook{{Path: "/bin/true"}}}
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
		s.Linux.UIDMappings = []specs.LinuxIDMapping{{HostID: 1000, Size: 1}}
		s.Linux.GIDMappings = s.Linux.UIDMappings
	}
	changes["devices"] = func(s *specs.Spec) {
		s.Linux.NetDevices = map[string]specs.LinuxNetDevice{"eth0": {Name: "ctr%d"}, "eth1": {}}
	}
	changes["resctrl"] = func(s *specs.Spec) {
		s.Linux.IntelRdt = &specs.LinuxIntelRdt{ClosID: "gold", Schemata: []string{"L3:0=f"}, EnableMonitoring: true}
	}
	changes["no process"] = func(s *specs.Spec) { s.Process = nil }
	changes["time"] = func(s *specs.Spec) {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.TimeNamespace})
		s.Linux.TimeOffsets = map[string]specs.LinuxTimeOffset{"boottime": {Secs: 10}}
	}
	changes["joined"] = func(s *specs.Spec) {
		for i := range s.Linux.Namespaces {
			s.Linux.Namespaces[i].Path = "/proc/1/ns/" + string(s.Linux.Namespaces[i].Type)
		}
	}
	changes["seccomp, user"] = func(s *specs.Spec) {
		s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow,
			Syscalls: []specs.LinuxSyscall{{Names: []string{"reboot"}, Action: specs.ActErrno}}}
		s.Process.NoNewPrivileges = false
		s.Process.User = specs.User{UID: 1000, GID: 1000, AdditionalGids: []uint32{5}}
	}
	for machine, facts := range machines() {
		for name, change := range changes {
			for _, opt := range []PlanOptions{{}, {Fifo: true}, {Fifo: true, NoPivot: true, Preserve: 2}} {
				opt.ID, opt.CgroupManager = "id", "cgroupfs"
				holds(t, machine+", "+name, load(t, change), facts, opt)
			}
		}
	}
}

// TestPlanOfDevices: network devices and the group of resctrl are in the
// plan's text and JSON, and the program stops for the devices before the pivot.
//
//spec:44,70
func TestPlanOfDevices(t *testing.T) {
	b := load(t, func(s *specs.Spec) {
		s.Linux.NetDevices = map[string]specs.LinuxNetDevice{"eth0": {Name: "ctr%d"}}
		s.Linux.IntelRdt = &specs.LinuxIntelRdt{ClosID: "gold"}
	})
	plan, err := NewPlan(b, machines()["6.18 cgroup2"], PlanOptions{ID: "id", Fifo: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"network devices:\n  move network device eth0 as ctr%d   # /linux/netDevices/eth0\n",
		"resctrl:\n  find group /sys/fs/resctrl/gold   # /linux/intelRdt/closID\n",
	} {
		if !strings.Contains(plan.String(), line) {
			t.Errorf("no %q in\n%s", line, plan)
		}
	}
	raw, err := json.Marshal(plan)
	if err != nil || !strings.Contains(string(raw), `"netDevices":[{"host":"eth0","name":"ctr%d","field":"/linux/netDevices/eth0"}]`) {
		t.Errorf("%v %s", err, raw)
	}
	program, err := plan.Compile()
	if err != nil {
		t.Fatal(err)
	}
	text := program.String()
	stop, pivot := strings.Index(text, "hooks)  # /linux/netDevices"), strings.Index(text, "pivot_root(")
	if stop < 0 || pivot < stop {
		t.Errorf("the program stops at %d and pivots at %d", stop, pivot)
	}
}

func holds(t *testing.T, name string, b *bundle.Bundle, facts host.Facts, opt PlanOptions) {
	t.Helper()
	plan, err := NewPlan(b, facts, opt)
	if err != nil {
		if facts.EUID == 0 {
			t.Errorf("%s: %v", name, err)
		}
		return // what an ordinary user may not do is refused, not compiled
	}
	if err := plan.CompileSeccomp(""); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	program, err := plan.Compile()
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if err := nsenter.Verify(program); err != nil {
		t.Errorf("%s: %v", name, err)
	}
	again, err := plan.Compile()
	if err != nil || again.String() != program.String() {
		t.Errorf("%s: compiled twice, the programs differ (%v)", name, err)
	}
	var document any
	if err := json.Unmarshal(b.Raw, &document); err != nil {
		t.Fatal(err)
	}
	for i, s := range program.Steps {
		if !leads(document, s.Origin.Field) {
			t.Errorf("%s: %s: no such entry in config.json", name, program.Line(i))
		}
	}
}

// leads tells whether a pointer's parent exists: what is asked for by leaving
// an entry out still has a place.
func leads(document any, p fault.Pointer) bool {
	tokens := p.Tokens()
	for i, token := range tokens {
		switch node := document.(type) {
		case map[string]any:
			next, ok := node[token]
			if !ok {
				return i == len(tokens)-1 || i == len(tokens)-2
			}
			document = next
		case []any:
			n := 0
			for _, r := range token {
				n = n*10 + int(r-'0')
			}
			if n >= len(node) {
				return false
			}
			document = node[n]
		default:
			return false
		}
	}
	return true
}
