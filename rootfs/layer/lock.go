package layer

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"berth/rootfs/layer/transport/files"
)

// lock is an flock(2) that ends with the process, whatever ends that. There are three kinds: of the whole store (shared
// by who adds to it, exclusive while garbage is marked), of index.json, and of one name under locks/ (a bundle; a layer, or
// a bundle's file system of limited size). Besides, whoever writes something locks it. They are taken in this order: store,
// bundle, layer or file system, partial blob, index; nobody waits for two of a kind.
type lock struct {
	file *os.File
	path string // where it goes with the lock
}

// lockStore waits for the store's lock.
func (s *Store) lockStore(ctx context.Context, how int) (*lock, error) {
	f, err := os.OpenFile(s.path("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	return flock(ctx, f, how)
}

// indexLock is the name of the lock of index.json. Its file stays.
const indexLock = "index"

// lockIndex waits for the lock of index.json.
func (s *Store) lockIndex(ctx context.Context) (*lock, error) {
	f, err := os.OpenFile(s.path(locksDir, indexLock), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	return flock(ctx, f, unix.LOCK_EX)
}

// lockName waits for the lock of a name, a file that goes when the lock does.
func (s *Store) lockName(ctx context.Context, name string) (*lock, error) {
	path := s.path(locksDir, name)
	for {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			return nil, err
		}
		l, err := flock(ctx, f, unix.LOCK_EX)
		if err != nil {
			return nil, err
		}
		// Who held it before has removed the file that was waited for.
		if files.Named(f) {
			l.path = path
			return l, nil
		}
		l.free()
	}
}

// flock takes a lock on an open file, which it owns from now on.
func flock(ctx context.Context, f *os.File, how int) (*lock, error) {
	wait := time.Millisecond
	for {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		switch {
		case err == nil:
			return &lock{file: f}, nil
		case errors.Is(err, unix.EINTR):
			continue
		case !errors.Is(err, unix.EWOULDBLOCK):
			f.Close()
			return nil, &os.PathError{Op: "flock", Path: f.Name(), Err: err}
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, context.Cause(ctx)
		case <-time.After(wait):
			wait = min(2*wait, 50*time.Millisecond)
		}
	}
}

// free gives the lock back. It may be called on nil and more than once.
func (l *lock) free() {
	if l == nil || l.file == nil {
		return
	}
	if l.path != "" {
		os.Remove(l.path)
	}
	l.file.Close()
	l.file = nil
}
