package intelrdt

import (
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// What is said where no group can be.
const (
	noResctrl   = "no resctrl file system is mounted"
	hintResctrl = "mount -t resctrl resctrl /sys/fs/resctrl, on a processor with RDT (rdt_a in /proc/cpuinfo) and a kernel for it"
)

// hint returns one sentence on what to try after an operation on resctrl.
func hint(op string, errno syscall.Errno) string {
	switch {
	case errno == unix.EEXIST:
		return "a group of the container's name is there and not its own: remove it, or name it as closID"
	case strings.HasPrefix(op, "find") && errno == unix.ENOENT:
		return "without schemata the group has to be there: make it with mkdir, or give schemata"
	case strings.HasPrefix(op, "make") && errno == unix.ENOENT:
		return "without mon_groups the processor, or resctrl as it is mounted, has no monitoring"
	case errno == unix.ENOSPC:
		return "the processor has no class of service, or no monitoring id, left: info/*/num_closids and num_rmids say how many it has"
	case errno == unix.EINVAL && strings.HasPrefix(op, "write"):
		return "info/ says which resources, bit masks and bandwidths the processor has"
	case errno == unix.EACCES || errno == unix.EPERM:
		return "resctrl is root's: run as root"
	}
	return ""
}
