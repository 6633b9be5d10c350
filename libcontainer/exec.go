package libcontainer

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/cgroups"
	"berth/libcontainer/bundle"
	"berth/libcontainer/fault"
	"berth/libcontainer/host"
	"berth/libcontainer/trace"
	"berth/nsenter"
)

// ExecOptions is what exec is asked for.
type ExecOptions struct {
	ProcessOptions
	Command
	File string // with the process as JSON, instead of Command; "" is none
	// Cgroups are groups below the container's own; see cgroups.State.Below.
	Cgroups []string
	// IgnorePaused lets the process wait in a frozen group.
	IgnorePaused bool
	Rootless     cgroups.Rootless
}

// Exec makes one more process in a container, up to, but not including, execve:
// it waits for Process.Execute. Whatever fails, nothing of it stays. The
// container need not be locked.
func (c *Container) Exec(opt ExecOptions) (*Process, error) {
	p, err := c.exec(opt)
	if err != nil {
		return nil, opt.told(err)
	}
	explain := p.explain
	p.explain = func(err error, pid int) error { return opt.told(explain(err, pid)) }
	return p, nil
}

// told makes errors point to where their entries are: in opt.File, on the
// command line, or in the container's config.json.
func (opt ExecOptions) told(err error) error {
	fault.Each(err, func(e *fault.Error) {
		entry, ok := strings.CutPrefix(string(e.Field), "/process")
		switch {
		case !ok:
		case opt.File != "":
			e.Doc, e.Field = filepath.Base(opt.File), fault.Pointer(entry)
		case strings.HasPrefix(entry, "/args"):
			e.Field = ""
		}
	})
	return err
}

func (c *Container) exec(opt ExecOptions) (*Process, error) {
	if err := c.canExec(opt.IgnorePaused); err != nil {
		return nil, err
	}
	target, err := c.openInit()
	if err != nil {
		return nil, err
	}
	defer target.Close()
	trace.Phase(fault.PhasePlan)
	plan, err := c.preparedExec(opt)
	if err != nil {
		return nil, err
	}
	trace.Phase(fault.PhaseCgroup)
	group, err := c.execGroup(opt.Cgroups, opt.Rootless.Holds(plan.facts), opt.Warn)
	if err != nil {
		return nil, err
	}
	return c.join(plan, opt.ProcessOptions, target, group)
}

// join makes the process of a plan, up to, but not including, execve. target is
// init's pidfd, which stays the caller's.
func (c *Container) join(plan *execPlan, opt ProcessOptions, target *os.File, group cgroups.State) (_ *Process, err error) {
	if len(group.Dirs) == 0 || group.UserUnit {
		plan.entry = entersByMove // into none, or by the user's systemd where the user may not
	}
	e := &execution{
		Container: c, launch: launch{options: opt, explain: plan.explain},
		plan: plan, target: target, group: group,
	}
	defer func() {
		if err != nil {
			e.kill()
		}
	}()
	e.groups = func() cgroups.State { return e.group }
	if err := e.birth(); err != nil {
		return nil, err
	}
	e.listen = func(fd *os.File) error {
		return c.sendListener(plan.process.Listener(), fd, e.process.PID, c.status())
	}
	if err := e.converse(e.answer, nil); err != nil {
		return nil, err
	}
	e.process.explain = plan.explain
	return &e.process, nil
}

// preparedExec is the plan of a process that joins the container, with its
// seccomp filter.
func (c *Container) preparedExec(opt ExecOptions) (*execPlan, error) {
	spec, err := c.execSpec(opt)
	if err != nil {
		return nil, err
	}
	if err := opt.checkTerminal(spec.Process.Terminal); err != nil {
		return nil, err
	}
	facts := host.ProbeProcess()
	facts.LSM = probeLSM(spec)
	plan, err := c.planExec(spec, facts, len(opt.Preserved))
	if err != nil {
		return nil, err
	}
	// Of the container's own process it was said by create.
	if opt.File != "" || len(opt.Caps) > 0 {
		for _, note := range plan.notes {
			(&Container{Warn: opt.Warn}).warn(note)
		}
	}
	return plan, c.compileFilter(plan)
}

func (c *Container) compileFilter(plan *execPlan) error {
	return compileSeccomp(plan.process, filepath.Join(filepath.Dir(c.dir), seccompCache))
}

// execGroup is where a process that joins the container belongs: in the groups
// below the container's that were asked for, else in its own or, where those
// take no processes any more, in init's. A rootless runtime outside of the
// groups that are delegated to it may not move anything into them: the process
// then stays where the runtime is, and warn is told.
func (c *Container) execGroup(below []string, rootless bool, warn func(*fault.Error)) (cgroups.State, error) {
	group, err := c.record.Cgroup.Below(below)
	if err != nil || len(below) > 0 || len(group.Dirs) == 0 {
		return group, err
	}
	if rootless && !group.UserUnit {
		facts := host.Probe()
		facts.Cgroup.ProbeRights()
		if !group.Joinable(facts.Cgroup) {
			(&Container{Warn: warn}).warn(errNotJoinable(group, facts))
			return cgroups.State{}, nil
		}
	}
	if group.Unified() && cgroups.Open(group).HandsDown() {
		group = group.Where(c.record.PID)
	}
	return group, nil
}

func errNotJoinable(group cgroups.State, facts host.Facts) *fault.Error {
	return &fault.Error{Op: "cgroup", Path: group.Dirs[len(group.Dirs)-1].Path, Phase: fault.PhaseCgroup,
		Msg:  "the process stays in " + facts.Cgroup.OwnV2() + ": the container's group and its limits are not for it, as they have no group above in common that is this user's",
		Hint: "run exec where run was started, such as in a scope of systemd-run --user"}
}

// Execute lets a process from Exec execute its program, and waits until it
// has.
func (p *Process) Execute() error {
	err := p.release()
	if err != nil {
		p.end()
	}
	return err
}

// canExec refuses the states in which nothing can join the container.
func (c *Container) canExec(ignorePaused bool) error {
	e := &fault.Error{Op: "exec", Path: c.ID, Phase: fault.PhaseExec, Code: "not-running"}
	switch c.status() {
	case specs.StateStopped:
		e.Msg = "cannot exec in a stopped container"
	case specs.StateCreating:
		e.Msg = "cannot exec in a container that has not been created yet"
	case StatusPaused:
		if ignorePaused {
			return nil
		}
		e.Msg, e.Code = "cannot exec in a paused container (use --ignore-paused to override)", "paused"
		e.Hint = "the process would wait until the container is resumed"
	default:
		return nil
	}
	return e
}

// openInit is a pidfd of the container's init: whatever becomes of its number,
// it is never another process.
func (c *Container) openInit() (*os.File, error) {
	fd, err := unix.PidfdOpen(c.record.PID, 0)
	if err != nil {
		return nil, errNotRunning(c.ID)
	}
	if !c.alive() {
		unix.Close(fd)
		return nil, errNotRunning(c.ID)
	}
	return os.NewFile(uintptr(fd), "pidfd"), nil
}

// joiningSpec is the container's configuration as far as it holds for a process
// that joins it, with a copy of its own process.
func (c *Container) joiningSpec() (*specs.Spec, error) {
	whole, err := c.spec()
	if err != nil {
		return nil, err
	}
	spec := &specs.Spec{Version: whole.Version, Process: &specs.Process{Cwd: "/"}}
	if whole.Process != nil {
		*spec.Process = *whole.Process
	}
	if l := whole.Linux; l != nil {
		spec.Linux = &specs.Linux{
			UIDMappings: l.UIDMappings, GIDMappings: l.GIDMappings, Namespaces: l.Namespaces,
			Seccomp: l.Seccomp, Personality: l.Personality, MemoryPolicy: l.MemoryPolicy,
		}
	}
	return spec, nil
}

// execSpec is joiningSpec with the process that exec is asked for.
func (c *Container) execSpec(opt ExecOptions) (*specs.Spec, error) {
	spec, err := c.joiningSpec()
	if err != nil {
		return nil, err
	}
	root := fmt.Sprintf("/proc/%d/root", c.record.PID)
	if opt.File != "" {
		spec.Process, err = processFrom(opt.File, spec.Process)
	} else {
		err = opt.Command.change(spec.Process, root)
	}
	if err != nil {
		return nil, err
	}
	if len(spec.Process.Args) == 0 {
		return nil, errNoArgs
	}
	spec.Process.Env = append(slices.Clip(spec.Process.Env), homeVariable(spec.Process, root)...)
	return spec, bundle.CheckProcess(spec).Err()
}

// execution is one process while it is being made to join a container.
type execution struct {
	*Container
	launch
	plan   *execPlan
	target *os.File // pidfd of init
	group  cgroups.State
}

// birth starts the child and hands it the program, once it is in the groups
// that it cannot enter by a fork.
func (e *execution) birth() error {
	if err := cgroups.Open(e.group).Room(e.plan.process.ExecMemory()); err != nil {
		return err
	}
	born := e.plan.entry == entersByBirth
	if err := e.start(born); err != nil {
		return e.explainStart(err)
	}
	trace.Phase("compile")
	program, err := e.plan.compile()
	if err != nil {
		return err
	}
	files, err := e.handOut()
	defer func() { closeAll(files) }()
	if err != nil {
		return err
	}
	// A pid that was used again meanwhile is noticed here.
	if awaitEnd(e.target, 0) {
		return errNotRunning(e.ID)
	}
	trace.Phase("send")
	return e.child.Send(program, append([]*os.File{e.target}, files...))
}

func (e *execution) start(born bool) (err error) {
	var config nsenter.Config
	if born {
		if config.Cgroup, err = cgroups.Open(e.group).FD(); err != nil {
			return err
		}
		defer config.Cgroup.Close()
	}
	if err := e.bear(config, e.options.Reap && e.plan.forks); err != nil {
		return err
	}
	if err := e.plan.process.SetInitialCPUs(e.child.PID); err != nil {
		return err
	}
	if err := e.record.Resctrl.Add(e.child.PID); err != nil {
		return err
	}
	if e.plan.entry == entersByMove {
		return cgroups.Open(e.group).Add(e.child.PID)
	}
	return nil
}

// handOut opens what goes with the program besides the pidfd. The descriptors
// are the caller's, also those of a failure.
func (e *execution) handOut() (files []*os.File, err error) {
	if e.plan.chroot {
		root, err := os.OpenFile("/proc/"+strconv.Itoa(e.record.PID)+"/root", unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			return nil, errNotRunning(e.ID)
		}
		files = append(files, root)
	}
	entries, err := e.plan.entry.open(cgroups.Open(e.group))
	return append(files, entries...), e.explainStart(err)
}

// explainStart says why the container's group is not to be joined.
func (e *execution) explainStart(err error) error {
	if errors.Is(err, unix.ENOENT) && awaitEnd(e.target, 0) {
		return errNotRunning(e.ID)
	}
	return err
}

func (e *execution) answer(id nsenter.SyncID) error {
	if err := e.adopted(); err != nil {
		return err
	}
	if id == nsenter.SyncLimits {
		if err := e.plan.process.Outside(e.process.PID); err != nil {
			return err
		}
		return e.child.Go(id)
	}
	return e.ready()
}

// ready tells who asked for it that the process is there.
func (e *execution) ready() error {
	if err := e.handOver("setns"); err != nil {
		return err
	}
	if awaitEnd(e.target, 0) {
		return errNotRunning(e.ID) // nobody would end it with the container
	}
	return e.writePidFile()
}
