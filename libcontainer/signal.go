package libcontainer

import (
	"errors"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

// Kill sends a signal to the container's init; with all, to every process of
// the container. A container that does not run is an error ("container not
// running"), which all passes over, as managers expect.
func (c *Container) Kill(signal unix.Signal, all bool) error {
	switch c.status() {
	case specs.StateCreated, specs.StateRunning, StatusPaused:
	case specs.StateStopped:
		if all {
			return c.killRest(signal)
		}
		return errNotRunning(c.ID)
	default: // creating
		if all {
			return nil
		}
		return errNotRunning(c.ID)
	}
	// Without its own pid namespace the container's processes outlive init.
	if (all || signal == unix.SIGKILL && !c.record.OwnPIDs) && c.group().Exists() {
		return c.killRest(signal)
	}
	return c.signalInit(signal)
}

func (c *Container) signalInit(signal unix.Signal) error {
	fd, err := unix.PidfdOpen(c.record.PID, 0)
	if err != nil {
		return errNotRunning(c.ID)
	}
	defer unix.Close(fd)
	// The pid may have been reused before the descriptor was open.
	if !c.alive() {
		return errNotRunning(c.ID)
	}
	err = unix.PidfdSendSignal(fd, signal, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return errNotRunning(c.ID)
	}
	if err != nil {
		return fault.From(err, "kill", c.ID).In(fault.PhaseSignal)
	}
	// A frozen process of cgroup v1 dies only once it is thawed.
	if signal == unix.SIGKILL {
		if frozen, err := c.group().Frozen(); err == nil && frozen {
			return c.group().Freeze(false)
		}
	}
	return nil
}

// killRest signals every process in the container's group.
func (c *Container) killRest(signal unix.Signal) error {
	group := c.group()
	if signal == unix.SIGKILL {
		return group.Kill()
	}
	pids, err := group.Procs()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if err := unix.Kill(pid, signal); err != nil && !errors.Is(err, unix.ESRCH) {
			return fault.From(err, "kill", c.ID).In(fault.PhaseSignal)
		}
	}
	return nil
}
