// Package files reads and writes the files of transports that live on a disk.
package files

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"berth/libcontainer/fault"
)

// Content is a file, or a part of one, that can be read from any offset.
type Content interface {
	io.ReadSeekCloser
	// Size is that of the whole content in bytes.
	Size() int64
}

// Tree is where named contents are: a directory or an archive. Names are clean, relative and slash-separated.
type Tree interface {
	// Open opens a regular file. One that is not there is an error for which errors.Is(err, fs.ErrNotExist) holds.
	Open(name string) (Content, error)
}

// Dir is the Tree of a directory. Symbolic links are followed: some tools make layouts of them.
type Dir string

// Open implements Tree.
func (d Dir) Open(name string) (Content, error) { return Open(filepath.Join(string(d), name)) }

type file struct {
	*os.File
	size int64
}

func (f file) Size() int64 { return f.size }

// Open opens a regular file. Anything else is an error: opening a FIFO must not wait for its writer.
func Open(path string) (Content, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fault.From(err, "open", path)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = &fault.Error{Op: "open", Path: path, Msg: "not a regular file"}
	}
	if err != nil {
		f.Close()
		return nil, fault.From(err, "stat", path)
	}
	return file{f, info.Size()}, nil
}

// From opens name in t at an offset.
func From(t Tree, name string, offset int64) (io.ReadCloser, error) {
	c, err := t.Open(name)
	if err != nil {
		return nil, err
	}
	if _, err := c.Seek(offset, io.SeekStart); err != nil {
		c.Close()
		return nil, fault.From(err, "seek in", name)
	}
	return c, nil
}

// Pending is a file being written beside the place where Commit puts it. It is locked, so that Sweep knows what nobody writes
// any more.
type Pending struct {
	*os.File
	path string
}

const pendingPrefix = ".berth-layer-"

// Create begins a file that will be path.
func Create(path string) (*Pending, error) {
	for {
		f, err := os.CreateTemp(filepath.Dir(path), pendingPrefix+"*")
		if err != nil {
			return nil, fault.From(err, "create", path)
		}
		if busy := tryLock(f) == syscall.EWOULDBLOCK; !busy && Named(f) {
			return &Pending{f, path}, nil
		}
		f.Close() // Sweep was faster
	}
}

// Sweep removes what Create has begun in dir by processes that were killed.
func Sweep(dir string) {
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), pendingPrefix) {
			continue
		}
		name := filepath.Join(dir, e.Name())
		f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
		if err != nil {
			continue
		}
		if tryLock(f) == nil {
			os.Remove(name)
		}
		f.Close()
	}
}

func tryLock(f *os.File) error { return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) }

// Named says whether an open file still has the name that it was opened by: who had its lock may have removed it.
func Named(f *os.File) bool {
	opened, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(f.Name())
	return err == nil && os.SameFile(opened, named)
}

// Commit makes the file durable and gives it its name and mode 0644, in the place of whatever had the name.
func (p *Pending) Commit() error {
	defer p.File.Close()
	err := errors.Join(p.Chmod(0o644), p.Sync())
	if err == nil {
		err = os.Rename(p.Name(), p.path)
	}
	if err != nil {
		os.Remove(p.Name())
		return fault.From(err, "write", p.path)
	}
	return SyncDir(filepath.Dir(p.path))
}

// Discard takes the file back; after Commit it does nothing.
func (p *Pending) Discard() {
	if p.File.Close() == nil {
		os.Remove(p.Name())
	}
}

// Write makes path a file of what from has.
func Write(path string, from io.Reader) error {
	p, err := Create(path)
	if err != nil {
		return err
	}
	if _, err := io.Copy(p.File, from); err != nil {
		p.Discard()
		return fault.From(err, "write", path)
	}
	return p.Commit()
}

// SyncDir makes the names in dir durable.
func SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return fault.From(err, "open", dir)
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) { // some file systems cannot
		return fault.From(err, "sync", dir)
	}
	return nil
}

// Missing says whether err is about something that is not there.
func Missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
