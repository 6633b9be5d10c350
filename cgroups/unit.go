package cgroups

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"berth/cgroups/dbus"
	"berth/libcontainer/fault"
	"berth/libcontainer/trace"

	"golang.org/x/sys/unix"
)

const (
	systemdName   = "org.freedesktop.systemd1"
	managerPath   = "/org/freedesktop/systemd1"
	errUnitExists = systemdName + ".UnitExists"
)

// systemd is one conversation with systemd's manager object (org.freedesktop.systemd1(5)).
type systemd struct {
	conn *dbus.Conn
	bus  bus
}

// register makes this a client of the bus that hears when jobs end.
func (s *systemd) register() error {
	if err := s.conn.Hello(); err != nil {
		return err
	}
	err := s.conn.Match("type='signal',sender='" + systemdName + "',interface='" + systemdName + ".Manager',member='JobRemoved'")
	if err != nil {
		return err
	}
	_, err = s.call("Subscribe")
	return err
}

func (s *systemd) call(method string, args ...dbus.Value) (reply []dbus.Value, err error) {
	span := trace.Begin("systemd", method, "")
	defer func() { span.End(err) }()
	return s.conn.Call(dbus.Message{Destination: systemdName, Path: managerPath,
		Interface: systemdName + ".Manager", Member: method, Body: args})
}

// job calls a method that starts a job and waits for its end.
func (s *systemd) job(method string, args ...dbus.Value) (result string, err error) {
	reply, err := s.call(method, args...)
	if err != nil {
		return "", err
	}
	if len(reply) != 1 || reply[0].Sig != "o" {
		return "", fmt.Errorf("%s was not answered with a job", method)
	}
	// JobRemoved(id, job, unit, result)
	removed, err := s.conn.Signal(func(m dbus.Message) bool {
		return m.Member == "JobRemoved" && len(m.Body) == 4 && m.Body[1].Text == reply[0].Text
	})
	if err != nil {
		return "", fmt.Errorf("waiting for %s: %w", method, err)
	}
	return removed.Body[3].Text, nil
}

// start starts the unit with a process in it and waits until it is there. mine is false where a unit of that name
// is somebody else's.
func (u *Unit) start(pid int) (mine bool, err error) {
	b := busOf(u.User)
	properties := slices.Concat(u.Properties, []Property{property("PIDs", dbus.Array("u", dbus.Uint32(uint32(pid))))})
	var result string
	err = b.converse(func(s *systemd) error {
		err := s.withProperties(properties, func(list dbus.Value) (err error) {
			result, err = s.startTransient(u.Name, pid, list)
			return err
		})
		mine = !isCallError(err)
		return err
	})
	var e *fault.Error
	switch {
	case errors.As(err, &e): // there is nobody to talk to, any more
		return mine, err
	case err != nil:
		return mine, b.failed("start", u.Name, err)
	case result != "done":
		return true, &fault.Error{Op: "start", Path: u.Name, Msg: "systemd's job ended as " + result, Phase: fault.PhaseCgroup,
			Hint: jobHint(u.User)}
	}
	return true, nil
}

// holds tells whether the process is in the unit.
func (s *systemd) holds(unit string, pid int) bool {
	want, err := s.call("GetUnit", dbus.String(unit))
	if err != nil || len(want) != 1 {
		return false
	}
	got, err := s.call("GetUnitByPID", dbus.Uint32(uint32(pid)))
	return err == nil && len(got) == 1 && got[0].Text == want[0].Text
}

// startTransient waits for a unit of that name that has ended and may still be on its way out, or that a conversation cut
// off has left to be started: systemd keeps its jobs while it executes itself anew.
func (s *systemd) startTransient(name string, pid int, properties dbus.Value) (result string, err error) {
	args := []dbus.Value{dbus.String(name), dbus.String("replace"), properties, dbus.Array("(sa(sv))")}
	result, err = s.job("StartTransientUnit", args...)
	for pause := 5 * time.Millisecond; isError(err, errUnitExists) && pause < 500*time.Millisecond; pause *= 2 {
		if s.holds(name, pid) {
			return "done", nil
		}
		s.call("ResetFailedUnit", dbus.String(name))
		time.Sleep(pause)
		result, err = s.job("StartTransientUnit", args...)
	}
	return result, err
}

// withProperties calls do with the properties as systemd's methods take them. Where systemd refuses one of them, and is
// older than some, it is called once more without those.
func (s *systemd) withProperties(list []Property, do func(dbus.Value) error) error {
	err := do(propertyList(list))
	if !isError(err, errReadOnly) && !isError(err, errUnknown) && !isError(err, errInvalid) {
		return err
	}
	version, ok := s.version()
	known := slices.DeleteFunc(slices.Clone(list), func(p Property) bool { return p.Since > version })
	if !ok || len(known) == len(list) {
		return err
	}
	return do(propertyList(known))
}

// What systemd says of a property that it does not know, or whose value it does not take.
const (
	errReadOnly = "org.freedesktop.DBus.Error.PropertyReadOnly"
	errUnknown  = "org.freedesktop.DBus.Error.UnknownProperty"
	errInvalid  = "org.freedesktop.DBus.Error.InvalidArgs"
)

// version is systemd's release: 252 of "252.39-1~deb12u1" or "v252".
func (s *systemd) version() (n int, ok bool) {
	text, err := s.property("Version")
	if err != nil {
		return 0, false
	}
	text = strings.TrimPrefix(text, "v")
	digits := strings.TrimLeft(text, "0123456789")
	n, err = strconv.Atoi(text[:len(text)-len(digits)])
	return n, err == nil
}

// property is a property of the manager that is a text.
func (s *systemd) property(name string) (string, error) {
	reply, err := s.conn.Call(dbus.Message{Destination: systemdName, Path: managerPath,
		Interface: "org.freedesktop.DBus.Properties", Member: "Get",
		Body: []dbus.Value{dbus.String(systemdName + ".Manager"), dbus.String(name)}})
	if err != nil {
		return "", err
	}
	if len(reply) != 1 || reply[0].Sig != "v" || reply[0].List[0].Sig != "s" {
		return "", fmt.Errorf("%s is not a text", name)
	}
	return reply[0].List[0].Text, nil
}

// settle waits until systemd has written the files of the units whose properties were set: it answers first and writes
// then, before it takes the next call.
func (s *systemd) settle() error {
	_, err := s.conn.Call(dbus.Message{Destination: systemdName, Path: managerPath, Interface: "org.freedesktop.DBus.Peer", Member: "Ping"})
	return err
}

// propertyList are properties as StartTransientUnit and SetUnitProperties take them.
func propertyList(list []Property) dbus.Value {
	out := dbus.Array("(sv)")
	for _, p := range list {
		out.List = append(out.List, dbus.Struct(dbus.String(p.Name), dbus.Variant(p.Value)))
	}
	return out
}

// SetUnit tells systemd of limits that have been written into the groups, so that they hold when it writes its own again
// (daemon-reload). It does nothing for groups that no unit has, nor where systemd has no property for any of them. Set
// does it, too.
func (g *Group) SetUnit(r Resources) error {
	if g.unit == "" {
		return nil
	}
	properties := r.changedProperties(g.State(), func(dir, file string) string {
		text, _ := readFile(dir, file)
		return strings.TrimSpace(text)
	})
	if len(properties) == 0 {
		return nil
	}
	exact := g.rounded()
	err := busOf(g.user).tell("set properties of", g.unit, func(s *systemd) error {
		return s.withProperties(properties, func(list dbus.Value) error {
			const runtime = true // gone with the unit
			_, err := s.call("SetUnitProperties", dbus.String(g.unit), dbus.Bool(runtime), list)
			if err != nil {
				return err
			}
			return s.settle()
		})
	})
	if err != nil {
		return err
	}
	return writeAll(exact)
}

// attach has the user's systemd move a process into the unit, or a group below it: an ordinary user may not move what is
// outside of the groups that are delegated to it, and systemd asks the system's manager to.
func (g *Group) attach(d Dir, pid int) error {
	_, below, _ := strings.Cut(d.Path, "/"+g.unit)
	return busOf(g.user).tell("attach a process to", g.unit, func(s *systemd) error {
		_, err := s.call("AttachProcessesToUnit", dbus.String(g.unit), dbus.String(below), dbus.Array("u", dbus.Uint32(uint32(pid))))
		return err
	})
}

// tell is converse about a unit, for what may be said twice.
func (b bus) tell(op, unit string, talk func(*systemd) error) error {
	err := b.converse(talk)
	var e *fault.Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	return b.failed(op, unit, err)
}

// rounded are writes of what the files hold that systemd would change: it writes all files of a controller when one of its
// properties is set, the quota in whole per cents, and without one the usual period.
func (g *Group) rounded() (out []Write) {
	for _, d := range g.dirs {
		for _, file := range []string{"cpu.max", "cpu.cfs_period_us", "cpu.cfs_quota_us"} {
			if !d.Has("cpu") {
				continue
			}
			if text, err := readFile(d.Path, file); err == nil {
				out = append(out, Write{Dir: d.Path, File: file, Value: strings.TrimSpace(text), Again: true})
			}
		}
	}
	return out
}

// stopUnit stops the unit and waits until it is gone. One that is not there is as good.
func (b bus) stopUnit(name string) error {
	return b.tell("stop", name, func(s *systemd) error {
		_, err := s.job("StopUnit", dbus.String(name), dbus.String("replace"))
		switch {
		case isError(err, systemdName+".NoSuchUnit"):
			return nil
		case err == nil:
			s.call("ResetFailedUnit", dbus.String(name)) // refused for a unit that has gone, as most have
		}
		return err
	})
}

func isCallError(err error) bool {
	var e *dbus.CallError
	return errors.As(err, &e)
}

func isError(err error, name string) bool {
	var e *dbus.CallError
	return errors.As(err, &e) && e.Name == name
}

// startUnit has systemd make the group of its hierarchy with the process in it. mine says that there is something to
// take back after an error.
func (p *Plan) startUnit(pid int) (mine bool, err error) {
	for _, d := range p.Dirs {
		if unix.Access(d.Path, unix.F_OK) != nil {
			continue
		}
		if err := checkIdle(d); err != nil {
			return false, err
		}
	}
	if mine, err := p.Unit.start(pid); err != nil {
		return mine, err
	}
	for _, d := range p.Dirs {
		if p.makes(d) || unix.Access(d.Path, unix.F_OK) == nil {
			continue
		}
		return true, &fault.Error{Op: "start", Path: p.Unit.Name, Msg: "systemd has started it elsewhere, not in " + d.Path, Phase: fault.PhaseCgroup,
			Hint: "the runtime has to see the cgroups as systemd does: same machine, same cgroup namespace; or use the cgroupfs manager"}
	}
	return true, nil
}
