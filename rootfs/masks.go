package rootfs

import (
	"strings"

	"berth/libcontainer/fault"
)

// planMasks hides and protects paths. They come last, so that what the config
// mounts is masked too.
func (p *planner) planMasks() {
	if p.spec.Linux == nil {
		return
	}
	for i, name := range p.spec.Linux.ReadonlyPaths {
		field := fault.Pointer("/linux/readonlyPaths").Index(i)
		if p.text(field, "readonly", name) {
			p.add(&ReadonlyPath{Base{"readonly", field}, inside(name)})
		}
	}
	for i, name := range p.spec.Linux.MaskedPaths {
		field := fault.Pointer("/linux/maskedPaths").Index(i)
		if p.text(field, "mask", name) {
			p.add(&Mask{Base{"mask", field}, inside(name)})
		}
	}
}

// masksBelow tells whether a masked or read-only path is below dir.
func (p *Plan) masksBelow(dir string) bool {
	for _, op := range p.Ops {
		switch op := op.(type) {
		case *Mask:
			if strings.HasPrefix(op.Path, dir+"/") {
				return true
			}
		case *ReadonlyPath:
			if strings.HasPrefix(op.Path, dir+"/") {
				return true
			}
		}
	}
	return false
}

func (p *Plan) masks() bool {
	for _, op := range p.Ops {
		if _, ok := op.(*Mask); ok {
			return true
		}
	}
	return false
}

// likelyDir guesses whether a masked path is a directory. A wrong guess costs
// a few steps and nothing else.
func likelyDir(name string) bool {
	switch name {
	case "/proc/acpi", "/proc/asound", "/proc/scsi", "/proc/bus", "/proc/fs", "/proc/irq":
		return true
	}
	return strings.HasPrefix(name, "/sys/")
}
