package nsenter

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// The system calls of a process's last mile before execve.

// Setsid makes the process the leader of a new session (setsid(2)).
func (b *Builder) Setsid() *Step { return b.Append(unix.SYS_SETSID) }

// JoinSessionKeyring makes or joins the session keyring of that name and
// returns the register with its serial number (keyctl(2)).
func (b *Builder) JoinSessionKeyring(name string) Reg {
	return b.yields(unix.SYS_KEYCTL, Const(unix.KEYCTL_JOIN_SESSION_KEYRING, "KEYCTL_JOIN_SESSION_KEYRING"), b.Str(name))
}

// KeySetperm sets a key's permissions (KEYCTL_SETPERM).
func (b *Builder) KeySetperm(key Reg, perm uint32) *Step {
	return b.Append(unix.SYS_KEYCTL, Const(unix.KEYCTL_SETPERM, "KEYCTL_SETPERM"), FD(key), Hex(uint64(perm)))
}

// Sethostname sets the host name of the UTS namespace.
func (b *Builder) Sethostname(name string) *Step {
	return b.Append(unix.SYS_SETHOSTNAME, b.Str(name), Num(len(name)))
}

// Setdomainname sets the NIS domain name of the UTS namespace.
func (b *Builder) Setdomainname(name string) *Step {
	return b.Append(unix.SYS_SETDOMAINNAME, b.Str(name), Num(len(name)))
}

// Umask sets the file mode creation mask.
func (b *Builder) Umask(mask uint32) *Step { return b.Append(unix.SYS_UMASK, Octal(mask)) }

// Personality sets the execution domain.
func (b *Builder) Personality(domain uint32, name string) *Step {
	return b.Append(unix.SYS_PERSONALITY, Const(uint64(domain), name))
}

// SetMempolicy sets the NUMA policy; mask has one bit a node, and its length
// in bits is what the kernel is told (set_mempolicy(2)).
func (b *Builder) SetMempolicy(mode uint64, name string, mask []uint64) *Step {
	if len(mask) == 0 {
		return b.Append(unix.SYS_SET_MEMPOLICY, Const(mode, name), Null(), Num(0))
	}
	words := make([]Arg, len(mask))
	text := ""
	for i, w := range mask {
		words[i] = Hex(w)
		text += fmt.Sprintf(" %#x", w)
	}
	// The kernel reads maxnode-1 bits.
	return b.Append(unix.SYS_SET_MEMPOLICY, Const(mode, name), b.Words("["+text[1:]+"]", words...), Num(64*len(mask)+1))
}

// SchedSetaffinity sets the CPUs that the process itself may run on; mask has
// one bit a CPU (sched_setaffinity(2)).
func (b *Builder) SchedSetaffinity(mask []uint64, text string) *Step {
	words := make([]Arg, len(mask))
	for i, w := range mask {
		words[i] = Hex(w)
	}
	return b.Append(unix.SYS_SCHED_SETAFFINITY, Num(0), Num(8*len(mask)), b.Words("["+text+"]", words...))
}

// IoprioSet sets the I/O priority of the process itself (ioprio_set(2)).
func (b *Builder) IoprioSet(value uint32) *Step {
	return b.Append(unix.SYS_IOPRIO_SET, Const(1, "IOPRIO_WHO_PROCESS"), Num(0), Hex(uint64(value)))
}

// Prlimit sets a resource limit of the process itself (prlimit64(2)).
func (b *Builder) Prlimit(resource int, name string, soft, hard uint64) *Step {
	raw := binary.NativeEndian.AppendUint64(nil, soft)
	raw = binary.NativeEndian.AppendUint64(raw, hard)
	return b.Append(unix.SYS_PRLIMIT64, Num(0), Const(uint64(resource), name),
		b.Bytes(raw, fmt.Sprintf("{rlim_cur=%d, rlim_max=%d}", soft, hard)), Null())
}

// Setgroups sets the supplementary groups.
func (b *Builder) Setgroups(gids []uint32) *Step {
	if len(gids) == 0 {
		return b.Append(unix.SYS_SETGROUPS, Num(0), Null())
	}
	raw := make([]byte, 0, 4*len(gids))
	for _, g := range gids {
		raw = binary.NativeEndian.AppendUint32(raw, g)
	}
	return b.Append(unix.SYS_SETGROUPS, Num(len(gids)), b.Bytes(raw, fmt.Sprint(gids)))
}

// Setresgid sets the real, effective and saved group.
func (b *Builder) Setresgid(gid uint32) *Step {
	return b.Append(unix.SYS_SETRESGID, Num(gid), Num(gid), Num(gid))
}

// Setresuid sets the real, effective and saved user.
func (b *Builder) Setresuid(uid uint32) *Step {
	return b.Append(unix.SYS_SETRESUID, Num(uid), Num(uid), Num(uid))
}

// DropBounding drops capability n from the bounding set.
func (b *Builder) DropBounding(n int, name string) *Step {
	return b.Append(unix.SYS_PRCTL, Const(unix.PR_CAPBSET_DROP, "PR_CAPBSET_DROP"), Const(uint64(n), name))
}

// Capset sets the three capability sets of the process, bit n for capability
// n (capset(2), version 3).
func (b *Builder) Capset(effective, permitted, inheritable uint64) *Step {
	header := binary.NativeEndian.AppendUint32(nil, unix.LINUX_CAPABILITY_VERSION_3)
	header = binary.NativeEndian.AppendUint32(header, 0)
	var sets []byte
	for shift := 0; shift <= 32; shift += 32 {
		for _, set := range []uint64{effective, permitted, inheritable} {
			sets = binary.NativeEndian.AppendUint32(sets, uint32(set>>shift))
		}
	}
	text := fmt.Sprintf("{effective=%#x, permitted=%#x, inheritable=%#x}", effective, permitted, inheritable)
	return b.Append(unix.SYS_CAPSET, b.Bytes(header, "_LINUX_CAPABILITY_VERSION_3"), b.Bytes(sets, text))
}

// Seccomp installs a filter; bpf is an array of struct sock_filter
// (seccomp(2), SECCOMP_SET_MODE_FILTER).
func (b *Builder) Seccomp(bpf []byte, f uint64) *Step { return b.seccomp(bpf, f) }

// SeccompListener is Seccomp for a filter that notifies. It returns the
// register of the descriptor that notifications are read from, which the
// kernel makes close-on-exec (seccomp_unotify(2)).
func (b *Builder) SeccompListener(bpf []byte, f uint64) Reg {
	r := b.Reserve()
	b.seccomp(bpf, f|unix.SECCOMP_FILTER_FLAG_NEW_LISTENER).Result = r
	return r
}

func (b *Builder) seccomp(bpf []byte, f uint64) *Step {
	n := len(bpf) / 8
	filter := b.Bytes(bpf, "filter")
	// struct sock_fprog: a 16-bit length, padding, a pointer.
	var length [8]byte
	binary.NativeEndian.PutUint16(length[:], uint16(n))
	prog := b.Words(fmt.Sprintf("{%d instructions}", n), Num(binary.NativeEndian.Uint64(length[:])), filter)
	return b.Append(unix.SYS_SECCOMP, Const(unix.SECCOMP_SET_MODE_FILTER, "SECCOMP_SET_MODE_FILTER"),
		flags(f, seccompFlags), prog)
}

var seccompFlags = []flagName{
	{unix.SECCOMP_FILTER_FLAG_LOG, "SECCOMP_FILTER_FLAG_LOG"},
	{unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, "SECCOMP_FILTER_FLAG_SPEC_ALLOW"},
	{unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, "SECCOMP_FILTER_FLAG_NEW_LISTENER"},
	{unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"},
}

// Keep names a directory of the host that is needed behind CloseRest; see Kept.
func (b *Builder) Keep(r Reg) { b.kept = r }

// Kept is the descriptor that Keep has named, where it is by now.
func (b *Builder) Kept() Reg { return b.kept }

// CloseRest closes every descriptor but stdio, the preserved ones after it, the
// socket and what Keep has named. What execve(2) follows belongs to the image,
// and /proc/self/fd/N/.. of a directory would lead it to the host's files, even
// where that is close-on-exec (CVE-2024-21626).
func (b *Builder) CloseRest(preserved int) {
	first := 3 + preserved + 1 // the socket comes after them (Start)
	if b.kept != 0 {
		r := b.Reserve()
		b.Dup3(b.kept, first).Result = r
		b.kept = r
		first++
	}
	b.Append(unix.SYS_CLOSE_RANGE, Num(first), Const(0xffffffff, "~0U"), Num(0))
}

// ControllingTTY makes terminal r the session's controlling one (TIOCSCTTY).
func (b *Builder) ControllingTTY(r Reg) *Step {
	return b.Append(unix.SYS_IOCTL, FD(r), Const(unix.TIOCSCTTY, "TIOCSCTTY"), Num(0))
}

// WindowSize sets a terminal's size in characters (TIOCSWINSZ).
func (b *Builder) WindowSize(r Reg, rows, columns uint16) *Step {
	raw := binary.NativeEndian.AppendUint16(nil, rows)
	raw = binary.NativeEndian.AppendUint16(raw, columns)
	raw = append(raw, 0, 0, 0, 0)
	return b.Append(unix.SYS_IOCTL, FD(r), Const(unix.TIOCSWINSZ, "TIOCSWINSZ"),
		b.Bytes(raw, fmt.Sprintf("{rows=%d, columns=%d}", rows, columns)))
}
