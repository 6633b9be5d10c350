package seccomp

import (
	"encoding/binary"

	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"
)

// A C library tries new system calls and falls back to old ones on ENOSYS. A
// profile older than the C library would answer EPERM and break programs that
// have done nothing wrong. So every call with a number above the highest one
// that the profile names for its architecture gets ENOSYS: whoever wrote the
// profile cannot have decided on it. Default actions that let calls pass, or
// hand them to a tracer that can say so itself, keep them.

// stub is the program that stands before libseccomp's and leaves it what it
// does not decide.
func stub(p checked) []byte {
	if !needsStub(p.action) {
		return nil
	}
	var groups []group
	for _, arch := range withNative(p.arches) {
		groups = join(groups, arch, highest(p.rules, arch))
	}
	if len(groups) == 0 {
		return nil
	}
	return assemble(groups)
}

func needsStub(action libseccomp.ScmpAction) bool {
	switch action & 0xffff {
	case libseccomp.ActAllow, libseccomp.ActLog, libseccomp.ActTrace:
		return false
	case libseccomp.ActErrno:
		return action.GetReturnCode() != int16(unix.ENOSYS)
	}
	return true
}

func withNative(arches []libseccomp.ScmpArch) []libseccomp.ScmpArch {
	native, err := libseccomp.GetNativeArch()
	if err != nil {
		return arches
	}
	return append([]libseccomp.ScmpArch{native}, arches...)
}

// x32 calls are x86-64 calls with this bit in their number.
const x32Bit = 0x40000000

// group is what to do for one AUDIT_ARCH_*.
type group struct {
	audit uint32
	top   uint32 // the highest number named, 0 where none is
	// topHigh is the same for numbers in the architecture's second range (see
	// split): x32's. 0 leaves that range to the filter.
	topHigh uint32
}

// join adds what is known about arch to the group of its audit number.
func join(groups []group, arch libseccomp.ScmpArch, top uint32) []group {
	audit, ok := auditArch(arch)
	if !ok || top == 0 {
		return groups
	}
	at := -1
	for i := range groups {
		if groups[i].audit == audit {
			at = i
		}
	}
	if at < 0 {
		groups = append(groups, group{audit: audit})
		at = len(groups) - 1
	}
	if arch == libseccomp.ArchX32 {
		groups[at].topHigh = top
	} else {
		groups[at].top = top
	}
	return groups
}

// auditArch is the number that struct seccomp_data has for arch (linux/audit.h).
func auditArch(arch libseccomp.ScmpArch) (uint32, bool) {
	switch arch {
	case libseccomp.ArchAMD64, libseccomp.ArchX32:
		return unix.AUDIT_ARCH_X86_64, true
	case libseccomp.ArchX86:
		return unix.AUDIT_ARCH_I386, true
	case libseccomp.ArchARM64:
		return unix.AUDIT_ARCH_AARCH64, true
	case libseccomp.ArchARM:
		return unix.AUDIT_ARCH_ARM, true
	case libseccomp.ArchRISCV64:
		return unix.AUDIT_ARCH_RISCV64, true
	}
	return 0, false // calls of other architectures keep the default action
}

// highest is the highest number of a system call that the rules name for arch.
// Negative numbers stand for calls that arch does not have, and ARM's private
// calls are no measure of a profile's age.
func highest(rules []rule, arch libseccomp.ScmpArch) uint32 {
	var top uint32
	for _, r := range rules {
		for _, name := range r.names {
			n, err := libseccomp.GetSyscallFromNameByArch(name, arch)
			if err == nil && n >= 0 && !private(arch, n) {
				top = max(top, uint32(n))
			}
		}
	}
	return top
}

// armPrivate is where the private calls of 32-bit ARM begin (cacheflush,
// set_tls).
const armPrivate = 0x0f0000

func private(arch libseccomp.ScmpArch, n libseccomp.ScmpSyscall) bool {
	return arch == libseccomp.ArchARM && n >= armPrivate
}

// Offsets in struct seccomp_data.
const (
	offsetNr   = 0
	offsetArch = 4
)

const (
	load    = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	jumpEq  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	jumpGe  = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	jumpGt  = unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K
	jump    = unix.BPF_JMP | unix.BPF_JA
	ret     = unix.BPF_RET | unix.BPF_K
	enosys  = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	perHead = 1 // instructions before the groups
	// A group has this many instructions:
	//	0	arch == audit, else to the next group
	//	1	load the number
	//	2	number >= split: to 5
	//	3	number > top: to 6, else to 4
	//	4	to the filter
	//	5	number > topHigh: to 6, else to 7
	//	6	return ENOSYS
	//	7	to the filter
	perGroup = 8
)

func assemble(groups []group) []byte {
	var out []byte
	add := func(code uint16, jt, jf uint8, k uint32) {
		out = binary.NativeEndian.AppendUint16(out, code)
		out = append(out, jt, jf)
		out = binary.NativeEndian.AppendUint32(out, k)
	}
	total := perHead + perGroup*len(groups)
	end := func() uint32 { return uint32(total - len(out)/instruction - 1) }
	add(load, 0, 0, offsetArch)
	for _, g := range groups {
		add(jumpEq, 0, perGroup-1, g.audit)
		add(load, 0, 0, offsetNr)
		add(jumpGe, 2, 0, g.split())
		add(jumpGt, 2, 0, orNone(g.top))
		add(jump, 0, 0, end())
		add(jumpGt, 0, 1, orNone(g.topHigh))
		add(ret, 0, 0, enosys)
		add(jump, 0, 0, end())
	}
	return out
}

// split is where the second range of numbers begins: x32's on x86-64, private
// calls on ARM.
func (g group) split() uint32 {
	switch g.audit {
	case unix.AUDIT_ARCH_X86_64:
		return x32Bit
	case unix.AUDIT_ARCH_ARM:
		return armPrivate
	}
	return 0xffffffff
}

// orNone makes "no number named" a limit that no number is above.
func orNone(top uint32) uint32 {
	if top == 0 {
		return 0xffffffff
	}
	return top
}
