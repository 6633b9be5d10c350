package bundle

import (
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// linux holds the Linux section to config-linux.md, in the order of
// specs.Linux. Resources are judged by package cgroups.
func (c *checker) linux(l *specs.Linux) {
	c.userMappings(l)
	c.sysctl(l.Sysctl)
	c.text("cgroupsPath", l.CgroupsPath)
	c.namespaces(l.Namespaces)
	each(c, "devices", l.Devices, (*checker).device)
	c.netDevices(l.NetDevices)
	if l.Seccomp != nil {
		c.within("seccomp", func() { c.seccomp(l.Seccomp) })
	}
	c.propagation(l.RootfsPropagation)
	c.absolutes("maskedPaths", l.MaskedPaths)
	c.absolutes("readonlyPaths", l.ReadonlyPaths)
	c.text("mountLabel", l.MountLabel)
	if l.IntelRdt != nil {
		c.within("intelRdt", func() { c.intelRdt(l.IntelRdt) })
	}
	if l.MemoryPolicy != nil {
		c.within("memoryPolicy", func() { c.memoryPolicy(l.MemoryPolicy) })
	}
	if l.Personality != nil {
		c.within("personality", func() { c.personality(l.Personality) })
	}
	c.timeOffsets(l.TimeOffsets)
}

// namespaces says which kinds of namespace a container has of its own, made
// new or joined by path; one bit for each kind.
type namespaces struct{ made, joined uint8 }

func namespacesOf(spec *specs.Spec) (ns namespaces) {
	if spec.Linux == nil {
		return ns
	}
	for _, n := range spec.Linux.Namespaces {
		if n.Path == "" {
			ns.made |= namespaceBit(n.Type)
		} else {
			ns.joined |= namespaceBit(n.Type)
		}
	}
	return ns
}

// namespaceBit returns 0 for an unknown kind.
func namespaceBit(t specs.LinuxNamespaceType) uint8 {
	switch t {
	case specs.PIDNamespace:
		return 1
	case specs.NetworkNamespace:
		return 2
	case specs.MountNamespace:
		return 4
	case specs.IPCNamespace:
		return 8
	case specs.UTSNamespace:
		return 16
	case specs.UserNamespace:
		return 32
	case specs.CgroupNamespace:
		return 64
	case specs.TimeNamespace:
		return 128
	}
	return 0
}

func (n namespaces) has(t specs.LinuxNamespaceType) bool {
	return (n.made|n.joined)&namespaceBit(t) != 0
}
func (n namespaces) isNew(t specs.LinuxNamespaceType) bool { return n.made&namespaceBit(t) != 0 }

// namespaces: known types, no duplicates, absolute paths (config-linux.md,
// Namespaces).
func (c *checker) namespaces(list []specs.LinuxNamespace) {
	each(c, "namespaces", list, func(c *checker, n *specs.LinuxNamespace) {
		same := func(o specs.LinuxNamespace) bool { return o.Type == n.Type }
		switch {
		case namespaceBit(n.Type) == 0:
			c.bad("type", namespaceHint(n.Type), "unknown namespace type %q", n.Type)
		case slices.ContainsFunc(list[:c.index()], same):
			c.bad("type", "remove one", "the %s namespace is listed twice", n.Type)
		}
		if n.Path != "" {
			c.absolute("path", n.Path)
		}
	})
}

// namespaceHint corrects the kernel's own names, as in /proc/self/ns.
func namespaceHint(t specs.LinuxNamespaceType) string {
	switch t {
	case "net":
		return `write "network"`
	case "mnt":
		return `write "mount"`
	}
	return "write one of pid, network, mount, ipc, uts, user, cgroup, time"
}

// userMappings: a new user namespace has to be mapped, or nobody in it has an
// identity; without a user namespace there is nothing to map.
func (c *checker) userMappings(l *specs.Linux) {
	c.userMapping("uidMappings", l.UIDMappings)
	c.userMapping("gidMappings", l.GIDMappings)
}

func (c *checker) userMapping(key string, maps []specs.LinuxIDMapping) {
	switch {
	case len(maps) == 0 && c.ns.isNew(specs.UserNamespace):
		c.bad(key, `for example [{"containerID": 0, "hostID": 100000, "size": 65536}]`, "is required with a new user namespace")
	case len(maps) != 0 && !c.ns.has(specs.UserNamespace):
		c.bad(key, `add {"type": "user"} to linux.namespaces`, "needs a user namespace")
	}
	c.mappings(key, maps)
}

// maxMappings is UID_GID_MAP_MAX_EXTENTS of linux/user_namespace.h.
const maxMappings = 340

// mappings follows map_write of kernel/user_namespace.c: a range is not
// empty, ends below (uid_t)-1, and overlaps no other on either side.
func (c *checker) mappings(key string, maps []specs.LinuxIDMapping) {
	if len(maps) > maxMappings {
		c.bad(key, "", "must have at most %d entries, not %d", maxMappings, len(maps))
		return
	}
	each(c, key, maps, func(c *checker, m *specs.LinuxIDMapping) {
		switch {
		case m.Size == 0:
			c.bad("size", "", "must be greater than zero")
		case uint64(m.ContainerID)+uint64(m.Size) > noID:
			c.bad("size", "", "the range ends above the greatest ID of the container, %d", noID-1)
		case uint64(m.HostID)+uint64(m.Size) > noID:
			c.bad("size", "", "the range ends above the greatest ID of the host, %d", noID-1)
		default:
			c.overlap(m, maps[:c.index()])
		}
	})
}

func (c *checker) overlap(m *specs.LinuxIDMapping, earlier []specs.LinuxIDMapping) {
	for i, o := range earlier {
		switch {
		case intersect(m.ContainerID, m.Size, o.ContainerID, o.Size):
			c.bad("containerID", "", "the range overlaps that of entry %d", i)
			return
		case intersect(m.HostID, m.Size, o.HostID, o.Size):
			c.bad("hostID", "", "the range overlaps that of entry %d", i)
			return
		}
	}
}

func intersect(a, na, b, nb uint32) bool {
	return uint64(a) < uint64(b)+uint64(nb) && uint64(b) < uint64(a)+uint64(na)
}

// device: config-linux.md, Devices. The kernel's dev_t has 12 bits for the
// major and 20 for the minor number (linux/kdev_t.h).
func (c *checker) device(d *specs.LinuxDevice) {
	switch d.Type {
	case "c", "b", "u":
		c.number("major", d.Major, 1<<12-1)
		c.number("minor", d.Minor, 1<<20-1)
	case "p":
	default:
		c.bad("type", "write one of c, b, u, p", "unknown device type %q", d.Type)
	}
	c.absolute("path", d.Path)
	c.ownerID("uid", d.UID)
	c.ownerID("gid", d.GID)
}

func (c *checker) number(key string, n, most int64) {
	if n < 0 || n > most {
		c.bad(key, "", "must be between 0 and %d, not %d", most, n)
	}
}

func (c *checker) ownerID(key string, id *uint32) {
	if id != nil && *id == noID {
		c.bad(key, "", reservedID, *id)
	}
}

// netDevices are moved into the container's network namespace, which then
// must not be the host's.
func (c *checker) netDevices(devices map[string]specs.LinuxNetDevice) {
	if len(devices) != 0 && !c.ns.has(specs.NetworkNamespace) {
		c.bad("netDevices", `add {"type": "network"} to linux.namespaces`, "needs a network namespace to move the devices to")
	}
	taken := map[string]string{}
	for _, host := range sorted(devices) {
		c.trail.enter("netDevices")
		c.netDevice(host, devices[host].Name, taken)
		c.trail.leave()
	}
}

func (c *checker) netDevice(host, name string, taken map[string]string) {
	switch msg := netNameFault(host); {
	case msg != "":
		c.bad(host, "", "%q is not a name that a network device can have: %s", host, msg)
	case strings.Contains(host, "%"):
		c.bad(host, `for example {"eth0": {"name": "eth%d"}}`, "%q is not the name of one device: a template is for the container's name", host)
	}
	c.within(host, func() {
		if msg := netNameFault(name); name != "" && msg != "" {
			c.bad("name", "", "%q is not a name that a network device can have: %s", name, msg)
		}
		if name == "" {
			name = host
		}
		if other, ok := taken[name]; ok && !strings.Contains(name, "%") {
			c.bad("name", `give each a name of its own, or both a template such as "eth%d"`, "%q is already the name that %q gets", name, other)
		}
		taken[name] = host
	})
}

// netNameFault follows dev_valid_name and __dev_alloc_name of the kernel's
// net/core/dev.c.
func netNameFault(name string) string {
	const most = 15 // IFNAMSIZ without the NUL
	switch {
	case name == "":
		return "it is empty"
	case name == "." || name == "..":
		return "it is a directory's"
	case len(name) > most:
		return "it has more than 15 bytes"
	case strings.ContainsAny(name, "/:\x00"):
		return "it holds /, : or a NUL byte"
	case strings.ContainsAny(name, " \t\n\v\f\r"), strings.IndexByte(name, 0xa0) >= 0:
		return "it holds white space"
	case strings.Contains(strings.Replace(name, "%d", "", 1), "%"):
		return "% is only for one %d, which the kernel replaces by a number"
	}
	return ""
}

// propagation: the four kinds of the specification, and their recursive
// forms, which all runtimes take.
func (c *checker) propagation(p string) {
	switch p {
	case "", "private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable":
	default:
		c.bad("rootfsPropagation", "write one of shared, slave, private, unbindable", "unknown propagation %q", p)
	}
}

// intelRdt: config-linux.md, IntelRdt. The identity becomes a directory's
// name in resctrl; "/" is the root of resctrl itself.
func (c *checker) intelRdt(r *specs.LinuxIntelRdt) {
	switch id := r.ClosID; {
	case id == "." || id == ".." || id != "/" && strings.ContainsAny(id, "/\n\x00"):
		c.bad("closID", "", "%q cannot be the name of a directory in resctrl", id)
	case id == "info" || id == "mon_groups" || id == "mon_data":
		c.bad("closID", "", "%q is a directory of resctrl's own", id)
	}
	for i, line := range r.Schemata {
		if strings.ContainsAny(line, "\n\x00") {
			c.badAt("schemata", i, "write one entry for each line", "must not hold a newline or a NUL byte")
		}
	}
	c.schema("l3CacheSchema", r.L3CacheSchema)
	c.schema("memBwSchema", r.MemBwSchema)
	if r.MemBwSchema != "" && !strings.HasPrefix(r.MemBwSchema, "MB:") {
		c.bad("memBwSchema", "", "must begin with MB:, not %q", r.MemBwSchema)
	}
}

func (c *checker) schema(key, line string) {
	if strings.ContainsAny(line, "\n\x00") {
		c.bad(key, "", "must not hold a newline or a NUL byte")
	}
}

// memoryPolicy follows set_mempolicy(2) and mpol_new of the kernel's
// mm/mempolicy.c.
func (c *checker) memoryPolicy(m *specs.LinuxMemoryPolicy) {
	c.ranges("nodes", m.Nodes)
	c.memoryNodes(m)
	c.memoryFlags(m)
}

func (c *checker) memoryNodes(m *specs.LinuxMemoryPolicy) {
	switch m.Mode {
	case specs.MpolDefault, specs.MpolLocal:
		if m.Nodes != "" {
			c.bad("nodes", "remove them", "%s takes no nodes", m.Mode)
		}
	case specs.MpolBind, specs.MpolInterleave, specs.MpolWeightedInterleave, specs.MpolPreferredMany:
		if m.Nodes == "" {
			c.bad("nodes", `name them as in "0-3,7"`, "%s needs at least one node", m.Mode)
		}
	case specs.MpolPreferred:
	default:
		c.bad("mode", "set_mempolicy(2) lists them", "unknown memory policy %q", m.Mode)
	}
}

func (c *checker) memoryFlags(m *specs.LinuxMemoryPolicy) {
	var static, relative bool
	for i, f := range m.Flags {
		switch f {
		case specs.MpolFStaticNodes:
			static = true
		case specs.MpolFRelativeNodes:
			relative = true
		case specs.MpolFNumaBalancing:
			if m.Mode != specs.MpolBind && m.Mode != specs.MpolPreferredMany {
				c.badAt("flags", i, "", "%s is only for MPOL_BIND and MPOL_PREFERRED_MANY", f)
			}
		default:
			c.badAt("flags", i, "", "unknown memory policy flag %q", f)
		}
	}
	switch {
	case static && relative:
		c.bad("flags", "remove one", "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other")
	case (static || relative) && (m.Mode == specs.MpolLocal || m.Mode == specs.MpolPreferred && m.Nodes == ""):
		c.bad("flags", "", "flags about nodes are of no use without nodes")
	}
}

// personality: "currently no flag values are supported" (config-linux.md,
// Personality).
func (c *checker) personality(p *specs.LinuxPersonality) {
	if p.Domain != specs.PerLinux && p.Domain != specs.PerLinux32 {
		c.bad("domain", "write LINUX or LINUX32", "unknown execution domain %q", p.Domain)
	}
	for i, f := range p.Flags {
		c.badAt("flags", i, "remove it", "unknown personality flag %q: the specification has none", f)
	}
}

// timeOffsets can only be set before anybody is in a time namespace
// (time_namespaces(7)).
func (c *checker) timeOffsets(offsets map[string]specs.LinuxTimeOffset) {
	if len(offsets) != 0 && !c.ns.isNew(specs.TimeNamespace) {
		c.bad("timeOffsets", `add {"type": "time"} without a path to linux.namespaces`, "needs a new time namespace")
	}
	for _, clock := range sorted(offsets) {
		c.trail.enter("timeOffsets")
		if clock != "monotonic" && clock != "boottime" {
			c.bad(clock, "write monotonic or boottime", "the clock %q cannot be offset", clock)
		}
		c.within(clock, func() {
			if n := offsets[clock].Nanosecs; n > 999_999_999 {
				c.bad("nanosecs", "", "must be less than a second, not %d ns", n)
			}
		})
		c.trail.leave()
	}
}
