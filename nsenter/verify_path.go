package nsenter

import (
	"strings"

	"golang.org/x/sys/unix"
)

// The path rules: once the container's root is open, a path string that the
// kernel walks freely could be led outside by a link in the image
// (CVE-2021-30465, CVE-2025-31133, CVE-2025-52881).

// pathArg is a path among a call's arguments.
type pathArg struct {
	dir, path int // arguments; dir is -1 where the call has none
	// bare: the call does not follow the last component, so that a single one
	// leads nowhere else.
	bare bool
	// emptyArg and emptyBit: the flag that lets the empty path stand for dir.
	emptyArg int
	emptyBit uint64
	// here: "." is fine after an fchdir.
	here bool
}

// pathsOf lists a call's paths; known is false for a call of which the rules
// do not know whether it takes any.
func pathsOf(s *Step) (paths []pathArg, known bool) {
	switch s.Call {
	case unix.SYS_OPENAT:
		return []pathArg{{dir: 0, path: 1}}, true
	case unix.SYS_MKDIRAT, unix.SYS_MKNODAT, unix.SYS_UNLINKAT:
		return []pathArg{{dir: 0, path: 1, bare: true}}, true
	case unix.SYS_SYMLINKAT:
		return []pathArg{{dir: 1, path: 2, bare: true}}, true
	case unix.SYS_FCHOWNAT:
		return []pathArg{{dir: 0, path: 1, bare: s.numAt(4)&unix.AT_SYMLINK_NOFOLLOW != 0, emptyArg: 4, emptyBit: unix.AT_EMPTY_PATH}}, true
	case unix.SYS_OPEN_TREE, unix.SYS_MOUNT_SETATTR:
		return []pathArg{{dir: 0, path: 1, emptyArg: 2, emptyBit: unix.AT_EMPTY_PATH}}, true
	case unix.SYS_FSPICK:
		return []pathArg{{dir: 0, path: 1, emptyArg: 2, emptyBit: unix.FSPICK_EMPTY_PATH}}, true
	case unix.SYS_MOVE_MOUNT:
		return []pathArg{
			{dir: 0, path: 1, emptyArg: 4, emptyBit: unix.MOVE_MOUNT_F_EMPTY_PATH},
			{dir: 2, path: 3, emptyArg: 4, emptyBit: unix.MOVE_MOUNT_T_EMPTY_PATH},
		}, true
	case unix.SYS_MOUNT:
		if s.numAt(3)&(unix.MS_BIND|unix.MS_MOVE) != 0 && s.numAt(3)&unix.MS_REMOUNT == 0 {
			return []pathArg{{dir: -1, path: 0}, {dir: -1, path: 1}}, true
		}
		return []pathArg{{dir: -1, path: 1}}, true
	case unix.SYS_PIVOT_ROOT:
		return []pathArg{{dir: -1, path: 0, here: true}, {dir: -1, path: 1, here: true}}, true
	case unix.SYS_UMOUNT2, unix.SYS_CHROOT:
		return []pathArg{{dir: -1, path: 0, here: true}}, true
	case unix.SYS_CHDIR:
		return []pathArg{{dir: -1, path: 0}}, true
	case unix.SYS_OPENAT2, Make: // inRoot checks them
		return nil, true
	case unix.SYS_EXECVE, Find: // the process's own program, at the end
		return nil, true
	case Store, unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_WRITE, unix.SYS_SETHOSTNAME,
		unix.SYS_SETDOMAINNAME, unix.SYS_KEYCTL, unix.SYS_PRCTL, unix.SYS_FSETXATTR:
		return nil, true
	}
	return nil, false
}

func (v *verifier) paths(i int, s *Step, st *state) {
	if v.p.RootAt < 0 || i < v.p.RootAt {
		return
	}
	paths, known := pathsOf(s)
	if !known && s.hasText() {
		v.fail(i, "a call with a string is known to the path rules")
	}
	if !v.inRoot(s) {
		v.fail(i, "a path in the root is resolved by openat2 with RESOLVE_IN_ROOT|RESOLVE_NO_MAGICLINKS")
	}
	for _, at := range paths {
		if !at.holds(s, st) {
			v.fail(i, "no path is followed once the root is open")
		}
	}
}

func (s *Step) hasText() bool {
	for _, a := range s.Args {
		if a.isString() {
			return true
		}
	}
	return false
}

// inRoot holds openat2 and Make to a root descriptor and openat2's flags.
func (v *verifier) inRoot(s *Step) bool {
	const resolve = unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS
	switch s.Call {
	case Make:
		return s.regAt(0) != 0
	case unix.SYS_OPENAT2:
		return s.regAt(0) != 0 && s.numAt(3) == 24 && v.p.openHow(s).resolve&resolve == resolve
	}
	return true
}

func (at pathArg) holds(s *Step, st *state) bool {
	path, ok := s.textAt(at.path)
	if !ok {
		return false // bytes or a register: nothing is known about it
	}
	if path == "/" {
		return true // the root itself: no component that a link could take the place of
	}
	if at.dir < 0 {
		return at.holdsHere(path, st)
	}
	dir := s.regAt(at.dir)
	switch {
	case s.Call == unix.SYS_OPENAT && path == "/proc":
		return st.is&pivoted == 0 // the host's; registers has it checked before use
	case dir == 0:
		return false
	case path == "":
		return at.emptyBit != 0 && s.numAt(at.emptyArg)&at.emptyBit != 0
	case at.bare && single(path):
		return true
	case s.Call == unix.SYS_OPENAT && st.reg[dir]&^placed == handed:
		return single(path) // a directory of the host
	}
	// One that is not checked yet is complained about by registers.
	return st.reg[dir]&^(procTrusted|procUnsure) == 0 && below(path)
}

// holdsHere is for calls without a directory descriptor: they start from the
// working directory.
func (at pathArg) holdsHere(path string, st *state) bool {
	switch {
	case st.cwd&unwritten != 0:
		return false
	case path == ".":
		return at.here
	}
	return st.cwd == procTrusted && ownDescriptor(path)
}

// single tells whether path is one component that names something.
func single(path string) bool {
	return path != "" && path != "." && path != ".." && !strings.Contains(path, "/")
}

// below tells whether path goes down only.
func below(path string) bool {
	if path == "" || path[0] == '/' {
		return false
	}
	for rest, part := path, ""; rest != ""; {
		part, rest, _ = strings.Cut(rest, "/")
		if part == ".." {
			return false
		}
	}
	return true
}

// ownDescriptor tells whether path is self/fd/N: how mount(2) is given a
// descriptor.
func ownDescriptor(path string) bool {
	n, ok := strings.CutPrefix(path, "self/fd/")
	return ok && n != "" && strings.Trim(n, "0123456789") == ""
}
