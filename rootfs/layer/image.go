package layer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"berth/libcontainer/fault"
)

// Image is one image of the store, of one platform.
type Image struct {
	Names      []string // sorted
	Descriptor ocispec.Descriptor
	Manifest   ocispec.Manifest
	Config     ocispec.Image
}

// ID is the digest of the configuration, as Docker has it.
func (i *Image) ID() digest.Digest { return i.Manifest.Config.Digest }

// DiffIDs are the layers from the bottom up.
func (i *Image) DiffIDs() []digest.Digest { return i.Config.RootFS.DiffIDs }

// maxDocument is how large a manifest or a configuration may be, in bytes.
const maxDocument = 4 << 20

// blob is where the content of a digest is, or would be.
func (s *Store) blob(d digest.Digest) string { return s.path(blobsDir, d.Encoded()) }

// hasBlob says whether all of the content of a descriptor is here.
func (s *Store) hasBlob(d ocispec.Descriptor) bool {
	info, err := os.Stat(s.blob(d.Digest))
	return err == nil && info.Mode().IsRegular() && info.Size() == d.Size
}

// document reads a small blob and holds it to its digest.
func (s *Store) document(d ocispec.Descriptor) ([]byte, error) {
	f, err := os.Open(s.blob(d.Digest))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxDocument+1))
	switch {
	case err != nil:
		return nil, err
	case len(data) > maxDocument:
		return nil, &fault.Error{Op: "read", Path: f.Name(), Msg: fmt.Sprintf("is no manifest or configuration: more than %d bytes", maxDocument)}
	case digest.FromBytes(data) != d.Digest:
		return nil, &fault.Error{Op: "read", Path: f.Name(), Msg: "is damaged: its content has another digest", Hint: "berth-layer fsck --repair, then pull the image again"}
	}
	return data, nil
}

// writeBlob keeps a small document and describes it.
func (s *Store) writeBlob(mediaType string, data []byte) (ocispec.Descriptor, error) {
	d := ocispec.Descriptor{MediaType: mediaType, Digest: digest.FromBytes(data), Size: int64(len(data))}
	if _, err := s.document(d); err == nil { // one that is damaged is replaced
		return d, nil
	}
	return d, s.writeFile(blobsDir+"/"+d.Digest.Encoded(), data)
}

// image reads the manifest that d describes, and its configuration.
func (s *Store) image(d ocispec.Descriptor) (*Image, error) {
	data, err := s.document(d)
	if err != nil {
		return nil, err
	}
	i := &Image{Descriptor: d}
	if i.Manifest, err = parseManifest(data, d); err != nil {
		return nil, err
	}
	if data, err = s.document(i.Manifest.Config); err != nil {
		return nil, err
	}
	i.Config, err = parseConfig(data, &i.Manifest)
	return i, err
}

// parseManifest reads a manifest. The digests in it become names of files: they are checked here.
func parseManifest(data []byte, d ocispec.Descriptor) (ocispec.Manifest, error) {
	var m ocispec.Manifest
	bad := func(why string) error {
		return &fault.Error{Op: "read the manifest", Path: d.Digest.String(), Msg: why}
	}
	if err := json.Unmarshal(data, &m); err != nil {
		return m, bad(err.Error())
	}
	if m.Config.Digest == "" {
		return m, bad("there is no config in it")
	}
	for n, part := range append(slices.Clone(m.Layers), m.Config) {
		what := fmt.Sprintf("layer %d", n)
		if n == len(m.Layers) {
			what = "config"
		}
		switch {
		case part.Digest.Validate() != nil:
			return m, bad(fmt.Sprintf("the digest of %s is none: %s", what, fault.Brief(string(part.Digest))))
		case part.Digest.Algorithm() != digest.SHA256:
			return m, bad(fmt.Sprintf("the digest of %s is %s; only sha256 is kept", what, part.Digest.Algorithm()))
		case part.Size < 0:
			return m, bad(fmt.Sprintf("the size of %s is negative", what))
		}
	}
	return m, nil
}

// parseConfig reads a configuration and holds it to the manifest.
func parseConfig(data []byte, m *ocispec.Manifest) (ocispec.Image, error) {
	var c ocispec.Image
	bad := func(why string) error {
		return &fault.Error{Op: "read the configuration", Path: m.Config.Digest.String(), Msg: why}
	}
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(&c); err != nil {
		return c, bad(err.Error())
	}
	if len(c.RootFS.DiffIDs) != len(m.Layers) {
		return c, bad(fmt.Sprintf("it has %d diff_ids, the manifest %d layers; this is no container image", len(c.RootFS.DiffIDs), len(m.Layers)))
	}
	for n, d := range c.RootFS.DiffIDs {
		if d.Validate() != nil || d.Algorithm() != digest.SHA256 {
			return c, bad(fmt.Sprintf("rootfs.diff_ids[%d] is no sha256 digest: %s", n, fault.Brief(string(d))))
		}
	}
	return c, nil
}

// Images returns the images of the store, in the order in which they were named, each once. One that cannot be read is
// told to warn and left out.
func (s *Store) Images() ([]*Image, error) {
	x, err := s.index()
	if err != nil {
		return nil, err
	}
	var all []*Image
	seen := map[digest.Digest]*Image{}
	for _, d := range x.Manifests {
		i := seen[d.Digest]
		if i == nil {
			if i, err = s.image(d); err != nil {
				s.warn(fmt.Sprintf("image %s: %v", nameOf(d), err))
				continue
			}
			seen[d.Digest] = i
			all = append(all, i)
		}
		if name := nameOf(d); name != "" {
			i.Names = append(i.Names, name)
			slices.Sort(i.Names)
		}
	}
	return all, nil
}

// Find returns the image that ref means: a name (without a tag: latest), or the beginning of the digest of an image's
// configuration or manifest, twelve digits as `images` prints them or any other number that is enough.
func (s *Store) Find(ref string) (*Image, error) {
	x, err := s.index()
	if err != nil {
		return nil, err
	}
	for _, name := range []string{ref, withTag(ref)} {
		if n := slices.IndexFunc(x.Manifests, func(d ocispec.Descriptor) bool { return nameOf(d) == name }); n >= 0 {
			i, err := s.image(x.Manifests[n])
			if err == nil {
				i.Names = namesFor(x, i.Descriptor.Digest)
			} else if now, e := s.index(); e == nil && !slices.Equal(namesFor(now, x.Manifests[n].Digest), namesFor(x, x.Manifests[n].Digest)) {
				return s.Find(ref) // it was removed meanwhile: readers have no lock
			}
			return i, err
		}
	}
	return s.findByDigest(x, ref)
}

func namesFor(x *ocispec.Index, d digest.Digest) []string {
	var names []string
	for _, have := range x.Manifests {
		if name := nameOf(have); have.Digest == d && name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (s *Store) findByDigest(x *ocispec.Index, ref string) (*Image, error) {
	none := &fault.Error{Op: "find the image", Path: fault.Brief(ref), Msg: "there is none of that name or ID", Code: "no-such-image", Hint: "berth-layer images lists them"}
	hex := strings.TrimPrefix(ref, "sha256:")
	if len(hex) < 4 || strings.Trim(hex, "0123456789abcdef") != "" {
		return nil, none
	}
	all, err := s.Images()
	if err != nil {
		return nil, err
	}
	var found *Image
	for _, i := range all {
		if !strings.HasPrefix(i.ID().Encoded(), hex) && !strings.HasPrefix(i.Descriptor.Digest.Encoded(), hex) {
			continue
		}
		if found != nil {
			return nil, &fault.Error{Op: "find the image", Path: ref, Msg: "more than one ID begins so", Hint: "give more digits"}
		}
		found = i
	}
	if found == nil {
		return nil, none
	}
	return found, nil
}
