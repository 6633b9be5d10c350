package libcontainer

import (
	"encoding/json"
	"errors"
	"io/fs"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/cgroups"
	"berth/libcontainer/bundle"
	"berth/libcontainer/fault"
	"berth/libcontainer/host"
)

// Change is what update is asked for. Errors about it point to the entries of
// config.json that are of the same meaning.
type Change struct {
	Resources *specs.LinuxResources // device rules are passed over
	Rdt       *specs.LinuxIntelRdt  // of which the schemata are; may be nil
}

// Update changes the limits of a container that has not ended. What the change
// leaves out stays as it is; after an error everything does. c must be locked.
func (c *Container) Update(change Change) (err error) {
	switch c.status() {
	case specs.StateCreated, specs.StateRunning, StatusPaused:
	default:
		return errNotRunning(c.ID)
	}
	now, err := c.resources()
	if err != nil {
		return err
	}
	facts := host.Probe()
	plan, merged, complaints := cgroups.PlanUpdate(now, change.Resources, c.record.Cgroup, facts)
	if len(complaints) > 0 {
		if len(c.record.Cgroup.Dirs) == 0 {
			return errNoGroup("update", c.ID)
		}
		return complaints
	}
	for _, w := range plan.Warnings {
		c.warn(w)
	}
	var undo fault.Undo
	defer func() { err = undo.OnError(err) }()
	if change.Rdt != nil {
		back, err := c.record.Resctrl.SetSchemata(change.Rdt, facts)
		undo.Add(back)
		if err != nil {
			return err
		}
	}
	todo, back, err := c.group().Changes(plan)
	if err != nil {
		return err
	}
	undo.Add(func() error { return c.group().Set(back) })
	if err := c.group().Set(todo); err != nil {
		return err
	}
	return c.saveResources(merged)
}

// resources are the limits that hold: those of the last update, else of
// config.json.
func (c *Container) resources() (*specs.LinuxResources, error) {
	dir, err := c.openDir()
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	raw, err := c.readOwn(dir, resourcesFile)
	if errors.Is(err, fs.ErrNotExist) {
		spec, err := c.spec()
		if err != nil || spec.Linux == nil {
			return nil, err
		}
		return spec.Linux.Resources, nil
	}
	if err != nil {
		return nil, err
	}
	r, complaints := bundle.ParseResources(raw)
	if len(complaints) > 0 {
		return nil, &fault.Error{Op: "read", Path: c.path(resourcesFile), Err: complaints[0], Phase: fault.PhaseState, Hint: hintDamaged}
	}
	return r, nil
}

func (c *Container) saveResources(r *specs.LinuxResources) error {
	raw, err := json.Marshal(r)
	if err != nil {
		return fault.From(err, "write", c.path(resourcesFile)).In(fault.PhaseState)
	}
	return writeAtomic(c.path(resourcesFile), raw)
}
