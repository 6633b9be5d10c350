package libcontainer

import (
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/cgroups"
	"berth/libcontainer/fault"
	"berth/libcontainer/host"
	"berth/libcontainer/intelrdt"
)

// Event is one line of events, in the form that managers parse.
type Event struct {
	Type string `json:"type"` // "stats" or "oom"
	ID   string `json:"id"`
	Data *Stats `json:"data,omitempty"` // of "stats"
}

// Stats are what has been counted of a container.
type Stats struct {
	cgroups.Stats
	IntelRdt intelrdt.Stats `json:"intel_rdt"`
	// Network devices are managers' to count: no config.json says which ones
	// are the container's on the host. The name is there because runc has it.
	NetworkInterfaces []struct{} `json:"network_interfaces"`
}

// Stats is one event with what has been counted so far.
func (c *Container) Stats() (Event, error) {
	if err := c.canCount(); err != nil {
		return Event{}, err
	}
	return c.stats(host.Probe().Resctrl), nil
}

func (c *Container) stats(resctrl string) Event {
	return Event{Type: "stats", ID: c.ID, Data: &Stats{Stats: c.group().Stats(), IntelRdt: c.record.Resctrl.Stats(resctrl)}}
}

func (c *Container) canCount() error {
	switch c.status() {
	case specs.StateStopped, specs.StateCreating:
		return errNotRunning(c.ID)
	}
	if len(c.record.Cgroup.Dirs) == 0 {
		return errNoGroup("events", c.ID)
	}
	return nil
}

// Events tells emit what has been counted, at every interval from the first
// one's end on, and whenever the kernel kills for want of memory. It returns
// when the container has ended, or emit's error.
func (c *Container) Events(interval time.Duration, emit func(Event) error) error {
	if err := c.canCount(); err != nil {
		return err
	}
	pidfd, err := c.openInit()
	if err != nil {
		return err
	}
	defer pidfd.Close()
	oom, err := c.group().WatchOOM()
	if err != nil {
		return err
	}
	defer oom.Close()
	w := watcher{c: c, oom: oom, emit: emit, fds: []unix.PollFd{{Fd: int32(pidfd.Fd()), Events: unix.POLLIN}}}
	if oom != nil {
		w.fds = append(w.fds, oom.PollFd())
	}
	return w.run(interval)
}

// watcher is one run of Events: a single poll serves it all.
type watcher struct {
	c    *Container
	oom  *cgroups.OOM
	emit func(Event) error
	fds  []unix.PollFd // of init, and of oom while it is watched
}

func (w *watcher) run(interval time.Duration) error {
	resctrl := host.Probe().Resctrl
	for next := time.Now().Add(interval); ; {
		left := max(time.Until(next), 0)
		// Rounded up: a moment too early would be one round too many.
		_, err := unix.Poll(w.fds, int(min(left.Milliseconds()+1, 1<<30)))
		if err != nil && err != unix.EINTR {
			return fault.From(err, "poll", "").In(fault.PhaseState)
		}
		// Also when init has ended: what it has died of may come with it.
		if err := w.tellOOM(); err != nil {
			return err
		}
		if w.fds[0].Revents != 0 {
			return nil
		}
		if now := time.Now(); !now.Before(next) {
			next = now.Add(interval)
			if err := w.emit(w.c.stats(resctrl)); err != nil {
				return err
			}
		}
	}
}

func (w *watcher) tellOOM() error {
	if len(w.fds) < 2 {
		return nil
	}
	times, gone := w.oom.New()
	if gone {
		w.fds = w.fds[:1]
	}
	for range times {
		if err := w.emit(Event{Type: "oom", ID: w.c.ID}); err != nil {
			return err
		}
	}
	return nil
}
