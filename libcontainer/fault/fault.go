// Package fault holds the one error type of Berth and the JSON pointer that
// ties an error to the config.json entry that asked for the failing operation.
package fault

import (
	"cmp"
	"errors"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unicode/utf8"
)

// Phase says how far the runtime had come when an operation failed.
type Phase string

// The phases in the order in which a container passes through them.
const (
	PhaseConfig     Phase = "config"     // reading and checking config.json
	PhasePlan       Phase = "plan"       // deciding what to do
	PhaseState      Phase = "state"      // the state directory
	PhaseCgroup     Phase = "cgroup"     // groups, limits, device rules
	PhaseNamespaces Phase = "namespaces" // joining and creating namespaces
	PhaseMounts     Phase = "mounts"     // building the root file system
	PhaseHooks      Phase = "hooks"      // running a hook
	PhaseProcess    Phase = "process"    // the last mile before execve
	PhaseExec       Phase = "exec"       // execve itself
	PhaseSignal     Phase = "signal"     // kill
)

// Note is the code of what is neither a failure nor worth a warning: `plan` and
// --debug tell it.
const Note = "note"

// Error is one failed operation.
//
// Error() prints one line; the JSON log prints every field. Unwrap yields
// Errno, so errors.Is(err, fs.ErrPermission) and errors.Is(err, unix.ENOENT)
// hold, and then Err.
type Error struct {
	Op    string        // what was tried: "mount", "setns", "write", "parse"
	Path  string        // as the user knows it, never /proc/self/fd/13
	Field Pointer       // the config.json entry that asked for it: "/mounts/3/options/1"
	Doc   string        // the document that Field points into, where it is not config.json
	Errno syscall.Errno // 0 where no system call failed
	Msg   string        // the cause where there is no errno, or more about it
	Hint  string        // what to try, where it is known
	Phase Phase
	Code  string // stable name for machines, such as "container-exists"
	Err   error  // a wrapped cause that is not an errno
}

// Error renders "OP PATH: CAUSE (config.json POINTER); HINT", with Doc in the
// place of config.json where it is set.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(printable(e.Op))
	if e.Path != "" {
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(printable(e.Path))
	}
	for _, cause := range e.causes() {
		if b.Len() > 0 {
			b.WriteString(": ")
		}
		b.WriteString(cause)
	}
	if e.Field != "" {
		b.WriteString(" (" + printable(cmp.Or(e.Doc, "config.json")) + " " + printable(string(e.Field)) + ")")
	}
	if e.Hint != "" {
		b.WriteString("; " + e.Hint)
	}
	return b.String()
}

func (e *Error) causes() []string {
	var out []string
	if e.Msg != "" {
		out = append(out, printable(e.Msg))
	}
	if e.Err != nil {
		out = append(out, printable(e.Err.Error()))
	}
	if e.Errno != 0 {
		out = append(out, e.Errno.Error())
	}
	return out
}

// Unwrap returns the causes for errors.Is and errors.As.
func (e *Error) Unwrap() []error {
	var out []error
	if e.Errno != 0 {
		out = append(out, e.Errno)
	}
	if e.Err != nil {
		out = append(out, e.Err)
	}
	return out
}

// List is several complaints at once, in the order in which they were found.
type List []*Error

// Error renders one complaint a line.
func (l List) Error() string {
	lines := make([]string, len(l))
	for i, e := range l {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the complaints for errors.Is and errors.As.
func (l List) Unwrap() []error {
	out := make([]error, len(l))
	for i, e := range l {
		out[i] = e
	}
	return out
}

// Most is how many complaints or warnings are collected: more than anybody reads.
const Most = 100

// Add appends the complaints of more, but for those about an entry that l
// complains about already, as a whole or in part, and up to a hundred in all.
func (l List) Add(more List) List {
	said := l
	for _, e := range more {
		if len(l) >= Most {
			break
		}
		if !slices.ContainsFunc(said, func(s *Error) bool { return e.Field != "" && s.Field.Related(e.Field) }) {
			l = append(l, e)
		}
	}
	return l
}

// Err returns l as an error, or nil where there is no complaint.
func (l List) Err() error {
	switch len(l) {
	case 0:
		return nil
	case 1:
		return l[0]
	}
	return l
}

// Each calls do for every *Error in err.
func Each(err error, do func(*Error)) {
	switch e := err.(type) {
	case nil:
	case *Error:
		do(e)
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			Each(one, do)
		}
	}
}

// From turns err into an *Error about op on path. An err that is an *Error
// already is returned as it is; the errno of a *fs.PathError or
// *os.SyscallError is kept as a number.
func From(err error, op, path string) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	out := &Error{Op: op, Path: path}
	var pe *fs.PathError
	var errno syscall.Errno
	switch {
	case errors.As(err, &pe) && errors.As(pe.Err, &errno):
		out.Errno = errno
		if path == "" {
			out.Path = pe.Path
		}
	case errors.As(err, &errno):
		out.Errno = errno
	default:
		out.Err = err
	}
	return out
}

// In sets the phase where it is not set yet and returns e.
func (e *Error) In(p Phase) *Error {
	if e != nil && e.Phase == "" {
		e.Phase = p
	}
	return e
}

// For sets the config.json entry where it is not set yet and returns e.
func (e *Error) For(p Pointer) *Error {
	if e != nil && e.Field == "" {
		e.Field = p
	}
	return e
}

// printable keeps an image's or user's string from breaking the line it is
// printed on, from being a terminal's command, and from filling the screen.
func printable(s string) string {
	clean := func(r rune) rune {
		if control(r) {
			return '?'
		}
		return r
	}
	return strings.Map(clean, Brief(s))
}

// Brief is as much of s as anybody reads: as a path has at most (PATH_MAX).
func Brief(s string) string {
	const most = 4096
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// control tells the characters that are a terminal's commands or end a line,
// and bytes that are no characters at all.
func control(r rune) bool { return r < 0x20 || r >= 0x7f && r < 0xa0 || r == utf8.RuneError }

// OneLine is s with control characters as escapes, for text that people read
// and that must not lose anything.
func OneLine(s string) string {
	if strings.IndexFunc(s, control) < 0 {
		return s
	}
	var out []byte
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		if control(r) {
			quoted := strconv.Quote(s[:n])
			out = append(out, quoted[1:len(quoted)-1]...)
		} else {
			out = append(out, s[:n]...)
		}
		s = s[n:]
	}
	return string(out)
}
