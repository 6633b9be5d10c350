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

// OpenPathHost opens a path of the host for OpenTree and nothing else. Unlike
// openat(2) with O_PATH it has an automount done (open_tree(2)). With noFollow a
// symbolic link is meant itself.
func (b *Builder) OpenPathHost(path string, noFollow bool) Reg {
	return b.yields(unix.SYS_OPEN_TREE, CWD(), b.Str(path), flags(unix.OPEN_TREE_CLOEXEC|linkFlag(noFollow), treeFlags))
}

// LikeMode gives the root of a new file system, mount, the mode of the
// directory like.
func (b *Builder) LikeMode(mount, like Reg) *Step {
	return b.Append(LikeMode, FD(mount), FD(like))
}
