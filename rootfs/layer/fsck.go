package layer

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"
)

// Fault is something that is wrong with a store.
type Fault struct {
	What     string `json:"what"` // blob, layer, file, image, bundle, leftover, index
	Name     string `json:"name"`
	Why      string `json:"why"`
	Repaired bool   `json:"repaired"`
}

// FsckOptions say how thorough Fsck is.
type FsckOptions struct {
	Repair bool
	// Quick trusts the contents of blobs and layers, and looks only for what is missing.
	Quick bool
}

// Fsck looks at everything in the store: that all documents can be read, that all content has the digest that it is
// called by, that unpacked layers are file by file what their blobs say, and that nothing is left of killed processes.
// With Repair it mends what can be mended from what is here: a damaged layer is unpacked again, or just the files of it
// that are damaged; a damaged blob is removed, so that the next pull fetches it; leftovers go. Nobody else may work on
// the store meanwhile.
func (s *Store) Fsck(ctx context.Context, o FsckOptions) ([]Fault, error) {
	held, err := s.lockStore(ctx, unix.LOCK_EX)
	if err != nil {
		return nil, err
	}
	defer held.free()
	c := &checker{s: s, o: o, ctx: ctx}
	for _, step := range []func() error{c.leftovers, c.index, c.blobs, c.images, c.layers, c.bundles} {
		if err := step(); err != nil {
			return c.found, err
		}
		if ctx.Err() != nil {
			return c.found, context.Cause(ctx)
		}
	}
	if o.Repair { // what was replaced
		_, err = s.emptyTrash()
	}
	return c.found, err
}

type checker struct {
	s     *Store
	o     FsckOptions
	ctx   context.Context
	found []Fault
	from  map[digest.Digest]ocispec.Descriptor // diffID to a blob of it, from the images
}

// report notes a fault and, where that is asked for, mends it.
func (c *checker) report(what, name, why string, mend func() error) {
	f := Fault{What: what, Name: name, Why: why}
	if c.o.Repair && mend != nil {
		if err := mend(); err != nil {
			f.Why += "; repair: " + err.Error()
		} else {
			f.Repaired = true
		}
	}
	c.found = append(c.found, f)
}

// leftovers are staged things of processes that have ended, and trash that nobody empties. Under the exclusive lock
// nothing staged can be anybody's.
func (c *checker) leftovers() error {
	for _, name := range []string{stagingDir, trashDir} {
		dir, err := os.Open(c.s.path(name))
		if err != nil {
			return err
		}
		defer dir.Close()
		if unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
			continue
		}
		entries, err := dir.ReadDir(-1)
		if err != nil {
			return err
		}
		for _, e := range entries {
			path := c.s.path(name, e.Name())
			c.report("leftover", name+"/"+e.Name(), "of a process that was killed", func() error { return removeAll(path) })
		}
	}
	return nil
}

// index holds index.json to be readable. A repaired one has the images without their names, which nobody knows.
func (c *checker) index() error {
	if _, err := c.s.index(); err != nil {
		c.report("index", "index.json", err.Error(), c.rebuildIndex)
		if !c.o.Repair {
			return err
		}
	}
	return nil
}

// rebuildIndex finds manifests among the blobs.
func (c *checker) rebuildIndex() error {
	blobs, err := c.s.digests(blobsDir)
	if err != nil {
		return err
	}
	x := emptyIndex()
	for _, d := range blobs {
		info, err := os.Stat(c.s.blob(d))
		if err != nil || info.Size() > maxDocument {
			continue
		}
		desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: d, Size: info.Size()}
		if i, err := c.s.image(desc); err == nil {
			if i.Manifest.MediaType != "" {
				desc.MediaType = i.Manifest.MediaType
			}
			x.Manifests = append(x.Manifests, desc)
		}
	}
	return c.s.writeIndex(x)
}

// blobs holds every blob to its name.
func (c *checker) blobs() error {
	all, err := c.s.digests(blobsDir)
	if err != nil || c.o.Quick {
		return err
	}
	for _, d := range all {
		if got, err := digestOf(c.s.blob(d)); err != nil {
			c.report("blob", d.String(), err.Error(), nil)
		} else if got != d {
			c.report("blob", d.String(), "is damaged: its content has the digest "+got.String(), func() error { return os.Remove(c.s.blob(d)) })
		}
		if c.ctx.Err() != nil {
			return context.Cause(c.ctx)
		}
	}
	return nil
}

func digestOf(path string) (digest.Digest, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := digest.SHA256.Digester()
	if _, err := io.Copy(h.Hash(), f); err != nil {
		return "", err
	}
	return h.Digest(), nil
}

// images holds every name to what it needs. A name whose image cannot be had any more goes with a repair: pulling again
// is the way to get it back.
func (c *checker) images() error {
	c.from = map[digest.Digest]ocispec.Descriptor{}
	x, err := c.s.index()
	if err != nil {
		return err
	}
	for _, d := range x.Manifests {
		i, err := c.s.image(d)
		if err != nil {
			c.report("image", entryName(d), err.Error(), func() error { return c.dropEntry(d) })
			continue
		}
		for n, l := range i.Manifest.Layers {
			if c.s.hasBlob(l) {
				c.from[i.DiffIDs()[n]] = l
			}
		}
		for n, l := range i.Manifest.Layers {
			if !c.s.hasBlob(l) {
				c.report("image", entryName(d), fmt.Sprintf("the blob of layer %d is missing: %s; pulling the image again fetches it", n+1, l.Digest), nil)
			}
			if diffID := i.DiffIDs()[n]; !c.s.hasLayer(diffID) {
				c.report("layer", diffID.String(), "is not unpacked", c.unpackAgain(diffID))
			}
		}
	}
	return nil
}

func entryName(d ocispec.Descriptor) string {
	if name := nameOf(d); name != "" {
		return name
	}
	return d.Digest.String()
}

func (c *checker) dropEntry(d ocispec.Descriptor) error {
	x, err := c.s.index()
	if err != nil {
		return err
	}
	for n, have := range x.Manifests {
		if have.Digest == d.Digest && nameOf(have) == nameOf(d) {
			x.Manifests = append(x.Manifests[:n], x.Manifests[n+1:]...)
			break
		}
	}
	return c.s.writeIndex(x)
}
