package libcontainer

import (
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/libcontainer/bundle"
	"berth/libcontainer/fault"
	"berth/libcontainer/host"
	"berth/libcontainer/process"
	"berth/libcontainer/trace"
	"berth/nsenter"
)

// ExecSteps are the last steps of a container's program, kept in its record:
// they run when the runtime that compiled them is gone.
type ExecSteps = nsenter.Tail

// Start lets the created container execute its process: startContainer hooks,
// execve, poststart hooks. A hook that fails stops and deletes the container
// (runtime.md#lifecycle). c must be locked; once its process runs it is not (see
// Yield).
func (c *Container) Start() error {
	if status := c.status(); status != specs.StateCreated {
		return &fault.Error{Op: "start", Path: c.ID, Phase: fault.PhaseExec, Code: "not-created",
			Msg: fmt.Sprintf("cannot start a container that has %s", describe(status))}
	}
	if !c.record.Process {
		return errNoProcess(c.ID)
	}
	trace.Phase(fault.PhaseConfig)
	hooks, err := c.hooksFor("startContainer", "poststart")
	if err != nil {
		return err
	}
	return c.hooked(hooks, c.release)
}

func errNoProcess(id string) error {
	return &fault.Error{Op: "start", Path: id, Field: "/process", Phase: fault.PhaseExec,
		Msg: "process is missing", Hint: "create a container from a config.json that has it"}
}

// hooksFor are all hooks of the container, or nil without reading config.json
// where it has none of the kinds.
func (c *Container) hooksFor(kinds ...string) (*specs.Hooks, error) {
	if !slices.ContainsFunc(kinds, func(k string) bool { return slices.Contains(c.record.Hooks, k) }) {
		return nil, nil
	}
	spec, err := c.spec()
	if err != nil {
		return nil, err
	}
	return spec.Hooks, nil
}

// hooked runs release between the startContainer and the poststart hooks.
func (c *Container) hooked(hooks *specs.Hooks, release func() error) error {
	if err := c.runHooks(hooks, "startContainer", specs.StateCreated); err != nil {
		return c.stopAfter(err, hooks)
	}
	if err := release(); err != nil {
		return err
	}
	c.Yield() // poststart hooks may use any command on the container
	err := c.runHooks(hooks, "poststart", specs.StateRunning)
	if err == nil {
		return nil
	}
	if lost := c.Lock(); errors.Is(lost, ErrNotExist) {
		return err
	} else if lost != nil {
		return errors.Join(err, lost)
	}
	return c.stopAfter(err, hooks)
}

// stopAfter stops and deletes the container, of which a hook has failed.
func (c *Container) stopAfter(err error, hooks *specs.Hooks) error {
	trace.Fail(err)
	return errors.Join(err, c.stop(hooks))
}

func describe(s specs.ContainerState) string {
	switch s {
	case specs.StateStopped:
		return "stopped"
	case specs.StateCreating:
		return "not been created yet"
	case StatusPaused:
		return "been paused; resume it first"
	}
	return "already started (" + string(s) + ")"
}

// spec is the config.json that the container was created from.
func (c *Container) spec() (*specs.Spec, error) {
	path := c.path(configFile)
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return nil, c.damaged(fault.From(err, "read", path))
	}
	if e := plain(&st, path); e != nil {
		return nil, c.damaged(e)
	}
	b, err := bundle.Load(c.dir)
	if err != nil {
		return nil, err
	}
	return b.Spec, nil
}

// release opens exec.fifo, where init waits, and waits for execve: end of file
// is success, a record is the step that failed.
func (c *Container) release() error {
	trace.Phase(fault.PhaseExec)
	// Before init is let go: it may have ended and been reaped right after.
	pidfd, err := unix.PidfdOpen(c.record.PID, 0)
	if err != nil {
		return errNotRunning(c.ID)
	}
	defer unix.Close(pidfd)
	if !c.alive() {
		return errNotRunning(c.ID) // the pid is another's by now
	}
	path := c.path(fifoFile)
	fd, err := openFile(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW, 0)
	if err != nil {
		return c.damaged(fault.From(err, "open", path).In(fault.PhaseExec))
	}
	defer func() {
		if fd >= 0 {
			unix.Close(fd)
		}
	}()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
		return c.damaged(&fault.Error{Op: "open", Path: path, Msg: "not a FIFO", Phase: fault.PhaseExec})
	}
	if !awaitRecord(fd, pidfd) {
		return errNotRunning(c.ID) // it was killed before it opened the fifo
	}
	raw := make([]byte, nsenter.ReportSize+1)
	n, err := unix.Read(fd, raw)
	if n > 0 {
		failure := c.execError(raw[:n])
		unix.Close(fd) // what init waits for
		fd = -1
		// containerd deletes the task at once, and leaves all of it behind if it is not stopped by then.
		awaitEndOf(pidfd, int(killPatience.Milliseconds()))
		return failure
	}
	if err != nil {
		return errNotRunning(c.ID) // it was killed while it held the fifo open
	}
	if err := unix.Unlink(path); err != nil {
		return fault.From(err, "remove", path).In(fault.PhaseState)
	}
	return nil
}

// awaitRecord waits until the fifo has a record or lost its writer, or init is
// gone, and tells whether init had opened the fifo: poll(2) reports no hang-up
// of one that never had a writer, where read(2) sees an end of file.
func awaitRecord(fifo, pidfd int) bool {
	fds := []unix.PollFd{{Fd: int32(fifo), Events: unix.POLLIN}, {Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		_, err := unix.Poll(fds, -1)
		if !errors.Is(err, unix.EINTR) {
			return fds[0].Revents != 0
		}
	}
}

// execError explains a record of init, which exits once the fifo is closed.
func (c *Container) execError(raw []byte) error {
	step, errno, ok := nsenter.ReadReport(raw)
	if !ok || c.record.Exec == nil {
		return &fault.Error{Op: "start", Path: c.ID, Msg: "init failed without a reason", Phase: fault.PhaseExec}
	}
	failure := c.record.Exec.Failure(step, errno)
	spec, err := c.spec()
	if err != nil {
		return failure
	}
	plan, _, _ := process.NewPlan(spec, host.Facts{}, process.Options{})
	return plan.Diagnose(failure, c.record.PID)
}

// Release lets an init that has no exec.fifo execute its process, and waits
// until it has, with the hooks before and after. c is locked as for Start.
func (c *Container) Release(p *Process) error {
	return c.hooked(p.hooks, func() error {
		err := p.release()
		unix.Unlink(c.path(fifoFile))
		return err
	})
}
