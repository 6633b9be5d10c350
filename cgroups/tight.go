package cgroups

import (
	"strconv"
	"strings"
	"time"

	"berth/libcontainer/fault"
)

// tight is what every container can be made with, in bytes. A lower limit of
// memory is set when init has nothing left to do but to execute its program:
// only then is it known what is in use, and with that the lowest limit that
// works. One that the kernel enforced before would kill init somewhere.
const tight = 8 << 20

// varies is by how many bytes one start may need more than another: page tables
// of the memory that execve gives up stay charged for the processor that it runs
// on (mm/memcontrol.c, refill_stock), and the program may go on on another one.
const varies = 64 << 10

// The limits of memory, and what is told and set in their groups.
const (
	memoryMax   = "memory.max"
	memoryV1    = "memory.limit_in_bytes"
	memoryMemsw = "memory.memsw.limit_in_bytes"
)

// tightMemory has a tight limit wait. Until then what holds is the lowest that
// is not tight.
func (r *Resources) tightMemory() {
	at := -1
	for i, w := range r.Writes {
		if w.File == memoryMax || w.File == memoryV1 {
			at = i // of several the last one counts
		}
	}
	if at < 0 {
		return
	}
	last := r.Writes[at]
	if n, err := strconv.ParseUint(last.Value, 10, 64); err != nil || n >= tight {
		return
	}
	takeFile(&r.Writes, last.File)
	r.Writes = append(r.Writes, Write{Dir: last.Dir, File: last.File, Value: strconv.Itoa(tight), Field: last.Field})
	last.Room = true
	// Memory and swap together are never less than memory alone.
	r.Late = append(append(r.Late, last), takeFile(&r.Writes, memoryMemsw)...)
}

// Tight tells whether the limit of memory is so low that init must be charged for each of its pages, so that it enters the
// group itself.
func (p *Plan) Tight() bool { return len(p.Resources.Late) > 0 }

// Room refuses where a tight limit of memory leaves less than need, in bytes,
// for one more process beside what the container uses: the kernel would kill
// that process or, more likely, init.
func (g *Group) Room(need uint64) error {
	d, ok := g.State().find("memory")
	if !ok {
		return nil
	}
	w := Write{Dir: d.Path, File: memoryV1, Field: resourcesField.At("memory", "limit"), Room: true}
	if d.V2 {
		w.File = memoryMax
	}
	limit, err := readFile(w.Dir, w.File)
	w.Value = strings.TrimSpace(limit)
	if n, bad := strconv.ParseUint(w.Value, 10, 64); err != nil || bad != nil || n >= tight {
		return nil
	}
	return checkRoom(w, need, "for one more process in the container")
}

// OutOfMemory is the limit of memory at which the kernel has killed processes
// of the group, as it is in the group's file; "" where it has not.
func (g *Group) OutOfMemory() string {
	d, ok := g.State().find("memory")
	if !ok {
		return ""
	}
	events, limit := "memory.oom_control", memoryV1
	if d.V2 {
		events, limit = "memory.events", memoryMax
	}
	text, err := readFile(d.Path, events)
	for line := range strings.Lines(text) {
		if n, ok := strings.CutPrefix(line, "oom_kill "); ok && err == nil && strings.TrimSpace(n) != "0" {
			at, _ := readFile(d.Path, limit)
			return strings.TrimSpace(at)
		}
	}
	return ""
}

// checkRoom refuses a tight limit that is below what is in use and room. what
// says what for.
func checkRoom(w Write, room uint64, what string) error {
	limit, err := strconv.ParseUint(w.Value, 10, 64)
	if !w.Room || err != nil {
		return nil
	}
	used, known := settled(w, limit-min(limit, room))
	if !known || used+room <= limit {
		return nil
	}
	return &fault.Error{
		Op: "write", Path: w.Dir + "/" + w.File, Field: w.Field, Phase: fault.PhaseCgroup, Code: "memory-limit",
		Msg:  "a limit of " + w.Value + " is too low " + what,
		Hint: "the lowest that works is " + strconv.FormatUint(wholePages(used+room+varies), 10),
	}
}

func wholePages(n uint64) uint64 { return (n + 4095) &^ 4095 }

// settled is how many bytes are in use in the group of the limit w, without
// what the kernel can reclaim or has charged beforehand for each processor (up
// to 64 pages): it is asked to give that back until no more than goal is in
// use or nothing more comes.
func settled(w Write, goal uint64) (used uint64, known bool) {
	const tries, pause = 25, 2 * time.Millisecond
	usage, squeeze, value := "memory.usage_in_bytes", "memory.force_empty", "0"
	if w.File == memoryMax {
		usage, squeeze, value = "memory.current", "memory.high", strconv.FormatUint(goal, 10)
		if high, err := readFile(w.Dir, squeeze); err == nil {
			defer writeFile(w.Dir, squeeze, strings.TrimSpace(high))
		}
	}
	for range tries {
		text, err := readFile(w.Dir, usage)
		if err != nil {
			return 0, false
		}
		if used, err = strconv.ParseUint(strings.TrimSpace(text), 10, 64); err != nil || used <= goal {
			return used, err == nil
		}
		_ = writeFile(w.Dir, squeeze, value)
		time.Sleep(pause) // each processor gives back when it comes to it
	}
	return used, true
}
