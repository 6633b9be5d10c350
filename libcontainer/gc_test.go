package libcontainer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/libcontainer/host"
)

func TestJudge(t *testing.T) {
	for _, x := range []struct {
		entry entry
		take  bool
		why   string
	}{
		{entry{busy: true}, false, "a runtime is at work with it"},
		{entry{damaged: errors.New("unreadable"), rebooted: true}, false, "unreadable"},
		{entry{recordless: true}, true, "a runtime was killed before it had made anything for the container"},
		{entry{rebooted: true, status: specs.StateStopped}, true, "the container is of another boot of the machine"},
		{entry{creating: true, status: specs.StateStopped}, true, "a runtime was killed while it created the container"},
		{entry{creating: true, processes: 2, status: specs.StateStopped}, false,
			"a runtime was killed while it created the container, but 2 process(es) are in its group; delete --force kills them"},
		{entry{status: specs.StateStopped, pid: 5}, false,
			"the container has ended, and is for whoever created it to delete (all of them: delete --all-stopped)"},
		{entry{status: specs.StateRunning, pid: 5}, false, "the container is running, its init is process 5"},
		{entry{status: specs.StateCreated, pid: 5}, false, "the container is created, its init is process 5"},
		{entry{status: StatusPaused, pid: 5}, false, "the container is paused, its init is process 5"},
	} {
		if take, why := x.entry.judge(); take != x.take || why != x.why {
			t.Errorf("%+v: %v, %q", x.entry, take, why)
		}
	}
}

// collected is a state root with one entry of each kind that needs no container.
func collected(t *testing.T) string {
	root := t.TempDir()
	self := os.Getpid()
	ticks, _, err := startTime(self)
	if err != nil {
		t.Fatal(err)
	}
	records := map[string]*record{
		"alive":    {PID: self, StartTime: ticks, Boot: host.BootID()},
		"ended":    {PID: self, StartTime: ticks + 1},
		"rebooted": {PID: self, StartTime: ticks, Boot: "another"},
		"creating": {Boot: host.BootID()},
		"killed":   {},
		"left":     nil,
	}
	for id, r := range records {
		c := &Container{ID: id, dir: filepath.Join(root, id)}
		if err := os.Mkdir(c.dir, 0o711); err != nil {
			t.Fatal(err)
		}
		if r != nil {
			r.ID = id
			c.record = *r
			if err := c.save(); err != nil {
				t.Fatal(err)
			}
		}
		if id == "creating" {
			if err := c.lock(false); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Unlock)
		}
	}
	os.Mkdir(filepath.Join(root, "damaged"), 0o711)
	os.WriteFile(filepath.Join(root, "damaged", stateFile), []byte(`{"id":"dam`), 0o600)
	os.Symlink("alive", filepath.Join(root, "link"))
	os.Mkdir(filepath.Join(root, seccompCache), 0o700)
	return root
}

func TestCollect(t *testing.T) {
	root := collected(t)
	for _, dry := range []bool{true, false} {
		got, err := Collect(root, dry, nil)
		if err != nil {
			t.Fatal(err)
		}
		take := Removed
		if dry {
			take = ToRemove
		}
		want := map[string]string{
			"alive": Kept, "ended": Kept, "creating": Kept, "damaged": Kept, "link": Kept,
			"rebooted": take, "killed": take, "left": take,
		}
		if len(got) != len(want) {
			t.Errorf("got %+v", got)
		}
		for _, f := range got {
			if f.Action != want[f.Container] || f.Kind != "state directory" || f.Name != filepath.Join(root, f.Container) {
				t.Errorf("got %+v", f)
			}
			_, err := os.Lstat(f.Name)
			if gone := err != nil; gone != (f.Action == Removed) {
				t.Errorf("%+v: %v", f, err)
			}
		}
	}
	if _, err := os.Stat(filepath.Join(root, seccompCache)); err != nil {
		t.Error(err)
	}
	if got, err := Collect(filepath.Join(root, "none"), false, nil); got != nil || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
}

// TestRebooted: whatever has the numbers and names of a record of another boot
// by now is not the container's.
func TestRebooted(t *testing.T) {
	c := stateDir(t)
	ticks, _, _ := startTime(os.Getpid())
	raw := fmt.Sprintf(`{"id":"c","pid":%d,"startTime":%d,"boot":"another","hostMount":1,"rootfs":"/proc",`+
		`"cgroup":{"dirs":[{"path":"/sys/fs/cgroup/x","mountpoint":"/sys/fs/cgroup","v2":true}],"unit":"x.scope"}}`, os.Getpid(), ticks)
	if err := writeFile(c.path(stateFile), []byte(raw)); err != nil {
		t.Fatal(err)
	}
	if err := c.readRecord(); err != nil {
		t.Fatal(err)
	}
	if c.alive() || c.status() != specs.StateStopped || c.State().PID != 0 {
		t.Errorf("got %+v", c.State())
	}
	if len(c.record.Cgroup.Dirs) != 0 || c.record.Cgroup.Unit != "" || c.record.HostMount != 0 {
		t.Errorf("got %+v", c.record)
	}
	if err := c.Kill(unix.SIGKILL, true); err != nil {
		t.Error(err)
	}
}

// TestClaimRaces makes containers while others look at, and remove, all that
// has no record.
func TestClaimRaces(t *testing.T) {
	root := t.TempDir()
	done := make(chan struct{})
	var others sync.WaitGroup
	for _, disturb := range []func(){
		func() { Collect(root, false, nil) },
		func() { List(root, nil) },
	} {
		others.Add(1)
		go func() {
			defer others.Done()
			for {
				select {
				case <-done:
					return
				default:
					disturb()
				}
			}
		}()
	}
	for i := range 300 {
		id := fmt.Sprint("c", i%3)
		c := &creation{Container: &Container{ID: id, dir: filepath.Join(root, id)}}
		if err := c.claimDir(); err != nil {
			t.Errorf("%d: %v", i, err)
			break
		}
		c.record = record{ID: id, Boot: host.BootID(), PID: os.Getpid()}
		if err := c.save(); err != nil {
			t.Errorf("%d: %v", i, err)
			break
		}
		other := &creation{Container: &Container{ID: id, dir: c.dir}}
		if err := other.claimDir(); err == nil {
			t.Errorf("%d: taken twice", i)
		}
		if err := removeState(c.dir); err != nil {
			t.Error(err)
		}
		c.Unlock()
	}
	close(done)
	others.Wait()
}
