package layer

import (
	"slices"

	"github.com/opencontainers/go-digest"
)

// Usage is what an image takes on the disk, in bytes: blobs and unpacked layers.
type Usage struct {
	Image  *Image        `json:"-"`
	Names  []string      `json:"names"`
	ID     digest.Digest `json:"id"`
	Shared int64         `json:"shared"` // what other images have too
	Unique int64         `json:"unique"` // what goes with the image's last name
}

// BundleUsage is what a bundle has written, in bytes on the disk.
type BundleUsage struct {
	Path string `json:"path"`
	Size int64  `json:"size"`
}

// DiskUsage is what the whole store takes.
type DiskUsage struct {
	Images  []Usage       `json:"images"`
	Bundles []BundleUsage `json:"bundles"`
	Total   int64         `json:"total"` // of images, shared things once, and bundles
}

// DiskUsage adds up what images and bundles take.
func (s *Store) DiskUsage() (*DiskUsage, error) {
	images, err := s.Images()
	if err != nil {
		return nil, err
	}
	users, size := map[string]int{}, map[string]int64{}
	parts := make([][]string, len(images))
	for n, i := range images {
		parts[n] = s.parts(i)
		for _, part := range parts[n] {
			users[part]++
			if _, known := size[part]; !known {
				size[part] = s.diskOf(part)
			}
		}
	}
	out := &DiskUsage{Images: []Usage{}, Bundles: []BundleUsage{}}
	for n, i := range images {
		u := Usage{Image: i, Names: i.Names, ID: i.ID()}
		for _, part := range parts[n] {
			if users[part] > 1 {
				u.Shared += size[part]
			} else {
				u.Unique += size[part]
			}
		}
		out.Images = append(out.Images, u)
	}
	for _, bytes := range size {
		out.Total += bytes
	}
	bundles, err := s.Bundles()
	for _, b := range bundles {
		u := BundleUsage{b.Path, sizeOf(s.upper(b.ID))}
		out.Total += u.Size
		out.Bundles = append(out.Bundles, u)
	}
	return out, err
}

// parts are the places of all that an image is made of, each once.
func (s *Store) parts(i *Image) []string {
	all := []string{s.blob(i.Descriptor.Digest), s.blob(i.ID())}
	for n, d := range i.Manifest.Layers {
		all = append(all, s.blob(d.Digest), s.layer(i.DiffIDs()[n]))
	}
	slices.Sort(all)
	return slices.Compact(all)
}
