package layer

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

// version is the layout that this program reads and writes.
const version = "1\n"

// Store is a directory of layers, images and bundles. Several processes may work on one at once. Its methods may be
// called from several goroutines.
type Store struct {
	root string
	warn func(string)
}

// The directories of a store.
const (
	blobsDir   = "blobs/sha256"  // an image layout's
	layersDir  = "layers/sha256" // by diffID
	bundlesDir = "bundles"
	stagingDir = "tmp"
	partialDir = "partial" // blobs that a pull did not finish
	locksDir   = "locks"
	trashDir   = "trash"
	lostDir    = "lost" // what was written to bundles whose record could not be read
)

// Open opens the store at root, an absolute path, and makes what is missing. Warn is told what went wrong but did not
// keep a verb from doing its work; it may be nil.
func Open(root string, warn func(string)) (*Store, error) {
	if warn == nil {
		warn = func(string) {}
	}
	s := &Store{root: root, warn: warn}
	if err := s.prepare(); err != nil {
		e := fault.From(err, "open the store", root)
		e.Hint = "choose a directory of your own with --root, or set BERTH_LAYER_ROOT"
		return nil, e
	}
	return s, nil
}

// prepare makes what is missing. Of several processes that begin a store one does.
func (s *Store) prepare() error {
	if begun, err := s.begun(); begun || err != nil {
		return err
	}
	if err := os.MkdirAll(s.root, 0o711); err != nil {
		return err
	}
	dir, err := os.Open(s.root)
	if err != nil {
		return err
	}
	held, err := flock(context.Background(), dir, unix.LOCK_EX)
	if err != nil {
		return err
	}
	defer held.free()
	if begun, err := s.begun(); begun || err != nil {
		return err
	}
	return s.begin()
}

// begun tells whether there is a whole store.
func (s *Store) begun() (bool, error) {
	have, err := os.ReadFile(s.path("version"))
	switch {
	case os.IsNotExist(err):
		return false, nil
	case err == nil && string(have) != version:
		return false, &fault.Error{Op: "open the store", Path: s.root,
			Msg: fmt.Sprintf("its layout is version %q, this program knows %q", strings.TrimSpace(string(have)), strings.TrimSpace(version))}
	}
	return err == nil, err
}

func (s *Store) begin() error {
	if err := s.mayBegin(); err != nil {
		return err
	}
	for _, dir := range []string{blobsDir, layersDir, bundlesDir, stagingDir, partialDir, locksDir, trashDir} {
		if err := os.MkdirAll(s.path(dir), 0o711); err != nil {
			return err
		}
	}
	if err := os.Chmod(s.root, 0o711); err != nil { // an id-mapped root of a container passes through
		return err
	}
	if err := s.writeFile("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return err
	}
	if _, err := os.Stat(s.path("index.json")); os.IsNotExist(err) {
		if err := s.writeIndex(emptyIndex()); err != nil {
			return err
		}
	}
	s.keepReserve()
	return s.writeFile("version", []byte(version)) // last: what has a version is complete
}

// mayBegin keeps a store from being begun in a directory that is somebody's.
func (s *Store) mayBegin() error {
	entries, err := os.ReadDir(s.root)
	if os.IsNotExist(err) {
		return nil
	}
	for _, e := range entries {
		switch e.Name() {
		case "blobs", "layers", "bundles", "tmp", "partial", "locks", "trash", "oci-layout", "index.json", reserve, "lost+found":
		default:
			return &fault.Error{Op: "begin a store", Path: s.root, Msg: "the directory is not empty: it has " + e.Name()}
		}
	}
	return err
}

// path returns the place of what is named by elements below the root.
func (s *Store) path(elem ...string) string {
	return filepath.Join(append([]string{s.root}, elem...)...)
}

// writeFile replaces a file whole, or not at all.
func (s *Store) writeFile(name string, data []byte) error {
	f, err := s.stageFile()
	if err != nil {
		return err
	}
	defer f.Close() // after the renaming: as long as it is open it is nobody's garbage
	defer os.Remove(f.Name())
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Chmod(0o644); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return s.rename(f.Name(), s.path(name))
}

// encode is v as the store's JSON files have it.
func encode(v any) ([]byte, error) {
	data, err := json.MarshalIndent(v, "", "\t")
	return append(data, '\n'), err
}

// rename gives what was staged its name, and makes that last.
func (s *Store) rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return syncDir(filepath.Dir(to))
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

// exists says whether there is something at path; what cannot be seen is an error.
func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if os.IsNotExist(err) {
		return false, nil
	}
	return err == nil, err
}

// digests lists a directory whose names are sha256 in hexadecimal, sorted. Other names are not the store's.
func (s *Store) digests(dir string) ([]digest.Digest, error) {
	entries, err := os.ReadDir(s.path(dir))
	if err != nil {
		return nil, err
	}
	var all []digest.Digest
	for _, e := range entries {
		if d := digest.NewDigestFromEncoded(digest.SHA256, e.Name()); d.Validate() == nil {
			all = append(all, d)
		}
	}
	return all, nil
}

// sizeOf adds up the blocks of a tree, in bytes; what vanishes meanwhile counts nothing.
func sizeOf(path string) int64 {
	var total int64
	_ = filepath.WalkDir(path, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil
		}
		if info, err := e.Info(); err == nil {
			total += blocks(info)
		}
		return nil
	})
	return total
}
