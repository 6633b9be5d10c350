package layer

import (
	"errors"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// finisher makes what is staged last and gives it its name. Everything that is ready at the same time shares one
// syncfs(2), which costs as much for ten layers as for one.
type finisher struct {
	s       *Store
	mu      sync.Mutex
	waiting []batch
	busy    bool
}

// renaming is one thing to name once it is on the disk.
type renaming struct {
	from, to string
}

// batch is what one caller wants named; done gets the outcome.
type batch struct {
	names []renaming
	done  chan error
}

// name syncs the file system and renames; it returns when content and names will last. A complete layer that has the name
// already is as good, and stays.
func (f *finisher) name(names ...renaming) error {
	b := batch{names, make(chan error, 1)}
	f.mu.Lock()
	f.waiting = append(f.waiting, b)
	if !f.busy {
		f.busy = true
		go f.work()
	}
	f.mu.Unlock()
	return <-b.done
}

func (f *finisher) work() {
	for {
		f.mu.Lock()
		batches := f.waiting
		f.waiting = nil
		f.busy = len(batches) > 0
		f.mu.Unlock()
		if len(batches) == 0 {
			return
		}
		f.finish(batches)
	}
}

func (f *finisher) finish(batches []batch) {
	synced := syncFS(f.s.root)
	parents := map[string]bool{}
	outcome := make([]error, len(batches))
	for n, b := range batches {
		outcome[n] = synced
		for _, r := range b.names {
			if outcome[n] == nil {
				outcome[n] = f.s.renameNew(r.from, r.to)
				parents[filepath.Dir(r.to)] = true
			}
		}
	}
	var lasts error
	for dir := range parents {
		lasts = errors.Join(lasts, syncDir(dir))
	}
	for n, b := range batches {
		b.done <- errors.Join(outcome[n], lasts)
	}
}

// renameNew gives a blob or a layer its name. A blob replaces what has the name: nobody would have fetched it if that
// were whole. A layer stays; what is left of one goes.
func (s *Store) renameNew(from, to string) error {
	if info, err := os.Lstat(from); err != nil || !info.IsDir() {
		return errors.Join(err, os.Rename(from, to))
	}
	if whole, err := exists(to + "/meta.json"); whole || err != nil {
		return err
	}
	if left, err := exists(to); err != nil {
		return err
	} else if left {
		if err := s.discardNow(to); err != nil {
			return err
		}
	}
	err := os.Rename(from, to)
	if whole, _ := exists(to + "/meta.json"); whole { // by us, or by somebody at the same moment
		return nil
	}
	return err
}

// syncFS puts on the disk what has been written to the file system of dir.
func syncFS(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := unix.Syncfs(int(f.Fd())); err != nil {
		return &os.PathError{Op: "syncfs", Path: dir, Err: err}
	}
	return nil
}
