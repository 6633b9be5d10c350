package nsenter

// #include "birth.h"
import "C"

import (
	"os"
	"strconv"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/libcontainer/trace"
)

// Begun are the phases of this process until now, before which nothing can be recorded; nil unless the command line has
// --trace. How long the kernel has worked on execve is known only as the processor time of the process, which has in it
// what it did between fork and execve.
func Begun() []trace.Event {
	start := &C.nsenter_start
	if start.begun == 0 {
		return nil
	}
	begun, born := int64(start.begun), int64(start.born)
	phases := []trace.Event{{Name: "execve", Begin: begun - int64(start.used), End: begun,
		Args: []trace.Arg{{Key: "note", Value: "processor time since fork"}}}}
	if born != begun {
		phases = append(phases, trace.Event{Name: "early preamble", Begin: begun, End: born})
	}
	return append(phases, trace.Event{Name: "Go runtime", Begin: born, End: trace.Now()})
}

// times is when a traced child began each step of its program.
type times struct {
	child *Child
	began []int64 // shared with the walker; 0: not begun
	sent  int64   // when it was about to get the program
	ended int64   // when it had executed something, or failed; 0: not yet
	err   error   // what it failed with
}

// timeSteps makes the memory for the times of p's steps, which the child gets with the program. The descriptor is the
// caller's.
func (c *Child) timeSteps(p *Program) (*os.File, error) {
	fd, err := unix.MemfdCreate("berth-times", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fault.From(err, "memfd_create", "berth-times")
	}
	memory := os.NewFile(uintptr(fd), "berth-times")
	size := 8 * len(p.Steps)
	err = unix.Ftruncate(fd, int64(size))
	var raw []byte
	if err == nil {
		raw, err = unix.Mmap(fd, 0, size, unix.PROT_READ, unix.MAP_SHARED)
	}
	if err != nil {
		memory.Close()
		return nil, fault.From(err, "mmap", "berth-times")
	}
	c.times = &times{child: c, began: unsafe.Slice((*int64)(unsafe.Pointer(&raw[0])), len(p.Steps)), sent: trace.Now()}
	trace.Late(c.times.tracks)
	return memory, nil
}

// end is called when the walker is known to walk no more.
func (t *times) end(err error) {
	if t != nil && t.ended == 0 {
		t.ended, t.err = trace.Now(), err
	}
}

// lap is one step that was walked.
type lap struct {
	*Step
	at         int
	begin, end int64
}

func (t *times) laps() (laps []lap) {
	for i := range t.began {
		if begin := atomic.LoadInt64(&t.began[i]); begin != 0 {
			laps = append(laps, lap{Step: &t.child.program.Steps[i], at: i, begin: begin, end: begin})
		}
	}
	for i := range laps {
		switch {
		case i+1 < len(laps):
			laps[i].end = laps[i+1].begin
		case t.ended != 0:
			laps[i].end = t.ended
		default: // such as the wait for start
			laps[i].end = trace.Now()
		}
	}
	return laps
}

// tracks are what the child did, and what the process did that it may have forked.
func (t *times) tracks() []trace.Track {
	laps := t.laps()
	if len(laps) == 0 {
		return nil
	}
	forked := len(laps)
	for i, l := range laps {
		if l.Call == Fork && t.child.init != 0 {
			forked = i + 1
		}
	}
	first := trace.Track{PID: t.child.PID, Name: "walker", Events: events(laps[:forked])}
	first.Events = append(first.Events, trace.Event{Name: "receive", Kind: kindWalk, Begin: t.sent, End: laps[0].begin})
	tracks := []trace.Track{first}
	if forked < len(laps) {
		tracks = append(tracks, trace.Track{PID: t.child.init, Name: "walker, forked", Events: events(laps[forked:])})
	}
	if t.err != nil {
		last := tracks[len(tracks)-1].Events
		for i := range last {
			if last[i].End == t.ended {
				last[i].Fail(t.err)
			}
		}
	}
	return tracks
}

// The categories of the walker's events, from the outside in.
const (
	kindWalk      = "walk"      // steps of one phase
	kindOperation = "operation" // steps of one operation, such as a mount
	kindStep      = "step"
)

// events are in the order in which they begin, those within another behind it.
func events(laps []lap) (out []trace.Event) {
	walk := group{kind: kindWalk, at: none}
	operation := group{kind: kindOperation, at: none}
	for _, l := range laps {
		if walk.joins(&out, l, l.phase()) {
			operation.at = none
		}
		if operation.joins(&out, l, l.operation()) && l.Origin.Field != "" {
			out[operation.at].Args = []trace.Arg{{Key: "field", Value: string(l.Origin.Field)}}
		}
		out = append(out, trace.Event{Name: l.Call.String(), Kind: kindStep, Begin: l.begin, End: l.end,
			Args: []trace.Arg{{Key: "step", Value: strconv.Itoa(l.at)}}})
	}
	return out
}

// group is an event that neighbours of one name make.
type group struct {
	kind string
	at   int // in the events, or none
}

const none = -1

// joins makes the step a part of the group, or else begins another one and returns true.
func (g *group) joins(events *[]trace.Event, l lap, name string) (begun bool) {
	if g.at != none && (*events)[g.at].Name == name {
		(*events)[g.at].End = l.end
		return false
	}
	g.at = len(*events)
	*events = append(*events, trace.Event{Name: name, Kind: g.kind, Begin: l.begin, End: l.end})
	return true
}

// phase is what the walker is at with the step.
func (s *Step) phase() string {
	if s.Call == Sync {
		return "wait"
	}
	return string(s.Origin.Phase)
}

// operation is what the step is a part of. A filter may forbid to ask for the time, so it is the last one that is known.
func (s *Step) operation() string {
	switch {
	case s.Call == Sync:
		id, _ := s.First()
		return "wait: " + SyncID(id).String()
	case s.Call == unix.SYS_SECCOMP:
		return "seccomp, and what follows"
	case s.Origin.Path != "":
		return s.Origin.Op + " " + s.Origin.Path
	case s.Origin.Op != "":
		return s.Origin.Op
	}
	return s.Call.String()
}
