package nsenter

import (
	"encoding/binary"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// One method a system call, named as the kernel names it. Each appends one
// step; those that make a descriptor return its register. Descriptors are
// always close-on-exec.

// Close closes r and gives the register back.
func (b *Builder) Close(r Reg) *Step {
	b.free = append(b.free, r)
	return b.Append(unix.SYS_CLOSE, FD(r))
}

// --- namespaces

// Setns joins the namespace of descriptor fd, which must be of the kind that
// the CLONE_NEW* flag names (setns(2)).
func (b *Builder) Setns(fd Reg, flag int) *Step {
	return b.Append(unix.SYS_SETNS, FD(fd), flags(uint64(flag), cloneFlags))
}

// Unshare makes new namespaces (unshare(2)).
func (b *Builder) Unshare(f int) *Step {
	return b.Append(unix.SYS_UNSHARE, flags(uint64(f), cloneFlags))
}

// DatagramSocket makes an IPv4 socket, such as network ioctls need
// (netdevice(7)).
func (b *Builder) DatagramSocket() Reg {
	return b.yields(unix.SYS_SOCKET, Const(unix.AF_INET, "AF_INET"),
		Const(unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, "SOCK_DGRAM|SOCK_CLOEXEC"), Num(0))
}

// --- files on the host, before the root is open

// OpenHost opens a path of the host.
func (b *Builder) OpenHost(path string, f int) Reg {
	return b.yields(unix.SYS_OPENAT, CWD(), b.Str(path), flags(uint64(f|unix.O_CLOEXEC), openFlags))
}

// OpenTreeHost clones the mount at a path of the host into a detached mount;
// recursive clones what is mounted below it too (open_tree(2)); with noFollow a
// symbolic link is meant itself.
func (b *Builder) OpenTreeHost(path string, recursive, noFollow bool) Reg {
	return b.yields(unix.SYS_OPEN_TREE, CWD(), b.Str(path), flags(openTreeFlags(recursive)|linkFlag(noFollow), treeFlags))
}

func linkFlag(noFollow bool) uint64 {
	if noFollow {
		return unix.AT_SYMLINK_NOFOLLOW
	}
	return 0
}

func openTreeFlags(recursive bool) uint64 {
	f := uint64(unix.OPEN_TREE_CLONE | unix.OPEN_TREE_CLOEXEC)
	if recursive {
		f |= unix.AT_RECURSIVE
	}
	return f
}

// --- files inside the root

// OpenIn opens path inside root; links stay inside and magic links are refused
// (openat2(2)).
func (b *Builder) OpenIn(root Reg, path string, f int) Reg {
	how := openHow{uint64(f) | unix.O_CLOEXEC, unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
	return b.yields(unix.SYS_OPENAT2, FD(root), b.Str(path), b.structure(how), Num(24))
}

// openHow is struct open_how of openat2(2).
type openHow struct{ flags, resolve uint64 }

func (h openHow) bytes() []byte {
	raw := make([]byte, 24)
	binary.NativeEndian.PutUint64(raw, h.flags)
	binary.NativeEndian.PutUint64(raw[16:], h.resolve)
	return raw
}

func (h openHow) String() string {
	return "{" + named{h.flags, openFlags}.String() + ", " + named{h.resolve, resolveFlags}.String() + "}"
}

// MakeDir opens the directory path inside root and makes what is missing.
func (b *Builder) MakeDir(root Reg, path string, mode uint32) Reg {
	return b.yields(Make, FD(root), b.Str(path), Octal(mode), Const(unix.S_IFDIR, "dir"), Null())
}

// MakeFile opens the file path inside root and makes what is missing.
func (b *Builder) MakeFile(root Reg, path string, mode uint32) Reg {
	return b.yields(Make, FD(root), b.Str(path), Octal(mode), Const(unix.S_IFREG, "file"), Null())
}

// MakeLike is MakeDir or MakeFile, as like is a directory or not.
func (b *Builder) MakeLike(root Reg, path string, mode uint32, like Reg) Reg {
	return b.yields(Make, FD(root), b.Str(path), Octal(mode), Const(0, "like"), FD(like))
}

// Mkdirat makes the directory name, a single component, in dir.
func (b *Builder) Mkdirat(dir Reg, name string, mode uint32) *Step {
	return b.Append(unix.SYS_MKDIRAT, FD(dir), b.Str(name), Octal(mode))
}

// Mknodat makes the node name, a single component, in dir. mode has the type.
func (b *Builder) Mknodat(dir Reg, name string, mode uint32, dev uint64) *Step {
	return b.Append(unix.SYS_MKNODAT, FD(dir), b.Str(name), modeArg(mode),
		Shown(dev, device(dev)))
}

func modeArg(mode uint32) Arg { return Shown(uint64(mode), nodeMode(mode)) }

// nodeMode is a mode with a file type, device a device number.
type (
	nodeMode uint32
	device   uint64
)

func (m nodeMode) String() string {
	kind := ""
	switch m & unix.S_IFMT {
	case unix.S_IFCHR:
		kind = "S_IFCHR|"
	case unix.S_IFBLK:
		kind = "S_IFBLK|"
	case unix.S_IFIFO:
		kind = "S_IFIFO|"
	case unix.S_IFREG:
		kind = "S_IFREG|"
	}
	return kind + octal(m&^unix.S_IFMT).String()
}

func (d device) String() string {
	return fmt.Sprintf("makedev(%d, %d)", unix.Major(uint64(d)), unix.Minor(uint64(d)))
}

// Symlinkat makes name, a single component in dir, a link to target.
func (b *Builder) Symlinkat(target string, dir Reg, name string) *Step {
	return b.Append(unix.SYS_SYMLINKAT, b.Str(target), FD(dir), b.Str(name))
}

// Unlinkat removes name, a single component, from dir.
func (b *Builder) Unlinkat(dir Reg, name string) *Step {
	return b.Append(unix.SYS_UNLINKAT, FD(dir), b.Str(name), Num(0))
}

// Fchownat sets the owner of name, a single component in dir, not following a
// link; -1 leaves an id as it is.
func (b *Builder) Fchownat(dir Reg, name string, uid, gid int) *Step {
	return b.Append(unix.SYS_FCHOWNAT, FD(dir), b.Str(name), Num(uid), Num(gid),
		Const(unix.AT_SYMLINK_NOFOLLOW, "AT_SYMLINK_NOFOLLOW"))
}

// FchownFD sets the owner of what descriptor r refers to, O_PATH or not.
func (b *Builder) FchownFD(r Reg, uid, gid int) *Step {
	return b.Append(unix.SYS_FCHOWNAT, FD(r), b.Str(""), Num(uid), Num(gid),
		Const(unix.AT_EMPTY_PATH, "AT_EMPTY_PATH"))
}

// FchownStdio sets the owner of descriptor 0, 1 or 2.
func (b *Builder) FchownStdio(fd, uid, gid int) *Step {
	return b.Append(unix.SYS_FCHOWN, Num(fd), Num(uid), Num(gid))
}

// --- the trusted procfs

// ProcOpen opens a path below the trusted procfs handle.
func (b *Builder) ProcOpen(proc Reg, path string, f int) Reg {
	return b.yields(unix.SYS_OPENAT, FD(proc), b.Str(path), flags(uint64(f|unix.O_CLOEXEC), openFlags))
}

// Write writes s with one call.
func (b *Builder) Write(fd Reg, s string) *Step {
	return b.Append(unix.SYS_WRITE, FD(fd), b.Str(s), Num(len(s)))
}

// Fsetxattr sets an extended attribute of what fd refers to (fsetxattr(2));
// name is such as "security.selinux".
func (b *Builder) Fsetxattr(fd Reg, name, value string) *Step {
	return b.Append(unix.SYS_FSETXATTR, FD(fd), b.Str(name), b.Str(value), Num(len(value)), Num(0))
}

// --- mounts

// Fsopen opens a file system context (fsopen(2)).
func (b *Builder) Fsopen(fstype string) Reg {
	return b.yields(unix.SYS_FSOPEN, b.Str(fstype), Const(unix.FSOPEN_CLOEXEC, "FSOPEN_CLOEXEC"))
}

// FsconfigFlag sets a parameter without a value.
func (b *Builder) FsconfigFlag(fs Reg, key string) *Step {
	return b.Append(unix.SYS_FSCONFIG, FD(fs), Const(unix.FSCONFIG_SET_FLAG, "FSCONFIG_SET_FLAG"), b.Str(key), Null(), Num(0))
}

// FsconfigString sets a parameter to a string.
func (b *Builder) FsconfigString(fs Reg, key, value string) *Step {
	return b.Append(unix.SYS_FSCONFIG, FD(fs), Const(unix.FSCONFIG_SET_STRING, "FSCONFIG_SET_STRING"), b.Str(key), b.Str(value), Num(0))
}

// FsconfigCreate makes the superblock.
func (b *Builder) FsconfigCreate(fs Reg) *Step {
	return b.Append(unix.SYS_FSCONFIG, FD(fs), Const(unix.FSCONFIG_CMD_CREATE, "FSCONFIG_CMD_CREATE"), Null(), Null(), Num(0))
}

// Fsmount makes a detached mount of the context; attrs are MOUNT_ATTR_* bits.
func (b *Builder) Fsmount(fs Reg, attrs uint64) Reg {
	return b.yields(unix.SYS_FSMOUNT, FD(fs), Const(unix.FSMOUNT_CLOEXEC, "FSMOUNT_CLOEXEC"), flags(attrs, attrFlags))
}

// OpenTree clones the mount that descriptor r is on, from r down.
func (b *Builder) OpenTree(r Reg, recursive bool) Reg {
	return b.yields(unix.SYS_OPEN_TREE, FD(r), b.Str(""), flags(openTreeFlags(recursive)|unix.AT_EMPTY_PATH, treeFlags))
}

const moveEmpty = unix.MOVE_MOUNT_F_EMPTY_PATH | unix.MOVE_MOUNT_T_EMPTY_PATH

// MoveMount attaches the detached mount from at the inode of to.
func (b *Builder) MoveMount(from, to Reg) *Step {
	return b.Append(unix.SYS_MOVE_MOUNT, FD(from), b.Str(""), FD(to), b.Str(""),
		Const(moveEmpty, "MOVE_MOUNT_F_EMPTY_PATH|MOVE_MOUNT_T_EMPTY_PATH"))
}

// MoveMountHost attaches the detached mount from at a path of the host, where
// that is a link at what it leads to.
func (b *Builder) MoveMountHost(from Reg, path string) *Step {
	return b.Append(unix.SYS_MOVE_MOUNT, FD(from), b.Str(""), CWD(), b.Str(path),
		Const(unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_SYMLINKS, "MOVE_MOUNT_F_EMPTY_PATH|MOVE_MOUNT_T_SYMLINKS"))
}

// MountAttr is struct mount_attr of mount_setattr(2).
type MountAttr struct {
	Set, Clear, Propagation uint64
}

// MountSetattr changes the attributes of mount r, and of all below it where
// recursive is set (Linux 5.12).
func (b *Builder) MountSetattr(r Reg, recursive bool, a MountAttr) *Step {
	return b.mountSetattr(FD(r), "", recursive, a)
}

// MountSetattrHost is MountSetattr for a path of the host.
func (b *Builder) MountSetattrHost(path string, recursive bool, a MountAttr) *Step {
	return b.mountSetattr(CWD(), path, recursive, a)
}

func (b *Builder) mountSetattr(dir Arg, path string, recursive bool, a MountAttr) *Step {
	var f uint64
	if path == "" {
		f |= unix.AT_EMPTY_PATH
	}
	if recursive {
		f |= unix.AT_RECURSIVE
	}
	return b.Append(unix.SYS_MOUNT_SETATTR, dir, b.Str(path), flags(f, treeFlags), b.structure(a), Num(32))
}

func (a MountAttr) bytes() []byte {
	raw := make([]byte, 32)
	binary.NativeEndian.PutUint64(raw, a.Set)
	binary.NativeEndian.PutUint64(raw[8:], a.Clear)
	binary.NativeEndian.PutUint64(raw[16:], a.Propagation)
	return raw
}

// String is the struct as strace would print it.
func (a MountAttr) String() string {
	var parts []string
	add := func(name string, v uint64, table []flagName) {
		if v != 0 {
			parts = append(parts, name+"="+named{v, table}.String())
		}
	}
	add("attr_set", a.Set, attrFlags)
	add("attr_clr", a.Clear, attrFlags)
	add("propagation", a.Propagation, mountFlags)
	return "{" + strings.Join(parts, ", ") + "}"
}

// Mount is mount(2), for what the newer calls cannot do on the kernel at hand:
// remounts and propagation before Linux 5.12. target is relative to the
// working directory.
func (b *Builder) Mount(source, target, fstype string, f uint64, options string) *Step {
	opt := func(s string) Arg {
		if s == "" {
			return Null()
		}
		return b.Str(s)
	}
	return b.Append(unix.SYS_MOUNT, opt(source), b.Str(target), opt(fstype), flags(f, mountFlags), opt(options))
}

// PivotRoot makes the working directory the root and mounts the old root over
// it (pivot_root(2), "pivot_root(".", ".")").
func (b *Builder) PivotRoot() *Step {
	return b.Append(unix.SYS_PIVOT_ROOT, b.Str("."), b.Str("."))
}

// DetachHere unmounts lazily what is mounted over the working directory.
func (b *Builder) DetachHere() *Step {
	return b.Append(unix.SYS_UMOUNT2, b.Str("."), Const(unix.MNT_DETACH, "MNT_DETACH"))
}

// Detach unmounts lazily the mount that name, relative to the working
// directory, leads to the root of: EINVAL where that is no mount's root
// (umount2(2)). In a procfs self/fd/N is what descriptor N is open on.
func (b *Builder) Detach(name string) *Step {
	return b.Append(unix.SYS_UMOUNT2, b.Str(name), Const(unix.MNT_DETACH, "MNT_DETACH"))
}

// CheckMounted fails with EINVAL unless r is the root of a mount: only that can
// be picked for a change of its options, of which nothing is made (fspick(2)).
func (b *Builder) CheckMounted(r Reg) {
	flags := Const(unix.FSPICK_CLOEXEC|unix.FSPICK_EMPTY_PATH, "FSPICK_CLOEXEC|FSPICK_EMPTY_PATH")
	b.Close(b.yields(unix.SYS_FSPICK, FD(r), b.Str(""), flags))
}

// ChrootHere makes the working directory the root.
func (b *Builder) ChrootHere() *Step { return b.Append(unix.SYS_CHROOT, b.Str(".")) }

// Fchdir goes to descriptor r.
func (b *Builder) Fchdir(r Reg) *Step { return b.Append(unix.SYS_FCHDIR, FD(r)) }

// --- descriptors

// Dup3 makes descriptor number n a copy of r; close-on-exec unless n is stdio.
func (b *Builder) Dup3(r Reg, n int) *Step {
	f := uint64(unix.O_CLOEXEC)
	if n <= 2 {
		f = 0
	}
	return b.Append(unix.SYS_DUP3, FD(r), Num(n), flags(f, openFlags))
}

// Ioctl calls ioctl(2); the result goes into the returned register.
func (b *Builder) Ioctl(fd Reg, request uint64, name string, arg Arg) Reg {
	return b.yields(unix.SYS_IOCTL, FD(fd), Const(request, name), arg)
}

// --- the conversation

// Sync tells the runtime that id is reached and waits for its answer.
func (b *Builder) Sync(id SyncID) *Step {
	return b.Append(Sync, Const(uint64(id), id.String()))
}

// Fork goes on in a child, which is pid 1 of a new or joined pid namespace.
func (b *Builder) Fork() *Step { return b.Append(Fork) }

// ForkInto is Fork, with the child born in the cgroup2 directory
// (CLONE_INTO_CGROUP).
func (b *Builder) ForkInto(group Reg) *Step { return b.Append(Fork, FD(group)) }

// SendFD hands descriptor r to the runtime under the name id.
func (b *Builder) SendFD(id SyncID, r Reg) *Step {
	return b.Append(SendFD, Const(uint64(id), id.String()), FD(r))
}

// ReportTo sends failures to descriptor r from now on and closes the socket.
func (b *Builder) ReportTo(r Reg) *Step { return b.Append(Report, FD(r)) }

// Identity is what Check holds an inode to; zero fields are not checked.
type Identity struct {
	Type  uint32 // S_IFCHR …
	Rdev  uint64
	Magic uint64 // of the file system, as statfs(2) has it
	Inode uint64
}

// Check fails with EXDEV unless r is what it must be.
func (b *Builder) Check(r Reg, id Identity) *Step {
	return b.Append(Check, FD(r), Octal(id.Type), Hex(id.Rdev), Hex(id.Magic), Num(id.Inode))
}

// Inside fails with EXDEV unless the working directory is inside the root.
func (b *Builder) Inside() *Step { return b.Append(Inside) }

// DropCode gives back the pages of the binary's code that the walker has
// touched; they are read from the page cache again as far as they are needed.
// For a process that is going to wait.
func (b *Builder) DropCode() *Step {
	start, length := code()
	return b.Append(unix.SYS_MADVISE, Shown(start, word("code")), Num(length), Const(unix.MADV_DONTNEED, "MADV_DONTNEED"))
}

// --- the process

// Prctl calls prctl(2) with the rest of its arguments zero.
func (b *Builder) Prctl(option int, name string, args ...Arg) *Step {
	all := append([]Arg{Const(uint64(option), name)}, args...)
	for len(all) < 5 {
		all = append(all, Num(0))
	}
	return b.Append(unix.SYS_PRCTL, all...)
}

// FindExec picks the first of the candidate paths that may be executed and
// returns the register with its address, for Execve.
func (b *Builder) FindExec(candidates []string) Reg {
	return b.yields(Find, b.Packed(candidates), Num(len(candidates)))
}

// Execve executes the program whose path's address is in register path.
func (b *Builder) Execve(path Reg, argv, env []string) *Step {
	return b.Append(unix.SYS_EXECVE, FD(path), b.Strings(argv), b.Strings(env))
}

// ExecvePath executes a fixed path.
func (b *Builder) ExecvePath(path string, argv, env []string) *Step {
	return b.Append(unix.SYS_EXECVE, b.Str(path), b.Strings(argv), b.Strings(env))
}

// Exit ends the program without executing anything.
func (b *Builder) Exit(status int) *Step { return b.Append(unix.SYS_EXIT_GROUP, Num(status)) }

// OpenAt opens name, a single component, in a directory of the host that the
// runtime handed over.
func (b *Builder) OpenAt(dir Reg, name string, f int) Reg {
	return b.yields(unix.SYS_OPENAT, FD(dir), b.Str(name), flags(uint64(f|unix.O_CLOEXEC), openFlags))
}
