package archive

import (
	"archive/tar"
	"bytes"
	"io"
	"path/filepath"
	"time"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/transport/files"
)

// writer writes a tar file whose members have nothing but a name and a content: the same image, the same file. After an
// error only discard is of use.
type writer struct {
	*files.Pending
	tar *tar.Writer
	err error
}

func create(path string) (*writer, error) {
	files.Sweep(filepath.Dir(path))
	p, err := files.Create(path)
	if err != nil {
		return nil, err
	}
	return &writer{Pending: p, tar: tar.NewWriter(p.File)}, nil
}

// header is that of a member; GNU's form has no length that a content could not have.
func header(name string, size int64) *tar.Header {
	return &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644, ModTime: time.Unix(0, 0), Format: tar.FormatGNU}
}

// dir writes a directory; its error is that of the next file.
func (w *writer) dir(name string) {
	h := header(name, 0)
	h.Typeflag, h.Mode = tar.TypeDir, 0o755
	w.keep(w.tar.WriteHeader(h), name)
}

func (w *writer) file(name string, content []byte) error {
	return w.copy(name, int64(len(content)), bytes.NewReader(content))
}

// copy writes a member of size bytes, all that from has.
func (w *writer) copy(name string, size int64, from io.Reader) error {
	if w.err != nil {
		return w.err
	}
	err := w.tar.WriteHeader(header(name, size))
	if err == nil {
		_, err = io.Copy(w.tar, from)
	}
	if err == nil {
		err = w.tar.Flush()
	}
	return w.keep(err, name)
}

// measured writes a member whose name and size are known when fill has written it: the header comes last.
func (w *writer) measured(fill func(io.Writer) (name string, size int64, err error)) error {
	if w.err != nil {
		return w.err
	}
	start, err := w.Seek(0, io.SeekCurrent)
	if err != nil {
		return w.keep(err, "")
	}
	if _, err := w.Write(make([]byte, blockSize)); err != nil {
		return w.keep(err, "")
	}
	name, size, err := fill(w.File)
	if err == nil {
		_, err = w.Write(make([]byte, -size&(blockSize-1)))
	}
	if err == nil {
		_, err = w.WriteAt(block(name, size), start)
	}
	return w.keep(err, name)
}

const blockSize = 512

// block returns the header of a member as its one block, which name must be short enough for.
func block(name string, size int64) []byte {
	var b bytes.Buffer
	if err := tar.NewWriter(&b).WriteHeader(header(name, size)); err != nil || b.Len() != blockSize {
		panic("archive: no header of one block for " + name)
	}
	return b.Bytes()
}

func (w *writer) keep(err error, name string) error {
	if err != nil {
		w.err = fault.From(err, "write archive member", name)
	}
	return w.err
}

func (w *writer) commit() error {
	if err := w.keep(w.tar.Close(), ""); err != nil {
		return err
	}
	return w.Pending.Commit()
}

func (w *writer) discard() { w.Pending.Discard() }
