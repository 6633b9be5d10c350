package host

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Probe gathers the facts about this machine and this process. It only reads.
func Probe() Facts {
	f := ProbeProcess()
	mountinfo, _ := ReadFile("/proc/self/mountinfo") // without it there is nothing mounted that matters
	f.Cgroup = probeCgroup(mountinfo)
	if f.Rootless() {
		f.Cgroup.ProbeRights()
	}
	f.Resctrl = parseResctrl(mountinfo)
	return f
}

// ProbeProcess is Probe without control groups and resctrl, for a process that
// joins a container.
func ProbeProcess() Facts {
	f := Facts{
		Kernel:     kernelVersion(),
		EUID:       os.Geteuid(),
		EGID:       os.Getegid(),
		Caps:       effectiveCaps(),
		LastCap:    lastCap(),
		UserNS:     InUserNamespace(),
		Namespaces: namespaceKinds(),
		Seccomp:    unix.Access("/proc/sys/kernel/seccomp", unix.F_OK) == nil,
	}
	for fd := range f.Stdio {
		f.Stdio[fd] = probeStdio(fd)
	}
	return f
}

func kernelVersion() Version {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return Version{}
	}
	return parseVersion(unix.ByteSliceToString(u.Release[:]))
}

func parseVersion(release string) Version {
	major, rest, _ := strings.Cut(release, ".")
	digits := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if digits >= 0 {
		rest = rest[:digits]
	}
	var v Version
	v.Major, _ = strconv.Atoi(major)
	v.Minor, _ = strconv.Atoi(rest)
	return v
}

func effectiveCaps() uint64 {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&header, &data[0]) != nil {
		return 0
	}
	return uint64(data[1].Effective)<<32 | uint64(data[0].Effective)
}

func lastCap() int {
	text, _ := ReadFile("/proc/sys/kernel/cap_last_cap")
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return unix.CAP_LAST_CAP
	}
	return n
}

// The initial user namespace has a fixed inode (PROC_USER_INIT_INO in
// include/linux/proc_ns.h).
const initialUserNamespace = 0xEFFFFFFD

// InUserNamespace tells whether this process is in another user namespace than
// the initial one.
func InUserNamespace() bool {
	var st unix.Stat_t
	err := unix.Stat("/proc/self/ns/user", &st)
	return err == nil && st.Ino != initialUserNamespace
}

func namespaceKinds() []string {
	var kinds []string
	for _, kind := range []string{"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"} {
		if unix.Access("/proc/self/ns/"+kind, unix.F_OK) == nil {
			kinds = append(kinds, kind)
		}
	}
	return kinds
}

func probeStdio(fd int) Stdio {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return Stdio{}
	}
	return Stdio{Open: true, Mode: st.Mode, UID: st.Uid, Rdev: uint64(st.Rdev), Dev: uint64(st.Dev), Ino: st.Ino}
}
