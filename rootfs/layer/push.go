package layer

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
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
	src := &stored{s: s, image: i, progress: o.Progress, tracks: map[digest.Digest]Track{}}
	err = transport.Copy(ctx, dst, src, src.Root(), src.done)
	return &Pushed{Digest: i.Descriptor.Digest, Sent: src.sent, Existed: src.existed}, err
}

// stored is an image of the store as a source of transport's, which tells how far it is read.
type stored struct {
	s        *Store
	image    *Image
	progress Progress

	mu            sync.Mutex
	tracks        map[digest.Digest]Track
	sent, existed int
}

func (i *stored) Root() ocispec.Descriptor {
	d := i.image.Descriptor
	d.Annotations = nil
	return d
}

func (i *stored) Manifest(_ context.Context, d ocispec.Descriptor) ([]byte, error) {
	return i.s.document(d)
}

func (i *stored) Blob(_ context.Context, d ocispec.Descriptor, offset int64) (io.ReadCloser, error) {
	f, err := os.Open(i.s.blob(d.Digest))
	if os.IsNotExist(err) {
		return nil, &fault.Error{Op: "push", Path: d.Digest.String(), Msg: "the blob is not in the store", Hint: "berth-layer fsck says what is missing; pulling the image again fetches it"}
	}
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
	}{counted{f, i.track(d)}, f}, nil
}

func (i *stored) Close() error { return nil }

// track is the one track of a blob, which may be read again from another offset.
func (i *stored) track(d ocispec.Descriptor) Track {
	i.mu.Lock()
	defer i.mu.Unlock()
	t := i.tracks[d.Digest]
	if t == nil {
		t = i.progress.start(d)
		i.tracks[d.Digest] = t
	}
	return t
}

// done is told of each blob that is there.
func (i *stored) done(d ocispec.Descriptor, existed bool) {
	outcome, count := Sent, &i.sent
	if existed {
		outcome, count = Exists, &i.existed
	}
	i.track(d).End(outcome)
	i.mu.Lock()
	*count++
	i.mu.Unlock()
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
