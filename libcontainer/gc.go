package libcontainer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

// What Collect does with a thing.
const (
	Removed  = "removed"
	ToRemove = "to remove" // by a dry run
	Kept     = "kept"
	Failed   = "failed"
)

// Finding is one thing that Collect has looked at.
type Finding struct {
	Action    string `json:"action"`
	Kind      string `json:"kind"` // "state directory", "cgroup", "scope", "resctrl group", "mount"
	Name      string `json:"name"` // path, or name of the unit
	Container string `json:"container,omitempty"`
	Why       string `json:"why"`
	Error     string `json:"error,omitempty"` // why it could not be removed
}

// Collect removes what containers below the state root have left that nobody
// will delete: those of a runtime that was killed while it created them, and
// those of another boot. What else is in the root is kept and said why. Nothing
// is removed that no record names, and a container whose lock somebody has is
// let alone. The error tells of each that could not be removed.
//
// dry says what would be removed, and removes nothing. warn is told what is no
// failure, such as a poststop hook's, and may be nil.
func Collect(root string, dry bool, warn func(*fault.Error)) ([]Finding, error) {
	entries, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, noAccess(fault.From(err, "read", root))
	}
	var out []Finding
	var failed fault.List
	for _, e := range entries {
		if e.Name() == seccompCache {
			continue
		}
		found, err := collect(root, e.Name(), dry, warn)
		if err != nil {
			failed = append(failed, fault.From(err, "container", e.Name()))
		}
		out = append(out, found...)
	}
	return out, failed.Err()
}

// collect is Collect for one entry of the state root.
func collect(root, name string, dry bool, warn func(*fault.Error)) ([]Finding, error) {
	kept := Finding{Action: Kept, Kind: "state directory", Name: filepath.Join(root, name), Container: name}
	c, err := find(root, name)
	if err != nil {
		kept.Container, kept.Why = "", "is no container's: "+err.Error()
		return []Finding{kept}, nil
	}
	c.Warn = warn
	defer c.Unlock()
	e := c.examine()
	if e.gone {
		return nil, nil
	}
	take, why := e.judge()
	kept.Why = why
	if !take {
		return []Finding{kept}, nil
	}
	out := c.things(why)
	if !dry {
		err = c.discard(e.recordless)
	}
	for i := range out {
		switch {
		case dry:
			out[i].Action = ToRemove
		case err != nil:
			out[i].Action, out[i].Error = Failed, err.Error()
		default:
			out[i].Action = Removed
		}
	}
	return out, err
}

// entry is what is known of an entry of the state root.
type entry struct {
	gone       bool  // meanwhile
	busy       bool  // somebody has the lock
	recordless bool  // no state.json
	damaged    error // it cannot be believed
	rebooted   bool  // of another boot
	creating   bool  // its record is of a creation that has not ended
	processes  int   // in its groups, of one that is creating
	status     specs.ContainerState
	pid        int
}

// examine looks at a container, and keeps its lock where it gets it.
func (c *Container) examine() entry {
	err := c.lock(false)
	switch {
	case errors.Is(err, ErrNotExist):
		return entry{gone: true}
	case errors.Is(err, unix.EWOULDBLOCK):
		return entry{busy: true}
	case err != nil:
		return entry{damaged: err}
	}
	err = c.readRecord()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return entry{recordless: true}
	case err != nil:
		return entry{damaged: err}
	}
	e := entry{rebooted: c.rebooted, creating: c.record.PID == 0, status: c.status(), pid: c.record.PID}
	if e.creating {
		pids, err := c.group().Procs()
		e.processes, e.damaged = len(pids), err
	}
	return e
}

// judge decides whether an entry is to be removed, and says why or why not. It
// is called with the container's lock, unless somebody else has that.
func (e entry) judge() (take bool, why string) {
	switch {
	case e.busy:
		return false, "a runtime is at work with it"
	case e.damaged != nil:
		return false, e.damaged.Error()
	case e.recordless:
		return true, "a runtime was killed before it had made anything for the container"
	case e.rebooted:
		return true, "the container is of another boot of the machine"
	case e.creating && e.processes > 0:
		return false, fmt.Sprintf("a runtime was killed while it created the container, but %d process(es) are in its group; "+
			"delete --force kills them", e.processes)
	case e.creating:
		return true, "a runtime was killed while it created the container"
	case e.status == specs.StateStopped:
		return false, "the container has ended, and is for whoever created it to delete (all of them: delete --all-stopped)"
	}
	return false, fmt.Sprintf("the container is %s, its init is process %d", e.status, e.pid)
}

// things lists what there is of a container now, the state directory last.
func (c *Container) things(why string) []Finding {
	var out []Finding
	add := func(kind, name string) {
		out = append(out, Finding{Kind: kind, Name: name, Container: c.ID, Why: why})
	}
	there := func(kind string, paths ...string) {
		for _, p := range paths {
			if unix.Access(p, unix.F_OK) == nil {
				add(kind, p)
			}
		}
	}
	r := c.record
	if r.Cgroup.Unit != "" && c.group().Exists() {
		add("scope", r.Cgroup.Unit)
	}
	for _, d := range r.Cgroup.Dirs {
		there("cgroup", d.Path)
	}
	there("cgroup", r.Cgroup.Above...)
	there("resctrl group", r.Resctrl.Remove...)
	if r.HostMount != 0 {
		if now, err := mountID(r.Rootfs); err == nil && now != r.HostMount {
			add("mount", r.Rootfs)
		}
	}
	add("state directory", c.dir)
	return out
}

// discard takes back what there is of a locked container that is not alive.
func (c *Container) discard(recordless bool) error {
	if recordless {
		return removeState(c.dir)
	}
	return c.Delete(false)
}
