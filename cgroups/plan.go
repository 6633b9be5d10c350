// Package cgroups puts a container into control groups of its own, on
// cgroup v1, v2 and both together, through the file system or as a unit of
// systemd.
//
// The plan half (NewPlan, PlanResources, CompileDevices) turns the config's
// cgroupsPath and resources into directories, writes and a device program
// without asking the kernel anything. The apply half (Create, Open and the
// methods of Group) carries that out and decides nothing.
//
// Under systemd a Plan has a Unit, which comes into being between the two
// steps of what Group does anyway: the group of systemd's hierarchy is then
// systemd's to make, and everything is written as without it.
package cgroups

import (
	"slices"
	"strconv"
	"strings"

	"berth/libcontainer/fault"
	"berth/libcontainer/host"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// The managers that Options.Manager names.
const (
	ManagerCgroupfs = "cgroupfs" // the runtime makes the groups itself
	ManagerSystemd  = "systemd"  // systemd makes a scope for the container
	ManagerDisabled = "disabled" // the container stays in the runtime's groups
)

// Managers are all that Options.Manager takes.
func Managers() []string { return []string{ManagerCgroupfs, ManagerSystemd, ManagerDisabled} }

// Options are the decisions that are not in config.json.
type Options struct {
	// Manager is one of Managers; empty is ManagerCgroupfs.
	Manager  string
	Rootless Rootless
}

// Plan is what a container's control groups will be. It is a value: it holds
// no descriptor and can be printed (Lines) and written down (JSON).
type Plan struct {
	Manager string `json:"manager"`
	// Unit is what systemd is asked for; nil where nobody asks it.
	Unit *Unit `json:"unit,omitempty"`
	// Dirs are the container's own groups, one in each hierarchy, in the
	// order of the mounts. None where the container gets no groups.
	Dirs []Dir `json:"dirs,omitempty"`
	Resources
	Delegation *Delegation `json:"delegation,omitempty"`
	view       []Mount
	rules      []Device // of which Writes or Filter are made
}

// Dir is one group: a directory of one hierarchy.
type Dir struct {
	Path       string `json:"path"`       // of the group, as the host sees it
	Mountpoint string `json:"mountpoint"` // of its hierarchy; Path is below it
	// Controllers are those of the v1 hierarchy ("cpu", "cpuacct";
	// "name=systemd"), or those that the v2 hierarchy can hand down.
	Controllers []string `json:"controllers,omitempty"`
	V2          bool     `json:"v2,omitempty"`
	// Inherit are the files that are copied from the parent, because a v1
	// cpuset without CPUs or nodes refuses every process (cgroups(7),
	// Documentation/admin-guide/cgroup-v1/cpusets.rst).
	Inherit []string `json:"inherit,omitempty"`
	// Enable are the controllers that the v2 groups above have to hand down:
	// all of them where v2 is all there is, because managers read their
	// numbers; on a hybrid machine those that a limit asks for.
	Enable []string `json:"enable,omitempty"`
}

// Has tells whether the group's hierarchy has the controller.
func (d Dir) Has(controller string) bool { return slices.Contains(d.Controllers, controller) }

// State is what has to be remembered to find a container's groups again. It
// is known before anything is created, so that what a killed runtime left
// behind can be deleted.
type State struct {
	Dirs []Dir `json:"dirs,omitempty"`
	// Above are the directories above Dirs that Create made, the topmost
	// first.
	Above []string `json:"above,omitempty"`
	// Unit is the name of systemd's unit whose groups Dirs are; "" is none.
	Unit string `json:"unit,omitempty"`
	// UserUnit says that the unit is one of the user's own systemd.
	UserUnit bool `json:"userUnit,omitempty"`
}

// State returns the record to keep in state.json.
func (p *Plan) State() State {
	s := State{Dirs: p.Dirs}
	if p.Unit != nil {
		s.Unit, s.UserUnit = p.Unit.Name, p.Unit.User
	}
	return s
}

// Mount is what a mount of type "cgroup" shows of one hierarchy.
type Mount struct {
	// Name is the directory that the hierarchy has below /sys/fs/cgroup:
	// "cpu,cpuacct", "systemd", "unified"; "" where cgroup v2 is all there is
	// and is mounted on /sys/fs/cgroup itself.
	Name        string
	Controllers []string
	Dir         string   // the group that the container is in, as the host sees it
	V2          bool     //
	Symlinks    []string // further names of a merged hierarchy: "cpu" and "cpuacct" for "cpu,cpuacct"
	// Shared: Dir is the runtime's own group and not the container's, which is
	// to be shown it read-only.
	Shared bool
}

// Mounts returns what a mount of type "cgroup" has to show, in the order of
// the host's mounts. A container without groups of its own sees the runtime's.
func (p *Plan) Mounts() []Mount { return p.view }

// NewPlan decides on the groups of the container id and on what is written
// into them. It is pure. The list holds every complaint about the config, each
// with its pointer; the plan is usable only if it is empty. What the machine
// ignores is in Plan.Warnings.
func NewPlan(spec *specs.Spec, id string, facts host.Facts, opt Options) (*Plan, fault.List) {
	p := &Plan{Manager: opt.Manager}
	if p.Manager == "" {
		p.Manager = ManagerCgroupfs
	}
	linux := spec.Linux
	if linux == nil {
		linux = &specs.Linux{}
	}
	if p.Manager == ManagerSystemd && systemdServes(facts, opt) {
		return p, planSystemd(p, spec, id, facts, asUser(facts, opt))
	}
	if reason := noGroups(facts, opt); reason != "" {
		p.view = sharedView(nil, facts.Cgroup, opt.Rootless.Holds(facts))
		return p, p.withoutGroups(linux, reason, "remove the limit, or run as root with the cgroupfs manager")
	}
	if opt.Rootless.Holds(facts) {
		return p, p.planRootless(spec, id, facts)
	}
	rel, absolute, bad := groupPath(linux.CgroupsPath, id)
	if bad != nil {
		return p, fault.List{bad}
	}
	p.Dirs = dirs(facts.Cgroup, rel, absolute)
	return p, p.planGroups(spec, linux, facts)
}

// planGroups decides what is done to the groups at p.Dirs.
func (p *Plan) planGroups(spec *specs.Spec, linux *specs.Linux, facts host.Facts) fault.List {
	p.view = mounts(p.Dirs, facts.Cgroup)
	var complaints fault.List
	p.Resources, complaints = PlanResources(linux.Resources, p.State(), facts)
	p.tightMemory()
	complaints = append(complaints, p.planDevices(linux, facts)...)
	p.inherit()
	p.enable()
	if spec.Linux != nil {
		p.planDelegation(spec, facts)
	}
	return complaints
}

// noGroups says why the container gets no groups, or "".
func noGroups(facts host.Facts, opt Options) string {
	switch {
	case opt.Manager == ManagerDisabled:
		return "the cgroup manager is disabled"
	case opt.Manager == ManagerSystemd:
		return "a user's own systemd has groups on cgroup v2 only"
	}
	return ""
}

// withoutGroups complains about the first resource that would need a group.
// Device rules do not: they take rights away that such a container lacks.
func (p *Plan) withoutGroups(linux *specs.Linux, reason, hint string) fault.List {
	res, complaints := PlanResources(linux.Resources, State{}, host.Facts{})
	p.Warnings = append(res.Warnings, &fault.Error{Op: "cgroup", Msg: reason + ": the container stays in the runtime's groups", Phase: fault.PhasePlan})
	for _, c := range complaints {
		if c.Code == codeNoController {
			c.Msg, c.Hint = "cannot be set: "+reason, hint
		}
	}
	return complaints
}

// inherit has every new v1 cpuset copy what the config does not say.
func (p *Plan) inherit() {
	for i := range p.Dirs {
		d := &p.Dirs[i]
		if d.V2 || !d.Has("cpuset") {
			continue
		}
		for _, file := range cpusetFiles {
			if !slices.ContainsFunc(p.Writes, func(w Write) bool { return w.Dir == d.Path && w.File == file }) {
				d.Inherit = append(d.Inherit, file)
			}
		}
	}
}

// enable decides on the controllers that the v2 group needs from above.
func (p *Plan) enable() {
	for i := range p.Dirs {
		d := &p.Dirs[i]
		switch {
		case !d.V2:
		case p.State().Unified():
			d.Enable = d.Controllers
		default:
			d.Enable = usedControllers(*d, slices.Concat(p.Writes, p.Late))
		}
	}
}

// usedControllers are those of d that a write is for.
func usedControllers(d Dir, writes []Write) []string {
	var out []string
	for _, w := range writes {
		controller, _, _ := strings.Cut(w.File, ".")
		if w.Dir == d.Path && d.Has(controller) && !slices.Contains(out, controller) {
			out = append(out, controller)
		}
	}
	return out
}

// Lines prints the plan, one action a line in the order in which it happens,
// with the config entry that asked for it:
//
//	mkdir /sys/fs/cgroup/pids/x
//	join /sys/fs/cgroup/pids/x
//	write /sys/fs/cgroup/pids/x/pids.max 100   # /linux/resources/pids/limit
//
// A unit of systemd comes before all of it, with its properties:
//
//	property TasksMax uint64 100   # /linux/resources/pids/limit
//	unit berth-x.scope in system.slice
//
// Writes after the join wait until the container's init has been forked.
func (p *Plan) Lines() []string {
	out := p.Unit.lines()
	for _, d := range p.Dirs {
		dir := oneLine(d.Path)
		if p.makes(d) {
			out = append(out, "mkdir "+dir)
		}
		if len(d.Inherit) > 0 {
			out = append(out, "inherit "+dir+" "+strings.Join(d.Inherit, " "))
		}
		if len(d.Enable) > 0 {
			out = append(out, "enable "+dir+" "+strings.Join(d.Enable, " "))
		}
	}
	out = appendWrites(out, p.Writes)
	out = append(out, p.Filter.lines()...)
	if p.Delegation != nil {
		out = append(out, p.Delegation.String())
	}
	for _, d := range p.Dirs {
		switch {
		case !p.makes(d):
		case p.State().Unified():
			out = append(out, "born "+oneLine(d.Path))
		default:
			out = append(out, "join "+oneLine(d.Path))
		}
	}
	return appendWrites(out, p.Late)
}

// makes tells whether the group is the runtime's to make and to join, and not
// systemd's.
func (p *Plan) makes(d Dir) bool { return p.Unit == nil || !p.State().madeBySystemd(d) }

// String is Lines, each ended by a newline.
func (p *Plan) String() string {
	var b strings.Builder
	for _, l := range p.Lines() {
		b.WriteString(l)
		b.WriteByte('\n')
	}
	return b.String()
}

func appendWrites(out []string, writes []Write) []string {
	for _, w := range writes {
		out = append(out, w.String())
	}
	return out
}

// Write puts Value into one file of a group.
type Write struct {
	Dir   string        `json:"dir"` // the group's directory, Dir.Path
	File  string        `json:"file"`
	Value string        `json:"value"`
	Field fault.Pointer `json:"field,omitempty"` // the config entry that asked for it
	// Optional: a kernel that has no such file, or keeps it for show only, is
	// as good as one that took the value.
	Optional bool `json:"optional,omitempty"`
	// Again: where the kernel refuses the value beside another file's old
	// one (a quota below the burst, memory above memory+swap), it is written
	// once more after the rest of the list.
	Again bool `json:"again,omitempty"`
	// Below names a file of the group that must hold a smaller number than
	// Value, or the write is refused (memory.checkBeforeUpdate).
	Below string `json:"below,omitempty"`
	// Room: of a Late write, a limit of memory under which the waiting process
	// must have room to execute its program (Group.Late).
	Room bool `json:"room,omitempty"`
	// Else is done instead where the kernel has no such file.
	Else *Write `json:"else,omitempty"`
}

// String prints the write as a line of Plan.Lines.
func (w Write) String() string {
	var b strings.Builder
	b.WriteString("write ")
	w.print(&b)
	notes := w.notes()
	if len(notes) > 0 {
		b.WriteString("   # " + strings.Join(notes, ", "))
	}
	return b.String()
}

func (w Write) print(b *strings.Builder) {
	b.WriteString(oneLine(w.Dir+"/"+w.File) + " " + oneLine(w.Value))
	if w.Else != nil {
		b.WriteString(" or ")
		w.Else.print(b)
	}
}

func (w Write) notes() []string {
	var out []string
	if w.Field != "" {
		out = append(out, string(w.Field))
	}
	if w.Below != "" {
		out = append(out, "if above "+w.Below)
	}
	if w.Optional {
		out = append(out, "where the kernel has it")
	}
	return out
}

// oneLine quotes what would break the line it is printed on, and leaves
// ordinary values as they are.
func oneLine(s string) string {
	plain := func(r rune) bool { return r >= 0x20 && r < 0x7f }
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return strconv.Quote(s)
}
