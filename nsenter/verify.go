package nsenter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Broken is one rule that one step of a program breaks.
type Broken struct {
	Step int
	Rule string // what has to hold
	Line string // the step's text
}

func (b *Broken) Error() string { return fmt.Sprintf("%s: step %s", b.Rule, strings.TrimSpace(b.Line)) }

// Verify holds a program to the security rules: that paths cannot be led out of
// the container's root, that what an image could have put in a file's place is
// checked before it is used, that nobody can look into the process while it
// holds what is the host's, that privileges are dropped in an order in which
// none stays behind, that no descriptor leaks through execve or is held while
// the process waits, that every register is written before it is read, and that
// the conversation keeps its order. It is pure: the rules are assertions over
// the steps. The error joins a *Broken for every step that breaks one.
// docs/SECURITY.md lists the rules.
//
// The check is one pass. Jumps only go forward, so when a step is reached, all
// that can come before it has been seen: the state at a step is the union of
// what may hold on each way to it (state.join), and a rule is broken where it
// may be broken on any of them.
func Verify(p *Program) error {
	v := verifier{p: p, arriving: map[int]*state{0: newState(p)}}
	v.order()
	v.shape()
	for i := range p.Steps {
		v.step(i)
	}
	return errors.Join(v.broken...)
}

// origins says what made the value of a register, as a set of bits: what may
// have made it, over all ways to a step.
type origins uint16

const (
	unwritten   origins = 1 << iota // not written on some way
	closed                          // closed on some way
	handed                          // came with the program
	procContext                     // fsopen("proc")
	procUnsure                      // openat("/proc"), not checked
	procTrusted                     // a procfs that is no image's
	procFile                        // a file of it
	foundPath                       // address that Find returned
	placed                          // at a number of its own (dup3), which CloseRest leaves open
	noDirectory                     // opened for writing, or no file at all
	hostPath                        // opened by a path of the host
	imagePath                       // opened by a path of the image, not checked
	descriptor                      // any other descriptor
	other                           // no descriptor
)

// held is what a process that waits may still have open of the host or of its
// own root.
const held = procContext | procUnsure | procTrusted | procFile | hostPath | imagePath | descriptor

// state is what may hold when a step begins.
type state struct {
	reg   []origins
	cwd   origins // of the last fchdir's register
	at    Reg     // that register, the new root where the root changes
	spare origins // of what dup3 gave a number of its own, for a procfs to name
	is    facts
}

// facts are bits that may hold; join is their union, so each is named for the
// case that a rule has to fear.
type facts uint16

const (
	noNoNewPrivs facts = 1 << iota // no_new_privs is not set
	noAdmin                        // CAP_SYS_ADMIN is gone
	gidChanged
	uidChanged
	capsetOwed // the user changed, and no capset yet
	pivoted    // the root is the container's
	dumpable   // other processes may look into this one
	inHost     // the root is the host's
	oldRoot    // pivot_root left the host's root mounted
	cwdUnsure  // nobody has looked whether the working directory is inside the root
	privileged // no capset yet
)

func newState(p *Program) *state {
	max := Reg(p.Received)
	for i := range p.Steps {
		s := &p.Steps[i]
		if s.Result > max {
			max = s.Result
		}
		for _, a := range s.Args {
			if a.reg > max {
				max = a.reg
			}
		}
	}
	s := &state{reg: make([]origins, int(max)+1), cwd: unwritten, spare: unwritten,
		is: noNoNewPrivs | inHost | cwdUnsure | privileged}
	for r := range s.reg {
		s.reg[r] = unwritten
		if r >= 1 && r <= p.Received {
			s.reg[r] = handed
		}
	}
	return s
}

func (s *state) copy() *state {
	c := *s
	c.reg = append([]origins(nil), s.reg...)
	return &c
}

func (s *state) join(t *state) {
	for i := range s.reg {
		s.reg[i] |= t.reg[i]
	}
	s.cwd |= t.cwd
	if s.at != t.at {
		s.at = 0
	}
	s.spare |= t.spare
	s.is |= t.is
}

type verifier struct {
	p        *Program
	arriving map[int]*state // by the step at which a jump or the step before arrives
	broken   []error
}

func (v *verifier) fail(i int, rule string) {
	line := "-"
	if i >= 0 && i < len(v.p.Steps) {
		line = v.p.Line(i)
	}
	v.broken = append(v.broken, &Broken{Step: i, Rule: rule, Line: line})
}

// step checks step i in the state that may hold there, and hands the states
// after success and after an accepted errno on to where they go.
func (v *verifier) step(i int) {
	before := v.arriving[i]
	delete(v.arriving, i)
	if before == nil {
		return // no way leads here
	}
	s := &v.p.Steps[i]
	v.registers(i, s, before)
	v.paths(i, s, before)
	v.writes(i, s, before)
	v.cloexec(i, s)
	v.privileges(i, s, before)
	v.exposure(i, s, before)
	v.identity(i, s, before)
	v.end(i, s, before)
	if len(s.Accept) > 0 {
		after := before.copy()
		if s.Call == unix.SYS_CLOSE {
			after.success(v.p, s)
		}
		v.arrive(i, i+1+s.skipAccept, after)
	}
	if s.Call != unix.SYS_EXECVE && s.Call != unix.SYS_EXECVEAT && s.Call != unix.SYS_EXIT_GROUP {
		before.success(v.p, s)
		v.arrive(i, i+1+s.skipSuccess, before)
	}
}

func (v *verifier) arrive(from, at int, s *state) {
	if at >= len(v.p.Steps) {
		v.fail(from, "a program ends in execve or exit_group")
		return
	}
	if there := v.arriving[at]; there != nil {
		there.join(s)
		return
	}
	v.arriving[at] = s
}

// success is what a step changes when it succeeds.
func (st *state) success(p *Program, s *Step) {
	switch s.Call {
	case unix.SYS_CLOSE:
		if r := s.regAt(0); r != 0 {
			st.reg[r] = closed
		}
	case Check:
		r := s.regAt(0)
		switch {
		case r == 0:
		case s.numAt(3) == unix.PROC_SUPER_MAGIC && st.reg[r]&^(procUnsure|handed) == 0:
			st.reg[r] = procTrusted
		case st.reg[r] == imagePath && s.numAt(1) != 0 && s.numAt(2) != 0:
			st.reg[r] = descriptor
		}
	case unix.SYS_DUP3:
		if r := s.regAt(0); r != 0 && s.numAt(1) > 2 {
			st.spare = st.reg[r]
		}
	case Inside:
		st.is &^= cwdUnsure
	case unix.SYS_CLOSE_RANGE:
		if s.numAt(1) >= math.MaxUint32 && s.numAt(2) == 0 {
			st.closeRest()
		}
	case unix.SYS_FCHDIR:
		st.is |= cwdUnsure
		st.cwd = other
		if st.at = s.regAt(0); st.at != 0 {
			st.cwd = st.reg[st.at]
		}
	case unix.SYS_CHDIR:
		st.is |= cwdUnsure
		st.cwd = other
	case unix.SYS_SETNS:
		if s.numAt(1)&unix.CLONE_NEWNS != 0 {
			st.is = st.is&^inHost | cwdUnsure
		}
	case unix.SYS_PIVOT_ROOT:
		st.is = st.is&^inHost | pivoted | oldRoot | cwdUnsure
	case unix.SYS_UMOUNT2:
		if path, _ := s.textAt(0); path == "." {
			st.is &^= oldRoot
		}
	case unix.SYS_CHROOT:
		st.is = st.is&^inHost | pivoted | cwdUnsure
	case unix.SYS_MOVE_MOUNT:
		if path, _ := s.textAt(3); path == "/" {
			st.is |= pivoted
		}
	case unix.SYS_PRCTL:
		if s.numAt(0) == unix.PR_SET_NO_NEW_PRIVS && s.numAt(1) == 1 {
			st.is &^= noNoNewPrivs
		}
		if s.numAt(0) == unix.PR_SET_DUMPABLE {
			st.is &^= dumpable
			if s.numAt(1) != 0 {
				st.is |= dumpable
			}
		}
	case unix.SYS_SETRESGID:
		st.is |= gidChanged
	case unix.SYS_SETRESUID:
		st.is |= uidChanged
		if p.RootAt >= 0 || s.numAt(0) != 0 { // else a hook of the host's becomes root of a user namespace
			st.is |= capsetOwed
		}
	case unix.SYS_CAPSET:
		st.is &^= capsetOwed | noAdmin | privileged
		if !p.keepsAdmin(s) {
			st.is |= noAdmin
		}
	case Sync:
		if SyncID(s.numAt(0)) == SyncLimits {
			// Until here the process only became root of its user namespace.
			st.is &^= gidChanged | uidChanged | capsetOwed
		}
	}
	if s.Result != 0 {
		st.reg[s.Result] = made(st, s)
	}
}

// closeRest closes what no step has put at a number of its own.
func (st *state) closeRest() {
	for r, from := range st.reg {
		if from&(placed|foundPath|other) == 0 {
			st.reg[r] = closed
		}
	}
}

// leadsOut tells whether a directory may be open that a path could be led
// through by way of /proc/self/fd.
func (st *state) leadsOut() bool {
	return slices.ContainsFunc(st.reg, func(from origins) bool {
		return from&^(unwritten|closed|foundPath|noDirectory|other) != 0
	})
}

// made says what the result of a step is.
func made(st *state, s *Step) origins {
	path, _ := s.textAt(1)
	switch {
	case s.Call == Find:
		return foundPath
	case s.Call == unix.SYS_FSOPEN:
		if kind, _ := s.textAt(0); kind == "proc" {
			return procContext
		}
	case s.Call == unix.SYS_FSMOUNT && s.regAt(0) != 0 && st.reg[s.regAt(0)] == procContext:
		return procTrusted
	case s.Call == unix.SYS_OPENAT && s.regAt(0) != 0 && st.reg[s.regAt(0)] == procTrusted && ownDescriptor(path):
		return st.spare
	case s.Call == unix.SYS_OPENAT && s.regAt(0) != 0 && st.reg[s.regAt(0)] == procTrusted:
		return procFile
	case s.Call == unix.SYS_OPENAT && path == "/proc" && st.is&pivoted == 0:
		return procUnsure
	case s.Call == unix.SYS_OPENAT && s.regAt(0) != 0 && s.numAt(2)&(unix.O_ACCMODE|unix.O_PATH|unix.O_DIRECTORY) == unix.O_WRONLY, s.Call == unix.SYS_SECCOMP:
		return noDirectory
	case s.Call == unix.SYS_DUP3 && s.regAt(0) != 0 && s.numAt(1) > 2:
		return st.reg[s.regAt(0)] | placed
	case s.Call == unix.SYS_OPENAT2 && s.regAt(0) != 0:
		return imagePath
	case s.regAt(0) == 0 && (s.Call == unix.SYS_OPENAT || s.Call == unix.SYS_OPENAT2 ||
		s.Call == unix.SYS_OPEN_TREE && s.numAt(2)&unix.OPEN_TREE_CLONE == 0):
		return hostPath
	case s.Call == Make || s.Call == unix.SYS_IOCTL:
		return descriptor
	}
	if _, _, makes := cloexecFlag(s.Call); makes {
		return descriptor
	}
	return other
}

// keepsAdmin tells whether a capset leaves CAP_SYS_ADMIN in the effective set.
func (p *Program) keepsAdmin(s *Step) bool {
	raw := p.bytesAt(s, 1, 4)
	return raw != nil && binary.NativeEndian.Uint32(raw)&(1<<unix.CAP_SYS_ADMIN) != 0
}

// --- registers

func (v *verifier) registers(i int, s *Step, st *state) {
	for n, a := range s.Args {
		if text, ok := a.Text(); ok && strings.IndexByte(text, 0) >= 0 {
			v.fail(i, "no string has a zero byte in it")
		}
		if a.kind != inRegister {
			continue
		}
		from := st.reg[a.reg]
		switch {
		case a.reg == 0 || from&unwritten != 0:
			v.fail(i, "a register is written before it is read")
		case from&closed != 0:
			v.fail(i, "no descriptor is used after close")
		case from&foundPath != 0 && !(s.Call == unix.SYS_EXECVE && n == 0):
			v.fail(i, "what Find returns is only executed")
		case from&procUnsure != 0 && s.Call != Check && s.Call != unix.SYS_CLOSE:
			v.fail(i, "a procfs that was opened by path is checked before it is used")
		}
	}
	if s.Call == Store && (len(s.Args) == 0 || s.Args[0].kind != inData || s.Args[0].isString()) {
		v.fail(i, "a register is stored into raw data, never into a shared string")
	}
}

// --- close-on-exec

// cloexecFlag is where a call that makes a descriptor takes its flags, and the
// one that makes it close-on-exec.
func cloexecFlag(c Call) (arg int, flag uint64, ok bool) {
	switch c {
	case unix.SYS_OPENAT, unix.SYS_DUP3, unix.SYS_OPEN_TREE:
		return 2, unix.O_CLOEXEC, true
	case unix.SYS_FSOPEN:
		return 1, unix.FSOPEN_CLOEXEC, true
	case unix.SYS_FSMOUNT:
		return 1, unix.FSMOUNT_CLOEXEC, true
	case unix.SYS_FSPICK:
		return 2, unix.FSPICK_CLOEXEC, true
	case unix.SYS_MEMFD_CREATE:
		return 1, unix.MFD_CLOEXEC, true
	case unix.SYS_SOCKET, unix.SYS_SOCKETPAIR:
		return 1, unix.SOCK_CLOEXEC, true
	case unix.SYS_PIPE2:
		return 1, unix.O_CLOEXEC, true
	case unix.SYS_ACCEPT4:
		return 3, unix.SOCK_CLOEXEC, true
	case unix.SYS_EPOLL_CREATE1:
		return 0, unix.EPOLL_CLOEXEC, true
	}
	return 0, 0, false
}

func (v *verifier) cloexec(i int, s *Step) {
	const rule = "every descriptor but stdio is close-on-exec from birth"
	arg, flag, ok := cloexecFlag(s.Call)
	switch {
	case s.Call == unix.SYS_DUP3 && s.numAt(1) <= 2:
	case ok && s.numAt(arg)&flag == 0:
		v.fail(i, rule)
	case s.Call == unix.SYS_OPENAT2 && v.p.openHow(s).flags&unix.O_CLOEXEC == 0:
		v.fail(i, rule)
	case s.Call == unix.SYS_DUP || s.Call == unix.SYS_ACCEPT:
		v.fail(i, rule)
	case s.Call == unix.SYS_FCNTL && s.numAt(1) == unix.F_DUPFD:
		v.fail(i, rule)
	case s.Call == unix.SYS_FCNTL && s.numAt(1) == unix.F_SETFD && s.numAt(2)&unix.FD_CLOEXEC == 0:
		v.fail(i, rule)
	case s.Call == unix.SYS_IOCTL && s.numAt(1) == unix.TIOCGPTPEER && s.numAt(2)&unix.O_CLOEXEC == 0:
		v.fail(i, rule)
	}
}

// --- privileges

func (v *verifier) privileges(i int, s *Step, st *state) {
	switch s.Call {
	case unix.SYS_PRCTL:
		if s.numAt(0) == unix.PR_CAPBSET_DROP && st.is&uidChanged != 0 {
			v.fail(i, "the bounding set is dropped before the user changes")
		}
	case unix.SYS_SETGROUPS:
		if st.is&(gidChanged|uidChanged) != 0 {
			v.fail(i, "setgroups comes before setresgid and setresuid")
		}
	case unix.SYS_SETRESGID:
		if st.is&uidChanged != 0 {
			v.fail(i, "setresgid comes before setresuid")
		}
	case unix.SYS_SECCOMP:
		if st.is&noNoNewPrivs != 0 && st.is&noAdmin != 0 {
			v.fail(i, "seccomp comes after no_new_privs or while CAP_SYS_ADMIN is there")
		}
	case unix.SYS_EXECVE, unix.SYS_EXECVEAT:
		if st.is&capsetOwed != 0 {
			v.fail(i, "capset comes after setresuid")
		}
		if st.leadsOut() {
			v.fail(i, "no descriptor is open that a path could be led through when it is executed")
		}
	}
}

// writes holds what is written to the trusted procfs, so that no file of an
// image is taken for a kernel parameter or a label (CVE-2019-16884,
// CVE-2025-52881). With no_new_privs a label may be refused that is not
// narrower than the one that is there.
func (v *verifier) writes(i int, s *Step, st *state) {
	switch s.Call {
	case unix.SYS_WRITE:
		r := s.regAt(0)
		text, _ := s.textAt(1)
		enters := st.reg[r] == handed && text == "0" // into cgroup.procs
		if v.p.RootAt >= 0 && i >= v.p.RootAt && r != 0 && st.reg[r] != procFile && !enters {
			v.fail(i, "once the root is open, only files of the trusted procfs are written, and 0 to what was handed over")
		}
	case unix.SYS_OPENAT:
		path, _ := s.textAt(1)
		if strings.Contains(path, "/attr/") && st.is&noNoNewPrivs == 0 {
			v.fail(i, "labels are set before no_new_privs")
		}
	}
}

// --- what others see, and what is the image's

// exposure holds the process to being closed to others. What makes it dumpable
// for a moment is that an ordinary user's runtime could not write to its files
// otherwise, nor createContainer hooks, the host's programs, join its
// namespaces; nothing of the container's runs then. And what it has open of
// the host is closed when it takes its root, and the rest before it waits: a
// process that may trace it could take it (CVE-2016-9962).
func (v *verifier) exposure(i int, s *Step, st *state) {
	if st.is&dumpable != 0 {
		switch path, _ := s.textAt(1); {
		case s.Call == unix.SYS_PRCTL, s.Call == unix.SYS_WRITE, s.Call == unix.SYS_CLOSE:
		case s.Call == Sync && SyncID(s.numAt(0)) == SyncMaps:
		case s.Call == Sync && SyncID(s.numAt(0)) == SyncHooks && st.is&inHost != 0:
		case s.Call == unix.SYS_OPENAT && strings.HasPrefix(path, "/proc/self/"):
		default:
			v.fail(i, "a dumpable process only waits for its id maps, its OOM score and hooks")
		}
	}
	switch {
	case s.Call == unix.SYS_PIVOT_ROOT || s.Call == unix.SYS_CHROOT:
		for r, from := range st.reg {
			if from&hostPath != 0 && Reg(r) != st.at {
				v.fail(i, "what was opened by a path of the host is closed before the root changes")
				return
			}
		}
	case s.Call == Sync && SyncID(s.numAt(0)) == SyncReady:
		v.waiting(i, st)
	}
}

// waiting is the state in which the process waits for the runtime or for start.
func (v *verifier) waiting(i int, st *state) {
	given := 0
	for _, from := range st.reg {
		if from&held != 0 {
			v.fail(i, "a process that waits holds no descriptor but the one to exec.fifo's directory")
			return
		}
		if from&handed != 0 {
			given++
		}
	}
	reports := 0
	for _, s := range v.p.Steps[i:] {
		if s.Call == Report {
			reports++
		}
	}
	if given > reports {
		v.fail(i, "a process that waits holds no descriptor but the one to exec.fifo's directory")
	}
}

// identity wants what was opened by a path of the image to be checked before it
// becomes a standard descriptor or opens a terminal (CVE-2025-52565,
// CVE-2026-88265).
func (v *verifier) identity(i int, s *Step, st *state) {
	from := origins(0)
	if r := s.regAt(0); r != 0 {
		from = st.reg[r]
	}
	standard := s.Call == unix.SYS_DUP3 && s.numAt(1) <= 2
	terminal := s.Call == unix.SYS_IOCTL && s.numAt(1) == unix.TIOCGPTPEER
	if (standard || terminal) && from&imagePath != 0 {
		v.fail(i, "what the image could have put there is checked before it is a standard descriptor or a terminal")
	}
}

// end holds the last step of a program that knows a root: what is executed is
// below it, from a working directory below it (CVE-2024-21626), without the
// runtime's privileges, and the host's root is gone.
func (v *verifier) end(i int, s *Step, st *state) {
	if s.Call != unix.SYS_EXECVE && s.Call != unix.SYS_EXECVEAT {
		return
	}
	if v.p.RootAt < 0 && st.is&pivoted == 0 {
		return
	}
	switch {
	case st.is&inHost != 0:
		v.fail(i, "execve comes after the root has changed")
	case st.is&oldRoot != 0:
		v.fail(i, "the host's root is detached before execve")
	case st.is&cwdUnsure != 0:
		v.fail(i, "the working directory is found to be inside the root before execve")
	case st.is&privileged != 0:
		v.fail(i, "capset comes before what is executed in the container's root")
	case s.regAt(0) == 0 || st.reg[s.regAt(0)] != foundPath:
		v.fail(i, "what is executed in the container's root is what Find found")
	}
}

// --- order and shape

// order checks the conversation: each Sync at most once and in the order of
// the SyncIDs, nothing after Report, one Fork, and what may follow seccomp.
func (v *verifier) order() {
	var sync SyncID
	var forks, reports, capsets int
	filtered, listening := false, false
	for i := range v.p.Steps {
		s := &v.p.Steps[i]
		switch s.Call {
		case Sync:
			id := SyncID(s.numAt(0))
			if id <= sync || id > SyncReady {
				v.fail(i, "syncs come in the order maps, offsets, hooks, limits, ready")
			}
			sync = id
		case Fork:
			if forks++; forks > 1 {
				v.fail(i, "a program forks once")
			}
		case Report:
			if reports++; reports > 1 {
				v.fail(i, "there is one Report")
			}
		}
		if reports > 0 && (s.Call == Sync || s.Call == SendFD || s.Call == Fork) {
			v.fail(i, "the conversation ends with Report")
		}
		if filtered && s.Call == unix.SYS_CAPSET {
			capsets++
		}
		switch {
		case listening:
			v.listening(i, s, capsets)
		case filtered && (!mayFollowSeccomp(s.Call) || capsets > 1):
			v.fail(i, "seccomp is followed by one capset at most and execve")
		}
		filtered = filtered || s.Call == unix.SYS_SECCOMP
		listening = listening || s.listens()
	}
}

// listens tells whether a step installs a filter that notifies.
func (s *Step) listens() bool {
	return s.Call == unix.SYS_SECCOMP && s.numAt(1)&unix.SECCOMP_FILTER_FLAG_NEW_LISTENER != 0
}

// listening is the rule for what follows a filter that notifies: the agent is
// to have its descriptor before anything else happens, and what has to happen
// under the filter is only the wait for start.
func (v *verifier) listening(i int, s *Step, capsets int) {
	before := &v.p.Steps[i-1]
	switch {
	case before.listens():
		if s.Call != SendFD || s.regAt(1) != before.Result {
			v.fail(i, "the descriptor of a filter that notifies is handed over at once")
		}
	case capsets > 1 || !mayFollowSeccomp(s.Call) && !mayFollowListener(s.Call):
		v.fail(i, "a filter that notifies is followed by the wait for start, one capset at most and execve")
	}
}

func mayFollowListener(c Call) bool {
	switch c {
	case Sync, Report, unix.SYS_OPENAT, unix.SYS_CLOSE, unix.SYS_PRLIMIT64:
		return true
	}
	return false
}

func mayFollowSeccomp(c Call) bool {
	switch c {
	case unix.SYS_SECCOMP, unix.SYS_CAPSET, unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_EXIT_GROUP:
		return true
	}
	return false
}

// shape checks the last step; arrive checks the jumps.
func (v *verifier) shape() {
	last := len(v.p.Steps) - 1
	if last < 0 {
		v.fail(last, "a program ends in execve or exit_group")
		return
	}
	switch s := &v.p.Steps[last]; s.Call {
	case unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_EXIT_GROUP:
	default:
		v.fail(last, "a program ends in execve or exit_group")
	}
}

// --- what a step's arguments are

func (s *Step) regAt(i int) Reg {
	if i >= len(s.Args) || s.Args[i].kind != inRegister {
		return 0
	}
	return s.Args[i].reg
}

func (s *Step) numAt(i int) uint64 {
	if i >= len(s.Args) || s.Args[i].kind != number {
		return 0
	}
	return s.Args[i].num
}

func (s *Step) textAt(i int) (string, bool) {
	if i >= len(s.Args) {
		return "", false
	}
	return s.Args[i].Text()
}

// bytesAt is n bytes of data that argument i points to, or nil.
func (p *Program) bytesAt(s *Step, i, n int) []byte {
	if i >= len(s.Args) || s.Args[i].kind != inData || s.Args[i].num+uint64(n) > uint64(len(p.data)) {
		return nil
	}
	at := s.Args[i].num
	return p.data[at : at+uint64(n)]
}

// openHow is the struct open_how of an openat2.
func (p *Program) openHow(s *Step) openHow {
	raw := p.bytesAt(s, 2, 24)
	if raw == nil {
		return openHow{}
	}
	return openHow{binary.NativeEndian.Uint64(raw), binary.NativeEndian.Uint64(raw[16:])}
}
