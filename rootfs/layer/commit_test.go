package layer

import (
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Each layer is of its own step, also where an image comes without history.
func TestTellOfLayers(t *testing.T) {
	i := &Image{}
	i.Config.RootFS.DiffIDs = []digest.Digest{"sha256:a", "sha256:b"}
	i.Config.History = []ocispec.History{{CreatedBy: "CMD", EmptyLayer: true}, {CreatedBy: "COPY a"}}
	i.tellOfLayers()
	i.tellOfLayers()
	i.Config.RootFS.DiffIDs = append(i.Config.RootFS.DiffIDs, "sha256:c")
	i.Config.History = append(i.Config.History, ocispec.History{CreatedBy: "commit"})
	var got []string
	for _, step := range i.history() {
		got = append(got, string(step.DiffID)+" "+step.CreatedBy)
	}
	want := []string{" CMD", "sha256:a COPY a", "sha256:b ", "sha256:c commit"}
	if len(got) != len(want) {
		t.Fatalf("%q", got)
	}
	for n := range want {
		if got[n] != want[n] {
			t.Errorf("step %d: %q, want %q", n, got[n], want[n])
		}
	}
}
