package layer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/convert"
	"berth/rootfs/layer/userns"
)

// Form is how a bundle gets its root file system.
type Form string

const (
	// Mounted: the overlay is mounted on the bundle's rootfs, where any runtime and any person finds it.
	Mounted Form = "mounted"
	// InConfig: the overlay is the first mount of config.json. The runtime makes it in the container's mount namespace, so
	// nothing has to be unmounted.
	InConfig Form = "in-config"
)

// Bundle is a bundle whose changes the store keeps.
type Bundle struct {
	ID       string             `json:"id"`
	Path     string             `json:"path"` // of the bundle, absolute
	Form     Form               `json:"form"`
	Name     string             `json:"name"`     // of the image, as it was asked for
	Manifest ocispec.Descriptor `json:"manifest"` // of the image
	Layers   []digest.Digest    `json:"layers"`   // diffIDs, from the bottom up
	Size     int64              `json:"size,omitempty"`
	Volatile bool               `json:"volatile,omitempty"`
	Created  time.Time          `json:"created"`
	// Userns is the user namespace that the layers of a mounted bundle are mapped to.
	Userns  *userns.Mapping  `json:"userns,omitempty"`
	Volumes []convert.Volume `json:"volumes,omitempty"` // of the image; their content is below written
}

// Rootfs is where a mounted bundle's overlay is.
func (b *Bundle) Rootfs() string { return filepath.Join(b.Path, "rootfs") }

// bundleID names the bundle of a directory. A directory has one, so creating it twice fails.
func bundleID(path string) string {
	sum := sha256.Sum256([]byte(path))
	return hex.EncodeToString(sum[:6])
}

func (s *Store) upper(id string) string { return filepath.Join(s.written(id), "upper") }
func (s *Store) work(id string) string  { return filepath.Join(s.written(id), "work") }

// bundle reads what Create has written.
func (s *Store) bundle(id string) (*Bundle, error) {
	path := s.path(bundlesDir, id, "bundle.json")
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	b := &Bundle{}
	if err := json.Unmarshal(data, b); err != nil {
		return nil, &fault.Error{Op: "read", Path: path, Err: err, Hint: "berth-layer fsck --repair takes the bundle out of the store, and keeps what was written to it in lost/"}
	}
	return b, nil
}

// Bundles returns all bundles of the store.
func (s *Store) Bundles() ([]*Bundle, error) {
	entries, err := os.ReadDir(s.path(bundlesDir))
	if err != nil {
		return nil, err
	}
	var all []*Bundle
	for _, e := range entries {
		b, err := s.bundle(e.Name())
		if errors.Is(err, unix.ENOTDIR) || os.IsNotExist(err) {
			if ok, _ := exists(s.path(bundlesDir, e.Name())); !ok {
				continue // removed meanwhile
			}
		}
		if err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	return all, nil
}

// FindBundle returns the bundle in the directory path.
func (s *Store) FindBundle(path string) (*Bundle, error) {
	abs, err := bundlePath(path)
	if err != nil {
		return nil, err
	}
	b, err := s.bundle(bundleID(abs))
	if os.IsNotExist(err) {
		return nil, &fault.Error{Op: "find the bundle", Path: path, Msg: "it is not one of this store's", Code: "no-such-bundle",
			Hint: "berth-layer bundles lists them; --root names another store"}
	}
	return b, err
}

// lockBundle finds the bundle in the directory path and waits for its lock. Nobody removes or makes it from then on.
func (s *Store) lockBundle(ctx context.Context, path string) (*Bundle, *lock, error) {
	b, err := s.FindBundle(path)
	if err != nil {
		return nil, nil, err
	}
	held, err := s.lockName(ctx, b.ID)
	if err != nil {
		return nil, nil, err
	}
	if b, err = s.FindBundle(path); err != nil { // it may be gone meanwhile, or another one
		held.free()
	}
	return b, held, err
}

// unlessGone is the error of who read a bundle without a lock: that it is not there, where it was removed meanwhile.
func (s *Store) unlessGone(b *Bundle, err error) error {
	if _, gone := s.FindBundle(b.Path); gone != nil {
		return gone
	}
	return err
}

// bundlePath is the absolute path of a bundle without symbolic links, so that it has one name.
func bundlePath(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if err != nil {
		return "", fault.From(err, "find the bundle", path)
	}
	return filepath.Join(parent, filepath.Base(abs)), nil
}

// RemoveOptions say how a bundle goes.
type RemoveOptions struct {
	Force bool // although something uses it
}

// RemoveBundle unmounts a bundle and removes what the store has of it, and of its directory what Create has made.
func (s *Store) RemoveBundle(ctx context.Context, path string, o RemoveOptions) error {
	store, err := s.lockStore(ctx, unix.LOCK_SH)
	if err != nil {
		return err
	}
	defer store.free()
	b, held, err := s.lockBundle(ctx, path)
	if err != nil {
		return err
	}
	defer held.free()
	if !o.Force {
		if err := s.unused("remove the bundle", b); err != nil {
			return err
		}
	}
	return s.unmake(b, o.Force)
}

// unmake removes all of a bundle. With detach it does so although something uses it.
func (s *Store) unmake(b *Bundle, detach bool) error {
	if err := s.unmount(b, detach, true); err != nil {
		return err
	}
	// The record goes last: until then this can be repeated.
	if err := removeBundleDir(b.Path); err != nil {
		return err
	}
	return s.discardNow(s.path(bundlesDir, b.ID))
}

// removeBundleDir removes what Create makes in a bundle's directory, and the directory if nothing else is in it.
func removeBundleDir(path string) error {
	for _, name := range []string{"config.json", ".config.json", "rootfs", ""} {
		err := unix.Unlink(filepath.Join(path, name))
		if errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EPERM) {
			err = unix.Rmdir(filepath.Join(path, name))
		}
		switch {
		case err == nil, errors.Is(err, unix.ENOENT):
		case errors.Is(err, unix.ENOTEMPTY) && name == "":
		default:
			return &os.PathError{Op: "remove", Path: filepath.Join(path, name), Err: err}
		}
	}
	return nil
}
