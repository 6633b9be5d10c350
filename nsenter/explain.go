package nsenter

import "golang.org/x/sys/unix"

// hint is one sentence on what to try after a step failed, or "".
func hint(s *Step, errno unix.Errno) string {
	for _, h := range hints {
		if h.call == s.Call && h.errno == errno {
			return h.text
		}
	}
	return ""
}

// refusedHint is hint for a walker that has refused its program.
func refusedHint(errno unix.Errno) string {
	switch errno {
	case unix.EMFILE:
		return "the limit on open descriptors (ulimit -n) is too low for what the container is given"
	case unix.ENOSYS, unix.EPERM:
		return "close_range is refused: Linux 5.9 has it, and a seccomp filter around berth has to allow it"
	}
	return ""
}

var hints = []struct {
	call  Call
	errno unix.Errno
	text  string
}{
	{unix.SYS_UNSHARE, unix.EPERM, "run as root, or add a user namespace to /linux/namespaces"},
	{unix.SYS_UNSHARE, unix.ENOSPC, "the limit in /proc/sys/user/max_*_namespaces is reached"},
	{unix.SYS_UNSHARE, unix.EINVAL, "this kernel has not all of these kinds of namespaces"},
	{unix.SYS_SETNS, unix.EINVAL, "the path is not a namespace of this kind"},
	{unix.SYS_SETNS, unix.EPERM, "joining it needs CAP_SYS_ADMIN in the user namespace that owns it"},
	{Fork, unix.EAGAIN, "a limit on processes is reached (pids.max, RLIMIT_NPROC, threads-max)"},
	{Fork, unix.ENOMEM, "the pid namespace that is joined has no init any more, or there is no memory"},
	{Check, unix.EXDEV, "it is not the file that it has to be: the image or another mount replaced it"},
	{Make, unix.ELOOP, "too many symbolic links, or a magic link of procfs, in the path"},
	{Make, unix.EROFS, "it is missing and the file system there is read-only: make it in the image"},
	{Make, unix.ENOTDIR, "something in the path is not a directory"},
	{Inside, unix.EXDEV, "the working directory is outside the container's root"},
}
