package seccomp

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"
)

// libseccomp is asked for the numbers of system calls only. Its compiler
// (2.5.4) merges the rules of one system call into a tree, and loses some of
// their conditions on the way, or never comes back, where several compare the
// same argument for order. The program here has the rules one after the other.
//
// A program looks up the architecture, then the number of the call in a binary
// tree of ranges that are treated alike, then the conditions of the rules:
//
//	load arch; is it the first? else the next …; else kill
//	load number; below the middle? …
//	the conditions of a rule; return its action
//	…
//	return the default action

// machine is what there is to know of an architecture whose calls a filter
// sees.
type machine struct {
	arch  libseccomp.ScmpArch
	audit uint32 // AUDIT_ARCH_* in struct seccomp_data
	wide  bool   // its arguments have 64 bits
	big   bool   // big-endian
}

// x32 passes for 32 bits wide, as it does with libseccomp.
var architectures = [...]machine{
	{libseccomp.ArchAMD64, unix.AUDIT_ARCH_X86_64, true, false},
	{libseccomp.ArchX32, unix.AUDIT_ARCH_X86_64, false, false},
	{libseccomp.ArchX86, unix.AUDIT_ARCH_I386, false, false},
	{libseccomp.ArchARM64, unix.AUDIT_ARCH_AARCH64, true, false},
	{libseccomp.ArchARM, unix.AUDIT_ARCH_ARM, false, false},
	{libseccomp.ArchMIPS, unix.AUDIT_ARCH_MIPS, false, true},
	{libseccomp.ArchMIPS64, unix.AUDIT_ARCH_MIPS64, true, true},
	{libseccomp.ArchMIPS64N32, unix.AUDIT_ARCH_MIPS64N32, false, true},
	{libseccomp.ArchMIPSEL, unix.AUDIT_ARCH_MIPSEL, false, false},
	{libseccomp.ArchMIPSEL64, unix.AUDIT_ARCH_MIPSEL64, true, false},
	{libseccomp.ArchMIPSEL64N32, unix.AUDIT_ARCH_MIPSEL64N32, false, false},
	{libseccomp.ArchPARISC, unix.AUDIT_ARCH_PARISC, false, true},
	{libseccomp.ArchPARISC64, unix.AUDIT_ARCH_PARISC64, true, true},
	{libseccomp.ArchPPC, unix.AUDIT_ARCH_PPC, false, true},
	{libseccomp.ArchPPC64, unix.AUDIT_ARCH_PPC64, true, true},
	{libseccomp.ArchPPC64LE, unix.AUDIT_ARCH_PPC64LE, true, false},
	{libseccomp.ArchRISCV64, unix.AUDIT_ARCH_RISCV64, true, false},
	{libseccomp.ArchS390, unix.AUDIT_ARCH_S390, false, true},
	{libseccomp.ArchS390X, unix.AUDIT_ARCH_S390X, true, true},
}

// bigEndian is this machine's byte order.
var bigEndian = binary.NativeEndian.Uint16([]byte{0, 1}) == 1

// selected are the architectures of a profile, this machine's first, each
// once. Those of the other byte order are none of this machine's.
func selected(arches []libseccomp.ScmpArch) []machine {
	native, err := libseccomp.GetNativeArch()
	if err == nil {
		arches = append([]libseccomp.ScmpArch{native}, arches...)
	}
	var out []machine
	for _, a := range arches {
		i := slices.IndexFunc(architectures[:], func(k machine) bool { return k.arch == a })
		if i >= 0 && architectures[i].big == bigEndian && !slices.Contains(out, architectures[i]) {
			out = append(out, architectures[i])
		}
	}
	return out
}

// span is the code for system calls from a number on, up to the next span.
type span struct {
	from uint32
	code []byte
}

// x32 calls are x86-64 calls with this bit in their number.
const x32Bit = 0x40000000

// armPrivate is where the private calls of 32-bit ARM begin (cacheflush,
// set_tls).
const armPrivate = 0x0f0000

// program is the filter of a profile.
func program(p checked) []byte {
	arches := selected(p.arches)
	out := load(offsetArch)
	var done []uint32
	for _, a := range arches {
		if slices.Contains(done, a.audit) {
			continue
		}
		done = append(done, a.audit)
		code := append(load(offsetNr), tree(spansFor(p, arches, a.audit))...)
		out = append(out, instr(jumpEq, 1, 0, a.audit)...)
		out = append(out, instr(jump, 0, 0, count(code))...)
		out = append(out, code...)
	}
	// A call of an architecture that the profile does not name is treated as
	// libseccomp does.
	return append(out, answer(unix.SECCOMP_RET_KILL_THREAD)...)
}

// spansFor are the spans of all architectures with one audit number: x86-64 shares
// its own with x32.
func spansFor(p checked, arches []machine, audit uint32) []span {
	var out []span
	x32 := false
	for _, a := range arches {
		if a.audit == audit && a.arch != libseccomp.ArchX32 {
			out = append(out, spansOf(p, a)...)
		}
	}
	for _, a := range arches {
		if a.arch == libseccomp.ArchX32 && audit == a.audit {
			out = append(out, spansOf(p, a)...)
			x32 = true
		}
	}
	if audit == unix.AUDIT_ARCH_X86_64 && !x32 {
		out = append(out, span{x32Bit, answer(unix.SECCOMP_RET_KILL_THREAD)}, span{0xffffffff, answer(p.action)})
	}
	return slices.CompactFunc(out, func(a, b span) bool { return bytes.Equal(a.code, b.code) })
}

// spansOf are the spans of one architecture.
//
// A C library tries new system calls and falls back to old ones on ENOSYS. A
// profile older than the C library would answer EPERM and break programs that
// have done nothing wrong. So every call with a number above the highest one
// that the profile names for its architecture gets ENOSYS: whoever wrote the
// profile cannot have decided on it.
func spansOf(p checked, a machine) []span {
	calls, top := callsOf(p, a)
	first := uint32(0)
	if a.arch == libseccomp.ArchX32 {
		first = x32Bit
	}
	out := []span{{first, answer(p.action)}}
	private := a.arch != libseccomp.ArchARM
	unknown := func() {
		if top > 0 && tellsNew(p.action) {
			out = append(out, span{top + 1, answer(enosys)})
		}
		if !private {
			out = append(out, span{armPrivate, answer(p.action)})
			private = true
		}
	}
	ended := false
	for _, n := range slices.Sorted(maps.Keys(calls)) {
		if !ended && a.arch == libseccomp.ArchARM && n >= armPrivate {
			unknown()
			ended = true
		}
		out = append(out, span{n, rulesOf(p, a, calls[n])}, span{n + 1, answer(p.action)})
	}
	if !ended {
		unknown()
	}
	return compact(out)
}

// compact drops spans without a number of their own: of those that begin at
// the same one, all but the last.
func compact(spans []span) []span {
	var out []span
	for _, s := range spans {
		if n := len(out); n > 0 && out[n-1].from == s.from {
			out[n-1] = s
			continue
		}
		out = append(out, s)
	}
	return out
}

// tellsNew tells whether calls that nobody has decided on get ENOSYS. Default
// actions that let calls pass, or hand them to a tracer that can say so itself,
// keep them.
func tellsNew(action uint32) bool {
	switch action & unix.SECCOMP_RET_ACTION_FULL {
	case unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_LOG, unix.SECCOMP_RET_TRACE:
		return false
	}
	return true
}

// branch is a rule as it holds for one system call of an architecture.
type branch struct {
	alternatives [][]condition // nil: always
	action       uint32
}

// callsOf are the branches of each system call that the rules name, in their
// order, and the highest number named. ARM's private calls are no measure of a
// profile's age.
func callsOf(p checked, a machine) (calls map[uint32][]branch, top uint32) {
	calls = map[uint32][]branch{}
	n := numbers{arch: a.arch}
	for _, r := range p.rules {
		for _, name := range r.names {
			at := n.find(name)
			if at.direct && (a.arch != libseccomp.ArchARM || at.number < armPrivate) {
				top = max(top, at.number)
			}
			if r.action == p.action {
				continue // it says nothing
			}
			if at.direct {
				calls[at.number] = append(calls[at.number], branch{r.conditions, r.action})
			}
			if at.behind {
				// Its arguments are in memory, out of reach.
				only := [][]condition{{{op: specs.OpEqualTo, value: at.which}}}
				calls[at.mux] = append(calls[at.mux], branch{only, r.action})
			}
		}
	}
	return calls, top
}

// numbers resolves names for one architecture.
type numbers struct {
	arch  libseccomp.ScmpArch
	names map[string]uint32 // of calls that have a number as well as a place behind another one
}

// place is where an architecture has a system call: at a number of its own, at
// an argument of socketcall(2) or ipc(2), at both or, where it does not have
// the call, at neither.
type place struct {
	direct bool
	number uint32
	behind bool
	mux    uint32
	which  uint64 // the first argument that selects it there
}

func (n *numbers) find(name string) (at place) {
	number, err := libseccomp.GetSyscallFromNameByArch(name, n.arch)
	switch {
	case err != nil:
	case number >= 0:
		at.direct, at.number = true, uint32(number)
	case muxed(number):
		at.number, at.direct = n.direct(name)
		by := "socketcall"
		if number < -200 {
			by = "ipc"
		}
		m, err := libseccomp.GetSyscallFromNameByArch(by, n.arch)
		at.behind, at.mux, at.which = err == nil && m >= 0, uint32(m), uint64(-number%100)
	}
	return at
}

// direct is the number that a call has besides its place behind another one.
func (n *numbers) direct(name string) (uint32, bool) {
	if n.names == nil {
		n.names = map[string]uint32{}
		for i := range libseccomp.ScmpSyscall(512) {
			if name, err := i.GetNameByArch(n.arch); err == nil {
				n.names[name] = uint32(i)
			}
		}
	}
	number, ok := n.names[name]
	return number, ok
}

// muxed tells whether libseccomp's number is a place behind socketcall(2),
// -101 to -120, or ipc(2), -201 to -224.
func muxed(n libseccomp.ScmpSyscall) bool { return n <= -101 && n >= -120 || n <= -201 && n >= -224 }

// rulesOf is the code for one system call. A rule without conditions holds
// whatever others say, as with libseccomp; else the first one does.
func rulesOf(p checked, a machine, branches []branch) []byte {
	for _, b := range branches {
		if b.alternatives == nil {
			return answer(b.action)
		}
	}
	var out []byte
	for _, b := range branches {
		for _, all := range b.alternatives {
			out = append(out, conditions(a, all, b.action)...)
		}
	}
	return append(out, answer(p.action)...)
}

// --- instructions

// Offsets in struct seccomp_data.
const (
	offsetNr   = 0
	offsetArch = 4
	offsetArgs = 16
)

const (
	loadWord = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	and      = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	jumpEq   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	jumpGe   = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	jumpGt   = unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K
	jump     = unix.BPF_JMP | unix.BPF_JA
	ret      = unix.BPF_RET | unix.BPF_K
	enosys   = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
)

// instr is one struct sock_filter.
func instr(code uint16, yes, no uint8, k uint32) []byte {
	out := binary.NativeEndian.AppendUint16(make([]byte, 0, instruction), code)
	return binary.NativeEndian.AppendUint32(append(out, yes, no), k)
}

func load(offset uint32) []byte   { return instr(loadWord, 0, 0, offset) }
func answer(action uint32) []byte { return instr(ret, 0, 0, action) }
func count(code []byte) uint32    { return uint32(len(code) / instruction) }

// tree finds the span of the number that is loaded.
func tree(spans []span) []byte {
	if len(spans) == 1 {
		return spans[0].code
	}
	middle := len(spans) / 2
	below, above := tree(spans[:middle]), tree(spans[middle:])
	var out []byte
	if n := count(below); n <= 255 {
		out = instr(jumpGe, uint8(n), 0, spans[middle].from)
	} else {
		out = append(instr(jumpGe, 0, 1, spans[middle].from), instr(jump, 0, 0, n)...)
	}
	return append(append(out, below...), above...)
}

// Where a test leads, beside the number of instructions to skip.
const (
	pass = 254 // to the next condition
	fail = 255 // behind the alternative
)

// test is an instruction of which the ways are not numbers yet.
type test struct {
	code    uint16
	yes, no uint8
	k       uint32
}

// conditions is the code that returns action where all conditions hold, and
// goes on behind it where one does not: at most 6*6+1 instructions.
func conditions(a machine, all []condition, action uint32) []byte {
	var tests []test
	var ends []int // of each test's condition
	for _, one := range all {
		tests = append(tests, one.tests(a)...)
		for len(ends) < len(tests) {
			ends = append(ends, len(tests))
		}
	}
	way := func(i int, to uint8) uint8 {
		switch to {
		case pass:
			return uint8(ends[i] - i - 1)
		case fail:
			return uint8(len(tests) - i) // behind the return
		}
		return to
	}
	var out []byte
	for i, t := range tests {
		out = append(out, instr(t.code, way(i, t.yes), way(i, t.no), t.k)...)
	}
	return append(out, answer(action)...)
}

// condition is a comparison of one argument.
type condition struct {
	arg           uint
	op            specs.LinuxSeccompOperator
	value, second uint64
}

// tests is the code of a condition: the upper half of the argument decides,
// or, where it is equal, the lower one.
func (o condition) tests(a machine) []test {
	low, high := offsetArgs+8*uint32(o.arg), offsetArgs+8*uint32(o.arg)+4
	if a.big {
		low, high = high, low
	}
	word := func(offset uint32) test { return test{code: loadWord, k: offset} }
	lower, upper := uint32(o.value), uint32(o.value>>32)
	if o.op == specs.OpMaskedEqual {
		out := []test{word(low), {code: and, k: lower}, {jumpEq, 0, fail, uint32(o.second)}}
		if a.wide {
			out = append(out, word(high), test{code: and, k: upper}, test{jumpEq, 0, fail, uint32(o.second >> 32)})
		}
		return out
	}
	var first []test
	last := test{jumpEq, pass, fail, lower}
	switch o.op {
	case specs.OpEqualTo:
		first = []test{{jumpEq, 0, fail, upper}}
	case specs.OpNotEqual:
		first = []test{{jumpEq, 0, pass, upper}}
		last = test{jumpEq, fail, pass, lower}
	case specs.OpGreaterThan, specs.OpGreaterEqual:
		first = []test{{jumpGt, pass, 0, upper}, {jumpEq, 0, fail, upper}}
		last = test{jumpGt, pass, fail, lower}
		if o.op == specs.OpGreaterEqual {
			last.code = jumpGe
		}
	case specs.OpLessThan, specs.OpLessEqual:
		first = []test{{jumpGt, fail, 0, upper}, {jumpEq, 0, pass, upper}}
		last = test{jumpGe, fail, pass, lower}
		if o.op == specs.OpLessEqual {
			last.code = jumpGt
		}
	}
	if !a.wide {
		return []test{word(low), last}
	}
	return append(append([]test{word(high)}, first...), word(low), last)
}
