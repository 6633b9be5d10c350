package nsenter

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

type flagName struct {
	bit  uint64
	name string
}

// The ways in which arguments are printed.
type (
	word     string   // as it is
	str      string   // a string that the argument points to, quoted
	quoted   []string // several of them
	octal    uint32
	hex      uint64
	negative int64
	named    struct { // the names of a number's bits
		v     uint64
		table []flagName
	}
)

func (w word) String() string     { return string(w) }
func (s str) String() string      { return strconv.Quote(string(s)) }
func (v octal) String() string    { return "0" + strconv.FormatUint(uint64(v), 8) }
func (v hex) String() string      { return "0x" + strconv.FormatUint(uint64(v), 16) }
func (v negative) String() string { return strconv.FormatInt(int64(v), 10) }

func (q quoted) String() string {
	list := make([]string, len(q))
	for i, s := range q {
		list[i] = strconv.Quote(s)
	}
	return "[" + strings.Join(list, ", ") + "]"
}

func (n named) String() string {
	var names []string
	rest := n.v
	for _, f := range n.table {
		if rest&f.bit == f.bit && f.bit != 0 {
			names = append(names, f.name)
			rest &^= f.bit
		}
	}
	if rest != 0 || len(names) == 0 {
		names = append(names, hex(rest).String())
	}
	return strings.Join(names, "|")
}

// flags is a number printed as the names of its bits.
func flags(v uint64, table []flagName) Arg { return Arg{num: v, text: named{v, table}} }

var cloneFlags = []flagName{
	{unix.CLONE_NEWUSER, "CLONE_NEWUSER"}, {unix.CLONE_NEWNS, "CLONE_NEWNS"},
	{unix.CLONE_NEWPID, "CLONE_NEWPID"}, {unix.CLONE_NEWNET, "CLONE_NEWNET"},
	{unix.CLONE_NEWIPC, "CLONE_NEWIPC"}, {unix.CLONE_NEWUTS, "CLONE_NEWUTS"},
	{unix.CLONE_NEWCGROUP, "CLONE_NEWCGROUP"}, {unix.CLONE_NEWTIME, "CLONE_NEWTIME"},
}

var openFlags = []flagName{
	{unix.O_PATH, "O_PATH"}, {unix.O_WRONLY, "O_WRONLY"}, {unix.O_RDWR, "O_RDWR"},
	{unix.O_DIRECTORY, "O_DIRECTORY"}, {unix.O_NOFOLLOW, "O_NOFOLLOW"},
	{unix.O_NOCTTY, "O_NOCTTY"}, {unix.O_NONBLOCK, "O_NONBLOCK"}, {unix.O_CLOEXEC, "O_CLOEXEC"},
}

var resolveFlags = []flagName{
	{unix.RESOLVE_IN_ROOT, "RESOLVE_IN_ROOT"}, {unix.RESOLVE_NO_MAGICLINKS, "RESOLVE_NO_MAGICLINKS"},
	{unix.RESOLVE_NO_SYMLINKS, "RESOLVE_NO_SYMLINKS"},
}

var treeFlags = []flagName{
	{unix.OPEN_TREE_CLONE, "OPEN_TREE_CLONE"}, {unix.OPEN_TREE_CLOEXEC, "OPEN_TREE_CLOEXEC"},
	{unix.AT_EMPTY_PATH, "AT_EMPTY_PATH"}, {unix.AT_RECURSIVE, "AT_RECURSIVE"}, {unix.AT_SYMLINK_NOFOLLOW, "AT_SYMLINK_NOFOLLOW"},
}

// The access time is a field of two bits, so its values stand before its mask.
var attrFlags = []flagName{
	{unix.MOUNT_ATTR_RDONLY, "MOUNT_ATTR_RDONLY"}, {unix.MOUNT_ATTR_NOSUID, "MOUNT_ATTR_NOSUID"},
	{unix.MOUNT_ATTR_NODEV, "MOUNT_ATTR_NODEV"}, {unix.MOUNT_ATTR_NOEXEC, "MOUNT_ATTR_NOEXEC"},
	{unix.MOUNT_ATTR__ATIME, "MOUNT_ATTR__ATIME"}, {unix.MOUNT_ATTR_NOATIME, "MOUNT_ATTR_NOATIME"},
	{unix.MOUNT_ATTR_STRICTATIME, "MOUNT_ATTR_STRICTATIME"}, {unix.MOUNT_ATTR_NODIRATIME, "MOUNT_ATTR_NODIRATIME"},
	{unix.MOUNT_ATTR_IDMAP, "MOUNT_ATTR_IDMAP"}, {unix.MOUNT_ATTR_NOSYMFOLLOW, "MOUNT_ATTR_NOSYMFOLLOW"},
}

var mountFlags = []flagName{
	{unix.MS_RDONLY, "MS_RDONLY"}, {unix.MS_NOSUID, "MS_NOSUID"}, {unix.MS_NODEV, "MS_NODEV"},
	{unix.MS_NOEXEC, "MS_NOEXEC"}, {unix.MS_SYNCHRONOUS, "MS_SYNCHRONOUS"}, {unix.MS_REMOUNT, "MS_REMOUNT"},
	{unix.MS_MANDLOCK, "MS_MANDLOCK"}, {unix.MS_DIRSYNC, "MS_DIRSYNC"}, {unix.MS_NOSYMFOLLOW, "MS_NOSYMFOLLOW"},
	{unix.MS_NOATIME, "MS_NOATIME"}, {unix.MS_NODIRATIME, "MS_NODIRATIME"}, {unix.MS_BIND, "MS_BIND"},
	{unix.MS_MOVE, "MS_MOVE"}, {unix.MS_REC, "MS_REC"}, {unix.MS_SILENT, "MS_SILENT"},
	{unix.MS_POSIXACL, "MS_POSIXACL"}, {unix.MS_UNBINDABLE, "MS_UNBINDABLE"}, {unix.MS_PRIVATE, "MS_PRIVATE"},
	{unix.MS_SLAVE, "MS_SLAVE"}, {unix.MS_SHARED, "MS_SHARED"}, {unix.MS_RELATIME, "MS_RELATIME"},
	{unix.MS_I_VERSION, "MS_I_VERSION"}, {unix.MS_STRICTATIME, "MS_STRICTATIME"}, {unix.MS_LAZYTIME, "MS_LAZYTIME"},
}

// String is the system call's or composite's name.
func (c Call) String() string {
	for _, n := range callNames {
		if n.call == c {
			return n.name
		}
	}
	return fmt.Sprintf("call%d", uint32(c))
}

var callNames = []struct {
	call Call
	name string
}{
	{Sync, "SYNC"}, {Fork, "FORK"}, {SendFD, "SEND_FD"}, {Make, "MAKE"}, {Check, "CHECK"},
	{Inside, "INSIDE"}, {Find, "FIND"}, {Store, "STORE"}, {Report, "REPORT"}, {LikeMode, "LIKE_MODE"},
	{unix.SYS_CLOSE, "close"}, {unix.SYS_SETNS, "setns"}, {unix.SYS_UNSHARE, "unshare"},
	{unix.SYS_OPENAT, "openat"}, {unix.SYS_OPENAT2, "openat2"}, {unix.SYS_OPEN_TREE, "open_tree"},
	{unix.SYS_MKDIRAT, "mkdirat"}, {unix.SYS_MKNODAT, "mknodat"}, {unix.SYS_SYMLINKAT, "symlinkat"},
	{unix.SYS_UNLINKAT, "unlinkat"}, {unix.SYS_FCHOWNAT, "fchownat"}, {unix.SYS_FCHOWN, "fchown"},
	{unix.SYS_FCHMOD, "fchmod"}, {unix.SYS_WRITE, "write"}, {unix.SYS_READ, "read"},
	{unix.SYS_FSOPEN, "fsopen"}, {unix.SYS_FSCONFIG, "fsconfig"}, {unix.SYS_FSMOUNT, "fsmount"},
	{unix.SYS_MOVE_MOUNT, "move_mount"}, {unix.SYS_MOUNT_SETATTR, "mount_setattr"},
	{unix.SYS_MOUNT, "mount"}, {unix.SYS_PIVOT_ROOT, "pivot_root"}, {unix.SYS_UMOUNT2, "umount2"}, {unix.SYS_FSPICK, "fspick"},
	{unix.SYS_CHROOT, "chroot"}, {unix.SYS_CHDIR, "chdir"}, {unix.SYS_FCHDIR, "fchdir"},
	{unix.SYS_DUP3, "dup3"}, {unix.SYS_FCNTL, "fcntl"}, {unix.SYS_IOCTL, "ioctl"},
	{unix.SYS_PRCTL, "prctl"}, {unix.SYS_EXECVE, "execve"}, {unix.SYS_EXIT_GROUP, "exit_group"},
	{unix.SYS_SETSID, "setsid"}, {unix.SYS_UMASK, "umask"}, {unix.SYS_SETHOSTNAME, "sethostname"},
	{unix.SYS_SETDOMAINNAME, "setdomainname"}, {unix.SYS_KEYCTL, "keyctl"}, {unix.SYS_FSETXATTR, "fsetxattr"},
	{unix.SYS_SETGROUPS, "setgroups"}, {unix.SYS_SETRESUID, "setresuid"}, {unix.SYS_SETRESGID, "setresgid"},
	{unix.SYS_CAPSET, "capset"}, {unix.SYS_SECCOMP, "seccomp"}, {unix.SYS_PERSONALITY, "personality"},
	{unix.SYS_CLOSE_RANGE, "close_range"}, {unix.SYS_SET_MEMPOLICY, "set_mempolicy"},
	{unix.SYS_SOCKET, "socket"}, {unix.SYS_MADVISE, "madvise"}, {unix.SYS_PRLIMIT64, "prlimit64"}, {unix.SYS_IOPRIO_SET, "ioprio_set"}, {unix.SYS_SCHED_SETAFFINITY, "sched_setaffinity"},
	{unix.SYS_GETPID, "getpid"}, {unix.SYS_KILL, "kill"}, {unix.SYS_SENDTO, "sendto"},
}
