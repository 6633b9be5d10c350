package rootfs

import (
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/libcontainer/host"
)

// Diagnose adds what the kernel does not say about a mount that failed. It
// looks at the host's files and at the image: for use after the failure only.
//
// move_mount(2) says EINVAL where a file meets a directory, for which mount(2)
// had ENOTDIR; Docker matches on the words.
func (p *Plan) Diagnose(e *fault.Error) {
	if e.Op != "bind" || e.Errno != unix.EINVAL {
		return
	}
	for _, op := range p.Ops {
		b, ok := op.(*Bind)
		if !ok || b.Field != e.Field {
			continue
		}
		source, target := kindOf(unix.AT_FDCWD, b.Source), p.kindInside(b.Target)
		if source == "" || target == "" || source == target {
			return
		}
		e.Errno, e.Path = unix.ENOTDIR, b.Source+" on "+b.Target
		e.Msg = "the source is a " + source + " and the destination a " + target
		e.Hint = "bind a " + target + ", or choose another destination"
	}
}

// kindInside is kindOf for a path of the image, before anything is mounted.
func (p *Plan) kindInside(path string) string {
	root, err := unix.Open(p.Root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer unix.Close(root)
	fd, err := host.OpenIn(root, path, unix.O_PATH)
	if err != nil {
		return ""
	}
	defer unix.Close(fd)
	return kindOf(fd, "")
}

// kindOf is "file", "directory", or "" where there is neither.
func kindOf(dir int, path string) string {
	var st unix.Stat_t
	if unix.Fstatat(dir, path, &st, unix.AT_EMPTY_PATH) != nil {
		return ""
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return "directory"
	}
	return "file"
}
