package member

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"berth/libcontainer/fault"
)

// Writer writes the members of one layer. The same members give the same bytes: extension headers stand only where a
// plain header cannot say it, and there are no names of users.
type Writer struct{ tar *tar.Writer }

// NewWriter writes an uncompressed tar stream to w.
func NewWriter(w io.Writer) *Writer { return &Writer{tar.NewWriter(w)} }

// Write appends m, and of a File m.Size bytes of content; for the other kinds content is not looked at and may be nil.
// An error is a fault.Error that names the member, or the error of the stream below.
func (w *Writer) Write(m *Member, content io.Reader) error {
	h, err := m.header()
	if err != nil {
		return &fault.Error{Op: "write layer", Path: m.Path, Err: err}
	}
	if err := w.tar.WriteHeader(h); err != nil {
		return &fault.Error{Op: "write layer", Path: m.Path, Err: err}
	}
	if m.Kind != File || m.Size == 0 {
		return nil
	}
	if _, err := io.CopyN(w.tar, content, m.Size); err != nil {
		if err == io.EOF {
			err = fmt.Errorf("it has fewer than %d bytes: changed meanwhile?", m.Size)
		}
		return &fault.Error{Op: "write layer", Path: m.Path, Err: err}
	}
	return nil
}

// Close ends the archive; the stream below stays open.
func (w *Writer) Close() error { return w.tar.Close() }

var typeflags = map[Kind]byte{
	File: tar.TypeReg, Dir: tar.TypeDir, Symlink: tar.TypeSymlink, Link: tar.TypeLink,
	Char: tar.TypeChar, Block: tar.TypeBlock, Fifo: tar.TypeFifo, Whiteout: tar.TypeReg, Opaque: tar.TypeReg,
}

// header is the inverse of fromHeader. What fromHeader would refuse or take for something else is an error.
func (m *Member) header() (*tar.Header, error) {
	h := &tar.Header{
		Typeflag: typeflags[m.Kind], Name: m.Path, Linkname: m.Target, Mode: int64(m.Mode),
		Uid: int(m.UID), Gid: int(m.GID), ModTime: m.MTime,
		Devmajor: int64(m.Major), Devminor: int64(m.Minor), PAXRecords: paxRecords(m.Xattrs),
		Format: tar.FormatPAX, // any other rounds times to seconds
	}
	switch m.Kind {
	case Whiteout:
		dir, base := path.Split(m.Path)
		h.Name = dir + whiteoutPrefix + base
	case Opaque:
		h.Name = path.Join(m.Path, opaqueName)
	case Dir:
		h.Name = path.Join("./", m.Path) + "/"
	case File:
		h.Size = m.Size
	}
	return h, m.check(h)
}

// check reads the header again.
func (m *Member) check(h *tar.Header) error {
	back, err := fromHeader(h)
	switch {
	case err == errIgnored, err == nil && back.Kind != m.Kind:
		return errors.New("names that begin with .wh. mean removed files in a layer, so it cannot be written")
	case err != nil:
		return err
	case back.Path != m.Path:
		return errors.New("the name is not clean")
	case strings.IndexByte(m.Target, 0) >= 0:
		return errors.New("a NUL in the target")
	}
	return nil
}
