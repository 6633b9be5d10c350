package layer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

// Removed is what a verb took out of the store.
type Removed struct {
	Names  []string        `json:"names,omitempty"`  // of images
	Blobs  []digest.Digest `json:"blobs,omitempty"`  // of manifests, configurations and compressed layers
	Layers []digest.Digest `json:"layers,omitempty"` // diffIDs
	Bytes  int64           `json:"bytes"`            // on the disk
}

// RemoveImage takes names away from images, and what nothing else needs then out of the store. An image given by ID loses
// all its names. Bundles keep the layers that they are made of.
func (s *Store) RemoveImage(ctx context.Context, refs ...string) (*Removed, error) {
	var names []string
	for _, ref := range refs {
		some, err := s.namesOf(ref)
		if err != nil {
			return nil, err
		}
		names = append(names, some...)
	}
	if err := s.untag(ctx, names); err != nil {
		return nil, err
	}
	// Somebody who pulls for minutes does not hold up who removes a name.
	patient, cancel := context.WithTimeoutCause(ctx, patience, errBusy)
	defer cancel()
	out, err := s.collect(patient, 0, false)
	if errors.Is(err, errBusy) {
		s.warn("the store is being added to: berth-layer prune frees the space later")
		err = nil
	}
	out.Names = names
	return out, err
}

// untag takes names out of the index. An image that loses its last one is garbage.
func (s *Store) untag(ctx context.Context, names []string) error {
	held, err := s.lockStore(ctx, unix.LOCK_SH)
	if err != nil {
		return err
	}
	defer held.free()
	remove := func(x *ocispec.Index) error {
		for _, name := range names {
			removeTag(x, name)
		}
		return nil
	}
	err = s.changeIndex(ctx, remove)
	if errors.Is(err, unix.ENOSPC) && os.Remove(s.path(reserve)) == nil {
		err = s.changeIndex(ctx, remove)
	}
	return err
}

// reserve is a file that goes where the disk is so full that not even the index can be written with one name less. It
// comes back when there is space.
const (
	reserve      = "reserve"
	reserveBytes = 32 << 10
)

// keepReserve makes the reserve if it is missing and there is space.
func (s *Store) keepReserve() {
	if there, err := exists(s.path(reserve)); !there && err == nil {
		_ = s.writeFile(reserve, make([]byte, reserveBytes))
	}
}

// patience is how long removing a name waits for those who add to the store.
const patience = 2 * time.Second

var errBusy = errors.New("the store is being added to")

// namesOf returns what ref takes away: the name itself, or all names of an image given by ID.
func (s *Store) namesOf(ref string) ([]string, error) {
	i, err := s.Find(ref)
	if err != nil {
		return nil, err
	}
	for _, name := range i.Names {
		if name == ref || name == withTag(ref) {
			return []string{name}, nil
		}
	}
	return i.Names, nil
}

// PruneOptions say what Prune takes.
type PruneOptions struct {
	DryRun bool
	// Partial is how old a blob has to be that a pull has not finished; 0 takes all.
	Partial time.Duration
}

// Prune takes out of the store what no name and no bundle needs, and what killed processes have left.
func (s *Store) Prune(ctx context.Context, o PruneOptions) (*Removed, error) {
	if !o.DryRun {
		if _, err := s.sweep(); err != nil {
			return nil, err
		}
	}
	return s.collect(ctx, max(o.Partial, 1), o.DryRun)
}

// collect marks what is needed while nobody adds to the store, moves the rest to the trash, and deletes that while others
// work on. Partial 0 keeps unfinished blobs.
func (s *Store) collect(ctx context.Context, partial time.Duration, dry bool) (*Removed, error) {
	held, err := s.lockStore(ctx, unix.LOCK_EX)
	if err != nil {
		return &Removed{}, err
	}
	out, err := s.discardGarbage(partial, dry)
	held.free()
	if err != nil || dry {
		return out, err
	}
	_, err = s.emptyTrash()
	s.keepReserve()
	return out, err
}

func (s *Store) discardGarbage(partial time.Duration, dry bool) (*Removed, error) {
	out := &Removed{}
	needed, err := s.needed()
	if err != nil {
		return out, err
	}
	drop := func(path string) error {
		out.Bytes += s.diskOf(path)
		if dry {
			return nil
		}
		return s.discard(path)
	}
	if out.Blobs, err = s.discardRest(blobsDir, needed.blobs, drop); err != nil {
		return out, err
	}
	if out.Layers, err = s.discardRest(layersDir, needed.layers, drop); err != nil {
		return out, err
	}
	return out, s.discardPartial(partial, drop)
}

// discardRest drops from a directory what is not needed.
func (s *Store) discardRest(dir string, needed map[digest.Digest]bool, drop func(string) error) (dropped []digest.Digest, err error) {
	all, err := s.digests(dir)
	if err != nil {
		return nil, err
	}
	for _, d := range all {
		if needed[d] {
			continue
		}
		if err := drop(s.path(dir, d.Encoded())); err != nil {
			return dropped, err
		}
		dropped = append(dropped, d)
	}
	return dropped, nil
}

func (s *Store) discardPartial(age time.Duration, drop func(string) error) error {
	if age == 0 {
		return nil
	}
	entries, err := os.ReadDir(s.path(partialDir))
	for _, e := range entries {
		if info, e2 := e.Info(); e2 == nil && time.Since(info.ModTime()) >= age {
			err = errors.Join(err, drop(s.path(partialDir, e.Name())))
		}
	}
	return err
}

// diskOf is what a blob or a layer takes. A layer's is in its meta.json, so that nobody walks through it.
func (s *Store) diskOf(path string) int64 {
	if filepath.Dir(path) == s.path(layersDir) {
		if m, err := s.meta(digest.NewDigestFromEncoded(digest.SHA256, filepath.Base(path))); err == nil {
			return m.Disk
		}
	}
	return sizeOf(path)
}

// mark is what names and bundles need.
type mark struct {
	blobs, layers map[digest.Digest]bool
}

// needed follows every name and every bundle. What cannot be read is an error: nothing is thrown away on a guess.
func (s *Store) needed() (*mark, error) {
	m := &mark{map[digest.Digest]bool{}, map[digest.Digest]bool{}}
	x, err := s.index()
	if err != nil {
		return nil, err
	}
	for _, d := range x.Manifests {
		if err := s.follow(m, d); err != nil {
			return nil, keepAll(fmt.Sprintf("image %s", nameOf(d)), err)
		}
	}
	bundles, err := s.Bundles()
	if err != nil {
		return nil, keepAll("bundles", err)
	}
	for _, b := range bundles {
		for _, d := range b.Layers {
			m.layers[d] = true
		}
		if err := s.follow(m, b.Manifest); err != nil {
			return nil, keepAll("bundle "+b.Path, err)
		}
	}
	return m, nil
}

func keepAll(what string, err error) error {
	return &fault.Error{Op: "look for garbage", Path: what, Err: err, Msg: "nothing is removed while something cannot be read", Hint: "berth-layer fsck --repair"}
}

// follow marks what the manifest that d describes needs.
func (s *Store) follow(m *mark, d ocispec.Descriptor) error {
	if m.blobs[d.Digest] {
		return nil
	}
	i, err := s.image(d)
	if err != nil {
		return err
	}
	m.blobs[d.Digest], m.blobs[i.ID()] = true, true
	for n, l := range i.Manifest.Layers {
		m.blobs[l.Digest], m.layers[i.DiffIDs()[n]] = true, true
	}
	return nil
}
