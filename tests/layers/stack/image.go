package stack

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
)

// Tag is the name under which an image's layout has it.
const Tag = "latest"

const wrongDigest = "sha256:0000000000000000000000000000000000000000000000000000000000000bad"

type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Platform    *platform         `json:"platform,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

type config struct {
	Created string `json:"created"`
	platform
	Config struct {
		Cmd []string
	} `json:"config"`
	RootFS struct {
		Type    string   `json:"type"`
		DiffIDs []string `json:"diff_ids"`
	} `json:"rootfs"`
	History []history `json:"history,omitempty"`
}

type history struct {
	Created   string `json:"created"`
	CreatedBy string `json:"created_by"`
}

type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        descriptor   `json:"config"`
	Layers        []descriptor `json:"layers"`
}

type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType,omitempty"`
	Manifests     []descriptor `json:"manifests"`
}

const epoch = "2001-09-09T01:46:40Z" // whenever

// layout is an OCI image layout that is being written.
type layout struct{ dir string }

// WriteLayout writes an OCI image layout with one image, under Tag. Attributes of the image:
//
//	media=docker     Docker's media types
//	index=nested     the manifest in an index of its own
//	diffids=N        so many diffIDs in the config, whatever the layers are
//	history=none     no history
func (s Stack) WriteLayout(dir string, image []Attr) error {
	s, err := s.expanded()
	if err != nil {
		return err
	}
	l := layout{dir}
	if err := os.MkdirAll(filepath.Join(dir, "blobs/sha256"), 0o755); err != nil {
		return err
	}
	c := config{Created: epoch, platform: platform{"amd64", "linux"}}
	c.Config.Cmd = []string{"/bin/true"} // nobody runs it, but a bundle needs one
	c.RootFS.Type = "layers"
	var layers []descriptor
	for i := range s {
		d, diffID, err := l.layer(&s[i], image)
		if err != nil {
			return err
		}
		layers = append(layers, d)
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, diffID)
		if _, ok := find(image, "history"); !ok {
			c.History = append(c.History, history{epoch, "layer " + diffID[7:15]})
		}
	}
	if n, ok := find(image, "diffids"); ok {
		c.RootFS.DiffIDs = strings.Split(strings.Repeat(c.RootFS.DiffIDs[0]+" ", int(n[0]-'0')), " ")[:n[0]-'0']
	}
	return l.manifest(c, layers, image)
}

func (l layout) layer(layer *Layer, image []Attr) (d descriptor, diffID string, err error) {
	tar, err := layer.Tar()
	if err != nil {
		return d, "", err
	}
	blob, ending, err := layer.compressed(tar)
	if err != nil {
		return d, "", err
	}
	diffID = digest(tar)
	d = descriptor{MediaType: mediaType(image, "application/vnd.oci.image.layer.v1.tar"+ending), Digest: digest(blob), Size: int64(len(blob))}
	if _, missing := layer.Attr("missing"); !missing {
		if err := l.blob(blob); err != nil {
			return d, "", err
		}
	}
	for _, a := range layer.Attrs {
		switch {
		case a.Key == "media":
			d.MediaType = a.Value
		case a.Key == "diffid":
			diffID = wrongDigest
		case a.Key == "length":
			d.Size++
		case a.Key == "digest" && a.Value == "wrong":
			d.Digest = wrongDigest
			name := filepath.Join(l.dir, "blobs/sha256", strings.TrimPrefix(wrongDigest, "sha256:"))
			if err := os.WriteFile(name, blob, 0o644); err != nil {
				return d, "", err
			}
		case a.Key == "digest":
			d.Digest = a.Value
		}
	}
	return d, diffID, nil
}

func (l layout) manifest(c config, layers []descriptor, image []Attr) error {
	m := manifest{SchemaVersion: 2, MediaType: mediaType(image, "application/vnd.oci.image.manifest.v1+json"), Layers: layers}
	var err error
	if m.Config, err = l.json(mediaType(image, "application/vnd.oci.image.config.v1+json"), c); err != nil {
		return err
	}
	top, err := l.json(m.MediaType, m)
	if err != nil {
		return err
	}
	if _, nested := find(image, "index"); nested {
		top.Platform = &c.platform
		const media = "application/vnd.oci.image.index.v1+json"
		if top, err = l.json(media, index{2, media, []descriptor{top}}); err != nil {
			return err
		}
	}
	top.Annotations = map[string]string{"org.opencontainers.image.ref.name": Tag}
	raw, err := json.Marshal(index{SchemaVersion: 2, Manifests: []descriptor{top}})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(l.dir, "index.json"), raw, 0o644); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(l.dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644)
}

// mediaType is Docker's name for a media type where the image wants those.
func mediaType(image []Attr, oci string) string {
	if media, _ := find(image, "media"); media != "docker" {
		return oci
	}
	return map[string]string{
		"application/vnd.oci.image.layer.v1.tar+gzip": "application/vnd.docker.image.rootfs.diff.tar.gzip",
		"application/vnd.oci.image.layer.v1.tar":      "application/vnd.docker.image.rootfs.diff.tar",
		"application/vnd.oci.image.manifest.v1+json":  "application/vnd.docker.distribution.manifest.v2+json",
		"application/vnd.oci.image.config.v1+json":    "application/vnd.docker.container.image.v1+json",
	}[oci]
}

func (l layout) json(media string, value any) (descriptor, error) {
	raw, err := json.Marshal(value)
	if err != nil {
		return descriptor{}, err
	}
	return descriptor{MediaType: media, Digest: digest(raw), Size: int64(len(raw))}, l.blob(raw)
}

func (l layout) blob(data []byte) error {
	name := filepath.Join(l.dir, "blobs/sha256", strings.TrimPrefix(digest(data), "sha256:"))
	return os.WriteFile(name, data, 0o644)
}

func digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}
