package libcontainer

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"

	"berth/libcontainer/host"
	"berth/libcontainer/process"
	"berth/libcontainer/process/seccomp"
	"berth/rootfs"
)

// Features says what plans can hold on this machine, as features.md wants it.
// It is made from the tables that planning itself uses.
func Features(facts host.Facts) features.Features {
	yes, no := true, false
	var hooks, namespaces []string
	for _, k := range hookKinds(&specs.Hooks{}) {
		hooks = append(hooks, k.name)
	}
	for _, k := range kinds {
		if slices.Contains(facts.Namespaces, k.proc) {
			namespaces = append(namespaces, string(k.spec))
		}
	}
	slices.Sort(namespaces)
	idmap := facts.HasMountSetattr()
	return features.Features{
		Hooks:        hooks,
		MountOptions: rootfs.KnownOptions(),
		Linux: &features.Linux{
			Namespaces:   namespaces,
			Capabilities: process.CapabilityNames(facts.LastCap),
			Cgroup:       &features.Cgroup{V1: &yes, V2: &yes, Systemd: &no, SystemdUser: &no, Rdma: &yes},
			Seccomp: &features.Seccomp{
				Enabled: &facts.Seccomp, Actions: seccomp.Actions(), Operators: seccomp.Operators(),
				Archs: seccomp.Archs(), KnownFlags: seccomp.Flags(), SupportedFlags: seccomp.Flags(),
			},
			Apparmor:        &features.Apparmor{Enabled: &no},
			Selinux:         &features.Selinux{Enabled: &no},
			IntelRdt:        &features.IntelRdt{Enabled: &no},
			MountExtensions: &features.MountExtensions{IDMap: &features.IDMap{Enabled: &idmap}},
			NetDevices:      &features.NetDevices{Enabled: &no},
		},
	}
}
