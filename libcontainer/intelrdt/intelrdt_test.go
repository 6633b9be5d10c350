package intelrdt

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/libcontainer/host"
)

func plan(t *testing.T, fragment, resctrl string) (*Plan, fault.List) {
	t.Helper()
	var linux specs.Linux
	if err := json.Unmarshal([]byte(fragment), &linux); err != nil {
		t.Fatal(err)
	}
	return NewPlan(&specs.Spec{Linux: &linux}, "id", host.Facts{Resctrl: resctrl})
}

// TestPlan: which group, what is written to it and in which order.
//
//spec:70,71,72
func TestPlan(t *testing.T) {
	for _, c := range []struct{ fragment, want string }{
		{`{}`, ""},
		{`{"intelRdt":{}}`, "make group /r/id   # /linux/intelRdt"},
		{`{"intelRdt":{"closID":"/"}}`, "find group /r   # /linux/intelRdt/closID"},
		{`{"intelRdt":{"closID":"gold"}}`, "find group /r/gold   # /linux/intelRdt/closID"},
		{`{"intelRdt":{"l3CacheSchema":"L3:0=f"}}`, "make group /r/id   # /linux/intelRdt\nschemata L3:0=f   # /linux/intelRdt/l3CacheSchema"},
		{`{"intelRdt":{"closID":"gold","schemata":["L2:0=3","MB:0=20"],"memBwSchema":"MB:0=10","l3CacheSchema":"L3:0=f"}}`,
			"make, or find with these schemata, group /r/gold   # /linux/intelRdt/closID\n" +
				"schemata L3:0=f   # /linux/intelRdt/l3CacheSchema\nschemata MB:0=10   # /linux/intelRdt/memBwSchema\n" +
				"schemata L2:0=3   # /linux/intelRdt/schemata/0\nschemata MB:0=20   # /linux/intelRdt/schemata/1"},
		{`{"intelRdt":{"enableMonitoring":true}}`,
			"make group /r/id   # /linux/intelRdt\nmake group /r/id/mon_groups/id   # /linux/intelRdt/enableMonitoring"},
		{`{"intelRdt":{"closID":"/","enableMonitoring":true}}`,
			"find group /r   # /linux/intelRdt/closID\nmake group /r/mon_groups/id   # /linux/intelRdt/enableMonitoring"},
	} {
		p, complaints := plan(t, c.fragment, "/r")
		if got := strings.Join(p.Lines(), "\n"); got != c.want || complaints != nil {
			t.Errorf("%s:\n%s\n%v", c.fragment, got, complaints)
		}
	}
}

// TestPlanWithoutResctrl: "If no mounted resctrl pseudo-filesystem is
// available … the runtime MUST generate an error".
//
//spec:70
func TestPlanWithoutResctrl(t *testing.T) {
	_, complaints := plan(t, `{"intelRdt":{"closID":"x"}}`, "")
	if len(complaints) != 1 || complaints[0].Code != "no-resctrl" || complaints[0].Field != "/linux/intelRdt" {
		t.Errorf("complaints: %v", complaints)
	}
	if p, complaints := plan(t, `{}`, ""); p != nil || complaints != nil {
		t.Errorf("without intelRdt: %v %v", p, complaints)
	}
}

// fakeKernel makes a resctrl tree in a directory: a new group has files, and
// files do not keep rmdir(2) from removing one.
func fakeKernel(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	fill := func(dir string) {
		for name, text := range map[string]string{"tasks": "", "schemata": "    L3:0=ff;1=ff\n    MB:0=100;1=100\n"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if filepath.Base(filepath.Dir(dir)) != "mon_groups" {
			if err := os.Mkdir(filepath.Join(dir, "mon_groups"), 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	fill(root)
	for name, text := range map[string]string{"last_cmd_status": "ok\n", "MB/bandwidth_gran": "10\n"} {
		name = filepath.Join(root, "info", name)
		os.MkdirAll(filepath.Dir(name), 0o755)
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	mkdir = func(path string, mode uint32) error {
		err := unix.Mkdir(path, mode)
		if err == nil {
			fill(path)
		}
		return err
	}
	rmdir = func(path string) error {
		for _, name := range []string{"tasks", "schemata"} {
			unix.Unlink(filepath.Join(path, name))
		}
		unix.Rmdir(filepath.Join(path, "mon_groups"))
		return unix.Rmdir(path)
	}
	t.Cleanup(func() { mkdir, rmdir = unix.Mkdir, unix.Rmdir })
	return root
}

// contains tells whether one of the lines of root/name is line.
func contains(t *testing.T, root, name, line string) bool {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return slices.Contains(strings.Split(string(raw), "\n"), line)
}

func groups(t *testing.T, root string) string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		rel, _ := filepath.Rel(root, path)
		if d.IsDir() && !strings.HasPrefix(rel, "info") && filepath.Base(rel) != "mon_groups" && rel != "." {
			out = append(out, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(out, " ")
}

// made is what create does, up to and with Apply.
func made(t *testing.T, fragment, root string) (State, error) {
	t.Helper()
	p, complaints := plan(t, fragment, root)
	if complaints != nil {
		t.Fatal(complaints)
	}
	s, err := p.Claim()
	if err != nil {
		return s, err
	}
	return s, p.Apply(4242)
}

// TestOwnGroup: made with its schemata and its monitoring group, joined by the
// process, and gone after delete.
//
//spec:70,71,72
func TestOwnGroup(t *testing.T) {
	root := fakeKernel(t)
	s, err := made(t, `{"intelRdt":{"l3CacheSchema":"L3:0=f","memBwSchema":"MB:0=20","schemata":["L3:1=1"],"enableMonitoring":true}}`, root)
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"id", "id/mon_groups/id"} {
		if !contains(t, root, dir+"/tasks", "4242") {
			t.Errorf("the process is not in %s", dir)
		}
	}
	raw, _ := os.ReadFile(filepath.Join(root, "id/schemata"))
	if !strings.HasSuffix(string(raw), "\nL3:0=f\nMB:0=20\nL3:1=1\n") {
		t.Errorf("written:\n%s", raw)
	}
	if contains(t, root, "tasks", "4242") || contains(t, root, "schemata", "L3:0=f") {
		t.Error("the default group was written to")
	}
	if err := s.Add(4343); err != nil || !contains(t, root, "id/tasks", "4343") || !contains(t, root, "id/mon_groups/id/tasks", "4343") {
		t.Errorf("one more process: %v", err)
	}
	s.Shared = "" // as in ready
	if err := s.Delete(); err != nil || groups(t, root) != "" {
		t.Errorf("after delete: %q, %v", groups(t, root), err)
	}
	if err := s.Delete(); err != nil {
		t.Errorf("deleted twice: %v", err)
	}
}

// TestNamedGroup: made where it is missing, held to its schemata where it is
// not, and never removed.
//
//spec:70,71
func TestNamedGroup(t *testing.T) {
	root := fakeKernel(t)
	const fragment = `{"intelRdt":{"closID":"gold","schemata":["L3:0=f"],"enableMonitoring":true}}`
	s, err := made(t, fragment, root)
	if err != nil {
		t.Fatal(err)
	}
	if !contains(t, root, "gold/tasks", "4242") || !contains(t, root, "gold/schemata", "L3:0=f") {
		t.Error("the group was not made")
	}
	s.Shared = ""
	if err := s.Delete(); err != nil || groups(t, root) != "gold" {
		t.Errorf("after delete: %q, %v", groups(t, root), err)
	}
	schemata := filepath.Join(root, "gold/schemata")
	os.WriteFile(schemata, []byte("    L3:0=0f;1=ff\n    MB:0= 20;1=100\n"), 0o644)
	for _, same := range []string{`["L3:0=f"]`, `["L3:0=0f;1=0xff","MB:0=15"]`, `["MB:1=100"]`} {
		if _, err := made(t, `{"intelRdt":{"closID":"gold","schemata":`+same+`}}`, root); err != nil {
			t.Errorf("%s: %v", same, err)
		}
	}
	if contains(t, root, "gold/schemata", "L3:0=f") {
		t.Error("a group that is there was written to")
	}
	for _, other := range []string{`["L3:0=1"]`, `["L3:0=f;2=f"]`, `["L2:0=f"]`, `["MB:0=30"]`, `["L3:0=f","MB:0=40"]`} {
		s, err := made(t, `{"intelRdt":{"closID":"gold","schemata":`+other+`}}`, root)
		var e *fault.Error
		if !errors.As(err, &e) || e.Code != "schemata-differ" || !strings.HasPrefix(string(e.Field), "/linux/intelRdt/schemata/") {
			t.Errorf("%s: %v", other, err)
		}
		if s.Delete(); groups(t, root) != "gold" {
			t.Fatalf("%s: the group is gone", other)
		}
	}
}

// TestFailedCreate: a group that a failing create made goes, unless somebody
// else has come to use it.
//
//spec:70
func TestFailedCreate(t *testing.T) {
	root := fakeKernel(t)
	const fragment = `{"intelRdt":{"closID":"gold","schemata":["L3:0=f"]}}`
	s, err := made(t, fragment, root)
	if err != nil {
		t.Fatal(err)
	}
	if s.Delete(); groups(t, root) != "gold" {
		t.Error("a group with somebody in it was removed")
	}
	os.WriteFile(filepath.Join(root, "gold/tasks"), nil, 0o644)
	if err := s.Delete(); err != nil || groups(t, root) != "" {
		t.Errorf("left: %q, %v", groups(t, root), err)
	}
}

// TestExistingGroup: without schemata a group has to be there, and stays as it
// is.
//
//spec:70
func TestExistingGroup(t *testing.T) {
	root := fakeKernel(t)
	if err := mkdir(filepath.Join(root, "gold"), 0o755); err != nil {
		t.Fatal(err)
	}
	for id, dir := range map[string]string{"gold": "gold", "/": "."} {
		before, _ := os.ReadFile(filepath.Join(root, dir, "schemata"))
		s, err := made(t, `{"intelRdt":{"closID":"`+id+`"}}`, root)
		after, _ := os.ReadFile(filepath.Join(root, dir, "schemata"))
		if err != nil || !contains(t, root, dir+"/tasks", "4242") || string(before) != string(after) {
			t.Errorf("%s: %v", id, err)
		}
		if err := s.Delete(); err != nil || groups(t, root) != "gold" {
			t.Errorf("%s: after delete: %q, %v", id, groups(t, root), err)
		}
	}
}

// TestRefused names the entry and what is to be done, and leaves no group.
//
//spec:70,71,72
func TestRefused(t *testing.T) {
	root := fakeKernel(t)
	if err := mkdir(filepath.Join(root, "id"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := mkdir(filepath.Join(root, "mon_groups/id"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ fragment, want string }{
		{`{"intelRdt":{"closID":"none"}}`, "find resctrl group ROOT/none: no such file or directory (config.json /linux/intelRdt/closID); " +
			"without schemata the group has to be there: make it with mkdir, or give schemata"},
		{`{"intelRdt":{}}`, "make resctrl group ROOT/id: file exists (config.json /linux/intelRdt); " +
			"a group of the container's name is there and not its own: remove it, or name it as closID"},
		{`{"intelRdt":{"closID":"/","enableMonitoring":true}}`, "make resctrl group ROOT/mon_groups/id: file exists " +
			"(config.json /linux/intelRdt/enableMonitoring); a group of the container's name is there and not its own: remove it, or name it as closID"},
		{`{"intelRdt":{"closID":"id","schemata":["L3:0=1"]}}`, "find resctrl group ROOT/id: it is there with other schemata: " +
			"L3:0=ff;1=ff MB:0=100;1=100 (config.json /linux/intelRdt/schemata/0); use another closID, or leave the schemata out to use the group as it is"},
	} {
		s, err := made(t, c.fragment, root)
		if err == nil || strings.ReplaceAll(err.Error(), root, "ROOT") != c.want {
			t.Errorf("%s:\n%v", c.fragment, err)
		}
		if s.Delete(); groups(t, root) != "id mon_groups/id" {
			t.Fatalf("%s: left %q", c.fragment, groups(t, root))
		}
	}
}

// TestKernelsOwnWords: what resctrl says of a refused line is in the error.
//
//spec:71
func TestKernelsOwnWords(t *testing.T) {
	root := fakeKernel(t)
	fill := mkdir
	mkdir = func(path string, mode uint32) error {
		err := fill(path, mode)
		os.Remove(filepath.Join(path, "schemata"))
		os.Mkdir(filepath.Join(path, "schemata"), 0o755) // writing to it fails, for root, too
		os.WriteFile(filepath.Join(root, "info/last_cmd_status"), []byte("Non-hex character in the mask x\n"), 0o644)
		return err
	}
	_, err := made(t, `{"intelRdt":{"schemata":["L3:0=x"]}}`, root)
	var e *fault.Error
	if !errors.As(err, &e) || e.Msg != "Non-hex character in the mask x" || e.Field != "/linux/intelRdt/schemata/0" {
		t.Errorf("got %v", err)
	}
}

// TestSetSchemata: what update writes to the container's group, and writes
// back.
func TestSetSchemata(t *testing.T) {
	root := fakeKernel(t)
	facts := host.Facts{Resctrl: root}
	s, err := made(t, `{"intelRdt":{"schemata":["L3:0=f;1=f"]}}`, root)
	if err != nil {
		t.Fatal(err)
	}
	os.WriteFile(filepath.Join(root, "id/schemata"), []byte("    L3:0=0f;1=0f\n    MB:0= 20;1=100\n"), 0o644)
	back, err := s.SetSchemata(&specs.LinuxIntelRdt{MemBwSchema: "MB:0=30", L3CacheSchema: "L3:0=1"}, facts)
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := os.ReadFile(filepath.Join(root, "id/schemata"))
	if !strings.HasSuffix(string(raw), "L3:0=1\nMB:0=30\n") {
		t.Errorf("written:\n%s", raw)
	}
	if err := back(); err != nil {
		t.Fatal(err)
	}
	raw, _ = os.ReadFile(filepath.Join(root, "id/schemata"))
	if !strings.HasSuffix(string(raw), "L3:0=1\nMB:0=30\nL3:0=0f;1=0f\nMB:0= 20;1=100\n") {
		t.Errorf("written back:\n%s", raw)
	}

	change := &specs.LinuxIntelRdt{MemBwSchema: "MB:0=30"}
	for _, c := range []struct {
		s     State
		facts host.Facts
		code  string
	}{
		{s, host.Facts{}, "no-resctrl"}, {State{}, facts, "no-resctrl-group"}, {State{Tasks: []string{root}}, facts, "no-resctrl-group"},
	} {
		var e *fault.Error
		if _, err := c.s.SetSchemata(change, c.facts); !errors.As(err, &e) || e.Code != c.code || e.Field != "/linux/intelRdt/memBwSchema" {
			t.Errorf("%+v: %v", c.s, err)
		}
		if _, err := c.s.SetSchemata(&specs.LinuxIntelRdt{}, c.facts); err != nil {
			t.Error(err)
		}
	}
	if contains(t, root, "schemata", "MB:0=30") {
		t.Error("the default group was written to")
	}
}

// TestStats: the schemata of the container and of everybody else, and what its
// monitoring group has counted.
func TestStats(t *testing.T) {
	root := fakeKernel(t)
	s, err := made(t, `{"intelRdt":{"enableMonitoring":true}}`, root)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"info/L3/cbm_mask": "7ff\n", "info/L3/min_cbm_bits": "1\n", "info/L3/num_closids": "16\n",
		"info/MB/min_bandwidth": "10\n", "info/MB/delay_linear": "1\n", "info/MB/num_closids": "8\n",
		"id/schemata": "    L3:0=f\n    MB:0= 20\n",
		"id/mon_groups/id/mon_data/mon_L3_00/mbm_total_bytes": "300\n", "id/mon_groups/id/mon_data/mon_L3_00/mbm_local_bytes": "200\n",
		"id/mon_groups/id/mon_data/mon_L3_01/llc_occupancy": "4096\n", "id/mon_data/mon_L3_00/llc_occupancy": "7\n",
	} {
		name = filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := json.Marshal(s.Stats(root))
	want := `{"l3_cache_info":{"cbm_mask":"7ff","min_cbm_bits":1,"num_closids":16},"l3_cache_schema_root":"L3:0=ff;1=ff","l3_cache_schema":"L3:0=f",` +
		`"mem_bw_info":{"bandwidth_gran":10,"delay_linear":1,"min_bandwidth":10,"num_closids":8},"mem_bw_schema_root":"MB:0=100;1=100","mem_bw_schema":"MB:0= 20",` +
		`"mbm_stats":[{"mbm_total_bytes":300,"mbm_local_bytes":200}],"cmt_stats":[{"llc_occupancy":4096}]}`
	if err != nil || string(got) != want {
		t.Errorf("got %s\nwant %s\n%v", got, want, err)
	}
	for _, empty := range []Stats{s.Stats(""), State{}.Stats(root)} {
		if got, _ := json.Marshal(empty); string(got) != "{}" {
			t.Errorf("without a group: %s", got)
		}
	}
}

// TestHints: every failure of the kernel that resctrl.rst names says what to
// try.
func TestHints(t *testing.T) {
	for _, c := range []struct {
		op    string
		errno unix.Errno
		word  string
	}{
		{"make resctrl group", unix.EEXIST, "closID"}, {"find resctrl group", unix.ENOENT, "mkdir"},
		{"make resctrl group", unix.ENOENT, "monitoring"}, {"make resctrl group", unix.ENOSPC, "num_closids"},
		{"write \"L3:0=x\" to", unix.EINVAL, "info/"}, {"write \"7\" to", unix.EACCES, "root"}, {"stat", unix.EPERM, "root"},
	} {
		if got := hint(c.op, c.errno); !strings.Contains(got, c.word) {
			t.Errorf("%s, %v: %q", c.op, c.errno, got)
		}
	}
	if got := hint("stat", unix.EIO); got != "" {
		t.Errorf("%q", got)
	}
}
