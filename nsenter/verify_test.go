package nsenter

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// container is a program with one of everything that a container needs. It
// receives a namespace, a host directory and a source, and more that it does
// not use.
func container(b *Builder) {
	zero := Num(0)
	b.Setns(1, unix.CLONE_NEWNET)
	b.Close(1)
	b.Unshare(unix.CLONE_NEWUSER)
	b.Sync(SyncMaps)
	b.Append(unix.SYS_SETRESGID, zero, zero, zero).Accepts(unix.EINVAL)
	b.Append(unix.SYS_SETRESUID, zero, zero, zero).Accepts(unix.EINVAL)
	b.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWPID)
	b.Sync(SyncOffsets)
	b.Fork()
	b.MountSetattrHost("/", true, MountAttr{Propagation: unix.MS_SLAVE})
	root := b.OpenTreeHost("/bundle/rootfs", true, false)
	b.RootOpen()

	procfs := b.Fsopen("proc")
	b.FsconfigCreate(procfs)
	proc := b.Fsmount(procfs, 0)
	b.Close(procfs)
	target := b.MakeDir(root, "/data", 0o755)
	b.MoveMount(3, target)
	b.Close(3)
	b.Close(target)
	dev := b.OpenIn(root, "/dev", unix.O_PATH)
	b.Mknodat(dev, "null", unix.S_IFCHR|0o666, unix.Mkdev(1, 3)).Accepts(unix.EEXIST)
	b.Fchownat(dev, "null", 0, 0)
	b.FchownFD(dev, 0, 0)
	b.Symlinkat("/proc/self/fd", dev, "fd").Accepts(unix.EEXIST)
	b.Unlinkat(dev, "core").Accepts(unix.ENOENT)
	b.Mkdirat(dev, "shm", 0o755)
	null := b.OpenIn(dev, "null", unix.O_RDWR)
	b.Check(null, Identity{Type: unix.S_IFCHR, Rdev: unix.Mkdev(1, 3)})
	b.Dup3(null, 0)
	b.Dup3(null, 200)
	b.Fchdir(proc)
	b.Mount("", "self/fd/200", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
	sysctl := b.ProcOpen(proc, "sys/net/ipv4/ip_forward", unix.O_WRONLY)
	b.Write(sysctl, "1")
	b.Close(sysctl)
	b.Close(null)
	b.Close(dev)
	b.Close(proc)
	b.Sync(SyncHooks)
	b.Fchdir(root)
	b.PivotRoot()
	b.DetachHere()
	b.ChrootHere()
	b.Sync(SyncLimits)

	b.Prctl(unix.PR_CAPBSET_DROP, "PR_CAPBSET_DROP", Num(1))
	credentials(b)
	b.Inside()
	b.Close(root)
	b.Keep(2)
	b.CloseRest(0)
	exec := b.FindExec([]string{"/bin/sh"})
	b.Sync(SyncReady)
	b.ReportTo(b.OpenAt(b.Kept(), "exec.fifo", unix.O_WRONLY))
	b.Close(b.Kept())
	b.Append(unix.SYS_SECCOMP, Num(1), Num(0), b.Bytes(make([]byte, 16), "filter"))
	b.Append(unix.SYS_CAPSET, b.Bytes(make([]byte, 8), "header"), b.Bytes(make([]byte, 24), "none"))
	b.Execve(exec, []string{"sh"}, nil)
}

// credentials changes the user and keeps CAP_SYS_ADMIN.
func credentials(b *Builder) {
	b.Append(unix.SYS_SETGROUPS, Num(0), Null())
	b.Append(unix.SYS_SETRESGID, Num(5), Num(5), Num(5))
	b.Append(unix.SYS_SETRESUID, Num(5), Num(5), Num(5))
	b.Append(unix.SYS_CAPSET, b.Bytes(make([]byte, 8), "header"), b.Bytes([]byte{2: 1 << (unix.CAP_SYS_ADMIN - 16), 23: 0}, "admin"))
}

func TestVerifyHolds(t *testing.T) {
	tests := []struct {
		name     string
		received int
		steps    func(*Builder)
	}{
		{"a whole container", 3, container},
		{"a conversation", 0, whole},
		{"exit only", 0, func(b *Builder) { b.Exit(0) }},
		{"host paths before the root is open", 0, func(b *Builder) {
			b.OpenHost("/a/b", unix.O_PATH)
			b.RootOpen()
			b.Exit(0)
		}},
		{"host paths where there is no root", 0, func(b *Builder) {
			b.Append(unix.SYS_CHDIR, b.Str("/a/b"))
			b.ExecvePath("/bin/hook", nil, nil)
		}},
		{"procfs by path, checked", 0, func(b *Builder) {
			b.RootOpen()
			proc := b.OpenHost("/proc", unix.O_PATH)
			b.Check(proc, Identity{Magic: unix.PROC_SUPER_MAGIC})
			b.ProcOpen(proc, "sys/kernel/x", unix.O_WRONLY)
			b.Exit(0)
		}},
		{"into a group that was handed over", 1, func(b *Builder) {
			b.RootOpen()
			b.Write(1, "0")
			b.Exit(0)
		}},
		{"procfs handed over, checked", 1, func(b *Builder) {
			b.RootOpen()
			b.Check(1, Identity{Magic: unix.PROC_SUPER_MAGIC})
			b.ProcOpen(1, "self/attr/exec", unix.O_WRONLY)
			b.Exit(0)
		}},
		{"no pivot", 1, func(b *Builder) {
			b.RootOpen()
			b.Fchdir(1)
			b.MoveMountHost(1, "/")
			b.ChrootHere()
			b.Exit(0)
		}},
		{"filter after no_new_privs", 0, func(b *Builder) {
			b.Prctl(unix.PR_SET_NO_NEW_PRIVS, "PR_SET_NO_NEW_PRIVS", Num(1))
			b.Append(unix.SYS_CAPSET, b.Bytes(make([]byte, 8), "h"), b.Bytes(make([]byte, 24), "none"))
			b.Append(unix.SYS_SECCOMP, Num(1), Num(0), Null())
			b.ExecvePath("/x", nil, nil)
		}},
		{"a filter that notifies", 2, func(b *Builder) {
			b.RootOpen()
			intoRoot(b)
			b.Close(1)
			b.Keep(2)
			b.CloseRest(0)
			exec := b.FindExec([]string{"/x"})
			b.SendFD(SyncListener, b.SeccompListener(make([]byte, 8), 0))
			b.Sync(SyncReady)
			b.ReportTo(b.OpenAt(b.Kept(), "exec.fifo", unix.O_WRONLY))
			b.Close(b.Kept())
			b.Append(unix.SYS_CAPSET, b.Bytes(make([]byte, 8), "h"), b.Bytes(make([]byte, 24), "none"))
			b.Execve(exec, nil, nil)
		}},
		{"the user changes on either of two ways", 1, func(b *Builder) {
			other, done := b.Label(), b.Label()
			b.Fchdir(1).Accepts(unix.EACCES).Else(other)
			credentials(b)
			b.Inside().Then(done)
			b.Place(other)
			credentials(b)
			b.Fchdir(1)
			b.Place(done)
			b.CloseRest(0)
			b.ExecvePath("/x", nil, nil)
		}},
		{"a reader that is skipped with its writer", 0, func(b *Builder) {
			l := b.Label()
			r := b.OpenHost("/x", unix.O_PATH)
			b.Last().Accepts(unix.ENOENT).Else(l)
			b.Fchdir(r)
			b.Close(r)
			b.Place(l)
			b.Exit(0)
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if err := Verify(built(t, test.received, test.steps)); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestVerifyBreaks: each rule is broken by a program that is right but for one
// step; what tells the step and the rule.
func TestVerifyBreaks(t *testing.T) {
	const (
		followed = "no path is followed once the root is open"
		resolved = "a path in the root is resolved by openat2 with RESOLVE_IN_ROOT|RESOLVE_NO_MAGICLINKS"
		cloexec  = "every descriptor but stdio is close-on-exec from birth"
		written  = "a register is written before it is read"
		shut     = "no descriptor is used after close"
		order    = "syncs come in the order maps, offsets, hooks, limits, ready"
		end      = "a program ends in execve or exit_group"
		filter   = "seccomp comes after no_new_privs or while CAP_SYS_ADMIN is there"
		waits    = "a filter that notifies is followed by the wait for start, one capset at most and execve"
		follows  = "seccomp is followed by one capset at most and execve"
		writes   = "once the root is open, only files of the trusted procfs are written, and 0 to what was handed over"
		unsure   = "a procfs that was opened by path is checked before it is used"
		watched  = "a dumpable process only waits for its id maps, its OOM score and hooks"
		kept     = "what was opened by a path of the host is closed before the root changes"
		holds    = "a process that waits holds no descriptor but the one to exec.fifo's directory"
		identity = "what the image could have put there is checked before it is a standard descriptor or a terminal"
	)
	num := func(v int) Arg { return Num(v) }
	ids := func(b *Builder, c Call) { b.Append(c, num(5), num(5), num(5)) }
	capset := func(b *Builder) {
		b.Append(unix.SYS_CAPSET, b.Bytes(make([]byte, 8), "h"), b.Bytes(make([]byte, 24), "none"))
	}
	seccomp := func(b *Builder) { b.Append(unix.SYS_SECCOMP, Num(1), Num(0), Null()) }
	// Every program of the table has the root in register 1, open from the start.
	tests := []struct {
		name  string
		rule  string
		step  int
		steps func(*Builder)
	}{
		{"host path", followed, 0, func(b *Builder) { b.OpenHost("/etc/passwd", unix.O_PATH) }},
		{"relative host path", followed, 0, func(b *Builder) { b.OpenHost("passwd", unix.O_PATH) }},
		{"clone of a host path", followed, 0, func(b *Builder) { b.OpenTreeHost("/data", true, false) }},
		{"attach to a host path", followed, 0, func(b *Builder) { b.MoveMountHost(1, "/data") }},
		{"attributes of a host path", followed, 0, func(b *Builder) { b.MountSetattrHost("/data", true, MountAttr{}) }},
		{"openat in the root", followed, 1, func(b *Builder) {
			r := b.OpenIn(1, "etc", unix.O_PATH)
			b.OpenAt(r, "passwd", unix.O_PATH)
		}},
		{"more than one component in a host directory", followed, 0, func(b *Builder) { b.OpenAt(1, "a/b", unix.O_PATH) }},
		{"mkdirat of two components", followed, 0, func(b *Builder) { b.Mkdirat(1, "a/b", 0) }},
		{"mkdirat of dot dot", followed, 0, func(b *Builder) { b.Mkdirat(1, "..", 0) }},
		{"mkdirat in the working directory", followed, 0, func(b *Builder) { b.Append(unix.SYS_MKDIRAT, CWD(), b.Str("a"), Num(0)) }},
		{"mknodat of an absolute path", followed, 0, func(b *Builder) { b.Mknodat(1, "/dev/null", 0, 0) }},
		{"symlinkat of two components", followed, 0, func(b *Builder) { b.Symlinkat("x", 1, "a/b") }},
		{"unlinkat of two components", followed, 0, func(b *Builder) { b.Unlinkat(1, "a/b") }},
		{"chown that follows", followed, 0, func(b *Builder) { b.Append(unix.SYS_FCHOWNAT, FD(1), b.Str("a"), Num(0), Num(0), Num(0)) }},
		{"empty path without its flag", followed, 0, func(b *Builder) { b.Append(unix.SYS_OPEN_TREE, FD(1), b.Str(""), Num(unix.OPEN_TREE_CLOEXEC)) }},
		{"a path that is no constant", followed, 0, func(b *Builder) {
			b.Append(unix.SYS_MKDIRAT, FD(1), b.Bytes([]byte("a/../b\x00"), "?"), Num(0))
		}},
		{"chdir by path", followed, 0, func(b *Builder) { b.Append(unix.SYS_CHDIR, b.Str("/work")) }},
		{"pivot before fchdir", followed, 0, func(b *Builder) { b.PivotRoot() }},
		{"chroot before fchdir", followed, 0, func(b *Builder) { b.ChrootHere() }},
		{"chroot by path", followed, 1, func(b *Builder) { b.Fchdir(1); b.Append(unix.SYS_CHROOT, b.Str("root")) }},
		{"unmount by path", followed, 1, func(b *Builder) { b.Fchdir(1); b.Append(unix.SYS_UMOUNT2, b.Str("/old"), Num(0)) }},
		{"mount on a path", followed, 1, func(b *Builder) { b.Fchdir(1); b.Mount("tmpfs", "data", "tmpfs", 0, "") }},
		{"mount on self/fd of the image's procfs", followed, 2, func(b *Builder) {
			b.Fchdir(b.OpenIn(1, "proc", unix.O_PATH))
			b.Mount("", "self/fd/9", "", unix.MS_REMOUNT, "")
		}},
		{"mount on more than self/fd", followed, 4, func(b *Builder) {
			fs := b.Fsopen("proc")
			proc := b.Fsmount(fs, 0)
			b.Fchdir(proc)
			b.Fchdir(proc)
			b.Mount("", "self/fd/9/x", "", unix.MS_REMOUNT, "")
		}},
		{"unmount more than self/fd", followed, 3, func(b *Builder) {
			proc := b.Fsmount(b.Fsopen("proc"), 0)
			b.Fchdir(proc)
			b.Detach("self/root")
		}},
		{"unmount self/fd of the image's procfs", followed, 2, func(b *Builder) {
			b.Fchdir(b.OpenIn(1, "proc", unix.O_PATH))
			b.Detach("self/fd/9")
		}},
		{"a call that the rules do not know", "a call with a string is known to the path rules", 0, func(b *Builder) { b.Append(9999, b.Str("/x")) }},
		{"openat2 that may leave", resolved, 0, func(b *Builder) {
			how := make([]byte, 24)
			how[2] = unix.O_CLOEXEC >> 16
			b.Append(unix.SYS_OPENAT2, FD(1), b.Str("x"), b.Bytes(how, "how"), Num(24))
		}},
		{"openat2 from the working directory", resolved, 0, func(b *Builder) { b.OpenIn(1, "x", 0); b.Last().Args[0] = CWD() }},
		{"make from the working directory", resolved, 0, func(b *Builder) { b.MakeDir(1, "x", 0); b.Last().Args[0] = CWD() }},

		{"procfs by path, not checked", unsure, 1, func(b *Builder) { b.ProcOpen(b.OpenHost("/proc", unix.O_PATH), "sys/x", unix.O_WRONLY) }},
		{"procfs by path, checked for something else", unsure, 2, func(b *Builder) {
			proc := b.OpenHost("/proc", unix.O_PATH)
			b.Check(proc, Identity{Type: unix.S_IFDIR})
			b.ProcOpen(proc, "sys/x", unix.O_WRONLY)
		}},
		{"procfs by path, check that may fail", unsure, 2, func(b *Builder) {
			proc := b.OpenHost("/proc", unix.O_PATH)
			b.Check(proc, Identity{Magic: unix.PROC_SUPER_MAGIC}).Accepts(unix.EXDEV)
			b.ProcOpen(proc, "sys/x", unix.O_WRONLY)
		}},
		{"the image's procfs, checked", followed, 2, func(b *Builder) {
			proc := b.OpenIn(1, "proc", unix.O_PATH)
			b.Check(proc, Identity{Magic: unix.PROC_SUPER_MAGIC})
			b.ProcOpen(proc, "sys/x", unix.O_WRONLY)
		}},
		{"procfs by path after the pivot", followed, 2, func(b *Builder) {
			b.Fchdir(1)
			b.PivotRoot()
			b.OpenHost("/proc", unix.O_PATH)
		}},
		{"out of procfs", followed, 2, func(b *Builder) { b.ProcOpen(b.Fsmount(b.Fsopen("proc"), 0), "sys/../../x", unix.O_WRONLY) }},
		{"absolute path in procfs", followed, 2, func(b *Builder) { b.ProcOpen(b.Fsmount(b.Fsopen("proc"), 0), "/sys/x", unix.O_WRONLY) }},
		{"another file system in procfs's place", followed, 2, func(b *Builder) { b.ProcOpen(b.Fsmount(b.Fsopen("tmpfs"), 0), "sys/x", unix.O_WRONLY) }},

		{"write to a file of the image", writes, 1, func(b *Builder) { b.Write(b.OpenIn(1, "proc/self/attr/exec", unix.O_WRONLY), "exec x") }},
		{"write to a file that is handed over", writes, 0, func(b *Builder) { b.Write(1, "x") }},
		{"write to procfs itself", writes, 2, func(b *Builder) { b.Write(b.Fsmount(b.Fsopen("proc"), 0), "x") }},
		{"label after no_new_privs", "labels are set before no_new_privs", 3, func(b *Builder) {
			b.Prctl(unix.PR_SET_NO_NEW_PRIVS, "PR_SET_NO_NEW_PRIVS", Num(1))
			b.ProcOpen(b.Fsmount(b.Fsopen("proc"), 0), "thread-self/attr/exec", unix.O_WRONLY)
		}},

		{"openat", cloexec, 0, func(b *Builder) { b.OpenAt(1, "x", 0); b.Last().Args[2] = Num(0) }},
		{"fsopen", cloexec, 0, func(b *Builder) { b.Fsopen("tmpfs"); b.Last().Args[1] = Num(0) }},
		{"fsmount", cloexec, 1, func(b *Builder) { b.Fsmount(b.Fsopen("tmpfs"), 0); b.Last().Args[1] = Num(0) }},
		{"open_tree", cloexec, 0, func(b *Builder) { b.OpenTree(1, true); b.Last().Args[2] = Num(unix.AT_EMPTY_PATH) }},
		{"dup3", cloexec, 0, func(b *Builder) { b.Dup3(1, 9); b.Last().Args[2] = Num(0) }},
		{"dup", cloexec, 0, func(b *Builder) { b.Append(unix.SYS_DUP, FD(1)) }},
		{"F_DUPFD", cloexec, 0, func(b *Builder) { b.Append(unix.SYS_FCNTL, FD(1), Num(unix.F_DUPFD), Num(9)) }},
		{"F_SETFD", cloexec, 0, func(b *Builder) { b.Append(unix.SYS_FCNTL, FD(1), Num(unix.F_SETFD), Num(0)) }},
		{"TIOCGPTPEER", cloexec, 0, func(b *Builder) { b.Ioctl(1, unix.TIOCGPTPEER, "TIOCGPTPEER", Num(unix.O_RDWR)) }},

		{"never written", written, 0, func(b *Builder) { b.Fchdir(b.Reserve()) }},
		{"register 0", written, 0, func(b *Builder) { b.Fchdir(0) }},
		{"not written after an accepted errno", written, 1, func(b *Builder) {
			r := b.OpenIn(1, "x", unix.O_PATH)
			b.Last().Accepts(unix.ENOENT)
			b.Fchdir(r)
		}},
		{"writer skipped, reader not", written, 2, func(b *Builder) {
			l := b.Label()
			b.Fchdir(1).Accepts(unix.EACCES).Else(l)
			r := b.OpenIn(1, "x", unix.O_PATH)
			b.Place(l)
			b.Fchdir(r)
		}},
		{"used after close", shut, 1, func(b *Builder) { b.Close(1); b.Fchdir(1) }},
		{"closed on one way", shut, 2, func(b *Builder) {
			l := b.Label()
			b.Inside().Accepts(unix.EXDEV).Else(l)
			b.Close(1)
			b.Place(l)
			b.Fchdir(1)
		}},
		{"closed twice", shut, 1, func(b *Builder) { b.Close(1); b.Close(1) }},
		{"what Find returns", "what Find returns is only executed", 1, func(b *Builder) { b.Fchdir(b.FindExec([]string{"/x"})) }},
		{"store into a string", "a register is stored into raw data, never into a shared string", 0, func(b *Builder) { b.Append(Store, b.Str("abcd"), FD(1)) }},
		{"zero byte in a string", "no string has a zero byte in it", 0, func(b *Builder) { b.OpenIn(1, "a\x00b", unix.O_PATH) }},

		{"bounding set after the user", "the bounding set is dropped before the user changes", 2, func(b *Builder) {
			ids(b, unix.SYS_SETRESUID)
			capset(b)
			b.Prctl(unix.PR_CAPBSET_DROP, "PR_CAPBSET_DROP", Num(1))
		}},
		{"groups after the group", "setgroups comes before setresgid and setresuid", 1, func(b *Builder) {
			ids(b, unix.SYS_SETRESGID)
			b.Append(unix.SYS_SETGROUPS, Num(0), Null())
		}},
		{"groups after the user", "setgroups comes before setresgid and setresuid", 2, func(b *Builder) {
			ids(b, unix.SYS_SETRESUID)
			capset(b)
			b.Append(unix.SYS_SETGROUPS, Num(0), Null())
		}},
		{"group after the user", "setresgid comes before setresuid", 2, func(b *Builder) {
			ids(b, unix.SYS_SETRESUID)
			capset(b)
			ids(b, unix.SYS_SETRESGID)
		}},
		{"no capset after the user", "capset comes after setresuid", 7, func(b *Builder) {
			capset(b)
			ids(b, unix.SYS_SETRESUID)
			intoRoot(b)
			b.CloseRest(0)
			b.Execve(b.FindExec([]string{"/x"}), nil, nil)
		}},
		{"filter without privilege", filter, 1, func(b *Builder) { capset(b); seccomp(b) }},
		{"filter after a no_new_privs that may be skipped", filter, 3, func(b *Builder) {
			l := b.Label()
			capset(b)
			b.Inside().Accepts(unix.EXDEV).Else(l)
			b.Prctl(unix.PR_SET_NO_NEW_PRIVS, "PR_SET_NO_NEW_PRIVS", Num(1))
			b.Place(l)
			seccomp(b)
		}},
		{"a step after the filter", follows, 1, func(b *Builder) { seccomp(b); b.Inside() }},
		{"listener not handed over", "the descriptor of a filter that notifies is handed over at once", 2, func(b *Builder) {
			b.Close(1)
			b.SeccompListener(make([]byte, 8), 0)
			b.Sync(SyncReady)
		}},
		{"another descriptor handed over", "the descriptor of a filter that notifies is handed over at once", 1, func(b *Builder) {
			b.SeccompListener(make([]byte, 8), 0)
			b.SendFD(SyncListener, 1)
		}},
		{"a step after a filter that notifies", waits, 2, func(b *Builder) {
			b.SendFD(SyncListener, b.SeccompListener(make([]byte, 8), 0))
			b.Inside()
		}},
		{"two capsets after a filter that notifies", waits, 3, func(b *Builder) {
			b.SendFD(SyncListener, b.SeccompListener(make([]byte, 8), 0))
			capset(b)
			capset(b)
		}},
		{"two capsets after the filter", follows, 2, func(b *Builder) { seccomp(b); capset(b); capset(b) }},

		{"dumpable when a namespace is joined", watched, 1, func(b *Builder) { beDumpable(b); b.Setns(1, unix.CLONE_NEWNET) }},
		{"dumpable in the image", watched, 1, func(b *Builder) { beDumpable(b); b.OpenIn(1, "x", unix.O_PATH) }},
		{"dumpable before a file that is not its own", watched, 1, func(b *Builder) { beDumpable(b); b.OpenHost("/proc", unix.O_PATH) }},
		{"dumpable while it waits for limits", watched, 1, func(b *Builder) { beDumpable(b); b.Sync(SyncLimits) }},
		{"dumpable for hooks in the container's root", watched, 4, func(b *Builder) { intoRoot(b); beDumpable(b); b.Sync(SyncHooks) }},
		{"dumpable at the end", watched, 1, func(b *Builder) { beDumpable(b) }},
		{"procfs kept while it waits", holds, 3, func(b *Builder) {
			b.Close(1)
			b.Fsmount(b.Fsopen("proc"), 0)
			b.Sync(SyncReady)
		}},
		{"a directory of the image kept while it waits", holds, 2, func(b *Builder) { b.OpenIn(1, "x", unix.O_PATH); b.Close(1); b.Sync(SyncReady) }},
		{"a source kept while it waits", holds, 0, func(b *Builder) { b.Sync(SyncReady) }},
		{"kept on one way", holds, 4, func(b *Builder) {
			l := b.Label()
			r := b.OpenIn(1, "x", unix.O_PATH)
			b.Close(1)
			b.Inside().Accepts(unix.EXDEV).Else(l)
			b.Close(r)
			b.Place(l)
			b.Sync(SyncReady)
		}},
		{"the image's file for standard input", identity, 1, func(b *Builder) { b.Dup3(b.OpenIn(1, "dev/null", unix.O_RDWR), 0) }},
		{"checked for its type only", identity, 2, func(b *Builder) {
			r := b.OpenIn(1, "dev/null", unix.O_RDWR)
			b.Check(r, Identity{Type: unix.S_IFCHR})
			b.Dup3(r, 0)
		}},
		{"a terminal of the image's file", identity, 1, func(b *Builder) {
			b.Ioctl(b.OpenIn(1, "dev/ptmx", unix.O_RDWR), unix.TIOCGPTPEER, "TIOCGPTPEER", Num(unix.O_CLOEXEC))
		}},
		{"a terminal of the image's file, opened again", identity, 5, func(b *Builder) {
			proc := b.Fsmount(b.Fsopen("proc"), 0)
			b.Dup3(b.OpenIn(1, "dev/ptmx", unix.O_PATH), 1000)
			b.Ioctl(b.ProcOpen(proc, "self/fd/1000", unix.O_RDWR), unix.TIOCGPTPEER, "TIOCGPTPEER", Num(unix.O_CLOEXEC))
		}},
		{"executed in the host's root", "execve comes after the root has changed", 3, func(b *Builder) {
			capset(b)
			b.Inside()
			b.Execve(b.FindExec([]string{"/x"}), nil, nil)
		}},
		{"the host's root is still mounted", "the host's root is detached before execve", 5, func(b *Builder) {
			capset(b)
			b.Fchdir(1)
			b.PivotRoot()
			b.Inside()
			b.Execve(b.FindExec([]string{"/x"}), nil, nil)
		}},
		{"nobody looked at the working directory", "the working directory is found to be inside the root before execve", 6, func(b *Builder) {
			capset(b)
			intoRoot(b)
			b.Fchdir(1)
			b.Execve(b.FindExec([]string{"/x"}), nil, nil)
		}},
		{"with the runtime's privileges", "capset comes before what is executed in the container's root", 4, func(b *Builder) {
			intoRoot(b)
			b.Execve(b.FindExec([]string{"/x"}), nil, nil)
		}},
		{"not what Find found", "what is executed in the container's root is what Find found", 4, func(b *Builder) {
			capset(b)
			intoRoot(b)
			b.ExecvePath("/x", nil, nil)
		}},

		{"two forks", "a program forks once", 1, func(b *Builder) { b.Fork(); b.Fork() }},
		{"two reports", "there is one Report", 1, func(b *Builder) { b.ReportTo(1); b.ReportTo(1) }},
		{"sync after report", "the conversation ends with Report", 1, func(b *Builder) { b.ReportTo(1); b.Sync(SyncLimits) }},
		{"descriptor after report", "the conversation ends with Report", 1, func(b *Builder) { b.ReportTo(1); b.SendFD(SyncConsole, 1) }},
		{"offsets before maps", order, 1, func(b *Builder) { b.Sync(SyncOffsets); b.Sync(SyncMaps) }},
		{"ready before hooks", order, 2, func(b *Builder) { b.Close(1); b.Sync(SyncReady); b.Sync(SyncHooks) }},
		{"a sync twice", order, 1, func(b *Builder) { b.Sync(SyncLimits); b.Sync(SyncLimits) }},
		{"a sync that is none", order, 0, func(b *Builder) { b.Sync(SyncConsole) }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := built(t, 1, func(b *Builder) { b.RootOpen(); test.steps(b); b.Exit(0) })
			wantBroken(t, p, test.step, test.rule)
		})
	}
	t.Run("a host's directory kept over the pivot", func(t *testing.T) {
		p := built(t, 1, func(b *Builder) {
			b.OpenHost("/x", unix.O_PATH)
			b.RootOpen()
			b.Fchdir(1)
			b.PivotRoot()
			b.Exit(0)
		})
		wantBroken(t, p, 2, kept)
	})
	t.Run("a hook of the image with the runtime's privileges", func(t *testing.T) {
		p := built(t, 2, func(b *Builder) {
			b.Setns(1, unix.CLONE_NEWNS)
			b.Fchdir(2)
			b.ChrootHere()
			b.Inside()
			b.ExecvePath("/hook", nil, nil)
		})
		wantBroken(t, p, 4, "capset comes before what is executed in the container's root")
	})
	t.Run("no end", func(t *testing.T) {
		wantBroken(t, built(t, 1, func(b *Builder) { b.Fchdir(1) }), 0, end)
	})
	t.Run("no steps", func(t *testing.T) { wantBroken(t, built(t, 1, func(*Builder) {}), -1, end) })
	t.Run("a jump over the end", func(t *testing.T) {
		wantBroken(t, built(t, 1, func(b *Builder) {
			l := b.Label()
			b.Fchdir(1).Then(l)
			b.Exit(0)
			b.Place(l)
		}), 0, end)
	})
	t.Run("an execve that may fail", func(t *testing.T) {
		wantBroken(t, built(t, 0, func(b *Builder) { b.ExecvePath("/x", nil, nil).Accepts(unix.ENOENT) }), 0, end)
	})
}

func intoRoot(b *Builder) {
	b.Fchdir(1)
	b.ChrootHere()
	b.Inside()
}

func beDumpable(b *Builder) { b.Prctl(unix.PR_SET_DUMPABLE, "PR_SET_DUMPABLE", Num(1)) }

// leads is broken by many programs here that are about something else.
const leads = "no descriptor is open that a path could be led through when it is executed"

// TestVerifyDescriptors: close-on-exec is not enough, because execve(2) resolves
// the path before it closes anything.
func TestVerifyDescriptors(t *testing.T) {
	for _, test := range []struct {
		name, rule string
		step       int
		steps      func(*Builder)
	}{
		{"a handed directory at execve", leads, 0, func(b *Builder) { b.ExecvePath("/x", nil, nil) }},
		{"a kept directory at execve", leads, 2, func(b *Builder) { b.Keep(1); b.CloseRest(0); b.ExecvePath("/x", nil, nil) }},
		{"a directory opened after the rest was closed", leads, 2, func(b *Builder) {
			b.CloseRest(0)
			b.Append(unix.SYS_FSMOUNT, Num(5), Num(unix.FSMOUNT_CLOEXEC), Num(0)).Result = 2
			b.ExecvePath("/x", nil, nil)
		}},
		{"descriptors that are only close-on-exec", leads, 1, func(b *Builder) {
			b.Append(unix.SYS_CLOSE_RANGE, Num(3), Const(0xffffffff, "~0U"), Num(unix.CLOSE_RANGE_CLOEXEC))
			b.ExecvePath("/x", nil, nil)
		}},
		{"some descriptors closed", leads, 1, func(b *Builder) {
			b.Append(unix.SYS_CLOSE_RANGE, Num(3), Num(10), Num(0))
			b.ExecvePath("/x", nil, nil)
		}},
		{"closed on one of two ways", leads, 2, func(b *Builder) {
			l := b.Label()
			b.Inside().Accepts(unix.EXDEV).Else(l)
			b.CloseRest(0)
			b.Place(l)
			b.ExecvePath("/x", nil, nil)
		}},
	} {
		t.Run(test.name, func(t *testing.T) { wantBroken(t, built(t, 1, test.steps), test.step, test.rule) })
	}
}

// wantBroken wants exactly one broken rule, at that step.
func wantBroken(t *testing.T, p *Program, step int, rule string) {
	t.Helper()
	err := Verify(p)
	if err == nil {
		t.Fatal("nothing is broken")
	}
	found := false
	for _, one := range err.(interface{ Unwrap() []error }).Unwrap() {
		broken := one.(*Broken)
		switch {
		case broken.Rule == rule && (broken.Step == step || found):
			found = true
		case broken.Rule != leads:
			t.Errorf("also broken: %v", broken)
		}
	}
	if !found {
		t.Errorf("broken: %v\nwant step %d: %s", err, step, rule)
	}
}

// TestVerifyContainerMutated leaves out one step of a whole container at a
// time: what the rules need is missed.
func TestVerifyContainerMutated(t *testing.T) {
	missed := map[string]bool{}
	p := built(t, 3, container)
	for i := range p.Steps {
		q := *p
		q.Steps = append(slices.Clone(p.Steps[:i]), p.Steps[i+1:]...)
		if i < p.RootAt {
			q.RootAt--
		}
		if Verify(&q) != nil {
			missed[p.Steps[i].Call.String()] = true
		}
	}
	for _, call := range []string{"fsopen", "fsmount", "openat2", "openat", "open_tree", "MAKE", "fchdir", "FIND", "execve"} {
		if !missed[call] {
			t.Errorf("nobody misses %s", call)
		}
	}
}
