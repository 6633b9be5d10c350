package layer

import (
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Platform is what the image is for: "linux/amd64", "linux/arm/v7".
func (i *Image) Platform() string {
	parts := []string{i.Config.OS, i.Config.Architecture}
	if i.Config.Variant != "" {
		parts = append(parts, i.Config.Variant)
	}
	return strings.Join(parts, "/")
}

// Inspected is an image or a bundle as `docker inspect` shows it.
type Inspected struct {
	ID           string               `json:"Id"`
	RepoTags     []string             `json:"RepoTags,omitempty"`
	Digest       digest.Digest        `json:"Digest"`
	Created      *time.Time           `json:"Created,omitempty"`
	Author       string               `json:"Author,omitempty"`
	Os           string               `json:"Os"`
	Architecture string               `json:"Architecture"`
	Variant      string               `json:"Variant,omitempty"`
	Size         int64                `json:"Size"` // bytes of all unpacked files
	Config       *ocispec.ImageConfig `json:"Config"`
	RootFS       RootFS               `json:"RootFS"`
	Blobs        []ocispec.Descriptor `json:"Blobs"` // of the layers, as they are pulled and pushed
	GraphDriver  GraphDriver          `json:"GraphDriver"`
	Bundle       *Bundle              `json:"Bundle,omitempty"`
}

// RootFS names the layers, from the bottom up.
type RootFS struct {
	Type   string          `json:"Type"`
	Layers []digest.Digest `json:"Layers"`
}

// GraphDriver says where the root file system comes from. The words are Docker's.
type GraphDriver struct {
	Name string            `json:"Name"`
	Data map[string]string `json:"Data"`
}

// Inspect tells what is known of an image, or of the bundle in a directory.
func (s *Store) Inspect(name string) (*Inspected, error) {
	i, err := s.Find(name)
	if err == nil {
		return s.inspect(i, nil)
	}
	b, notBundle := s.FindBundle(name)
	if notBundle != nil {
		if strings.HasPrefix(name, "/") || strings.HasPrefix(name, ".") {
			return nil, notBundle
		}
		return nil, err
	}
	if i, err = s.image(b.Manifest); err != nil {
		return nil, err
	}
	return s.inspect(i, b)
}

func (s *Store) inspect(i *Image, b *Bundle) (*Inspected, error) {
	out := &Inspected{
		ID: i.ID().String(), RepoTags: i.Names, Digest: i.Descriptor.Digest, Created: i.Config.Created, Author: i.Config.Author,
		Os: i.Config.OS, Architecture: i.Config.Architecture, Variant: i.Config.Variant, Config: &i.Config.Config,
		RootFS: RootFS{"layers", i.DiffIDs()}, Blobs: i.Manifest.Layers, Bundle: b,
		GraphDriver: GraphDriver{Name: "overlay2", Data: map[string]string{}},
	}
	var lower []string
	for n := len(i.DiffIDs()) - 1; n >= 0; n-- {
		m, err := s.meta(i.DiffIDs()[n])
		if err != nil {
			return nil, err
		}
		out.Size += m.Size
		lower = append(lower, s.lower(i.DiffIDs()[n], m))
	}
	out.GraphDriver.Data["LowerDir"] = strings.Join(lower, ":")
	if b != nil {
		out.GraphDriver.Data["UpperDir"], out.GraphDriver.Data["WorkDir"] = s.upper(b.ID), s.work(b.ID)
		if b.Form == Mounted {
			out.GraphDriver.Data["MergedDir"] = b.Rootfs()
		}
	}
	return out, nil
}

// lower is what overlayfs, or mount for an EROFS layer, gets of a layer.
func (s *Store) lower(diffID digest.Digest, m *Meta) string {
	if m.Backend == EROFS {
		return s.layer(diffID) + "/layer.erofs"
	}
	return s.layer(diffID) + "/fs"
}

// Step is one step of an image's history, and the layer it made.
type Step struct {
	ocispec.History
	DiffID digest.Digest `json:"diffID,omitempty"` // none where the step changed no file
	Size   int64         `json:"size"`
}

// History returns the steps of an image, the first one first. Layers that the history does not speak of come last.
func (s *Store) History(ref string) ([]Step, error) {
	i, err := s.Find(ref)
	if err != nil {
		return nil, err
	}
	steps := i.history()
	for n := range steps {
		if steps[n].DiffID == "" {
			continue
		}
		m, err := s.meta(steps[n].DiffID)
		if err != nil {
			return nil, err
		}
		steps[n].Size = m.Size
	}
	return steps, nil
}

func (i *Image) history() []Step {
	steps, next := []Step{}, 0
	for _, h := range i.Config.History {
		step := Step{History: h}
		if !h.EmptyLayer && next < len(i.DiffIDs()) {
			step.DiffID = i.DiffIDs()[next]
			next++
		}
		steps = append(steps, step)
	}
	for ; next < len(i.DiffIDs()); next++ {
		steps = append(steps, Step{DiffID: i.DiffIDs()[next]})
	}
	return steps
}
