package libcontainer

import (
	"slices"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/fault"
	"berth/nsenter"
	"berth/rootfs"
)

// TestMountPrograms holds what changes the mounts of a running container to the
// security rules, on every machine.
func TestMountPrograms(t *testing.T) {
	spec := &specs.Spec{Root: &specs.Root{Path: "/proc/5/root"}, Linux: &specs.Linux{RootfsPropagation: "shared"}, Mounts: []specs.Mount{
		{Destination: "/data", Type: "bind", Source: "src", Options: []string{"rbind", "ro", "rnosuid", "shared"}},
		{Destination: "/t", Type: "tmpfs", Options: []string{"ro", "size=1m"}},
		{Destination: "/t/m", Type: "mqueue", Source: "mqueue"},
	}}
	for name, facts := range machines() {
		for _, own := range [][]string{{"mnt"}, {"cgroup", "ipc", "mnt", "net", "pid", "uts"}, {"mnt", "pid", "user"}} {
			c := &Container{ID: "c", record: record{Namespaces: own}}
			opt := rootfs.Options{Bundle: "/b", MountNS: true, UserNS: slices.Contains(own, "user")}
			here := *spec
			if !facts.Privileged() {
				here.Mounts = spec.Mounts[1:]
			}
			if !facts.HasMountSetattr() && len(here.Mounts) == 3 {
				here.Mounts = slices.Clone(here.Mounts)
				here.Mounts[0].Options = []string{"rbind", "ro", "nosuid", "shared"}
			}
			plan, bad := rootfs.NewAddition(&here, facts, opt)
			places, alsoBad := rootfs.NewRemoval(&here, facts, opt)
			if len(bad)+len(alsoBad) > 0 {
				t.Errorf("%s %v: %v %v", name, own, bad, alsoBad)
				continue
			}
			for what, p := range map[string]struct {
				files int
				steps mountSteps
			}{
				"add": {len(plan.Sources()), plan.CompileAddition},
				"remove": {0, func(b *nsenter.Builder, root, proc nsenter.Reg, _ []nsenter.Reg) {
					rootfs.CompileRemoval(b, root, proc, places)
				}},
				"take back": {2, func(b *nsenter.Builder, _, proc nsenter.Reg, mounts []nsenter.Reg) {
					rootfs.CompileDetach(b, proc, mounts)
				}},
			} {
				program, err := c.mountProgram(p.files, p.steps)
				if err != nil {
					t.Errorf("%s %v, %s: %v", name, own, what, err)
				} else if err := nsenter.Verify(program); err != nil {
					t.Errorf("%s %v, %s: %v", name, own, what, err)
				}
			}
		}
	}
}

func TestToldIn(t *testing.T) {
	for _, x := range []struct {
		field fault.Pointer
		want  string
	}{
		{"/mounts/3/options/1", "bind: no (more.json /3/options/1)"},
		{"/mounts", "bind: no"},
		{"/linux/mountLabel", "bind: no (config.json /linux/mountLabel)"},
	} {
		err := toldIn("/dir/more.json", fault.List{{Op: "bind", Msg: "no", Field: x.field}})
		if err.Error() != x.want {
			t.Errorf("%s: %v", x.field, err)
		}
	}
}
