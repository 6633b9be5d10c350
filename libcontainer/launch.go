package libcontainer

import (
	"cmp"
	"errors"
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/cgroups"
	"berth/libcontainer/fault"
	"berth/libcontainer/supervise"
	"berth/libcontainer/trace"
	"berth/nsenter"
)

// ProcessOptions are what create, run and exec are asked for alike.
type ProcessOptions struct {
	Stdio         [3]int     // of the process; stay the caller's
	Preserved     []*os.File // its descriptors from 3 on; stay the caller's
	PidFile       string
	ConsoleSocket string // takes the terminal's ptmx
	PidfdSocket   string // takes the process's pidfd
	// Detach: this runtime will not stay with the process.
	Detach bool
	// Reap makes this process the parent, so that it can wait for it.
	Reap bool
	// NoSubreaper keeps it from adopting the process's orphans too.
	NoSubreaper bool
	// Warn is told what is worth saying but no failure.
	Warn func(*fault.Error)
}

// checkTerminal refuses a terminal that nobody would hold.
func (opt ProcessOptions) checkTerminal(terminal bool) error {
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

// Process is a process of a container as the runtime that makes it sees it.
type Process struct {
	PID   int
	Pidfd *os.File
	PTMX  *os.File // of its terminal, unless a console socket took it

	child   *nsenter.Child // waiting at SyncReady where there is no exec.fifo
	hooks   *specs.Hooks
	explain explainer
}

// explainer rewrites an error of a process for its reader. pid is the process,
// whose root it may look into: one whose program could not be executed stays
// until the conversation is closed. 0 is none.
type explainer func(err error, pid int) error

// release lets a process that waits at SyncReady execute its program, and
// waits until it has.
func (p *Process) release() error {
	trace.Phase(fault.PhaseExec)
	if err := p.child.Go(nsenter.SyncReady); err != nil {
		return err
	}
	_, err := p.child.Next()
	err = p.explain(err, p.PID)
	p.child.Close()
	return err
}

// end kills the process and waits for it.
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

// groupEntry is how a process comes into the container's groups. Whoever is
// born in a group of cgroup v2 need not be moved, for which the kernel waits
// until no processor forks.
type groupEntry int

const (
	entersByMove  groupEntry = iota // the preamble is written into cgroup.procs
	entersByBirth                   // the preamble is born in the group
	entersByFork                    // what the preamble forks is
	entersItself                    // what the preamble forks writes itself into cgroup.procs
	entersBySync                    // what the preamble forks waits until it has been moved
)

// planEntry decides by what the preamble does before it forks: in a user
// namespace it has no right to the group any more (clone3(2), EACCES; before
// Linux 5.16 the same goes for cgroup.procs), and from another's cgroup
// namespace the group may not be seen (cgroups(7), nsdelegate: ENOENT). The
// later init enters, the less memory of the kernel's for its namespaces counts
// against its limit.
func planEntry(groups cgroups.State, forks, leaves bool) groupEntry {
	switch {
	case len(groups.Dirs) == 0:
		return entersByMove
	case !groups.Unified() && forks && !leaves:
		return entersItself
	case !groups.Unified():
		return entersByMove
	case forks && !leaves:
		return entersByFork
	}
	return entersByBirth
}

// open opens what the program needs to enter the group, if anything. The
// descriptors are the caller's, also those of a failure.
func (e groupEntry) open(group *cgroups.Group) ([]*os.File, error) {
	switch e {
	case entersByFork:
		dir, err := group.FD()
		if err != nil {
			return nil, err
		}
		return []*os.File{dir}, nil
	case entersItself:
		return group.OpenProcs()
	}
	return nil, nil
}

// launch is one process of a container while it is being made: the preamble,
// the conversation with it, and what has become of it so far.
type launch struct {
	options ProcessOptions
	explain explainer
	groups  func() cgroups.State // that the process is in, or will be
	listen  func(*os.File) error // takes the descriptor of a filter that notifies
	child   *nsenter.Child
	process Process
	reaped  bool // child has been waited for: its pid may be another's
}

// bear starts the preamble. adopt makes this process a subreaper first.
func (l *launch) bear(config nsenter.Config, adopt bool) (err error) {
	if adopt {
		if err := supervise.SetSubreaper(true); err != nil {
			return err
		}
	}
	trace.Phase("preamble")
	config.Stdio, config.Preserve = l.options.Stdio, l.options.Preserved
	if l.child, err = nsenter.Start(config); err != nil {
		return err
	}
	l.process.child = l.child
	return nil
}

// converse answers the child until the process is ready for execve: answer does
// what each Sync asks for, and lets the child go. watch sees every event
// before, and may be nil.
func (l *launch) converse(answer func(nsenter.SyncID) error, watch func(nsenter.Event)) error {
	for {
		trace.Phase("walker")
		event, err := l.child.Next()
		if err != nil {
			return l.outOfMemory(l.explain(err, cmp.Or(l.process.PID, l.child.PID)))
		}
		if watch != nil {
			watch(event)
		}
		switch {
		case event.PID != 0:
			err = l.adopt(event.PID)
		case event.End:
			err = l.died()
		case event.Sync == nsenter.SyncListener:
			if err = l.adopted(); err == nil {
				err = l.listen(event.FD)
			}
		case event.FD != nil:
			l.process.PTMX = event.FD
		default:
			trace.Phase(event.Sync.String())
			err = answer(event.Sync)
		}
		if err != nil {
			return err
		}
		if event.Sync == nsenter.SyncReady {
			return nil
		}
	}
}

// adopted makes sure that the process is known: where the program does not
// fork, it is the preamble itself.
func (l *launch) adopted() error {
	if l.process.PID != 0 {
		return nil
	}
	return l.adopt(l.child.PID)
}

// adopt notes which process it is.
func (l *launch) adopt(pid int) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return l.died()
	}
	l.process.PID = pid
	l.process.Pidfd = os.NewFile(uintptr(fd), "pidfd")
	if l.child != nil && pid != l.child.PID {
		l.reap()
		if l.options.NoSubreaper {
			supervise.SetSubreaper(false)
		}
	}
	return nil
}

// died explains an end of file before the process was ready.
func (l *launch) died() error {
	e := &fault.Error{Op: "start", Path: "the container's process", Phase: fault.PhaseProcess,
		Msg: "it died", Hint: "the kernel's log may say why: a group above the container's may be out of memory"}
	if l.process.PID == 0 && !l.reaped {
		if status, err := l.reap(); err == nil {
			e.Msg = "it died: " + supervise.ExitStatus(status).String()
		}
	}
	return l.outOfMemory(e)
}

// outOfMemory says of a failure that may come from it that the kernel has
// killed at the group's limit of memory. (A limit that is too low as such is
// refused before: cgroups.Group.Late, Room.)
func (l *launch) outOfMemory(err error) error {
	var e *fault.Error
	if !errors.As(err, &e) || e.Errno != 0 && e.Errno != unix.ENOMEM {
		return err
	}
	if limit := cgroups.Open(l.groups()).OutOfMemory(); limit != "" {
		e.Field = "/linux/resources/memory/limit"
		e.Hint = "the kernel has killed in this group at its memory limit of " + limit + ": raise the limit"
	}
	return err
}

// kill ends the child and the process it may have forked, and waits for both.
func (l *launch) kill() {
	if l.child != nil {
		l.child.Close()
	}
	if l.child != nil && !l.reaped {
		unix.Kill(l.child.PID, unix.SIGKILL)
		l.reap()
	}
	l.process.end()
}

// reap waits for the end of the child, once.
func (l *launch) reap() (unix.WaitStatus, error) {
	l.reaped = true
	return l.child.Wait()
}

// handOver sends the terminal and the pidfd to who asked for them. kind is
// what goes with the pidfd: "standard" for init, "setns" for others.
func (l *launch) handOver(kind string) error {
	if l.options.ConsoleSocket != "" && l.process.PTMX != nil {
		name, err := supervise.PTYName(l.process.PTMX)
		if err != nil {
			return err
		}
		if err := supervise.SendPTY(l.options.ConsoleSocket, l.process.PTMX, name); err != nil {
			return err
		}
		l.process.PTMX.Close()
		l.process.PTMX = nil
	}
	if l.options.PidfdSocket != "" {
		return supervise.SendPidfd(l.options.PidfdSocket, l.process.Pidfd, kind)
	}
	return nil
}

func (l *launch) writePidFile() error {
	if l.options.PidFile == "" {
		return nil
	}
	return supervise.WritePidFile(l.options.PidFile, l.process.PID)
}

// awaitEnd waits for the process of pidfd to end, at most ms milliseconds; -1
// is for ever. It tells whether it has ended.
func awaitEnd(pidfd *os.File, ms int) bool { return awaitEndOf(int(pidfd.Fd()), ms) }

// awaitEndOf is awaitEnd for a bare descriptor.
func awaitEndOf(pidfd, ms int) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, ms)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return n == 1
	}
}
