// Package transport brings images from where they are kept and back there: registries, image layouts, archives.
//
// A Source gives content that is held to its descriptor while it is read; a Destination takes content in any order and
// shows nothing of it before Commit, where the transport can do that.
package transport

import (
	"bytes"
	"context"
	"fmt"
	"io"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/transport/archive"
	"berth/rootfs/layer/transport/layout"
	"berth/rootfs/layer/transport/manifest"
	"berth/rootfs/layer/transport/ref"
	"berth/rootfs/layer/transport/registry"
	"berth/rootfs/layer/transport/verify"
)

// Ref names an image; see package ref.
type Ref = ref.Ref

// Parse reads the name of an image: docker://HOST/NAME[:TAG][@DIGEST], oci:DIR[:TAG], oci-archive:FILE[:TAG],
// docker-archive:FILE[:NAME:TAG], dir:DIR.
func Parse(s string) (Ref, error) { return ref.Parse(s) }

// Options are what Open and Create need besides the name. The zero value is good.
type Options struct {
	Registry registry.Options
	Spool    archive.Spool // for archives that are compressed
	// SizeOnly leaves the digests that Blob would compute to the caller.
	SizeOnly bool
	// Progress is called from any goroutine when n more bytes of the blob d have come. May be nil.
	Progress func(d v1.Descriptor, n int64)
}

// Source is an image, or an index of images, to read. Its methods may be called from several goroutines.
type Source interface {
	// Root describes what the name stands for: a manifest or an index.
	Root() v1.Descriptor
	// Manifest returns a manifest or index, verified.
	Manifest(ctx context.Context, d v1.Descriptor) ([]byte, error)
	// Blob reads a config or layer from offset on. Read up to io.EOF: then size and, where offset is 0, digest are
	// verified. The end of ctx is the end of the reading. Who has the beginning already verifies the whole.
	Blob(ctx context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error)
	Close() error
}

// Opener opens a blob at an offset; what it returns verifies itself as that of Source.Blob does. Several calls are
// possible: an upload is begun again.
type Opener = func(offset int64) (io.ReadCloser, error)

// Destination takes one image, or an index with its images: blobs, then the manifests that need them, Commit last.
// PutBlob may be called from several goroutines.
type Destination interface {
	// PutBlob takes a config or layer. It says whether the content was there already and open was not called.
	PutBlob(ctx context.Context, d v1.Descriptor, open Opener) (existed bool, err error)
	// PutManifest takes a manifest or index whose parts are there. The caller vouches that raw is what d says.
	PutManifest(ctx context.Context, d v1.Descriptor, raw []byte) error
	// Commit names root, which PutManifest has had, as the image.
	Commit(ctx context.Context, root v1.Descriptor) error
	// Close frees everything and discards what was not committed.
	Close() error
}

// backend is what a transport has to bring; source adds verification.
type backend interface {
	Root() v1.Descriptor
	Manifest(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error)
	Blob(ctx context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error)
	Close() error
}

// Open opens the image r. The context is that of Open alone.
func Open(ctx context.Context, r Ref, o Options) (Source, error) {
	var b backend
	var err error
	switch r.Transport {
	case ref.Docker:
		b, err = registry.Open(ctx, r, o.Registry)
	case ref.OCI:
		b, err = layout.Open(r.Path, r.Tag)
	case ref.Dir:
		b, err = layout.OpenDir(r.Path)
	case ref.OCIArchive:
		b, err = archive.OpenOCI(ctx, r.Path, r.Tag, o.Spool)
	case ref.DockerArchive:
		b, err = archive.OpenDocker(ctx, r, o.Spool)
	default:
		err = unknown(r)
	}
	if err != nil {
		return nil, named(err, "open", r)
	}
	return &source{ref: r, backend: b, progress: o.Progress, sizeOnly: o.SizeOnly}, nil
}

// Create begins to write the image r.
func Create(ctx context.Context, r Ref, o Options) (Destination, error) {
	var d Destination
	var err error
	switch r.Transport {
	case ref.Docker:
		d, err = registry.Create(ctx, r, o.Registry)
	case ref.OCI:
		d, err = layout.Create(r.Path, r.Tag)
	case ref.Dir:
		d, err = layout.CreateDir(r.Path)
	case ref.OCIArchive:
		d, err = archive.CreateOCI(r.Path, r.Tag)
	case ref.DockerArchive:
		d, err = archive.CreateDocker(r)
	default:
		err = unknown(r)
	}
	if err != nil {
		return nil, named(err, "create", r)
	}
	return d, nil
}

func unknown(r Ref) error {
	return &fault.Error{Msg: fmt.Sprintf("transport %q is not known", r.Transport)}
}

// named says in err which image it is about.
func named(err error, op string, r Ref) error {
	return &fault.Error{Op: op, Path: r.String(), Err: err}
}

// source is a backend whose content is verified.
type source struct {
	ref Ref
	backend
	progress func(v1.Descriptor, int64)
	sizeOnly bool
}

func (s *source) Manifest(ctx context.Context, d v1.Descriptor) ([]byte, error) {
	raw, err := s.manifest(ctx, d)
	if err != nil {
		return nil, named(err, "read manifest of", s.ref)
	}
	return raw, nil
}

func (s *source) manifest(ctx context.Context, d v1.Descriptor) ([]byte, error) {
	if err := verify.Descriptor(d); err != nil {
		return nil, err
	}
	if len(d.Data) > 0 {
		return d.Data, verify.Bytes(d, d.Data)
	}
	from, err := s.backend.Manifest(ctx, d)
	if err != nil {
		return nil, err
	}
	return verify.All(d, from, manifest.MaxSize)
}

func (s *source) Blob(ctx context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	from, err := s.blob(ctx, d, offset)
	if err != nil {
		return nil, named(err, "read", s.ref)
	}
	if offset == 0 && !s.sizeOnly {
		return &blob{verify.Reader(d, from), s, d}, nil
	}
	return &blob{verify.Size(d, from, offset), s, d}, nil
}

// blob returns the content of d from offset on, not verified.
func (s *source) blob(ctx context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	if err := verify.Descriptor(d); err != nil {
		return nil, err
	}
	if offset < 0 || offset > d.Size {
		return nil, &fault.Error{Op: "read", Path: string(d.Digest), Msg: fmt.Sprintf("offset %d of %d bytes", offset, d.Size)}
	}
	if len(d.Data) > 0 { // image-spec, descriptor.md: the content itself
		if err := verify.Bytes(d, d.Data); err != nil {
			return nil, err
		}
		return io.NopCloser(bytes.NewReader(d.Data[offset:])), nil
	}
	return s.backend.Blob(ctx, d, offset)
}

// blob counts, and names the image in errors.
type blob struct {
	io.ReadCloser
	of *source
	d  v1.Descriptor
}

func (b *blob) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 && b.of.progress != nil {
		b.of.progress(b.d, int64(n))
	}
	if err != nil && err != io.EOF {
		err = named(err, "read", b.of.ref)
	}
	return n, err
}

// Config reads the image config that m points to.
func Config(ctx context.Context, s Source, m *v1.Manifest) ([]byte, error) {
	from, err := s.Blob(ctx, m.Config, 0)
	if err != nil {
		return nil, err
	}
	return verify.All(m.Config, from, manifest.MaxConfig)
}
