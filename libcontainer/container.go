// Package libcontainer is the life of a container: it plans from a bundle and
// host facts (NewPlan, Plan.Compile) and makes, starts, signals and deletes
// containers (Container). The states are those of the specification's
// runtime.md.
package libcontainer

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"

	"berth/cgroups"
	"berth/libcontainer/fault"
	"berth/libcontainer/trace"
)

// Container is one container's state directory and what may be done with it.
type Container struct {
	ID     string
	Warn   func(*fault.Error) // told what is no failure; may be nil
	dir    string
	record record
	held   int  // a descriptor of the directory; 0 is none
	locked bool // held has the lock

	rebooted bool // the record is of another boot of the machine
}

// find names the state directory of id, whatever is there.
func find(root, id string) (*Container, error) {
	trace.Phase(fault.PhaseState)
	if err := checkID(id); err != nil {
		return nil, err
	}
	return &Container{ID: id, dir: filepath.Join(root, id)}, nil
}

// Load finds the container id below the state root. The error of a missing one
// says "container does not exist".
func Load(root, id string) (*Container, error) {
	c, err := find(root, id)
	if err != nil {
		return nil, err
	}
	err = c.readRecord()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNotExist(id)
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Acquire is Load, with the container's lock held until Unlock. It waits for
// whoever has it, such as a create that is not done.
func Acquire(root, id string) (*Container, error) {
	c, err := find(root, id)
	if err != nil {
		return nil, err
	}
	if err := c.lock(true); err != nil {
		return nil, err
	}
	err = c.readRecord()
	if err == nil {
		return c, nil
	}
	c.Unlock()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNotExist(id)
	}
	return nil, err
}

// List returns the containers below the state root, in the order of their IDs.
// warn is told what is there and is passed over because it is no container, or
// a damaged one; it may be nil.
func List(root string, warn func(*fault.Error)) ([]*Container, error) {
	entries, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, noAccess(fault.From(err, "read", root))
	}
	var out []*Container
	for _, e := range entries {
		if e.Name() == seccompCache {
			continue
		}
		c, err := Load(root, e.Name())
		if err == nil {
			out = append(out, c)
			continue
		}
		if left := passedOver(root, e.Name(), err); left != nil && warn != nil {
			warn(left)
		}
	}
	return out, nil
}

// passedOver is what to say of an entry of the state root that cannot be
// loaded; nil where it has gone, or is about to become a container.
func passedOver(root, name string, err error) *fault.Error {
	left := fault.From(err, "list", name)
	if !errors.Is(err, ErrNotExist) {
		return left
	}
	c := &Container{ID: name, dir: filepath.Join(root, name)}
	if _, err := os.Lstat(c.dir); err != nil || !c.abandoned() {
		return nil
	}
	return &fault.Error{Op: "list", Path: c.dir, Msg: "has no state.json", Phase: fault.PhaseState,
		Hint: "a runtime that was killed has left it; delete --force removes it"}
}

func (c *Container) group() *cgroups.Group { return cgroups.Open(c.record.Cgroup) }

// ownNamespaces are the container's own, as CLONE_NEW* flags for setns(2) with
// a pidfd of init: the kernel joins them in the order that works.
func (c *Container) ownNamespaces() (flags int) {
	for _, k := range kinds {
		if c.hasOwn(k.proc) {
			flags |= k.flag
		}
	}
	return flags
}

// hasOwn tells whether the container has its own namespace of a kind.
func (c *Container) hasOwn(kind string) bool { return slices.Contains(c.record.Namespaces, kind) }

// Status is the container's state now.
func (c *Container) Status() specs.ContainerState { return c.status() }

// PID is init's in the runtime's pid namespace; 0 while there is none.
func (c *Container) PID() int { return c.record.PID }
