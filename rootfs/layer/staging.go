package layer

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"

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
		held, err := s.claim(f)
		if err != nil {
			return nil, err
		}
		if held != nil {
			return &staging{dir, held}, nil
		}
	}
}

// stageFile makes a file that is not complete yet. Who closes it gives up the lock on it.
func (s *Store) stageFile() (*os.File, error) {
	for {
		f, err := os.CreateTemp(s.path(stagingDir), "file-")
		if err != nil {
			return nil, err
		}
		held, err := s.claim(f)
		if err != nil {
			os.Remove(f.Name())
			return nil, err
		}
		if held != nil {
			return f, nil
		}
	}
}

// claim locks what was staged. It returns nil if a sweep was faster, and then closes f.
func (s *Store) claim(f *os.File) (*lock, error) {
	held, err := flock(context.Background(), f, unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	if ok, err := exists(f.Name()); !ok || err != nil {
		held.free()
		return nil, err
	}
	return held, nil
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

// sweep removes what killed processes have left: what is staged without a lock, names without one, and the trash. It
// returns how many things it removed from the staging directory and the trash.
func (s *Store) sweep() (int, error) {
	n, err := s.sweepDir(stagingDir, func(string) bool { return true })
	_, names := s.sweepDir(locksDir, func(name string) bool { return name != indexLock })
	trashed, trash := s.emptyTrash()
	return n + trashed, errors.Join(err, names, trash)
}

// sweepDir removes the entries of a directory that nobody has locked.
func (s *Store) sweepDir(dir string, may func(name string) bool) (int, error) {
	entries, err := os.ReadDir(s.path(dir))
	if err != nil {
		return 0, err
	}
	n := 0
	var errs []error
	for _, e := range entries {
		if !may(e.Name()) {
			continue
		}
		path := s.path(dir, e.Name())
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			errs = append(errs, removeAll(path))
			n++
		}
		f.Close()
	}
	return n, errors.Join(errs...)
}

// discard takes something out of the store at once; emptyTrash deletes it.
func (s *Store) discard(path string) error {
	// No directory is made for it: one that is empty would be removed by whoever empties the trash at this moment, and a
	// full disk has no room for one.
	name := filepath.Base(path) + "." + rand.Text()
	if err := s.rename(path, s.path(trashDir, name)); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// emptyTrash deletes what has been discarded, by whomever. While it does, the trash is locked, shared: what is in there is
// on its way out.
func (s *Store) emptyTrash() (int, error) {
	dir, err := os.Open(s.path(trashDir))
	if err != nil {
		return 0, err
	}
	held, err := flock(context.Background(), dir, unix.LOCK_SH)
	if err != nil {
		return 0, err
	}
	defer held.free()
	entries, err := os.ReadDir(s.path(trashDir))
	if err != nil {
		return 0, err
	}
	var errs []error
	for _, e := range entries {
		errs = append(errs, removeAll(s.path(trashDir, e.Name())))
	}
	return len(entries), errors.Join(errs...)
}
