package transport

import (
	"context"
	"fmt"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/transport/manifest"
)

// Image is one image of a Source.
type Image struct {
	Descriptor v1.Descriptor // of the manifest
	Raw        []byte
	Manifest   *v1.Manifest // media types as in Raw; see manifest.ToOCI
}

// Indexes may lie in indexes, but nobody needs more than this.
const (
	maxDepth   = 4
	maxIndexes = 16
)

// Resolve returns the image for platform, which manifest.ParsePlatform makes. A Source of a single image has that one,
// whatever its platform.
func Resolve(ctx context.Context, s Source, platform v1.Platform) (*Image, error) {
	d := s.Root()
	raw, err := s.Manifest(ctx, d)
	if err != nil {
		return nil, err
	}
	media, err := manifest.MediaType(raw, d.MediaType)
	if err != nil {
		return nil, &fault.Error{Op: "read", Path: string(d.Digest), Err: err}
	}
	if manifest.IsIndex(media) {
		w := walk{source: s}
		if err := w.index(ctx, d, raw, 1); err != nil {
			return nil, err
		}
		if d, err = manifest.Choose(w.found, platform); err != nil {
			return nil, err
		}
		if raw, err = s.Manifest(ctx, d); err != nil {
			return nil, err
		}
	}
	m, err := manifest.Image(raw, d.MediaType)
	if err == nil && !manifest.IsImage(m) {
		err = &fault.Error{Op: "read manifest", Msg: "not a container image: its config is " + m.Config.MediaType}
	}
	if err != nil {
		return nil, &fault.Error{Op: "read", Path: string(d.Digest), Err: err}
	}
	d.MediaType = m.MediaType
	return &Image{Descriptor: d, Raw: raw, Manifest: m}, nil
}

// walk collects the manifests of indexes in indexes.
type walk struct {
	source Source
	found  []v1.Descriptor
	read   int
}

func (w *walk) index(ctx context.Context, d v1.Descriptor, raw []byte, depth int) error {
	x, err := manifest.Index(raw, d.MediaType)
	if err != nil {
		return &fault.Error{Op: "read", Path: string(d.Digest), Err: err}
	}
	for _, entry := range x.Manifests {
		switch {
		case manifest.IsIndex(entry.MediaType):
			if err := w.nested(ctx, entry, depth+1); err != nil {
				return err
			}
		case entry.ArtifactType == "" && (entry.MediaType == "" || manifest.IsManifest(entry.MediaType)):
			w.found = append(w.found, entry)
		}
	}
	return nil
}

func (w *walk) nested(ctx context.Context, d v1.Descriptor, depth int) error {
	if w.read++; depth > maxDepth || w.read > maxIndexes {
		return &fault.Error{Op: "read", Path: string(d.Digest),
			Msg: fmt.Sprintf("more than %d indexes in one another or %d in all", maxDepth, maxIndexes)}
	}
	raw, err := w.source.Manifest(ctx, d)
	if err != nil {
		return err
	}
	return w.index(ctx, d, raw, depth)
}
