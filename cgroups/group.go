package cgroups

import (
	"errors"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"berth/libcontainer/fault"

	"golang.org/x/sys/unix"
)

// Group is a container's control groups as they are on the machine: one
// directory in each hierarchy. It holds no descriptor.
type Group struct {
	dirs   []Dir
	late   []Write
	made   []string // directories that Create made, in that order
	unit   string   // of systemd; "" is none
	user   bool     // the unit is one of the user's own systemd
	placed int      // the process that systemd has put into the unit
}

// Open returns the groups that were recorded before, whether they exist or not.
func Open(s State) *Group { return &Group{dirs: s.Dirs, made: s.Above, unit: s.Unit, user: s.UserUnit} }

// State returns the record with which Open finds the groups again; that of nil is empty.
func (g *Group) State() State {
	if g == nil {
		return State{}
	}
	s := State{Dirs: g.dirs, Unit: g.unit, UserUnit: g.user}
	for _, dir := range g.made {
		if !slices.ContainsFunc(g.dirs, func(d Dir) bool { return d.Path == dir }) {
			s.Above = append(s.Above, dir)
		}
	}
	return s
}

// Create is Make and Limit: the groups of a plan, ready for processes. After
// an error every directory that it made is gone again.
func Create(p *Plan) (*Group, error) {
	g, err := Make(p, 0)
	if err != nil {
		return nil, err
	}
	if err := g.Limit(p); err != nil {
		g.removeMade()
		return nil, err
	}
	return g, nil
}

// Make makes the groups of the plan, without limits yet: the runtime's own
// preamble may be born in them meanwhile. A group that exists is used if
// nothing runs in it and it is not frozen, and refused otherwise
// (config-linux.md, "Control groups": not fit for purpose).
//
// pid is the process that a unit of systemd is started with; without a unit it
// is not looked at. After an error every directory that Make made is gone
// again; the group that comes with it is nil, or what Delete has to take back
// once that process has ended.
func Make(p *Plan, pid int) (*Group, error) {
	g := &Group{dirs: p.Dirs, late: p.Late}
	if p.Unit != nil {
		g.unit, g.user, g.placed = p.Unit.Name, p.Unit.User, pid
		if mine, err := p.startUnit(pid); err != nil && mine {
			return g, err
		} else if err != nil {
			return nil, err
		}
	}
	for _, d := range g.dirs {
		err := g.makeGroup(p, d)
		switch {
		case err == nil:
		case p.Unit != nil:
			return g, err
		default:
			g.removeMade()
			return nil, err
		}
	}
	return g, nil
}

// Limit sets the limits, but for those of Late, the device rules, and who owns the group.
func (g *Group) Limit(p *Plan) error {
	if err := writeAll(p.Writes); err != nil {
		return err
	}
	if err := p.Filter.apply(); err != nil {
		return err
	}
	return p.Delegation.apply()
}

// removeMade removes what Create made; a directory in use stays.
func (g *Group) removeMade() {
	for _, dir := range slices.Backward(g.made) {
		_ = unix.Rmdir(dir)
	}
	g.made = nil
}

// makeGroup makes one group fit to be joined.
func (g *Group) makeGroup(p *Plan, d Dir) error {
	if !p.makes(d) {
		return enable(d)
	}
	fresh, err := g.mkdir(d.Path, d)
	if err != nil {
		return err
	}
	// systemd may have been there first, with the process: it was idle before.
	if !fresh && p.Unit == nil {
		if err := checkIdle(d); err != nil {
			return err
		}
	}
	if !d.V2 && d.Has("cpuset") {
		if err := inherit(d, fresh); err != nil {
			return err
		}
	}
	return enable(d)
}

// mkdir makes dir and what is missing above it; fresh says that dir is new.
func (g *Group) mkdir(dir string, d Dir) (fresh bool, err error) {
	// Someone may remove an empty parent between the two calls.
	for range 3 {
		switch errno := unix.Mkdir(dir, 0o755); errno {
		case nil:
			g.made = append(g.made, dir)
			return true, nil
		case unix.EEXIST:
			return false, nil
		case unix.ENOENT:
			err = failed("mkdir", dir, errno)
		default:
			return false, failed("mkdir", dir, errno)
		}
		parent := path.Dir(dir)
		if parent == dir || !below(parent, d.Mountpoint) {
			return false, err
		}
		if _, err := g.mkdir(parent, d); err != nil {
			return false, err
		}
	}
	return false, err
}

// below tells whether dir is strictly below the mount point.
func below(dir, mountpoint string) bool {
	return strings.HasPrefix(dir, strings.TrimSuffix(mountpoint, "/")+"/")
}

// checkIdle refuses a group in which something runs or would not run.
func checkIdle(d Dir) error {
	pids, err := readPids(d.Path)
	if err != nil {
		return failed("read", d.Path+"/"+procsFile, err)
	}
	if len(pids) > 0 {
		return &fault.Error{Op: "cgroup", Path: d.Path, Msg: "container's cgroup is not empty: " + strconv.Itoa(len(pids)) + " process(es) found",
			Hint: "another container uses it; choose another linux.cgroupsPath or delete that container", Phase: fault.PhaseCgroup, Code: "cgroup-not-empty"}
	}
	if frozen, err := frozenDir(d); err == nil && frozen {
		return &fault.Error{Op: "cgroup", Path: d.Path, Msg: "container's cgroup unexpectedly frozen",
			Hint: "thaw the group or remove its directory", Phase: fault.PhaseCgroup, Code: "cgroup-frozen"}
	}
	return nil
}

// inherit gives the group the CPUs and memory nodes that it needs, and its
// parents those without which the group's own could not be set.
func inherit(d Dir, fresh bool) error {
	for _, file := range cpusetFiles {
		dir, fresh := d.Path, fresh
		if !slices.Contains(d.Inherit, file) {
			dir, fresh = path.Dir(d.Path), false
		}
		if !below(dir, d.Mountpoint) {
			continue
		}
		if err := inheritFile(dir, file, d.Mountpoint, fresh); err != nil {
			return err
		}
	}
	return nil
}

// inheritFile copies a v1 cpuset file from the parent where the group has
// none of its own, parents first. A new group has none, unless the parent's
// cgroup.clone_children gave it just what is written here.
func inheritFile(dir, file, mountpoint string, fresh bool) error {
	if !fresh {
		switch own, err := readFile(dir, file); {
		case err != nil:
			return failed("read", dir+"/"+file, err)
		case len(strings.TrimSpace(own)) > 0:
			return nil
		}
	}
	parent := path.Dir(dir)
	value, err := readFile(parent, file)
	if err != nil {
		return failed("read", parent+"/"+file, err)
	}
	if value = strings.TrimSpace(value); value == "" && below(parent, mountpoint) {
		if err := inheritFile(parent, file, mountpoint, true); err != nil {
			return err
		}
		return inheritFile(dir, file, mountpoint, true)
	}
	return perform(Write{Dir: dir, File: file, Value: value})
}

// enable hands the v2 controllers down to the group, from the mount point on.
// A group that has them all already costs one read. What cannot be handed
// down is no error here: the write that needs it fails and says why.
func enable(d Dir) error {
	if len(d.Enable) == 0 {
		return nil
	}
	has, err := readFile(d.Path, "cgroup.controllers")
	if err != nil {
		return failed("read", d.Path+"/cgroup.controllers", err)
	}
	if containsAll(strings.Fields(has), d.Enable) {
		return nil
	}
	for _, dir := range ancestors(d.Path, d.Mountpoint) {
		enableIn(dir, d.Enable)
	}
	return nil
}

// enableIn hands controllers down from one group, all at once if the kernel
// takes them so. A write that changes nothing would still cost the lock that
// all forks wait for.
//
// A group with processes of its own, as the top one of a container has, is left
// alone: the kernel would hand down cpu and pids, and make it the root of a
// threaded tree, whose groups take no container (cgroup-v2.rst, "Threads").
func enableIn(dir string, controllers []string) {
	if has, err := readFile(dir, subtreeFile); err == nil && containsAll(strings.Fields(has), controllers) {
		return
	}
	if pids, err := readFile(dir, procsFile); err != nil || pids != "" && !isTop(dir) {
		return
	}
	if writeFile(dir, subtreeFile, "+"+strings.Join(controllers, " +")) == nil {
		return
	}
	for _, c := range controllers {
		_ = writeFile(dir, subtreeFile, "+"+c)
	}
}

// isTop tells whether dir is the top of its hierarchy for the whole machine.
func isTop(dir string) bool { return unix.Access(dir+"/cgroup.type", unix.F_OK) == unix.ENOENT }

func containsAll(have, want []string) bool {
	for _, w := range want {
		if !slices.Contains(have, w) {
			return false
		}
	}
	return true
}

// ancestors lists the directories above dir from the mount point down.
func ancestors(dir, mountpoint string) []string {
	var out []string
	for dir != mountpoint && below(dir, mountpoint) {
		dir = path.Dir(dir)
		out = append(out, dir)
	}
	slices.Reverse(out)
	return out
}

// FD opens the group of a plan whose container is Born in it, for
// CLONE_INTO_CGROUP. The caller closes it.
func (g *Group) FD() (*os.File, error) {
	d, ok := g.State().v2()
	if !ok {
		return nil, &fault.Error{Op: "cgroup", Msg: "no cgroup v2 group to be born in", Phase: fault.PhaseCgroup}
	}
	fd, err := unix.Open(d.Path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, failed("open", d.Path, err)
	}
	return os.NewFile(uintptr(fd), d.Path), nil
}

// OpenProcs opens cgroup.procs of every group, in the order of State.Dirs, for
// a process that writes itself into them. The descriptors are the caller's,
// also those of a failure.
func (g *Group) OpenProcs() ([]*os.File, error) {
	files := make([]*os.File, 0, len(g.dirs))
	for _, d := range g.dirs {
		fd, err := openat(d.Path+"/"+procsFile, unix.O_WRONLY)
		if err != nil {
			return files, failed("open", d.Path+"/"+procsFile, err)
		}
		files = append(files, os.NewFile(uintptr(fd), d.Path+"/"+procsFile))
	}
	return files, nil
}

// Add moves a process, with all its threads, into every group that it is not
// in from the start of its unit.
func (g *Group) Add(pid int) error {
	for _, d := range g.dirs {
		if pid == g.placed && g.State().madeBySystemd(d) {
			continue
		}
		err := join(d.Path, pid)
		if g.user && errors.Is(err, unix.EACCES) {
			err = g.attach(d, pid)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// join retries EINVAL: a process that has only just been forked (TASK_NEW)
// cannot be moved yet.
func join(dir string, pid int) error {
	w := Write{Dir: dir, File: procsFile, Value: strconv.Itoa(pid)}
	err := perform(w)
	for i := 0; i < 5 && errors.Is(err, unix.EINVAL); i++ {
		time.Sleep(10 * time.Millisecond)
		err = perform(w)
	}
	return err
}

// Late does the plan's writes that have to wait until the container's init
// has been forked. It refuses a limit of memory that leaves less than room, in
// bytes, to a container whose processes wait. A group from Open has none.
func (g *Group) Late(room uint64) error {
	for _, w := range g.late {
		if err := checkRoom(w, room, "for the container to start"); err != nil {
			return err
		}
	}
	return writeAll(g.late)
}

// Set changes the limits of groups that exist (update), and of their unit.
// Lists come from PlanResources with g.State(). The kernel is asked first: what
// it refuses systemd never hears of.
func (g *Group) Set(r Resources) error {
	if err := writeAll(slices.Concat(r.Writes, r.Late)); err != nil {
		return err
	}
	if err := r.Filter.apply(); err != nil {
		return err
	}
	return g.SetUnit(r)
}

// Procs lists the processes of the container, in rising order: those of its
// group and of the groups below it. A missing group has none.
func (g *Group) Procs() ([]int, error) {
	d, ok := g.main()
	if !ok {
		return nil, nil
	}
	var out []int
	err := walk(d.Path, func(dir string) error {
		pids, err := readPids(dir)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
			return nil
		}
		// A threaded group lists its processes in the domain above it.
		if errors.Is(err, unix.EOPNOTSUPP) {
			return nil
		}
		if err != nil {
			return failed("read", dir+"/"+procsFile, err)
		}
		out = append(out, pids...)
		return nil
	})
	slices.Sort(out)
	return slices.Compact(out), err
}

// main is the group that is asked for processes: the freezer's where there is
// one, so that what is listed and what is frozen are the same, else v2's.
func (g *Group) main() (Dir, bool) {
	if d, ok := g.State().find("freezer"); ok {
		return d, true
	}
	if d, ok := g.State().v2(); ok {
		return d, true
	}
	if len(g.dirs) > 0 {
		return g.dirs[0], true
	}
	return Dir{}, false
}

// Exists tells whether any of the groups is there.
func (g *Group) Exists() bool {
	for _, d := range g.dirs {
		if unix.Access(d.Path, unix.F_OK) == nil {
			return true
		}
	}
	return false
}

// deletePatience is how long Delete waits for processes that are still dying.
const deletePatience = 5 * time.Second

// Delete stops the unit, removes the groups, those made below them, and of
// those above the ones that Create made and nobody else uses by now. It
// kills nothing and waits a few seconds for what is dying already. A missing
// group is as good as a deleted one. All groups are tried; the first error is
// returned.
func (g *Group) Delete() error {
	var first error
	if g.unit != "" {
		// A unit without processes ends by itself: what counts is that its
		// groups are gone, also where nobody can be asked.
		_ = busOf(g.user).stopUnit(g.unit)
	}
	deadline := time.Now().Add(deletePatience)
	for _, d := range g.dirs {
		if !below(d.Path, d.Mountpoint) {
			continue // never a hierarchy's top, whatever the record says
		}
		if err := remove(d.Path, deadline); err != nil && first == nil {
			first = err
		}
	}
	if first == nil {
		g.removeMade()
	}
	return first
}

// remove is rmdir for a group, with groups below it only where it has to be.
func remove(dir string, deadline time.Time) error {
	for pause := 250 * time.Microsecond; ; pause = min(pause*2, 100*time.Millisecond) {
		errno := unix.Rmdir(dir)
		switch errno {
		case nil, unix.ENOENT, unix.ENODEV: // ENODEV: somebody else was quicker
			return nil
		case unix.EINTR:
			continue
		case unix.EBUSY:
			if err := removeBelow(dir, deadline); err != nil {
				return err
			}
			if errno = unix.Rmdir(dir); errno == nil || errno == unix.ENOENT || errno == unix.ENODEV {
				return nil
			}
		}
		if errno != unix.EBUSY || time.Now().After(deadline) {
			return failed("rmdir", dir, errno)
		}
		time.Sleep(pause)
	}
}

func removeBelow(dir string, deadline time.Time) error {
	for _, sub := range subdirs(dir) {
		if err := remove(sub, deadline); err != nil {
			return err
		}
	}
	return nil
}

// walk calls visit for dir and every group below it.
func walk(dir string, visit func(string) error) error {
	if err := visit(dir); err != nil {
		return err
	}
	for _, sub := range subdirs(dir) {
		if err := walk(sub, visit); err != nil {
			return err
		}
	}
	return nil
}

// subdirs are the groups below dir; none where it is gone.
func subdirs(dir string) []string {
	entries, _ := os.ReadDir(dir)
	var out []string
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, dir+"/"+e.Name())
		}
	}
	return out
}
