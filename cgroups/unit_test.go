package cgroups

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"berth/cgroups/dbus"
	"berth/cgroups/dbus/dbustest"
	"berth/libcontainer/fault"
)

// manager plays systemd's part over D-Bus, on directories of the test's own. What it does differently from the real one
// is what a test is about.
type manager struct {
	sync.Mutex
	calls   []string
	pids    []string // as the unit was started with
	dir     string   // the group that starting the unit makes; "" makes none
	result  string   // of its jobs
	exists  int      // how often the unit is said to exist already
	refuse  string   // an error's name, for StartTransientUnit
	version string   // of systemd; it knows no properties that came later
	set     []string // by SetUnitProperties
	rounds  string   // what it writes into cpu.max after it has answered SetUnitProperties
	hangUp  string   // the method at whose first call the conversation is cut off, once it has been done
	after   func()   // that
	holds   uint64   // the process in the unit
	late    int      // how often it is not there yet when it is asked for
	silent  string   // the method that is not answered
	silence bool     // jobs never end
}

func (m *manager) handle(c *dbustest.Conn, call dbus.Message) {
	m.Lock()
	defer m.Unlock()
	m.calls = append(m.calls, call.Member)
	if call.Member == m.hangUp {
		m.hangUp = ""
		defer func() {
			c.Close()
			if m.after != nil {
				m.after()
			}
		}()
	}
	switch {
	case call.Member == "GetUnitByPID" && m.late > 0:
		m.late--
		c.Reply(call, dbus.Value{Sig: "o", Text: "/another"})
	case call.Member == "GetUnit", call.Member == "GetUnitByPID" && call.Body[0].Bits == m.holds:
		c.Reply(call, dbus.Value{Sig: "o", Text: "/unit"})
	case call.Member == m.silent:
	case call.Member == "StartTransientUnit" && m.refuse != "":
		c.Refuse(call, m.refuse, "refused")
	case call.Member == "Get":
		c.Reply(call, dbus.Variant(dbus.String(m.version)))
	case call.Member == "StartTransientUnit" && m.version != "" && hasProperty(call.Body[2], "AllowedCPUs"):
		c.Refuse(call, errReadOnly, "Cannot set property AllowedCPUs, or unknown property.")
	case call.Member == "SetUnitProperties" && m.version != "" && hasProperty(call.Body[2], "AllowedCPUs"):
		c.Refuse(call, errReadOnly, "Cannot set property AllowedCPUs, or unknown property.")
	case call.Member == "SetUnitProperties":
		m.set = append(m.set, call.Body[0].Text, call.Body[1].String())
		for _, property := range call.Body[2].List {
			m.set = append(m.set, property.List[0].Text+" "+property.List[1].List[0].String())
		}
		c.Reply(call)
		if m.rounds != "" {
			time.Sleep(20 * time.Millisecond)
			os.WriteFile(m.dir+"/cpu.max", []byte(m.rounds), 0o644)
		}
	case call.Member == "StartTransientUnit" && m.exists > 0:
		m.exists--
		c.Refuse(call, errUnitExists, "it exists")
	case call.Member == "StartTransientUnit":
		for _, property := range call.Body[2].List {
			if name := property.List[0].Text; name == "PIDs" || name == "Slice" {
				m.pids = append(m.pids, name+" "+property.List[1].List[0].String())
			}
		}
		if m.dir != "" {
			os.MkdirAll(m.dir, 0o755)
			os.WriteFile(m.dir+"/"+procsFile, nil, 0o644)
		}
		m.job(c, call)
	case call.Member == "StopUnit" && m.refuse != "":
		c.Refuse(call, systemdName+".NoSuchUnit", "gone")
	case call.Member == "StopUnit":
		os.RemoveAll(m.dir)
		m.job(c, call)
	default:
		c.Reply(call)
	}
}

// hasProperty tells whether a property of that name is in the list.
func hasProperty(properties dbus.Value, name string) bool {
	return slices.ContainsFunc(properties.List, func(p dbus.Value) bool { return p.List[0].Text == name })
}

// job says that it has ended before it says which one it was, as may happen on a bus.
func (m *manager) job(c *dbustest.Conn, call dbus.Message) {
	const job = "/org/freedesktop/systemd1/job/7"
	removed := func(path, result string) {
		c.Send(dbus.Message{Type: dbus.TypeSignal, Path: "/org/freedesktop/systemd1", Interface: systemdName + ".Manager", Member: "JobRemoved",
			Body: []dbus.Value{dbus.Uint32(7), {Sig: "o", Text: path}, call.Body[0], dbus.String(result)}})
	}
	removed(job+"1", "canceled") // another's
	if !m.silence {
		removed(job, m.result)
	}
	c.Reply(call, dbus.Value{Sig: "o", Text: job})
}

// fakeUnit is a plan on a directory of the test's own, with a manager that can carry it out.
func fakeUnit(t *testing.T) (*Plan, *manager) {
	t.Helper()
	p, complaints := unitOf(t, bareFacts(), `{"linux":{"cgroupsPath":":p:x"}}`)
	if len(complaints) > 0 {
		t.Fatal(complaints)
	}
	p.Dirs[0].Mountpoint = t.TempDir()
	p.Dirs[0].Path = filepath.Join(p.Dirs[0].Mountpoint, "p-x.scope")
	m := &manager{dir: p.Dirs[0].Path, result: "done"}
	t.Setenv(busVariable, "unix:guid=1;unix:path="+dbustest.Serve(t, m.handle)+",guid=0")
	return p, m
}

//spec:46
func TestUnitStarts(t *testing.T) {
	p, m := fakeUnit(t)
	g, err := Make(p, 42)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(m.calls, []string{"Hello", "AddMatch", "Subscribe", "StartTransientUnit"}) || !slices.Equal(m.pids, []string{"Slice 'system.slice'", "PIDs [uint32 42]"}) {
		t.Errorf("calls %q, %q", m.calls, m.pids)
	}
	// systemd has put it there; anything else is moved.
	procs := p.Dirs[0].Path + "/" + procsFile
	for _, c := range []struct {
		pid  int
		want string
	}{{42, ""}, {43, "43"}} {
		if err := g.Add(c.pid); err != nil {
			t.Error(err)
		}
		if raw, _ := os.ReadFile(procs); string(raw) != c.want {
			t.Errorf("after %d: %q", c.pid, raw)
		}
	}
	os.Remove(procs)
	if err := Open(g.State()).Delete(); err != nil {
		t.Error(err)
	}
	if !slices.Contains(m.calls, "StopUnit") || Open(g.State()).Exists() {
		t.Errorf("not stopped: %q", m.calls)
	}
}

// A unit of that name that is on its way out is waited for; one that stays is somebody else's, and nothing of it is
// touched.
func TestUnitExists(t *testing.T) {
	p, m := fakeUnit(t)
	m.exists = 2
	if _, err := Make(p, 42); err != nil {
		t.Error(err)
	}
	p, m = fakeUnit(t)
	m.exists = 1000
	g, err := Make(p, 42)
	if g != nil || err == nil || !strings.Contains(err.Error(), "another container has that name") {
		t.Errorf("%v, %v", g, err)
	}
	if slices.Contains(m.calls, "StopUnit") || g.State().Unit != "" {
		t.Error("what is not ours is stopped")
	}
}

// systemd executes itself anew while it is asked: the question is asked once more, and what it has done already counts.
func TestUnitWhileSystemdRestarts(t *testing.T) {
	for _, c := range []struct {
		at     string
		exists int // afterwards
		holds  uint64
		late   int
		mine   bool
	}{
		{"Subscribe", 0, 0, 0, true}, {"StartTransientUnit", 0, 0, 0, true}, {"StartTransientUnit", 100, 42, 0, true},
		{"StartTransientUnit", 100, 42, 3, true}, {"StartTransientUnit", 100, 7, 0, false},
	} {
		p, m := fakeUnit(t)
		m.hangUp, m.holds, m.late = c.at, c.holds, c.late
		m.silence = c.at == "StartTransientUnit"
		m.after = func() { m.exists, m.silence = c.exists, false }
		g, err := Make(p, 42)
		if (err == nil) != c.mine || (g != nil) != c.mine {
			t.Errorf("%+v: %v", c, err)
			continue
		}
		m.hangUp = "StopUnit"
		os.Remove(p.Dirs[0].Path + "/" + procsFile)
		if err := Open(p.State()).Delete(); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestUnitOfABusyGroup(t *testing.T) {
	p, m := fakeUnit(t)
	os.MkdirAll(p.Dirs[0].Path, 0o755)
	os.WriteFile(p.Dirs[0].Path+"/"+procsFile, []byte("1\n"), 0o644)
	if g, err := Make(p, 42); g != nil || err == nil || !strings.Contains(err.Error(), "is not empty") || len(m.calls) > 0 {
		t.Errorf("%v, %v, %q", g, err, m.calls)
	}
}

// Each way in which systemd may fail: the message, and whether there is something to take back.
func TestUnitFails(t *testing.T) {
	patience := busPatience
	defer func() { busPatience = patience }()
	for _, c := range []struct {
		name string
		set  func(*manager)
		want string
		hint string
		ours bool
	}{
		{"the job fails", func(m *manager) { m.result = "failed" }, "systemd's job ended as failed", "journal", true},
		{"the job is canceled", func(m *manager) { m.result = "canceled" }, "ended as canceled", "journal", true},
		{"the job takes for ever", func(m *manager) { m.silence = true }, "waiting for StartTransientUnit: no answer in time", "systemctl list-jobs", true},
		{"systemd is stuck", func(m *manager) { m.silent = "StartTransientUnit" }, "no answer in time", "systemctl list-jobs", true},
		{"the bus is stuck", func(m *manager) { m.silent = "Hello" }, "connect to systemd", "systemctl list-jobs", false},
		{"no right", func(m *manager) { m.refuse = "org.freedesktop.DBus.Error.AccessDenied" }, "refused", "run as root", false},
		{"an unknown property", func(m *manager) { m.refuse = "org.freedesktop.DBus.Error.PropertyReadOnly" }, "refused", "org.systemd.property", false},
		{"no systemd on the bus", func(m *manager) { m.refuse = "org.freedesktop.DBus.Error.ServiceUnknown" }, "refused", "cgroupfs manager", false},
		{"elsewhere", func(m *manager) { m.dir = "" }, "has started it elsewhere", "same cgroup namespace", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, m := fakeUnit(t)
			busPatience = 300 * time.Millisecond
			c.set(m)
			g, err := Make(p, 42)
			var e *fault.Error
			if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) || !strings.Contains(e.Hint, c.hint) {
				t.Fatalf("%v", err)
			}
			if (g.State().Unit != "") != c.ours {
				t.Errorf("left to take back: %+v", g.State())
			}
			if c.ours {
				m.Lock()
				m.silence, m.silent = false, ""
				m.Unlock()
				os.Remove(p.Dirs[0].Path + "/" + procsFile)
				if err := g.Delete(); err != nil || g.Exists() {
					t.Errorf("taken back: %v", err)
				}
			}
		})
	}
}

// What changes is told to systemd, too, and only that; the files hold what they held, also where systemd rounds.
//
//spec:46
func TestUnitIsSet(t *testing.T) {
	p, m := fakeUnit(t)
	p.Dirs[0].Controllers = []string{"cpu", "pids"}
	g, err := Make(p, 42)
	if err != nil {
		t.Fatal(err)
	}
	dir := p.Dirs[0].Path
	os.WriteFile(dir+"/cpu.max", []byte("33333 100000\n"), 0o644)
	os.WriteFile(dir+"/pids.max", nil, 0o644)
	set := func(writes ...Write) {
		t.Helper()
		if err := Open(g.State()).Set(Resources{Writes: writes}); err != nil {
			t.Error(err)
		}
	}
	calls := len(m.calls)
	set()
	os.WriteFile(dir+"/hugetlb.2MB.max", nil, 0o644)
	set(Write{Dir: dir, File: "hugetlb.2MB.max", Value: "0"})
	if len(m.calls) != calls {
		t.Errorf("systemd is asked about what it has no word for: %q", m.calls[calls:])
	}
	m.rounds = "34000 100000\n"
	set(Write{Dir: dir, File: "pids.max", Value: "7"})
	if want := []string{"p-x.scope", "true", "TasksMax uint64 7"}; !slices.Equal(m.set, want) {
		t.Errorf("%q", m.set)
	}
	m.Lock() // until it has written all
	defer m.Unlock()
	if quota, _ := readFile(dir, "cpu.max"); strings.TrimSpace(quota) != "33333 100000" {
		t.Errorf("cpu.max is %q", quota)
	}
	if pids, _ := readFile(dir, "pids.max"); pids != "7" {
		t.Errorf("pids.max is %q", pids)
	}
}

// A systemd that does not know a property yet is not told, and all others are set.
func TestUnitOfAnOldSystemd(t *testing.T) {
	for version, ok := range map[string]bool{"239 (239-82.el8)": true, "v243": true, "252.39-1~deb12u1": false, "": false, "new": false} {
		p, m := fakeUnit(t)
		m.version = version
		p.Unit.Properties = append(p.Unit.Properties, Property{Name: "AllowedCPUs", Value: dbus.Bytes([]byte{1}), Since: 244}, property("TasksMax", dbus.Uint64(5)))
		if version == "" {
			m.refuse = errInvalid
		}
		_, err := Make(p, 42)
		if ok != (err == nil) {
			t.Errorf("%q: %v", version, err)
		}
		if ok && !slices.Equal(m.pids, []string{"Slice 'system.slice'", "PIDs [uint32 42]"}) {
			t.Errorf("%q: %q", version, m.pids)
		}
	}
}

// Without a bus nothing starts, and what is recorded can still be deleted.
//
//spec:46
func TestNoBus(t *testing.T) {
	p, _ := fakeUnit(t)
	for address, want := range map[string]string{
		"unix:path=" + t.TempDir() + "/none": "systemd does not run here",
		"tcp:host=localhost,port=1":          "give unix:path=",
		"path=/run/x":                        "give unix:path=",
	} {
		t.Setenv(busVariable, address)
		g, err := Make(p, 42)
		var e *fault.Error
		if g != nil || !errors.As(err, &e) || !strings.Contains(e.Hint, want) {
			t.Errorf("%s: %v", address, err)
		}
		os.MkdirAll(p.Dirs[0].Path, 0o755)
		if g := Open(p.State()); g.Delete() != nil || g.Exists() {
			t.Error("not deleted")
		}
	}
}
