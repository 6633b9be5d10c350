package nsenter

import (
	"strings"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

// ReportSize is the size of the one record that a failing step leaves behind
// after ReportTo.
const ReportSize = messageSize

// ReadReport decodes such a record: the step and its errno.
func ReadReport(raw []byte) (step uint32, errno unix.Errno, ok bool) {
	if len(raw) != messageSize {
		return 0, 0, false
	}
	m := decodeMessage(raw)
	return m.id, unix.Errno(m.value), m.kind == messageFailed
}

// kernelText is the message of a mount context ("e proc: Unknown parameter
// 'x'"), without its level.
func kernelText(s string) string {
	s = strings.TrimRight(s, "\n\x00")
	if len(s) > 2 && strings.ContainsRune("ewi", rune(s[0])) && s[1] == ' ' {
		s = s[2:]
	}
	return s
}

// Tail is what a record needs to be explained when the program itself is gone:
// the steps that may still fail after the runtime has left.
type Tail struct {
	First uint32     `json:"first"` // index of Steps[0] in the program
	Steps []TailStep `json:"steps"`
}

// TailStep is a Step without its arguments.
type TailStep struct {
	Call   Call   `json:"call"`
	Origin Origin `json:"origin"`
}

// After is the program's tail behind the synchronisation id.
func (p *Program) After(id SyncID) *Tail {
	for i, s := range p.Steps {
		if s.Call != Sync || SyncID(s.Args[0].num) != id {
			continue
		}
		t := &Tail{First: uint32(i + 1)}
		for _, s := range p.Steps[i+1:] {
			t.Steps = append(t.Steps, TailStep{s.Call, s.Origin})
		}
		return t
	}
	return nil
}

// Failure is Program.Failure for a step of the tail.
func (t *Tail) Failure(step uint32, errno unix.Errno) *fault.Error {
	p := Program{Steps: make([]Step, len(t.Steps))}
	for i, s := range t.Steps {
		p.Steps[i] = Step{Call: s.Call, Origin: s.Origin}
	}
	return p.Failure(step-t.First, errno, "")
}
