package layer

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"berth/rootfs/layer/blob"
	"berth/rootfs/layer/transport"
	"berth/rootfs/layer/transport/files"
)

// input is a blob being read: from the store, or from what an earlier pull has fetched of it and then from the source,
// kept as it comes. It is for one reader.
type input struct {
	io.Reader
	path    string // of the file that has it, or gets it
	file    *os.File
	partial bool  // it is not a blob of the store yet
	kept    int64 // bytes that an earlier pull has fetched
	remote  io.ReadCloser
	broken  error // what the source said in the place of the rest
}

// open opens the blob that d describes, wherever it is.
func (p *pull) open(ctx context.Context, d ocispec.Descriptor) (*input, error) {
	for {
		if p.s.hasBlob(d) {
			f, err := os.Open(p.s.blob(d.Digest))
			if err != nil {
				return nil, err
			}
			return &input{Reader: f, path: f.Name(), file: f}, nil
		}
		f, err := p.s.lockPartial(ctx, d.Digest)
		if err != nil {
			return nil, err
		}
		if p.s.hasBlob(d) { // whoever had the lock has brought it
			f.Close()
			continue
		}
		in := &input{path: f.Name(), file: f, partial: true}
		if err := in.resume(ctx, p.src, d); err != nil {
			in.close()
			return nil, err
		}
		return in, nil
	}
}

// lockPartial opens the file of an unfinished blob and waits for its lock: another layer may claim to come from the same
// blob. Who had the lock may have made the file a blob, or removed it; then there is a new one.
func (s *Store) lockPartial(ctx context.Context, d digest.Digest) (*os.File, error) {
	for {
		f, err := os.OpenFile(s.path(partialDir, d.Encoded()), os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, err
		}
		held, err := flock(ctx, f, unix.LOCK_EX)
		if err != nil {
			return nil, err
		}
		if files.Named(f) {
			return f, nil
		}
		held.free()
	}
}

// resume reads what is in the file, and then the rest from the source.
func (in *input) resume(ctx context.Context, src transport.Source, d ocispec.Descriptor) error {
	info, err := in.file.Stat()
	if err != nil {
		return err
	}
	in.kept = info.Size()
	if in.kept > d.Size { // of a descriptor that lied
		in.kept = 0
		if err := in.file.Truncate(0); err != nil {
			return err
		}
	}
	kept := io.NewSectionReader(in.file, 0, in.kept)
	if in.kept == d.Size {
		in.Reader = kept
		return nil
	}
	if in.remote, err = src.Blob(ctx, d, in.kept); err != nil {
		return err
	}
	in.Reader = io.MultiReader(kept, io.TeeReader(fetched{in}, io.NewOffsetWriter(in.file, in.kept)))
	return nil
}

// fetched is the rest of a blob, as the source gives it.
type fetched struct{ *input }

func (f fetched) Read(p []byte) (int, error) {
	n, err := f.remote.Read(p)
	if err != nil && err != io.EOF {
		f.broken = err
	}
	return n, err
}

// spoilt says whether an error of reading may be due to what is in the file, so that no pull gets further with it. It is
// not where the source or the disk has failed, or somebody has interrupted: then the next pull goes on from here.
func (in *input) spoilt(ctx context.Context, err error) bool {
	return in.partial && in.broken == nil && ctx.Err() == nil && !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT)
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
