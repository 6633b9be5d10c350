package layer

import (
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"berth/rootfs/layer/transport"
)

func TestNameFor(t *testing.T) {
	for _, c := range []struct{ ref, said, want string }{
		{"docker://debian", "", "debian:latest"},
		{"docker://docker.io/library/debian:12", "", "debian:12"},
		{"docker://docker.io/group/app:12", "", "group/app:12"},
		{"docker://host:5000/library/app:1", "", "host:5000/library/app:1"},
		{"oci:/a/dir:tag", "tag", "tag:latest"},
		{"oci:/a/dir", "docker.io/library/x:3", "x:3"},
		{"oci:/a/dir/", "", "dir:latest"},
		{"oci:/a/dir", "\x00", "dir:latest"},
		{"oci-archive:/a/file.tar.gz", "", "file:latest"},
		{"docker-archive:file.tar", "app:2", "app:2"},
		{"docker-archive:file.tar:app:2", "other:1", "app:2"},
		{"dir:/a/b", "", "b:latest"},
	} {
		r, err := transport.Parse(c.ref)
		if err != nil {
			t.Fatal(c.ref, err)
		}
		d := ocispec.Descriptor{}
		if c.said != "" {
			d.Annotations = map[string]string{ocispec.AnnotationRefName: c.said}
		}
		if got := NameFor(r, d); got != c.want {
			t.Errorf("%s, called %q: %s, want %s", c.ref, c.said, got, c.want)
		}
	}
}
