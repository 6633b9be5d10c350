package libcontainer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/cgroups"
	"berth/libcontainer/bundle"
	"berth/libcontainer/fault"
	"berth/libcontainer/host"
	"berth/libcontainer/supervise"
	"berth/nsenter"
	"berth/rootfs"
)

// CreateOptions is what create and run are asked for.
type CreateOptions struct {
	PlanOptions
	Root          string     // the state root, where state directories are
	Bundle        string     // directory with config.json
	Stdio         [3]int     // of the container's process; stay the caller's
	Preserved     []*os.File // its descriptors from 3 on; stay the caller's
	PidFile       string
	ConsoleSocket string // takes the terminal's ptmx
	PidfdSocket   string // takes init's pidfd
	// Detach: this runtime will not stay with the process.
	Detach bool
	// Reap makes this process the parent of init, so that it can wait for it.
	Reap bool
	// NoSubreaper keeps it from adopting init's orphans too.
	NoSubreaper bool
	// Notify gives the process a NOTIFY_SOCKET (sd_notify(3)); see NotifyDir.
	Notify bool
	// Warn is told what is worth saying but no failure.
	Warn func(*fault.Error)

	test testHooks
}

// testHooks let tests of this package break a creation anywhere.
type testHooks struct {
	facts   func(*host.Facts)      // another machine
	program func(*nsenter.Program) // before it is sent
	event   func(nsenter.Event)    // before it is answered
}

// Process is a container's first process as its creator sees it.
type Process struct {
	PID   int
	Pidfd *os.File
	PTMX  *os.File // of its terminal, unless a console socket took it

	child   *nsenter.Child // waiting at SyncReady where there is no exec.fifo
	hooks   *specs.Hooks
	explain func(error) error
}

// Create makes a container up to, but not including, execve: its init waits at
// exec.fifo (opt.Fifo), or for Process.Release. Whatever fails, all that was
// made is taken back. The container is returned locked.
func Create(opt CreateOptions) (_ *Container, _ *Process, err error) {
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
	if err := checkTerminal(b.Spec, opt); err != nil {
		return nil, nil, err
	}
	facts := host.Probe()
	if opt.test.facts != nil {
		opt.test.facts(&facts)
	}
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
	if err := checkRoot(plan.Rootfs.Root); err != nil {
		return nil, nil, err
	}
	for _, note := range plan.Notes {
		(&Container{Warn: opt.Warn}).warn(note)
	}
	if err := plan.CompileSeccomp(filepath.Join(opt.Root, seccompCache)); err != nil {
		return nil, nil, err
	}
	c := &creation{opt: opt, plan: plan, bundle: b, facts: facts}
	defer func() { err = c.undo.OnError(err) }()
	if err := c.makeState(); err != nil {
		return nil, nil, err
	}
	if err := c.birth(); err != nil {
		return nil, nil, err
	}
	if err := c.converse(); err != nil {
		return nil, nil, err
	}
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

// checkTerminal refuses a terminal that nobody would hold.
func checkTerminal(spec *specs.Spec, opt CreateOptions) error {
	terminal := spec.Process != nil && spec.Process.Terminal
	switch {
	case terminal && opt.Detach && opt.ConsoleSocket == "":
		return &fault.Error{Op: "terminal", Field: "/process/terminal", Phase: fault.PhasePlan, Code: "usage",
			Msg:  "cannot allocate tty if runtime will detach without setting console socket",
			Hint: "pass --console-socket, or set terminal to false"}
	case opt.ConsoleSocket != "" && !(terminal && opt.Detach):
		return &fault.Error{Op: "terminal", Path: opt.ConsoleSocket, Field: "/process/terminal", Phase: fault.PhasePlan, Code: "usage",
			Msg:  "cannot use console socket if runtime will not detach or allocate tty",
			Hint: "leave --console-socket out, or set terminal to true"}
	}
	return nil
}

// creation is one container while it is being made.
type creation struct {
	*Container
	opt    CreateOptions
	plan   *Plan
	bundle *bundle.Bundle
	facts  host.Facts
	undo   fault.Undo

	child   *nsenter.Child
	group   *cgroups.Group
	process Process
	reaped  bool // child has been waited for: its pid may be another's
	hooked  bool // hooks have run: poststop is due whatever happens
}

// makeState makes the state directory and records what will be made, before
// any of it is.
func (c *creation) makeState() error {
	// Nobody else may come near exec.fifo, which any user may write to.
	if err := os.MkdirAll(c.opt.Root, 0o700); err != nil {
		e := fault.From(err, "mkdir", c.opt.Root).In(fault.PhaseState)
		if errors.Is(err, fs.ErrPermission) {
			e.Hint = "set XDG_RUNTIME_DIR, or choose another directory with --root"
		}
		return e
	}
	if c.facts.EUID != 0 {
		// Below XDG_RUNTIME_DIR, what is not sticky may be cleaned up.
		unix.Chmod(c.opt.Root, unix.S_ISVTX|0o700)
	}
	c.Container = &Container{ID: c.opt.ID, Warn: c.opt.Warn, dir: filepath.Join(c.opt.Root, c.opt.ID)}
	err := unix.Mkdir(c.dir, 0o711)
	if errors.Is(err, fs.ErrExist) {
		return errExists(c.ID)
	}
	if err != nil {
		return fault.From(err, "mkdir", c.dir).In(fault.PhaseState)
	}
	if err := c.lock(false); err != nil {
		// A delete --force was quicker. What is there by now may be another's:
		// rmdir(2) takes nothing that has content.
		unix.Rmdir(c.dir)
		return err
	}
	c.record = c.firstRecord()
	c.undo.Add(c.abandon)
	if err := c.claimGroup(); err != nil {
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
		Created: time.Now().UTC(), UID: c.facts.EUID, Annotations: c.bundle.Spec.Annotations,
		OwnPIDs: n.isNew("pid"), Namespaces: own, Privileged: c.plan.privileged,
		Process: c.bundle.Spec.Process != nil, Hooks: kindsOf(c.bundle.Spec.Hooks),
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

// birth starts the child, inside its group where the kernel can do that, and
// hands it the program. The child starts while the program is still compiled.
func (c *creation) birth() error {
	if c.plan.Cgroup.Born() {
		if err := c.makeGroup(); err != nil {
			return err
		}
	}
	if err := c.start(); err != nil {
		return err
	}
	program, err := c.compile()
	if err != nil {
		return err
	}
	if err := c.limitGroup(); err != nil {
		return err
	}
	files, err := c.handOut()
	defer func() { closeAll(files) }()
	if err != nil {
		return err
	}
	return c.child.Send(program, files)
}

// limitGroup sets the group's limits before anything but the waiting preamble
// is in it, and moves that there where it was not born in it.
func (c *creation) limitGroup() error {
	if c.plan.Cgroup.Born() {
		return c.group.Limit(c.plan.Cgroup)
	}
	if err := c.makeGroup(); err != nil {
		return err
	}
	if err := c.group.Limit(c.plan.Cgroup); err != nil {
		return err
	}
	return c.group.Add(c.child.PID)
}

func (c *creation) makeGroup() error {
	group, err := cgroups.Make(c.plan.Cgroup)
	if err != nil {
		c.record.Cgroup = cgroups.State{} // Make has taken back what it made
		return err
	}
	c.group = group
	if c.record.Cgroup = group.State(); len(c.record.Cgroup.Above) > 0 {
		return c.save()
	}
	return nil
}

func (c *creation) start() error {
	exe, err := nsenter.Seal(c.facts.Privileged())
	if err != nil {
		return err
	}
	defer exe.Close()
	if c.adopts() {
		if err := supervise.SetSubreaper(true); err != nil {
			return err
		}
	}
	config := nsenter.Config{
		Exe: exe, Stdio: c.opt.Stdio, Preserve: c.opt.Preserved, Clone: c.plan.Namespaces.birth(),
	}
	if c.plan.Cgroup.Born() {
		if config.Cgroup, err = c.group.FD(); err != nil {
			return err
		}
		defer config.Cgroup.Close()
	}
	if c.child, err = nsenter.Start(config); err != nil {
		return err
	}
	c.process.child = c.child
	return nil
}

// adopts tells whether this process must be a subreaper: to wait for an init
// that is its grandchild, or for what an init without a pid namespace of its
// own leaves behind.
func (c *creation) adopts() bool {
	n := c.plan.Namespaces
	return c.opt.Reap && (n.forks() || !c.opt.NoSubreaper && !n.isNew("pid"))
}

// abandon takes back all that was made, after a failure.
func (c *creation) abandon() error {
	if c.child != nil {
		c.kill()
	}
	err := c.Container.takeBack()
	if c.hooked {
		err = errors.Join(err, c.runHooks(c.plan.Hooks, "poststop", specs.StateStopped))
	}
	c.Unlock()
	return err
}

// kill ends the child and the init it may have forked, and waits for both.
func (c *creation) kill() {
	c.child.Close()
	if !c.reaped {
		unix.Kill(c.child.PID, unix.SIGKILL)
		c.reap()
	}
	c.process.end()
}

// reap waits for the end of the child, once.
func (c *creation) reap() (unix.WaitStatus, error) {
	c.reaped = true
	return c.child.Wait()
}

// end kills init and waits for it.
func (p *Process) end() {
	if p.Pidfd != nil {
		unix.PidfdSendSignal(int(p.Pidfd.Fd()), unix.SIGKILL, nil, 0)
		awaitEnd(p.Pidfd, int(killPatience.Milliseconds()))
		unix.Wait4(p.PID, nil, unix.WNOHANG, nil)
		p.Pidfd.Close()
	}
	if p.PTMX != nil {
		p.PTMX.Close()
	}
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

// converse answers the child until init is ready for execve.
func (c *creation) converse() error {
	for {
		event, err := c.child.Next()
		if err != nil {
			return c.plan.explain(err)
		}
		if c.opt.test.event != nil {
			c.opt.test.event(event)
		}
		if event.PID != 0 {
			err = c.adopt(event.PID)
		} else if event.End {
			err = c.died()
		} else if event.FD != nil {
			c.process.PTMX = event.FD
		} else {
			err = c.answer(event.Sync)
		}
		if err != nil {
			return err
		}
		if event.Sync == nsenter.SyncReady {
			return nil
		}
	}
}

func (c *creation) answer(id nsenter.SyncID) (err error) {
	switch id {
	case nsenter.SyncMaps:
		err = c.plan.Namespaces.writeMaps(c.child.PID)
	case nsenter.SyncOffsets:
		err = c.plan.Namespaces.writeOffsets(c.child.PID)
	case nsenter.SyncHooks:
		err = c.hooks()
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
// would have counted in; of init, while it still has the runtime's own ids,
// without which prlimit(2) needs CAP_SYS_RESOURCE.
func (c *creation) limits() error {
	if err := c.adopted(); err != nil {
		return err
	}
	if err := c.group.Late(); err != nil {
		return err
	}
	if c.plan.Process == nil {
		return nil
	}
	return c.plan.Process.Outside(c.process.PID)
}

// adopted makes sure that init is known: where the program does not fork, it
// is the preamble itself.
func (c *creation) adopted() error {
	if c.process.PID != 0 {
		return nil
	}
	return c.adopt(c.child.PID)
}

// adopt notes who init is.
func (c *creation) adopt(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return c.died()
	}
	c.process.PID = pid
	c.process.Pidfd = os.NewFile(uintptr(fd), "pidfd")
	if pid != c.child.PID {
		c.reap()
		if c.opt.NoSubreaper {
			supervise.SetSubreaper(false)
		}
	}
	c.record.PID = pid
	if c.record.StartTime, _, err = startTime(pid); err != nil {
		return c.died()
	}
	return nil
}

// died explains an end of file before init was ready.
func (c *creation) died() error {
	e := &fault.Error{Op: "start", Path: "the container's first process", Phase: fault.PhaseProcess,
		Msg: "it died", Hint: "if the kernel's log shows an out-of-memory kill, /linux/resources/memory/limit is too low"}
	if c.process.PID == 0 && !c.reaped {
		if status, err := c.reap(); err == nil {
			e.Msg = "it died: " + supervise.ExitStatus(status).String()
		}
	}
	return e
}

// ready writes down that the container is created, and lets init wait for
// start.
func (c *creation) ready() error {
	if err := c.handOver(); err != nil {
		return err
	}
	if !c.opt.Fifo {
		// Only its name says that the process is still to be executed.
		if err := writeFile(c.path(fifoFile), nil); err != nil {
			return fault.From(err, "write", c.path(fifoFile)).In(fault.PhaseState)
		}
	}
	if err := c.save(); err != nil {
		return err
	}
	if c.opt.PidFile != "" {
		if err := supervise.WritePidFile(c.opt.PidFile, c.process.PID); err != nil {
			return err
		}
	}
	if !c.opt.Fifo {
		return nil
	}
	return c.child.Go(nsenter.SyncReady)
}

// handOver sends the terminal and the pidfd to who asked for them.
func (c *creation) handOver() error {
	if c.opt.ConsoleSocket != "" && c.process.PTMX != nil {
		name, err := supervise.PTYName(c.process.PTMX)
		if err != nil {
			return err
		}
		if err := supervise.SendPTY(c.opt.ConsoleSocket, c.process.PTMX, name); err != nil {
			return err
		}
		c.process.PTMX.Close()
		c.process.PTMX = nil
	}
	if c.opt.PidfdSocket != "" {
		return supervise.SendPidfd(c.opt.PidfdSocket, c.process.Pidfd, "standard")
	}
	return nil
}

// hooks runs what belongs before the pivot. From then on poststop is due.
func (c *creation) hooks() error {
	if err := c.adopted(); err != nil {
		return err
	}
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

// awaitEnd waits for the process of pidfd to end, at most ms milliseconds; -1
// is for ever. It tells whether it has ended.
func awaitEnd(pidfd *os.File, ms int) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd.Fd()), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, ms)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return n == 1
	}
}
