// Package trace records what a command spends its time on, for --trace: phases without a gap between them, from the start
// of the process to the end of the command, and spans within them. The file has Chrome's trace event format ("Trace Event
// Format", JSON array), which ui.perfetto.dev and chrome://tracing show.
//
// Until Open nothing is recorded: each function is one comparison then, asks for no time and no memory. A process runs one
// command, on its main goroutine, so there is one recorder, and only that goroutine calls these functions.
package trace

import (
	"errors"
	"slices"
	"time"
)

// Event is a stretch of time. Times are nanoseconds since 1970: what other processes and the walker measure fits in.
type Event struct {
	Name       string
	Kind       string // the event's category: "phase" and whatever Begin is called with
	Begin, End int64
	Args       []Arg
}

// Arg is one of an event's arguments, which viewers show when it is selected.
type Arg struct{ Key, Value string }

// Track is what one process did.
type Track struct {
	PID    int
	Name   string
	Events []Event
}

// Span is an event that has not ended; its zero value is none.
type Span struct{ at int }

type recorder struct {
	path   string
	caller []Arg     // the ids of TRACEPARENT
	zero   time.Time // time goes on from here by the monotonic clock
	own    Track
	phase  int   // which of own.Events is the phase that goes on
	open   []int // which are spans that have not ended
	cause  error // what Fail was told
	late   []func() []Track
}

// current is nil unless this command is traced.
var current *recorder

// On tells whether this command is traced.
func On() bool { return current != nil }

// Now is the time on the trace's clock, in nanoseconds since 1970.
func Now() int64 {
	if current != nil {
		return current.now()
	}
	return time.Now().UnixNano()
}

// Open begins to record for the file path, which Close appends to; it is made if need be. What is no trace that can be
// appended to is an error. command is how the process is called in the trace, and caller the value of TRACEPARENT. earlier
// are the phases that are over, the last of which the first new phase follows, or nil.
func Open(path, command, caller string, earlier []Event) error {
	path, err := prepare(path)
	if err != nil {
		return err
	}
	r := &recorder{path: path, caller: parseCaller(caller), zero: time.Now(), own: Track{Name: command}}
	begin := r.now()
	for _, e := range earlier {
		e.Kind = kindPhase
		begin = e.End
		r.own.Events = append(r.own.Events, e)
	}
	r.phase = r.add(Event{Name: "command line", Kind: kindPhase, Begin: begin})
	current = r
	return nil
}

const (
	kindPhase = "phase"
	kindPart  = "part" // of a span
)

// Subject adds to how the process is called in the trace.
func Subject(name string) {
	if current != nil {
		current.own.Name += " " + name
	}
}

// Phase begins the next phase, which ends the one before. Within a span it is a part of that.
func Phase[S ~string](name S) {
	if current != nil {
		current.next(string(name))
	}
}

// Begin begins a span within the phase. kind is its category, and path what it is about, "" if nothing.
func Begin(kind, name, path string) Span {
	if current == nil {
		return Span{}
	}
	return current.begin(kind, name, path)
}

// End ends the span, as failed unless err is nil.
func (s Span) End(err error) {
	if s.at != 0 && current != nil {
		current.end(s, err)
	}
}

// Fail marks the phase as failed, unless err is nil or it has been told of it: what follows is no part of what went wrong.
func Fail(err error) {
	if err != nil && current != nil {
		current.fail(err)
	}
}

// Late has what other processes did asked for when the command ends.
func Late(tracks func() []Track) {
	if current != nil {
		current.late = append(current.late, tracks)
	}
}

// Close ends the recording and writes the file.
func Close() error {
	r := current
	if r == nil {
		return nil
	}
	if len(r.open) > 0 {
		r.end(Span{r.open[0] + 1}, nil)
	}
	r.next("trace")
	current = nil
	return r.write()
}

func (r *recorder) now() int64 { return r.zero.UnixNano() + int64(time.Since(r.zero)) }

func (r *recorder) add(e Event) int {
	r.own.Events = append(r.own.Events, e)
	return len(r.own.Events) - 1
}

func (r *recorder) next(name string) {
	if last := len(r.open) - 1; last >= 0 {
		if at := r.open[last]; r.own.Events[at].Kind == kindPart {
			r.end(Span{at + 1}, nil)
		}
		r.begin(kindPart, name, "")
		return
	}
	if r.own.Events[r.phase].Name == name {
		return
	}
	now := r.now()
	r.own.Events[r.phase].End = now
	r.phase = r.add(Event{Name: name, Kind: kindPhase, Begin: now})
}

func (r *recorder) begin(kind, name, path string) Span {
	e := Event{Name: name, Kind: kind, Begin: r.now()}
	if path != "" {
		e.Args = []Arg{{"path", path}}
	}
	at := r.add(e)
	r.open = append(r.open, at)
	return Span{at + 1}
}

// end ends a span, and what was begun in it and has not ended.
func (r *recorder) end(s Span, err error) {
	at, now := s.at-1, r.now()
	for len(r.open) > 0 && r.open[len(r.open)-1] >= at {
		r.own.Events[r.open[len(r.open)-1]].End = now
		r.open = r.open[:len(r.open)-1]
	}
	if err != nil {
		r.own.Events[at].Fail(err)
	}
}

func (r *recorder) fail(err error) {
	if r.cause != nil && errors.Is(err, r.cause) {
		return
	}
	r.cause = err
	r.own.Events[r.phase].Fail(err)
}

// Fail marks the event as failed.
func (e *Event) Fail(err error) {
	e.Args = append(e.Args, Arg{argError, err.Error()})
}

// argError is the argument that failed events have, and no others.
const argError = "error"

func (e *Event) failed() bool {
	return slices.ContainsFunc(e.Args, func(a Arg) bool { return a.Key == argError })
}
