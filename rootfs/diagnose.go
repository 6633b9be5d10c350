package rootfs

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/libcontainer/host"
)

// Diagnose adds what the kernel does not say about a mount that failed. It
// looks at the host's files and at the image: for use after the failure only.
func (p *Plan) Diagnose(e *fault.Error) {
	switch {
	case strings.HasPrefix(e.Op, "mount overlay"):
		p.diagnoseOverlay(e)
	case (e.Op == "mount proc" || e.Op == "mount sysfs") && e.Errno == unix.EPERM:
		mountinfo, _ := host.ReadFile("/proc/self/mountinfo")
		diagnoseCovered(e, mountinfo)
	case strings.HasPrefix(e.Op, "mount ") && e.Errno == unix.EINVAL:
		p.diagnoseOwner(e)
	default:
		p.diagnoseKinds(e)
	}
}

// diagnoseCovered says what keeps a user namespace from a procfs or sysfs of its
// own: the kernel makes one only beside one that shows everything
// (mount_namespaces(7)).
func diagnoseCovered(e *fault.Error, mountinfo []byte) {
	dir, options := "/proc", `"rbind"`
	if e.Op == "mount sysfs" {
		dir, options = "/sys", `"rbind", "ro"`
	}
	covers := slices.DeleteFunc(host.MountsBelow(mountinfo, dir), inEmptyDirectory)
	if len(covers) == 0 {
		return
	}
	shown := strings.Join(covers[:min(len(covers), 3)], ", ")
	if len(covers) > 3 {
		shown += " and others"
	}
	e.Hint = "a user namespace gets none of its own where the one around it is covered, here at " + shown +
		`: bind that one, {"destination": "` + dir + `", "type": "none", "source": "` + dir + `", "options": [` + options + `]},` +
		" or run the container around it without linux.maskedPaths and readonlyPaths in " + dir
}

// inEmptyDirectory tells whether a mount covers one of the directories that the
// kernel has for just that, as /sys/fs/cgroup; those do not count.
func inEmptyDirectory(point string) bool {
	return strings.HasPrefix(point, "/sys/fs/") || strings.HasPrefix(point, "/sys/kernel/")
}

// diagnoseOwner is about uid= and gid= of an id that the user namespace has not.
func (p *Plan) diagnoseOwner(e *fault.Error) {
	for _, op := range p.Ops {
		m, ok := op.(*Mount)
		if !ok || !p.m.userNS && !p.m.nested {
			continue
		}
		for _, q := range m.Flags.Params {
			// Before Linux 6.6 the kernel did not say which option it was.
			if (q.Key == "uid" || q.Key == "gid") && (q.field(m.Field) == e.Field || m.Field == e.Field) {
				e.Hint = "where the user namespace has no " + q.Key + " " + q.Value + ", leave the option out, as spec --rootless does, or map the id in linux." + q.Key + "Mappings"
			}
		}
	}
}

// diagnoseKinds: move_mount(2) says EINVAL where a file meets a directory, for
// which mount(2) had ENOTDIR; Docker matches on the words.
func (p *Plan) diagnoseKinds(e *fault.Error) {
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
	if p.rootMount != nil {
		return "" // it is mounted nowhere yet
	}
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
