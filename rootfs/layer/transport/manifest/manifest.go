// Package manifest reads image manifests and indexes of the OCI and of Docker's schema 2, and chooses by platform.
package manifest

import (
	"encoding/json"
	"fmt"

	specs "github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/transport/verify"
)

// MaxSize is how long a manifest or index may be: what the distribution specification asks registries to accept.
const MaxSize = 4 << 20

// MaxConfig is how long an image config may be.
const MaxConfig = 8 << 20

// Docker's media types; the OCI's are constants of v1.
const (
	DockerManifest     = "application/vnd.docker.distribution.manifest.v2+json"
	DockerList         = "application/vnd.docker.distribution.manifest.list.v2+json"
	DockerConfig       = "application/vnd.docker.container.image.v1+json"
	DockerLayer        = "application/vnd.docker.image.rootfs.diff.tar"
	DockerLayerGzip    = "application/vnd.docker.image.rootfs.diff.tar.gzip"
	DockerLayerZstd    = "application/vnd.docker.image.rootfs.diff.tar.zstd"
	DockerForeign      = "application/vnd.docker.image.rootfs.foreign.diff.tar"
	DockerForeignGzip  = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
	dockerSchema1      = "application/vnd.docker.distribution.manifest.v1+json"
	dockerSchema1Sign  = "application/vnd.docker.distribution.manifest.v1+prettyjws"
	ociForeign         = "application/vnd.oci.image.layer.nondistributable.v1.tar"
	ociForeignGzip     = "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"
	ociForeignZstd     = "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"
	schema1Explanation = "an image of Docker's schema 1, given up in 2019"
)

// Accepted are the media types of manifests and indexes, as an HTTP Accept header has them.
var Accepted = []string{v1.MediaTypeImageManifest, v1.MediaTypeImageIndex, DockerManifest, DockerList}

// IsIndex says whether media is that of an index or of Docker's list of manifests.
func IsIndex(media string) bool { return media == v1.MediaTypeImageIndex || media == DockerList }

// IsManifest says whether media is that of the manifest of one image.
func IsManifest(media string) bool {
	return media == v1.MediaTypeImageManifest || media == DockerManifest
}

// shape is what tells the kinds of documents apart.
type shape struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     string          `json:"mediaType"`
	Config        json.RawMessage `json:"config"`
	Layers        json.RawMessage `json:"layers"`
	Manifests     json.RawMessage `json:"manifests"`
	FSLayers      json.RawMessage `json:"fsLayers"`
	History       json.RawMessage `json:"history"`
}

// MediaType returns the media type of raw. What was said of it from outside, the Content-Type of a response or the
// media type of a descriptor, may be empty; where it is one of Accepted, raw must agree. A document that can be read
// both as a manifest and as an index is refused (CVE-2021-41190).
func MediaType(raw []byte, said string) (string, error) {
	var s shape
	if err := json.Unmarshal(raw, &s); err != nil {
		return "", refuse("not a manifest: "+err.Error(), "")
	}
	if said == dockerSchema1 || said == dockerSchema1Sign || s.SchemaVersion == 1 {
		return "", refuse(schema1Explanation, "push it again with a present tool")
	}
	index, image := s.Manifests != nil, s.Layers != nil || s.Config != nil || s.FSLayers != nil
	var found string
	switch {
	case index && image:
		return "", refuse("it is a manifest and an index at once", "")
	case s.SchemaVersion != 2:
		return "", refuse(fmt.Sprintf("schemaVersion is %d, not 2", s.SchemaVersion), "")
	case index:
		found = orElse(s.MediaType, said, v1.MediaTypeImageIndex)
	case image:
		found = orElse(s.MediaType, said, v1.MediaTypeImageManifest)
	default:
		return "", refuse("neither a manifest nor an index", "")
	}
	switch {
	case index != IsIndex(found) || image != IsManifest(found):
		return "", refuse("its content is not of the media type "+found, "")
	case said != found && (IsIndex(said) || IsManifest(said)):
		return "", refuse("it says media type "+found+" but was announced as "+said, "")
	}
	return found, nil
}

// orElse returns the media type of a document: what it says of itself, else what was said of it if that is known.
func orElse(itself, said, byShape string) string {
	if itself != "" {
		return itself
	}
	if IsIndex(said) || IsManifest(said) {
		return said
	}
	return byShape
}

func refuse(msg, hint string) error {
	return &fault.Error{Op: "read manifest", Msg: msg, Hint: hint, Code: "bad-manifest"}
}

// Image reads the manifest of one image and checks its descriptors. Media types stay as they are; see ToOCI.
func Image(raw []byte, said string) (*v1.Manifest, error) {
	media, err := MediaType(raw, said)
	if err != nil {
		return nil, err
	}
	if !IsManifest(media) {
		return nil, refuse("an index, not the manifest of one image", "")
	}
	m := &v1.Manifest{}
	if err := json.Unmarshal(raw, m); err != nil {
		return nil, refuse(err.Error(), "")
	}
	m.MediaType = media
	for i, d := range append([]v1.Descriptor{m.Config}, m.Layers...) {
		if err := verify.Descriptor(d); err != nil {
			what := "config"
			if i > 0 {
				what = fmt.Sprintf("layer %d", i)
			}
			return nil, &fault.Error{Op: "read manifest", Msg: what, Err: err, Code: "bad-manifest"}
		}
	}
	return m, nil
}

// Index reads an index or Docker's list and checks its descriptors.
func Index(raw []byte, said string) (*v1.Index, error) {
	media, err := MediaType(raw, said)
	if err != nil {
		return nil, err
	}
	if !IsIndex(media) {
		return nil, refuse("the manifest of one image, not an index", "")
	}
	x := &v1.Index{}
	if err := json.Unmarshal(raw, x); err != nil {
		return nil, refuse(err.Error(), "")
	}
	x.MediaType = media
	for i, d := range x.Manifests {
		if err := verify.Descriptor(d); err != nil {
			return nil, &fault.Error{Op: "read index", Msg: fmt.Sprintf("manifest %d", i+1), Err: err, Code: "bad-manifest"}
		}
	}
	return x, nil
}

// toOCI are the OCI's names of Docker's media types.
var toOCI = map[string]string{
	DockerManifest:    v1.MediaTypeImageManifest,
	DockerList:        v1.MediaTypeImageIndex,
	DockerConfig:      v1.MediaTypeImageConfig,
	DockerLayer:       v1.MediaTypeImageLayer,
	DockerLayerGzip:   v1.MediaTypeImageLayerGzip,
	DockerLayerZstd:   v1.MediaTypeImageLayerZstd,
	DockerForeign:     ociForeign,
	DockerForeignGzip: ociForeignGzip,
}

// OCIMediaType returns the OCI's name of a media type of Docker's, and any other as it is.
func OCIMediaType(media string) string {
	if oci, ok := toOCI[media]; ok {
		return oci
	}
	return media
}

// ToOCI returns m with the OCI's media types. It is another document than m, with another digest.
func ToOCI(m v1.Manifest) v1.Manifest {
	m.Versioned = specs.Versioned{SchemaVersion: 2}
	m.MediaType = v1.MediaTypeImageManifest
	m.Config.MediaType = OCIMediaType(m.Config.MediaType)
	layers := make([]v1.Descriptor, len(m.Layers))
	for i, d := range m.Layers {
		d.MediaType = OCIMediaType(d.MediaType)
		layers[i] = d
	}
	m.Layers = layers
	return m
}

// IsForeign says whether layers of media are not meant to be pushed.
func IsForeign(media string) bool {
	switch OCIMediaType(media) {
	case ociForeign, ociForeignGzip, ociForeignZstd:
		return true
	}
	return false
}

// IsImage says whether m describes a container image: other things are kept in registries too, and have other configs.
func IsImage(m *v1.Manifest) bool { return OCIMediaType(m.Config.MediaType) == v1.MediaTypeImageConfig }
