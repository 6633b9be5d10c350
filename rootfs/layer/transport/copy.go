package transport

import (
	"context"
	"fmt"
	"io"
	"sync"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/transport/manifest"
)

// atOnce is how many blobs Copy carries at a time.
const atOnce = 3

// Copy carries root, an image or an index with all of its images, from s to d and commits it. Done, which may be nil,
// is told of every blob; it is called from several goroutines.
func Copy(ctx context.Context, d Destination, s Source, root v1.Descriptor, done func(blob v1.Descriptor, existed bool)) error {
	c := copying{to: d, from: s, done: done}
	if err := c.manifest(ctx, root, 1); err != nil {
		return err
	}
	return d.Commit(ctx, root)
}

type copying struct {
	to   Destination
	from Source
	done func(v1.Descriptor, bool)
}

// manifest carries what d needs and then d.
func (c *copying) manifest(ctx context.Context, d v1.Descriptor, depth int) error {
	if depth > maxDepth {
		return &fault.Error{Op: "copy", Path: string(d.Digest), Msg: fmt.Sprintf("more than %d indexes in one another", maxDepth)}
	}
	raw, err := c.from.Manifest(ctx, d)
	if err != nil {
		return err
	}
	if d.MediaType, err = manifest.MediaType(raw, d.MediaType); err != nil {
		return err
	}
	if manifest.IsIndex(d.MediaType) {
		x, err := manifest.Index(raw, d.MediaType)
		if err != nil {
			return err
		}
		for _, entry := range x.Manifests {
			if err := c.manifest(ctx, entry, depth+1); err != nil {
				return err
			}
		}
	} else {
		m, err := manifest.Image(raw, d.MediaType)
		if err != nil {
			return err
		}
		if err := c.blobs(ctx, append([]v1.Descriptor{m.Config}, m.Layers...)); err != nil {
			return err
		}
	}
	return c.to.PutManifest(ctx, d, raw)
}

// blobs carries each blob once, several at a time, and stops at the first error.
func (c *copying) blobs(ctx context.Context, blobs []v1.Descriptor) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wait sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	seen := map[string]bool{}
	for _, d := range blobs {
		if seen[string(d.Digest)] || manifest.IsForeign(d.MediaType) && len(d.URLs) > 0 {
			continue
		}
		seen[string(d.Digest)] = true
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			if err := c.blob(ctx, d); err != nil {
				cancel(err)
			}
		})
	}
	wait.Wait()
	return context.Cause(ctx)
}

func (c *copying) blob(ctx context.Context, d v1.Descriptor) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	existed, err := c.to.PutBlob(ctx, d, func(offset int64) (io.ReadCloser, error) { return c.from.Blob(ctx, d, offset) })
	if err == nil && c.done != nil {
		c.done(d, existed)
	}
	return err
}
