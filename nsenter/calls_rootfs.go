package nsenter

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// Into makes the last step's result go into r instead of a register of its
// own, for a second way to the same descriptor. It returns the step.
func (b *Builder) Into(r Reg) *Step {
	s := b.Last()
	if s.Result != r {
		b.free = append(b.free, s.Result)
	}
	s.Result = r
	return s
}

// OpenHostPlain opens a path of the host on which there must be no symbolic
// link: ELOOP otherwise (openat2(2), RESOLVE_NO_SYMLINKS).
func (b *Builder) OpenHostPlain(path string, f int) Reg {
	how := make([]byte, 24)
	all := uint64(f) | unix.O_CLOEXEC
	binary.NativeEndian.PutUint64(how, all)
	binary.NativeEndian.PutUint64(how[16:], unix.RESOLVE_NO_SYMLINKS)
	text := fmt.Sprintf("{%s, RESOLVE_NO_SYMLINKS}", flags(all, openFlags).text)
	return b.yields(unix.SYS_OPENAT2, CWD(), b.Str(path), b.Bytes(how, text), Num(24))
}
