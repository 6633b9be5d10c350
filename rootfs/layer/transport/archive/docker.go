package archive

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/transport/manifest"
	"berth/rootfs/layer/transport/ref"
	"berth/rootfs/layer/transport/verify"
)

// dockerManifest is the table of contents of what docker save writes.
const (
	dockerManifest    = "manifest.json"
	maxDockerManifest = 16 << 20
)

// item is one image in manifest.json (Docker's image specification 1.2, "Combined Image JSON + Filesystem Changeset
// Format").
type item struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// DockerSource is an image of a docker-archive, under an OCI manifest made up for it. Contents are not verified.
type DockerSource struct {
	tree  *tree
	raw   []byte
	root  v1.Descriptor
	blobs map[digest.Digest]place
}

// OpenDocker opens the image that r names in the archive; without a name the archive must have one. Layers that are
// compressed and not named by their digests are read once to find those.
func OpenDocker(ctx context.Context, r ref.Ref, sp Spool) (*DockerSource, error) {
	t, err := openTree(ctx, r.Path, sp)
	if err != nil {
		return nil, err
	}
	s := &DockerSource{tree: t, blobs: map[digest.Digest]place{}}
	if err := s.load(ctx, r); err != nil {
		t.Close()
		return nil, err
	}
	return s, nil
}

func (s *DockerSource) load(ctx context.Context, r ref.Ref) error {
	items, err := s.contents()
	if err != nil {
		return err
	}
	it, err := choose(items, r)
	if err != nil {
		return err
	}
	m, err := s.describe(ctx, it)
	if err != nil {
		return err
	}
	if s.raw, err = json.Marshal(m); err != nil {
		return err
	}
	s.root = v1.Descriptor{MediaType: m.MediaType, Digest: digest.FromBytes(s.raw), Size: int64(len(s.raw))}
	if len(it.RepoTags) > 0 {
		s.root.Annotations = map[string]string{v1.AnnotationRefName: it.RepoTags[0]}
	}
	return nil
}

func (s *DockerSource) contents() ([]item, error) {
	f, err := s.tree.Open(dockerManifest)
	if err != nil {
		hint := ""
		if _, err := s.tree.find(v1.ImageLayoutFile); err == nil {
			hint = "it is an oci-archive:"
		}
		return nil, &fault.Error{Msg: "not a docker-archive", Hint: hint, Err: err}
	}
	raw, err := verify.Limited(f, maxDockerManifest, dockerManifest)
	if err != nil {
		return nil, err
	}
	var items []item
	if err := json.Unmarshal(raw, &items); err != nil {
		return nil, &fault.Error{Op: "read", Path: dockerManifest, Err: err}
	}
	return items, nil
}

// choose returns the image that r names.
func choose(items []item, r ref.Ref) (item, error) {
	var tags []string
	for _, it := range items {
		tags = append(tags, it.RepoTags...)
	}
	there := "there are " + strings.Join(tags[:min(len(tags), 20)], ", ")
	switch {
	case r.Index > len(items):
		return item{}, &fault.Error{Op: "find image", Path: fmt.Sprintf("@%d", r.Index-1), Msg: fmt.Sprintf("the archive has %d", len(items))}
	case r.Index > 0:
		return items[r.Index-1], nil
	case r.Name == "" && len(items) == 1:
		return items[0], nil
	case r.Name == "":
		return item{}, &fault.Error{Op: "find image", Msg: fmt.Sprintf("the archive has %d", len(items)), Hint: "name one by :NAME:TAG or :@N; " + there}
	}
	for _, it := range items {
		for _, tag := range it.RepoTags {
			if named, err := ref.Parse("docker://" + tag); err == nil && named.Host+"/"+named.Name == r.Name && named.Tag == r.Tag {
				return it, nil
			}
		}
	}
	return item{}, &fault.Error{Op: "find image", Path: r.Name + ":" + r.Tag, Msg: "no image of that name", Hint: there}
}

// describe makes the manifest of an image up.
func (s *DockerSource) describe(ctx context.Context, it item) (*v1.Manifest, error) {
	config, image, err := s.config(it.Config)
	if err != nil {
		return nil, err
	}
	if len(it.Layers) != len(image.RootFS.DiffIDs) {
		return nil, &fault.Error{Op: "read", Path: it.Config, Msg: fmt.Sprintf("%d diff_ids for %d layers", len(image.RootFS.DiffIDs), len(it.Layers))}
	}
	m := &v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, Config: config, Layers: []v1.Descriptor{}}
	known := map[place]v1.Descriptor{}
	for i, name := range it.Layers {
		p, err := s.tree.find(path.Clean(name))
		if err != nil {
			return nil, err
		}
		d, ok := known[p]
		if !ok {
			if d, err = s.layer(ctx, name, p, image.RootFS.DiffIDs[i]); err != nil {
				return nil, err
			}
			known[p], s.blobs[d.Digest] = d, p
		}
		m.Layers = append(m.Layers, d)
	}
	return m, nil
}

func (s *DockerSource) config(name string) (v1.Descriptor, *v1.Image, error) {
	p, err := s.tree.find(path.Clean(name))
	if err != nil {
		return v1.Descriptor{}, nil, err
	}
	raw, err := s.tree.head(p, manifest.MaxConfig)
	if err == nil && p.size > manifest.MaxConfig {
		err = &fault.Error{Msg: fmt.Sprintf("longer than the limit of %d bytes", manifest.MaxConfig)}
	}
	image := &v1.Image{}
	if err == nil {
		err = json.Unmarshal(raw, image)
	}
	if err != nil {
		return v1.Descriptor{}, nil, &fault.Error{Op: "read", Path: name, Err: err}
	}
	d := v1.Descriptor{MediaType: v1.MediaTypeImageConfig, Digest: digest.FromBytes(raw), Size: p.size}
	s.blobs[d.Digest] = p
	return d, image, nil
}

// byDigest returns the digest of which buildkit and docker of today make a member's name; empty if it is another name.
func byDigest(name string) digest.Digest {
	hex, ok := strings.CutPrefix(path.Clean(name), "blobs/sha256/")
	if d := digest.NewDigestFromEncoded(digest.SHA256, hex); ok && d.Validate() == nil {
		return d
	}
	return ""
}

// layer describes the layer in p. A digest that something in the archive claims is taken over, for it is verified when
// the layer is read; that of a plain tar is the diffID.
func (s *DockerSource) layer(ctx context.Context, name string, p place, diffID digest.Digest) (v1.Descriptor, error) {
	head, err := s.tree.head(p, 6)
	if err != nil {
		return v1.Descriptor{}, &fault.Error{Op: "read", Path: name, Err: err}
	}
	d := v1.Descriptor{Size: p.size}
	switch format := compression(head); format {
	case "":
		d.MediaType, d.Digest = v1.MediaTypeImageLayer, diffID
	case "gzip", "zstd":
		d.MediaType = v1.MediaTypeImageLayer + "+" + format
		if d.Digest = byDigest(name); d.Digest != "" {
			break
		}
		if d.Digest, err = digest.FromReader(withContext{ctx, io.NewSectionReader(s.tree, p.offset, p.size)}); err != nil {
			return d, &fault.Error{Op: "read", Path: name, Err: err}
		}
	default:
		return d, &fault.Error{Op: "read", Path: name, Msg: "a layer compressed with " + format + ", which no media type is for"}
	}
	if err := verify.Descriptor(d); err != nil {
		return d, &fault.Error{Op: "read", Path: name, Err: err}
	}
	return d, nil
}

// Root returns the descriptor of the manifest that was made up.
func (s *DockerSource) Root() v1.Descriptor { return s.root }

// Manifest returns that manifest; there is no other.
func (s *DockerSource) Manifest(_ context.Context, d v1.Descriptor) (io.ReadCloser, error) {
	if d.Digest != s.root.Digest {
		return nil, missing(d)
	}
	return io.NopCloser(bytes.NewReader(s.raw)), nil
}

// Blob opens the config or a layer at an offset.
func (s *DockerSource) Blob(_ context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	p, ok := s.blobs[d.Digest]
	if !ok {
		return nil, missing(d)
	}
	offset = min(offset, p.size)
	return io.NopCloser(io.NewSectionReader(s.tree, p.offset+offset, p.size-offset)), nil
}

func missing(d v1.Descriptor) error {
	return &fault.Error{Op: "find in archive", Path: cmp.Or(string(d.Digest), "blob"), Err: fs.ErrNotExist}
}

// Close closes the archive.
func (s *DockerSource) Close() error { return s.tree.Close() }
