package libcontainer

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/cgroups"
	"berth/libcontainer/bundle"
	"berth/libcontainer/defaults"
	"berth/libcontainer/host"
	"berth/rootfs"
)

// accepted tells whether a plan holds a config.json, and says nothing about it.
// An architecture of the other byte order is recognized, and of no use.
func accepted(t *testing.T, change func(*specs.Spec)) bool {
	t.Helper()
	facts := machines()["6.18 cgroup2"]
	plan, err := NewPlan(load(t, change), facts, PlanOptions{ID: "id", CgroupManager: "cgroupfs"})
	if err == nil {
		err = plan.CompileSeccomp("")
	}
	if errors.Is(err, unix.EDOM) {
		return true
	}
	if err != nil || len(plan.Notes) > 0 {
		t.Logf("%v %v", err, plan.Notes)
		return false
	}
	return true
}

// TestFeaturesAreAccepted: "The runtime MUST recognize the elements in this
// array", of each array (features.md, features-linux.md).
//
//spec:89,90,92,93,96
func TestFeaturesAreAccepted(t *testing.T) {
	f := Features(machines()["6.18 cgroup2"])
	for what, values := range map[string]struct {
		list []string
		use  func(s *specs.Spec, v string)
	}{
		"ociVersion": {[]string{f.OCIVersionMin, f.OCIVersionMax}, func(s *specs.Spec, v string) { s.Version = v }},
		"namespaces": {f.Linux.Namespaces, func(s *specs.Spec, v string) {
			s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.LinuxNamespaceType(v)})
			s.Linux.Namespaces = slices.Compact(slices.SortedFunc(slices.Values(s.Linux.Namespaces),
				func(a, b specs.LinuxNamespace) int { return strings.Compare(string(a.Type), string(b.Type)) }))
			if v == "user" {
				s.Linux.UIDMappings = []specs.LinuxIDMapping{{Size: 10, HostID: 1000}}
				s.Linux.GIDMappings = s.Linux.UIDMappings
			}
		}},
		"capabilities": {f.Linux.Capabilities, func(s *specs.Spec, v string) {
			s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: []string{v}, Permitted: []string{v}, Effective: []string{v}}
		}},
		"memoryPolicy.modes": {f.Linux.MemoryPolicy.Modes, func(s *specs.Spec, v string) {
			s.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: specs.MemoryPolicyModeType(v), Nodes: "0"}
			if v == "MPOL_DEFAULT" || v == "MPOL_LOCAL" {
				s.Linux.MemoryPolicy.Nodes = ""
			}
		}},
		"memoryPolicy.flags": {f.Linux.MemoryPolicy.Flags, func(s *specs.Spec, v string) {
			s.Linux.MemoryPolicy = &specs.LinuxMemoryPolicy{Mode: specs.MpolBind, Nodes: "0", Flags: []specs.MemoryPolicyFlagType{specs.MemoryPolicyFlagType(v)}}
		}},
		"seccomp.actions": {f.Linux.Seccomp.Actions, func(s *specs.Spec, v string) {
			s.Linux.Seccomp = profile()
			s.Linux.Seccomp.Syscalls[0].Action = specs.LinuxSeccompAction(v)
			if v == string(specs.ActNotify) {
				s.Linux.Seccomp.ListenerPath = "/run/listener"
			}
		}},
		"seccomp.operators": {f.Linux.Seccomp.Operators, func(s *specs.Spec, v string) {
			s.Linux.Seccomp = profile()
			s.Linux.Seccomp.Syscalls[0].Args = []specs.LinuxSeccompArg{{Op: specs.LinuxSeccompOperator(v), Value: 1, ValueTwo: 1}}
		}},
		"seccomp.archs": {f.Linux.Seccomp.Archs, func(s *specs.Spec, v string) {
			s.Linux.Seccomp = profile()
			s.Linux.Seccomp.Architectures = []specs.Arch{specs.Arch(v)}
		}},
		"seccomp.knownFlags": {f.Linux.Seccomp.KnownFlags, func(s *specs.Spec, v string) {
			s.Linux.Seccomp = profile()
			s.Linux.Seccomp.Flags = []specs.LinuxSeccompFlag{specs.LinuxSeccompFlag(v)}
		}},
	} {
		if len(values.list) == 0 {
			t.Errorf("%s: none", what)
		}
		for _, v := range values.list {
			if !accepted(t, func(s *specs.Spec) { values.use(s, v) }) {
				t.Errorf("%s: %s is not accepted", what, v)
			}
		}
	}
	for _, name := range f.MountOptions {
		if flags := rootfs.ParseOptions([]string{name}); len(flags.Params) > 0 {
			t.Errorf("mountOptions: %s is left to the file system", name)
		}
	}
}

func profile() *specs.LinuxSeccomp {
	return &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{{Names: []string{"mount"}, Action: specs.ActErrno}}}
}

// TestFeaturesAreAll: what the specification has, features have.
//
//spec:89,90,91,92,95,96,97,98
func TestFeaturesAreAll(t *testing.T) {
	f := Features(host.Facts{}) // of no machine in particular: it does not matter
	var hooks []string
	for i := range reflect.TypeFor[specs.Hooks]().NumField() {
		tag := reflect.TypeFor[specs.Hooks]().Field(i).Tag.Get("json")
		hooks = append(hooks, strings.TrimSuffix(tag, ",omitempty"))
	}
	for what, c := range map[string]struct{ got, want []string }{
		"hooks":      {f.Hooks, hooks},
		"namespaces": {f.Linux.Namespaces, []string{"cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"}},
		"operators": {f.Linux.Seccomp.Operators, []string{
			"SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ"}},
		"flags": {f.Linux.Seccomp.KnownFlags, []string{"SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
			"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", "SECCOMP_FILTER_FLAG_TSYNC"}},
		"modes": {f.Linux.MemoryPolicy.Modes, []string{"MPOL_DEFAULT", "MPOL_BIND", "MPOL_INTERLEAVE", "MPOL_WEIGHTED_INTERLEAVE",
			"MPOL_PREFERRED", "MPOL_PREFERRED_MANY", "MPOL_LOCAL"}},
		"memory flags": {f.Linux.MemoryPolicy.Flags, []string{"MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"}},
	} {
		slices.Sort(c.got)
		slices.Sort(c.want)
		if !slices.Equal(c.got, c.want) {
			t.Errorf("%s: %q, want %q", what, c.got, c.want)
		}
	}
	if len(f.Linux.Capabilities) != 41 {
		t.Errorf("%d capabilities", len(f.Linux.Capabilities))
	}
	for what, yes := range map[string]*bool{
		"cgroup.v1": f.Linux.Cgroup.V1, "cgroup.v2": f.Linux.Cgroup.V2, "cgroup.rdma": f.Linux.Cgroup.Rdma,
		"seccomp": f.Linux.Seccomp.Enabled, "intelRdt": f.Linux.IntelRdt.Enabled, "intelRdt.schemata": f.Linux.IntelRdt.Schemata,
		"intelRdt.monitoring": f.Linux.IntelRdt.Monitoring, "idmap": f.Linux.MountExtensions.IDMap.Enabled,
		"netDevices": f.Linux.NetDevices.Enabled,
	} {
		if yes == nil || !*yes {
			t.Errorf("%s is not enabled", what)
		}
	}
	for _, option := range []string{"rro", "idmap", "ridmap", "tmpcopyup", "iversion", "lazytime", "silent", "nosymfollow", "rnosymfollow"} {
		if !slices.Contains(f.MountOptions, option) {
			t.Errorf("no mount option %s", option)
		}
	}
}

// TestSupportedFlags: of the flags, those that the kernel has.
//
//spec:93
func TestSupportedFlags(t *testing.T) {
	const killable = "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"
	for kernel, want := range map[host.Version]bool{{Major: 5, Minor: 18}: false, {Major: 5, Minor: 19}: true, {Major: 6, Minor: 1}: true} {
		s := Features(host.Facts{Kernel: kernel}).Linux.Seccomp
		if slices.Contains(s.SupportedFlags, killable) != want || !slices.Contains(s.KnownFlags, killable) {
			t.Errorf("%v: supported %v, known %v", kernel, s.SupportedFlags, s.KnownFlags)
		}
	}
}

// TestUnsafeAnnotations: what changes a plan is listed as potentially unsafe, and
// nothing else of what other runtimes act on does.
//
//spec:99
func TestUnsafeAnnotations(t *testing.T) {
	text := func(manager string, annotations map[string]string) string {
		plan, err := NewPlan(&bundle.Bundle{Dir: "/b", Spec: annotated(annotations)}, machines()["6.18 cgroup2"], PlanOptions{ID: "id", CgroupManager: manager})
		if err != nil {
			t.Fatal(err)
		}
		program, err := plan.Compile()
		if err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(plan)
		if err != nil {
			t.Fatal(err)
		}
		return program.String() + string(raw)
	}
	unsafe := Features(host.Facts{}).PotentiallyUnsafeConfigAnnotations
	for _, name := range []string{
		"org.systemd.property.TasksMax", "org.criu.config", "run.oci.handler", "run.oci.keep_original_groups", "run.oci.hooks.stdout",
		"run.oci.seccomp.receiver", "run.oci.seccomp_bpf_data", "run.oci.systemd.subgroup", "run.oci.delegate-cgroup",
		"run.oci.mount_context_type", "module.wasm.image/variant", "io.kubernetes.cri.container-type",
	} {
		changes := false
		for _, manager := range cgroups.Managers() {
			changes = changes || text(manager, map[string]string{name: "1"}) != text(manager, nil)
		}
		// What is no matter of the plan: a checkpoint's.
		without, _ := new(Container).criuConfig(nil)
		with, err := new(Container).criuConfig(map[string]string{name: "1"})
		changes = changes || with != without || err != nil
		listed := slices.ContainsFunc(unsafe, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
		if changes != listed {
			t.Errorf("%s changes the plan: %v, and is listed: %v", name, changes, listed)
		}
	}
}

func annotated(annotations map[string]string) *specs.Spec {
	spec := defaults.Spec(false, 0, 0)
	spec.Annotations = annotations
	return spec
}
