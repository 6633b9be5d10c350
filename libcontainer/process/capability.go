package process

import (
	"math/bits"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/fault"
)

// capNames are the capabilities by number (linux/capability.h).
var capNames = [...]string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER",
	"CAP_FSETID", "CAP_KILL", "CAP_SETGID", "CAP_SETUID",
	"CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST",
	"CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER",
	"CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT", "CAP_SYS_PTRACE",
	"CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE",
	"CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD",
	"CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL", "CAP_SETFCAP",
	"CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM",
	"CAP_BLOCK_SUSPEND", "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF",
	"CAP_CHECKPOINT_RESTORE",
}

// CapabilityNames are the known capabilities in their order, as "CAP_CHOWN".
func CapabilityNames() []string { return slices.Clone(capNames[:]) }

// capSet has bit n for capability n.
type capSet uint64

func (s capSet) has(n int) bool { return s>>n&1 == 1 }

// names are as in config.json.
func (s capSet) names() []string {
	out := make([]string, 0, bits.OnesCount64(uint64(s)))
	for rest := s; rest != 0; rest &= rest - 1 {
		out = append(out, capNames[bits.TrailingZeros64(uint64(rest))])
	}
	return out
}

// String lists the names without "CAP_".
func (s capSet) String() string {
	switch s {
	case 0:
		return "none"
	case allCaps(len(capNames) - 1):
		return "all"
	}
	return strings.ReplaceAll(strings.Join(s.names(), ","), "CAP_", "")
}

// allCaps is the set of capabilities 0..last.
func allCaps(last int) capSet { return 1<<(last+1) - 1 }

// capabilities are the sets that the process ends up with.
type capabilities struct {
	bounding, effective, permitted, inheritable, ambient capSet

	last int // the highest capability this kernel has
}

// String groups the sets that are equal.
func (c capabilities) String() string {
	type group struct {
		names []string
		set   capSet
	}
	var groups []*group
	add := func(name string, set capSet) {
		for _, g := range groups {
			if g.set == set {
				g.names = append(g.names, name)
				return
			}
		}
		groups = append(groups, &group{[]string{name}, set})
	}
	add("bounding", c.bounding)
	add("effective", c.effective)
	add("permitted", c.permitted)
	add("inheritable", c.inheritable)
	add("ambient", c.ambient)
	parts := make([]string, len(groups))
	for i, g := range groups {
		parts[i] = strings.Join(g.names, ",") + "=" + g.set.String()
	}
	return strings.Join(parts, " ")
}

// capabilities turns the names into sets. No entry means no capabilities, as
// with runc. What cannot be granted is left out with a warning, as the
// specification wants.
func (m *planner) capabilities(c *specs.LinuxCapabilities) capabilities {
	out := capabilities{last: m.lastCap()}
	if c == nil {
		return out
	}
	r := capReader{planner: m, granted: m.grantable(out.last)}
	at := fault.Pointer("/process/capabilities")
	out.bounding = r.read(at.At("bounding"), c.Bounding)
	out.permitted = r.read(at.At("permitted"), c.Permitted)
	out.effective = r.subset(at.At("effective"), c.Effective, out.permitted, "a capability must be permitted to be effective")
	// capset(2) takes no inheritable capability from outside the bounding set.
	out.inheritable = r.subset(at.At("inheritable"), c.Inheritable, out.bounding, "a capability outside the bounding set cannot be inheritable")
	out.ambient = r.subset(at.At("ambient"), c.Ambient, out.permitted&out.inheritable, "a capability must be permitted and inheritable to be ambient")
	return out
}

func (m *planner) lastCap() int {
	if n := m.facts.LastCap; n > 0 && n < len(capNames)-1 {
		return n
	}
	return len(capNames) - 1
}

// grantable is what the runtime can give: in a user namespace of its own
// making everything, else what it has.
func (m *planner) grantable(last int) capSet {
	if m.opt.UserNS {
		return allCaps(last)
	}
	return capSet(m.facts.Caps) & allCaps(last)
}

type capReader struct {
	*planner
	granted capSet
	warned  capSet // each missing capability is worth one warning, not five
}

func (r *capReader) read(at fault.Pointer, names []string) capSet {
	var set capSet
	for i, name := range names {
		n := capNumber(name)
		switch {
		case n < 0:
			r.warn(at.Index(i), name, "unknown capability, ignored")
		case r.granted.has(n):
			set |= 1 << n
		case !r.warned.has(n):
			r.warned |= 1 << n
			r.warn(at.Index(i), name, r.refusal(n))
		}
	}
	return set
}

func (r *capReader) refusal(n int) string {
	if n > r.lastCap() {
		return "this kernel does not have the capability, ignored"
	}
	return "the runtime does not have the capability itself, ignored"
}

// subset reads names and leaves out what is not in limit.
func (r *capReader) subset(at fault.Pointer, names []string, limit capSet, why string) capSet {
	set := r.read(at, names)
	if set&^limit == 0 {
		return set
	}
	// Managers ask for such sets every day, so that is one note and no warning.
	r.warn(at, (set &^ limit).String(), why+", ignored").Code = fault.Note
	return set & limit
}

// capNumber is the number of "CAP_NAME", or -1.
func capNumber(name string) int {
	for i, n := range capNames {
		if n == name {
			return i
		}
	}
	return -1
}
