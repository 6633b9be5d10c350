package netdev

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// explain returns one sentence on what to try after a device could not be
// moved or set up.
func explain(errno syscall.Errno) string {
	switch errno {
	case unix.ENODEV:
		return "the runtime's network namespace has no device of this name (ip link lists them)"
	case unix.EEXIST:
		return "the container's network namespace has a device of this name already: choose another, or a template such as \"eth%d\""
	case unix.EPERM:
		return "it needs CAP_NET_ADMIN and CAP_SYS_ADMIN over the network namespace that has the device: run as root"
	case unix.EACCES:
		return "the device has IPv6 addresses, and the container's network namespace has IPv6 switched off (net.ipv6.conf.all.disable_ipv6)"
	case unix.EINVAL:
		return "the kernel does not let every device go, such as a bridge or lo"
	}
	return ""
}
