// Package bundle reads and judges a bundle's config.json: Load turns it into
// a specs.Spec, Check holds the Spec to every rule of the runtime
// specification that does not depend on the machine. Both tell all they find
// at once, each complaint with its JSON pointer.
//
// Not judged here: linux.resources (package cgroups), mount options (package
// rootfs), names of capabilities (package process, which only warns), and
// whatever needs a look at the host.
package bundle

import (
	"io"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/fault"
)

// ConfigName is the name of the configuration in the bundle's directory
// (bundle.md).
const ConfigName = "config.json"

// MaxConfigSize is how large a config.json may be, in bytes.
const MaxConfigSize = 64 << 20

// Bundle is a bundle's configuration.
type Bundle struct {
	Dir  string      // of the bundle: absolute, symlinks as the user gave them
	Raw  []byte      // config.json as given; never to be written to: Spec's strings are parts of it
	Spec *specs.Spec // what it says, without the sections of other platforms
}

// Load reads DIR/config.json.
//
// An error is a *fault.Error or a fault.List: the file cannot be read, it is
// not JSON (with line and column), or values have the wrong type or hold what
// no path, argument or name may hold, such as a NUL byte. With wrong types
// come the complaints of Check about everything else, so that one run tells
// all. A document that loads has not been checked: see Bundle.Check.
func Load(dir string) (*Bundle, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fault.From(err, "find", dir).In(fault.PhaseConfig)
	}
	path := filepath.Join(abs, ConfigName)
	raw, e := readRegular(path)
	if e != nil {
		return nil, explain(e)
	}
	b, list := parse(raw)
	if len(list) != 0 {
		return nil, located(list, path).Err()
	}
	b.Dir = abs
	return b, nil
}

// located tells complaints that name no entry of which file they speak.
func located(list fault.List, path string) fault.List {
	for _, e := range list {
		if e.Op == "parse" {
			e.Path = path
		}
	}
	return list
}

// parse decodes a document, of which the Spec's strings become parts: a copy
// would touch as many fresh pages again. The Bundle has no Dir, and is of use
// only where the list is empty.
func parse(raw []byte) (*Bundle, fault.List) {
	b := &Bundle{Raw: raw, Spec: &specs.Spec{}}
	d := newDecoder(b.text())
	d.document(func() { readSpec(d, b.Spec) })
	if len(d.bad) == 0 {
		return b, nil
	}
	return b, append(d.bad, b.unrelated(d.bad)...)
}

// text is Raw without a copy.
func (b *Bundle) text() string { return unsafe.String(unsafe.SliceData(b.Raw), len(b.Raw)) }

// unrelated returns the complaints of Check that cannot come from the wrong
// types found, because they speak of other entries. Many rules look at the
// namespaces, so where these could not be read Check has nothing to say.
func (b *Bundle) unrelated(types fault.List) fault.List {
	for _, t := range types {
		if t.Code == "json-syntax" || related(t.Field, "/linux/namespaces/0/type") {
			return nil
		}
	}
	return slices.DeleteFunc(b.Check(), func(c *fault.Error) bool {
		return slices.ContainsFunc(types, func(t *fault.Error) bool { return related(t.Field, c.Field) })
	})
}

// related tells whether one entry is, or is inside, the other.
func related(a, b fault.Pointer) bool {
	return strings.HasPrefix(string(a)+"/", string(b)+"/") || strings.HasPrefix(string(b)+"/", string(a)+"/")
}

// Check returns what Check(b.Spec) returns, in the order of the document. A
// complaint about an entry that is missing points below the nearest object
// that is there.
func (b *Bundle) Check() fault.List {
	list := Check(b.Spec)
	if len(list) == 0 {
		return nil
	}
	where := b.places(list)
	for _, e := range list {
		e.Field = where.anchored(e.Field)
	}
	slices.SortStableFunc(list, func(x, y *fault.Error) int {
		return where.offset(x.Field) - where.offset(y.Field)
	})
	return list
}

// UnknownFields returns a note for each entry that the specification does not
// know and for each key that its object repeats, in the order of the
// document, up to a hundred. The sections of other platforms are not looked
// into.
//
// They are no errors: "Runtimes MAY log unknown properties but MUST otherwise
// ignore them" (config.md, Extensibility).
func (b *Bundle) UnknownFields() []*fault.Error {
	var notes fault.List
	d := newDecoder(b.text())
	d.notes = &notes
	d.document(func() { readSpec(d, &specs.Spec{}) })
	return notes
}

// readRegular reads a file that must be regular and no larger than
// MaxConfigSize. O_NONBLOCK keeps a FIFO in its place from making us wait.
func readRegular(path string) ([]byte, *fault.Error) {
	fd, err := open(path)
	if err != nil {
		return nil, fault.From(err, "open", path).In(fault.PhaseConfig)
	}
	defer func() { _ = syscall.Close(fd) }()
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		return nil, fault.From(err, "stat", path).In(fault.PhaseConfig)
	}
	switch {
	case st.Mode&syscall.S_IFMT != syscall.S_IFREG:
		return nil, &fault.Error{Op: "read", Path: path, Msg: "not a regular file", Phase: fault.PhaseConfig}
	case st.Size > MaxConfigSize:
		return nil, &fault.Error{Op: "read", Path: path, Msg: "larger than 64 MiB", Phase: fault.PhaseConfig}
	}
	raw, err := readAll(fd, int(st.Size))
	if err != nil {
		return nil, fault.From(err, "read", path).In(fault.PhaseConfig)
	}
	return raw, nil
}

func open(path string) (fd int, err error) {
	for {
		fd, err = syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
		if err != syscall.EINTR {
			return fd, err
		}
	}
}

// readAll reads size bytes, or fewer where the file has shrunk since.
func readAll(fd, size int) ([]byte, error) {
	raw := make([]byte, size)
	for n := 0; n < size; {
		m, err := syscall.Read(fd, raw[n:])
		switch {
		case err == syscall.EINTR:
		case err != nil:
			return nil, err
		case m == 0:
			return raw[:n], io.ErrUnexpectedEOF
		}
		n += max(m, 0)
	}
	return raw, nil
}
