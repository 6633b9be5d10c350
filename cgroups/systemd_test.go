package cgroups

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"berth/libcontainer/fault"
	"berth/libcontainer/host"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// unitOf plans the container "id" under systemd from a config's fragment.
func unitOf(t *testing.T, facts host.Facts, config string) (*Plan, fault.List) {
	t.Helper()
	spec := &specs.Spec{}
	if err := json.Unmarshal([]byte(config), spec); err != nil {
		t.Fatal(err)
	}
	return NewPlan(spec, "id", facts, Options{Manager: ManagerSystemd})
}

//spec:46
func TestUnits(t *testing.T) {
	for _, c := range []struct{ path, slice, unit, dir string }{
		{"", "system.slice", "berth-id.scope", "/system.slice/berth-id.scope"},
		{"::x", "system.slice", "x.scope", "/system.slice/x.scope"},
		{":docker:x", "system.slice", "docker-x.scope", "/system.slice/docker-x.scope"},
		{"system.slice:docker:4f5e", "system.slice", "docker-4f5e.scope", "/system.slice/docker-4f5e.scope"},
		{"machine.slice:libpod:x", "machine.slice", "libpod-x.scope", "/machine.slice/libpod-x.scope"},
		{"a-b.slice:p:x", "a-b.slice", "p-x.scope", "/a.slice/a-b.slice/p-x.scope"},
		{"kubepods-besteffort-pod1_2.slice:cri-containerd:x", "kubepods-besteffort-pod1_2.slice", "cri-containerd-x.scope",
			"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod1_2.slice/cri-containerd-x.scope"},
		{"-.slice:p:x", "-.slice", "p-x.scope", "/p-x.scope"},
		{`a\x2db.slice:p:x`, `a\x2db.slice`, "p-x.scope", `/a\x2db.slice/p-x.scope`},
		{"system.slice:p:x.scope", "system.slice", "p-x.scope.scope", "/system.slice/p-x.scope.scope"},
	} {
		spec := &specs.Spec{Linux: &specs.Linux{CgroupsPath: c.path}}
		for name, at := range map[string]string{"v2": "/sys/fs/cgroup", "v1": "/sys/fs/cgroup/systemd", "hybrid": "/sys/fs/cgroup/systemd"} {
			p, complaints := NewPlan(spec, "id", machine(name), Options{Manager: ManagerSystemd})
			if len(complaints) > 0 {
				t.Errorf("%s on %s: %v", c.path, name, complaints)
				continue
			}
			if p.Unit.Name != c.unit || p.Unit.Slice != c.slice || p.State().Unit != c.unit {
				t.Errorf("%s: %s in %s", c.path, p.Unit.Name, p.Unit.Slice)
			}
			if !slices.ContainsFunc(p.Dirs, func(d Dir) bool { return d.Path == at+c.dir && !p.makes(d) }) {
				t.Errorf("%s on %s: no %s in %v", c.path, name, at+c.dir, p.Dirs)
			}
		}
	}
}

// An ID may have a character that a unit's name has not.
func TestUnitOfAnOddID(t *testing.T) {
	p, complaints := NewPlan(&specs.Spec{}, "A_b+c-1.d", v2Facts(), Options{Manager: ManagerSystemd})
	if len(complaints) > 0 || p.Unit.Name != `berth-A_b\x2bc-1.d.scope` {
		t.Errorf("%v, %v", p.Unit, complaints)
	}
}

//spec:46
func TestRefusedUnits(t *testing.T) {
	for path, want := range map[string]string{
		"/machine/x":                            "needs the form slice:prefix:name",
		"x":                                     "needs the form slice:prefix:name",
		"a.slice:x":                             "needs the form slice:prefix:name",
		"a.slice:b:c:d":                         "needs the form slice:prefix:name",
		"a:b:c":                                 "is not a slice's name",
		"a.scope:b:c":                           "is not a slice's name",
		".slice:b:c":                            "is not a slice's name",
		"a--b.slice:b:c":                        "is not a slice's name",
		"-a.slice:b:c":                          "is not a slice's name",
		"a-.slice:b:c":                          "is not a slice's name",
		"a/b.slice:b:c":                         "is not a slice's name",
		"../x.slice:b:c":                        "is not a slice's name",
		"a@b.slice:b:c":                         "is not a slice's name",
		strings.Repeat("a", 250) + ".slice:":    "needs the form slice:prefix:name",
		strings.Repeat("a", 251) + ".slice::x":  "is not a slice's name",
		"a.slice:b:":                            "has no name",
		"a.slice:b:x.slice":                     "names a slice",
		"a.slice:b:x/y":                         "is not a unit's name",
		"a.slice:b/..:x":                        "is not a unit's name",
		"a.slice:b:x y":                         "is not a unit's name",
		"a.slice:b:x\ny":                        "is not a unit's name",
		"a.slice:b:ö":                           "is not a unit's name",
		"a.slice::.x":                           "is not a unit's name",
		"a.slice:b:" + strings.Repeat("x", 256): "is not a unit's name",
	} {
		spec := &specs.Spec{Linux: &specs.Linux{CgroupsPath: path}}
		_, complaints := NewPlan(spec, "id", v2Facts(), Options{Manager: ManagerSystemd})
		if len(complaints) != 1 || complaints[0].Field != "/linux/cgroupsPath" || complaints[0].Hint == "" || !strings.Contains(complaints[0].Msg, want) {
			t.Errorf("%s: %v", path, complaints)
		}
	}
	bare := host.Facts{Cgroup: host.Cgroup{V1: []host.V1Hierarchy{hier("devices", "/")}}}
	if _, complaints := unitOf(t, bare, `{}`); len(complaints) != 1 || !strings.Contains(complaints[0].Msg, "systemd has no groups here") {
		t.Errorf("without systemd's hierarchy: %v", complaints)
	}
}

// What is printed of a unit, and in which order everything happens.
//
//spec:46
func TestUnitPlan(t *testing.T) {
	p, complaints := unitOf(t, v2Facts(), `{"linux":{"cgroupsPath":"a-b.slice:p:x","resources":{"pids":{"limit":9},"devices":[{"allow":true,"access":"rwm"}]}}}`)
	want := `property Description 'container id'
property Slice 'a-b.slice'
property Delegate true
property DefaultDependencies false
property CollectMode 'inactive-or-failed'
property CPUAccounting true
property MemoryAccounting true
property TasksAccounting true
property IOAccounting true
property TasksMax uint64 9   # /linux/resources/pids/limit
property DevicePolicy 'auto'
unit p-x.scope in a-b.slice
enable /sys/fs/cgroup/a.slice/a-b.slice/p-x.scope cpuset cpu io memory hugetlb pids rdma misc
write /sys/fs/cgroup/a.slice/a-b.slice/p-x.scope/pids.max max   # /linux/resources/pids/limit
write /sys/fs/cgroup/a.slice/a-b.slice/p-x.scope/pids.max 9   # /linux/resources/pids/limit
`
	if len(complaints) > 0 || p.String() != want {
		t.Errorf("%v\ngot:\n%swant:\n%s", complaints, p, want)
	}

	p, complaints = unitOf(t, host.Facts{Cgroup: host.Cgroup{V1: []host.V1Hierarchy{
		hier("devices", "/"), hier("cpuset", "/"), hier("name=systemd", "/")}}}, `{"linux":{"cgroupsPath":":p:x"}}`)
	want = `mkdir /sys/fs/cgroup/devices/system.slice/p-x.scope
mkdir /sys/fs/cgroup/cpuset/system.slice/p-x.scope
inherit /sys/fs/cgroup/cpuset/system.slice/p-x.scope cpuset.cpus cpuset.mems
join /sys/fs/cgroup/devices/system.slice/p-x.scope
join /sys/fs/cgroup/cpuset/system.slice/p-x.scope
`
	got := pick(p.Lines(), "unit", "mkdir", "inherit", "join", "born")
	want = "unit p-x.scope in system.slice\n" + strings.ReplaceAll(want, "/sys/fs/cgroup", "")
	if len(complaints) > 0 || got != want {
		t.Errorf("%v\ngot:\n%swant:\n%s", complaints, got, want)
	}
}

// resourceLines are a unit's properties but for those that every container has.
func resourceLines(t *testing.T, machineName, resources string) string {
	p, complaints := unitOf(t, machine(machineName), `{"linux":{"resources":`+resources+`}}`)
	if len(complaints) > 0 {
		t.Errorf("%s on %s: %v", resources, machineName, complaints)
	}
	var out []string
	for _, property := range p.Unit.Properties[9:] {
		if !strings.HasPrefix(property.Name, "Device") {
			line, _, _ := strings.Cut(property.String(), "   # /linux/resources/")
			out = append(out, strings.TrimPrefix(line, "property "))
		}
	}
	return strings.Join(out, "; ")
}

//spec:46
func TestResourceProperties(t *testing.T) {
	for _, c := range []struct{ machine, resources, want string }{
		{"v2", `{}`, ""},
		{"v2", `{"memory":{"limit":1000000}}`, "MemoryMax uint64 1000000"},
		{"v2", `{"memory":{"limit":-1}}`, "MemorySwapMax uint64 18446744073709551615; MemoryMax uint64 18446744073709551615"},
		{"v2", `{"memory":{"limit":1000,"swap":1500,"reservation":500}}`, "MemorySwapMax uint64 500; MemoryLow uint64 500; MemoryMax uint64 1000"},
		{"v2", `{"memory":{"limit":1000,"swap":-1}}`, "MemorySwapMax uint64 18446744073709551615; MemoryMax uint64 1000"},
		{"v2", `{"cpu":{"shares":1024}}`, "CPUWeight uint64 100"},
		{"v2", `{"cpu":{"shares":2}}`, "CPUWeight uint64 1"},
		{"v2", `{"cpu":{"quota":50000}}`, "CPUQuotaPerSecUSec uint64 500000; CPUQuotaPeriodUSec uint64 100000"},
		{"v2", `{"cpu":{"quota":50000,"period":50000}}`, "CPUQuotaPerSecUSec uint64 1000000; CPUQuotaPeriodUSec uint64 50000"},
		{"v2", `{"cpu":{"quota":33333,"period":100000}}`, "CPUQuotaPerSecUSec uint64 340000; CPUQuotaPeriodUSec uint64 100000"}, // whole per cents, rounded up
		{"v2", `{"cpu":{"quota":1000,"period":1000000}}`, "CPUQuotaPerSecUSec uint64 10000; CPUQuotaPeriodUSec uint64 1000000"},
		{"v2", `{"cpu":{"quota":-1,"period":20000}}`, "CPUQuotaPerSecUSec uint64 18446744073709551615; CPUQuotaPeriodUSec uint64 20000"},
		{"v2", `{"cpu":{"quota":9223372036854775807}}`, ""}, // the kernel's to refuse
		{"v2", `{"cpu":{"burst":1000,"quota":2000}}`, "CPUQuotaPerSecUSec uint64 20000; CPUQuotaPeriodUSec uint64 100000"},
		{"v2", `{"cpu":{"idle":1}}`, "CPUWeight uint64 0"},
		{"v2", `{"cpu":{"idle":1,"shares":512}}`, "CPUWeight uint64 0"},
		{"v2", `{"cpu":{"idle":0,"shares":512}}`, "CPUWeight uint64 59"},
		{"v2", `{"cpu":{"idle":0}}`, "CPUWeight uint64 18446744073709551615"},
		{"v2", `{"cpu":{"cpus":"0-2,9"}}`, "AllowedCPUs [byte 7, 2]"},
		{"v2", `{"cpu":{"cpus":"8"}}`, "AllowedCPUs [byte 0, 1]"},
		{"v2", `{"cpu":{"mems":"0"}}`, "AllowedMemoryNodes [byte 1]"},
		{"v2", `{"cpu":{"cpus":"0-3:1/2"}}`, ""}, // strides, which the kernel knows
		{"v2", `{"cpu":{"cpus":"3-1"}}`, ""},
		{"v2", `{"cpu":{"cpus":"0-4294967295"}}`, ""},
		{"v2", `{"pids":{"limit":20}}`, "TasksMax uint64 20"},
		{"v2", `{"pids":{"limit":0}}`, "TasksMax uint64 1"},
		{"v2", `{"pids":{"limit":-1}}`, "TasksMax uint64 18446744073709551615"},
		{"v2", `{"blockIO":{"weight":10}}`, "IOWeight uint64 1"},
		{"v2", `{"blockIO":{"weight":1000}}`, "IOWeight uint64 10000"},
		{"v2", `{"blockIO":{"weightDevice":[{"major":8,"minor":0,"weight":1000},{"major":8,"minor":16,"weight":10}]}}`,
			"IODeviceWeight [('/dev/block/8:0', uint64 10000), ('/dev/block/8:16', uint64 1)]"},
		{"v2", `{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":5},{"major":9,"minor":1,"rate":6}]}}`,
			"IOReadBandwidthMax [('/dev/block/8:0', uint64 5), ('/dev/block/9:1', uint64 6)]"},
		{"v2", `{"blockIO":{"throttleWriteBpsDevice":[{"major":8,"minor":0,"rate":0}]}}`,
			"IOWriteBandwidthMax [('/dev/block/8:0', uint64 18446744073709551615)]"},
		{"v2", `{"blockIO":{"throttleReadIOPSDevice":[{"major":8,"minor":0,"rate":7}],"throttleWriteIOPSDevice":[{"major":8,"minor":0,"rate":8}]}}`,
			"IOReadIOPSMax [('/dev/block/8:0', uint64 7)]; IOWriteIOPSMax [('/dev/block/8:0', uint64 8)]"},
		{"v2", `{"hugepageLimits":[{"pageSize":"2MB","limit":4}]}`, ""},
		{"v2", `{"unified":{"memory.high":"5","memory.min":"4","io.max":"8:0 rbps=1 wiops=max"}}`,
			"IOReadBandwidthMax [('/dev/block/8:0', uint64 1)]; IOWriteIOPSMax [('/dev/block/8:0', uint64 18446744073709551615)]; MemoryHigh uint64 5; MemoryMin uint64 4"},
		{"v2", `{"unified":{"io.weight":"default 7\n8:0 9"}}`, "IOWeight uint64 7; IODeviceWeight [('/dev/block/8:0', uint64 9)]"},
		{"v2", `{"unified":{"io.bfq.weight":"7"}}`, ""},
		{"v2", `{"unified":{"memory.zswap.max":"7","memory.zswap.writeback":"0"}}`, "MemoryZSwapMax uint64 7; MemoryZSwapWriteback false"},
		{"v2", `{"unified":{"memory.max":"1G","cpu.max":"x","io.max":"8:0","cpuset.cpus":"all"}}`, ""},
		{"v2", `{"memory":{"limit":5},"unified":{"memory.max":"6"}}`, "MemoryMax uint64 6"},

		{"v1", `{"memory":{"limit":1000000,"swap":2000000,"reservation":5}}`, "MemoryLimit uint64 1000000"},
		{"v1", `{"cpu":{"shares":512,"quota":20000,"period":40000,"cpus":"0","mems":"0"}}`,
			"CPUShares uint64 512; CPUQuotaPerSecUSec uint64 500000; CPUQuotaPeriodUSec uint64 40000"},
		{"v1", `{"cpu":{"quota":-1}}`, "CPUQuotaPerSecUSec uint64 18446744073709551615; CPUQuotaPeriodUSec uint64 100000"},
		{"v1", `{"cpu":{"period":50000}}`, "CPUQuotaPeriodUSec uint64 50000"},
		{"v1", `{"cpu":{"idle":1}}`, ""},
		{"v1", `{"pids":{"limit":20}}`, "TasksMax uint64 20"},
		{"v1", `{"blockIO":{"weight":500,"weightDevice":[{"major":8,"minor":0,"weight":300}]}}`,
			"BlockIOWeight uint64 500; BlockIODeviceWeight [('/dev/block/8:0', uint64 300)]"},
		{"v1", `{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":5}],"throttleWriteBpsDevice":[{"major":8,"minor":0,"rate":6}],"throttleReadIOPSDevice":[{"major":8,"minor":0,"rate":7}]}}`,
			"BlockIOReadBandwidth [('/dev/block/8:0', uint64 5)]; BlockIOWriteBandwidth [('/dev/block/8:0', uint64 6)]"},
		{"hybrid", `{"memory":{"limit":7},"pids":{"limit":8}}`, "MemoryLimit uint64 7; TasksMax uint64 8"},
	} {
		if got := resourceLines(t, c.machine, c.resources); got != c.want {
			t.Errorf("%s on %s:\ngot:  %s\nwant: %s", c.resources, c.machine, got, c.want)
		}
	}
}

// Of limits that change, what is not said is what the files hold.
func TestChangedProperties(t *testing.T) {
	for _, c := range []struct{ machine, resources, holds, want string }{
		{"v2", `{"memory":{"limit":5},"pids":{"limit":6}}`, "", "MemoryMax uint64 5; TasksMax uint64 6"},
		{"v2", `{"unified":{"cpu.max":"50000"}}`, "max 50000", "CPUQuotaPerSecUSec uint64 1000000; CPUQuotaPeriodUSec uint64 50000"},
		{"v2", `{"hugepageLimits":[{"pageSize":"2MB","limit":4}]}`, "", ""},
		{"v2", `{"unified":{"cpuset.cpus":""}}`, "", "AllowedCPUs @ay []"}, // an update is taken back
		{"v1", `{"cpu":{"quota":25000}}`, "50000", "CPUQuotaPerSecUSec uint64 500000; CPUQuotaPeriodUSec uint64 50000"},
		{"v1", `{"cpu":{"period":40000}}`, "20000", "CPUQuotaPerSecUSec uint64 500000; CPUQuotaPeriodUSec uint64 40000"},
		{"v1", `{"cpu":{"period":40000}}`, "-1", "CPUQuotaPerSecUSec uint64 18446744073709551615; CPUQuotaPeriodUSec uint64 40000"},
	} {
		p, complaints := unitOf(t, machine(c.machine), `{}`)
		var given specs.LinuxResources
		if err := json.Unmarshal([]byte(c.resources), &given); err != nil {
			t.Fatal(err)
		}
		r, more := PlanResources(&given, p.State(), machine(c.machine))
		if complaints = append(complaints, more...); len(complaints) > 0 {
			t.Error(complaints)
		}
		var got []string
		for _, property := range r.changedProperties(p.State(), func(string, string) string { return c.holds }) {
			got = append(got, property.Name+" "+property.Value.String())
		}
		if text := strings.Join(got, "; "); text != c.want {
			t.Errorf("%s on %s, %q:\ngot:  %s\nwant: %s", c.resources, c.machine, c.holds, text, c.want)
		}
	}
}

//spec:46,49
func TestDeviceProperties(t *testing.T) {
	const defaults = ", ('/dev/char/1:3', 'rwm'), ('/dev/char/1:8', 'rwm'), ('/dev/char/1:7', 'rwm'), ('/dev/char/5:0', 'rwm'), " +
		"('/dev/char/1:5', 'rwm'), ('/dev/char/1:9', 'rwm'), ('char-136', 'rwm'), ('/dev/char/5:2', 'rwm')]"
	for devices, want := range map[string]string{
		`[]`:                               "strict [('char-*', 'm'), ('block-*', 'm')" + defaults,
		`[{"allow":false,"access":"rwm"}]`: "strict [('char-*', 'm'), ('block-*', 'm')" + defaults,
		`[{"allow":true,"access":"rwm"}]`:  "auto",
		`[{"allow":true,"access":"rwm"},{"allow":false,"type":"b","major":8,"access":"w"}]`:                               "auto",
		`[{"allow":true,"type":"b","major":8,"minor":1,"access":"r"}]`:                                                    "strict [('/dev/block/8:1', 'r'), ('char-*', 'm'), ('block-*', 'm')" + defaults,
		`[{"allow":true,"type":"c","major":10,"access":"rw"}]`:                                                            "strict [('char-10', 'rw'), ('char-*', 'm'), ('block-*', 'm')" + defaults,
		`[{"allow":true,"type":"c","minor":5,"access":"rw"}]`:                                                             "strict [('char-*', 'rw'), ('char-*', 'm'), ('block-*', 'm')" + defaults,
		`[{"allow":true,"major":10,"minor":1,"access":"r"}]`:                                                              "strict [('/dev/block/10:1', 'r'), ('/dev/char/10:1', 'r'), ('char-*', 'm'), ('block-*', 'm')" + defaults,
		`[{"allow":true,"type":"b","major":8,"access":"rw"},{"allow":false,"type":"b","major":8,"minor":1,"access":"w"}]`: "strict [('block-8', 'rw'), ('char-*', 'm'), ('block-*', 'm')" + defaults,
	} {
		p, complaints := unitOf(t, v2Facts(), `{"linux":{"resources":{"devices":`+devices+`}}}`)
		if len(complaints) > 0 {
			t.Errorf("%s: %v", devices, complaints)
			continue
		}
		var got []string
		for _, property := range p.Unit.Properties {
			if strings.HasPrefix(property.Name, "Device") {
				got = append(got, strings.Trim(property.Value.String(), "'"))
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s:\ngot:  %s\nwant: %s", devices, got, want)
		}
	}
}

// Where systemd would allow on cgroup v1 what the rules deny, the container is in a group below, which that does not reach.
//
//spec:46,49
func TestShieldedDevices(t *testing.T) {
	for rules, shielded := range map[string]bool{
		`[]`:                              false,
		`[{"allow":true,"access":"rwm"}]`: false,
		`[{"allow":true,"access":"rwm"},{"allow":false,"type":"c","major":1,"minor":99,"access":"rwm"}]`: true,
		`[{"allow":true,"type":"c","minor":99,"access":"r"}]`:                                            true,
	} {
		config := `{"linux":{"cgroupsPath":":p:x","resources":{"devices":` + rules + `}}}`
		for name, at := range map[string]string{"v1": "/sys/fs/cgroup/devices", "v2": ""} {
			p, complaints := unitOf(t, machine(name), config)
			below := strings.Contains(p.String(), at+"/system.slice/p-x.scope/devices/devices.")
			if len(complaints) > 0 || below != (shielded && at != "") {
				t.Errorf("%s on %s: %v\n%s", rules, name, complaints, p)
			}
		}
	}
}

//spec:48
func TestAnnotatedProperties(t *testing.T) {
	for in, want := range map[string]string{
		`{"CPUWeight":"uint64 50"}`:                        "CPUWeight uint64 50",
		`{"KillSignal":"9"}`:                               "KillSignal 9",
		`{"CollectMode":"'inactive'"}`:                     "CollectMode 'inactive'",
		`{"Description":"\"it's\""}`:                       `Description 'it\'s'`,
		`{"SendSIGHUP":"true"}`:                            "SendSIGHUP true",
		`{"After":"['a.service', 'b.service']"}`:           "After ['a.service', 'b.service']",
		`{"Wants":"@as []"}`:                               "Wants @as []",
		`{"DeviceAllow":"[('/dev/null', 'rw')]"}`:          "DeviceAllow [('/dev/null', 'rw')]",
		`{"TimeoutStopSec":"7"}`:                           "TimeoutStopUSec uint64 7000000",
		`{"TimeoutStopSec":"1.5"}`:                         "TimeoutStopUSec uint64 1500000",
		`{"TimeoutStopSec":"uint16 3"}`:                    "TimeoutStopUSec uint64 3000000",
		`{"TimeoutStopUSec":"uint64 5"}`:                   "TimeoutStopUSec uint64 5",
		`{"CPUQuotaPerSec":"2"}`:                           "CPUQuotaPerUSec uint64 2000000",
		`{"USec":"2"}`:                                     "USec 2", // no word before Sec
		`{"RuntimeMaxUSec":"5","Bb":"1"}`:                  "!is not the name of a unit's property",
		`{"":"5"}`:                                         "!is not the name of a unit's property",
		`{"Memory Max":"5"}`:                               "!is not the name of a unit's property",
		`{"Memory.Max":"5"}`:                               "!is not the name of a unit's property",
		`{"Memory5":"5"}`:                                  "!is not the name of a unit's property",
		`{"PIDs":"@au []"}`:                                "!is for the runtime to set",
		`{"Slice":"'a.slice'"}`:                            "!is for the runtime to set",
		`{"Delegate":"false"}`:                             "!is for the runtime to set",
		`{"TasksMax":""}`:                                  "!a value is missing",
		`{"TasksMax":"uint64"}`:                            "!a value is missing",
		`{"TasksMax":"uint64 -5"}`:                         "!-5 is no value of type t",
		`{"TasksMax":"uint64 'x'"}`:                        "!a string is no value of type t",
		`{"TasksMax":"5 6"}`:                               "!there is more behind the value",
		`{"After":"a.service"}`:                            "!a string needs quotes",
		`{"After":"['a', 5]"}`:                             "!is no value of type s",
		`{"After":"[]"}`:                                   "!an empty array needs a type",
		`{"After":"['a'"}`:                                 "!parted by commas and end with ]",
		`{"TimeoutStopSec":"-1"}`:                          "!is not a number of seconds",
		`{"TimeoutStopSec":"'1min'"}`:                      "!is not a number of seconds",
		`{"TimeoutStopSec":"uint64 18446744073709551615"}`: "!is not a number of seconds",
		`{"TimeoutStopSec":"1e300"}`:                       "!is not a number of seconds",
	} {
		var given map[string]string
		if err := json.Unmarshal([]byte(in), &given); err != nil {
			t.Fatal(err)
		}
		annotations := map[string]string{"org.systemd.propertyx": "?", "other": "?"}
		for name, value := range given {
			annotations[PropertyAnnotations+name] = value
		}
		p, complaints := NewPlan(&specs.Spec{Annotations: annotations}, "id", v2Facts(), Options{Manager: ManagerSystemd})
		if refused, ok := strings.CutPrefix(want, "!"); ok {
			field := slices.Sorted(maps.Keys(given))[0]
			if len(complaints) != 1 || !strings.Contains(complaints[0].Msg, refused) || complaints[0].Hint == "" ||
				complaints[0].Field != fault.Pointer("/annotations").At(PropertyAnnotations+field) {
				t.Errorf("%s: %v", in, complaints)
			}
			continue
		}
		if len(complaints) > 0 {
			t.Errorf("%s: %v", in, complaints)
			continue
		}
		last := p.Unit.Properties[len(p.Unit.Properties)-1]
		if got := last.Name + " " + last.Value.String(); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}

// Without systemd nobody reads the annotations.
func TestAnnotationsOfAnotherManager(t *testing.T) {
	spec := &specs.Spec{Annotations: map[string]string{PropertyAnnotations + "TasksMax": "?"}}
	if p, complaints := NewPlan(spec, "id", v2Facts(), Options{}); len(complaints) > 0 || p.Unit != nil {
		t.Errorf("%v, %v", p.Unit, complaints)
	}
}

// An ordinary user's containers are units of its own systemd, below that one's group.
//
//spec:46
func TestUnitsOfAnOrdinaryUser(t *testing.T) {
	user := func(change func(*host.Facts)) host.Facts {
		f := v2Facts()
		f.EUID, f.Systemd = 1000, host.Systemd{Foreign: true, UID: 1000}
		change(&f)
		return f
	}
	const nominal = "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/"
	for _, c := range []struct {
		name      string
		facts     host.Facts
		opt       Options
		path, dir string
	}{
		{"nobody answers", user(func(*host.Facts) {}), Options{}, "", nominal + "user.slice/berth-id.scope"},
		{"elsewhere", user(func(f *host.Facts) { f.Systemd.UserGroup = "/a.service" }), Options{}, "b-c.slice:p:x", "/sys/fs/cgroup/a.service/b.slice/b-c.slice/p-x.scope"},
		{"part of the tree", user(func(f *host.Facts) { f.Systemd.UserGroup, f.Cgroup.V2Root = "/b/a.service", "/b" }), Options{}, "::x", "/sys/fs/cgroup/a.service/user.slice/x.scope"},
		{"root that asks for it", user(func(f *host.Facts) { f.EUID, f.Systemd.Foreign = 0, false }), Options{Rootless: RootlessYes}, "::x", nominal + "user.slice/x.scope"},
		{"root of a user namespace", user(func(f *host.Facts) { f.EUID, f.UserNS = 0, true }), Options{}, "::x", nominal + "user.slice/x.scope"},
		{"root of a user namespace with its own systemd", user(func(f *host.Facts) { f.EUID, f.UserNS, f.Systemd.Foreign = 0, true, false }), Options{}, "::x", "/sys/fs/cgroup/system.slice/x.scope"},
	} {
		c.opt.Manager = ManagerSystemd
		p, complaints := NewPlan(&specs.Spec{Linux: &specs.Linux{CgroupsPath: c.path}}, "id", c.facts, c.opt)
		if len(complaints) > 0 || len(p.Dirs) != 1 || p.Dirs[0].Path != c.dir || p.makes(p.Dirs[0]) {
			t.Errorf("%s: %v, %v", c.name, complaints, p.Dirs)
			continue
		}
		ofUser := !strings.Contains(c.dir, "system.slice")
		if p.Unit.User != ofUser || p.State().UserUnit != ofUser || ofUser != strings.Contains(p.String(), "of the user's own systemd") {
			t.Errorf("%s: %+v", c.name, p.Unit)
		}
	}
}

// What is not delegated is refused with the way out, what only root can do is left out.
func TestLimitsOfAnOrdinaryUser(t *testing.T) {
	facts := v2Facts()
	facts.EUID, facts.Systemd = 1000, host.Systemd{Foreign: true, UID: 1000, UserControllers: []string{"memory", "pids"}}
	p, complaints := unitOf(t, facts, `{"linux":{"resources":{"pids":{"limit":9},"devices":[{"allow":false,"access":"rwm"}]}}}`)
	got := p.String()
	if len(complaints) > 0 || !strings.Contains(got, "property TasksMax uint64 9") || !strings.Contains(got, "berth-id.scope memory pids\n") || strings.Contains(got, "evice") {
		t.Errorf("%v\n%s", complaints, got)
	}
	_, complaints = unitOf(t, facts, `{"linux":{"resources":{"cpu":{"cpus":"0"}}}}`)
	if len(complaints) != 1 || complaints[0].Field != "/linux/resources/cpu/cpus" ||
		!strings.Contains(complaints[0].Msg, "no cpuset controller is delegated to this user's systemd") ||
		!strings.Contains(complaints[0].Hint, "Delegate=cpu cpuset io memory pids") {
		t.Errorf("%v", complaints)
	}
	mapped := `{"process":{"user":{"uid":7}},"linux":{"namespaces":[{"type":"cgroup"},{"type":"user"}],"uidMappings":[{"containerID":0,"hostID":100000,"size":10}]},
		"mounts":[{"destination":"/sys/fs/cgroup","type":"cgroup","source":"cgroup"}]}`
	if p, _ = unitOf(t, facts, mapped); p.Delegation != nil {
		t.Errorf("an ordinary user cannot give a group away: %v", p.Delegation)
	}
}

// Groups of cgroup v1 are not for users.
func TestNoUnitOnV1(t *testing.T) {
	facts := machine("hybrid")
	facts.EUID = 1000
	p, complaints := unitOf(t, facts, `{}`)
	if len(complaints) > 0 || p.Unit != nil || len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0].Msg, "on cgroup v2 only") {
		t.Errorf("%v, %v, %v", p.Unit, complaints, p.Warnings)
	}
}
