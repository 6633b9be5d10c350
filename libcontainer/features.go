package libcontainer

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"

	"berth/cgroups"
	"berth/libcontainer/host"
	"berth/libcontainer/process"
	"berth/libcontainer/process/seccomp"
	"berth/rootfs"
)

// Features says what Berth knows, as features.md wants it: whether this
// machine has it is another matter, but for the seccomp flags. It is made from
// the tables that planning itself uses. The annotations that change what is done,
// and are potentially unsafe for that, are those of systemd's units and CRIU's
// configuration.
func Features(facts host.Facts) features.Features {
	yes := true
	systemd := slices.Contains(cgroups.Managers(), cgroups.ManagerSystemd)
	var hooks, namespaces []string
	for _, k := range hookKinds(&specs.Hooks{}) {
		hooks = append(hooks, k.name)
	}
	for _, k := range kinds {
		namespaces = append(namespaces, string(k.spec))
	}
	slices.Sort(namespaces)
	return features.Features{
		OCIVersionMin: "1.0.0",
		OCIVersionMax: specs.Version,
		Hooks:         hooks,
		MountOptions:  rootfs.KnownOptions(),
		Linux: &features.Linux{
			Namespaces:   namespaces,
			Capabilities: process.CapabilityNames(),
			Cgroup:       &features.Cgroup{V1: &yes, V2: &yes, Systemd: &systemd, SystemdUser: &systemd, Rdma: &yes},
			Seccomp: &features.Seccomp{
				Enabled: &yes, Actions: seccomp.Actions(), Operators: seccomp.Operators(), Archs: seccomp.Archs(),
				KnownFlags: seccomp.Flags(), SupportedFlags: seccomp.SupportedFlags(facts.Kernel),
			},
			Apparmor:        &features.Apparmor{Enabled: &yes},
			Selinux:         &features.Selinux{Enabled: &yes},
			IntelRdt:        &features.IntelRdt{Enabled: &yes, Schemata: &yes, Monitoring: &yes},
			MemoryPolicy:    &features.MemoryPolicy{Modes: process.MemoryModes(), Flags: process.MemoryFlags()},
			MountExtensions: &features.MountExtensions{IDMap: &features.IDMap{Enabled: &yes}},
			NetDevices:      &features.NetDevices{Enabled: &yes},
		},
		PotentiallyUnsafeConfigAnnotations: []string{cgroups.PropertyAnnotations, criuAnnotation},
		Annotations: map[string]string{
			// The name that features.md and other runtimes have for it.
			"io.github.seccomp.libseccomp.version": seccomp.Version(),
		},
	}
}
