package transport_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/opencontainers/go-digest"
	specs "github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"berth/rootfs/layer/transport"
	"berth/rootfs/layer/transport/manifest"
)

// image is an image in memory: manifests and blobs by digest.
type image struct {
	content map[digest.Digest][]byte
	media   map[digest.Digest]string // of manifests
	root    v1.Descriptor
	layers  []v1.Descriptor // of the last image made
}

func newImage() *image {
	return &image{content: map[digest.Digest][]byte{}, media: map[digest.Digest]string{}}
}

func (m *image) add(media string, raw []byte) v1.Descriptor {
	d := v1.Descriptor{MediaType: media, Digest: digest.FromBytes(raw), Size: int64(len(raw))}
	m.content[d.Digest] = raw
	return d
}

func (m *image) json(t *testing.T, media string, v any) v1.Descriptor {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	d := m.add(media, raw)
	if manifest.IsManifest(media) || manifest.IsIndex(media) {
		m.media[d.Digest] = media
		m.root = d
	}
	return d
}

// image adds an image of gzip layers with a file of each content.
func (m *image) image(t *testing.T, p *v1.Platform, contents ...[]byte) v1.Descriptor {
	t.Helper()
	config := v1.Image{Platform: v1.Platform{OS: "linux", Architecture: "amd64"}, RootFS: v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{}}}
	if p != nil {
		config.Platform = *p
	}
	m.layers = []v1.Descriptor{}
	for _, c := range contents {
		plain := tarOf(t, "file", c)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, digest.FromBytes(plain))
		m.layers = append(m.layers, m.add(v1.MediaTypeImageLayerGzip, gzipped(t, plain)))
	}
	d := m.json(t, v1.MediaTypeImageManifest, v1.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest,
		Config: m.json(t, v1.MediaTypeImageConfig, config), Layers: m.layers})
	d.Platform = p
	return d
}

func (m *image) index(t *testing.T, entries ...v1.Descriptor) v1.Descriptor {
	t.Helper()
	return m.json(t, v1.MediaTypeImageIndex, v1.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageIndex, Manifests: entries})
}

func tarOf(t *testing.T, name string, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(content)), Mode: 0o644}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(content); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gzipped(t *testing.T, raw []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// noise returns n bytes that no compression makes shorter.
func noise(seed, n int) []byte {
	b := make([]byte, n)
	source := rand.NewChaCha8([32]byte{byte(seed)})
	source.Read(b)
	return b
}

// twoLayers is an image of 1 kB and about 300 kB.
func twoLayers(t *testing.T) *image {
	m := newImage()
	m.image(t, nil, noise(1, 1000), noise(2, 300_000))
	return m
}

// Source of the image in memory; it is honest.
type memory struct{ *image }

func (m memory) Root() v1.Descriptor { return m.root }
func (m memory) Close() error        { return nil }
func (m memory) Manifest(_ context.Context, d v1.Descriptor) ([]byte, error) {
	return m.content[d.Digest], nil
}
func (m memory) Blob(_ context.Context, d v1.Descriptor, offset int64) (io.ReadCloser, error) {
	return io.NopCloser(bytes.NewReader(m.content[d.Digest][offset:])), nil
}

// push copies all of m to a name.
func push(t *testing.T, m *image, to string, o transport.Options) {
	t.Helper()
	if err := copyTo(t, memory{m}, to, o); err != nil {
		t.Fatal(err)
	}
}

func copyTo(t *testing.T, s transport.Source, to string, o transport.Options) error {
	t.Helper()
	d, err := transport.Create(t.Context(), parse(t, to), o)
	if err != nil {
		return err
	}
	defer d.Close()
	return transport.Copy(t.Context(), d, s, s.Root(), nil)
}

func parse(t *testing.T, s string) transport.Ref {
	t.Helper()
	r, err := transport.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// pull reads all of an image and returns the contents of its layers.
func pull(t *testing.T, from string, o transport.Options) ([][]byte, error) {
	t.Helper()
	s, err := transport.Open(t.Context(), parse(t, from), o)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return pullFrom(t.Context(), s)
}

func pullFrom(ctx context.Context, s transport.Source) ([][]byte, error) {
	im, err := transport.Resolve(ctx, s, v1.Platform{OS: "linux", Architecture: "amd64"})
	if err != nil {
		return nil, err
	}
	if _, err := transport.Config(ctx, s, im.Manifest); err != nil {
		return nil, err
	}
	var layers [][]byte
	for _, l := range im.Manifest.Layers {
		r, err := s.Blob(ctx, l, 0)
		if err != nil {
			return nil, err
		}
		raw, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			return nil, err
		}
		layers = append(layers, raw)
	}
	return layers, nil
}

// same fails unless the layers are those of m, in this form or uncompressed.
func same(t *testing.T, m *image, got [][]byte) {
	t.Helper()
	if len(got) != len(m.layers) {
		t.Fatalf("%d layers, want %d", len(got), len(m.layers))
	}
	for i, l := range m.layers {
		if !bytes.Equal(plain(t, got[i]), plain(t, m.content[l.Digest])) {
			t.Errorf("layer %d differs", i+1)
		}
	}
}

func plain(t *testing.T, raw []byte) []byte {
	t.Helper()
	if !bytes.HasPrefix(raw, []byte{0x1f, 0x8b}) {
		return raw
	}
	z, err := gzip.NewReader(bytes.NewReader(raw))
	if err == nil {
		raw, err = io.ReadAll(z)
	}
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

var version2 = specs.Versioned{SchemaVersion: 2}

func contextOf(t *testing.T) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return ctx, cancel
}

func unmarshal(t *testing.T, raw []byte, to any) {
	t.Helper()
	if err := json.Unmarshal(raw, to); err != nil {
		t.Fatal(err)
	}
}
