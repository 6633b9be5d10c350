package manifest

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

const sum = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestMediaType(t *testing.T) {
	const image, index = `{"schemaVersion":2,"config":{},"layers":[]`, `{"schemaVersion":2,"manifests":[]`
	for _, c := range []struct{ raw, said, want, fault string }{
		{image + `}`, "", v1.MediaTypeImageManifest, ""},
		{image + `}`, v1.MediaTypeImageManifest, v1.MediaTypeImageManifest, ""},
		{image + `}`, DockerManifest, DockerManifest, ""},
		{image + `}`, "text/plain", v1.MediaTypeImageManifest, ""},
		{image + `,"mediaType":"` + DockerManifest + `"}`, "", DockerManifest, ""},
		{index + `}`, "", v1.MediaTypeImageIndex, ""},
		{index + `}`, DockerList, DockerList, ""},
		{`{"schemaVersion":2,"config":{},"layers":[],"manifests":[]}`, "", "", "at once"},
		{`{"schemaVersion":2,"manifests":[],"fsLayers":[]}`, "", "", "at once"},
		{index + `}`, v1.MediaTypeImageManifest, "", "not of the media type"},
		{image + `,"mediaType":"` + v1.MediaTypeImageIndex + `"}`, "", "", "not of the media type"},
		{image + `,"mediaType":"` + DockerManifest + `"}`, v1.MediaTypeImageManifest, "", "announced as"},
		{image + `,"mediaType":"application/x"}`, "", "", "not of the media type application/x"},
		{`{"schemaVersion":1,"fsLayers":[]}`, "", "", "schema 1"},
		{image + `}`, "application/vnd.docker.distribution.manifest.v1+prettyjws", "", "schema 1"},
		{`{"schemaVersion":3,"layers":[]}`, "", "", "schemaVersion is 3"},
		{`{"schemaVersion":2}`, "", "", "neither"},
		{`[]`, "", "", "not a manifest"},
		{``, "", "", "not a manifest"},
	} {
		got, err := MediaType([]byte(c.raw), c.said)
		if got != c.want || (c.fault == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%s said to be %q: %q, %v; want %q %s", c.raw, c.said, got, err, c.want, c.fault)
		}
	}
}

func TestBadDescriptorsAreNamed(t *testing.T) {
	for _, c := range []struct{ raw, want string }{
		{`{"schemaVersion":2,"config":{"digest":"sha256:../../x"},"layers":[]}`, "config"},
		{`{"schemaVersion":2,"config":{"digest":"` + sum + `"},"layers":[{"digest":"` + sum + `"},{"digest":"x"}]}`, "layer 2"},
		{`{"schemaVersion":2,"config":{"digest":"` + sum + `"},"layers":[{"digest":"` + sum + `","size":-1}]}`, "layer 1"},
		{`{"schemaVersion":2,"config":{"digest":"` + sum + `"},"layers":{}}`, "cannot unmarshal"},
		{`{"schemaVersion":2,"manifests":[]}`, "an index"},
	} {
		if _, err := Image([]byte(c.raw), ""); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v; want %s", c.raw, err, c.want)
		}
	}
	if _, err := Index([]byte(`{"schemaVersion":2,"manifests":[{"digest":"sha256:/etc/passwd"}]}`), ""); err == nil || !strings.Contains(err.Error(), "manifest 1") {
		t.Error(err)
	}
}

func TestToOCI(t *testing.T) {
	m := v1.Manifest{MediaType: DockerManifest, Config: v1.Descriptor{MediaType: DockerConfig},
		Layers: []v1.Descriptor{{MediaType: DockerLayerGzip}, {MediaType: DockerForeignGzip}, {MediaType: "other"}}}
	got := ToOCI(m)
	raw, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := MediaType(raw, v1.MediaTypeImageManifest); err != nil || got.SchemaVersion != 2 {
		t.Error(err, got)
	}
	if got.Config.MediaType != v1.MediaTypeImageConfig || got.Layers[0].MediaType != v1.MediaTypeImageLayerGzip ||
		got.Layers[1].MediaType != ociForeignGzip || got.Layers[2].MediaType != "other" || m.Layers[0].MediaType != DockerLayerGzip {
		t.Errorf("%+v from %+v", got, m)
	}
	if !IsForeign(m.Layers[1].MediaType) || IsForeign(m.Layers[0].MediaType) || !IsImage(&m) {
		t.Error("foreign or image")
	}
}

func TestChoose(t *testing.T) {
	entry := func(platform string) v1.Descriptor {
		d := v1.Descriptor{Digest: digest.FromString(platform)}
		if os, rest, found := strings.Cut(platform, "/"); found {
			d.Platform = &v1.Platform{OS: os}
			d.Platform.Architecture, d.Platform.Variant, _ = strings.Cut(rest, "/")
		}
		return d
	}
	for _, c := range []struct{ index, want, got string }{
		{"linux/amd64 linux/arm64/v8 linux/arm/v6 linux/arm/v7", "linux/amd64", "linux/amd64"},
		{"linux/amd64 linux/arm64/v8 linux/arm/v6 linux/arm/v7", "linux/arm64", "linux/arm64/v8"},
		{"linux/amd64 linux/arm64/v8 linux/arm/v6 linux/arm/v7", "linux/aarch64", "linux/arm64/v8"},
		{"linux/arm/v5 linux/arm/v6 linux/arm/v7", "linux/arm", "linux/arm/v7"},
		{"linux/arm/v5 linux/arm/v6", "linux/arm/v7", "linux/arm/v6"},
		{"linux/arm/v7", "linux/arm/v6", ""},
		{"linux/amd64 linux/amd64/v3", "linux/amd64/v3", "linux/amd64/v3"},
		{"linux/amd64", "linux/amd64/v3", "linux/amd64"},
		{"linux/amd64/v3", "linux/amd64", ""},
		{"windows/amd64 unknown/unknown", "linux/amd64", ""},
		{"none", "linux/amd64", "none"},
		{"none linux/arm64", "linux/amd64", ""},
		{"", "linux/amd64", ""},
	} {
		var entries []v1.Descriptor
		for s := range strings.FieldsSeq(c.index) {
			entries = append(entries, entry(s))
		}
		want, err := ParsePlatform(c.want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Choose(entries, want)
		if c.got == "" {
			if err == nil {
				t.Errorf("%s of %s: chose %v", c.want, c.index, got.Platform)
			}
		} else if err != nil || got.Digest != entry(c.got).Digest {
			t.Errorf("%s of %s: %v, %v", c.want, c.index, got.Platform, err)
		}
	}
	_, err := Choose([]v1.Descriptor{entry("windows/amd64"), entry("linux/arm/v7"), entry("unknown/unknown")}, v1.Platform{OS: "linux", Architecture: "s390x"})
	if err == nil || !strings.Contains(err.Error(), "linux/s390x: the index has windows/amd64, linux/arm/v7;") {
		t.Error(err)
	}
}

func TestParsePlatformRefuses(t *testing.T) {
	for _, s := range []string{"linux", "linux/", "/amd64", "a/b/c/d", "linux//v7"} {
		if p, err := ParsePlatform(s); err == nil {
			t.Errorf("%s: %v", s, p)
		}
	}
}

// FuzzImage: what is accepted has digests that can be names of files, and stays accepted as OCI's.
func FuzzImage(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"config":{"digest":"`+sum+`"},"layers":[{"digest":"`+sum+`"}]}`), "")
	f.Add([]byte(`{"schemaVersion":2,"manifests":[{"digest":"`+sum+`"}]}`), v1.MediaTypeImageIndex)
	f.Fuzz(func(t *testing.T, raw []byte, said string) {
		m, err := Image(raw, said)
		if err != nil {
			return
		}
		for _, d := range append(m.Layers, m.Config) {
			if d.Digest.Validate() != nil || strings.ContainsAny(string(d.Digest), "/.") || d.Size < 0 {
				t.Errorf("%+v", d)
			}
		}
		oci, err := json.Marshal(ToOCI(*m))
		if err == nil {
			_, err = Image(oci, v1.MediaTypeImageManifest)
		}
		if err != nil {
			t.Error(err)
		}
	})
}
