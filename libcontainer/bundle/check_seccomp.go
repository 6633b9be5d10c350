package bundle

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// seccomp: config-linux.md, Seccomp.
func (c *checker) seccomp(s *specs.LinuxSeccomp) {
	c.action("defaultAction", s.DefaultAction)
	c.errnoRet("defaultErrnoRet", s.DefaultAction, s.DefaultErrnoRet)
	if s.DefaultAction == specs.ActNotify {
		// The runtime's own system calls after the filter is loaded, the
		// sending of the descriptor among them, would wait for an answer.
		c.bad("defaultAction", "notify for the system calls of interest only", "cannot be SCMP_ACT_NOTIFY")
	}
	c.architectures(s.Architectures)
	c.seccompFlags(s.Flags)
	c.listener(s)
	each(c, "syscalls", s.Syscalls, (*checker).syscall)
}

func (c *checker) syscall(s *specs.LinuxSyscall) {
	if len(s.Names) == 0 {
		c.bad("names", "", "must have at least one entry")
	}
	for i, n := range s.Names {
		if n == "" {
			c.badAt("names", i, "", "must not be empty")
		}
		if n == "sendmsg" && s.Action == specs.ActNotify {
			// It would wait for an agent that gets the listener by it.
			c.badAt("names", i, "the runtime hands the listener over with it", "cannot be notified of")
		}
	}
	c.action("action", s.Action)
	c.errnoRet("errnoRet", s.Action, s.ErrnoRet)
	each(c, "args", s.Args, (*checker).seccompArg)
}

func (c *checker) action(key string, a specs.LinuxSeccompAction) {
	switch a {
	case specs.ActKill, specs.ActKillProcess, specs.ActKillThread, specs.ActTrap, specs.ActErrno,
		specs.ActTrace, specs.ActAllow, specs.ActLog, specs.ActNotify:
	case "":
		c.bad(key, "", "is required, and is missing or empty")
	default:
		c.bad(key, "", "unknown seccomp action %q", a)
	}
}

// errnoRet: "When the action doesn't support an errno, the runtime MUST print
// an error and fail." The kernel has errnos up to MAX_ERRNO, a tracer gets 16
// bits.
func (c *checker) errnoRet(key string, a specs.LinuxSeccompAction, ret *uint) {
	most := uint(4095)
	switch {
	case ret == nil:
		return
	case a == specs.ActTrace:
		most = 1<<16 - 1
	case a != specs.ActErrno:
		c.bad(key, "remove it", "is only for SCMP_ACT_ERRNO and SCMP_ACT_TRACE")
		return
	}
	if *ret > most {
		c.bad(key, "", "must be at most %d, not %d", most, *ret)
	}
}

func (c *checker) architectures(list []specs.Arch) {
	for i, a := range list {
		if !knownArch(a) {
			c.badAt("architectures", i, "write it as in SCMP_ARCH_X86_64", "unknown architecture %q", a)
		}
	}
}

func knownArch(a specs.Arch) bool {
	switch a {
	case specs.ArchX86, specs.ArchX86_64, specs.ArchX32, specs.ArchARM, specs.ArchAARCH64,
		specs.ArchMIPS, specs.ArchMIPS64, specs.ArchMIPS64N32, specs.ArchMIPSEL, specs.ArchMIPSEL64, specs.ArchMIPSEL64N32,
		specs.ArchPPC, specs.ArchPPC64, specs.ArchPPC64LE, specs.ArchS390, specs.ArchS390X, specs.ArchPARISC, specs.ArchPARISC64,
		specs.ArchRISCV64, specs.ArchLOONGARCH64, specs.ArchM68K, specs.ArchSH, specs.ArchSHEB:
		return true
	}
	return false
}

func (c *checker) seccompFlags(list []specs.LinuxSeccompFlag) {
	for i, f := range list {
		switch f {
		case "SECCOMP_FILTER_FLAG_TSYNC", specs.LinuxSeccompFlagLog, specs.LinuxSeccompFlagSpecAllow, specs.LinuxSeccompFlagWaitKillableRecv:
		default:
			c.badAt("flags", i, "", "unknown seccomp flag %q", f)
		}
	}
}

// listener: what is notified needs somebody to be told; "listenerMetadata
// MUST NOT be set if listenerPath is not set".
func (c *checker) listener(s *specs.LinuxSeccomp) {
	const most = 107 // struct sockaddr_un of unix(7), without the NUL
	if s.ListenerPath != "" {
		if n := len(s.ListenerPath); n > most {
			c.bad("listenerPath", "", "must have at most %d bytes, not %d", most, n)
		}
		c.text("listenerPath", s.ListenerPath)
		return
	}
	if s.ListenerMetadata != "" {
		c.bad("listenerMetadata", "", "must not be set without listenerPath")
	}
	for _, call := range s.Syscalls {
		if call.Action == specs.ActNotify {
			c.bad("listenerPath", "name the socket of the seccomp agent", "is required with SCMP_ACT_NOTIFY")
			return
		}
	}
}

// seccompArg: a system call has six arguments.
func (c *checker) seccompArg(a *specs.LinuxSeccompArg) {
	if a.Index > 5 {
		c.bad("index", "", "must be between 0 and 5, not %d", a.Index)
	}
	switch a.Op {
	case specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpEqualTo, specs.OpGreaterEqual, specs.OpGreaterThan, specs.OpMaskedEqual:
	case "":
		c.bad("op", "", "is required, and is missing or empty")
	default:
		c.bad("op", "write it as in SCMP_CMP_EQ", "unknown comparison %q", a.Op)
	}
}
