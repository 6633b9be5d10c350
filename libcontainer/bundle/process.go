package bundle

import (
	"path/filepath"
	"syscall"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/fault"
)

// LoadProcess reads a file with what config.json has as its "process", as it
// is given to exec. Errors are those of Load; what they point to is below
// /process.
func LoadProcess(path string) (*specs.Process, error) {
	var p specs.Process
	if err := loadPart(path, "process", processHint, func(d *decoder) { readProcess(d, &p) }); err != nil {
		return nil, err
	}
	return &p, nil
}

// LoadMounts reads a file with an array as config.json has it as its "mounts",
// as it is given to mounts add. Errors are those of Load; what they point to is
// below /mounts.
func LoadMounts(path string) (mounts []specs.Mount, err error) {
	return mounts, loadPart(path, "mounts", mountsHint, func(d *decoder) { readList(d, &mounts, readMount) })
}

// loadPart reads a file with what config.json has under key.
func loadPart(path, key string, hint func(op string, errno syscall.Errno) string, read func(*decoder)) error {
	abs, err := filepath.Abs(path)
	if err != nil {
		return fault.From(err, "find", path).In(fault.PhaseConfig)
	}
	raw, e := readRegular(abs)
	if e != nil {
		e.Hint = hint(e.Op, e.Errno)
		return e
	}
	d := newDecoder(unsafe.String(unsafe.SliceData(raw), len(raw)))
	d.trail.enter(key)
	d.document(func() { read(d) })
	return located(d.bad, abs).Err()
}

// CheckProcess holds spec.Process, which joins a container, to the rules for a
// process; the rest of spec is what it joins.
func CheckProcess(spec *specs.Spec) fault.List {
	c := &checker{spec: spec, ns: namespacesOf(spec)}
	c.within("process", func() { c.process(spec.Process) })
	return c.list
}

// CheckMounts holds spec.Mounts, which are added to a container, to the rules
// for mounts; the rest of spec is what they are added to.
func CheckMounts(spec *specs.Spec) fault.List {
	c := &checker{spec: spec, ns: namespacesOf(spec)}
	c.mounts(spec.Mounts)
	return c.list
}
