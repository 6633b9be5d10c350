package layer

import "testing"

// A container has the overlay as its root; a copy of the host's mounts has it where the host has it.
func TestRootIs(t *testing.T) {
	const host = "30 1 254:0 / / rw - ext4 /dev/vda rw\n" +
		"90 30 0:44 / /b/rootfs rw - overlay berth-layer-x rw,lowerdir+=/l,upperdir=/s/bundles/x/upper,workdir=/s/bundles/x/work\n"
	const container = "70 45 0:44 / / rw - overlay berth-layer-x rw,lowerdir+=/l,upperdir=/s/bundles/x/upper,workdir=/s/bundles/x/work\n" +
		"71 70 0:45 / /proc rw - proc proc rw\n"
	for _, c := range []struct {
		mountinfo, name string
		want            bool
	}{
		{container, "berth-layer-x", true},
		{container, "berth-layer-y", false},
		{host, "berth-layer-x", false},
		{"", "berth-layer-x", false},
		{"damaged\n", "berth-layer-x", false},
	} {
		if got := rootIs(c.mountinfo, c.name); got != c.want {
			t.Errorf("%s in %q: %v", c.name, c.mountinfo, got)
		}
	}
}
