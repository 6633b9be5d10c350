package libcontainer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/cgroups"
	"berth/libcontainer/bundle"
	"berth/libcontainer/fault"
	"berth/libcontainer/host"
	"berth/libcontainer/netdev"
	"berth/libcontainer/supervise"
	"berth/libcontainer/trace"
	"berth/nsenter"
	"berth/rootfs"
)

// CreateOptions is what create and run are asked for.
type CreateOptions struct {
	PlanOptions
	ProcessOptions
	Root   string // the state root, where state directories are
	Sticky bool   // what is not sticky there may be cleaned up (XDG Base Directory Specification)
	Bundle string // directory with config.json
	// Notify gives the process a NOTIFY_SOCKET (sd_notify(3)); see NotifyDir.
	Notify bool

	test testHooks
}

// testHooks let tests of this package break a creation anywhere.
type testHooks struct {
	facts   func(*host.Facts)      // another machine
	program func(*nsenter.Program) // before it is sent
	event   func(nsenter.Event)    // before it is answered
}

// Create makes a container up to, but not including, execve: its init waits at
// exec.fifo (opt.Fifo), or for Process.Release. Whatever fails, all that was
// made is taken back. The container is returned locked.
func Create(opt CreateOptions) (_ *Container, _ *Process, err error) {
	trace.Phase(fault.PhaseConfig)
	b, err := bundle.Load(opt.Bundle)
	if err != nil {
		return nil, nil, err
	}
	if err := checkID(opt.ID); err != nil {
		return nil, nil, err
	}
	if opt.Notify {
		opt.Mounts = append(opt.Mounts, supervise.NotifyMount(filepath.Join(opt.Root, opt.ID, notifyDir)))
		opt.Env = append(opt.Env, supervise.NotifyEnv)
	}
	if err := opt.checkTerminal(b.Spec.Process != nil && b.Spec.Process.Terminal); err != nil {
		return nil, nil, err
	}
	trace.Phase("facts")
	facts := opt.Facts(b.Spec)
	if opt.test.facts != nil {
		opt.test.facts(&facts)
	}
	trace.Phase(fault.PhasePlan)
	opt.Env = append(opt.Env, HomeVariable(b)...)
	plan, err := NewPlan(b, facts, opt.PlanOptions)
	if err != nil {
		return nil, nil, err
	}
	if b.Spec.Process == nil && !opt.Fifo {
		return nil, nil, errNoProcess(opt.ID)
	}
	if err := plan.Namespaces.permitted(facts); err != nil {
		return nil, nil, err
	}
	if err := hooksPermitted(plan.Hooks, facts); err != nil {
		return nil, nil, err
	}
	if err := netdev.Permitted(plan.Devices, facts); err != nil {
		return nil, nil, err
	}
	if err := checkRoot(plan.Rootfs.Root); err != nil {
		return nil, nil, err
	}
	for _, note := range plan.Notes {
		(&Container{Warn: opt.Warn}).warn(note)
	}
	plan.Rootfs.ReadLinks()
	trace.Phase("seccomp")
	if err := plan.CompileSeccomp(filepath.Join(opt.Root, seccompCache)); err != nil {
		return nil, nil, err
	}
	c := &creation{launch: launch{options: opt.ProcessOptions, explain: plan.explain}, opt: opt, plan: plan, bundle: b, facts: facts}
	c.groups = func() cgroups.State { return c.record.Cgroup }
	c.listen = func(fd *os.File) error {
		return c.sendListener(plan.Process.Listener(), fd, c.process.PID, specs.StateCreating)
	}
	defer func() { err = c.takeBackOn(err) }()
	if err := c.makeState(); err != nil {
		return nil, nil, err
	}
	if err := c.birth(); err != nil {
		return nil, nil, err
	}
	if err := c.converse(c.answer, opt.test.event); err != nil {
		return nil, nil, err
	}
	c.devices.Close()
	c.process.hooks, c.process.explain = b.Spec.Hooks, plan.explain
	return c.Container, &c.process, nil
}

// checkRoot finds what is wrong with the root file system before anything is
// made for it.
func checkRoot(path string) error {
	var st unix.Stat_t
	err := unix.Stat(path, &st)
	if err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		err = unix.ENOTDIR
	}
	if err == nil || errors.Is(err, unix.EACCES) {
		return nil // a user namespace may have the rights that the runtime has not
	}
	e := fault.From(err, "open the root file system", path).For("/root/path").In(fault.PhaseMounts)
	e.Hint = rootfs.Explain(e.Op, e.Errno)
	return e
}

// creation is one container while it is being made.
type creation struct {
	*Container
	launch
	opt    CreateOptions
	plan   *Plan
	bundle *bundle.Bundle
	facts  host.Facts
	undo   fault.Undo

	group   *cgroups.Group
	devices netdev.Moved
	hooked  bool // hooks have run: poststop is due whatever happens
}

// makeState makes the state directory and records what will be made, before
// any of it is.
func (c *creation) makeState() (err error) {
	trace.Phase(fault.PhaseState)
	// Nobody else may come near exec.fifo, which any user may write to.
	if err := makeRoot(c.opt.Root, c.opt.Sticky); err != nil {
		return err
	}
	c.Container = &Container{ID: c.opt.ID, Warn: c.opt.Warn, dir: filepath.Join(c.opt.Root, c.opt.ID)}
	if err := c.claimDir(); err != nil {
		return err
	}
	c.record = c.firstRecord()
	c.undo.Add(c.abandon)
	if err := c.claimGroup(); err != nil {
		return err
	}
	if c.record.Resctrl, err = c.plan.Resctrl.Claim(); err != nil {
		return err
	}
	if !c.plan.Namespaces.has("mnt") {
		if c.record.HostMount, err = mountID(c.record.Rootfs); err != nil {
			return err
		}
	}
	if err := writeFile(c.path(configFile), c.bundle.Raw); err != nil {
		return fault.From(err, "write", c.path(configFile)).In(fault.PhaseState)
	}
	if c.opt.Notify {
		if err := supervise.PrepareNotify(c.path(notifyDir)); err != nil {
			return err
		}
	}
	return c.save()
}

func (c *creation) firstRecord() record {
	n := c.plan.Namespaces
	var own []string
	for _, k := range kinds {
		if n.has(k.proc) {
			own = append(own, k.proc)
		}
	}
	return record{
		OCIVersion: c.bundle.Spec.Version, ID: c.ID,
		Bundle: c.bundle.Dir, Rootfs: rootfsPath(c.bundle),
		Created: time.Now().UTC(), Boot: host.BootID(), UID: c.facts.EUID, Annotations: c.bundle.Spec.Annotations,
		OwnPIDs: n.isNew("pid"), Namespaces: own, NoKeyring: c.opt.NoNewKeyring,
		Process: c.bundle.Spec.Process != nil, Hooks: kindsOf(c.bundle.Spec.Hooks),
		Stdio: stdioNames(c.bundle.Spec.Process, c.facts.Stdio),
	}
}

// claimGroup records the group before it is made, unless somebody is in it or
// below it already: whoever takes back what the record names kills them all.
func (c *creation) claimGroup() error {
	state := c.plan.Cgroup.State()
	pids, err := cgroups.Open(state).Procs()
	if err != nil {
		return err
	}
	if len(pids) > 0 {
		return &fault.Error{Op: "cgroup", Path: state.Dirs[0].Path, Phase: fault.PhaseCgroup, Code: "cgroup-not-empty",
			Msg:  fmt.Sprintf("container's cgroup is not empty: %d process(es) found", len(pids)),
			Hint: "another container uses it, or a group below it; choose another linux.cgroupsPath or delete that container"}
	}
	c.record.Cgroup = state
	return nil
}

// birth starts the child and hands it the program, which is compiled while it
// starts.
func (c *creation) birth() error {
	var config nsenter.Config
	if c.plan.entry == entersByBirth {
		if err := c.makeGroup(0); err != nil {
			return err
		}
		group, err := c.group.FD()
		if err != nil {
			return err
		}
		defer group.Close()
		config.Cgroup = group
	}
	if err := c.bear(config, c.adopts()); err != nil {
		return err
	}
	trace.Phase("compile")
	program, err := c.compile()
	if err != nil {
		return err
	}
	if c.plan.entry != entersBySync {
		if err := c.limitGroup(c.child.PID); err != nil {
			return err
		}
	}
	trace.Phase("sources")
	files, err := c.handOut()
	defer func() { closeAll(files) }()
	if err != nil {
		return err
	}
	trace.Phase("send")
	return c.child.Send(program, files)
}

// limitGroup sets the group's limits before anything but the waiting process
// is in it, and moves that there where nothing is born in it.
func (c *creation) limitGroup(pid int) error {
	if c.group == nil {
		if err := c.makeGroup(pid); err != nil {
			return err
		}
	}
	trace.Phase("cgroup limits")
	if err := c.group.Limit(c.plan.Cgroup); err != nil {
		return err
	}
	switch c.plan.entry {
	case entersByMove, entersBySync:
		return c.group.Add(pid)
	}
	return nil
}

// makeGroup makes the groups; a unit begins with the process.
func (c *creation) makeGroup(pid int) error {
	trace.Phase(fault.PhaseCgroup)
	group, err := cgroups.Make(c.plan.Cgroup, pid)
	c.group, c.record.Cgroup = group, group.State()
	if err != nil {
		return err
	}
	if len(c.record.Cgroup.Above) > 0 {
		return c.save()
	}
	return nil
}

// adopts tells whether this process must be a subreaper: to wait for an init
// that is its grandchild, or for what an init without a pid namespace of its
// own leaves behind.
func (c *creation) adopts() bool {
	n := c.plan.Namespaces
	return c.opt.Reap && (n.forks() || !c.opt.NoSubreaper && !n.isNew("pid"))
}

// takeBackOn returns err, and takes back what was made unless it is nil.
func (c *creation) takeBackOn(err error) error {
	if err != nil {
		trace.Fail(err)
		trace.Phase("undo")
	}
	return c.undo.OnError(err)
}

// abandon takes back all that was made, after a failure.
func (c *creation) abandon() error {
	c.kill()
	err := c.Container.takeBack()
	if c.hooked {
		err = errors.Join(err, c.runHooks(c.plan.Hooks, "poststop", specs.StateStopped))
	}
	c.Unlock()
	return err
}

func (c *creation) compile() (*nsenter.Program, error) {
	program, err := c.plan.Compile()
	if err != nil {
		return nil, err
	}
	c.record.Exec = program.After(nsenter.SyncReady)
	if c.opt.test.program != nil {
		c.opt.test.program(program)
	}
	return program, nil
}

// handOut opens what goes with the program, in the order of Plan.received. The
// descriptors are the caller's, also those of a failure.
func (c *creation) handOut() ([]*os.File, error) {
	files, err := c.plan.Namespaces.open()
	if err != nil {
		return nil, err
	}
	entries, err := c.plan.entry.open(c.group)
	files = append(files, entries...)
	if err != nil {
		return files, err
	}
	if c.opt.Fifo {
		dir, err := c.makeFifo()
		if err != nil {
			return files, err
		}
		files = append(files, dir)
	}
	sources, err := rootfs.Open(c.plan.Rootfs.Sources())
	return append(files, sources...), err
}

// makeFifo makes exec.fifo, which the container's user may write to: the
// state root keeps everybody else out. It returns the state directory.
func (c *creation) makeFifo() (*os.File, error) {
	if err := unix.Mkfifo(c.path(fifoFile), 0o622); err != nil {
		return nil, fault.From(err, "mkfifo", c.path(fifoFile)).In(fault.PhaseState)
	}
	// The umask has taken its part.
	if err := unix.Chmod(c.path(fifoFile), 0o622); err != nil {
		return nil, fault.From(err, "chmod", c.path(fifoFile)).In(fault.PhaseState)
	}
	fd, err := unix.Open(c.dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fault.From(err, "open", c.dir).In(fault.PhaseState)
	}
	return os.NewFile(uintptr(fd), c.dir), nil
}

func (c *creation) answer(id nsenter.SyncID) (err error) {
	switch id {
	case nsenter.SyncMaps:
		err = c.plan.Namespaces.writeMaps(c.child.PID)
	case nsenter.SyncOffsets:
		err = c.plan.Namespaces.writeOffsets(c.child.PID)
	case nsenter.SyncGroup:
		if err = c.adopted(); err == nil {
			err = c.limitGroup(c.record.PID)
		}
	case nsenter.SyncHooks:
		err = c.beforePivot()
	case nsenter.SyncLimits:
		err = c.limits()
	case nsenter.SyncReady:
		return c.ready()
	}
	if err != nil {
		return err
	}
	return c.child.Go(id)
}

// limits sets what the runtime alone may set: in the group, what the preamble
// would have counted in; the group of resctrl; of init, while it still has the
// runtime's own ids, without which prlimit(2) needs CAP_SYS_RESOURCE.
func (c *creation) limits() error {
	if err := c.adopted(); err != nil {
		return err
	}
	if err := c.group.Late(c.plan.Process.ExecMemory()); err != nil {
		return err
	}
	if err := c.plan.Resctrl.Apply(c.process.PID); err != nil {
		return err
	}
	if c.plan.Process == nil {
		return nil
	}
	return c.plan.Process.Outside(c.process.PID)
}

// adopted makes sure that init is known, also to the record.
func (c *creation) adopted() (err error) {
	if err := c.launch.adopted(); err != nil {
		return err
	}
	c.record.PID = c.process.PID
	if c.record.StartTime, _, err = startTime(c.record.PID); err != nil {
		return c.died()
	}
	return nil
}

// ready writes down that the container is created, and lets init wait for
// start.
func (c *creation) ready() error {
	if err := c.handOver("standard"); err != nil {
		return err
	}
	if !c.opt.Fifo {
		// Only its name says that the process is still to be executed.
		if err := writeFile(c.path(fifoFile), nil); err != nil {
			return fault.From(err, "write", c.path(fifoFile)).In(fault.PhaseState)
		}
	}
	c.record.Resctrl.Shared = "" // from now on it is for others, too
	if err := c.save(); err != nil {
		return err
	}
	if err := c.writePidFile(); err != nil {
		return err
	}
	if !c.opt.Fifo {
		return nil
	}
	return c.child.Go(nsenter.SyncReady)
}

// beforePivot gives the container its network devices, which hooks expect to
// be there (runtime.md#lifecycle, steps 2 and 3), and runs the hooks.
func (c *creation) beforePivot() error {
	if err := c.adopted(); err != nil {
		return err
	}
	if len(c.plan.Devices) > 0 {
		c.undo.Add(c.devices.GiveBack)
		if err := c.devices.Move(c.plan.Devices, c.process.PID); err != nil {
			return err
		}
	}
	if !c.plan.hooksBeforePivot() {
		return nil
	}
	return c.hooks()
}

// hooks runs what belongs before the pivot. From then on poststop is due.
func (c *creation) hooks() error {
	c.hooked = true
	for _, kind := range []string{"prestart", "createRuntime", "createContainer"} {
		status := specs.StateCreating
		if kind == "prestart" {
			// For these, deprecated ones the container counts as created
			// (runtime.md#lifecycle, step 3).
			status = specs.StateCreated
		}
		if err := c.runHooks(c.plan.Hooks, kind, status); err != nil {
			return err
		}
	}
	return nil
}
