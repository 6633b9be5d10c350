package layer

import (
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"berth/rootfs/layer/unpack"
)

// layers holds every unpacked layer to its blob. One of which there is no blob cannot be held to anything.
func (c *checker) layers() error {
	all, err := c.s.digests(layersDir)
	if err != nil {
		return err
	}
	for _, diffID := range all {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		m, err := c.s.meta(diffID)
		if err != nil {
			c.report("layer", diffID.String(), err.Error(), c.unpackAgain(diffID))
			continue
		}
		d, known := c.from[diffID]
		if !known || c.o.Quick {
			continue
		}
		if err := c.layer(diffID, d, m.Backend); err != nil {
			c.report("layer", diffID.String(), err.Error(), c.unpackAgain(diffID))
		}
	}
	return nil
}

// layer compares one layer with its blob. Single damaged files are reported and mended one by one; an error means that
// the layer is wrong as a whole.
func (c *checker) layer(diffID digest.Digest, d ocispec.Descriptor, b Backend) error {
	u, err := c.s.unpacker(b, Limits{})
	if err != nil {
		return err
	}
	dir := c.s.layer(diffID)
	var damaged []unpack.Damage
	if err := c.plain(d, diffID, func(r io.Reader) (err error) { damaged, err = u.verify(c.ctx, dir, r); return err }); err != nil {
		return err
	}
	if len(damaged) == 0 {
		return nil
	}
	var mended error
	if c.o.Repair {
		mended = c.plain(d, diffID, func(r io.Reader) error { return u.repair(c.ctx, dir, damaged, r) })
	}
	for _, f := range damaged {
		c.report("file", diffID.Encoded()[:12]+"/"+f.Path, f.What, func() error { return mended })
	}
	return nil
}

// plain decompresses a blob of the store into use and verifies both digests.
func (c *checker) plain(d ocispec.Descriptor, diffID digest.Digest, use func(io.Reader) error) error {
	f, err := os.Open(c.s.blob(d.Digest))
	if err != nil {
		return err
	}
	defer f.Close()
	return through(c.ctx, f, d, diffID, Limits{}, use)
}

// unpackAgain returns what puts a layer in the place of one that is missing or damaged.
func (c *checker) unpackAgain(diffID digest.Digest) func() error {
	return func() error {
		d, there := c.from[diffID]
		if !there {
			return fmt.Errorf("there is no blob of it here")
		}
		u, err := c.s.unpacker("", Limits{})
		if err != nil {
			return err
		}
		stage, err := c.s.stage()
		if err != nil {
			return err
		}
		defer stage.end()
		made := filepath.Join(stage.path, "layer")
		if err := os.Mkdir(made, 0o755); err != nil {
			return err
		}
		err = c.plain(d, diffID, func(r io.Reader) error { _, err := unpackInto(c.ctx, u, made, known(diffID), r); return err })
		if err != nil {
			return err
		}
		if ok, _ := exists(c.s.layer(diffID)); ok {
			if err := c.s.discard(c.s.layer(diffID)); err != nil {
				return err
			}
		}
		f := finisher{s: c.s}
		return f.name(renaming{from: made, to: c.s.layer(diffID)})
	}
}

// bundles holds every bundle to the layers it needs.
func (c *checker) bundles() error {
	entries, err := os.ReadDir(c.s.path(bundlesDir))
	if err != nil {
		return err
	}
	for _, e := range entries {
		b, err := c.s.bundle(e.Name())
		if err != nil {
			c.report("bundle", e.Name(), err.Error(), func() error { return c.s.setAside(e.Name()) })
			continue
		}
		if made, err := c.s.made(b); err == nil && !made {
			c.report("leftover", bundlesDir+"/"+b.ID, "a bundle that was not completed: "+b.Path, func() error { return c.s.unmake(b, true) })
			continue
		}
		if _, err := c.s.image(b.Manifest); err != nil {
			c.report("bundle", b.Path, "its image cannot be read: "+err.Error()+"; pulling "+b.Name+" again may bring it back, berth-layer rm removes the bundle", nil)
		}
		for n, diffID := range b.Layers {
			if !c.s.hasLayer(diffID) {
				c.report("bundle", b.Path, fmt.Sprintf("its layer %d is missing: %s", n+1, diffID), c.unpackAgain(diffID))
			}
			if m, err := c.s.meta(diffID); err == nil && b.Form == InConfig && m.Backend != Directory && !c.s.hasTree(diffID) {
				c.report("bundle", b.Path, fmt.Sprintf("its layer %d is not unpacked beside its image: %s", n+1, diffID), func() error {
					return c.s.unpackTree(c.ctx, &finisher{s: c.s}, diffID)
				})
			}
		}
	}
	return nil
}

// setAside takes a bundle whose record cannot be read out of the books. What was written to it is kept below lost.
func (s *Store) setAside(id string) error {
	dir := s.path(bundlesDir, id)
	// Of a limited size it may be in the image of a file system.
	written, err := exists(filepath.Join(dir, scratchDir))
	if err != nil {
		return err
	}
	for _, sub := range []string{s.upper(id), s.volumes(&Bundle{ID: id})} {
		entries, err := os.ReadDir(sub)
		if err != nil && !os.IsNotExist(err) {
			return err
		}
		written = written || len(entries) > 0
	}
	if !written {
		return s.discard(dir)
	}
	lost := s.path(lostDir)
	if err := os.MkdirAll(lost, 0o700); err != nil {
		return err
	}
	// What is in it is not to be lost with its own name.
	if err := syncDir(filepath.Dir(lost)); err != nil {
		return err
	}
	if err := s.rename(dir, filepath.Join(lost, id+"."+rand.Text())); err != nil {
		return err
	}
	return syncDir(s.path(bundlesDir))
}
