// Package process plans the last mile before execve: what makes the first
// process of a container the one that config.json describes.
//
// NewPlan decides (pure: no system call, no file, no clock). The Compile
// methods turn the plan into steps of the container's program, in the order in
// which they are named here:
//
//	CompileEarly   before any namespace is joined
//	CompileSetup   all namespaces made, hooks run, before the pivot
//	CompileFinish  after the pivot
//	CompileListener before the runtime hears that all is ready
//	CompileExec    after exec.fifo was opened
//
// Outside is the part that the runtime does itself to the waiting process.
package process

import (
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/libcontainer/host"
	"berth/libcontainer/process/seccomp"
	"berth/nsenter"
)

// Options is what a plan needs to know besides config.json.
type Options struct {
	ID           string   // the container's, names its session keyring
	UserNS       bool     // the process runs in another user namespace than the runtime
	NoSetgroups  bool     // setgroups(2) is denied there (user_namespaces(7))
	NoNewKeyring bool     // keep the runtime's session keyring
	Joins        bool     // the process joins a container that runs
	Preserve     int      // how many descriptors from 3 on the process keeps
	ExtraEnv     []string // added to process.env, winning over it: LISTEN_PID=1, NOTIFY_SOCKET, HOME
}

// Plan is what will be done for one process.
type Plan struct {
	// Filter is the compiled linux.seccomp. It must be set before CompileExec
	// where Seccomp returns a profile.
	Filter *seccomp.Filter
	// File is executed in the place of args[0], where it is set.
	File string

	id      string
	keyring bool

	hostname, domainname string
	sysctls              []sysctl

	terminal bool
	size     *specs.Box
	stdio    [3]stdio

	cwd         string
	user        specs.User
	umask       uint32
	setgroups   setgroups
	caps        capabilities
	noNewPrivs  bool
	labels      []label
	joins       bool // another process made the container
	listener    *Listener
	seccomp     *specs.LinuxSeccomp
	personality *personality
	memory      *memoryPolicy

	affinity  affinity
	rlimits   []rlimit
	oomScore  *int
	scheduler *unix.SchedAttr
	schedText string
	ioprio    *ioprio
	early     bool // the runtime cannot write to the process's /proc files

	args, env []string
	preserve  int
}

// planner collects what NewPlan finds.
type planner struct {
	facts      host.Facts
	opt        Options
	warnings   []*fault.Error
	complaints fault.List
}

// NewPlan plans spec.Process and what of spec.Linux concerns it. warnings are
// what the specification wants logged and not failed on; with complaints the
// plan must not be used. What bundle.Check complains about is not complained
// about again, and has no defined place in the plan.
func NewPlan(spec *specs.Spec, facts host.Facts, opt Options) (p *Plan, warnings []*fault.Error, complaints fault.List) {
	p = &Plan{joins: opt.Joins, id: opt.ID, keyring: !opt.NoNewKeyring, hostname: spec.Hostname, domainname: spec.Domainname}
	m := &planner{facts: facts, opt: opt}
	m.linux(p, spec.Linux)
	if spec.Process == nil {
		m.complain("/process", "", "the process is missing", "config.json needs a process before the container can be created")
		return p, m.warnings, m.complaints
	}
	m.process(p, spec.Process)
	return p, m.warnings, m.complaints
}

func (m *planner) linux(p *Plan, l *specs.Linux) {
	if l == nil {
		return
	}
	p.sysctls = planSysctl(l.Sysctl)
	p.personality = planPersonality(l.Personality)
	p.memory = planMemoryPolicy(l.MemoryPolicy)
	p.seccomp = m.seccomp(p, l.Seccomp)
}

func (m *planner) process(p *Plan, c *specs.Process) {
	p.terminal = c.Terminal
	p.size = consoleSize(c)
	p.stdio = planStdio(m.facts, m.opt, c)
	p.cwd = cleanCwd(c.Cwd)
	p.user, p.umask = c.User, umask(c.User)
	p.setgroups = m.groups(c.User)
	p.caps = m.capabilities(c.Capabilities)
	p.noNewPrivs = c.NoNewPrivileges
	if m.opt.Joins {
		p.affinity = planAffinity(c.ExecCPUAffinity)
	}
	p.rlimits = planRlimits(m.facts, c.Rlimits)
	p.oomScore = c.OOMScoreAdj
	p.scheduler, p.schedText = planScheduler(c.Scheduler)
	p.ioprio = planIOPriority(c.IOPriority)
	p.early = !canReach(m.facts)
	m.labels(p, c)
	p.args = c.Args
	p.env = environment(c.Env, m.opt.ExtraEnv)
	p.preserve = m.opt.Preserve
}

// seccomp drops a profile that says nothing, as runc does.
func (m *planner) seccomp(p *Plan, s *specs.LinuxSeccomp) *specs.LinuxSeccomp {
	if s == nil || s.DefaultAction == "" && len(s.Syscalls) == 0 {
		return nil
	}
	if !m.facts.Seccomp {
		m.complain("/linux/seccomp", "", "this kernel has no seccomp filters",
			"remove linux.seccomp, or use a kernel with CONFIG_SECCOMP_FILTER")
	}
	m.listener(p, s)
	if !allows(s, "execve") {
		m.complain("/linux/seccomp", "", "the profile does not allow execve, so the process could never start",
			"add a rule with SCMP_ACT_ALLOW for it")
	}
	return s
}

// allows tells whether a call can get through a profile at all: by its default
// action, or by any rule of its own.
func allows(s *specs.LinuxSeccomp, call string) bool {
	named := false
	for _, rule := range s.Syscalls {
		if slices.Contains(rule.Names, call) {
			named = true
			if passes(rule.Action) || len(rule.Args) > 0 {
				return true
			}
		}
	}
	return !named && passes(s.DefaultAction)
}

func passes(a specs.LinuxSeccompAction) bool {
	switch a {
	case specs.ActAllow, specs.ActLog, specs.ActTrace, specs.ActNotify:
		return true
	}
	return false
}

func (m *planner) complain(at fault.Pointer, path, msg, hint string) {
	m.complaints = append(m.complaints, &fault.Error{
		Op: "check", Path: path, Field: at, Msg: msg, Hint: hint, Phase: fault.PhaseConfig,
	})
}

func (m *planner) warn(at fault.Pointer, path, msg string) *fault.Error {
	e := &fault.Error{
		Op: "check", Path: path, Field: at, Msg: msg, Phase: fault.PhaseConfig,
	}
	if len(m.warnings) < fault.Most {
		m.warnings = append(m.warnings, e)
	}
	return e
}

// Terminal tells whether the process has a terminal.
func (p *Plan) Terminal() bool { return p.terminal }

// Seccomp is the profile that Filter must be compiled from, or nil.
func (p *Plan) Seccomp() *specs.LinuxSeccomp { return p.seccomp }

// origin says who asks for the steps that follow.
func origin(b *nsenter.Builder, field fault.Pointer, op, path string) {
	b.For(nsenter.Origin{Field: field, Op: op, Path: path, Phase: fault.PhaseProcess})
}
