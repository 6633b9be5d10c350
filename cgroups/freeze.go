package cgroups

import (
	"errors"
	"strings"
	"time"

	"berth/libcontainer/fault"

	"golang.org/x/sys/unix"
)

// freezePatience is how long Freeze waits for the last process to stop.
const freezePatience = 10 * time.Second

// Freeze stops every process of the container (true) or lets all go on
// (false), and returns when that is done. A group that cannot be frozen in
// time is thawed again and an error returned; one that is gone is thawed.
func (g *Group) Freeze(freeze bool) error {
	d, ok := g.freezer()
	if !ok {
		return &fault.Error{Op: "cgroup", Msg: "the container has no group that can be frozen",
			Hint: "cgroup v2 or the v1 freezer controller is needed", Phase: fault.PhaseCgroup}
	}
	var err error
	switch {
	case d.V2:
		err = freezeV2(d.Path, freeze)
	case freeze:
		err = freezeV1(d.Path)
	default:
		err = perform(Write{Dir: d.Path, File: freezerFile, Value: stateThawed})
	}
	if !freeze && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV)) {
		return nil // what is thawed may end at once, and systemd takes its group away
	}
	return err
}

// Frozen tells whether every process of the container is stopped by Freeze.
// A missing group is not frozen.
func (g *Group) Frozen() (bool, error) {
	d, ok := g.freezer()
	if !ok {
		return false, nil
	}
	frozen, err := frozenDir(d)
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENODEV) {
		return false, failed("read", d.Path, err)
	}
	return frozen, nil
}

// freezer is the group through which the container is frozen.
func (g *Group) freezer() (Dir, bool) {
	if d, ok := g.State().find("freezer"); ok && !d.V2 {
		return d, true
	}
	return g.State().v2()
}

// The v1 freezer's file and its values
// (Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst).
const (
	freezerFile = "freezer.state"
	stateThawed = "THAWED"
	stateFrozen = "FROZEN"
)

// frozenDir reads one group's state; groups without a freezer are not frozen.
func frozenDir(d Dir) (bool, error) {
	switch {
	case d.V2:
		text, err := readFile(d.Path, "cgroup.events")
		return strings.Contains(text, "frozen 1"), err
	case d.Has("freezer"):
		text, err := readFile(d.Path, freezerFile)
		return strings.TrimSpace(text) == stateFrozen, err
	}
	return false, nil
}

// freezeV1 asks until the answer is FROZEN: the v1 freezer makes progress
// when it is written to and read from, and can get stuck half-way on a process
// that forks; a moment of thaw gets it going again.
func freezeV1(dir string) error {
	deadline := time.Now().Add(freezePatience)
	for i := 1; time.Now().Before(deadline); i++ {
		if err := perform(Write{Dir: dir, File: freezerFile, Value: stateFrozen}); err != nil {
			return err
		}
		text, err := readFile(dir, freezerFile)
		if err != nil {
			return failed("read", dir+"/"+freezerFile, err)
		}
		if strings.TrimSpace(text) == stateFrozen {
			return nil
		}
		time.Sleep(time.Duration(min(i*10, 1000)) * time.Microsecond)
		if i%50 == 0 {
			_ = writeFile(dir, freezerFile, stateThawed)
			time.Sleep(10 * time.Millisecond)
		}
	}
	_ = writeFile(dir, freezerFile, stateThawed)
	return notFrozen(dir + "/" + freezerFile)
}

func notFrozen(path string) error {
	return &fault.Error{Op: "freeze", Path: path, Msg: "the processes did not stop in time",
		Hint: "one of them may be in uninterruptible sleep (state D in ps)", Phase: fault.PhaseCgroup}
}

// freezeV2 writes cgroup.freeze and waits for cgroup.events to agree.
func freezeV2(dir string, freeze bool) error {
	value, want := "0", "frozen 0"
	if freeze {
		value, want = "1", "frozen 1"
	}
	if err := perform(Write{Dir: dir, File: "cgroup.freeze", Value: value}); err != nil {
		return err
	}
	ok, err := waitEvent(dir, want, freezePatience)
	if err != nil {
		return failed("read", dir+"/cgroup.events", err)
	}
	if !ok && freeze {
		_ = writeFile(dir, "cgroup.freeze", "0")
		return notFrozen(dir + "/cgroup.freeze")
	}
	return nil
}

// waitEvent waits until cgroup.events has the line. The file is notified
// through POLLPRI (cgroup-v2.rst, "cgroup.events"), after each read anew.
func waitEvent(dir, line string, patience time.Duration) (bool, error) {
	fd, err := openat(dir+"/cgroup.events", unix.O_RDONLY)
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	deadline := time.Now().Add(patience)
	buf := make([]byte, 512)
	for {
		n, err := unix.Pread(fd, buf, 0)
		if err != nil && err != unix.EINTR {
			return false, err
		}
		if n > 0 && strings.Contains(string(buf[:n]), line) {
			return true, nil
		}
		left := time.Until(deadline)
		if left <= 0 {
			return false, nil
		}
		// A second at most: a lost notification costs no more.
		wait := min(int(left.Milliseconds())+1, 1000)
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLPRI}}, wait); err != nil && err != unix.EINTR {
			return false, err
		}
	}
}

// Kill sends SIGKILL to every process of the container, in the groups below
// its own, too, such that none escapes by forking, and thaws what is frozen,
// because a process frozen by v1 dies only when it runs. It does not wait for
// their end; Delete does. A missing group has nothing to kill.
func (g *Group) Kill() error {
	d, ok := g.main()
	if !ok {
		return nil
	}
	if d.V2 {
		switch err := writeFile(d.Path, "cgroup.kill", "1"); { // Linux 5.14
		case err == nil:
			return nil
		case err != unix.ENOENT && err != unix.ENODEV: // ENODEV: it has just been removed, by systemd
			return failed("write", d.Path+"/cgroup.kill", err)
		}
	}
	return g.killEach()
}

// How often killEach looks for processes, and how often before it stops them
// from forking.
const (
	killRounds   = 100
	gentleRounds = 5
)

// killEach kills by pid until nobody is left who has not been killed. A
// process with a pending SIGKILL cannot fork any more, so the list is
// complete when it brings nobody new; where something forks faster than it is
// listed, a freeze holds it.
func (g *Group) killEach() error {
	killed := map[int]bool{}
	for round := range killRounds {
		if round >= gentleRounds {
			_ = g.Freeze(true)
		}
		pids, err := g.Procs()
		if err != nil {
			return err
		}
		fresh := len(killed)
		for _, pid := range pids {
			if !killed[pid] {
				_ = unix.Kill(pid, unix.SIGKILL) // ESRCH: it has gone by itself
				killed[pid] = true
			}
		}
		if len(killed) == fresh {
			break
		}
	}
	if len(killed) == 0 {
		return nil
	}
	return g.thaw()
}

// thaw lets go what was frozen; a group without a freezer holds nothing.
func (g *Group) thaw() error {
	if _, ok := g.freezer(); !ok {
		return nil
	}
	return g.Freeze(false)
}

// Freezer is the directory of the group through which the container is frozen;
// "" where there is none.
func (g *Group) Freezer() string {
	d, _ := g.freezer()
	return d.Path
}
