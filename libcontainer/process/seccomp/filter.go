// Package seccomp compiles the linux.seccomp entry of config.json to a classic
// BPF program for seccomp(2), and keeps compiled programs.
//
// Nothing here is called for a container without a profile.
package seccomp

import (
	"fmt"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

// Filter is a compiled filter, ready for seccomp(2).
type Filter struct {
	BPF   []byte // struct sock_filter array in host byte order
	Flags uint64 // SECCOMP_FILTER_FLAG_*
}

// instruction is the size of struct sock_filter.
const instruction = 8

// maxInstructions is the longest program that the kernel takes (BPF_MAXINSNS).
const maxInstructions = 4096

// Instructions is the length of the BPF program.
func (f Filter) Instructions() int { return len(f.BPF) / instruction }

const field = fault.Pointer("/linux/seccomp")

// compiler collects all complaints about one profile.
type compiler struct {
	profile    *specs.LinuxSeccomp
	complaints fault.List
}

// Compile checks the profile and compiles it for this machine's architecture
// and the ones it names. Names of system calls that libseccomp does not know
// are passed over, because profiles are written for many kernels. The
// complaints point into config.json.
func Compile(s *specs.LinuxSeccomp) (Filter, fault.List) {
	c := &compiler{profile: s}
	checked := c.check()
	if len(c.complaints) > 0 {
		return Filter{}, c.complaints
	}
	bpf := program(checked)
	if n := len(bpf) / instruction; n > maxInstructions {
		c.complain(field, "", fmt.Sprintf("the filter has %d instructions, the kernel takes %d", n, maxInstructions),
			"name fewer system calls or arguments")
		return Filter{}, c.complaints
	}
	return Filter{BPF: bpf, Flags: checked.flags}, nil
}

// checked is a profile in the kernel's terms.
type checked struct {
	action uint32                // SECCOMP_RET_*
	arches []libseccomp.ScmpArch // of the entry, in its order
	flags  uint64
	rules  []rule
}

// rule is one element of syscalls.
type rule struct {
	names      []string
	action     uint32
	conditions [][]condition // alternatives; nil: any arguments
}

func (c *compiler) check() checked {
	s := c.profile
	out := checked{
		action: c.action(field, "defaultAction", s.DefaultAction, "defaultErrnoRet", s.DefaultErrnoRet),
		flags:  c.flags(s.Flags, notifies(s)),
	}
	for i, a := range s.Architectures {
		arch, ok := architecture(a)
		if !ok {
			c.complain(field.At("architectures").Index(i), string(a), "libseccomp "+Version()+" does not know this architecture",
				"leave it out: without an entry, calls of an architecture kill the thread")
		}
		out.arches = append(out.arches, arch)
	}
	for i := range s.Syscalls {
		out.rules = append(out.rules, c.rule(field.At("syscalls").Index(i), &s.Syscalls[i]))
	}
	return out
}

func (c *compiler) rule(at fault.Pointer, s *specs.LinuxSyscall) rule {
	if len(s.Names) == 0 {
		c.complain(at.At("names"), "", "the rule names no system call", "name at least one")
	}
	return rule{
		names:      s.Names,
		action:     c.action(at, "action", s.Action, "errnoRet", s.ErrnoRet),
		conditions: c.conditions(at.At("args"), s.Args),
	}
}

// action reads an action with the number that SCMP_ACT_ERRNO and
// SCMP_ACT_TRACE return, EPERM where there is none.
func (c *compiler) action(at fault.Pointer, key string, a specs.LinuxSeccompAction, retKey string, ret *uint) uint32 {
	action, ok := actions(a)
	if !ok {
		c.complain(at.At(key), string(a), "unknown action", "the specification lists them, such as SCMP_ACT_ERRNO")
	}
	takesNumber := action == unix.SECCOMP_RET_ERRNO || action == unix.SECCOMP_RET_TRACE
	switch {
	case takesNumber && ret == nil:
		return action | uint32(unix.EPERM)
	case takesNumber && *ret > 0xffff:
		c.complain(at.At(retKey), fmt.Sprint(*ret), "the number has more than 16 bits", "use an errno")
	case takesNumber:
		return action | uint32(*ret)
	case ret != nil && ok:
		c.complain(at.At(retKey), fmt.Sprint(*ret), string(a)+" returns no number", "leave it out, or use SCMP_ACT_ERRNO")
	}
	return action
}

func actions(a specs.LinuxSeccompAction) (uint32, bool) {
	switch a {
	case specs.ActKill, specs.ActKillThread:
		return unix.SECCOMP_RET_KILL_THREAD, true
	case specs.ActKillProcess:
		return unix.SECCOMP_RET_KILL_PROCESS, true
	case specs.ActTrap:
		return unix.SECCOMP_RET_TRAP, true
	case specs.ActErrno:
		return unix.SECCOMP_RET_ERRNO, true
	case specs.ActTrace:
		return unix.SECCOMP_RET_TRACE, true
	case specs.ActAllow:
		return unix.SECCOMP_RET_ALLOW, true
	case specs.ActLog:
		return unix.SECCOMP_RET_LOG, true
	case specs.ActNotify:
		return unix.SECCOMP_RET_USER_NOTIF, true
	}
	return 0, false
}

// flags of seccomp(2). Without the entry, speculation stays as it is, as with
// runc and crun: the mitigation that SPEC_ALLOW turns off is expensive.
// TSYNC says nothing about a process of one thread, and WAIT_KILLABLE_RECV
// nothing about a filter that does not notify; the kernel refuses it there.
func (c *compiler) flags(list []specs.LinuxSeccompFlag, notifies bool) uint64 {
	if list == nil {
		return unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
	}
	var flags uint64
	for i, f := range list {
		switch f {
		case specs.LinuxSeccompFlagLog:
			flags |= unix.SECCOMP_FILTER_FLAG_LOG
		case specs.LinuxSeccompFlagSpecAllow:
			flags |= unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW
		case specs.LinuxSeccompFlagWaitKillableRecv:
			if notifies {
				flags |= unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
			}
		case "SECCOMP_FILTER_FLAG_TSYNC":
		default:
			c.complain(field.At("flags").Index(i), string(f), "unknown flag",
				"use SECCOMP_FILTER_FLAG_LOG, SPEC_ALLOW, WAIT_KILLABLE_RECV or TSYNC")
		}
	}
	return flags
}

func notifies(s *specs.LinuxSeccomp) bool {
	return slices.ContainsFunc(s.Syscalls, func(r specs.LinuxSyscall) bool { return r.Action == specs.ActNotify })
}

// conditions are alternatives of conditions that must all hold. Where a profile
// has two for the same argument, each condition becomes an alternative, which
// is what runc has always made of it. nil is no condition at all.
func (c *compiler) conditions(at fault.Pointer, args []specs.LinuxSeccompArg) [][]condition {
	var all []condition
	var seen [6]bool
	twice := false
	for i, a := range args {
		cond, ok := c.condition(at.Index(i), a)
		if !ok {
			continue
		}
		twice = twice || seen[a.Index]
		seen[a.Index] = true
		all = append(all, cond)
	}
	switch {
	case len(all) == 0:
		return nil
	case !twice:
		return [][]condition{all}
	}
	out := make([][]condition, len(all))
	for i, cond := range all {
		out[i] = []condition{cond}
	}
	return out
}

func (c *compiler) condition(at fault.Pointer, a specs.LinuxSeccompArg) (condition, bool) {
	ok := operator(a.Op)
	if !ok {
		c.complain(at.At("op"), string(a.Op), "unknown operator", "the specification lists them, such as SCMP_CMP_EQ")
	}
	if a.Index > 5 {
		c.complain(at.At("index"), fmt.Sprint(a.Index), "no such argument", "a system call has arguments 0 to 5")
		return condition{}, false
	}
	return condition{a.Index, a.Op, a.Value, a.ValueTwo}, ok
}

func operator(op specs.LinuxSeccompOperator) bool {
	switch op {
	case specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpEqualTo, specs.OpGreaterEqual, specs.OpGreaterThan,
		specs.OpMaskedEqual:
		return true
	}
	return false
}

// architecture reads "SCMP_ARCH_X86_64".
func architecture(a specs.Arch) (libseccomp.ScmpArch, bool) {
	name, ok := strings.CutPrefix(string(a), "SCMP_ARCH_")
	if !ok || name != strings.ToUpper(name) {
		return libseccomp.ArchInvalid, false
	}
	arch, err := libseccomp.GetArchFromString(name)
	return arch, err == nil
}

func (c *compiler) complain(at fault.Pointer, path, msg, hint string) {
	c.complaints = append(c.complaints, &fault.Error{
		Op: "seccomp", Path: path, Field: at, Msg: msg, Hint: hint, Phase: fault.PhaseConfig,
	})
}
