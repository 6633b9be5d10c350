package cgroups

import (
	"errors"
	"path"
	"strings"
	"syscall"

	"berth/cgroups/dbus"

	"golang.org/x/sys/unix"
)

// Explain is the hint about op on the group's file at name that failed with
// errno; "" where nothing is known.
func Explain(op, name string, errno syscall.Errno) string { return hint(op, name, errno) }

// hint says in one sentence what may help when op on the file or directory at
// name failed with errno; "" where nothing is known.
func hint(op, name string, errno syscall.Errno) string {
	if strings.HasPrefix(op, "bpf") {
		return bpfHint(op, errno)
	}
	switch op {
	case "mkdir":
		return mkdirHint(errno)
	case "rmdir":
		if errno == unix.EBUSY {
			return "processes are still in the group; kill them first"
		}
	case "write":
		return writeHint(path.Base(name), errno)
	}
	return ""
}

func bpfHint(op string, errno syscall.Errno) string {
	switch {
	case errno == unix.EPERM && op == "bpf program attach":
		return "a group above holds a device program that allows no others below it, or CAP_BPF and CAP_NET_ADMIN are missing"
	case errno == unix.EPERM:
		return "loading a device program takes CAP_BPF or CAP_SYS_ADMIN on the host, and on kernels before 5.11 a large enough memlock rlimit"
	case errno == unix.ENOSYS, errno == unix.EINVAL:
		return "this kernel may lack CONFIG_CGROUP_BPF, without which device rules cannot be enforced on cgroup v2"
	case errno == unix.E2BIG:
		return "too many device rules for one program"
	}
	return ""
}

func mkdirHint(errno syscall.Errno) string {
	switch errno {
	case unix.EACCES, unix.EPERM:
		return "the runtime may not make groups here; run it as root or in a delegated group"
	case unix.EROFS:
		return "the cgroup file system is mounted read-only; inside a container it has to be writable, or use --cgroup-manager disabled"
	case unix.EAGAIN:
		return "cgroup.max.descendants or cgroup.max.depth of a group above is reached"
	case unix.ENOSPC:
		return "the kernel has no more groups to give; many may be dying"
	case unix.EINVAL, unix.ENAMETOOLONG:
		return "the group's name is not one that the kernel takes"
	}
	return ""
}

// writeHint knows files by their names, those of v1 and v2.
func writeHint(file string, errno syscall.Errno) string {
	switch {
	case file == procsFile:
		return joinHint(errno)
	case errno == unix.ENOENT:
		return missingHint(file)
	case errno == unix.EACCES, errno == unix.EPERM:
		return deniedHint(file)
	case errno == unix.EROFS:
		return "the cgroup file system is mounted read-only"
	case strings.HasPrefix(file, "devices.") && errno == unix.EINVAL:
		return "the group has groups below it, so its default for devices cannot change any more; remove them"
	case strings.HasPrefix(file, "memory."):
		return memoryHint(errno)
	case strings.HasPrefix(file, "cpu."):
		return cpuHint(file, errno)
	case strings.HasPrefix(file, "cpuset."):
		return cpusetHint(errno)
	case strings.HasPrefix(file, "blkio."), strings.HasPrefix(file, "io."):
		return ioHint(errno)
	case strings.HasPrefix(file, "rdma."), strings.HasPrefix(file, "net_prio."):
		if errno == unix.ENODEV || errno == unix.EINVAL {
			return "no such device or interface on this machine"
		}
	}
	return ""
}

func joinHint(errno syscall.Errno) string {
	switch errno {
	case unix.ENOSPC:
		return "the group's cpuset has no CPUs or memory nodes"
	case unix.EBUSY:
		return "the group hands controllers down to groups below it, so that on cgroup v2 no process may be in it"
	case unix.EOPNOTSUPP:
		return "the group is part of a threaded tree; choose another linux.cgroupsPath"
	case unix.EACCES, unix.EPERM:
		return "the runtime may not move processes between these groups; they need a common parent that is delegated to it"
	case unix.EINVAL:
		return "a realtime process cannot join a group without realtimeRuntime"
	}
	return ""
}

func missingHint(file string) string {
	switch {
	case strings.HasPrefix(file, "memory.memsw."), file == "memory.swap.max":
		return "this kernel does not account swap; boot with swapaccount=1 or remove the swap limit"
	case strings.Contains(file, ".rt_"):
		return "this kernel has no realtime groups (CONFIG_RT_GROUP_SCHED)"
	case strings.Contains(file, "burst"):
		return "burst needs Linux 5.14"
	case file == "cpu.idle":
		return "idle groups need Linux 5.15"
	case strings.Contains(file, "leaf_weight"):
		return "leaf weights went with the CFQ scheduler in Linux 5.0"
	case strings.Contains(file, "weight") && file != "cpu.weight":
		return "no I/O scheduler with weights is there; BFQ or io.cost (v2) is needed"
	case strings.HasPrefix(file, "hugetlb."):
		return "this machine has no huge pages of that size"
	case strings.HasPrefix(file, "cgroup."):
		return "this kernel has no such file, or the group is gone"
	}
	controller, _, _ := strings.Cut(file, ".")
	return "this kernel has no such file, or the " + controller + " controller is not handed down: a parent's cgroup.subtree_control lacks it, or a parent holds processes"
}

func deniedHint(file string) string {
	if strings.HasPrefix(file, "devices.") {
		return "a group cannot allow a device that the group above it denies"
	}
	if strings.HasPrefix(file, "cpuset.") {
		return cpusetHint(unix.EACCES)
	}
	return "the runtime may not write here; run it as root or in a delegated group"
}

func memoryHint(errno syscall.Errno) string {
	switch errno {
	case unix.EBUSY:
		return "the group uses more memory than the new limit, and not enough of it can be reclaimed"
	case unix.EINVAL:
		return "memory+swap must not be below memory, and limits must be whole numbers of bytes"
	case unix.EOPNOTSUPP, errnoNotSupported:
		return "this kernel has given up the setting"
	}
	return ""
}

func cpuHint(file string, errno syscall.Errno) string {
	switch {
	case errno == unix.EINVAL && strings.Contains(file, "burst"):
		return "burst must be no larger than the quota, so a quota is needed, too"
	case errno == unix.EINVAL && strings.Contains(file, ".rt_"):
		return "the group above has not that much realtimeRuntime to give"
	case errno == unix.EINVAL && (file == "cpu.shares" || file == "cpu.weight"):
		return "an idle group takes no shares; set idle to 0"
	case errno == unix.EINVAL:
		return "quota and period must be between 1000 and 1000000 microseconds, and within the limit of the group above"
	case errno == unix.ERANGE:
		return "the number is out of the file's range"
	}
	return ""
}

func cpusetHint(errno syscall.Errno) string {
	switch errno {
	case unix.EINVAL, unix.ERANGE:
		return "not a list of CPUs or memory nodes such as 0-3,7, or this machine has not that many"
	case unix.EACCES, unix.ENOSPC, unix.EBUSY:
		return "the CPUs and nodes must be among those of the group above, and be enough for the processes in the group"
	}
	return ""
}

func ioHint(errno syscall.Errno) string {
	switch errno {
	case unix.ENODEV, unix.ENXIO, unix.EINVAL:
		return "no such block device on this machine (a partition cannot be limited, its disk can), or the number is out of range"
	case unix.ERANGE:
		return "the weight is out of range: 1 to 1000 for BFQ, 1 to 10000 for io.weight"
	case unix.EOPNOTSUPP:
		return "the device's I/O scheduler has no weights; BFQ has"
	}
	return ""
}

// busHint is about a conversation with systemd that failed; user says that it was the user's own.
func busHint(err error, user bool) string {
	none := "systemd does not run here, or its bus is not to be seen; without it use the cgroupfs manager (leave out --systemd-cgroup)"
	denied := "only root may ask systemd for a scope; run as root"
	if user {
		none = "this user has no systemd of its own here: log in (pam_systemd), or have root say loginctl enable-linger, and set " +
			"XDG_RUNTIME_DIR=/run/user/UID; without it use the cgroupfs manager (leave out --systemd-cgroup)"
		denied = "the bus is another user's: XDG_RUNTIME_DIR and DBUS_SESSION_BUS_ADDRESS have to name this user's own"
	}
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ECONNREFUSED):
		return none
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return denied
	case errors.Is(err, dbus.ErrTimeout):
		return "systemd is stuck or very busy: systemctl list-jobs shows what it works on"
	}
	var e *dbus.CallError
	if !errors.As(err, &e) {
		return ""
	}
	switch name := e.Name[strings.LastIndexByte(e.Name, '.')+1:]; name {
	case "UnitExists":
		return "another container has that name; delete it, or choose another linux.cgroupsPath"
	case "AccessDenied", "AuthFailed", "InteractiveAuthorizationRequired":
		return denied
	case "PropertyReadOnly", "UnknownProperty", "InvalidArgs", "InvalidSignature":
		return "an annotation org.systemd.property.* or a limit is not what this version of systemd takes; berth plan prints all properties"
	case "ServiceUnknown", "NameHasNoOwner", "NoReply", "Disconnected":
		return "the message bus knows no systemd; without it use the cgroupfs manager"
	}
	return ""
}

// jobHint is about a unit that systemd would not start.
func jobHint(user bool) string {
	if user {
		return "journalctl --user says why; a process that was not started by the user's systemd is moved by the system's, which needs " +
			"the system's message bus, or start the runtime with systemd-run --user --scope"
	}
	return "the journal of the host says why: journalctl -b _PID=1"
}
