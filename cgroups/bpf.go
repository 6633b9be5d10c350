package cgroups

import (
	"slices"
)

// DeviceFilter is the device program of a cgroup2 group, as the rules it is
// compiled from.
type DeviceFilter struct {
	Dir   string   `json:"dir"`
	Rules []Device `json:"rules"`
	// MayFail: inside a user namespace the kernel refuses the program, and
	// the rules of the groups above bind the container anyway.
	MayFail bool `json:"mayFail,omitempty"`
}

// lines prints one rule a line for Plan.Lines, in the order of the list: the
// last one counts.
func (f *DeviceFilter) lines() []string {
	if f == nil {
		return nil
	}
	out := make([]string, 0, len(f.Rules))
	for _, r := range f.Rules {
		line := "device " + oneLine(f.Dir) + " " + r.verb() + " " + r.String()
		if r.Field != "" {
			line += "   # " + string(r.Field)
		}
		out = append(out, line)
	}
	return out
}

// Insn is one eBPF instruction, laid out as struct bpf_insn (linux/bpf.h) on
// a little-endian machine.
type Insn struct {
	Code uint8
	Regs uint8 // destination in the low half, source in the high half
	Off  int16
	Imm  int32
}

// The operations that device programs consist of.
const (
	opLoadWord = 0x61 // BPF_LDX | BPF_MEM | BPF_W: dst = *(u32 *)(src + off)
	opMov32    = 0xb4 // BPF_ALU | BPF_MOV | BPF_K
	opMovReg32 = 0xbc // BPF_ALU | BPF_MOV | BPF_X
	opAnd32    = 0x54 // BPF_ALU | BPF_AND | BPF_K
	opShr32    = 0x74 // BPF_ALU | BPF_RSH | BPF_K
	opJne32    = 0x56 // BPF_JMP32 | BPF_JNE | BPF_K (Linux 5.1)
	opJset32   = 0x46 // BPF_JMP32 | BPF_JSET | BPF_K
	opJump     = 0x05 // BPF_JMP | BPF_JA
	opExit     = 0x95 // BPF_JMP | BPF_EXIT: the answer is in r0
)

// The registers: the kernel gives the context in r1 and takes the answer,
// 1 for allowed, from r0.
const (
	regAnswer  = 0
	regContext = 1
	regType    = 2
	regAccess  = 3 // the ways that no rule has allowed yet
	regMajor   = 4
	regMinor   = 5
)

// What struct bpf_cgroup_dev_ctx calls block and character devices.
const (
	devBlock = 1
	devChar  = 2
)

func op(code uint8, dst, src uint8, off int16, imm int32) Insn {
	return Insn{Code: code, Regs: dst | src<<4, Off: off, Imm: imm}
}

// CompileDevices turns rules into a BPF_PROG_TYPE_CGROUP_DEVICE program that
// allows an access if, for each way it asks for, the last rule that speaks of
// the device and that way allows it. It looks at the rules from the last to
// the first: an allowing one crosses its ways off the access until none is
// left, a denying one ends with no if any of its ways is still open.
func CompileDevices(rules []Device) []Insn {
	prog := []Insn{
		// struct { u32 access_type; u32 major; u32 minor; }, the access in the
		// upper half of the first word.
		op(opLoadWord, regType, regContext, 0, 0),
		op(opMovReg32, regAccess, regType, 0, 0),
		op(opAnd32, regType, 0, 0, 0xffff),
		op(opShr32, regAccess, 0, 0, 16),
		op(opLoadWord, regMajor, regContext, 4, 0),
		op(opLoadWord, regMinor, regContext, 8, 0),
	}
	for _, r := range slices.Backward(rules) {
		body, ends := compileRule(r)
		prog = append(prog, body...)
		if ends {
			return prog // the verifier refuses what can never be reached
		}
	}
	return append(prog, answer(false)...)
}

func answer(allow bool) []Insn {
	n := int32(0)
	if allow {
		n = 1
	}
	return []Insn{op(opMov32, regAnswer, 0, 0, n), op(opExit, 0, 0, 0, 0)}
}

// compileRule returns the instructions of one rule, which falls through to
// the next where it does not decide; ends says that it always decides.
func compileRule(r Device) (body []Insn, ends bool) {
	verdict := answer(r.Allow)
	switch {
	case r.Access == fullAccess:
		body = verdict
	case r.Allow:
		body = []Insn{
			op(opAnd32, regAccess, 0, 0, int32(fullAccess&^r.Access)),
			op(opJne32, regAccess, 0, int16(len(verdict)), 0),
		}
		body = append(body, verdict...)
	default:
		body = []Insn{
			op(opJset32, regAccess, 0, 1, int32(r.Access)),
			op(opJump, 0, 0, int16(len(verdict)), 0),
		}
		body = append(body, verdict...)
	}
	// The conditions, last first, each jumping over all that follows it.
	unless := func(reg uint8, n int32) {
		body = append([]Insn{op(opJne32, reg, 0, int16(len(body)), n)}, body...)
	}
	if r.Minor != Any {
		unless(regMinor, int32(uint32(r.Minor)))
	}
	if r.Major != Any {
		unless(regMajor, int32(uint32(r.Major)))
	}
	if t, one := deviceType(r.Type); one {
		unless(regType, t)
	}
	return body, r.everything()
}

// deviceType is the kernel's number of a type; false for both at once.
func deviceType(t byte) (n int32, one bool) {
	switch t {
	case 'b':
		return devBlock, true
	case 'c':
		return devChar, true
	}
	return 0, false
}
