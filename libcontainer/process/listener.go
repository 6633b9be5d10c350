package process

import (
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/fault"
	"berth/nsenter"
)

// Listener is the agent that answers the system calls that a filter notifies.
type Listener struct {
	Path     string // of the agent's socket
	Metadata string // for the agent, as config.json has it
}

// Listener is nil where the filter notifies nobody.
func (p *Plan) Listener() *Listener { return p.listener }

func (p *Plan) agent() string {
	if p.listener == nil {
		return ""
	}
	return p.listener.Path
}

// listener plans linux.seccomp.listenerPath, which counts only with a rule that
// notifies. The filter's descriptor comes into being with the filter, so what
// the walker does from there to execve happens under it: the calls have to be
// allowed. What it notifies of them the agent answers, which has the
// descriptor by then; but for sendmsg, which hands that over (bundle refuses
// it).
func (m *planner) listener(p *Plan, s *specs.LinuxSeccomp) {
	if !slices.ContainsFunc(s.Syscalls, func(r specs.LinuxSyscall) bool { return r.Action == specs.ActNotify }) {
		return
	}
	p.listener = &Listener{s.ListenerPath, s.ListenerMetadata}
	for _, call := range []string{"sendmsg", "recvmsg", "openat", "close"} {
		if !allows(s, call) {
			m.complain("/linux/seccomp", "", "with SCMP_ACT_NOTIFY the filter is there before the container is, and it does not allow "+call,
				"add a rule with SCMP_ACT_ALLOW for it")
		}
	}
	const flag = specs.LinuxSeccompFlagWaitKillableRecv
	if i := slices.Index(s.Flags, flag); i >= 0 && !m.facts.Kernel.AtLeast(5, 19) {
		m.complain(fault.Pointer("/linux/seccomp/flags").Index(i), string(flag), "it needs Linux 5.19", "leave it out")
	}
}

// CompileListener installs a filter that notifies, and hands its descriptor to
// the runtime, which has to give it to the agent before it answers SyncReady.
// For other filters it adds nothing: they come with CompileExec.
func (p *Plan) CompileListener(b *nsenter.Builder) {
	if p.listener == nil {
		return
	}
	if p.Filter == nil {
		panic("process: linux.seccomp was not compiled")
	}
	origin(b, "/linux/seccomp", "seccomp", "")
	fd := b.SeccompListener(p.Filter.BPF, p.Filter.Flags)
	origin(b, "/linux/seccomp/listenerPath", "seccomp", p.listener.Path)
	b.SendFD(nsenter.SyncListener, fd)
	p.giveBackAdmin(b)
}

// NeedsProc tells whether CompileLabels or a terminal needs a trusted procfs.
func (p *Plan) NeedsProc() bool { return p.terminal || len(p.labels) > 0 }
