package cgroups

import (
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"berth/libcontainer/fault"
	"berth/libcontainer/host"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// needRoot skips where no groups can be made.
func needRoot(t *testing.T) host.Facts {
	t.Helper()
	if os.Geteuid() != 0 || testing.Short() {
		t.Skip("[root] needs root")
	}
	facts := host.Probe()
	if facts.Cgroup.Mode() == "none" {
		t.Skip("[cgroup] no control groups are mounted")
	}
	return facts
}

// testGroup is where the tests make their groups: a directory of their own.
func testGroup(t *testing.T) string {
	return "/berth-test-" + strconv.Itoa(os.Getpid()) + "/" + strings.ToLower(strings.ReplaceAll(t.Name(), "/", "-"))
}

func testPlan(t *testing.T, facts host.Facts, resources string) *Plan {
	t.Helper()
	spec := &specs.Spec{Linux: &specs.Linux{CgroupsPath: testGroup(t)}}
	if resources != "" {
		if err := json.Unmarshal([]byte(resources), &spec.Linux.Resources); err != nil {
			t.Fatal(err)
		}
	}
	p, complaints := NewPlan(spec, "id", facts, Options{})
	if len(complaints) > 0 {
		t.Fatal(complaints)
	}
	return p
}

// create makes the groups and has them removed when the test is over.
func create(t *testing.T, p *Plan) *Group {
	t.Helper()
	g, err := Create(p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = g.Kill()
		if err := g.Delete(); err != nil {
			t.Error(err)
		}
		for _, d := range p.Dirs {
			if _, err := os.Stat(filepath.Dir(d.Path)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("%s is left behind", filepath.Dir(d.Path))
			}
		}
	})
	return g
}

// sleeper starts a process to play with.
func sleeper(t *testing.T) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("sleep", "100")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

func content(t *testing.T, s State, controller, file string) string {
	t.Helper()
	d, ok := s.find(controller)
	if !ok {
		t.Fatalf("no group with %s", controller)
	}
	text, err := readFile(d.Path, file)
	if err != nil {
		t.Fatalf("%s/%s: %v", d.Path, file, err)
	}
	return strings.TrimSpace(text)
}

// inGroup tells whether the process is in the directory's group.
func inGroup(t *testing.T, pid int, d Dir) bool {
	t.Helper()
	pids, err := readPids(d.Path)
	if err != nil {
		t.Fatal(err)
	}
	return slices.Contains(pids, pid)
}

func TestLimitsOnV1(t *testing.T) {
	facts := needRoot(t)
	for _, c := range []string{"memory", "cpu", "cpuset", "pids", "devices", "freezer"} {
		if _, ok := facts.Cgroup.Hierarchy(c); !ok {
			t.Skip("[cgroup1] no v1 " + c + " controller")
		}
	}
	p := testPlan(t, facts, `{"memory":{"limit":67108864,"swap":134217728,"swappiness":7},"cpu":{"shares":2048,"quota":50000,"period":100000,"cpus":"0"},
		"pids":{"limit":5},"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":10,"minor":229,"access":"rw"}]}`)
	g := create(t, p)
	s := g.State()
	for _, tt := range []struct{ controller, file, want string }{
		{"memory", "memory.limit_in_bytes", "67108864"},
		{"memory", "memory.memsw.limit_in_bytes", "134217728"},
		{"memory", "memory.swappiness", "7"},
		{"cpu", "cpu.shares", "2048"},
		{"cpu", "cpu.cfs_quota_us", "50000"},
		{"cpu", "cpu.cfs_period_us", "100000"},
		{"cpuset", "cpuset.cpus", "0"},
		{"pids", "pids.max", "max"},
		{"devices", "devices.list", "c 10:229 rw\nc *:* m\nb *:* m\nc 1:3 rwm\nc 1:8 rwm\nc 1:7 rwm\nc 5:0 rwm\nc 1:5 rwm\nc 1:9 rwm\nc 136:* rwm\nc 5:2 rwm"},
	} {
		if got := content(t, s, tt.controller, tt.file); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.file, got, tt.want)
		}
	}
	if content(t, s, "cpuset", "cpuset.mems") == "" {
		t.Error("cpuset.mems is not inherited")
	}
	if err := g.Late(0); err != nil {
		t.Fatal(err)
	}
	if got := content(t, s, "pids", "pids.max"); got != "5" {
		t.Errorf("pids.max %s", got)
	}
	// Raising and lowering both memory limits needs opposite orders.
	for _, r := range []string{`{"limit":268435456,"swap":536870912}`, `{"limit":33554432,"swap":33554432}`, `{"limit":-1}`} {
		res, complaints := PlanResources(resourcesOf(t, `{"memory":`+r+`}`), s, facts)
		if len(complaints) > 0 {
			t.Fatal(complaints)
		}
		if err := g.Set(res); err != nil {
			t.Errorf("%s: %v", r, err)
		}
	}
}

func resourcesOf(t *testing.T, fragment string) *specs.LinuxResources {
	t.Helper()
	r := &specs.LinuxResources{}
	if err := json.Unmarshal([]byte(fragment), r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestLifeOfAGroup(t *testing.T) {
	facts := needRoot(t)
	life(t, facts)
}

// life takes a process through a group on whatever the machine has.
func life(t *testing.T, facts host.Facts) {
	p := testPlan(t, facts, "")
	if g := Open(p.State()); g.Exists() {
		t.Fatal("exists before it is created")
	}
	g := create(t, p)
	if !g.Exists() {
		t.Fatal("does not exist")
	}
	cmd := sleeper(t)
	pid := cmd.Process.Pid
	if err := g.Add(pid); err != nil {
		t.Fatal(err)
	}
	for _, d := range g.State().Dirs {
		if !inGroup(t, pid, d) {
			t.Errorf("%d is not in %s", pid, d.Path)
		}
	}
	if pids, err := g.Procs(); err != nil || !slices.Equal(pids, []int{pid}) {
		t.Errorf("%v %v", pids, err)
	}
	// Busy now: neither a second container nor a deletion is let in.
	var e *fault.Error
	if _, err := Create(p); !errors.As(err, &e) || !strings.Contains(e.Msg, "not empty") {
		t.Errorf("a second container was let into the group: %v", err)
	}
	again := Open(g.State())
	for _, freeze := range []bool{true, false, true} {
		if err := again.Freeze(freeze); err != nil {
			t.Fatal(err)
		}
		if frozen, err := again.Frozen(); err != nil || frozen != freeze {
			t.Errorf("frozen %v %v, want %v", frozen, err, freeze)
		}
	}
	// A group below, as a container with a writable cgroup mount makes it.
	main, _ := g.main()
	if err := os.Mkdir(main.Path+"/below", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := again.Kill(); err != nil { // frozen as it is
		t.Fatal(err)
	}
	state, err := cmd.Process.Wait()
	if err != nil || state.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("%v %v", state, err)
	}
	if err := again.Delete(); err != nil {
		t.Fatal(err)
	}
	if again.Exists() {
		t.Error("exists after its deletion")
	}
	missing(t, again)
}

// missing holds a deleted group to what the comments promise.
func missing(t *testing.T, g *Group) {
	t.Helper()
	if err := g.Delete(); err != nil {
		t.Error(err)
	}
	if err := g.Kill(); err != nil {
		t.Error(err)
	}
	if pids, err := g.Procs(); err != nil || len(pids) != 0 {
		t.Error(pids, err)
	}
	if frozen, err := g.Frozen(); err != nil || frozen {
		t.Error(frozen, err)
	}
	if err := g.Add(os.Getpid()); !errors.Is(err, unix.ENOENT) {
		t.Error(err)
	}
}

func TestDeleteWaitsForTheDying(t *testing.T) {
	g := create(t, testPlan(t, needRoot(t), ""))
	cmd := sleeper(t)
	if err := g.Add(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	go func() {
		time.Sleep(50 * time.Millisecond)
		_ = g.Kill()
		_ = cmd.Wait()
	}()
	if err := g.Delete(); err != nil {
		t.Error(err)
	}
}

func TestLeftOverGroupIsUsedAgain(t *testing.T) {
	p := testPlan(t, needRoot(t), "")
	g := create(t, p)
	second, err := Create(p)
	if err != nil {
		t.Fatal(err)
	}
	if len(second.made) != 0 {
		t.Errorf("made %v", second.made)
	}
	if err := g.Freeze(true); err != nil {
		t.Fatal(err)
	}
	// A frozen group would hang whatever is put in it. The v1 freezer calls
	// an empty group frozen as soon as it is asked to.
	var e *fault.Error
	if _, err := Create(p); !errors.As(err, &e) || !strings.Contains(e.Msg, "unexpectedly frozen") {
		t.Errorf("a frozen group was used: %v", err)
	}
	if err := g.Freeze(false); err != nil {
		t.Fatal(err)
	}
}

func TestFailedCreateLeavesNothing(t *testing.T) {
	facts := needRoot(t)
	p := testPlan(t, facts, "")
	p.Writes = append(p.Writes, Write{Dir: p.Dirs[0].Path, File: "memory.nonsense", Value: "1\n2", Field: "/linux/resources/memory"})
	_, err := Create(p)
	var e *fault.Error
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	want := fault.Error{Op: "write", Path: p.Dirs[0].Path + "/memory.nonsense", Field: "/linux/resources/memory", Msg: `"1\n2"`, Errno: e.Errno, Phase: fault.PhaseCgroup, Hint: e.Hint}
	if *e != want || !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrPermission) {
		t.Errorf("%+v", e)
	}
	for _, d := range p.Dirs {
		if _, err := os.Stat(filepath.Dir(d.Path)); err == nil {
			t.Errorf("%s is left behind", filepath.Dir(d.Path))
		}
	}
}

func TestDeleteSparesTheTop(t *testing.T) {
	dir := t.TempDir()
	g := Open(State{Dirs: []Dir{{Path: dir, Mountpoint: dir}, {Path: dir + "/a", Mountpoint: dir + "/b"}}})
	if err := os.Mkdir(dir+"/a", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := g.Delete(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir + "/a"); err != nil {
		t.Error(err)
	}
}

// TestUnified runs the tests of cgroup v2 in a mount namespace that shows
// nothing else: /sys/fs/cgroup/unified is bound over /sys/fs/cgroup.
//
//spec:49
func TestUnified(t *testing.T) {
	facts := needRoot(t)
	if os.Getenv("BERTH_TEST_UNIFIED") == "" && facts.Cgroup.Mode() != "unified" {
		if facts.Cgroup.V2 == "" {
			t.Skip("[cgroup2] no cgroup2 hierarchy")
		}
		cmd := exec.Command(os.Args[0], "-test.run=^TestUnified$", "-test.v")
		cmd.Env = append(os.Environ(), "BERTH_TEST_UNIFIED="+facts.Cgroup.V2)
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
		out, err := cmd.CombinedOutput()
		t.Logf("%s", out)
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	if v2 := os.Getenv("BERTH_TEST_UNIFIED"); v2 != "" {
		if err := unix.Mount(v2, "/sys/fs/cgroup", "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		facts = host.Probe()
	}
	if facts.Cgroup.Mode() != "unified" {
		t.Fatalf("%+v", facts.Cgroup)
	}
	t.Run("life", func(t *testing.T) { life(t, facts) })
	t.Run("born", func(t *testing.T) { born(t, facts) })
	t.Run("devices", func(t *testing.T) { devicesV2(t, facts) })
	t.Run("replace", func(t *testing.T) { replaceFilter(t, facts) })
	t.Run("controllers", func(t *testing.T) { controllersV2(t, facts) })
	t.Run("kill without cgroup.kill", func(t *testing.T) { killEachV2(t, facts) })
}

// startIn starts a command born in the group.
func startIn(t *testing.T, g *Group, name string, args ...string) *exec.Cmd {
	t.Helper()
	fd, err := g.FD()
	if err != nil {
		t.Fatal(err)
	}
	defer fd.Close()
	cmd := exec.Command(name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(fd.Fd())}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

func born(t *testing.T, facts host.Facts) {
	p := testPlan(t, facts, "")
	if !p.State().Unified() {
		t.Fatal("not born on v2")
	}
	g := create(t, p)
	cmd := startIn(t, g, "sleep", "100")
	if pids, err := g.Procs(); err != nil || !slices.Equal(pids, []int{cmd.Process.Pid}) {
		t.Errorf("%v %v", pids, err)
	}
}

// zero reads a byte from a device that every container may read, and from one
// that none may unless it is told so.
func devicesV2(t *testing.T, facts host.Facts) {
	const full, kmsg = "/dev/zero", "/dev/kmsg" // 1:5 and 1:11
	tests := []struct {
		resources  string
		zero, kmsg bool
	}{
		{`{"devices":[{"allow":false,"access":"rwm"}]}`, true, false},
		{`{"devices":[{"allow":false,"access":"rwm"},{"allow":true,"type":"c","major":1,"minor":11,"access":"r"}]}`, true, true},
		{`{"devices":[{"allow":true,"access":"rwm"}]}`, true, true},
		{`{"devices":[{"allow":true,"access":"rwm"},{"allow":false,"type":"c","major":1,"minor":11,"access":"r"}]}`, true, false},
		{`{"devices":[{"allow":true,"type":"c","access":"rwm"},{"allow":false,"type":"c","major":1,"minor":11,"access":"r"}]}`, true, false},
	}
	for _, tt := range tests {
		p := testPlan(t, facts, tt.resources)
		g := create(t, p)
		for device, want := range map[string]bool{full: tt.zero, kmsg: tt.kmsg} {
			cmd := startIn(t, g, "sh", "-c", "exec 3<"+device)
			if got := cmd.Wait() == nil; got != want {
				t.Errorf("%s: %s can be read: %v", tt.resources, device, got)
			}
		}
		if err := g.Delete(); err != nil {
			t.Fatal(err)
		}
	}
}

func replaceFilter(t *testing.T, facts host.Facts) {
	p := testPlan(t, facts, "")
	g := create(t, p)
	dir, err := unix.Open(p.Dirs[0].Path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(dir)
	before, err := attachedPrograms(dir)
	if err != nil || len(before) != 1 {
		t.Fatal(before, err)
	}
	if err := g.Set(Resources{Filter: p.Filter}); err != nil {
		t.Fatal(err)
	}
	after, err := attachedPrograms(dir)
	if err != nil || len(after) != 1 || after[0] == before[0] {
		t.Errorf("%v, then %v, %v", before, after, err)
	}
	// Two programs, as another tool may leave them, become one.
	prog, err := loadDeviceProgram(CompileDevices(nil))
	if err != nil {
		t.Fatal(err)
	}
	err = attachProgram(dir, prog, unix.BPF_F_ALLOW_MULTI, 0)
	_ = unix.Close(prog)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Filter.apply(); err != nil {
		t.Fatal(err)
	}
	if last, err := attachedPrograms(dir); err != nil || len(last) != 1 {
		t.Errorf("%v %v", last, err)
	}
}

func controllersV2(t *testing.T, facts host.Facts) {
	if len(facts.Cgroup.V2Controllers) == 0 {
		t.Skip("[controllers] cgroup v2 has none here")
	}
	p := testPlan(t, facts, "")
	g := create(t, p)
	text, err := readFile(p.Dirs[0].Path, "cgroup.controllers")
	if err != nil || !containsAll(strings.Fields(text), facts.Cgroup.V2Controllers) {
		t.Errorf("%q of %v, %v", text, facts.Cgroup.V2Controllers, err)
	}
	if !slices.Contains(facts.Cgroup.V2Controllers, "hugetlb") {
		return
	}
	if _, err := os.Stat(p.Dirs[0].Path + "/hugetlb.2MB.max"); err != nil {
		return
	}
	res, complaints := PlanResources(resourcesOf(t, `{"hugepageLimits":[{"pageSize":"2MB","limit":4194304}]}`), g.State(), facts)
	if len(complaints) > 0 {
		t.Fatal(complaints)
	}
	if err := g.Set(res); err != nil {
		t.Fatal(err)
	}
	if got := content(t, g.State(), "hugetlb", "hugetlb.2MB.max"); got != "4194304" {
		t.Error(got)
	}
}

// killEachV2 is the way of kernels before 5.14.
func killEachV2(t *testing.T, facts host.Facts) {
	g := create(t, testPlan(t, facts, ""))
	a, b := startIn(t, g, "sleep", "100"), startIn(t, g, "sleep", "100")
	if err := g.killEach(); err != nil {
		t.Fatal(err)
	}
	for _, cmd := range []*exec.Cmd{a, b} {
		if err := cmd.Wait(); err == nil {
			t.Error("was not killed")
		}
	}
}

func TestKillCatchesWhatForks(t *testing.T) {
	g := create(t, testPlan(t, needRoot(t), ""))
	cmd := exec.Command("sh", "-c", "read go; while :; do sleep 100 & sleep 0.001; done")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	if err := g.Add(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	_, _ = stdin.Write([]byte("\n"))
	time.Sleep(20 * time.Millisecond)
	if err := g.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if err := g.Delete(); err != nil {
		t.Fatal(err)
	}
}

func TestAllOfPathIsMade(t *testing.T) {
	facts := needRoot(t)
	p, complaints := NewPlan(&specs.Spec{Linux: &specs.Linux{CgroupsPath: testGroup(t) + "/a/b"}}, "id", facts, Options{})
	if len(complaints) > 0 {
		t.Fatal(complaints)
	}
	g, err := Create(p)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Delete(); err != nil {
		t.Fatal(err)
	}
	for _, d := range p.Dirs {
		if _, err := os.Stat(d.Mountpoint + filepath.Dir(testGroup(t))); err == nil {
			t.Errorf("left behind in %s", d.Mountpoint)
		}
	}
}

// A group that holds processes hands nothing down, or it would become the root of a threaded tree; the machine's top may.
func TestEnableInAGroupWithProcesses(t *testing.T) {
	for name, tt := range map[string]struct {
		files map[string]string
		want  string
	}{
		"empty":          {map[string]string{"cgroup.procs": "", "cgroup.type": "domain\n"}, "+cpu +pids"},
		"with processes": {map[string]string{"cgroup.procs": "17\n", "cgroup.type": "domain\n"}, ""},
		"the top":        {map[string]string{"cgroup.procs": "17\n"}, "+cpu +pids"},
		"there already":  {map[string]string{"cgroup.procs": "", "cgroup.subtree_control": "pids cpu io"}, "pids cpu io"},
	} {
		dir := t.TempDir()
		files := map[string]string{"cgroup.subtree_control": ""}
		maps.Copy(files, tt.files)
		for file, text := range files {
			if err := os.WriteFile(dir+"/"+file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		enableIn(dir, []string{"cpu", "pids"})
		if got, _ := os.ReadFile(dir + "/cgroup.subtree_control"); string(got) != tt.want {
			t.Errorf("%s: %q, not %q", name, got, tt.want)
		}
	}
}
