package cgroups

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"berth/libcontainer/fault"
	"berth/libcontainer/host"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// planOf plans the container "id" from a fragment of the config's "linux".
func planOf(t *testing.T, facts host.Facts, linux string, opt Options) (*Plan, fault.List) {
	t.Helper()
	return planWith(t, facts, linux, "null", opt)
}

func planWith(t *testing.T, facts host.Facts, linux, mounts string, opt Options) (*Plan, fault.List) {
	t.Helper()
	spec := &specs.Spec{}
	if err := json.Unmarshal([]byte(mounts), &spec.Mounts); err != nil {
		t.Fatal(err)
	}
	if linux != "" {
		if err := json.Unmarshal([]byte(linux), &spec.Linux); err != nil {
			t.Fatal(err)
		}
	}
	return NewPlan(spec, "id", facts, opt)
}

// select picks the lines that begin with one of the verbs.
func pick(lines []string, verbs ...string) string {
	var b strings.Builder
	for _, l := range lines {
		verb, rest, _ := strings.Cut(l, " ")
		if slices.Contains(verbs, verb) {
			b.WriteString(verb + " " + strings.ReplaceAll(rest, "/sys/fs/cgroup", "") + "\n")
		}
	}
	return b.String()
}

func v2At(root, self string) host.Facts {
	f := v2Facts()
	f.Cgroup.V2Root, f.Cgroup.V2Self = root, self
	return f
}

func v1At(root, self string) host.Facts {
	f := v1Facts()
	h := hier("pids", self)
	h.Root = root
	f.Cgroup.V1 = []host.V1Hierarchy{h, hier("devices", "/")}
	return f
}

//spec:46
func TestGroupDirectories(t *testing.T) {
	tests := []struct {
		name  string
		facts host.Facts
		path  string
		want  string
	}{
		{"absolute on v2", v2At("/", "/user.slice/s.scope"), "/machine/x", "mkdir /machine/x\n"},
		{"absent on v2 is beside the runtime", v2At("/", "/user.slice/s.scope"), "", "mkdir /user.slice/id\n"},
		{"relative on v2", v2At("/", "/user.slice/s.scope"), "a/b", "mkdir /user.slice/a/b\n"},
		{"absent on v2 at the top", v2At("/", "/"), "", "mkdir /id\n"},
		{"relative, one below the top", v2At("/", "/init"), "", "mkdir /id\n"},
		{"nested v2 view without a cgroup namespace", v2At("/docker/abc", "/docker/abc/init"), "", "mkdir /id\n"},
		{"nested v2 view, runtime at its top", v2At("/docker/abc", "/docker/abc"), "", "mkdir /id\n"},
		{"nested v2 view, absolute", v2At("/docker/abc", "/docker/abc"), "/x", "mkdir /x\n"},
		{"mount does not show the runtime's group", v2At("/docker/abc", "/docker/abcdef/y"), "", "mkdir /id\n"},
		{"mount from outside the cgroup namespace", v2At("/../..", "/a/b"), "", "mkdir /id\n"},
		{"runtime outside its cgroup namespace", v2At("/", "/../other"), "", "mkdir /id\n"},

		{"absolute on v1", v1At("/", "/a"), "/x/y", "mkdir /pids/x/y\nmkdir /devices/x/y\n"},
		{"absent on v1 is below the runtime", v1At("/", "/a/b"), "", "mkdir /pids/a/b/id\nmkdir /devices/id\n"},
		{"relative on v1", v1At("/", "/a/b"), "c", "mkdir /pids/a/b/c\nmkdir /devices/c\n"},
		{"nested v1 view", v1At("/docker/abc", "/docker/abc"), "", "mkdir /pids/id\nmkdir /devices/id\n"},
		{"nested v1 view, deeper", v1At("/docker/abc", "/docker/abc/d"), "", "mkdir /pids/d/id\nmkdir /devices/id\n"},

		{"dots do not lead out", v2At("/", "/a/b"), "/../../etc", "mkdir /etc\n"},
		{"relative dots do not lead out", v1At("/", "/a/b"), "../../../etc", "mkdir /pids/a/b/etc\nmkdir /devices/etc\n"},
		{"dots inside", v2At("/", "/"), "/a/./b//c/../d/", "mkdir /a/b/d\n"},
		{"blanks", v2At("/", "/"), "/a b", "mkdir /a b\n"},
		{"control characters are printed quoted", v2At("/", "/"), "/a\x1bb", `mkdir "/a\x1bb"` + "\n"},
		{"an absolute path with colons is a path", v2At("/", "/"), "/a:b:c", "mkdir /a:b:c\n"},
	}
	for _, tt := range tests {
		linux, _ := json.Marshal(specs.Linux{CgroupsPath: tt.path})
		p, complaints := planOf(t, tt.facts, string(linux), Options{})
		if len(complaints) > 0 {
			t.Errorf("%s: %v", tt.name, complaints)
			continue
		}
		if got := pick(p.Lines(), "mkdir"); got != tt.want {
			t.Errorf("%s:\ngot:\n%swant:\n%s", tt.name, got, tt.want)
		}
	}
}

//spec:46
func TestRefusedCgroupsPaths(t *testing.T) {
	for in, want := range map[string]string{
		`{"cgroupsPath":"/"}`:                   "names no group below the top one",
		`{"cgroupsPath":"/.."}`:                 "names no group below the top one",
		`{"cgroupsPath":"."}`:                   "names no group below the top one",
		`{"cgroupsPath":"a/.."}`:                "names no group below the top one",
		`{"cgroupsPath":"/a\nb"}`:               "holds neither NUL nor newline",
		`{"cgroupsPath":"/a\u0000b"}`:           "holds neither NUL nor newline",
		`{"cgroupsPath":"system.slice:runc:x"}`: "systemd cgroup manager only",
		`{"cgroupsPath":":docker:x"}`:           "systemd cgroup manager only",
	} {
		_, complaints := planOf(t, v2Facts(), in, Options{})
		if len(complaints) != 1 || complaints[0].Field != "/linux/cgroupsPath" || !strings.Contains(complaints[0].Msg, want) {
			t.Errorf("%s: %v", in, complaints)
		}
	}
}

func TestPlanLines(t *testing.T) {
	tests := []struct {
		name  string
		facts host.Facts
		linux string
		want  string
	}{
		{
			"pids on v2: born, limit afterwards", v2Facts(),
			`{"cgroupsPath":"/x","resources":{"pids":{"limit":9},"memory":{"limit":99999999},"devices":[{"allow":true,"access":"rwm"}]}}`,
			`mkdir /sys/fs/cgroup/x
enable /sys/fs/cgroup/x cpuset cpu io memory hugetlb pids rdma misc
write /sys/fs/cgroup/x/memory.max 99999999   # /linux/resources/memory/limit
born /sys/fs/cgroup/x
write /sys/fs/cgroup/x/pids.max 9   # /linux/resources/pids/limit
`,
		},
		{
			"a tight memory limit at last", host.Facts{Cgroup: host.Cgroup{V2: "/sys/fs/cgroup", V2Root: "/", V2Self: "/", V2Controllers: []string{"memory"}}},
			`{"cgroupsPath":"/x","resources":{"memory":{"limit":7,"swap":8},"unified":{"memory.max":"77"},"devices":[{"allow":true,"access":"rwm"}]}}`,
			`mkdir /sys/fs/cgroup/x
enable /sys/fs/cgroup/x memory
write /sys/fs/cgroup/x/memory.swap.max 1   # /linux/resources/memory/swap
write /sys/fs/cgroup/x/memory.max 8388608   # /linux/resources/unified/memory.max
born /sys/fs/cgroup/x
write /sys/fs/cgroup/x/memory.max 77   # /linux/resources/unified/memory.max
`,
		},
		{
			"a tight memory limit on v1, swap behind it",
			host.Facts{Cgroup: host.Cgroup{V1: []host.V1Hierarchy{hier("memory", "/"), hier("devices", "/")}}},
			`{"cgroupsPath":"/x","resources":{"memory":{"limit":100000,"swap":200000},"devices":[{"allow":true,"access":"rwm"}]}}`,
			`mkdir /sys/fs/cgroup/memory/x
mkdir /sys/fs/cgroup/devices/x
write /sys/fs/cgroup/memory/x/memory.limit_in_bytes 8388608   # /linux/resources/memory/limit
write /sys/fs/cgroup/devices/x/devices.allow a   # /linux/resources/devices/0
join /sys/fs/cgroup/memory/x
join /sys/fs/cgroup/devices/x
write /sys/fs/cgroup/memory/x/memory.limit_in_bytes 100000   # /linux/resources/memory/limit
write /sys/fs/cgroup/memory/x/memory.memsw.limit_in_bytes 200000   # /linux/resources/memory/swap
`,
		},
		{
			"default device rules on v2", bareFacts(),
			`{"cgroupsPath":"/x","resources":{"devices":[{"allow":false,"access":"rwm"}]}}`,
			`mkdir /sys/fs/cgroup/x
device /sys/fs/cgroup/x deny a *:* rwm   # /linux/resources/devices/0
device /sys/fs/cgroup/x allow c *:* m
device /sys/fs/cgroup/x allow b *:* m
device /sys/fs/cgroup/x allow c 1:3 rwm
device /sys/fs/cgroup/x allow c 1:8 rwm
device /sys/fs/cgroup/x allow c 1:7 rwm
device /sys/fs/cgroup/x allow c 5:0 rwm
device /sys/fs/cgroup/x allow c 1:5 rwm
device /sys/fs/cgroup/x allow c 1:9 rwm
device /sys/fs/cgroup/x allow c 136:* rwm
device /sys/fs/cgroup/x allow c 5:2 rwm
born /sys/fs/cgroup/x
`,
		},
		{
			"v1: every hierarchy, cpuset inherited, devices as lines",
			host.Facts{Cgroup: host.Cgroup{V1: []host.V1Hierarchy{hier("cpuset", "/"), hier("devices", "/"), hier("pids", "/"), hier("name=systemd", "/")}}},
			`{"cgroupsPath":"/x","resources":{"pids":{"limit":9},"cpu":{"cpus":"0"},"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":10,"minor":229,"access":"rw"}]}}`,
			`mkdir /sys/fs/cgroup/cpuset/x
inherit /sys/fs/cgroup/cpuset/x cpuset.mems
mkdir /sys/fs/cgroup/devices/x
mkdir /sys/fs/cgroup/pids/x
mkdir /sys/fs/cgroup/systemd/x
write /sys/fs/cgroup/cpuset/x/cpuset.cpus 0   # /linux/resources/cpu/cpus
write /sys/fs/cgroup/devices/x/devices.deny a   # /linux/resources/devices/0
write /sys/fs/cgroup/devices/x/devices.allow c 10:229 rw   # /linux/resources/devices/1
write /sys/fs/cgroup/devices/x/devices.allow c *:* m
write /sys/fs/cgroup/devices/x/devices.allow b *:* m
write /sys/fs/cgroup/devices/x/devices.allow c 1:3 rwm
write /sys/fs/cgroup/devices/x/devices.allow c 1:8 rwm
write /sys/fs/cgroup/devices/x/devices.allow c 1:7 rwm
write /sys/fs/cgroup/devices/x/devices.allow c 5:0 rwm
write /sys/fs/cgroup/devices/x/devices.allow c 1:5 rwm
write /sys/fs/cgroup/devices/x/devices.allow c 1:9 rwm
write /sys/fs/cgroup/devices/x/devices.allow c 136:* rwm
write /sys/fs/cgroup/devices/x/devices.allow c 5:2 rwm
join /sys/fs/cgroup/cpuset/x
join /sys/fs/cgroup/devices/x
join /sys/fs/cgroup/pids/x
join /sys/fs/cgroup/systemd/x
write /sys/fs/cgroup/pids/x/pids.max 9   # /linux/resources/pids/limit
`,
		},
		{
			"hybrid: the v2 group, too, with its controllers",
			host.Facts{Cgroup: host.Cgroup{V1: []host.V1Hierarchy{hier("devices", "/")}, V2: "/sys/fs/cgroup/unified", V2Root: "/", V2Self: "/", V2Controllers: []string{"hugetlb"}}},
			`{"cgroupsPath":"/x","resources":{"devices":[{"allow":true,"access":"rwm"}]}}`,
			`mkdir /sys/fs/cgroup/devices/x
mkdir /sys/fs/cgroup/unified/x
write /sys/fs/cgroup/devices/x/devices.allow a   # /linux/resources/devices/0
join /sys/fs/cgroup/devices/x
join /sys/fs/cgroup/unified/x
`,
		},
		{
			"hybrid: v2 controllers are asked for where a limit needs them",
			host.Facts{Cgroup: host.Cgroup{V1: []host.V1Hierarchy{hier("devices", "/")}, V2: "/sys/fs/cgroup/unified", V2Root: "/", V2Self: "/", V2Controllers: []string{"misc", "hugetlb"}}},
			`{"cgroupsPath":"/x","resources":{"devices":[{"allow":true,"access":"rwm"}],"unified":{"hugetlb.2MB.max":"0","cgroup.max.depth":"3"}}}`,
			`mkdir /sys/fs/cgroup/devices/x
mkdir /sys/fs/cgroup/unified/x
enable /sys/fs/cgroup/unified/x hugetlb
write /sys/fs/cgroup/unified/x/cgroup.max.depth 3   # /linux/resources/unified/cgroup.max.depth
write /sys/fs/cgroup/unified/x/hugetlb.2MB.max 0   # /linux/resources/unified/hugetlb.2MB.max
write /sys/fs/cgroup/devices/x/devices.allow a   # /linux/resources/devices/0
join /sys/fs/cgroup/devices/x
join /sys/fs/cgroup/unified/x
`,
		},
		{
			"hybrid without the v1 devices controller: the program on v2",
			host.Facts{Cgroup: host.Cgroup{V1: []host.V1Hierarchy{hier("name=systemd", "/")}, V2: "/sys/fs/cgroup/unified", V2Root: "/", V2Self: "/"}},
			`{"cgroupsPath":"/x","resources":{"devices":[{"allow":true,"access":"rwm"},{"allow":false,"type":"c","major":1,"minor":2,"access":"r"}]},"devices":[{"path":"/dev/null"},{"path":"/dev/zero"},{"path":"/dev/tty"},{"path":"/dev/full"},{"path":"/dev/random"},{"path":"/dev/urandom"}]}`,
			`mkdir /sys/fs/cgroup/systemd/x
mkdir /sys/fs/cgroup/unified/x
device /sys/fs/cgroup/unified/x allow a *:* rwm   # /linux/resources/devices/0
device /sys/fs/cgroup/unified/x deny c 1:2 r   # /linux/resources/devices/1
device /sys/fs/cgroup/unified/x allow c *:* m
device /sys/fs/cgroup/unified/x allow b *:* m
device /sys/fs/cgroup/unified/x allow c 136:* rwm
device /sys/fs/cgroup/unified/x allow c 5:2 rwm
join /sys/fs/cgroup/systemd/x
join /sys/fs/cgroup/unified/x
`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p, complaints := planOf(t, tt.facts, tt.linux, Options{})
			if len(complaints) > 0 {
				t.Fatal(complaints)
			}
			if got := p.String(); got != tt.want {
				t.Errorf("got:\n%swant:\n%s", got, tt.want)
			}
		})
	}
}

func TestBorn(t *testing.T) {
	for name, want := range map[string]bool{"v1": false, "hybrid": false, "v2": true, "bare": true} {
		if p, _ := planOf(t, machine(name), "", Options{}); p.State().Unified() != want {
			t.Errorf("%s: %v", name, p.State().Unified())
		}
	}
	if p, _ := planOf(t, v2Facts(), "", Options{Manager: ManagerDisabled}); p.State().Unified() {
		t.Error("born in no group")
	}
}

func TestPlansWithoutGroups(t *testing.T) {
	user := v2At("/", "/user.slice/s.scope")
	user.EUID = 1000
	v1user := v1Facts()
	v1user.EUID = 1000
	nested := v2At("/", "/user.slice/s.scope")
	nested.UserNS, nested.Caps = true, ^uint64(0)
	tests := []struct {
		name  string
		facts host.Facts
		opt   Options
		linux string
		want  string // complaints
	}{
		{"disabled", v2Facts(), Options{Manager: ManagerDisabled}, `{"resources":{"devices":[{"allow":false,"access":"rwm"}]}}`, ""},
		{"disabled with -1", v2Facts(), Options{Manager: ManagerDisabled}, `{"resources":{"pids":{"limit":-1}}}`, ""},
		{"disabled with a limit", v1Facts(), Options{Manager: ManagerDisabled}, `{"resources":{"memory":{"limit":5}}}`,
			"/linux/resources/memory/limit: cannot be set: the cgroup manager is disabled\n"},
		{"ordinary user", user, Options{}, ``, ""},
		{"ordinary user with device rules", user, Options{}, `{"resources":{"devices":[{"allow":false,"access":"rwm"}]}}`, ""},
		{"ordinary user with limits", user, Options{}, `{"resources":{"memory":{"limit":5},"unified":{"pids.max":"4"}}}`,
			"/linux/resources/memory/limit: cannot be set: user 1000 may not make control groups in /sys/fs/cgroup/user.slice/s.scope\n" +
				"/linux/resources/unified/pids.max: cannot be set: user 1000 may not make control groups in /sys/fs/cgroup/user.slice/s.scope\n"},
		{"ordinary user with a path", user, Options{}, `{"cgroupsPath":"/x"}`,
			"/linux/cgroupsPath: cannot be made: user 1000 may not make control groups in /sys/fs/cgroup/user.slice/s.scope\n"},
		{"ordinary user where there are no groups", host.Facts{EUID: 1000}, Options{}, `{"cgroupsPath":"/x"}`, ""},
		{"ordinary user on v1", v1user, Options{}, `{"resources":{"pids":{"limit":5}}}`,
			"/linux/resources/pids/limit: cannot be set: user 1000 may not make control groups here\n"},
		{"root of another user namespace", nested, Options{}, `{"resources":{"pids":{"limit":5}}}`,
			"/linux/resources/pids/limit: cannot be set: root of this user namespace may not make control groups in /sys/fs/cgroup/user.slice/s.scope\n"},
		{"root who was told to be content", v2Facts(), Options{Rootless: RootlessYes}, ``, ""},
		{"no cgroups at all", host.Facts{}, Options{Manager: ManagerDisabled}, ``, ""},
	}
	for _, tt := range tests {
		p, complaints := planOf(t, tt.facts, tt.linux, tt.opt)
		got := ""
		for _, c := range complaints {
			got += string(c.Field) + ": " + c.Msg + "\n"
		}
		if got != tt.want {
			t.Errorf("%s:\ngot:\n%swant:\n%s", tt.name, got, tt.want)
		}
		if len(p.Lines()) != 0 || len(p.Warnings) == 0 {
			t.Errorf("%s: %v %v", tt.name, p.Lines(), p.Warnings)
		}
	}
}

func TestNoCgroupsMounted(t *testing.T) {
	_, complaints := planOf(t, host.Facts{}, `{"resources":{"devices":[{"allow":false,"access":"rwm"}],"pids":{"limit":3}}}`, Options{})
	if len(complaints) != 2 || complaints[0].Field != "/linux/resources/pids/limit" || complaints[1].Field != "/linux/resources/devices" {
		t.Error(complaints)
	}
}

func TestDevicesInsideAUserNamespace(t *testing.T) {
	v1, v2 := v1Facts(), v2Facts()
	v1.UserNS, v2.UserNS = true, true
	v2.Cgroup.V2Delegated = "/sys/fs/cgroup"
	for i := range v1.Cgroup.V1 {
		v1.Cgroup.V1[i].Writable = true
	}
	p, complaints := planOf(t, v1, `{"resources":{"devices":[{"allow":false,"access":"rwm"}]}}`, Options{})
	if len(complaints) > 0 || len(p.Warnings) != 1 || strings.Contains(p.String(), "devices.deny") {
		t.Errorf("%v %v\n%s", complaints, p.Warnings, p)
	}
	if p, _ := planOf(t, v2, ``, Options{}); p.Filter == nil || !p.Filter.MayFail {
		t.Errorf("%+v", p.Filter)
	}
}

func TestMounts(t *testing.T) {
	hybrid := host.Facts{Cgroup: host.Cgroup{
		V1: []host.V1Hierarchy{hier("cpu,cpuacct", "/"), hier("name=systemd", "/a"), hier("pids", "/")},
		V2: "/sys/fs/cgroup/unified", V2Root: "/", V2Self: "/a/b",
	}}
	hybrid.Cgroup.V1[2].Mountpoint = "/sys/fs/cgroup/tasks"
	tests := []struct {
		name  string
		facts host.Facts
		opt   Options
		want  []Mount
	}{
		{"v2", v2At("/", "/s/a"), Options{}, []Mount{{Dir: "/sys/fs/cgroup/x", V2: true, Controllers: v2Facts().Cgroup.V2Controllers}}},
		{"v2 without groups of its own", v2At("/", "/s/a"), Options{Manager: ManagerDisabled},
			[]Mount{{Dir: "/sys/fs/cgroup/s/a", V2: true, Controllers: v2Facts().Cgroup.V2Controllers}}},
		{"hybrid", hybrid, Options{}, []Mount{
			{Name: "cpu,cpuacct", Controllers: []string{"cpu", "cpuacct"}, Dir: "/sys/fs/cgroup/cpu,cpuacct/x", Symlinks: []string{"cpu", "cpuacct"}},
			{Name: "systemd", Controllers: []string{"name=systemd"}, Dir: "/sys/fs/cgroup/systemd/x"},
			{Name: "tasks", Controllers: []string{"pids"}, Dir: "/sys/fs/cgroup/tasks/x", Symlinks: []string{"pids"}},
			{Name: "unified", Dir: "/sys/fs/cgroup/unified/x", V2: true},
		}},
	}
	for _, tt := range tests {
		p, _ := planOf(t, tt.facts, `{"cgroupsPath":"/x"}`, tt.opt)
		if got := p.Mounts(); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", tt.name, got, tt.want)
		}
	}
}

func TestPlanAsJSON(t *testing.T) {
	p, _ := planOf(t, bareFacts(), `{"cgroupsPath":"/x","resources":{"unified":{"cgroup.max.depth":"3"}}}`, Options{})
	p.Filter.Rules = p.Filter.Rules[:1]
	raw, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"manager":"cgroupfs","dirs":[{"path":"/sys/fs/cgroup/x","mountpoint":"/sys/fs/cgroup","v2":true}],` +
		`"writes":[{"dir":"/sys/fs/cgroup/x","file":"cgroup.max.depth","value":"3","field":"/linux/resources/unified/cgroup.max.depth"}],` +
		`"deviceFilter":{"dir":"/sys/fs/cgroup/x","rules":["allow c *:* m"]}}`
	if string(raw) != want {
		t.Errorf("got  %s\nwant %s", raw, want)
	}
}

func TestStateSurvivesJSON(t *testing.T) {
	p, _ := planOf(t, hybridFacts(), ``, Options{})
	raw, err := json.Marshal(p.State())
	if err != nil {
		t.Fatal(err)
	}
	var s State
	if err := json.Unmarshal(raw, &s); err != nil || !reflect.DeepEqual(s, p.State()) {
		t.Errorf("%v\n%+v\n%+v", err, s, p.State())
	}
	if !reflect.DeepEqual(Open(s).State(), s) {
		t.Error("Open forgets")
	}
}
