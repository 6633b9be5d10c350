package libcontainer

import (
	"errors"

	"berth/libcontainer/fault"
	"berth/rootfs"
)

// explain rewrites the failure of a step for its reader. It may look at the
// host's files for what the kernel did not say.
func (p *Plan) explain(err error) error {
	var e *fault.Error
	if !errors.As(err, &e) {
		return err
	}
	if text := rootfs.Explain(e.Op, e.Errno); text != "" && e.Phase == fault.PhaseMounts {
		e.Hint = text
	}
	p.Rootfs.Diagnose(e)
	if p.Process == nil {
		return err
	}
	return p.Process.Explain(e)
}
