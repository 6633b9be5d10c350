package libcontainer

import (
	"github.com/opencontainers/runtime-spec/specs-go"

	"berth/cgroups"
	"berth/libcontainer/host"
)

// Facts probes what plans for spec need to know of this machine.
func Facts(spec *specs.Spec) host.Facts {
	f := host.Probe()
	f.LSM = probeLSM(spec)
	return f
}

// Facts are Facts with what the options ask for besides.
func (opt PlanOptions) Facts(spec *specs.Spec) host.Facts {
	f := Facts(spec)
	if opt.Rootless == cgroups.RootlessYes && !f.Rootless() {
		f.Cgroup.ProbeRights()
	}
	if opt.CgroupManager == cgroups.ManagerSystemd && (opt.Rootless == cgroups.RootlessYes || f.Rootless()) {
		cgroups.ProbeSystemd(&f)
	}
	return f
}

// probeLSM asks for security modules only where spec has labels for them.
func probeLSM(spec *specs.Spec) host.LSM {
	p, l := spec.Process, spec.Linux
	if p != nil && p.ApparmorProfile+p.SelinuxLabel != "" || l != nil && l.MountLabel != "" {
		return host.ProbeLSM()
	}
	return host.LSM{}
}
