package bundle

import (
	"path/filepath"
	"syscall"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/fault"
	"berth/libcontainer/host"
)

// ResourcesField is where config.json has what LoadResources and
// ParseResources read.
const ResourcesField fault.Pointer = "/linux/resources"

// LoadResources reads a file with what config.json has as linux.resources, as
// it is given to update; "-" is standard input. doc names it for people.
// Errors are those of Load; what they point to is below ResourcesField.
func LoadResources(path string) (r *specs.LinuxResources, doc string, err error) {
	var raw []byte
	var e *fault.Error
	if path == "-" {
		doc = "standard input"
		raw, e = readStdin(doc)
	} else {
		if doc, err = filepath.Abs(path); err != nil {
			return nil, path, fault.From(err, "find", path).In(fault.PhaseConfig)
		}
		raw, e = readRegular(doc)
	}
	if e != nil {
		return nil, doc, e
	}
	r, list := ParseResources(raw)
	return r, doc, located(list, doc).Err()
}

// ParseResources is LoadResources with what was read. The strings of r are
// parts of raw, which must not be written to. r is of use only where the list
// is empty.
func ParseResources(raw []byte) (*specs.LinuxResources, fault.List) {
	r := &specs.LinuxResources{}
	d := newDecoder(unsafe.String(unsafe.SliceData(raw), len(raw)))
	d.trail.enter("linux")
	d.trail.enter("resources")
	d.document(func() { readResources(d, r) })
	return r, d.bad
}

// readStdin reads a document whose size is not known before.
func readStdin(name string) ([]byte, *fault.Error) {
	raw, err := host.ReadAll(syscall.Stdin, MaxConfigSize+1)
	switch {
	case err != nil:
		return nil, fault.From(err, "read", name).In(fault.PhaseConfig)
	case len(raw) > MaxConfigSize:
		return nil, &fault.Error{Op: "read", Path: name, Msg: "larger than 64 MiB", Phase: fault.PhaseConfig}
	}
	return raw, nil
}
