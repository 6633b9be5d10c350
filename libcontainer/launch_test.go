package libcontainer

import (
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// A scope of systemd's begins with init where it can: what is forked before counts against no limit of the container's.
func TestScopeBeginsWithInit(t *testing.T) {
	kinds := func(kinds ...specs.LinuxNamespaceType) func(*specs.Spec) {
		return func(s *specs.Spec) {
			s.Linux.Namespaces, s.Hostname = nil, ""
			for _, k := range kinds {
				s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: k})
			}
		}
	}
	for _, c := range []struct {
		name   string
		facts  string
		change func(*specs.Spec)
		want   groupEntry
	}{
		{"v2", "6.18 cgroup2", kinds("mount", "pid", "cgroup"), entersBySync},
		{"v1", "5.10 cgroup1", kinds("mount", "pid", "cgroup"), entersBySync},
		{"the preamble is init", "6.18 cgroup2", kinds("mount", "cgroup"), entersByMove},
		{"mounts want the group before", "6.18 cgroup2", kinds("mount", "pid"), entersByMove},
	} {
		plan, err := NewPlan(load(t, c.change), machines()[c.facts], PlanOptions{ID: "id", CgroupManager: "systemd"})
		if err != nil {
			t.Fatal(c.name, err)
		}
		if plan.entry != c.want {
			t.Errorf("%s: entry %v, want %v", c.name, plan.entry, c.want)
		}
		program, err := plan.Compile()
		if err != nil {
			t.Fatal(c.name, err)
		}
		text := program.String()
		sync, fork, leave := strings.Index(text, "SYNC(group)"), strings.Index(text, "fork"), strings.LastIndex(text, "CLONE_NEWCGROUP")
		if (sync >= 0) != (c.want == entersBySync) {
			t.Errorf("%s:\n%s", c.name, text)
		}
		if sync >= 0 && !(fork < sync && sync < leave) {
			t.Errorf("%s: fork at %d, group at %d, cgroup namespace at %d:\n%s", c.name, fork, sync, leave, text)
		}
	}
}

// With a limit of memory that is tight on v2, init is not forked into its group: the kernel's part of a fork would count.
func TestTightLimitEntersLate(t *testing.T) {
	for limit, want := range map[int64]groupEntry{1 << 20: entersItself, 64 << 20: entersByFork} {
		plan, err := NewPlan(load(t, func(s *specs.Spec) {
			s.Linux.Resources = &specs.LinuxResources{Memory: &specs.LinuxMemory{Limit: &limit}}
		}), machines()["6.18 cgroup2"], PlanOptions{ID: "id", CgroupManager: "cgroupfs"})
		if err != nil {
			t.Fatal(err)
		}
		if plan.entry != want {
			t.Errorf("limit %d: entry %v, want %v", limit, plan.entry, want)
		}
	}
}
