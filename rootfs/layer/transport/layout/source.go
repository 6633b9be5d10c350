// Package layout reads and writes OCI image layouts (image-spec, image-layout.md), and skopeo's dir:, which is a flat
// one of a single image.
package layout

import (
	"context"
	"encoding/json"
	"io"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/transport/files"
	"berth/rootfs/layer/transport/manifest"
	"berth/rootfs/layer/transport/verify"
)

// maxIndex is how long an index.json may be: a store of thousands of tags has one.
const maxIndex = 64 << 20

// containerdName is the annotation that containerd and buildkit write a full name to, ref.name being its tag alone.
const containerdName = "io.containerd.image.name"

// Source is an image of a layout. Contents are not verified.
type Source struct {
	tree files.Tree
	root v1.Descriptor
}

// Open opens the image tag of the layout in dir; without a tag the layout must have one image.
func Open(dir, tag string) (*Source, error) { return OpenTree(files.Dir(dir), tag) }

// OpenTree is Open for a layout that need not be a directory.
func OpenTree(t files.Tree, tag string) (*Source, error) {
	var head v1.ImageLayout
	if err := readJSON(t, v1.ImageLayoutFile, 1<<20, &head); err != nil {
		if files.Missing(err) {
			err = &fault.Error{Msg: "not an image layout", Err: err}
		}
		return nil, err
	}
	if head.Version != v1.ImageLayoutVersion {
		return nil, &fault.Error{Op: "read", Path: v1.ImageLayoutFile, Msg: "version " + head.Version + " is not known"}
	}
	index, err := readIndex(t)
	if err != nil {
		return nil, err
	}
	root, err := find(index.Manifests, tag)
	if err != nil {
		return nil, err
	}
	return &Source{t, root}, verify.Descriptor(root)
}

func readIndex(t files.Tree) (*v1.Index, error) {
	x := &v1.Index{}
	return x, readJSON(t, v1.ImageIndexFile, maxIndex, x)
}

func readJSON(t files.Tree, name string, limit int64, to any) error {
	f, err := t.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	raw, err := verify.Limited(f, limit, name)
	if err == nil {
		err = json.Unmarshal(raw, to)
	}
	return orNil(fault.From(err, "read", name))
}

// orNil keeps a nil *fault.Error from becoming an error that is not nil.
func orNil(e *fault.Error) error {
	if e == nil {
		return nil
	}
	return e
}

// find returns the entry of tag. Two entries of one tag are good only if they are the same.
func find(entries []v1.Descriptor, tag string) (v1.Descriptor, error) {
	var found []v1.Descriptor
	for _, d := range entries {
		if tag != "" && !hasName(d, tag) {
			continue
		}
		if !slices.ContainsFunc(found, func(f v1.Descriptor) bool { return f.Digest == d.Digest }) {
			found = append(found, d)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(entries) == 0:
		return v1.Descriptor{}, &fault.Error{Op: "find image", Msg: "the layout is empty"}
	case tag == "":
		return v1.Descriptor{}, &fault.Error{Op: "find image", Msg: "there is more than one", Hint: "name one of " + names(entries)}
	case len(found) > 1:
		return v1.Descriptor{}, &fault.Error{Op: "find image", Path: tag, Msg: "index.json has that name for different images"}
	}
	return v1.Descriptor{}, &fault.Error{Op: "find image", Path: tag, Msg: "no image of that name", Hint: "there are " + names(entries)}
}

func hasName(d v1.Descriptor, tag string) bool {
	return d.Annotations[v1.AnnotationRefName] == tag || d.Annotations[containerdName] == tag
}

func names(entries []v1.Descriptor) string {
	var list []string
	for _, d := range entries {
		name := d.Annotations[v1.AnnotationRefName]
		if name == "" {
			name = "one without a name"
		}
		if !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	return strings.Join(list[:min(len(list), 20)], ", ")
}

// Root returns the entry of index.json.
func (s *Source) Root() v1.Descriptor { return s.root }

// Manifest opens a manifest or index.
func (s *Source) Manifest(ctx context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	return s.Blob(ctx, d, 0)
}

// Blob opens a blob at an offset. The digest must be valid.
func (s *Source) Blob(_ context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	return files.From(s.tree, BlobPath(d.Digest), offset)
}

// Close closes the tree where it can be closed.
func (s *Source) Close() error {
	if c, ok := s.tree.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// BlobPath returns where a layout keeps the content of d, which must be valid.
func BlobPath(d digest.Digest) string {
	return v1.ImageBlobsDir + "/" + string(d.Algorithm()) + "/" + d.Encoded()
}

// DirSource is the image of a dir:. Contents are not verified.
type DirSource struct {
	tree files.Dir
	root v1.Descriptor
}

// OpenDir opens what skopeo's dir: has in a directory.
func OpenDir(dir string) (*DirSource, error) {
	tree := files.Dir(dir)
	f, err := tree.Open(dirManifest)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := verify.Limited(f, manifest.MaxSize, dirManifest)
	if err != nil {
		return nil, err
	}
	media, err := manifest.MediaType(raw, "")
	if err != nil {
		return nil, err
	}
	return &DirSource{tree, v1.Descriptor{MediaType: media, Digest: digest.FromBytes(raw), Size: int64(len(raw))}}, nil
}

// Names in a dir:, as of its version 1.1. Other algorithms than sha256 came with 1.2.
const (
	dirManifest = "manifest.json"
	dirVersion  = "version"
	dirVersion1 = "Directory Transport Version: 1.1\n"
	dirVersion2 = "Directory Transport Version: 1.2\n"
)

func dirName(d digest.Digest) string {
	if d.Algorithm() == digest.SHA256 {
		return d.Encoded()
	}
	return string(d.Algorithm()) + "-" + d.Encoded()
}

// Root returns the descriptor of manifest.json.
func (s *DirSource) Root() v1.Descriptor { return s.root }

// Manifest opens a manifest or index.
func (s *DirSource) Manifest(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	if d.Digest == s.root.Digest {
		return s.tree.Open(dirManifest)
	}
	return s.tree.Open(dirName(d.Digest) + "." + dirManifest)
}

// Blob opens a blob at an offset. The digest must be valid.
func (s *DirSource) Blob(_ context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	return files.From(s.tree, dirName(d.Digest), offset)
}

// Close does nothing.
func (s *DirSource) Close() error { return nil }
