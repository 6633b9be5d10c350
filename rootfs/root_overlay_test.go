package rootfs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"berth/libcontainer/host"
	"berth/rootfs/overlayfs"
)

// layered turns the bundle's root into one of layers below an empty directory,
// each with a file of its own and one that says which is on top. It returns
// the entry that mounts them.
func layered(t *testing.T, bundle string, layers int, more string) string {
	t.Helper()
	must(t, os.Rename(bundle+"/rootfs", bundle+"/base"))
	for _, dir := range []string{"rootfs", "upper", "work", "l"} {
		must(t, os.Mkdir(filepath.Join(bundle, dir), 0o755))
	}
	var list []string
	for i := range layers - 1 {
		dir := fmt.Sprintf("%s/l/%d", bundle, i)
		must(t, os.MkdirAll(dir+"/tmp", 0o755))
		must(t, os.WriteFile(fmt.Sprintf("%s/tmp/%d", dir, i), nil, 0o644))
		must(t, os.WriteFile(dir+"/top", []byte(fmt.Sprint(i)), 0o644))
		list = append(list, escaped(dir))
	}
	return `{"destination": "/", "type": "overlay", "source": "ov", "options": ["lowerdir=` + strings.Join(append(list, escaped(bundle+"/base")), ":") +
		`","upperdir=upper","workdir=work"` + more + `]}`
}

// escaped is a path for lowerdir= in JSON.
func escaped(path string) string {
	return strings.ReplaceAll(overlayfs.EscapeLower(path), `\`, `\\`)
}

// An overlay is the root on every kernel and for everybody, and the host sees
// nothing of it.
func TestRootOverlay(t *testing.T) {
	needRoot(t)
	user := Options{MountNS: true, PIDNS: true, NetNS: true, UserNS: true}
	old, older := host.Version{Major: 6, Minor: 1}, host.Version{Major: 5, Minor: 10}
	for name, c := range map[string]struct {
		container
		layers int
		more   string
	}{
		"now":                 {container{opt: allNew}, 3, ""},
		"500 layers":          {container{opt: allNew}, 500, ""},
		"500 layers, 6.1":     {container{opt: allNew, kernel: old}, 500, ""},
		"6.1":                 {container{opt: allNew, kernel: old}, 3, ""},
		"5.10":                {container{opt: allNew, kernel: older}, 3, ""},
		"no-pivot":            {container{opt: Options{MountNS: true, PIDNS: true, NetNS: true, NoPivot: true}}, 3, ""},
		"no mount ns":         {container{opt: Options{PIDNS: true, NetNS: true}}, 3, ""},
		"no mount ns, 6.1":    {container{opt: Options{PIDNS: true, NetNS: true}, kernel: old}, 3, ""},
		"userns":              {container{opt: user}, 3, ""},
		"userns, 6.1":         {container{opt: user, kernel: old}, 3, ""},
		"unprivileged":        {container{opt: user, unpriv: true}, 3, `,"userxattr"`},
		"unprivileged, 6.1":   {container{opt: user, unpriv: true, kernel: old}, 3, `,"userxattr"`},
		"read-only by option": {container{opt: allNew}, 3, `,"ro"`},
	} {
		t.Run(name, func(t *testing.T) {
			before := hostMounts(t)
			c.bundle = busyboxRoot(t)
			entry := layered(t, c.bundle, c.layers, c.more)
			if c.opt.UserNS {
				chownTree(t, c.bundle)
			}
			c.config = `{"mounts": [` + entry + `, {"destination": "/proc", "type": "proc"}]}`
			c.script = `busybox cat /top; echo; busybox ls /tmp | busybox wc -l; busybox touch /new && busybox rm /top; busybox ls /`
			out, err := c.run(t)
			want := fmt.Sprintf("0\n%d\n", c.layers-1)
			if err != nil || !strings.HasPrefix(out, want) {
				t.Fatalf("%v\n%s", err, out)
			}
			_, err = os.Stat(c.bundle + "/upper/new")
			if written := err == nil; written != !strings.Contains(c.more, `"ro"`) || written != !strings.Contains(out, "Read-only") {
				t.Errorf("upper/new: %v\n%s", err, out)
			}
			if names, _ := os.ReadDir(c.bundle + "/rootfs"); len(names) > 0 {
				t.Errorf("the place of the root has %v", names)
			}
			if after := hostMounts(t); after != before {
				t.Errorf("the host's mounts changed:\n%s\n%s", before, after)
			}
		})
	}
}
