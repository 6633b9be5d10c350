package layer

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/transport"
	"berth/rootfs/layer/transport/ref"
)

// Tag gives an image one more name, whatever had it before.
func (s *Store) Tag(ctx context.Context, image, name string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	held, err := s.lockStore(ctx, unix.LOCK_SH)
	if err != nil {
		return err
	}
	defer held.free()
	i, err := s.Find(image)
	if err != nil {
		return err
	}
	return s.changeIndex(ctx, func(x *ocispec.Index) error {
		setTag(x, withTag(name), i.Descriptor)
		return nil
	})
}

// PushOptions say how to push.
type PushOptions struct {
	Progress Progress
}

// Pushed is what a push did.
type Pushed struct {
	Digest  digest.Digest `json:"digest"` // of the manifest
	Sent    int           `json:"sent"`   // blobs
	Existed int           `json:"existed"`
}

// Push brings an image to dst and commits that.
func (s *Store) Push(ctx context.Context, image string, dst transport.Destination, o PushOptions) (*Pushed, error) {
	held, err := s.lockStore(ctx, unix.LOCK_SH) // nothing goes meanwhile
	if err != nil {
		return nil, err
	}
	defer held.free()
	i, err := s.Find(image)
	if err != nil {
		return nil, err
	}
	out := &Pushed{Digest: i.Descriptor.Digest}
	var sent, existed atomic.Int32
	group, within := errgroup.WithContext(ctx)
	group.SetLimit(3)
	seen := map[digest.Digest]bool{}
	for _, d := range append([]ocispec.Descriptor{i.Manifest.Config}, i.Manifest.Layers...) {
		if seen[d.Digest] {
			continue
		}
		seen[d.Digest] = true
		group.Go(func() error {
			there, err := s.pushBlob(within, d, dst, o.Progress.start(d))
			if there {
				existed.Add(1)
			} else if err == nil {
				sent.Add(1)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	out.Sent, out.Existed = int(sent.Load()), int(existed.Load())
	raw, err := s.document(i.Descriptor)
	if err != nil {
		return nil, err
	}
	d := i.Descriptor
	d.Annotations = nil
	if err := dst.PutManifest(ctx, d, raw); err != nil {
		return nil, err
	}
	return out, dst.Commit(ctx, d)
}

func (s *Store) pushBlob(ctx context.Context, d ocispec.Descriptor, dst transport.Destination, track Track) (existed bool, err error) {
	if !s.hasBlob(d) {
		return false, &fault.Error{Op: "push", Path: d.Digest.String(), Msg: "the blob is not in the store", Hint: "berth-layer fsck says what is missing; pulling the image again fetches it"}
	}
	existed, err = dst.PutBlob(ctx, d, func(offset int64) (io.ReadCloser, error) {
		f, err := os.Open(s.blob(d.Digest))
		if err != nil {
			return nil, err
		}
		if _, err := f.Seek(offset, io.SeekStart); err != nil {
			f.Close()
			return nil, err
		}
		return struct {
			io.Reader
			io.Closer
		}{counted{f, track}, f}, nil
	})
	switch {
	case err != nil:
	case existed:
		track.End(Exists)
	default:
		track.End(Sent)
	}
	return existed, err
}

// NameFor is what the image at r is called where nobody says: the registry's name as people write it, what root, the
// descriptor that a layout or an archive has of it, says, or the name of its directory or file.
func NameFor(r transport.Ref, root ocispec.Descriptor) string {
	said := root.Annotations["io.containerd.image.name"] // the whole name; ref.name is but the tag then
	if said == "" {
		said = nameOf(root)
	}
	switch {
	case r.Transport == ref.Docker && r.Digest != "" && r.Tag == "":
		return familiar(r.Host+"/"+r.Name) + "@" + r.Digest.String()
	case r.Transport == ref.Docker:
		return familiar(r.Host+"/"+r.Name) + ":" + r.Tag
	case r.Name != "": // of several in an archive
		return familiar(r.Name) + ":" + r.Tag
	case CheckName(said) == nil:
		return withTag(familiar(said))
	}
	base := filepath.Base(r.Path)
	for _, suffix := range []string{".gz", ".zst", ".tar", ".tgz"} {
		base = strings.TrimSuffix(base, suffix)
	}
	return withTag(base)
}

// familiar leaves out of a name what docker.io is known for.
func familiar(name string) string {
	return strings.TrimPrefix(strings.TrimPrefix(name, ref.DefaultHost+"/"), "library/")
}
