package nsenter

// #cgo CFLAGS: -Wall -Wextra -Werror -O2 -fno-plt
// #include "step.h"
// extern char __executable_start[], etext[];
// static uint64_t code_start(void) { return (uintptr_t)__executable_start; }
// static uint64_t code_end(void) { return (uintptr_t)etext; }
import "C"

import (
	"encoding/binary"
	"fmt"
	"unsafe"
)

// Sizes of the structs in step.h.
const (
	headerSize  = C.sizeof_struct_header
	stepSize    = C.sizeof_struct_step
	messageSize = C.sizeof_struct_message
	registers   = C.REGISTERS
	fdsAMessage = C.FDS_PER_MESSAGE
)

// Encode is the program as the walker maps it: header, steps, relocations,
// data.
func (p *Program) Encode() ([]byte, error) {
	size := headerSize + stepSize*len(p.Steps) + 8*len(p.relocs) + len(p.data)
	out := make([]byte, headerSize, size)
	*(*C.struct_header)(unsafe.Pointer(&out[0])) = C.struct_header{
		magic:       C.PROGRAM_MAGIC,
		steps:       C.uint32_t(len(p.Steps)),
		relocations: C.uint32_t(len(p.relocs)),
		data:        C.uint32_t(len(p.data)),
		fds:         C.uint32_t(p.Received),
	}
	for i := range p.Steps {
		step, err := p.Steps[i].encode()
		if err != nil {
			return nil, fmt.Errorf("step %d: %w", i, err)
		}
		out = append(out, unsafe.Slice((*byte)(unsafe.Pointer(&step)), stepSize)...)
	}
	for _, r := range p.relocs {
		out = binary.NativeEndian.AppendUint32(out, r.at)
		out = binary.NativeEndian.AppendUint32(out, r.to)
	}
	return append(out, p.data...), nil
}

// setTimed makes an encoded program one that comes with memory for its times.
func setTimed(program []byte) { (*C.struct_header)(unsafe.Pointer(&program[0])).timed = 1 }

func (s *Step) encode() (C.struct_step, error) {
	out := C.struct_step{
		call:          C.uint32_t(s.Call),
		result:        C.uint16_t(s.Result),
		skip_success:  C.uint16_t(s.skipSuccess),
		skip_accepted: C.uint16_t(s.skipAccept),
	}
	if s.Result >= registers {
		return out, fmt.Errorf("more than %d registers", registers)
	}
	if len(s.Args) > len(out.arg) || len(s.Accept) > len(out.accept) {
		return out, fmt.Errorf("%d arguments, %d accepted errnos", len(s.Args), len(s.Accept))
	}
	for i, e := range s.Accept {
		out.accept[i] = C.uint16_t(e)
	}
	for i, a := range s.Args {
		if a.reg >= registers {
			return out, fmt.Errorf("more than %d registers", registers)
		}
		out.kind[i] = C.uint8_t(a.kind)
		out.arg[i] = C.uint64_t(a.num)
		if a.kind == inRegister {
			out.arg[i] = C.uint64_t(a.reg)
		}
	}
	return out, nil
}

// code is where this binary's machine code is mapped, page-aligned: in the
// walker too, because the binary is linked for fixed addresses.
func code() (start, length uint64) {
	const page = 4096
	start = uint64(C.code_start()) &^ (page - 1)
	return start, (uint64(C.code_end()) - start) &^ (page - 1)
}

const (
	messageProgram = C.MESSAGE_PROGRAM
	messageFDs     = C.MESSAGE_FDS
	messageGo      = C.MESSAGE_GO
	messageSync    = C.MESSAGE_SYNC
	messageChild   = C.MESSAGE_CHILD
	messageFD      = C.MESSAGE_FD
	messageFailed  = C.MESSAGE_FAILED

	refused = C.REFUSED
)

func encodeMessage(m message) []byte {
	var out C.struct_message
	out.kind, out.id, out.value = C.uint32_t(m.kind), C.uint32_t(m.id), C.int32_t(m.value)
	return C.GoBytes(unsafe.Pointer(&out), messageSize)
}

// decodeMessage reads the messageSize bytes of a struct message.
func decodeMessage(raw []byte) message {
	in := (*C.struct_message)(unsafe.Pointer(&raw[0]))
	textAt := int(unsafe.Offsetof(in.text))
	length := min(int(in.length), len(raw)-textAt)
	return message{
		kind: uint32(in.kind), id: uint32(in.id), value: int32(in.value),
		text: raw[textAt : textAt+length],
	}
}
