package libcontainer

import (
	"github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/fault"
)

// Pause stops all processes of a created or running container, and returns
// when they have stopped; where they do not, they go on. c must be locked.
func (c *Container) Pause() error {
	switch c.status() {
	case specs.StateCreated, specs.StateRunning:
	case StatusPaused:
		e := fault.From(errNotRunning(c.ID), "", "")
		e.Hint = "it is paused already"
		return e
	default:
		return errNotRunning(c.ID)
	}
	if len(c.record.Cgroup.Dirs) == 0 {
		return errNoGroup("pause", c.ID)
	}
	return c.group().Freeze(true)
}

// Resume lets a paused container go on. c must be locked.
func (c *Container) Resume() error {
	if c.status() != StatusPaused {
		return &fault.Error{Op: "container", Path: c.ID, Msg: "container not paused", Phase: fault.PhaseState, Code: "not-paused"}
	}
	return c.group().Freeze(false)
}

// Processes lists the processes of the container by their pids as the runtime
// sees them, in rising order. A container that has ended has none, but for
// those that outlived its init.
func (c *Container) Processes() ([]int, error) {
	if len(c.record.Cgroup.Dirs) == 0 {
		return nil, errNoGroup("ps", c.ID)
	}
	return c.group().Procs()
}
