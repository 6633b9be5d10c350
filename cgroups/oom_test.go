package cgroups

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// fakeEvents is a v2 group with counters in a file of its own.
func fakeEvents(t *testing.T, text string) (Dir, string) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "memory.events")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return Dir{Path: dir, V2: true, Controllers: []string{"memory"}}, file
}

// TestOOMCounts: each kill since the watch began is told once.
func TestOOMCounts(t *testing.T) {
	d, file := fakeEvents(t, "oom 3\noom_kill 3\n")
	o, err := (&Group{dirs: []Dir{d}}).WatchOOM()
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if p := o.PollFd(); p.Events != unix.POLLPRI {
		t.Errorf("polls for %x", p.Events)
	}
	for _, step := range []struct {
		text string
		want uint64
	}{{"oom 3\noom_kill 3\n", 0}, {"oom 9\noom_kill 5\n", 2}, {"oom 9\noom_kill 5\n", 0}, {"oom 9\noom_kill 6\n", 1}} {
		if err := os.WriteFile(file, []byte(step.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if times, gone := o.New(); times != step.want || gone {
			t.Errorf("%q: %d, %v", step.text, times, gone)
		}
	}
}

// TestOOMWithoutMemory: where nothing counts memory there is nothing to watch.
func TestOOMWithoutMemory(t *testing.T) {
	o, err := (&Group{dirs: []Dir{{Path: t.TempDir(), V2: true}}}).WatchOOM()
	if o != nil || err != nil {
		t.Error(o, err)
	}
	o.Close()
	if _, err := (&Group{dirs: []Dir{{Path: "/none", V2: true, Controllers: []string{"memory"}}}}).WatchOOM(); err == nil {
		t.Error("no error")
	}
}

// TestOOMOnV1: the end of the group is no kill.
func TestOOMOnV1(t *testing.T) {
	facts := needRoot(t)
	if _, ok := facts.Cgroup.Hierarchy("memory"); !ok {
		t.Skip("[cgroup1] no v1 memory controller")
	}
	g, err := Create(testPlan(t, facts, ""))
	if err != nil {
		t.Fatal(err)
	}
	o, err := g.WatchOOM()
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	if times, gone := o.New(); times != 0 || gone {
		t.Errorf("at first: %d, %v", times, gone)
	}
	if err := g.Delete(); err != nil {
		t.Fatal(err)
	}
	fds := []unix.PollFd{o.PollFd()}
	if n, err := unix.Poll(fds, 10000); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if times, gone := o.New(); times != 0 || !gone {
		t.Errorf("at the end: %d, %v", times, gone)
	}
}

// TestKills: whose limit was reached, by what the files of each level say.
func TestKills(t *testing.T) {
	const root = "machine/pod/c"
	v2 := func(oom, kills string) map[string]string {
		return map[string]string{"memory.events": "oom 9\noom_kill " + kills + "\n", "memory.events.local": "low 0\noom " + oom + "\n"}
	}
	v1 := func(peak, kills string) map[string]string {
		return map[string]string{
			"memory.oom_control":    "oom_kill_disable 0\noom_kill " + kills + "\n",
			"memory.limit_in_bytes": "20971520\n", "memory.max_usage_in_bytes": peak + "\n",
		}
	}
	for _, x := range []struct {
		name  string
		v2    bool
		files map[string]map[string]string
		times uint64
		where string
	}{
		{"none", true, map[string]map[string]string{"c": v2("0", "0"), "": v2("3", "7")}, 0, ""},
		{"its own", true, map[string]map[string]string{"c": v2("1", "2"), "": v2("3", "7")}, 2, "c"},
		{"below", true, map[string]map[string]string{"c": v2("0", "1"), "c/in": v2("1", "1")}, 1, "c/in"},
		{"above", true, map[string]map[string]string{"c": v2("0", "1"), "": v2("2", "5")}, 1, ""},
		{"the machine", true, map[string]map[string]string{"c": v2("0", "1"), "": v2("0", "1")}, 1, "-"},
		{"v1, its own", false, map[string]map[string]string{"c": v1("20971520", "1"), "": v1("20971520", "0")}, 1, "c"},
		{"v1, below", false, map[string]map[string]string{"c": v1("0", "0"), "c/in": v1("20900000", "2")}, 2, "c/in"},
		{"v1, above", false, map[string]map[string]string{"c": v1("10000000", "1"), "": v1("20971520", "0")}, 1, ""},
		{"v1, none", false, map[string]map[string]string{"c": v1("20971520", "0")}, 0, ""},
	} {
		top := t.TempDir()
		pod := filepath.Join(top, "machine/pod")
		for dir, files := range x.files {
			at := filepath.Join(pod, dir)
			if err := os.MkdirAll(at, 0o755); err != nil {
				t.Fatal(err)
			}
			for name, text := range files {
				if err := os.WriteFile(filepath.Join(at, name), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
		g := Open(State{Dirs: []Dir{{Path: filepath.Join(top, root), Mountpoint: top, Controllers: []string{"memory"}, V2: x.v2}}})
		times, where := g.Kills()
		want := filepath.Join(pod, x.where)
		switch {
		case x.where == "-", x.times == 0 && x.where == "":
			want = ""
		}
		if times != x.times || where != want {
			t.Errorf("%s: %d, %s; want %s", x.name, times, where, want)
		}
	}
}
