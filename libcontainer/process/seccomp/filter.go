// Package seccomp compiles the linux.seccomp entry of config.json to a classic
// BPF program for seccomp(2), by libseccomp, and keeps compiled programs.
//
// Nothing here is called for a container without a profile.
package seccomp

import (
	"errors"
	"fmt"
	"io"
	"os"
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
	use()
	c := &compiler{profile: s}
	checked := c.check()
	if len(c.complaints) > 0 {
		return Filter{}, c.complaints
	}
	bpf := c.compile(checked)
	if len(c.complaints) > 0 {
		return Filter{}, c.complaints
	}
	return Filter{BPF: bpf, Flags: checked.flags}, nil
}

// checked is a profile in libseccomp's terms.
type checked struct {
	action libseccomp.ScmpAction
	arches []libseccomp.ScmpArch // of the entry, in its order
	flags  uint64
	rules  []rule
}

// rule is one element of syscalls.
type rule struct {
	names      []string
	action     libseccomp.ScmpAction
	conditions [][]libseccomp.ScmpCondition // alternatives; none: any arguments
}

func (c *compiler) check() checked {
	s := c.profile
	out := checked{
		action: c.action(field, "defaultAction", s.DefaultAction, "defaultErrnoRet", s.DefaultErrnoRet),
		flags:  c.flags(s.Flags),
	}
	for i, a := range s.Architectures {
		arch, ok := architecture(a)
		if !ok {
			c.complain(field.At("architectures").Index(i), string(a), "unknown architecture",
				"the specification lists them, such as SCMP_ARCH_X86_64")
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
func (c *compiler) action(at fault.Pointer, key string, a specs.LinuxSeccompAction, retKey string, ret *uint) libseccomp.ScmpAction {
	action, ok := actions(a)
	switch {
	case a == specs.ActNotify:
		c.complain(at.At(key), string(a), "seccomp notification is not supported yet", "use another action")
	case !ok:
		c.complain(at.At(key), string(a), "unknown action", "the specification lists them, such as SCMP_ACT_ERRNO")
	}
	takesNumber := action == libseccomp.ActErrno || action == libseccomp.ActTrace
	switch {
	case takesNumber && ret == nil:
		return action.SetReturnCode(int16(unix.EPERM))
	case takesNumber && *ret > 0xffff:
		c.complain(at.At(retKey), fmt.Sprint(*ret), "the number has more than 16 bits", "use an errno")
	case takesNumber:
		return action.SetReturnCode(int16(*ret))
	case ret != nil && ok:
		c.complain(at.At(retKey), fmt.Sprint(*ret), string(a)+" returns no number", "leave it out, or use SCMP_ACT_ERRNO")
	}
	return action
}

func actions(a specs.LinuxSeccompAction) (libseccomp.ScmpAction, bool) {
	switch a {
	case specs.ActKill, specs.ActKillThread:
		return libseccomp.ActKillThread, true
	case specs.ActKillProcess:
		return libseccomp.ActKillProcess, true
	case specs.ActTrap:
		return libseccomp.ActTrap, true
	case specs.ActErrno:
		return libseccomp.ActErrno, true
	case specs.ActTrace:
		return libseccomp.ActTrace, true
	case specs.ActAllow:
		return libseccomp.ActAllow, true
	case specs.ActLog:
		return libseccomp.ActLog, true
	}
	return libseccomp.ActInvalid, false
}

// flags of seccomp(2). Without the entry, speculation stays as it is, as with
// runc and crun: the mitigation that SPEC_ALLOW turns off is expensive.
// TSYNC says nothing about a process of one thread, and WAIT_KILLABLE_RECV
// nothing about a filter without notification; the kernel refuses it there.
func (c *compiler) flags(list []specs.LinuxSeccompFlag) uint64 {
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
		case specs.LinuxSeccompFlagWaitKillableRecv, "SECCOMP_FILTER_FLAG_TSYNC":
		default:
			c.complain(field.At("flags").Index(i), string(f), "unknown flag",
				"use SECCOMP_FILTER_FLAG_LOG, SPEC_ALLOW, WAIT_KILLABLE_RECV or TSYNC")
		}
	}
	return flags
}

// conditions are alternatives of conditions that must all hold. libseccomp
// takes one condition an argument; where a profile has two for the same one,
// each condition becomes an alternative, which is what runc has always made of
// it.
func (c *compiler) conditions(at fault.Pointer, args []specs.LinuxSeccompArg) [][]libseccomp.ScmpCondition {
	var all []libseccomp.ScmpCondition
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
		return [][]libseccomp.ScmpCondition{all}
	}
	out := make([][]libseccomp.ScmpCondition, len(all))
	for i, cond := range all {
		out[i] = []libseccomp.ScmpCondition{cond}
	}
	return out
}

func (c *compiler) condition(at fault.Pointer, a specs.LinuxSeccompArg) (libseccomp.ScmpCondition, bool) {
	op, ok := operator(a.Op)
	if !ok {
		c.complain(at.At("op"), string(a.Op), "unknown operator", "the specification lists them, such as SCMP_CMP_EQ")
	}
	if a.Index > 5 {
		c.complain(at.At("index"), fmt.Sprint(a.Index), "no such argument", "a system call has arguments 0 to 5")
		return libseccomp.ScmpCondition{}, false
	}
	cond := libseccomp.ScmpCondition{Argument: a.Index, Op: op, Operand1: a.Value, Operand2: a.ValueTwo}
	return cond, ok
}

func operator(op specs.LinuxSeccompOperator) (libseccomp.ScmpCompareOp, bool) {
	switch op {
	case specs.OpNotEqual:
		return libseccomp.CompareNotEqual, true
	case specs.OpLessThan:
		return libseccomp.CompareLess, true
	case specs.OpLessEqual:
		return libseccomp.CompareLessOrEqual, true
	case specs.OpEqualTo:
		return libseccomp.CompareEqual, true
	case specs.OpGreaterEqual:
		return libseccomp.CompareGreaterEqual, true
	case specs.OpGreaterThan:
		return libseccomp.CompareGreater, true
	case specs.OpMaskedEqual:
		return libseccomp.CompareMaskedEqual, true
	}
	return libseccomp.CompareInvalid, false
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

// failed is a complaint about what libseccomp refuses.
func (c *compiler) failed(at fault.Pointer, path string, err error) {
	e := fault.From(err, "seccomp", path)
	c.complaints = append(c.complaints, e.For(at).In(fault.PhaseConfig))
}

func (c *compiler) compile(p checked) []byte {
	filter, err := libseccomp.NewFilter(p.action)
	if err != nil {
		c.failed(field.At("defaultAction"), string(c.profile.DefaultAction), err)
		return nil
	}
	defer filter.Release()
	for i, arch := range p.arches {
		if err := filter.AddArch(arch); err != nil {
			c.failed(field.At("architectures").Index(i), string(c.profile.Architectures[i]), err)
		}
	}
	for i, r := range p.rules {
		if r.action != p.action { // else the rule says nothing
			c.add(filter, field.At("syscalls").Index(i), r)
		}
	}
	if len(c.complaints) > 0 {
		return nil
	}
	if optimize {
		_ = filter.SetOptimize(2) // a binary tree; needs libseccomp 2.5
	}
	bpf, err := export(filter)
	if err != nil {
		c.failed(field, "", err)
		return nil
	}
	bpf = append(stub(p), bpf...)
	if len(bpf) > maxInstructions*instruction {
		c.complain(field, "", fmt.Sprintf("the filter has %d instructions, the kernel takes %d", len(bpf)/instruction, maxInstructions),
			"name fewer system calls or arguments")
	}
	return bpf
}

// optimize makes a binary tree of the system calls instead of a list.
const optimize = true

func (c *compiler) add(filter *libseccomp.ScmpFilter, at fault.Pointer, r rule) {
	for i, name := range r.names {
		call, err := libseccomp.GetSyscallFromName(name)
		if err != nil {
			continue
		}
		if err := addRule(filter, call, r); err != nil {
			c.failed(at.At("names").Index(i), name, err)
		}
	}
}

func addRule(filter *libseccomp.ScmpFilter, call libseccomp.ScmpSyscall, r rule) error {
	if r.conditions == nil {
		return filter.AddRule(call, r.action)
	}
	var errs []error
	for _, all := range r.conditions {
		errs = append(errs, filter.AddRuleConditional(call, r.action, all))
	}
	return errors.Join(errs...)
}

// export is the filter's BPF program. libseccomp writes it to a descriptor
// only (before 2.6).
func export(filter *libseccomp.ScmpFilter) ([]byte, error) {
	fd, err := unix.MemfdCreate("berth-seccomp", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "berth-seccomp")
	defer f.Close()
	if err := filter.ExportBPF(f); err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return io.ReadAll(f)
}
