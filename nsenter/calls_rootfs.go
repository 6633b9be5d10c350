package nsenter

import (
	"golang.org/x/sys/unix"
)

// Into makes the last step's result go into r instead of a register of its
// own, for a second way to the same descriptor. It returns the step.
func (b *Builder) Into(r Reg) *Step {
	s := b.Last()
	if s.Result != 0 && s.Result != r {
		b.free = append(b.free, s.Result)
	}
	s.Result = r
	return s
}

// OpenHostPlain opens a path of the host on which there must be no symbolic
// link: ELOOP otherwise (openat2(2), RESOLVE_NO_SYMLINKS).
func (b *Builder) OpenHostPlain(path string, f int) Reg {
	how := openHow{uint64(f) | unix.O_CLOEXEC, unix.RESOLVE_NO_SYMLINKS}
	return b.yields(unix.SYS_OPENAT2, CWD(), b.Str(path), b.structure(how), Num(24))
}
