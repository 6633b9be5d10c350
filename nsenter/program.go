// Package nsenter runs programs of system calls inside a container.
//
// A Program is a straight line of Steps, compiled by the packages that know
// what a container needs. Start makes a child of this very binary; its C
// preamble (nsenter.c) receives the program before the Go runtime would start,
// walks it step by step and ends in execve. The runtime's side of that
// conversation is Child.
package nsenter

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

// Call is what a step does: a system call number of this architecture, or one
// of the composite steps.
type Call uint32

// Composite steps, as in step.h.
const (
	Sync     Call = 0x10000 + iota // (id): tell the runtime, wait for its go
	Fork                           // (): the child goes on as init
	SendFD                         // (id, fd): hand a descriptor to the runtime
	Make                           // (root, path, mode, type, like): open, make what is missing
	Check                          // (fd, type, rdev, fs magic, inode): it is what it must be
	Inside                         // (): the working directory is inside the root
	Find                           // (candidates, count): the first executable one
	Store                          // (data, register): a register into data
	Report                         // (fd): failures go there from now on
	LikeMode                       // (mount, like): the mount's root gets the mode of like
)

// Reg is a register of the walker. It holds a descriptor or an address.
// Registers 1..n are the descriptors that come with the program; 0 is none.
type Reg uint16

func (r Reg) String() string { return fmt.Sprintf("r%d", uint16(r)) }

// SyncID names a point at which the walker waits for the runtime.
type SyncID uint32

// The points of the conversation, in the order in which they can come.
const (
	SyncMaps     SyncID = iota + 1 // user namespace made: write the id maps
	SyncOffsets                    // time namespace made: write its offsets
	SyncGroup                      // forked, cgroup namespace still to be made: move the process into its group
	SyncHooks                      // namespaces and mounts made, before the pivot: move network devices, run hooks
	SyncLimits                     // the next steps give up rights: limits of init and of its group
	SyncReady                      // all done but execve: write the state
	SyncConsole                    // id of the ptmx that SendFD hands over
	SyncListener                   // id of the descriptor of a seccomp filter that notifies
	SyncMount                      // id of a mount that has been attached
)

func (id SyncID) String() string {
	names := [...]string{"?", "maps", "offsets", "group", "hooks", "limits", "ready", "console", "listener", "mount"}
	if int(id) < len(names) {
		return names[id]
	}
	return fmt.Sprintf("sync%d", uint32(id))
}

// Arg is one argument of a step: a number, a place in the program's data, or a
// register.
type Arg struct {
	kind argKind
	reg  Reg
	num  uint64 // number, or offset into data
	// text is how the argument is printed, made only when it is; nil is the
	// number in decimal.
	text fmt.Stringer
}

type argKind uint8

const (
	number argKind = iota
	inData
	inRegister
)

// Reg returns the register that the argument names, or 0.
func (a Arg) Reg() Reg { return a.reg }

// Number returns the argument's number where it is one.
func (a Arg) Number() (uint64, bool) { return a.num, a.kind == number }

// Text returns the string that the argument points to, and whether it points
// to one.
func (a Arg) Text() (string, bool) {
	s, ok := a.text.(str)
	return string(s), ok
}

func (a Arg) isString() bool {
	_, ok := a.Text()
	return ok
}

// Origin says who asked for a step, for messages.
type Origin struct {
	Field fault.Pointer // the config.json entry
	Op    string        // "mount", "mknod"
	Path  string        // as the user knows it
	Phase fault.Phase
}

// Step is one system call or composite.
type Step struct {
	Call   Call
	Args   []Arg
	Result Reg          // receives the call's result; 0: dropped
	Accept []unix.Errno // errnos that are no failure (at most four)
	Origin Origin

	onAccept, onSuccess *Label
	skipAccept          int // steps skipped after an accepted errno
	skipSuccess         int // steps skipped after success
}

// Program is a compiled program: what the walker executes.
type Program struct {
	Steps []Step
	// Received is how many descriptors the program expects, in registers
	// 1..Received.
	Received int
	// RootAt is the index of the first step at which the container's root is
	// open; from there on no step follows a path outside openat2.
	RootAt int

	data   []byte
	relocs []relocation
}

type relocation struct{ at, to uint32 }

// Syncs returns the points of the conversation in the program's order.
func (p *Program) Syncs() []SyncID {
	var ids []SyncID
	for _, s := range p.Steps {
		if s.Call == Sync {
			ids = append(ids, SyncID(s.Args[0].num))
		}
	}
	return ids
}

// String is the program's text: one step a line, with the config.json entry
// that asked for it behind '#'.
func (p *Program) String() string {
	var b strings.Builder
	for i := range p.Steps {
		b.WriteString(p.Line(i))
		b.WriteByte('\n')
	}
	return b.String()
}

// Line is the text of step i, such as
//
//	12 r4 = fsopen("proc", FSOPEN_CLOEXEC)  # /mounts/0
func (p *Program) Line(i int) string {
	s := &p.Steps[i]
	var b strings.Builder
	fmt.Fprintf(&b, "%3d ", i)
	if s.Result != 0 {
		fmt.Fprintf(&b, "%s = ", s.Result)
	}
	b.WriteString(s.String())
	if len(s.Accept) > 0 {
		fmt.Fprintf(&b, " or %s", errnoNames(s.Accept))
		if s.skipAccept > 0 {
			fmt.Fprintf(&b, " -> %d", i+1+s.skipAccept)
		}
	}
	if s.skipSuccess > 0 {
		fmt.Fprintf(&b, " then -> %d", i+1+s.skipSuccess)
	}
	if s.Origin.Field != "" {
		b.WriteString("  # " + fault.OneLine(string(s.Origin.Field)))
	}
	return b.String()
}

// String is the call as strace would print it.
func (s *Step) String() string {
	args := make([]string, len(s.Args))
	for i, a := range s.Args {
		args[i] = a.String()
	}
	return s.Call.String() + "(" + strings.Join(args, ", ") + ")"
}

// String is the argument as strace would print it, registers as r1, r2 ….
func (a Arg) String() string {
	switch {
	case a.kind == inRegister:
		return a.reg.String()
	case a.text != nil:
		return a.text.String()
	}
	return fmt.Sprint(a.num)
}

func errnoNames(errnos []unix.Errno) string {
	names := make([]string, len(errnos))
	for i, e := range errnos {
		names[i] = unix.ErrnoName(e)
	}
	return strings.Join(names, "|")
}

// First is the number that is the step's first argument.
func (s *Step) First() (uint64, bool) {
	if len(s.Args) == 0 {
		return 0, false
	}
	return s.Args[0].Number()
}
