package rootfs

import (
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Explain is one sentence on what to try after op failed with errno, or "". op
// is the Op of an error from Open or from a step that CompileMounts or
// CompilePivot made.
func Explain(op string, errno syscall.Errno) string {
	for _, h := range hints {
		if h.errno == errno && (h.op == op || strings.HasSuffix(h.op, "*") && strings.HasPrefix(op, h.op[:len(h.op)-1])) {
			return h.text
		}
	}
	return ""
}

const hintNoPlace = "where the image lacks the place, it cannot be made in a root file system that is read-only: " +
	"add it to the image, or an upper directory to the overlay"

// hints is searched from the top; an op that ends in '*' is a prefix.
var hints = [...]struct {
	op    string
	errno syscall.Errno
	text  string
}{
	{"bind", unix.ENOENT, "the source does not exist on the host"},
	{"bind", unix.EACCES, "the user that builds the container may not reach the source or the destination"},
	{"bind", unix.EINVAL, "in a user namespace, a source with mounts below it needs rbind"},
	{"bind", unix.EXDEV, "only a procfs may be bound on /proc"},
	{"bind", unix.ENOTDIR, "something on the way to the destination is not a directory; /proc and /sys have to be directories of the image"},
	{"bind", unix.EMFILE, "each bind mount keeps a descriptor until it is its turn: raise the limit of the runtime (ulimit -n)"},
	{"bind-device", unix.ENOENT, "in a user namespace devices come from the host, which has no such node"},
	{"bind-device", unix.EXDEV, "the host's node of this name is another device"},
	{"idmap", unix.EINVAL, "this kernel has no id-mapped mounts of this file system (tmpfs since Linux 6.3, overlay not), or it is id-mapped already"},
	{"idmap", unix.EPERM, "an id-mapped mount needs CAP_SYS_ADMIN in the user namespace of the file system"},
	{"mount sysfs", unix.EPERM, "sysfs needs a network namespace of the container's own; without one, bind the host's /sys with rbind and ro"},
	{"mount proc", unix.EPERM, "procfs needs a pid namespace of the container's own, and a host /proc without anything mounted over it"},
	{"mount cgroup*", unix.EPERM, "cgroups need a cgroup namespace of the container's own"},
	{"mount cgroup*", unix.EBUSY, "the controllers are mounted in another combination, or belong to cgroup v2"},
	{"mount proc", unix.ENOTDIR, "/proc has to be a directory of the image, not a link"},
	{"mount sysfs", unix.ENOTDIR, "/sys has to be a directory of the image, not a link"},
	{"mount *", unix.EROFS, hintNoPlace},
	{"bind", unix.EROFS, hintNoPlace},
	{"mount *", unix.ENODEV, "this kernel does not know the file system type"},
	{"mount *", unix.EPERM, "this file system cannot be mounted in a user namespace"},
	{"mount *", unix.EINVAL, "the file system does not know an option or its value, or the destination is not a directory"},
	{"mount *", unix.ENOTDIR, "the destination, or something on the way to it, is not a directory"},
	{"mknod", unix.EXDEV, "the image has another file of this name"},
	{"mknod", unix.EPERM, "making devices needs CAP_MKNOD on the host; add a user namespace to have them bound"},
	{"mknod", unix.EROFS, "mount a tmpfs on /dev, or put the device into the image"},
	{"symlink", unix.EROFS, "mount a tmpfs on /dev, or put the link into the image"},
	{"symlink", unix.EISDIR, "the image has a directory of this name"},
	{"open", unix.ENOENT, "a terminal needs a devpts mounted on /dev/pts"},
	{"open", unix.EXDEV, "it is not what it has to be: the image or another mount replaced it"},
	{"open the root file system", unix.ENOENT, "root.path does not exist"},
	{"open the root file system", unix.EACCES, "the user that builds the container may not reach it"},
	{"open the root file system", unix.ENOTDIR, "root.path has to be a directory"},
	{"attach the root file system", unix.ENOTDIR, "root.path has to be a directory"},
	{"unmount", unix.EINVAL, "nothing is mounted at exactly this place, or it is a link: the entry names the place itself"},
	{"unmount", unix.ENOENT, "the container has no such path"},
	{"attach the root file system", unix.EINVAL, "root.path has to be a directory"},
	{"pivot_root", unix.EINVAL, "the current root is one that cannot be pivoted from, such as an initramfs: try --no-pivot"},
	{"remount", unix.EPERM, "the flag is locked: the host set it on this mount"},
	{"tmpcopyup", unix.ENOSPC, "the tmpfs is smaller than what it covers: set a larger size"},
	{"*", unix.ENOSYS, "the kernel, or a filter of system calls that the runtime itself is under, lacks it: mounting needs open_tree(2), fsopen(2) and move_mount(2) (Linux 5.2)"},
}
