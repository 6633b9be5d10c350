package layer

import (
	"context"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"berth/rootfs/layer/blob"
	"berth/rootfs/layer/transport"
)

// input is a blob being read: from the store, or from what an earlier pull has fetched of it and then from the source,
// kept as it comes. It is for one reader.
type input struct {
	io.Reader
	path   string // of the file that has it, or gets it
	file   *os.File
	remote io.Closer
}

// open opens the blob that d describes, wherever it is.
func (p *pull) open(ctx context.Context, d ocispec.Descriptor, here bool) (*input, error) {
	if here {
		f, err := os.Open(p.s.blob(d.Digest))
		if err != nil {
			return nil, err
		}
		return &input{Reader: f, path: f.Name(), file: f}, nil
	}
	f, err := os.OpenFile(p.s.path(partialDir, d.Digest.Encoded()), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	in := &input{path: f.Name(), file: f}
	if err := in.resume(ctx, p.src, d); err != nil {
		in.close()
		return nil, err
	}
	return in, nil
}

// resume reads what is in the file, and then the rest from the source. The lock is for another layer that claims to come
// from the same blob.
func (in *input) resume(ctx context.Context, src transport.Source, d ocispec.Descriptor) error {
	if err := unix.Flock(int(in.file.Fd()), unix.LOCK_EX); err != nil {
		return &os.PathError{Op: "flock", Path: in.path, Err: err}
	}
	info, err := in.file.Stat()
	if err != nil {
		return err
	}
	have := info.Size()
	if have > d.Size { // of a descriptor that lied
		have = 0
		if err := in.file.Truncate(0); err != nil {
			return err
		}
	}
	kept := io.NewSectionReader(in.file, 0, have)
	if have == d.Size {
		in.Reader = kept
		return nil
	}
	rest, err := src.Blob(ctx, d, have)
	if err != nil {
		return err
	}
	in.remote = rest
	in.Reader = io.MultiReader(kept, io.TeeReader(rest, io.NewOffsetWriter(in.file, have)))
	return nil
}

// forget removes what was fetched.
func (in *input) forget() { os.Remove(in.path) }

func (in *input) close() {
	if in.remote != nil {
		in.remote.Close()
	}
	in.file.Close()
}

// through decompresses a blob into use, which reads the plain stream to its end, and holds both to their digests.
func through(ctx context.Context, r io.Reader, d ocispec.Descriptor, diffID digest.Digest, limits Limits, use func(io.Reader) error) error {
	b, err := blob.NewReader(r, blob.Options{Name: d.Digest.String(), MediaType: d.MediaType, Limits: blob.Limits{Size: limits.Size, Ratio: limits.Ratio}})
	if err != nil {
		return err
	}
	defer b.Close()
	if err := use(b); err != nil {
		return err
	}
	// A tar may end before its stream does; the digests are of all of it.
	if _, err := io.Copy(io.Discard, b); err != nil {
		return err
	}
	return b.Verify(d.Digest.String(), d.Size, diffID.String())
}
