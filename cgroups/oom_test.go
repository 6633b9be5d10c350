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
