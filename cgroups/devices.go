package cgroups

import (
	"math"
	"slices"
	"strconv"
	"strings"

	"berth/libcontainer/fault"
	"berth/libcontainer/host"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Access is a set of ways to use a device, with the numbers of
// BPF_DEVCG_ACC_* (linux/bpf.h).
type Access uint8

// The three kinds of access.
const (
	AccessMknod Access = 1 << iota
	AccessRead
	AccessWrite
	fullAccess = AccessMknod | AccessRead | AccessWrite
)

// Any stands for every major or minor number.
const Any = -1

// Device is one device rule. A process may use a device in one way if the
// last rule that speaks of the device and of that way allows it, and may not
// if no rule does.
type Device struct {
	Allow        bool
	Type         byte  // 'b', 'c' or 'a' for both
	Major, Minor int64 // or Any
	Access       Access
	Field        fault.Pointer // the config's rule; "" for the runtime's own
}

// String prints the rule as the files of the v1 devices controller take it
// (Documentation/admin-guide/cgroup-v1/devices.rst): "c 1:3 rwm".
func (d Device) String() string {
	return string(rune(d.Type)) + " " + number(d.Major) + ":" + number(d.Minor) + " " + d.Access.String()
}

// MarshalText is String after "allow" or "deny".
func (d Device) MarshalText() ([]byte, error) { return []byte(d.verb() + " " + d.String()), nil }

func (d Device) verb() string {
	if d.Allow {
		return "allow"
	}
	return "deny"
}

func number(n int64) string {
	if n == Any {
		return "*"
	}
	return strconv.FormatInt(n, 10)
}

// String is "rwm", as much of it as is set.
func (a Access) String() string {
	var b strings.Builder
	for _, w := range []struct {
		bit  Access
		char byte
	}{{AccessRead, 'r'}, {AccessWrite, 'w'}, {AccessMknod, 'm'}} {
		if a&w.bit != 0 {
			b.WriteByte(w.char)
		}
	}
	return b.String()
}

// everything tells whether the rule speaks of every device and every access.
func (d Device) everything() bool {
	return d.Type == 'a' && d.Major == Any && d.Minor == Any && d.Access == fullAccess
}

// planDevices plans linux.resources.devices and the rules that go with every
// container: lines for the v1 controller, else a program on the v2 group.
func (p *Plan) planDevices(linux *specs.Linux, facts host.Facts) fault.List {
	rules, complaints := allRules(linux)
	field := resourcesField.At("devices")
	if linux.Resources == nil || len(linux.Resources.Devices) == 0 {
		field = ""
	}
	if facts.EUID != 0 && !facts.Privileged() {
		// The kernel takes rules from root only, and devices that this user may
		// not use are not the container's either.
		return complaints
	}
	p.rules = rules

	if d, ok := p.State().find("devices"); ok && !d.V2 {
		return append(complaints, p.deviceLines(d, rules, facts)...)
	}
	if d, ok := p.State().v2(); ok {
		if !allowsAll(rules) {
			p.Filter = &DeviceFilter{Dir: d.Path, Rules: rules, MayFail: facts.UserNS}
		}
		return complaints
	}
	if facts.UserNS {
		return complaints // without rights over such a hierarchy
	}
	e := refuse(field, "device rules cannot be enforced: no devices controller and no cgroup v2 on this machine",
		"mount cgroup2, or choose --cgroup-manager disabled to run without")
	e.Code = codeNoController
	return append(complaints, e)
}

// allRules are the config's rules and those that go with every container.
func allRules(linux *specs.Linux) ([]Device, fault.List) {
	var given []specs.LinuxDeviceCgroup
	if linux.Resources != nil {
		given = linux.Resources.Devices
	}
	rules, complaints := deviceRules(given, resourcesField.At("devices"))
	return append(rules, defaultRules(linux.Devices)...), complaints
}

// deviceLines writes the rules into the v1 group. The kernel takes them from
// the initial user namespace only (devcgroup_update_access); where the runtime
// is in another, its own group's rules bind the container.
func (p *Plan) deviceLines(d Dir, rules []Device, facts host.Facts) fault.List {
	if facts.UserNS {
		p.Warnings = append(p.Warnings, refuse("", "device rules cannot be set inside a user namespace; those of the runtime's own group apply", ""))
		return nil
	}
	lines, complaints := v1Rules(rules)
	for _, r := range lines {
		text := r.String()
		if r.everything() {
			text = "a"
		}
		p.Writes = append(p.Writes, Write{Dir: d.Path, File: "devices." + r.verb(), Value: text, Field: r.Field})
	}
	return complaints
}

// deviceRules reads the config's rules.
func deviceRules(given []specs.LinuxDeviceCgroup, field fault.Pointer) ([]Device, fault.List) {
	out := make([]Device, 0, len(given)+10)
	var complaints fault.List
	complain := func(at fault.Pointer, msg, hint string) { complaints = append(complaints, refuse(at, msg, hint)) }
	for i, g := range given {
		at := field.Index(i)
		d := Device{Allow: g.Allow, Type: 'a', Major: Any, Minor: Any, Field: at}
		switch g.Type {
		case "", "a":
		case "b", "c":
			d.Type = g.Type[0]
		default:
			complain(at.At("type"), "is not a device type that can be ruled", "a (all), b (block) or c (character)")
		}
		if g.Access == "" {
			complain(at, "device access cannot be empty", "set access to a composition of r, w and m")
		}
		for _, c := range g.Access {
			switch c {
			case 'r':
				d.Access |= AccessRead
			case 'w':
				d.Access |= AccessWrite
			case 'm':
				d.Access |= AccessMknod
			default:
				complain(at.At("access"), "must be composed of r, w and m", "")
			}
		}
		for _, n := range []struct {
			name string
			from *int64
			to   *int64
		}{{"major", g.Major, &d.Major}, {"minor", g.Minor, &d.Minor}} {
			if n.from == nil {
				continue
			}
			if *n.to = *n.from; *n.from < Any || *n.from > math.MaxUint32 {
				complain(at.At(n.name), "is not a device number", "-1 or nothing at all stands for every number")
			}
		}
		out = append(out, d)
	}
	return out, complaints
}

// defaultRules are allowed after the config's own rules: making any device
// node, and the devices that every container has. runc and crun do the same,
// and managers count on it. A default device that the config replaces by one
// of its own is not allowed here.
func defaultRules(nodes []specs.LinuxDevice) []Device {
	out := []Device{
		{Allow: true, Type: 'c', Major: Any, Minor: Any, Access: AccessMknod},
		{Allow: true, Type: 'b', Major: Any, Minor: Any, Access: AccessMknod},
	}
	for _, d := range []struct {
		path         string
		major, minor int64
	}{
		{"/dev/null", 1, 3},
		{"/dev/random", 1, 8},
		{"/dev/full", 1, 7},
		{"/dev/tty", 5, 0},
		{"/dev/zero", 1, 5},
		{"/dev/urandom", 1, 9},
		{"/dev/pts/*", 136, Any},
		{"/dev/ptmx", 5, 2},
	} {
		replaced := d.path != "/dev/ptmx" && slices.ContainsFunc(nodes, func(n specs.LinuxDevice) bool { return n.Path == d.path })
		if !replaced {
			out = append(out, Device{Allow: true, Type: 'c', Major: d.major, Minor: d.minor, Access: fullAccess})
		}
	}
	return out
}

// allowsAll tells whether the rules leave everything allowed.
func allowsAll(rules []Device) bool {
	for _, r := range slices.Backward(rules) {
		if !r.Allow || r.everything() {
			return r.Allow
		}
	}
	return false
}

// v1Rules turns rules into what the v1 controller can hold: a default for
// everything, first, and exceptions from it. It is given to a new group, which
// starts with a copy of its parent's. A rule that takes a part out of a wider
// exception cannot be held, and is complained about; on v2 it works.
//
// One difference to Device's rule remains in the kernel: an access in two ways
// at once (open for reading and writing) has to be within one exception.
func v1Rules(rules []Device) ([]Device, fault.List) {
	base := Device{Type: 'a', Major: Any, Minor: Any, Access: fullAccess}
	var exceptions []Device
	var complaints fault.List
	for _, r := range rules {
		if r.everything() {
			base, exceptions = r, nil
			continue
		}
		for _, one := range r.perType() {
			if one.Allow != base.Allow {
				exceptions = addException(exceptions, one)
				continue
			}
			var ok bool
			if exceptions, ok = takeBack(exceptions, one); !ok {
				complaints = append(complaints, refuse(r.Field, "cgroup v1 cannot take a part out of a wider device rule before it ("+one.String()+")",
					"list the devices one by one instead of the wide rule"))
			}
		}
	}
	return append([]Device{base}, exceptions...), complaints
}

// perType splits a rule on both types, which v1 has for everything only.
func (d Device) perType() []Device {
	if d.Type != 'a' {
		return []Device{d}
	}
	b, c := d, d
	b.Type, c.Type = 'b', 'c'
	return []Device{b, c}
}

func (d Device) sameDevice(e Device) bool {
	return d.Type == e.Type && d.Major == e.Major && d.Minor == e.Minor
}

// covers tells whether every device of e is one of d.
func (d Device) covers(e Device) bool {
	return d.Type == e.Type && (d.Major == Any || d.Major == e.Major) && (d.Minor == Any || d.Minor == e.Minor)
}

// meets tells whether some device is one of both.
func (d Device) meets(e Device) bool {
	same := func(a, b int64) bool { return a == b || a == Any || b == Any }
	return d.Type == e.Type && same(d.Major, e.Major) && same(d.Minor, e.Minor)
}

// addException adds d, to an exception of the same device where there is one.
func addException(list []Device, d Device) []Device {
	i := slices.IndexFunc(list, d.sameDevice)
	if i < 0 {
		return append(list, d)
	}
	if list[i].Access|d.Access != list[i].Access {
		list[i].Access |= d.Access
		list[i].Field = d.Field
	}
	return list
}

// takeBack removes d from the exceptions; false says that one of them would
// keep a part that the list cannot express.
func takeBack(list []Device, d Device) (out []Device, ok bool) {
	ok = true
	for _, e := range list {
		switch {
		case d.covers(e):
			e.Access &^= d.Access
		case d.meets(e) && e.Access&d.Access != 0:
			ok = false
		}
		if e.Access != 0 {
			out = append(out, e)
		}
	}
	return out, ok
}
