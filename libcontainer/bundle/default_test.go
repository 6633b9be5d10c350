package bundle

import (
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/defaults"
)

// The default configuration has nothing to complain about.
func TestDefaultIsRight(t *testing.T) {
	for _, spec := range []*specs.Spec{
		defaults.Spec(false, 0, 0), defaults.Spec(true, 1000, 1001),
		defaults.WithCgroupNamespace(defaults.Spec(false, 0, 0)), defaults.WithCgroupNamespace(defaults.Spec(true, 1000, 1001)),
	} {
		raw, err := defaults.Marshal(spec)
		if err != nil {
			t.Fatal(err)
		}
		if list := complaints(raw); len(list) != 0 {
			t.Error(list)
		}
	}
	if m := defaults.Spec(true, 1000, 1001).Linux; m.UIDMappings[0].HostID != 1000 || m.GIDMappings[0].HostID != 1001 {
		t.Error(m)
	}
}
