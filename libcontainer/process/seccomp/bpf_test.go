package seccomp

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// call is struct seccomp_data.
type call struct {
	nr, arch uint32
	args     [6]uint64
}

// word is the 32-bit word at an offset of struct seccomp_data.
func (c call) word(at uint32) uint32 {
	raw := make([]byte, 64)
	binary.NativeEndian.PutUint32(raw[0:], c.nr)
	binary.NativeEndian.PutUint32(raw[4:], c.arch)
	for i, a := range c.args {
		binary.NativeEndian.PutUint64(raw[16+8*i:], a)
	}
	return binary.NativeEndian.Uint32(raw[at:])
}

// interpret runs a filter as the kernel does and returns what it decides.
func interpret(bpf []byte, c call) (uint32, error) {
	var a uint32
	n := len(bpf) / instruction
	for pc := 0; pc < n; {
		in := bpf[pc*instruction:]
		code, jt, jf := binary.NativeEndian.Uint16(in), int(in[2]), int(in[3])
		k := binary.NativeEndian.Uint32(in[4:])
		pc++
		branch := func(yes bool) {
			if yes {
				pc += jt
			} else {
				pc += jf
			}
		}
		switch code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			if k%4 != 0 || k > 60 {
				return 0, fmt.Errorf("instruction %d loads from %d", pc-1, k)
			}
			a = c.word(k)
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			a &= k
		case unix.BPF_JMP | unix.BPF_JA:
			pc += int(k)
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			branch(a == k)
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			branch(a > k)
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			branch(a >= k)
		case unix.BPF_RET | unix.BPF_K:
			return k, nil
		default:
			return 0, fmt.Errorf("instruction %d is %#x", pc-1, code)
		}
	}
	return 0, fmt.Errorf("the program runs out of its end")
}
