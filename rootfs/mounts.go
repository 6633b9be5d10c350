package rootfs

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/rootfs/overlayfs"
)

// entry is one mount of the config while it is planned.
type entry struct {
	specs.Mount
	field  fault.Pointer
	target string
	flags  Flags
	root   bool // it is the root file system
}

// option points at option i of the entry, or at the entry where i is -1.
func (e *entry) option(i int) fault.Pointer { return optionField(e.field, i) }

func optionField(field fault.Pointer, i int) fault.Pointer {
	if i < 0 {
		return field
	}
	return field.At("options").Index(i)
}

func (p *planner) planMounts() {
	for i, m := range p.spec.Mounts {
		e := newEntry(m, fault.Pointer("/mounts").Index(i))
		e.root = p.isRoot(e, i)
		p.planMount(e)
	}
	for _, m := range p.opt.Extra {
		p.planMount(newEntry(m.Mount, m.Field))
	}
}

func newEntry(m specs.Mount, field fault.Pointer) *entry {
	e := &entry{Mount: m, field: field, target: inside(m.Destination), flags: ParseOptions(m.Options)}
	// Some managers say it with the type only.
	if m.Type == "bind" || m.Type == "rbind" {
		e.flags.Bind, e.flags.Recursive = true, e.flags.Recursive || m.Type == "rbind"
	}
	return e
}

func (p *planner) planMount(e *entry) {
	m, field := e.Mount, e.field
	if !p.checkText(e) || !p.checkTarget(e) || !p.checkKernel(e) || !p.checkLink(e) {
		return
	}
	switch {
	case e.flags.Remount:
		p.add(&Remount{Base{"remount", field}, m.Type, m.Source, e.target, e.flags})
	case e.flags.Bind:
		p.planBind(e)
	case m.Type == "cgroup" || m.Type == "cgroup2":
		p.planCgroup(e)
	case m.Type == "" || m.Type == "none":
		p.complain(field, "mount", e.target, "neither a file system type nor bind", `add the option "bind" or a type`)
	default:
		p.planFilesystem(e)
	}
}

func (p *planner) checkText(e *entry) bool {
	before := len(p.bad)
	for _, s := range [...]struct{ key, value string }{
		{"destination", e.Destination}, {"source", e.Source}, {"type", e.Type},
	} {
		if !whole(s.value) {
			p.text(e.field.At(s.key), "mount", s.value)
		}
	}
	for i, name := range e.Options {
		if !whole(name) {
			p.text(e.option(i), "mount", name)
		}
	}
	return len(p.bad) == before
}

func (p *planner) checkTarget(e *entry) bool {
	switch {
	case e.Destination == "":
		p.complain(e.field.At("destination"), "mount", e.Source, "a destination is required", "")
	case e.root:
		return true
	case e.target == "/":
		p.complain(e.field.At("destination"), "mount", "/", "a mount on / would hide the root file system",
			"set /root/path to it; only an overlay may be the root, as the first mount")
	default:
		return p.checkProc(e)
	}
	return false
}

// lxcfs shows these files of procfs as the container's own.
var lxcfs = [...]string{
	"/proc/cpuinfo", "/proc/diskstats", "/proc/loadavg", "/proc/meminfo", "/proc/slabinfo",
	"/proc/stat", "/proc/swaps", "/proc/uptime",
	"/proc/sys/crypto/fips_enabled", "/proc/sys/kernel/ns_last_pid",
}

// checkProc keeps /proc a procfs, which security modules and masks are set
// through (CVE-2019-16884); the exceptions are those of runc.
func (p *planner) checkProc(e *entry) bool {
	switch {
	case e.target == "/proc":
		if e.Type == "proc" || e.flags.Bind || e.flags.Remount {
			return true // a bind is checked in the container
		}
		p.complain(e.field, "mount", e.target, "only a file system of type proc may be mounted here", "")
		return false
	case strings.HasPrefix(e.target, "/proc/") && !e.flags.Remount && !slices.Contains(lxcfs[:], e.target):
		p.complain(e.field.At("destination"), "mount", e.target, "a mount inside /proc is not allowed",
			"only the files that lxcfs provides may be replaced, such as /proc/meminfo")
		return false
	}
	return true
}

// checkLink complains about options for symbolic links where there can be none.
func (p *planner) checkLink(e *entry) bool {
	at := e.option(e.flags.LinkAt)
	switch {
	case e.flags.LinkAt < 0:
		return true
	case !e.flags.Bind || e.flags.Remount:
		p.complain(at, "mount", e.target, e.Options[e.flags.LinkAt]+" is for a bind mount", "")
	case e.target == "/proc" || e.target == "/sys":
		p.complain(at, "bind", e.target, e.target+" must be a directory, not a symbolic link", "")
	default:
		return true
	}
	return false
}

// checkKernel complains about what only mount_setattr(2) can do.
func (p *planner) checkKernel(e *entry) bool {
	f, ok := e.flags, true
	if e.tree() && !f.Rec.empty() && !p.m.can(f.Rec) {
		p.complain(e.option(f.RecAt), "mount", e.target, "recursive mount attributes need Linux "+p.m.needs(f.Rec), "")
		ok = false
	}
	if f.IDMap != IDMapNone && !p.m.setattr {
		p.complain(e.option(f.IDMapAt), "mount", e.target, "an id-mapped mount needs Linux 5.12", "")
		ok = false
	}
	return ok
}

// tree tells whether there can be mounts below the entry's own.
func (e *entry) tree() bool { return e.flags.Bind || e.flags.Remount }

// can tells whether mount_setattr(2) does a on this kernel.
func (m machine) can(a Attr) bool {
	return m.setattr && (m.nosymfollow || (a.Set|a.Clear)&unix.MOUNT_ATTR_NOSYMFOLLOW == 0)
}

func (m machine) needs(a Attr) string {
	if (a.Set|a.Clear)&unix.MOUNT_ATTR_NOSYMFOLLOW != 0 {
		return "5.14"
	}
	return "5.12"
}

func (p *planner) planBind(e *entry) {
	if e.Source == "" {
		p.complain(e.field.At("source"), "bind", e.target, "a bind mount needs a source", "")
		return
	}
	if e.flags.CopyUp {
		p.complain(e.option(e.flags.CopyUpAt), "bind", e.target, "tmpcopyup is for a tmpfs", "")
		return
	}
	id, ok := p.planIDMap(e)
	if !ok {
		return
	}
	p.wholeSys(e)
	b := &Bind{
		Base: Base{"bind", e.field}, Source: p.inBundle(e.Source), Target: e.target, Flags: e.flags,
		procfs: e.target == "/proc",
	}
	if id != nil {
		b.UIDMappings, b.GIDMappings = id.UID, id.GID
	}
	b.source = p.source(Source{
		Path: b.Source, Recursive: e.flags.Recursive, IDMap: id, Field: e.field.At("source"), Op: "bind",
		Attr: e.flags.Attr, Rec: e.flags.Rec, NoFollow: e.flags.SourceLink || e.flags.CopyLink,
	})
	p.add(b)
}

// wholeSys makes a read-only /sys of the host read-only as a whole: what is mounted below it are above all the control
// groups, of which some are the user's own where Berth runs without privileges (CVE-2023-25809).
func (p *planner) wholeSys(e *entry) {
	const ro = unix.MOUNT_ATTR_RDONLY
	f := &e.flags
	if path.Clean(e.Source) == "/sys" && f.Recursive && f.Attr.Set&ro != 0 && (f.Rec.Set|f.Rec.Clear)&ro == 0 && p.m.setattr {
		f.Rec.Set |= ro
		f.RecAt = f.AttrAt
	}
}

// source adds a clone of a host mount. What the kernel cannot change before
// the mount is attached is left for afterwards.
func (p *planner) source(s Source) int {
	s.opener, s.base = p.opener(s), p.m.base
	if s.opener == early || !p.m.can(s.Attr) {
		s.Attr = Attr{}
	}
	if s.opener == early || !p.m.setattr {
		s.Rec, s.base = Attr{}, 0
	}
	p.sources = append(p.sources, s)
	return len(p.sources) - 1
}

// opener decides who clones a host mount. Without privileges it is the walker.
// With them it is the walker too, which saves handing the clone over, unless
// only the runtime can: its rights end at a user namespace, its mounts are not
// those of a mount namespace that is joined, and a copy of them in a new one has
// no part in their peer groups once isolate is through with it.
func (p *planner) opener(s Source) opener {
	switch {
	case !p.m.privileged:
		return early
	case p.m.userNS || !p.m.mountNS || p.opt.JoinedMountNS || p.m.base == 0 || s.IDMap != nil:
		return byRuntime
	case s.Recursive && within(p.Root, s.Path):
		return early // or it would have the container's mounts in it
	}
	return inTurn
}

// within tells whether a clean absolute path is dir or below it.
func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// The kernel's limits: of one string of fsconfig(2), and of mount(2)'s data.
const (
	paramMax = overlayfs.ValueMax
	dataMax  = overlayfs.DataMax
)

func (p *planner) planFilesystem(e *entry) {
	if !p.checkOwner(e) {
		return
	}
	id, ok := p.planIDMap(e)
	if !ok {
		return
	}
	m := &Mount{
		Base: Base{"mount", e.field}, Type: e.Type, Source: e.Source, Target: e.target,
		Flags: e.flags, source: -1,
	}
	// A tree of one mount: recursive attributes are its own.
	m.Flags.Attr = m.Flags.Attr.with(m.Flags.Rec.Set, m.Flags.Rec.Clear)
	m.Flags.Rec = Attr{}
	m.late = m.Flags.Attr.Set&unix.MOUNT_ATTR_RDONLY != 0 && (m.Type == "tmpfs" || m.Target == "/dev")
	if m.Type == "overlay" {
		if e.flags.CopyUp {
			p.planCopyUp(e, m, id) // to complain
		} else if m.root = e.root; p.planOverlay(e, m, id) {
			p.add(m)
		}
		return
	}
	m.Flags.Params = p.labelled(m.Type, p.params(e))
	m.classic = p.classic(m)
	if m.classic && len(joinParams(m.Flags.Params)) > dataMax {
		p.complain(e.field.At("options"), "mount", e.target, "the options are longer than "+strconv.Itoa(dataMax)+" bytes", "")
		return
	}
	if e.flags.CopyUp && !p.planCopyUp(e, m, id) || id != nil && !p.planMapped(e, m, id) {
		return
	}
	// One that the runtime makes has its mode from there.
	m.likeMode = m.Type == "tmpfs" && m.Target != "/sys" && m.source < 0 && !hasParam(m.Flags.Params, "mode")
	p.add(m)
}

// checkOwner complains about a view of the host's namespaces that a user
// namespace below theirs does not get (user_namespaces(7)).
func (p *planner) checkOwner(e *entry) bool {
	if !p.opt.UserNS || p.facts.UserNS {
		return true
	}
	switch {
	case e.Type == "proc" && !p.m.pidNS:
		p.complain(e.field, "mount", e.target, "in a user namespace proc needs a pid namespace of the container's own",
			`add {"type": "pid"} to /linux/namespaces, or bind the host's /proc with rbind`)
	case e.Type == "sysfs" && !p.opt.NetNS:
		p.complain(e.field, "mount", e.target, "in a user namespace sysfs needs a network namespace of the container's own",
			`add {"type": "network"} to /linux/namespaces, or bind the host's /sys with rbind and ro`)
	default:
		return true
	}
	return false
}

// params splits a list of parameters in one option.
func (p *planner) params(e *entry) []Param {
	var out []Param
	for _, q := range e.flags.Params {
		out = append(out, splitParam(q)...)
	}
	return out
}

// splitParam takes "size=1m,mode=700" apart, as mount(2) would. A list that
// quotes or escapes a comma is left to the file system.
func splitParam(q Param) []Param {
	s := q.String()
	if !strings.Contains(s, ",") || strings.ContainsAny(s, `"\`) {
		return []Param{q}
	}
	var out []Param
	for _, one := range strings.Split(s, ",") {
		out = append(out, param(one, q.At))
	}
	return out
}

// classic tells whether only mount(2) can do it: fsconfig(2) has no word for
// "silent" and "iversion", and limits the length of a value.
func (p *planner) classic(m *Mount) bool {
	if m.Flags.SB&(unix.MS_SILENT|unix.MS_I_VERSION) != 0 || len(m.Source) > paramMax {
		return true
	}
	if !p.m.nosymfollow && m.Flags.Attr.Set&unix.MOUNT_ATTR_NOSYMFOLLOW != 0 {
		return true
	}
	return slices.ContainsFunc(m.Flags.Params, func(q Param) bool {
		return len(q.Value) > paramMax || len(q.Key) > paramMax
	})
}

func joinParams(params []Param) string {
	parts := make([]string, len(params))
	for i, q := range params {
		parts[i] = q.String()
		if q.At == labelAt { // its categories have commas
			parts[i] = q.Key + `="` + q.Value + `"`
		}
	}
	return strings.Join(parts, ",")
}

// planCopyUp lets the runtime make the tmpfs, because the copy is made with
// its rights and from the host.
func (p *planner) planCopyUp(e *entry, m *Mount, id *IDMap) bool {
	at := e.option(e.flags.CopyUpAt)
	switch {
	case m.Type != "tmpfs":
		p.complain(at, "tmpcopyup", e.target, "tmpcopyup is for a tmpfs, not for "+m.Type, "")
		return false
	case id != nil:
		p.complain(at, "tmpcopyup", e.target, "tmpcopyup copies owners, and an id-mapped mount changes them", "leave one of them out")
		return false
	case m.classic:
		p.complain(e.field.At("options"), "tmpcopyup", e.target, "an option is too long for a tmpfs with tmpcopyup", "")
		return false
	case !p.m.privileged:
		p.complain(at, "tmpcopyup", e.target, "tmpcopyup needs CAP_SYS_ADMIN on the host", "leave tmpcopyup out, or run as root")
		return false
	}
	p.makeInRuntime(m, Source{
		Path: m.Target, Field: e.field, Op: "tmpcopyup", CopyUp: p.copyUp(m.Target),
	}, p.hostIDs(m.Flags.Params))
	return true
}

// planMapped lets the runtime make a file system that is id-mapped: the kernel
// wants rights over the user namespace of the file system, which is not to be
// the container's (mount_setattr(2)). Its options speak of the ids in the file
// system, like the mapping.
func (p *planner) planMapped(e *entry, m *Mount, id *IDMap) bool {
	if m.classic {
		p.complain(e.field.At("options"), "idmap", e.target, "an option is too long, or only for mount(2), which makes no id-mapped mount", "")
		return false
	}
	p.makeInRuntime(m, Source{Path: m.Target, Field: e.field, Op: "mount " + m.Type, IDMap: id}, m.Flags.Params)
	return true
}

// makeInRuntime makes s the source of m.
func (p *planner) makeInRuntime(m *Mount, s Source, params []Param) {
	s.Fresh = &Fresh{Type: m.Type, Attrs: m.Flags.Attr.Set}
	if m.Source != "" {
		s.Fresh.Params = append(s.Fresh.Params, Param{Key: "source", Value: m.Source, HasValue: true, At: -1})
	}
	if m.late {
		s.Fresh.Attrs &^= unix.MOUNT_ATTR_RDONLY
	} else if s.Fresh.Attrs&unix.MOUNT_ATTR_RDONLY != 0 {
		s.Fresh.Params = append(s.Fresh.Params, Param{Key: "ro", At: -1}) // as Mount.create has it
	}
	s.Fresh.Params = append(append(s.Fresh.Params, superParams(m.Flags.SB)...), params...)
	m.source = len(p.sources)
	p.sources = append(p.sources, s)
}

func hasParam(params []Param, key string) bool {
	return slices.ContainsFunc(params, func(q Param) bool { return q.Key == key })
}

func superParams(bits uint64) []Param {
	var out []Param
	for _, name := range superNames(bits) {
		out = append(out, Param{Key: name, At: -1})
	}
	return out
}

// hostIDs translates uid= and gid= into ids of the host, where the container
// has a user namespace but the runtime makes the tmpfs.
func (p *planner) hostIDs(params []Param) []Param {
	out := slices.Clone(params)
	for i, q := range out {
		switch q.Key {
		case "uid":
			out[i].Value = hostID(q.Value, p.opt.UIDMappings)
		case "gid":
			out[i].Value = hostID(q.Value, p.opt.GIDMappings)
		}
	}
	return out
}

func hostID(value string, mappings []specs.LinuxIDMapping) string {
	id, err := strconv.ParseUint(value, 10, 32)
	if err != nil {
		return value
	}
	for _, m := range mappings {
		if id >= uint64(m.ContainerID) && id < uint64(m.ContainerID)+uint64(m.Size) {
			return strconv.FormatUint(id-uint64(m.ContainerID)+uint64(m.HostID), 10)
		}
	}
	return value
}
