package cgroups

import (
	"encoding/json"
	"strings"
	"testing"

	"berth/libcontainer/fault"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"golang.org/x/sys/unix"
)

// TestPlanUpdate: what a change writes beside limits that hold already, and
// what is remembered of both.
func TestPlanUpdate(t *testing.T) {
	for _, tt := range []struct{ machine, now, change, writes, merged string }{
		// Nothing, said in several ways.
		{"v1", `{"pids":{"limit":5}}`, `{}`, "", `{"pids":{"limit":5}}`},
		{"v2", `{}`, `{"memory":{"limit":0,"swap":0},"cpu":{"shares":0,"quota":0,"cpus":""},"pids":{"limit":0},"blockIO":{"weight":0}}`, "", ``},
		{"v1", `{"memory":{"limit":9}}`, `{"memory":{"limit":0}}`, "", `{"memory":{"limit":9}}`},

		// Halves: cpu.max takes both, v1 has a file for each.
		{"v2", `{"cpu":{"quota":1000,"period":50000}}`, `{"cpu":{"quota":2000}}`,
			"cpu.max 2000 50000   # /linux/resources/cpu/quota", `{"cpu":{"quota":2000,"period":50000}}`},
		{"v2", `{"cpu":{"quota":1000,"period":50000}}`, `{"cpu":{"period":60000}}`,
			"cpu.max 1000 60000   # /linux/resources/cpu/period", `{"cpu":{"quota":1000,"period":60000}}`},
		{"v2", `{"cpu":{"quota":1000}}`, `{"cpu":{"quota":-1}}`,
			"cpu.max max 100000   # /linux/resources/cpu/quota", `{"cpu":{"quota":-1}}`},
		{"v1", `{"cpu":{"quota":1000,"period":50000}}`, `{"cpu":{"quota":2000}}`,
			"cpu.cfs_quota_us 2000   # /linux/resources/cpu/quota", `{"cpu":{"quota":2000,"period":50000}}`},
		{"hybrid", `{"cpu":{"quota":1000,"period":50000}}`, `{"cpu":{"period":60000}}`,
			"cpu.cfs_period_us 60000   # /linux/resources/cpu/period", `{"cpu":{"quota":1000,"period":60000}}`},

		// Swap is counted with memory in the config, and without on v2.
		{"v2", `{"memory":{"limit":1000,"swap":1000}}`, `{"memory":{"swap":5000}}`,
			"memory.swap.max 4000   # /linux/resources/memory/swap", `{"memory":{"limit":1000,"swap":5000}}`},
		{"v1", `{"memory":{"limit":1000,"swap":1000}}`, `{"memory":{"swap":5000}}`,
			"memory.memsw.limit_in_bytes 5000   # /linux/resources/memory/swap", `{"memory":{"limit":1000,"swap":5000}}`},
		{"v2", `{"memory":{"limit":1000,"checkBeforeUpdate":true}}`, `{"memory":{"limit":2000}}`,
			"memory.max 2000   # /linux/resources/memory/limit, if above memory.current", `{"memory":{"limit":2000,"checkBeforeUpdate":true}}`},
		{"v2", `{"memory":{"limit":1000,"checkBeforeUpdate":true}}`, `{"memory":{"limit":2000,"checkBeforeUpdate":false}}`,
			"memory.max 2000   # /linux/resources/memory/limit", `{"memory":{"limit":2000,"checkBeforeUpdate":false}}`},
		{"v1", `{"memory":{"limit":1000,"swap":2000}}`, `{"memory":{"limit":-1}}`,
			"memory.memsw.limit_in_bytes -1   # /linux/resources/memory/limit, where the kernel has it\n" +
				"memory.limit_in_bytes -1   # /linux/resources/memory/limit", `{"memory":{"limit":-1,"swap":-1}}`},
		{"v1", `{}`, `{"memory":{"limit":1000,"swap":2000}}`,
			"memory.limit_in_bytes 1000   # /linux/resources/memory/limit\nmemory.memsw.limit_in_bytes 2000   # /linux/resources/memory/swap",
			`{"memory":{"limit":1000,"swap":2000}}`},

		{"v2", `{"pids":{"limit":5}}`, `{"pids":{"limit":-1}}`, "pids.max max   # /linux/resources/pids/limit", `{"pids":{"limit":-1}}`},
		{"v2", `{"devices":[{"allow":true,"access":"rwm"}]}`, `{"devices":[{"allow":false,"access":"rwm"}],"cpu":{"idle":1}}`,
			"cpu.idle 1   # /linux/resources/cpu/idle", `{"devices":[{"allow":true,"access":"rwm"}],"cpu":{"idle":1}}`},
		{"v2", `{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1},{"major":8,"minor":16,"rate":2}]},"unified":{"memory.high":"1"}}`,
			`{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":16,"rate":3},{"major":8,"minor":32,"rate":4}]},"unified":{"memory.low":"2"}}`,
			"io.max 8:16 rbps=3   # /linux/resources/blockIO/throttleReadBpsDevice/0/rate\n" +
				"io.max 8:32 rbps=4   # /linux/resources/blockIO/throttleReadBpsDevice/1/rate\n" +
				"memory.low 2   # /linux/resources/unified/memory.low",
			`{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1},{"major":8,"minor":16,"rate":3},{"major":8,"minor":32,"rate":4}]},` +
				`"unified":{"memory.high":"1","memory.low":"2"}}`},
	} {
		facts := machine(tt.machine)
		s := State{Dirs: dirs(facts.Cgroup, "/x", true)}
		r, merged, complaints := PlanUpdate(resourcesOf(t, tt.now), resourcesOf(t, tt.change), s, facts)
		if len(complaints) > 0 {
			t.Errorf("%s, %s then %s: %v", tt.machine, tt.now, tt.change, complaints)
			continue
		}
		if got := fileLines(append(r.Writes, r.Late...)); got != tt.writes {
			t.Errorf("%s, %s then %s writes\n%s\nwant\n%s", tt.machine, tt.now, tt.change, got, tt.writes)
		}
		raw, err := json.Marshal(merged)
		if err != nil {
			t.Fatal(err)
		}
		if tt.merged != "" && string(raw) != normal(t, tt.merged) {
			t.Errorf("%s, %s then %s comes to\n%s\nwant\n%s", tt.machine, tt.now, tt.change, raw, tt.merged)
		}
	}
}

// fileLines are writes without the directories.
func fileLines(writes []Write) string {
	var out []string
	for _, w := range writes {
		out = append(out, strings.TrimPrefix(w.String(), "write "+w.Dir+"/"))
	}
	return strings.Join(out, "\n")
}

// normal is the document as encoding/json would write the same resources.
func normal(t *testing.T, doc string) string {
	t.Helper()
	raw, err := json.Marshal(resourcesOf(t, doc))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// TestPlanUpdateRefuses: complaints are about the change, which has to fit
// what holds.
func TestPlanUpdateRefuses(t *testing.T) {
	for _, tt := range []struct{ machine, now, change, field string }{
		{"v2", `{"memory":{"limit":2000}}`, `{"memory":{"swap":1000}}`, "/linux/resources/memory/swap"},
		{"v2", `{}`, `{"memory":{"swap":1000}}`, "/linux/resources/memory/swap"},
		{"v1", `{}`, `{"cpu":{"idle":2}}`, "/linux/resources/cpu/idle"},
		{"bare", `{}`, `{"cpu":{"shares":2}}`, "/linux/resources/cpu/shares"},
	} {
		facts := machine(tt.machine)
		_, _, complaints := PlanUpdate(resourcesOf(t, tt.now), resourcesOf(t, tt.change), State{Dirs: dirs(facts.Cgroup, "/x", true)}, facts)
		if len(complaints) != 1 || complaints[0].Field != fault.Pointer(tt.field) {
			t.Errorf("%s then %s: %v", tt.now, tt.change, complaints)
		}
	}
}

// TestChanges: what the files hold already is not written, and everything
// else is set back to what it was, in the opposite order.
func TestChanges(t *testing.T) {
	files := map[string]string{
		"pids.max":                       "5\n",
		"cpu.max":                        "1000 50000\n",
		"cpuset.cpus":                    "\n",
		"memory.limit_in_bytes":          "9223372036854771712\n",
		"memory.oom_control":             "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n",
		"io.weight":                      "default 100\n8:0 50\n",
		"io.max":                         "8:0 rbps=1 wbps=max riops=max wiops=7\n",
		"blkio.throttle.read_bps_device": "8:0 10\n",
		"rdma.max":                       "mlx hca_handle=max hca_object=3\n",
		"net_prio.ifpriomap":             "lo 0\neth0 5\n",
	}
	read := func(_, file string) (string, error) {
		text, ok := files[file]
		if !ok {
			return "", unix.ENOENT
		}
		return text, nil
	}
	for _, tt := range []struct{ file, value, todo, back string }{
		{"pids.max", "5", "", ""},
		{"pids.max", "6", "pids.max 6", "pids.max 5"},
		{"cpu.max", "1000 60000", "cpu.max 1000 60000", "cpu.max 1000 50000"},
		{"cpuset.cpus", "0", "cpuset.cpus 0", `cpuset.cpus "\n"`},
		{"memory.limit_in_bytes", "10", "memory.limit_in_bytes 10", "memory.limit_in_bytes 9223372036854771712"},
		{"memory.oom_control", "1", "memory.oom_control 1", "memory.oom_control 0"},
		{"memory.oom_control", "0", "", ""},
		{"io.weight", "100", "", ""},
		{"io.weight", "200", "io.weight 200", "io.weight 100"},
		{"io.weight", "8:0 60", "io.weight 8:0 60", "io.weight 8:0 50"},
		{"io.max", "8:0 rbps=2 wiops=7", "io.max 8:0 rbps=2 wiops=7", "io.max 8:0 rbps=1 wiops=7"},
		{"io.max", "8:16 rbps=2", "io.max 8:16 rbps=2", "io.max 8:16 rbps=max"},
		{"io.max", "8:0 wiops=7", "", ""},
		{"blkio.throttle.read_bps_device", "8:0 11", "blkio.throttle.read_bps_device 8:0 11", "blkio.throttle.read_bps_device 8:0 10"},
		{"blkio.throttle.read_bps_device", "8:16 11", "blkio.throttle.read_bps_device 8:16 11", "blkio.throttle.read_bps_device 8:16 0"},
		{"rdma.max", "mlx hca_object=4", "rdma.max mlx hca_object=4", "rdma.max mlx hca_handle=max hca_object=3"},
		{"net_prio.ifpriomap", "eth0 6", "net_prio.ifpriomap eth0 6", "net_prio.ifpriomap eth0 5"},
		{"devices.allow", "a", "devices.allow a", ""},
	} {
		todo, back := changes(Resources{Writes: []Write{{Dir: "/g", File: tt.file, Value: tt.value}}}, read)
		if fileLines(todo.Writes) != tt.todo || fileLines(back.Writes) != tt.back {
			t.Errorf("%s %s: does %q, takes back with %q", tt.file, tt.value, fileLines(todo.Writes), fileLines(back.Writes))
		}
	}

	todo, back := changes(Resources{
		Writes: []Write{{Dir: "/g", File: "io.bfq.weight", Value: "10", Else: &Write{Dir: "/g", File: "io.weight", Value: "1"}},
			{Dir: "/g", File: "memory.limit_in_bytes", Value: "10"}},
		Late: []Write{{Dir: "/g", File: "pids.max", Value: "6"}},
	}, read)
	if fileLines(todo.Writes) != "io.weight 1\nmemory.limit_in_bytes 10" || fileLines(todo.Late) != "pids.max 6" ||
		fileLines(back.Writes) != "pids.max 5\nmemory.limit_in_bytes 9223372036854771712\nio.weight 100" {
		t.Errorf("%v\n%v", todo, back)
	}
}

// TestUpdateSetsBack: what stands before a write that the kernel refuses is
// taken back, and unchanged files are left alone.
func TestUpdateSetsBack(t *testing.T) {
	facts := needRoot(t)
	for _, c := range []string{"memory", "cpu", "pids"} {
		if d, ok := (State{Dirs: dirs(facts.Cgroup, "/x", true)}).find(c); !ok || d.V2 {
			t.Skip("[cgroup1] no v1 " + c + " controller")
		}
	}
	const before = `{"memory":{"limit":67108864,"swap":134217728},"cpu":{"shares":700},"pids":{"limit":50}}`
	g := create(t, testPlan(t, facts, before))
	if err := g.Late(0); err != nil {
		t.Fatal(err)
	}
	plan := func(change string) Resources {
		r, _, complaints := PlanUpdate(resourcesOf(t, before), resourcesOf(t, change), g.State(), facts)
		if len(complaints) > 0 {
			t.Fatal(complaints)
		}
		return r
	}
	todo, back, err := g.Changes(plan(before))
	if err != nil || len(todo.Writes)+len(todo.Late)+len(back.Writes) != 0 {
		t.Errorf("to do again: %v, %v, %v", todo, back, err)
	}
	// The kernel has no such CPU; memory grows beyond the old memory+swap.
	todo, back, err = g.Changes(plan(`{"memory":{"limit":268435456,"swap":268435456},"cpu":{"shares":300,"cpus":"9999"},"pids":{"limit":9}}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Set(todo); err == nil {
		t.Fatal("there is a CPU 9999")
	}
	if got := content(t, g.State(), "cpu", "cpu.shares"); got != "300" {
		t.Errorf("before it is taken back: shares %s", got)
	}
	if err := g.Set(back); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"memory.limit_in_bytes": "67108864", "memory.memsw.limit_in_bytes": "134217728", "cpu.shares": "700", "pids.max": "50",
	} {
		controller, _, _ := strings.Cut(file, ".")
		if got := content(t, g.State(), controller, file); got != want {
			t.Errorf("%s: %s", file, got)
		}
	}
}

// FuzzPlanUpdate: whatever holds and whatever is asked for, writes stay in
// the groups, and asking for nothing afterwards changes nothing.
func FuzzPlanUpdate(f *testing.F) {
	f.Add(`{"memory":{"limit":5,"swap":9},"cpu":{"quota":1000}}`, `{"memory":{"swap":-1},"cpu":{"period":2000}}`, "max 100000\n", byte(0))
	f.Add(`{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":1}]}}`,
		`{"blockIO":{"weight":10,"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":2}]},"unified":{"io.max":"8:0 rbps=3\n8:1 x"}}`, "8:0 rbps=1\n", byte(1))
	f.Add(`{"rdma":{"a":{"hcaHandles":1}}}`, `{"rdma":{"a":{"hcaObjects":2}},"memory":{"disableOOMKiller":true},"network":{"priorities":[{"name":"lo","priority":3}]}}`,
		"oom_kill_disable 0\n", byte(2))
	f.Fuzz(func(t *testing.T, now, change, text string, which byte) {
		var a, b specs.LinuxResources
		if json.Unmarshal([]byte(now), &a) != nil || json.Unmarshal([]byte(change), &b) != nil {
			return
		}
		facts := machine([]string{"v1", "v2", "hybrid", "bare"}[which%4])
		s := State{Dirs: dirs(facts.Cgroup, "/x", true)}
		r, merged, complaints := PlanUpdate(&a, &b, s, facts)
		if len(complaints) > 0 {
			return
		}
		todo, back := changes(r, func(string, string) (string, error) { return text, nil })
		for _, w := range append(append(todo.Writes, todo.Late...), back.Writes...) {
			if strings.Contains(w.File, "/") || !strings.HasPrefix(w.Dir, "/sys/fs/cgroup/") || w.Value == "" && w.Again {
				t.Errorf("%v", w)
			}
		}
		r, same, complaints := PlanUpdate(merged, &specs.LinuxResources{}, s, facts)
		if len(r.Writes)+len(r.Late)+len(complaints) > 0 {
			t.Errorf("nothing asked for: %v, %v", r, complaints)
		}
		first, _ := json.Marshal(merged)
		if again, _ := json.Marshal(same); string(again) != string(first) {
			t.Errorf("%s\nthen\n%s", first, again)
		}
	})
}
