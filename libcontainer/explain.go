package libcontainer

import (
	"errors"

	"berth/cgroups"
	"berth/libcontainer/fault"
	"berth/rootfs"
)

// explain rewrites the failure of a step for its reader. It may look at the
// host's files, and into the root of process pid, for what the kernel did not
// say.
func (p *Plan) explain(err error, pid int) error {
	var e *fault.Error
	if !errors.As(err, &e) {
		return err
	}
	if text := rootfs.Explain(e.Op, e.Errno); text != "" && e.Phase == fault.PhaseMounts {
		e.Hint = text
	}
	if e.Phase == fault.PhaseCgroup && e.Hint == "" {
		e.Hint = cgroups.Explain(e.Op, e.Path, e.Errno)
	}
	p.Rootfs.Diagnose(e)
	if p.Process == nil {
		return err
	}
	return p.Process.Diagnose(e, pid)
}

// Hints about state directories.
const (
	hintDamaged = "it is not as berth has written it; delete --force removes what is known of the container"
	hintForeign = "berth believes only a state directory that nobody but root and its own user may write to: " +
		"choose another --root, or remove it with delete --force"
)
