package libcontainer

import (
	"errors"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/libcontainer/host"
	"berth/libcontainer/process"
	"berth/nsenter"
	"berth/rootfs"
)

// execPlan is what a process that joins a container needs, decided.
type execPlan struct {
	process *process.Plan
	notes   []*fault.Error
	pidfd   int  // the namespaces of init that it joins, CLONE_NEW* flags
	user    bool // one of them is a user namespace
	chroot  bool // the container has no mount namespace: its root is init's
	proc    bool // it needs a trusted procfs
	forks   bool
	entry   groupEntry
	groups  int // how many there are
	facts   host.Facts
}

// planExec decides; it reads and touches nothing.
func (c *Container) planExec(spec *specs.Spec, facts host.Facts, preserve int) (*execPlan, error) {
	namespaces, _ := planNamespaces(spec, facts)
	p := &execPlan{
		user: c.hasOwn("user"), forks: c.hasOwn("pid"), chroot: !c.hasOwn("mnt"),
		pidfd: c.ownNamespaces(), facts: facts,
	}
	var complaints fault.List
	p.process, p.notes, complaints = process.NewPlan(spec, facts, process.Options{
		ID: c.ID, UserNS: p.user, NoSetgroups: namespaces.DenySetgroups, NoNewKeyring: c.record.NoKeyring,
		Preserve: preserve, Joins: true,
	})
	p.proc = p.process.NeedsProc()
	// nsdelegate is for cgroup v2 alone.
	leaves := p.user || c.hasOwn("cgroup") && c.record.Cgroup.Unified()
	p.entry = planEntry(c.record.Cgroup, p.forks, leaves)
	if p.entry == entersByBirth && p.process.HasInitialCPUs() {
		p.entry = entersByMove // they hold until it is in the group
	}
	p.groups = len(c.record.Cgroup.Dirs)
	return p, complaints.Err()
}

func (p *execPlan) explain(err error, pid int) error {
	var e *fault.Error
	if !errors.As(err, &e) {
		return err
	}
	if e.Op == opJoin && e.Errno == unix.EPERM && !p.facts.Privileged() {
		e.Hint = "an ordinary user joins containers of his own only, and only once their process has been started"
	}
	return p.process.Diagnose(e, pid)
}

// spareFD is a number that no register's descriptor has.
const spareFD = 1000

// execReceived says which registers hold what the runtime hands over: a pidfd
// of init, its root where that is not the one of its mount namespace, the group
// to fork into or the files of groups to enter.
type execReceived struct {
	init, root, group nsenter.Reg
	procs             []nsenter.Reg
	count             int
}

func (p *execPlan) received() execReceived {
	in := execReceived{init: 1, count: 1}
	next := func() nsenter.Reg {
		in.count++
		return nsenter.Reg(in.count)
	}
	if p.chroot {
		in.root = next()
	}
	switch p.entry {
	case entersByFork:
		in.group = next()
	case entersItself:
		for range p.groups {
			in.procs = append(in.procs, next())
		}
	}
	return in
}

// compile is the program.
func (p *execPlan) compile() (*nsenter.Program, error) {
	in := p.received()
	b := nsenter.NewBuilder(in.count)
	at := func(op string) { b.For(nsenter.Origin{Op: op, Phase: fault.PhaseNamespaces}) }
	p.process.CompileEarly(b)
	var proc nsenter.Reg
	if p.proc {
		// The host's own, while nothing of the container's is in the way.
		at("open a procfs")
		proc = rootfs.CompileHostProc(b)
	}
	if p.pidfd != 0 {
		at(opJoin)
		b.Setns(in.init, p.pidfd)
	}
	b.Close(in.init)
	if p.user {
		becomeRoot(b)
	}
	at("open the container's root")
	root := in.root
	if p.chroot {
		b.Fchdir(root)
		b.ChrootHere()
	} else {
		root = b.OpenHost("/", unix.O_PATH|unix.O_DIRECTORY)
	}
	b.RootOpen()
	var console nsenter.Reg
	if p.process.Terminal() {
		console = rootfs.CompileTerminal(b, root, proc, spareFD)
	}
	if p.proc {
		p.process.CompileLabels(b, proc)
		b.Close(proc)
	}
	if p.forks {
		// From here on the container sees the process, which has nothing of the
		// host's any more but its end of the conversation.
		at("fork")
		forkInto(b, in.group)
	}
	enterGroups(b, in.procs)
	p.process.CompileSetup(b, 0)
	if p.process.NeedsOutside() || p.user {
		b.For(nsenter.Origin{Op: "limit", Phase: fault.PhaseProcess})
		b.Sync(nsenter.SyncLimits)
	}
	program := p.process.CompileFinish(b, root, console)
	p.process.CompileListener(b)
	b.For(nsenter.Origin{Op: "hand over", Phase: fault.PhaseProcess})
	b.Sync(nsenter.SyncReady)
	p.process.CompileExec(b, program)
	return b.Program()
}

const opJoin = "join the container's namespaces"
