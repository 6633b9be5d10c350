package archive

import (
	"bytes"
	"context"
	"io"
	"sync"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"berth/rootfs/layer/transport/layout"
)

// OpenOCI opens the image tag of an image layout in a tar file.
func OpenOCI(ctx context.Context, path, tag string, sp Spool) (*layout.Source, error) {
	t, err := openTree(ctx, path, sp)
	if err != nil {
		return nil, err
	}
	s, err := layout.OpenTree(t, tag)
	if err != nil {
		t.Close()
		return nil, err
	}
	return s, nil
}

// OCIDestination is an image layout of one image that is being written as a tar file.
type OCIDestination struct {
	mu  sync.Mutex
	out *writer
	has map[digest.Digest]bool
	tag string
}

// CreateOCI begins an oci-archive. What path was stays until Commit.
func CreateOCI(path, tag string) (*OCIDestination, error) {
	out, err := create(path)
	if err != nil {
		return nil, err
	}
	d := &OCIDestination{out: out, has: map[digest.Digest]bool{}, tag: tag}
	for _, dir := range []string{v1.ImageBlobsDir + "/", v1.ImageBlobsDir + "/" + digest.SHA256.String() + "/"} {
		out.dir(dir) // skopeo gives directories that are not listed to root, and fails where it is another user's
	}
	if err := out.file(v1.ImageLayoutFile, layout.Head()); err != nil {
		out.discard()
		return nil, err
	}
	return d, nil
}

// PutBlob implements transport.Destination. Blobs are written one after the other.
func (d *OCIDestination) PutBlob(_ context.Context, desc v1.Descriptor, open func(int64) (io.ReadCloser, error)) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.has[desc.Digest] {
		return true, nil
	}
	from, err := open(0)
	if err != nil {
		return false, err
	}
	defer from.Close()
	if err := d.out.copy(layout.BlobPath(desc.Digest), desc.Size, from); err != nil {
		return false, err
	}
	d.has[desc.Digest] = true
	return false, nil
}

// PutManifest implements transport.Destination.
func (d *OCIDestination) PutManifest(ctx context.Context, desc v1.Descriptor, raw []byte) error {
	_, err := d.PutBlob(ctx, desc, func(int64) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil })
	return err
}

// Commit writes index.json and gives the file its name.
func (d *OCIDestination) Commit(_ context.Context, root v1.Descriptor) error {
	raw, err := layout.Index(&v1.Index{Manifests: []v1.Descriptor{layout.Entry(root, d.tag)}})
	if err != nil {
		return err
	}
	if err := d.out.file(v1.ImageIndexFile, raw); err != nil {
		return err
	}
	return d.out.commit()
}

// Close takes the file back if it was not committed.
func (d *OCIDestination) Close() error {
	d.out.discard()
	return nil
}
