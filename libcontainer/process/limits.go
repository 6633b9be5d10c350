package process

import (
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/libcontainer/host"
)

// rlimit is one resource limit with its entry.
type rlimit struct {
	name       string
	resource   int
	soft, hard uint64
	field      fault.Pointer
	by         setter
}

// setter says who sets a resource limit, and when.
type setter int

const (
	byRuntime setter = iota // Outside: only the runtime can raise a hard limit
	byProcess               // before the process becomes its user
	atLast                  // right before execve
)

// setterOf decides who sets a limit. Another user's limits, even lower ones,
// are for CAP_SYS_RESOURCE only, so without it the process sets its own while
// it may. A limit on descriptors that the walker itself would feel comes last.
func setterOf(f host.Facts, resource int, soft uint64) setter {
	const walkerNeeds = 256
	switch {
	case resource == unix.RLIMIT_NOFILE && soft < walkerNeeds:
		return atLast
	case f.Caps>>unix.CAP_SYS_RESOURCE&1 == 1:
		return byRuntime
	}
	return byProcess
}

func (r rlimit) String() string { return r.name + " " + limit(r.soft) + ":" + limit(r.hard) }

func limit(n uint64) string {
	if n == unix.RLIM_INFINITY {
		return "unlimited"
	}
	return strconv.FormatUint(n, 10)
}

func planRlimits(f host.Facts, list []specs.POSIXRlimit) []rlimit {
	out := make([]rlimit, 0, len(list))
	for i, l := range list {
		if n := resource(l.Type); n >= 0 {
			out = append(out, rlimit{l.Type, n, l.Soft, l.Hard, fault.Pointer("/process/rlimits").Index(i), setterOf(f, n, l.Soft)})
		}
	}
	return out
}

// resource is the number of "RLIMIT_NAME", or -1.
func resource(name string) int {
	switch name {
	case "RLIMIT_AS":
		return unix.RLIMIT_AS
	case "RLIMIT_CORE":
		return unix.RLIMIT_CORE
	case "RLIMIT_CPU":
		return unix.RLIMIT_CPU
	case "RLIMIT_DATA":
		return unix.RLIMIT_DATA
	case "RLIMIT_FSIZE":
		return unix.RLIMIT_FSIZE
	case "RLIMIT_LOCKS":
		return unix.RLIMIT_LOCKS
	case "RLIMIT_MEMLOCK":
		return unix.RLIMIT_MEMLOCK
	case "RLIMIT_MSGQUEUE":
		return unix.RLIMIT_MSGQUEUE
	case "RLIMIT_NICE":
		return unix.RLIMIT_NICE
	case "RLIMIT_NOFILE":
		return unix.RLIMIT_NOFILE
	case "RLIMIT_NPROC":
		return unix.RLIMIT_NPROC
	case "RLIMIT_RSS":
		return unix.RLIMIT_RSS
	case "RLIMIT_RTPRIO":
		return unix.RLIMIT_RTPRIO
	case "RLIMIT_RTTIME":
		return unix.RLIMIT_RTTIME
	case "RLIMIT_SIGPENDING":
		return unix.RLIMIT_SIGPENDING
	case "RLIMIT_STACK":
		return unix.RLIMIT_STACK
	}
	return -1
}

// name and number of a constant.
type constant struct {
	name  string
	value uint64
}

func constantNames(table []constant) []string {
	out := make([]string, len(table))
	for i, c := range table {
		out[i] = c.name
	}
	return out
}

// valueOf is 0 for an unknown name.
func valueOf(table []constant, name string) uint64 {
	for _, c := range table {
		if c.name == name {
			return c.value
		}
	}
	return 0
}

// SCHED_* of linux/sched.h.
func policies() []constant {
	return []constant{
		{"SCHED_OTHER", 0}, {"SCHED_FIFO", 1}, {"SCHED_RR", 2}, {"SCHED_BATCH", 3},
		{"SCHED_ISO", 4}, {"SCHED_IDLE", 5}, {"SCHED_DEADLINE", 6},
	}
}

// SCHED_FLAG_* of linux/sched.h.
func schedFlags() []constant {
	return []constant{
		{"SCHED_FLAG_RESET_ON_FORK", 0x01}, {"SCHED_FLAG_RECLAIM", 0x02},
		{"SCHED_FLAG_DL_OVERRUN", 0x04}, {"SCHED_FLAG_KEEP_POLICY", 0x08},
		{"SCHED_FLAG_KEEP_PARAMS", 0x10}, {"SCHED_FLAG_UTIL_CLAMP_MIN", 0x20},
		{"SCHED_FLAG_UTIL_CLAMP_MAX", 0x40},
	}
}

func planScheduler(s *specs.Scheduler) (*unix.SchedAttr, string) {
	if s == nil {
		return nil, ""
	}
	attr := &unix.SchedAttr{
		Size:     unix.SizeofSchedAttr,
		Policy:   uint32(valueOf(policies(), string(s.Policy))),
		Nice:     s.Nice,
		Priority: uint32(s.Priority),
		Runtime:  s.Runtime,
		Deadline: s.Deadline,
		Period:   s.Period,
	}
	text := string(s.Policy)
	for _, f := range s.Flags {
		attr.Flags |= valueOf(schedFlags(), string(f))
		text += " " + string(f)
	}
	add := func(name string, n int64) {
		if n != 0 {
			text += " " + name + " " + strconv.FormatInt(n, 10)
		}
	}
	add("nice", int64(s.Nice))
	add("priority", int64(s.Priority))
	add("runtime", int64(s.Runtime))
	add("deadline", int64(s.Deadline))
	add("period", int64(s.Period))
	return attr, text
}

// ioprio is a value of ioprio_set(2).
type ioprio struct {
	value uint32
	text  string
}

func planIOPriority(p *specs.LinuxIOPriority) *ioprio {
	if p == nil {
		return nil
	}
	classes := []constant{{"IOPRIO_CLASS_RT", 1}, {"IOPRIO_CLASS_BE", 2}, {"IOPRIO_CLASS_IDLE", 3}}
	class := valueOf(classes, string(p.Class))
	return &ioprio{uint32(class<<13) | uint32(p.Priority)&7, string(p.Class) + " " + strconv.Itoa(p.Priority)}
}

// canReach tells whether the runtime may write to the /proc files of its
// non-dumpable child, which belong to root.
func canReach(f host.Facts) bool {
	return f.Caps>>unix.CAP_DAC_OVERRIDE&1 == 1 && !f.UserNS
}

// personality is an execution domain.
type personality struct {
	domain uint32
	name   string
}

func planPersonality(c *specs.LinuxPersonality) *personality {
	if c == nil {
		return nil
	}
	// PER_LINUX and PER_LINUX32 of linux/personality.h.
	domain := valueOf([]constant{{"LINUX", 0}, {"LINUX32", 8}}, string(c.Domain))
	return &personality{uint32(domain), "PER_" + string(c.Domain)}
}
