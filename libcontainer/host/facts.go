// Package host says what machine this is: Facts is a value, gathered once by
// Probe, from which every plan is made. A plan for another machine is made
// from other Facts.
package host

import (
	"slices"

	"golang.org/x/sys/unix"
)

// Facts is everything that plans need to know of the kernel and of the
// runtime's own rights. It holds no descriptor and can be written down.
type Facts struct {
	Kernel Version `json:"kernel"`

	EUID, EGID int    // of the runtime, in its own user namespace
	Caps       uint64 // the runtime's effective capabilities, bit n = capability n
	LastCap    int    // /proc/sys/kernel/cap_last_cap
	UserNS     bool   // the runtime is not in the initial user namespace

	Namespaces []string // the kinds that this kernel has, named as in /proc/self/ns: "mnt", "net", "time" …
	Cgroup     Cgroup
	Systemd    Systemd // only where units are asked for (cgroups.ProbeSystemd)
	Resctrl    string  // where resctrl is mounted, "" where it is not

	Stdio [3]Stdio // what the runtime's descriptors 0, 1 and 2 are

	Seccomp bool // /proc/sys/kernel/seccomp exists

	LSM LSM // only where the configuration asks for labels (ProbeLSM)
}

// Systemd says which of systemd's managers are there to be asked for units.
type Systemd struct {
	// Foreign says that the system's manager serves others: the runtime is
	// not root, or root of a user namespace that systemd is not in.
	Foreign bool
	UID     int // of the runtime outside its user namespace, which is what systemd knows it by
	// UserGroup is the cgroup v2 group that the user's own manager has, as in
	// /proc/self/cgroup; "" where there is none to be seen.
	UserGroup       string
	UserControllers []string // those delegated to it
}

// Version is a kernel version; of 6.18.44-rc1 the first two numbers.
type Version struct{ Major, Minor int }

// AtLeast tells whether v is major.minor or newer.
func (v Version) AtLeast(major, minor int) bool {
	return v.Major > major || v.Major == major && v.Minor >= minor
}

// Stdio describes one of the runtime's standard descriptors.
type Stdio struct {
	Open bool
	Mode uint32 // st_mode
	UID  uint32
	Rdev uint64
	Dev  uint64
	Ino  uint64
}

// Cgroup is the layout of the control groups as the runtime sees it.
type Cgroup struct {
	// V2 is the mount point of the cgroup2 hierarchy, "" where there is none.
	// It is /sys/fs/cgroup on a unified machine and usually
	// /sys/fs/cgroup/unified on a hybrid one.
	V2 string
	// V2Root is the cgroup that is mounted at V2, as in field 4 of
	// /proc/self/mountinfo; "/" outside containers.
	V2Root string
	// V2Controllers is cgroup.controllers of V2's mount point.
	V2Controllers []string
	// V2Self is the runtime's own cgroup, from the "0::" line of
	// /proc/self/cgroup.
	V2Self string
	// V2Delegated is the highest group on the way from V2 to the runtime's own
	// one in which, and in all between the two, this user may make groups and
	// move processes (cgroup-v2.rst, "Delegation"); "" where there is none, and
	// where nobody asked (ProbeRights). It is a path of the host.
	V2Delegated string
	// V2DelegatedControllers are those that groups below it can have.
	V2DelegatedControllers []string

	// V1 are the mounted v1 hierarchies in mountinfo's order.
	V1 []V1Hierarchy
}

// V1Hierarchy is one mounted cgroup-v1 hierarchy.
type V1Hierarchy struct {
	Controllers []string // as in its super options: {"cpu","cpuacct"}, {"name=systemd"}
	Mountpoint  string
	Root        string // field 4 of mountinfo
	Self        string // the runtime's own cgroup in it, from /proc/self/cgroup
	Writable    bool   // this user may make groups in the runtime's own (ProbeRights)
}

// Mode names the layout as managers do: "unified", "hybrid", "legacy" or "none".
func (c Cgroup) Mode() string {
	switch {
	case c.V2 != "" && len(c.V1) == 0:
		return "unified"
	case c.V2 != "":
		return "hybrid"
	case len(c.V1) != 0:
		return "legacy"
	}
	return "none"
}

// Hierarchy returns the v1 hierarchy that has the controller.
func (c Cgroup) Hierarchy(controller string) (V1Hierarchy, bool) {
	for _, h := range c.V1 {
		if slices.Contains(h.Controllers, controller) {
			return h, true
		}
	}
	return V1Hierarchy{}, false
}

// Has tells whether the runtime has a capability (unix.CAP_*) in the user
// namespace it runs in.
func (f Facts) Has(capability int) bool { return f.Caps>>capability&1 == 1 }

// Privileged tells whether the runtime has CAP_SYS_ADMIN in the user
// namespace it runs in. Where it has not, it makes a user namespace first.
func (f Facts) Privileged() bool { return f.Has(unix.CAP_SYS_ADMIN) }

// HasMountSetattr tells whether mount_setattr(2) exists (Linux 5.12). Older
// kernels get remounts instead.
func (f Facts) HasMountSetattr() bool { return f.Kernel.AtLeast(5, 12) }

// HasOverlayLowerdirPlus tells whether overlayfs takes lowerdir+ (Linux 6.8).
func (f Facts) HasOverlayLowerdirPlus() bool { return f.Kernel.AtLeast(6, 8) }
