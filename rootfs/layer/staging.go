package layer

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// staging is a directory in which something is made that is not complete yet. Its descriptor is locked as long as the
// process lives: one that is not locked is garbage.
type staging struct {
	path string
	held *lock
}

func (s *Store) stage() (*staging, error) {
	for {
		dir, err := os.MkdirTemp(s.path(stagingDir), "make-")
		if err != nil {
			return nil, err
		}
		f, err := os.Open(dir)
		if os.IsNotExist(err) {
			continue // a sweep was faster than the lock
		}
		if err != nil {
			return nil, err
		}
		held, err := flock(context.Background(), f, unix.LOCK_EX)
		if err != nil {
			return nil, err
		}
		if ok, _ := exists(dir); ok {
			return &staging{dir, held}, nil
		}
		held.free()
	}
}

// end removes what is left in it.
func (t *staging) end() error {
	if t.held == nil {
		return nil
	}
	err := removeAll(t.path)
	t.held.free()
	t.held = nil
	return err
}

// sweep removes what killed processes have left: staging directories without a lock, files staged, and the trash. It
// returns how many things it removed.
func (s *Store) sweep() (int, error) {
	entries, err := os.ReadDir(s.path(stagingDir))
	if err != nil {
		return 0, err
	}
	n := 0
	var errs []error
	for _, e := range entries {
		path := s.path(stagingDir, e.Name())
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil && (e.IsDir() || s.alone(f)) {
			errs = append(errs, removeAll(path))
			n++
		}
		f.Close()
	}
	trashed, err := s.emptyTrash()
	return n + trashed, errors.Join(append(errs, err)...)
}

// alone says whether a staged file, which nobody locks, has been left: writers of one live for milliseconds.
func (s *Store) alone(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && olderThanAMinute(info.ModTime())
}

// discard takes something out of the store at once; emptyTrash deletes it.
func (s *Store) discard(path string) error {
	dir, err := os.MkdirTemp(s.path(trashDir), "")
	if err != nil {
		return err
	}
	if err := s.rename(path, filepath.Join(dir, filepath.Base(path))); err != nil {
		os.Remove(dir)
		return err
	}
	return syncDir(filepath.Dir(path))
}

// emptyTrash deletes what has been discarded, by whomever.
func (s *Store) emptyTrash() (int, error) {
	entries, err := os.ReadDir(s.path(trashDir))
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			errs = append(errs, removeAll(s.path(trashDir, e.Name())))
		}
	}
	return len(entries), errors.Join(errs...)
}
