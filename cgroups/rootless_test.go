package cgroups

import (
	"reflect"
	"strings"
	"testing"

	"berth/libcontainer/host"

	"golang.org/x/sys/unix"
)

// userAt is a user whose runtime is in a group, of which all from delegated on are his.
func userAt(self, delegated string) host.Facts {
	f := v2At("/", self)
	f.EUID = 1000
	f.Cgroup.V2Delegated = delegated
	if delegated != "" {
		f.Cgroup.V2DelegatedControllers = []string{"memory", "pids"}
	}
	return f
}

const userService = "/sys/fs/cgroup/user.slice/user@1000.service"

//spec:46
func TestRootlessPlans(t *testing.T) {
	scope := "/user.slice/user@1000.service/app.slice/run.scope"
	inner := v2At("/", "/")
	inner.UserNS, inner.Caps, inner.Cgroup.V2Delegated = true, ^uint64(0), "/sys/fs/cgroup"
	tests := []struct {
		name  string
		facts host.Facts
		opt   Options
		linux string
		want  string // of the plan, the complaints and the warnings
	}{
		{"beside the own group", userAt(scope, userService), Options{}, ``,
			"mkdir " + userService + "/app.slice/id\nenable " + userService + "/app.slice/id memory pids\nborn " + userService + "/app.slice/id\n"},
		{"below the own group, where that is all there is", userAt("/system.slice/a.service", "/sys/fs/cgroup/system.slice/a.service"), Options{}, ``,
			"mkdir /sys/fs/cgroup/system.slice/a.service/id\nenable /sys/fs/cgroup/system.slice/a.service/id memory pids\nborn /sys/fs/cgroup/system.slice/a.service/id\n"},
		{"a path", userAt(scope, userService), Options{}, `{"cgroupsPath":"/user.slice/user@1000.service/x/y"}`,
			"mkdir " + userService + "/x/y\nenable " + userService + "/x/y memory pids\nborn " + userService + "/x/y\n"},
		{"a path of somebody else's", userAt(scope, userService), Options{}, `{"cgroupsPath":"/user.slice/user@1000.service.d/x"}`,
			"/linux/cgroupsPath: is not below " + userService + ", the group that is delegated to user 1000\n"},
		{"limits", userAt(scope, userService), Options{}, `{"cgroupsPath":"x","resources":{"memory":{"limit":5000},"cpu":{"shares":3}}}`,
			"/linux/resources/cpu/shares: no cpu controller in the groups that user 1000 may make\n"},
		{"told that all is his", userAt("/a.scope", ""), Options{Rootless: RootlessNo}, `{"resources":{"pids":{"limit":-1}}}`,
			"mkdir /sys/fs/cgroup/id\nenable /sys/fs/cgroup/id cpuset cpu io memory hugetlb pids rdma misc\nborn /sys/fs/cgroup/id\n" +
				"write /sys/fs/cgroup/id/pids.max max\n"},
		{"a container's user of his own", userAt(scope, userService), Options{},
			`{"namespaces":[{"type":"user"},{"type":"cgroup"}],"uidMappings":[{"containerID":0,"hostID":300000,"size":1}]}`,
			"mkdir " + userService + "/app.slice/id\nenable " + userService + "/app.slice/id memory pids\nborn " + userService + "/app.slice/id\n" +
				"/mounts/0: the container's user gets no rights over its group: only root may give them\n"},
		{"root of a user namespace", inner, Options{}, `{"cgroupsPath":"/x"}`,
			"mkdir /sys/fs/cgroup/x\nborn /sys/fs/cgroup/x\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, complaints := planWith(t, tt.facts, tt.linux, `[{"destination":"/sys/fs/cgroup","type":"cgroup","source":"cgroup"}]`, tt.opt)
			got := ""
			if len(complaints) == 0 {
				got = strings.ReplaceAll(p.String(), "   # /linux/resources/pids/limit", "")
				got = dropLines(got, "device")
			}
			for _, c := range append(complaints, p.Warnings...) {
				got += string(c.Field) + ": " + c.Msg + "\n"
			}
			if got != tt.want {
				t.Errorf("got:\n%swant:\n%s", got, tt.want)
			}
		})
	}
}

// Where a hierarchy of v1 was given to the user, as in an LXC container, it is used, and the others stay out.
func TestRootlessOnPartOfV1(t *testing.T) {
	f := v1Facts()
	f.EUID, f.UserNS = 0, true
	for i := range f.Cgroup.V1 {
		f.Cgroup.V1[i].Writable = f.Cgroup.V1[i].Controllers[0] == "pids"
	}
	p, complaints := planOf(t, f, `{"cgroupsPath":"/x","resources":{"pids":{"limit":4},"devices":[{"allow":false,"access":"rwm"}]}}`, Options{})
	if len(complaints) > 0 || len(p.Dirs) != 1 || p.Dirs[0].Path != "/sys/fs/cgroup/pids/x" {
		t.Errorf("%v\n%s", complaints, p)
	}
	for _, m := range p.Mounts() {
		if own := m.Dir == "/sys/fs/cgroup/pids/x"; own == m.Shared {
			t.Errorf("%+v", m)
		}
	}
}

// The groups that the container shares with the runtime are marked, so that they are shown read-only.
//
//cve:2023-25809
func TestRootlessSharesItsGroupsReadOnly(t *testing.T) {
	for name, tt := range map[string]struct {
		facts host.Facts
		opt   Options
		want  bool
	}{
		"none of its own":        {userAt("/a.scope", ""), Options{}, true},
		"one of its own":         {userAt("/a.scope", "/sys/fs/cgroup"), Options{}, false},
		"none of its own wanted": {userAt("/a.scope", "/sys/fs/cgroup"), Options{Manager: ManagerDisabled}, true},
		"root":                   {v2At("/", "/a.scope"), Options{}, false},
		"root with no rights":    {v2At("/", "/a.scope"), Options{Rootless: RootlessYes}, true},
		"root who wants it that": {v2At("/", "/a.scope"), Options{Manager: ManagerDisabled}, false},
	} {
		p, _ := planOf(t, tt.facts, ``, tt.opt)
		if m := p.Mounts(); len(m) != 1 || m[0].Shared != tt.want {
			t.Errorf("%s: %+v", name, m)
		}
	}
}

func TestRootlessHasOneWarning(t *testing.T) {
	hybrid := hybridFacts()
	hybrid.EUID = 1000
	for name, facts := range map[string]host.Facts{"v2": userAt("/a.scope", ""), "hybrid": hybrid, "none": {EUID: 1000}} {
		p, complaints := planOf(t, facts, `{"resources":{"devices":[{"allow":false,"access":"rwm"}]}}`, Options{})
		if len(complaints) > 0 || len(p.Warnings) != 1 || p.Warnings[0].Hint == "" {
			t.Errorf("%s: %v %v", name, complaints, p.Warnings)
		}
	}
}

func TestJoinable(t *testing.T) {
	s := State{Dirs: []Dir{{Path: "/sys/fs/cgroup/u/app/x", V2: true}}}
	for delegated, want := range map[string]bool{"": false, "/sys/fs/cgroup/u": true, "/sys/fs/cgroup": true,
		"/sys/fs/cgroup/u/app/x": true, "/sys/fs/cgroup/u/app/x/y": false, "/sys/fs/cgroup/u/a": false} {
		if s.Joinable(host.Cgroup{V2Delegated: delegated}) != want {
			t.Errorf("%q: %v", delegated, !want)
		}
	}
	if !(State{}).Joinable(host.Cgroup{}) {
		t.Error("no groups")
	}
}

func TestRootlessHolds(t *testing.T) {
	root, user, nested := host.Facts{}, host.Facts{EUID: 5}, host.Facts{UserNS: true, Caps: 1 << unix.CAP_SYS_ADMIN}
	got := []bool{RootlessAuto.Holds(root), RootlessAuto.Holds(user), RootlessAuto.Holds(nested),
		RootlessYes.Holds(root), RootlessNo.Holds(user)}
	if !reflect.DeepEqual(got, []bool{false, true, true, true, false}) {
		t.Error(got)
	}
}

// dropLines leaves out the lines that begin with a word.
func dropLines(text, word string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, word) {
			out.WriteString(line)
		}
	}
	return out.String()
}
