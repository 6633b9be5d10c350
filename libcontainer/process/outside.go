package process

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

// Outside does to process pid what needs the runtime's rights after the last
// fork: resource limits, OOM score and scheduler (SCHED_DEADLINE cannot fork).
// The process must be waiting. Errors carry their entry.
func (p *Plan) Outside(pid int) error {
	for _, step := range []func(int) error{p.setRlimits, p.setOOMScore, p.setScheduler} {
		if err := step(pid); err != nil {
			return err
		}
	}
	return nil
}

// NeedsOutside tells whether Outside does anything.
func (p *Plan) NeedsOutside() bool {
	return p.oomScore != nil && !p.early || p.scheduler != nil ||
		slices.ContainsFunc(p.rlimits, func(r rlimit) bool { return r.by == byRuntime })
}

func (p *Plan) setRlimits(pid int) error {
	for _, r := range p.rlimits {
		if r.by != byRuntime {
			continue
		}
		err := unix.Prlimit(pid, r.resource, &unix.Rlimit{Cur: r.soft, Max: r.hard}, nil)
		if err != nil {
			return outsideError(err, "prlimit", r.String(), r.field)
		}
	}
	return nil
}

func (p *Plan) setOOMScore(pid int) error {
	if p.oomScore == nil || p.early {
		return nil
	}
	// The kernel takes the value from one write; no truncation, no creation.
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid), os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(strconv.Itoa(*p.oomScore))
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return outsideError(err, "oom_score_adj", strconv.Itoa(*p.oomScore), "/process/oomScoreAdj")
	}
	return nil
}

func (p *Plan) setScheduler(pid int) error {
	if p.scheduler == nil {
		return nil
	}
	if err := unix.SchedSetAttr(pid, p.scheduler, 0); err != nil {
		return outsideError(err, "sched_setattr", p.schedText, "/process/scheduler")
	}
	return nil
}

func outsideError(err error, op, path string, field fault.Pointer) error {
	e := fault.From(err, op, path)
	e.Hint = hint(op, e.Errno)
	return e.For(field).In(fault.PhaseProcess)
}
