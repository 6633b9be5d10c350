package convert

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/bundle"
	"berth/libcontainer/defaults"
	"berth/libcontainer/host"
	"berth/rootfs"
	"berth/rootfs/layer/overlay"
	"berth/rootfs/overlayfs"
)

// Berth takes every configuration that comes out, and plans its root.
func TestBerthTakesIt(t *testing.T) {
	maps := []specs.LinuxIDMapping{{HostID: 100000, Size: 65536}}
	for i, lower := range [][]string{{"/a"}, {"/a:b", "/c,d", `/e\f`}} {
		for bits := range 32 {
			o := overlay.Options{Upper: "/u:1,2", Work: "/w", Name: "berth-layer", Volatile: bits&1 != 0, Empty: "/empty"}
			for _, l := range lower {
				o.Lower = append(o.Lower, overlayfs.Layer{Path: l})
			}
			if bits&2 != 0 {
				o.Upper, o.Work, o.Volatile = "", "", false
			}
			mount := o.ConfigMount()
			opt := Options{Root: &mount, Terminal: bits&4 != 0, ReadOnly: true, CgroupNS: true, NetworkHost: bits&8 != 0}
			facts := host.Facts{Kernel: host.Version{Major: 6, Minor: 18}, Caps: ^uint64(0)}
			with := rootfs.Options{Bundle: "/bundle", MountNS: true, PIDNS: true, NetNS: !opt.NetworkHost, Console: opt.Terminal}
			if bits&16 != 0 {
				opt.UIDMappings, opt.GIDMappings = maps, maps
				with.UserNS, with.UIDMappings, with.GIDMappings = true, maps, maps
			}
			spec, _, err := converted(t, `{"config": {"Volumes": {"/v": {}}, "Env": ["A=B"], "WorkingDir": "/w"}}`, opt)
			if err != nil {
				t.Fatal(err)
			}
			name := fmt.Sprintf("%d/%d", i, bits)
			raw, err := defaults.Marshal(spec)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, bundle.ConfigName), raw, 0o644); err != nil {
				t.Fatal(err)
			}
			b, err := bundle.Load(dir)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if bad := b.Check(); len(bad) > 0 {
				t.Errorf("%s: %v", name, bad)
			}
			plan, bad := rootfs.NewPlan(spec, facts, with)
			if len(bad) > 0 || plan.RootOverlay() != "/mounts/0" {
				t.Errorf("%s: %v", name, bad)
			}
			layers := rootfs.RootLayers(spec, "/bundle")
			if want := len(o.Spec().Lower); o.Upper == "" && len(layers) != want || o.Upper != "" && (len(layers) != want+1 || layers[0] != o.Upper) {
				t.Errorf("%s: %q", name, layers)
			}
		}
	}
}
