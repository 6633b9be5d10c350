package libcontainer

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/cgroups"
	"berth/libcontainer/defaults"
	"berth/libcontainer/fault"
)

// rootless is what spec --rootless says for user 1000, after change.
func rootless(change func(*specs.Spec)) func(*specs.Spec) {
	return func(s *specs.Spec) {
		*s = *defaults.Spec(true, 1000, 1000)
		if change != nil {
			change(s)
		}
	}
}

// Which maps an ordinary user's runtime writes itself, and what that costs.
//
//spec:40
func TestRootlessMaps(t *testing.T) {
	one, more := []specs.LinuxIDMapping{{HostID: 1000, Size: 1}}, []specs.LinuxIDMapping{{HostID: 1000, Size: 1}, {ContainerID: 1, HostID: 100000, Size: 65536}}
	for name, tt := range map[string]struct {
		machine    string
		uids, gids []specs.LinuxIDMapping
		helpers    []string
		deny       bool
	}{
		"one id":               {"6.18 user", one, one, nil, true},
		"many":                 {"6.18 user", more, more, []string{"uid", "gid"}, false},
		"many users":           {"6.18 user", more, one, []string{"uid"}, true},
		"many groups":          {"6.18 user", one, more, []string{"gid"}, false},
		"another's id":         {"6.18 user", []specs.LinuxIDMapping{{HostID: 1001, Size: 1}}, one, []string{"uid"}, true},
		"root":                 {"6.18 cgroup2", more, more, nil, false},
		"root of a user space": {"6.18 root of a user namespace", more, more, nil, false},
	} {
		b := load(t, rootless(func(s *specs.Spec) { s.Linux.UIDMappings, s.Linux.GIDMappings = tt.uids, tt.gids }))
		p, err := NewPlan(b, machines()[tt.machine], PlanOptions{ID: "id"})
		if err != nil {
			t.Fatal(name, err)
		}
		if n := p.Namespaces; !reflect.DeepEqual(n.Helpers, tt.helpers) || n.DenySetgroups != tt.deny {
			t.Errorf("%s: %+v", name, n)
		}
	}
}

// Groups that setgroups(2) would have to give are refused by name where it is denied.
func TestRootlessGroups(t *testing.T) {
	b := load(t, rootless(func(s *specs.Spec) { s.Process.User.AdditionalGids = []uint32{0} }))
	_, err := NewPlan(b, machines()["6.18 user"], PlanOptions{ID: "id"})
	var e *fault.Error
	if !errors.As(err, &e) || e.Field != "/process/user/additionalGids" || !strings.Contains(e.Error(), "/etc/subgid") {
		t.Error(err)
	}
}

// The plan of a new user's first container: one note, no step that needs a right he has not.
func TestRootlessPlan(t *testing.T) {
	p, err := NewPlan(load(t, rootless(nil)), machines()["6.18 user"], PlanOptions{ID: "id"})
	if err != nil || len(p.Notes) != 1 {
		t.Fatal(err, p.Notes)
	}
	program, err := p.Compile()
	if err != nil {
		t.Fatal(err)
	}
	text := program.String() + p.String()
	for _, never := range []string{"bpf", "mkdir /sys/fs/cgroup", "S_IFCHR", "setgroups("} {
		if strings.Contains(text, never) {
			t.Errorf("%s in\n%s", never, text)
		}
	}
	if err := p.Namespaces.permitted(machines()["6.18 user"]); err != nil {
		t.Error(err)
	}
}

func TestRootlessPlanWithAGroup(t *testing.T) {
	p, err := NewPlan(load(t, rootless(nil)), machines()["6.18 user with a group"], PlanOptions{ID: "id"})
	if err != nil || len(p.Notes) != 0 || p.entry != entersByBirth {
		t.Error(err, p.Notes, p.entry)
	}
	if s := p.Cgroup.State(); len(s.Dirs) != 1 || s.Dirs[0].Path != "/sys/fs/cgroup/user/id" {
		t.Error(s)
	}
}

func TestRootlessHooks(t *testing.T) {
	user, root := machines()["6.18 user"], machines()["6.18 root of a user namespace"]
	h := &specs.Hooks{StartContainer: []specs.Hook{{Path: "/x"}}}
	if err := hooksPermitted(h, user); !errors.Is(err, unix.EPERM) {
		t.Error(err)
	}
	if err := errors.Join(hooksPermitted(h, root), hooksPermitted(nil, user), hooksPermitted(&specs.Hooks{Poststop: h.StartContainer}, user)); err != nil {
		t.Error(err)
	}
}

// Who gets no groups joins containers with groups from where he is, and hears of it.
func TestJoiningFromElsewhere(t *testing.T) {
	c := &Container{}
	c.record.Cgroup = cgroups.State{Dirs: []cgroups.Dir{{Path: "/sys/fs/cgroup/not/there", Mountpoint: "/sys/fs/cgroup", V2: true}}}
	var said []*fault.Error
	warn := func(e *fault.Error) { said = append(said, e) }
	if got, err := c.execGroup([]string{"below"}, true, warn); err != nil || len(got.Dirs) != 1 || len(said) != 0 {
		t.Error(got, err, said)
	}
	if got, err := c.execGroup(nil, false, warn); err != nil || len(got.Dirs) != 1 || len(said) != 0 {
		t.Error(got, err, said)
	}
	c.record.Cgroup.Dirs[0].Path = "/elsewhere"
	if got, err := c.execGroup(nil, true, warn); err != nil || len(got.Dirs) != 0 || len(said) != 1 {
		t.Error(got, err, said)
	}
}
