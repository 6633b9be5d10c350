package libcontainer

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/libcontainer/host"
	"berth/nsenter"
)

// Namespaces is what becomes of the container's namespaces: which are joined,
// in which order, which are made, and how ids and clocks map.
type Namespaces struct {
	Join    []Join                           `json:"join,omitempty"`
	New     []string                         `json:"new,omitempty"` // as in /proc/PID/ns
	UIDs    []specs.LinuxIDMapping           `json:"uidMappings,omitempty"`
	GIDs    []specs.LinuxIDMapping           `json:"gidMappings,omitempty"`
	Offsets map[string]specs.LinuxTimeOffset `json:"timeOffsets,omitempty"`
	// Helpers are the maps that newuidmap and newgidmap write: "uid", "gid".
	Helpers []string `json:"helpers,omitempty"`
	// DenySetgroups is set where an unprivileged runtime writes its one gid.
	DenySetgroups bool `json:"denySetgroups,omitempty"`
	// Dumpable is set where an unprivileged runtime must be able to write the
	// maps of its own child, and createContainer hooks to join it.
	Dumpable bool `json:"dumpable,omitempty"`
}

// Join is one namespace that is joined by path.
type Join struct {
	Kind  string        `json:"kind"`
	Path  string        `json:"path"`
	Field fault.Pointer `json:"field"`
}

// kind relates the specification's names to the kernel's.
type kind struct {
	spec specs.LinuxNamespaceType
	proc string // in /proc/PID/ns
	flag int
}

// In the order in which they are joined; a user namespace comes where the
// runtime's rights demand it.
var kinds = [...]kind{
	{specs.IPCNamespace, "ipc", unix.CLONE_NEWIPC},
	{specs.UTSNamespace, "uts", unix.CLONE_NEWUTS},
	{specs.NetworkNamespace, "net", unix.CLONE_NEWNET},
	{specs.PIDNamespace, "pid", unix.CLONE_NEWPID},
	{specs.CgroupNamespace, "cgroup", unix.CLONE_NEWCGROUP},
	{specs.TimeNamespace, "time", unix.CLONE_NEWTIME},
	{specs.MountNamespace, "mnt", unix.CLONE_NEWNS},
	{specs.UserNamespace, "user", unix.CLONE_NEWUSER},
}

func kindOf(spec specs.LinuxNamespaceType) (kind, bool) {
	for _, k := range kinds {
		if k.spec == spec {
			return k, true
		}
	}
	return kind{}, false
}

func flagOf(proc string) int {
	for _, k := range kinds {
		if k.proc == proc {
			return k.flag
		}
	}
	return 0
}

// planNamespaces decides from /linux/namespaces and the mappings. What is
// wrong with them as such is package bundle's to say.
func planNamespaces(spec *specs.Spec, facts host.Facts) (Namespaces, fault.List) {
	var n Namespaces
	var list fault.List
	if spec.Linux == nil {
		return n, nil
	}
	base := fault.Pointer("/linux/namespaces")
	for i, ns := range spec.Linux.Namespaces {
		k, ok := kindOf(ns.Type)
		if !ok {
			continue
		}
		if !slices.Contains(facts.Namespaces, k.proc) {
			list = append(list, &fault.Error{Op: "namespace", Path: string(ns.Type), Field: base.Index(i),
				Msg: "this kernel has no namespaces of this kind", Phase: fault.PhasePlan})
			continue
		}
		if ns.Path != "" {
			n.Join = append(n.Join, Join{k.proc, ns.Path, base.Index(i)})
			continue
		}
		n.New = append(n.New, k.proc)
	}
	n.sortJoins(facts.Privileged())
	n.Offsets = spec.Linux.TimeOffsets
	if n.isNew("user") {
		n.UIDs, n.GIDs = spec.Linux.UIDMappings, spec.Linux.GIDMappings
		list = append(list, n.planMaps(facts)...)
	}
	return n, list
}

// permitted complains where the runtime has not the rights that the namespaces
// need. It is no matter of planning: anybody may ask for a plan.
func (n Namespaces) permitted(facts host.Facts) error {
	if facts.Privileged() || n.has("user") {
		return nil
	}
	return &fault.Error{Op: "namespaces", Field: "/linux/namespaces", Errno: unix.EPERM, Phase: fault.PhasePlan,
		Msg:  "an ordinary user has no rights over them, nor over mounts, without a user namespace of the container's own",
		Hint: "make the bundle with spec --rootless, or run as root"}
}

// sortJoins joins other namespaces before the user namespace where the runtime
// has rights over them, and after it where only the user namespace gives them.
func (n *Namespaces) sortJoins(privileged bool) {
	place := func(j Join) int {
		i := slices.IndexFunc(kinds[:], func(k kind) bool { return k.proc == j.Kind })
		if j.Kind == "user" && !privileged {
			return -1
		}
		return i
	}
	slices.SortStableFunc(n.Join, func(a, b Join) int { return place(a) - place(b) })
}

func (n *Namespaces) planMaps(facts host.Facts) fault.List {
	if facts.Privileged() {
		return nil
	}
	n.Dumpable = true
	own := func(m []specs.LinuxIDMapping, id int) bool {
		return len(m) == 1 && m[0].Size == 1 && m[0].HostID == uint32(id)
	}
	if !own(n.UIDs, facts.EUID) {
		n.Helpers = append(n.Helpers, uids.name)
	}
	if n.DenySetgroups = own(n.GIDs, facts.EGID); !n.DenySetgroups {
		n.Helpers = append(n.Helpers, gids.name)
	}
	return nil
}

func (n Namespaces) isNew(proc string) bool { return slices.Contains(n.New, proc) }

func (n Namespaces) joins(proc string) bool {
	return slices.ContainsFunc(n.Join, func(j Join) bool { return j.Kind == proc })
}

// has tells whether the container has its own namespace of this kind.
func (n Namespaces) has(proc string) bool { return n.isNew(proc) || n.joins(proc) }

// forks tells whether init must be a child of the preamble: a pid namespace
// and a new time namespace are entered by birth only.
func (n Namespaces) forks() bool { return n.has("pid") || n.isNew("time") }

// Lines is the plan for people.
func (n Namespaces) Lines() []string {
	var out []string
	for _, j := range n.Join {
		out = append(out, fmt.Sprintf("join %s namespace %s   # %s", j.Kind, j.Path, j.Field))
	}
	if len(n.New) > 0 {
		out = append(out, "new namespaces "+strings.Join(n.New, " ")+"   # /linux/namespaces")
	}
	if n.isNew("net") {
		out = append(out, "bring up lo   # /linux/namespaces")
	}
	out = append(out, mapLines("uid", n.UIDs)...)
	out = append(out, mapLines("gid", n.GIDs)...)
	for _, clock := range []string{"monotonic", "boottime"} {
		if o, ok := n.Offsets[clock]; ok {
			out = append(out, fmt.Sprintf("clock %s %+d.%09d s   # /linux/timeOffsets/%s", clock, o.Secs, o.Nanosecs, clock))
		}
	}
	return out
}

func mapLines(what string, mappings []specs.LinuxIDMapping) []string {
	var out []string
	for i, m := range mappings {
		out = append(out, fmt.Sprintf("map %s %d to host %d, %d ids   # /linux/%sMappings/%d",
			what, m.ContainerID, m.HostID, m.Size, what, i))
	}
	return out
}

// compile is the first part of every program: from the preamble's first
// instruction to init standing in all its namespaces. joins are the registers
// of the namespaces to join, in n.Join's order.
func (n Namespaces) compile(b *nsenter.Builder, joins []nsenter.Reg, groups entering) {
	origin := func(field fault.Pointer, op, path string) {
		b.For(nsenter.Origin{Field: field, Op: op, Path: path, Phase: fault.PhaseNamespaces})
	}
	for i, j := range n.Join {
		origin(j.Field, "join "+j.Kind+" namespace", j.Path)
		b.Setns(joins[i], flagOf(j.Kind))
		b.Close(joins[i])
		if j.Kind == "user" {
			becomeRoot(b)
		}
	}
	origin("/linux/namespaces", "make namespaces", "")
	if n.isNew("user") {
		n.compileUser(b)
	}
	rest := 0
	for _, proc := range n.New {
		if proc != "user" {
			rest |= flagOf(proc)
		}
	}
	late := 0
	if groups.late() {
		// The root of a cgroup namespace is where its maker is.
		late = rest & unix.CLONE_NEWCGROUP
	}
	if rest &^= late; rest != 0 {
		origin("/linux/namespaces", "make namespaces", "")
		b.Unshare(rest)
	}
	if len(n.Offsets) > 0 {
		origin("/linux/timeOffsets", "set clocks", "")
		b.Sync(nsenter.SyncOffsets)
	}
	if n.forks() {
		origin("/linux/namespaces", "fork", "")
		forkInto(b, groups.fork)
	}
	enterGroups(b, groups.procs)
	if groups.sync {
		b.For(nsenter.Origin{Op: "enter", Path: "the control group", Phase: fault.PhaseCgroup})
		b.Sync(nsenter.SyncGroup)
	}
	if late != 0 {
		origin("/linux/namespaces", "make namespaces", "")
		b.Unshare(late)
	}
	if n.isNew("net") {
		origin("/linux/namespaces", "bring up", "lo")
		bringUpLoopback(b)
	}
}

// entering is how init comes into the container's groups by what the program
// does; none where the preamble is in them.
type entering struct {
	fork  nsenter.Reg   // the cgroup2 group to fork into; 0 is none
	procs []nsenter.Reg // cgroup.procs of every group, for init itself
	sync  bool          // init waits until the runtime has moved it
}

func (e entering) late() bool { return e.fork != 0 || len(e.procs) > 0 || e.sync }

// enterGroups writes the process into the groups whose cgroup.procs are in the
// registers; 0 is the writer (cgroups(7)).
func enterGroups(b *nsenter.Builder, procs []nsenter.Reg) {
	b.For(nsenter.Origin{Op: "write", Path: "cgroup.procs", Phase: fault.PhaseCgroup})
	for _, r := range procs {
		b.Write(r, "0")
		b.Close(r)
	}
}

// forkInto forks, into a cgroup2 group where group is its register.
func forkInto(b *nsenter.Builder, group nsenter.Reg) {
	if group == 0 {
		b.Fork()
		return
	}
	b.ForkInto(group)
	b.Close(group)
}

// bringUpLoopback gives a new network namespace what every program expects of
// one (netdevice(7)).
func bringUpLoopback(b *nsenter.Builder) {
	ifreq := make([]byte, 40)
	copy(ifreq, "lo")
	binary.NativeEndian.PutUint16(ifreq[unix.IFNAMSIZ:], unix.IFF_UP)
	socket := b.DatagramSocket()
	b.Append(unix.SYS_IOCTL, nsenter.FD(socket), nsenter.Const(unix.SIOCSIFFLAGS, "SIOCSIFFLAGS"),
		b.Bytes(ifreq, `{"lo", IFF_UP}`))
	b.Close(socket)
}

func (n Namespaces) compileUser(b *nsenter.Builder) {
	b.Unshare(unix.CLONE_NEWUSER)
	if n.Dumpable {
		setDumpable(b, 1)
	}
	b.For(nsenter.Origin{Field: "/linux/uidMappings", Op: "map ids", Phase: fault.PhaseNamespaces})
	b.Sync(nsenter.SyncMaps)
	if n.Dumpable {
		setDumpable(b, 0)
	}
	becomeRoot(b)
}

func setDumpable(b *nsenter.Builder, v int) {
	b.Prctl(unix.PR_SET_DUMPABLE, "PR_SET_DUMPABLE", nsenter.Num(v))
}

// becomeRoot takes id 0 of the user namespace that was just entered, so that
// what is made belongs to the container. EINVAL: it maps no id 0.
func becomeRoot(b *nsenter.Builder) {
	zero := nsenter.Num(0)
	b.Append(unix.SYS_SETRESGID, zero, zero, zero).Accepts(unix.EINVAL)
	b.Append(unix.SYS_SETRESUID, zero, zero, zero).Accepts(unix.EINVAL)
}

// open opens the namespaces to join, in n.Join's order; the descriptors are
// the caller's.
func (n Namespaces) open() ([]*os.File, error) {
	var files []*os.File
	for _, j := range n.Join {
		f, err := os.Open(j.Path)
		if err != nil {
			closeAll(files)
			return nil, fault.From(err, "join "+j.Kind+" namespace", j.Path).For(j.Field).In(fault.PhaseNamespaces)
		}
		files = append(files, f)
	}
	return files, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
