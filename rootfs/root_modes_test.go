package rootfs

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"berth/libcontainer/host"
)

// TestRootModes builds the default root in every way that the surroundings
// ask for.
func TestRootModes(t *testing.T) {
	needRoot(t)
	user := Options{MountNS: true, PIDNS: true, NetNS: true, UserNS: true}
	for name, c := range map[string]container{
		"no-pivot":          {opt: Options{MountNS: true, PIDNS: true, NetNS: true, NoPivot: true}},
		"userns":            {opt: user, clone: unix.CLONE_NEWIPC},
		"userns, no-pivot":  {opt: Options{MountNS: true, PIDNS: true, NetNS: true, UserNS: true, NoPivot: true}, clone: unix.CLONE_NEWIPC},
		"unprivileged":      {opt: user, clone: unix.CLONE_NEWIPC, unpriv: true},
		"unprivileged 5.10": {opt: user, clone: unix.CLONE_NEWIPC, unpriv: true, kernel: host.Version{Major: 5, Minor: 10}},
		"userns 5.10":       {opt: user, clone: unix.CLONE_NEWIPC, kernel: host.Version{Major: 5, Minor: 10}},
		"no mount ns":       {opt: Options{PIDNS: true, NetNS: true}, clone: unix.CLONE_NEWIPC},
		"no mount ns 5.10":  {opt: Options{PIDNS: true, NetNS: true}, clone: unix.CLONE_NEWIPC, kernel: host.Version{Major: 5, Minor: 10}},
	} {
		t.Run(name, func(t *testing.T) {
			before := hostMounts(t)
			c.bundle = busyboxRoot(t)
			c.config = defaultConfig
			if c.opt.UserNS {
				chownTree(t, c.bundle)
				c.config = strings.Replace(defaultConfig, `, "gid=5"`, "", 1)
			}
			c.script = `busybox grep -q ' / / ro' /proc/self/mountinfo && busybox echo root is read-only
				busybox wc -c </proc/keys
				busybox echo x >/dev/null && busybox echo null works
				busybox ls / | busybox tr '\n' ' '`
			out, err := c.run(t)
			if err != nil {
				t.Fatalf("%v\n%s", err, c.program(t, c.plan(t)))
			}
			want := "root is read-only\n0\nnull works\nbin dev etc proc sys tmp work "
			if !c.opt.MountNS {
				want = strings.TrimPrefix(want, "root is read-only\n") // mountinfo shows what is below the root only
			}
			if out = strings.TrimPrefix(out, "root is read-only\n"); out != strings.TrimPrefix(want, "root is read-only\n") {
				t.Errorf("got %q, want %q", out, want)
			}
			if after := hostMounts(t); after != before {
				t.Errorf("the host's mounts changed:\n%s\n%s", before, after)
			}
		})
	}
}

// TestRootLink has a link as root.path: the root is what it leads to.
func TestRootLink(t *testing.T) {
	needRoot(t)
	for name, c := range map[string]container{
		"pivot":       {opt: allNew},
		"no-pivot":    {opt: Options{MountNS: true, PIDNS: true, NetNS: true, NoPivot: true}},
		"userns":      {opt: Options{MountNS: true, PIDNS: true, NetNS: true, UserNS: true}},
		"no mount ns": {opt: Options{PIDNS: true, NetNS: true}},
	} {
		t.Run(name, func(t *testing.T) {
			before := hostMounts(t)
			c.bundle = busyboxRoot(t)
			must(t, os.Rename(filepath.Join(c.bundle, "rootfs"), filepath.Join(c.bundle, "there")))
			must(t, os.Symlink("there", filepath.Join(c.bundle, "rootfs")))
			chownTree(t, c.bundle)
			c.config = `{"mounts": [{"destination": "/proc", "type": "proc"}], "linux": {"maskedPaths": ["/etc"]}}`
			c.script = `busybox ls / | busybox tr '\n' ' '; busybox ls /proc/self/root/bin`
			if out, err := c.run(t); err != nil || out != "bin dev etc proc sys tmp busybox\n" {
				t.Errorf("got %q, %v", out, err)
			}
			if after := hostMounts(t); after != before {
				t.Errorf("the host's mounts changed:\n%s\n%s", before, after)
			}
		})
	}
}

// chownTree gives a tree to the root of the tests' user namespaces.
func chownTree(t *testing.T, top string) {
	t.Helper()
	err := filepath.WalkDir(top, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, 100000, 100000)
	})
	if err != nil {
		t.Fatal(err)
	}
	// The user of the namespace has to reach the bundle.
	for dir := filepath.Dir(top); dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}
