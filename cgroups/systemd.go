package cgroups

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"berth/cgroups/dbus"
	"berth/libcontainer/fault"
	"berth/libcontainer/host"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Unit is the transient scope that systemd is asked for: it makes the group of its own hierarchy and puts the container's
// first process into it.
type Unit struct {
	Name       string     `json:"name"`           // prefix-name.scope
	Slice      string     `json:"slice"`          // that it is in
	User       bool       `json:"user,omitempty"` // of the user's own systemd, not of the system's
	Properties []Property `json:"properties"`
}

// Property is one property of a unit (org.freedesktop.systemd1(5)).
type Property struct {
	Name  string        `json:"name"`
	Value dbus.Value    `json:"value"`
	Field fault.Pointer `json:"field,omitempty"` // the config entry that asked for it
	// Since is the first release of systemd that has it, where not all do: an older one is not told, and the limit is in
	// the group's files only.
	Since int `json:"since,omitempty"`
}

// String prints the property as a line of Plan.Lines.
func (p Property) String() string {
	line := "property " + p.Name + " " + oneLine(p.Value.String())
	if p.Field != "" {
		line += "   # " + string(p.Field)
	}
	return line
}

// What a container has whose config does not say otherwise. Managers always say it.
const (
	defaultSlice     = "system.slice"
	defaultUserSlice = "user.slice" // of the user's own systemd: user@UID.service/user.slice
	defaultPrefix    = "berth"
)

// maxUnitName is systemd's UNIT_NAME_MAX with the terminating NUL.
const maxUnitName = 256

// planUnit takes "slice:prefix:name" apart. An empty slice is slice, an empty prefix leaves name.scope.
func planUnit(cgroupsPath, id, slice string) (*Unit, *fault.Error) {
	if cgroupsPath == "" {
		// Of an ID's characters '+' is the only one that a unit's name has to escape (systemd.unit(5)).
		return namedUnit(slice, defaultPrefix, strings.ReplaceAll(id, "+", `\x2b`))
	}
	parts := strings.Split(cgroupsPath, ":")
	if len(parts) != 3 {
		return nil, refuse(cgroupsPathField, "the systemd cgroup manager needs the form slice:prefix:name",
			"give "+slice+":"+defaultPrefix+":"+id+" or nothing at all, or use the cgroupfs manager")
	}
	if parts[0] == "" {
		parts[0] = slice
	}
	return namedUnit(parts[0], parts[1], parts[2])
}

func namedUnit(slice, prefix, name string) (*Unit, *fault.Error) {
	if _, bad := slicePath(slice); bad != nil {
		return nil, bad
	}
	switch {
	case name == "":
		return nil, refuse(cgroupsPathField, "slice:prefix:name has no name", "give the container's ID as the name")
	case strings.HasSuffix(name, ".slice"):
		// Slices have no PIDs property, and on cgroup v2 groups with groups below them take no processes.
		return nil, refuse(cgroupsPathField, name+" names a slice, which holds scopes and no container",
			"give a name without .slice at its end, and the slice before the first colon")
	}
	unit := name + ".scope"
	if prefix != "" {
		unit = prefix + "-" + unit
	}
	if !isUnitName(unit) {
		return nil, refuse(cgroupsPathField, fmt.Sprintf("%q is not a unit's name", unit),
			`letters, digits and :-_.\ are, up to 255 of them`)
	}
	return &Unit{Name: unit, Slice: slice}, nil
}

// slicePath is where systemd has a slice below its own group: each dash is one level (systemd.slice(5)), so that
// a-b.slice is /a.slice/a-b.slice. The root slice, "-.slice", is "".
func slicePath(slice string) (string, *fault.Error) {
	name, ok := strings.CutSuffix(slice, ".slice")
	switch {
	case !ok:
		return "", refuse(cgroupsPathField, fmt.Sprintf("%q is not a slice's name", slice), "slices end with .slice: system.slice, machine.slice")
	case name == "-":
		return "", nil
	case !isUnitName(slice) || slices.Contains(strings.Split(name, "-"), ""):
		return "", refuse(cgroupsPathField, fmt.Sprintf("%q is not a slice's name", slice),
			"dashes part the levels, a-b.slice is in a.slice: there is none at either end and no two together")
	}
	path := ""
	for i, c := range name {
		if c == '-' {
			path += "/" + name[:i] + ".slice"
		}
	}
	return path + "/" + slice, nil
}

// isUnitName follows systemd.unit(5): VALID_CHARS without '@', which is for templates, and no name that begins with a dot.
func isUnitName(s string) bool {
	const valid = `ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:-_.\`
	return s != "" && len(s) < maxUnitName && s[0] != '.' && strings.Trim(s, valid) == ""
}

// path of the unit below systemd's own group.
func (u *Unit) path() string {
	slice, _ := slicePath(u.Slice)
	return slice + "/" + u.Name
}

// asUser tells whether the user's own systemd is asked, and not the system's: that one serves root, also root of a user
// namespace in which it runs.
func asUser(facts host.Facts, opt Options) bool {
	return opt.Rootless == RootlessYes || opt.Rootless == RootlessAuto && (facts.EUID != 0 || facts.Systemd.Foreign)
}

// systemdServes tells whether there is a manager to ask: that of an ordinary user has groups to give on cgroup v2 only.
func systemdServes(facts host.Facts, opt Options) bool {
	return facts.Cgroup.Mode() == "unified" || !asUser(facts, opt)
}

// planSystemd plans a container whose group is a unit's: systemd makes the group of its hierarchy and keeps the limits
// that it has properties for; all are written as without it, too, for systemd rounds some and knows others not at all.
func planSystemd(p *Plan, spec *specs.Spec, id string, facts host.Facts, user bool) fault.List {
	linux := spec.Linux
	if linux == nil {
		linux = &specs.Linux{}
	}
	slice, above := defaultSlice, ""
	if user {
		slice, above = defaultUserSlice, host.InMount(facts.Cgroup.V2Root, userGroup(facts))
	}
	unit, bad := planUnit(linux.CgroupsPath, id, slice)
	if bad != nil {
		return fault.List{bad}
	}
	unit.User = user
	given, complaints := annotated(spec.Annotations)
	p.Dirs = dirs(facts.Cgroup, above+unit.path(), true)
	if !slices.ContainsFunc(p.Dirs, func(d Dir) bool { return p.State().madeBySystemd(d) }) {
		return append(complaints, refuse("", "systemd has no groups here: neither cgroup v2 alone nor a hierarchy name=systemd is mounted",
			"mount them, or use the cgroupfs manager"))
	}
	if user && facts.Systemd.UserControllers != nil {
		p.Dirs[0].Controllers = facts.Systemd.UserControllers
	}
	p.Unit = unit
	p.shieldDevices(linux)
	complaints = append(complaints, p.planGroups(spec, linux, facts)...)
	if user {
		p.limitToUser(complaints, facts)
	}
	unit.Properties = slices.Concat(p.unitBasics(id), p.resourceProperties(), given)
	p.makeRoom()
	return complaints
}

// shieldDevices puts the container into a group below the scope's where systemd, on cgroup v1, would loosen its device
// rules: it writes its own again on daemon-reload, into the same list. What it allows the scope adds nothing to a group
// below.
func (p *Plan) shieldDevices(linux *specs.Linux) {
	at := slices.IndexFunc(p.Dirs, func(d Dir) bool { return !d.V2 && d.Has("devices") })
	if at < 0 {
		return
	}
	rules, _ := allRules(linux)
	lines, _ := v1Rules(rules)
	// It has no words for devices denied out of all that are allowed, nor for a minor number of every major one.
	hole := lines[0].Allow && len(lines) > 1
	wide := slices.ContainsFunc(lines, func(d Device) bool { return d.Major == Any && d.Minor != Any })
	if hole || wide {
		p.Dirs[at].Path += "/devices"
	}
}

// userGroup is the group of the user's own systemd, below which its units' are; where nobody answers, the one that
// user@.service gives it.
func userGroup(facts host.Facts) string {
	if facts.Systemd.UserGroup != "" {
		return facts.Systemd.UserGroup
	}
	uid := strconv.Itoa(facts.Systemd.UID)
	return "/user.slice/user-" + uid + ".slice/user@" + uid + ".service"
}

// limitToUser leaves out what the user's own systemd cannot do, and says how it gets what it may have.
func (p *Plan) limitToUser(complaints fault.List, facts host.Facts) {
	for _, c := range complaints {
		if c.Code == codeNoController {
			c.Msg = strings.TrimSuffix(c.Msg, " on this machine") + " is delegated to this user's systemd"
			c.Hint = "remove the limit, or have root give the controller: systemctl edit user@.service, there [Service] and " +
				"Delegate=cpu cpuset io memory pids; then log in again"
		}
	}
	if !facts.Has(unix.CAP_SYS_ADMIN) || facts.UserNS {
		// Devices that this user may not use are not the container's either.
		p.rules, p.Filter = nil, nil
	}
	if !facts.Has(unix.CAP_CHOWN) {
		p.Delegation = nil // it has the user's own group already, or nobody may give it
	}
}

// madeBySystemd tells whether the group is in systemd's own hierarchy, where only systemd makes groups: cgroup v2 where
// that is all there is, else the one called name=systemd.
func (s State) madeBySystemd(d Dir) bool {
	return s.Unified() || d.Has("name=systemd")
}

func property(name string, v dbus.Value) Property { return Property{Name: name, Value: v} }

// unitBasics are the properties that every container's scope has.
func (p *Plan) unitBasics(id string) []Property {
	io := "IOAccounting"
	if !p.State().Unified() {
		io = "BlockIOAccounting"
	}
	return []Property{
		property("Description", dbus.String("container "+id)),
		property("Slice", dbus.String(p.Unit.Slice)),
		// What is below the scope belongs to the container, and its controllers are there.
		property("Delegate", dbus.Bool(true)),
		property("DefaultDependencies", dbus.Bool(false)),
		// Nobody asks what became of it: it goes even if it failed.
		property("CollectMode", dbus.String("inactive-or-failed")),
		property("CPUAccounting", dbus.Bool(true)),
		property("MemoryAccounting", dbus.Bool(true)),
		property("TasksAccounting", dbus.Bool(true)),
		property(io, dbus.Bool(true)),
	}
}

// makeRoom lifts the limit of tasks that systemd sets with the others, until the container's init has been forked.
func (p *Plan) makeRoom() {
	for _, w := range p.Late {
		if w.File == "pids.max" && w.Value != "max" {
			p.Writes = append(p.Writes, Write{Dir: w.Dir, File: w.File, Value: "max", Field: w.Field})
			return
		}
	}
}

// PropertyAnnotations is what the annotations begin with that set properties of a systemd unit.
const PropertyAnnotations = "org.systemd.property."

// annotated reads the annotations org.systemd.property.NAME: a property of the unit, its value in GVariant's text format.
// systemd's files speak of seconds (TimeoutStopSec) where its bus wants microseconds (TimeoutStopUSec): here both are
// understood.
func annotated(annotations map[string]string) (out []Property, complaints fault.List) {
	for _, key := range sortedKeys(annotations) {
		name, ok := strings.CutPrefix(key, PropertyAnnotations)
		if !ok {
			continue
		}
		field := fault.Pointer("/annotations").At(key)
		property, bad := annotatedProperty(name, annotations[key])
		if bad != nil {
			bad.Field = field
			complaints = append(complaints, bad)
			continue
		}
		property.Field = field
		out = append(out, property)
	}
	return out, complaints
}

func annotatedProperty(name, text string) (Property, *fault.Error) {
	if len(name) < 3 || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") != "" {
		return Property{}, refuse("", "is not the name of a unit's property: letters only", "such as "+PropertyAnnotations+"TimeoutStopSec")
	}
	if slices.Contains([]string{"PIDs", "Slice", "Delegate"}, name) {
		return Property{}, refuse("", "is for the runtime to set", "the slice comes from /linux/cgroupsPath")
	}
	value, err := dbus.Parse(text)
	if err != nil {
		return Property{}, refuse("", fmt.Sprintf("%q is not a value of D-Bus: %v", text, err),
			`write text as 'text', numbers as 5 or uint64 5, lists as ['a', 'b']`)
	}
	if base, ok := strings.CutSuffix(name, "Sec"); ok && base != "" && base[len(base)-1] >= 'a' && base[len(base)-1] <= 'z' {
		micro, ok := microseconds(value)
		if !ok {
			return Property{}, refuse("", text+" is not a number of seconds", "or give microseconds to "+base+"USec")
		}
		name, value = base+"USec", micro
	}
	return Property{Name: name, Value: value}, nil
}

// lines prints the unit for Plan.Lines.
func (u *Unit) lines() (out []string) {
	if u == nil {
		return nil
	}
	for _, p := range u.Properties {
		out = append(out, p.String())
	}
	manager := ""
	if u.User {
		manager = " of the user's own systemd"
	}
	return append(out, "unit "+u.Name+" in "+u.Slice+manager)
}
