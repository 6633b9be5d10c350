package bundle

import (
	"slices"
	"strconv"
	"strings"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// process holds the process to config.md, Process. It may be absent: only
// `start` needs it. Names of capabilities are not judged here, because what is
// unknown is only worth a warning.
func (c *checker) process(p *specs.Process) {
	c.consoleSize(p)
	c.within("user", func() { c.user(&p.User) })
	c.args(p.Args)
	c.env(p.Env)
	c.absolute("cwd", p.Cwd)
	c.rlimits(p.Rlimits)
	c.text("apparmorProfile", p.ApparmorProfile)
	c.oomScoreAdj(p.OOMScoreAdj)
	if p.Scheduler != nil {
		c.within("scheduler", func() { c.scheduler(p.Scheduler) })
	}
	c.text("selinuxLabel", p.SelinuxLabel)
	if p.IOPriority != nil {
		c.within("ioPriority", func() { c.ioPriority(p.IOPriority) })
	}
	if p.ExecCPUAffinity != nil {
		c.within("execCPUAffinity", func() {
			c.ranges("initial", p.ExecCPUAffinity.Initial)
			c.ranges("final", p.ExecCPUAffinity.Final)
		})
	}
}

// consoleSize is ignored without a terminal. struct winsize (tty_ioctl(4))
// counts in 16 bits.
func (c *checker) consoleSize(p *specs.Process) {
	const most = 1<<16 - 1
	if p.ConsoleSize == nil || !p.Terminal {
		return
	}
	c.within("consoleSize", func() {
		if h := p.ConsoleSize.Height; h > most {
			c.bad("height", "", "must be at most %d lines, not %d", most, h)
		}
		if w := p.ConsoleSize.Width; w > most {
			c.bad("width", "", "must be at most %d columns, not %d", most, w)
		}
	})
}

// noID is (uid_t)-1, which setuid(2) and friends read as "leave as it is".
const noID = 1<<32 - 1

func (c *checker) user(u *specs.User) {
	uids, gids := c.newMappings()
	if msg := idFault(u.UID, uids); msg != "" {
		c.bad("uid", idHint(msg, "uidMappings"), msg, u.UID)
	}
	if msg := idFault(u.GID, gids); msg != "" {
		c.bad("gid", idHint(msg, "gidMappings"), msg, u.GID)
	}
	if u.Umask != nil && *u.Umask > 0o777 {
		c.bad("umask", "config.json counts in decimal: 022 is 18", "must be at most 511 (octal 777), not %d", *u.Umask)
	}
	for i, g := range u.AdditionalGids {
		if msg := idFault(g, gids); msg != "" {
			c.badAt("additionalGids", i, idHint(msg, "gidMappings"), msg, g)
		}
	}
}

// newMappings returns the mappings of a user namespace that will be made with
// them; a joined one brings its own.
func (c *checker) newMappings() (uids, gids []specs.LinuxIDMapping) {
	if !c.ns.isNew(specs.UserNamespace) {
		return nil, nil
	}
	return c.spec.Linux.UIDMappings, c.spec.Linux.GIDMappings
}

const (
	reservedID = "%d is reserved by the kernel and is nobody's ID"
	unmappedID = "%d is not mapped in the container's user namespace"
)

// idFault returns what is wrong with an ID, or "". Without mappings every ID
// is mapped.
func idFault(id uint32, maps []specs.LinuxIDMapping) string {
	inside := func(m specs.LinuxIDMapping) bool {
		return id >= m.ContainerID && uint64(id) < uint64(m.ContainerID)+uint64(m.Size)
	}
	switch {
	case id == noID:
		return reservedID
	case len(maps) != 0 && !slices.ContainsFunc(maps, inside):
		return unmappedID
	}
	return ""
}

func idHint(msg, field string) string {
	if msg != unmappedID {
		return ""
	}
	return "map it in linux." + field
}

// args: "at least one entry is REQUIRED".
func (c *checker) args(args []string) {
	if len(args) == 0 {
		c.bad("args", "name the program to run", "must have at least one entry")
	}
	c.texts("args", args)
	c.lengths("args", args)
}

// lengths complains about strings that execve(2) takes none of, whatever the
// limit on all together: MAX_ARG_STRLEN of linux/binfmts.h, with the NUL.
func (c *checker) lengths(key string, list []string) {
	most := 32*syscall.Getpagesize() - 1
	for i, s := range list {
		if len(s) > most {
			c.badAt(key, i, "execve(2) takes no longer one: pass it in a file", "must have at most %d bytes, not %d", most, len(s))
		}
	}
}

// env has the semantics of environ: NAME=VALUE.
func (c *checker) env(env []string) {
	for i, pair := range env {
		switch strings.IndexByte(pair, '=') {
		case -1:
			c.badAt("env", i, "", "must be NAME=VALUE, not %q", pair)
		case 0:
			c.badAt("env", i, "", "%q has no name before the =", pair)
		}
	}
	c.texts("env", env)
	c.lengths("env", env)
}

// rlimits: unknown types and duplicates MUST be errors; soft above hard is
// EINVAL (setrlimit(2)).
func (c *checker) rlimits(limits []specs.POSIXRlimit) {
	each(c, "rlimits", limits, func(c *checker, l *specs.POSIXRlimit) {
		same := func(o specs.POSIXRlimit) bool { return o.Type == l.Type }
		switch {
		case !knownRlimit(l.Type):
			c.bad("type", "getrlimit(2) lists them", "unknown limit %q", l.Type)
		case slices.ContainsFunc(limits[:c.index()], same):
			c.bad("type", "remove one", "%s is set twice", l.Type)
		}
		if l.Soft > l.Hard {
			c.bad("soft", "", "must not be above the hard limit of %d, but is %d", l.Hard, l.Soft)
		}
	})
}

func knownRlimit(name string) bool {
	switch name {
	case "RLIMIT_AS", "RLIMIT_CORE", "RLIMIT_CPU", "RLIMIT_DATA", "RLIMIT_FSIZE", "RLIMIT_LOCKS",
		"RLIMIT_MEMLOCK", "RLIMIT_MSGQUEUE", "RLIMIT_NICE", "RLIMIT_NOFILE", "RLIMIT_NPROC",
		"RLIMIT_RSS", "RLIMIT_RTPRIO", "RLIMIT_RTTIME", "RLIMIT_SIGPENDING", "RLIMIT_STACK":
		return true
	}
	return false
}

// oomScoreAdj has the kernel's OOM_SCORE_ADJ_MIN and _MAX.
func (c *checker) oomScoreAdj(adj *int) {
	if adj != nil && (*adj < -1000 || *adj > 1000) {
		c.bad("oomScoreAdj", "", "must be between -1000 and 1000, not %d", *adj)
	}
}

// scheduler holds the attributes to sched_setattr(2) and to
// __sched_setscheduler of kernel/sched/syscalls.c.
func (c *checker) scheduler(s *specs.Scheduler) {
	if !knownPolicy(s.Policy) {
		c.bad("policy", "write one of SCHED_OTHER, SCHED_BATCH, SCHED_IDLE, SCHED_FIFO, SCHED_RR, SCHED_ISO, SCHED_DEADLINE",
			"unknown scheduling policy %q", s.Policy)
		return
	}
	if s.Nice < -20 || s.Nice > 19 {
		c.bad("nice", "", "must be between -20 and 19, not %d", s.Nice)
	}
	c.schedulerPriority(s)
	c.schedulerFlags(s.Flags)
	c.deadline(s)
}

func knownPolicy(p specs.LinuxSchedulerPolicy) bool {
	switch p {
	case specs.SchedOther, specs.SchedFIFO, specs.SchedRR, specs.SchedBatch, specs.SchedISO, specs.SchedIdle, specs.SchedDeadline:
		return true
	}
	return false
}

func (c *checker) schedulerPriority(s *specs.Scheduler) {
	realtime := s.Policy == specs.SchedFIFO || s.Policy == specs.SchedRR
	kept := slices.Contains(s.Flags, specs.SchedFlagKeepPolicy) || slices.Contains(s.Flags, specs.SchedFlagKeepParams)
	switch {
	case kept:
		// The kernel takes the process's own in place of these.
	case realtime && (s.Priority < 1 || s.Priority > 99):
		c.bad("priority", "", "must be between 1 and 99 with %s, not %d", s.Policy, s.Priority)
	case !realtime && s.Priority != 0:
		c.bad("priority", "only SCHED_FIFO and SCHED_RR have one", "must be 0 with %s, not %d", s.Policy, s.Priority)
	}
}

func (c *checker) schedulerFlags(flags []specs.LinuxSchedulerFlag) {
	for i, f := range flags {
		switch f {
		case specs.SchedFlagResetOnFork, specs.SchedFlagReclaim, specs.SchedFlagDLOverrun, specs.SchedFlagKeepPolicy,
			specs.SchedFlagKeepParams, specs.SchedFlagUtilClampMin, specs.SchedFlagUtilClampMax:
		default:
			c.badAt("flags", i, "", "unknown scheduling flag %q", f)
		}
	}
}

// deadline follows __checkparam_dl of kernel/sched/deadline.c: runtime <=
// deadline <= period, a period of 0 being the deadline, and a runtime of at
// least 1024 ns.
func (c *checker) deadline(s *specs.Scheduler) {
	const least = 1 << 10
	if s.Policy != specs.SchedDeadline {
		c.noDeadline("runtime", s.Runtime)
		c.noDeadline("deadline", s.Deadline)
		c.noDeadline("period", s.Period)
		return
	}
	switch {
	case s.Runtime < least:
		c.bad("runtime", "", "must be at least %d ns, not %d", least, s.Runtime)
	case s.Deadline < s.Runtime:
		c.bad("deadline", "", "must not be below the runtime of %d ns, but is %d", s.Runtime, s.Deadline)
	case s.Period != 0 && s.Period < s.Deadline:
		c.bad("period", "", "must not be below the deadline of %d ns, but is %d", s.Deadline, s.Period)
	}
}

func (c *checker) noDeadline(key string, ns uint64) {
	if ns != 0 {
		c.bad(key, "remove it", "is only for SCHED_DEADLINE")
	}
}

// ioPriority: ioprio_set(2).
func (c *checker) ioPriority(p *specs.LinuxIOPriority) {
	switch p.Class {
	case specs.IOPRIO_CLASS_RT, specs.IOPRIO_CLASS_BE, specs.IOPRIO_CLASS_IDLE:
	default:
		c.bad("class", "write one of IOPRIO_CLASS_RT, IOPRIO_CLASS_BE, IOPRIO_CLASS_IDLE", "unknown I/O scheduling class %q", p.Class)
	}
	if p.Priority < 0 || p.Priority > 7 {
		c.bad("priority", "", "must be between 0 and 7, not %d", p.Priority)
	}
}

// ranges complains about a list of CPUs or memory nodes that is not of the
// form "0-3,7".
func (c *checker) ranges(key, list string) {
	if list == "" {
		return
	}
	for part := range strings.SplitSeq(list, ",") {
		if !isRange(strings.Trim(part, " \t")) {
			c.bad(key, `write it as in "0-3,7"`, "must be a list of numbers and ranges, not %q", list)
			return
		}
	}
}

func isRange(s string) bool {
	from, to, two := strings.Cut(s, "-")
	first, err := strconv.ParseUint(from, 10, 16)
	if err != nil || !two {
		return err == nil
	}
	last, err := strconv.ParseUint(to, 10, 16)
	return err == nil && first <= last
}
