package bundle

import (
	"path/filepath"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/fault"
)

// LoadProcess reads a file with what config.json has as its "process", as it
// is given to exec. Errors are those of Load; what they point to is below
// /process.
func LoadProcess(path string) (*specs.Process, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fault.From(err, "find", path).In(fault.PhaseConfig)
	}
	raw, e := readRegular(abs)
	if e != nil {
		e.Hint = processHint(e.Op, e.Errno)
		return nil, e
	}
	var p specs.Process
	d := newDecoder(unsafe.String(unsafe.SliceData(raw), len(raw)))
	d.trail.enter("process")
	d.document(func() { readProcess(d, &p) })
	if len(d.bad) != 0 {
		return nil, located(d.bad, abs).Err()
	}
	return &p, nil
}

// CheckProcess holds spec.Process, which joins a container, to the rules for a
// process; the rest of spec is what it joins.
func CheckProcess(spec *specs.Spec) fault.List {
	c := &checker{spec: spec, ns: namespacesOf(spec)}
	c.within("process", func() { c.process(spec.Process) })
	return c.list
}
