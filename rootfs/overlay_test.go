package rootfs

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/host"
	"berth/nsenter"
)

func overlayEntry(destination string, options ...string) string {
	list := ""
	if len(options) > 0 {
		list = `"` + strings.Join(options, `","`) + `"`
	}
	return `{"destination": "` + destination + `", "type": "overlay", "source": "overlay", "options": [` + list + `]}`
}

func manyLayers(n int, length int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf("/%0*d", length-1, i)
	}
	return "lowerdir=" + strings.Join(list, ":")
}

// The parameters that the kernel gets, one for each layer where it takes that.
func TestPlanOverlay(t *testing.T) {
	for _, c := range []struct {
		options []string
		old     bool
		want    string
	}{
		{[]string{"lowerdir=/a:/b"}, false, "lowerdir+=/a lowerdir+=/b"},
		{[]string{"lowerdir=/a:/b"}, true, "lowerdir=/a:/b"},
		{[]string{`lowerdir=/a\\:b:/c`}, false, "lowerdir+=/a:b lowerdir+=/c"},
		{[]string{`lowerdir=/a\\:b:/c`}, true, `lowerdir=/a\:b:/c`},
		{[]string{`lowerdir=/a\\\\b:/c`}, false, `lowerdir+=/a\b lowerdir+=/c`},
		{[]string{"lowerdir=/a:/b::/d"}, false, "lowerdir+=/a lowerdir+=/b datadir+=/d"},
		{[]string{"lowerdir=/a::/d1::/d"}, false, "lowerdir+=/a datadir+=/d1 datadir+=/d"},
		{[]string{"lowerdir+=/a", "lowerdir+=/b"}, false, "lowerdir+=/a lowerdir+=/b"},
		{[]string{"lowerdir+=/a", "lowerdir+=/b:c"}, true, `lowerdir=/a:/b\:c`},
		{[]string{"lowerdir=l1:../l2"}, false, "lowerdir+=/bundle/l1 lowerdir+=/l2"},
		{[]string{"lowerdir=l1:../l2"}, true, "lowerdir=/bundle/l1:/l2"},
		{[]string{"lowerdir=/a", "upperdir=up", "workdir=work"}, false, "lowerdir+=/a upperdir=/bundle/up workdir=/bundle/work"},
		{[]string{"lowerdir=/a,upperdir=/u,workdir=/w"}, false, "lowerdir+=/a upperdir=/u workdir=/w"},
		{[]string{"upperdir=/u", "workdir=/w", "lowerdir=/a"}, false, "lowerdir+=/a upperdir=/u workdir=/w"},
		{[]string{"lowerdir=/a", "upperdir=/u", "workdir=/w", "volatile", "userxattr", "index=off"}, false,
			"lowerdir+=/a upperdir=/u workdir=/w volatile userxattr index=off"},
		{[]string{"lowerdir=/a", `upperdir=/u\\,v`, "workdir=/w"}, false, `lowerdir+=/a upperdir=/u\,v workdir=/w`},
		{[]string{"lowerdir=/a:/b", "noatime", "nosuid"}, false, "lowerdir+=/a lowerdir+=/b"},
	} {
		for _, destination := range []string{"/", "/x"} {
			facts := privileged
			if c.old {
				facts = onKernel(6, 1)
			}
			p, bad := planned(t, mounts(overlayEntry(destination, c.options...)), facts, allNew)
			if len(bad) > 0 {
				t.Errorf("%q: %v", c.options, bad)
				continue
			}
			var got []string
			for _, q := range p.Ops[0].(*Mount).Flags.Params {
				got = append(got, q.String())
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("%q on %s:\n got %q\nwant %q", c.options, destination, got, c.want)
			}
		}
	}
}

func TestPlanRootOverlay(t *testing.T) {
	lower := []string{"lowerdir=/a:/b", "upperdir=/u", "workdir=/w"}
	with := func(more ...string) []string { return append(slices.Clone(lower), more...) }
	for _, c := range []struct {
		options []string
		config  string // beside mounts
		want    []string
	}{
		{lower, ``, []string{
			"root /bundle/rootfs   # /root/path",
			"mount overlay on / -o lowerdir+=/a,lowerdir+=/b,upperdir=/u,workdir=/w   # /mounts/0",
			"pivot_root   # /root/path",
		}},
		{with("ro"), ``, []string{
			"root /bundle/rootfs   # /root/path",
			"mount overlay on / -o lowerdir+=/a,lowerdir+=/b,upperdir=/u,workdir=/w   # /mounts/0",
			"pivot_root   # /root/path",
			"root read-only   # /mounts/0/options/3",
		}},
		{with("ro"), `, "root": {"path": "rootfs", "readonly": true}`, []string{
			"root /bundle/rootfs   # /root/path",
			"mount overlay on / -o lowerdir+=/a,lowerdir+=/b,upperdir=/u,workdir=/w   # /mounts/0",
			"pivot_root   # /root/path",
			"root read-only   # /root/readonly",
		}},
		{with("nodev", "noatime"), `, "linux": {"rootfsPropagation": "shared"}`, []string{
			"root /bundle/rootfs   # /root/path",
			"mount overlay on / -o nodev,noatime,lowerdir+=/a,lowerdir+=/b,upperdir=/u,workdir=/w   # /mounts/0",
			"pivot_root -o shared   # /root/path",
		}},
	} {
		p, bad := planned(t, `{"mounts": [`+overlayEntry("/", c.options...)+`]`+c.config+`}`, privileged, allNew)
		if len(bad) > 0 {
			t.Errorf("%q: %v", c.options, bad)
			continue
		}
		if got := lines(p); !slices.Equal(got, c.want) {
			t.Errorf("%q:\n got %s\nwant %s", c.options, strings.Join(got, "\n"), strings.Join(c.want, "\n"))
		}
	}
}

// Who mounts the root: the walker, or the runtime where only that may see
// trusted.overlay.*, map layers, or name many of them.
func TestRootOverlayOpener(t *testing.T) {
	maps := []specs.LinuxIDMapping{{HostID: 100000, Size: 65536}}
	user := allNew
	user.UserNS, user.UIDMappings, user.GIDMappings = true, maps, maps
	joined, host := allNew, allNew
	joined.JoinedMountNS = true
	host.MountNS = false
	for _, c := range []struct {
		name    string
		opt     Options
		facts   factsOf
		options []string
		want    opener
	}{
		{"new namespaces", allNew, privileged6_18, nil, inTurn},
		{"user namespace", user, privileged6_18, nil, byRuntime},
		{"mapped layers", user, privileged6_18, []string{"idmap"}, byRuntime},
		{"mapped layers without user namespace", allNew, privileged6_18, []string{"idmap=uids=0-1000-10;gids=0-1000-10"}, byRuntime},
		{"joined mount namespace", joined, privileged6_18, nil, byRuntime},
		{"no mount namespace", host, privileged6_18, nil, byRuntime},
		{"ordinary user", user, unprivileged6_18, []string{"userxattr"}, early},
		{"old kernel", allNew, privileged6_1, nil, inTurn},
		{"old kernel, ordinary user", user, unprivileged6_1, nil, early},
	} {
		p, bad := planned(t, mounts(overlayEntry("/", append([]string{"lowerdir=/a:/b"}, c.options...)...)), c.facts(), c.opt)
		if len(bad) > 0 {
			t.Errorf("%s: %v", c.name, bad)
			continue
		}
		root := p.sources[len(p.sources)-1]
		if root.opener != c.want || root.Fresh == nil {
			t.Errorf("%s: opener %d, want %d", c.name, root.opener, c.want)
		}
		if own := len(p.Sources()) > 0; own != (c.want == byRuntime) {
			t.Errorf("%s: sources of the runtime: %v", c.name, p.Sources())
		}
	}
	p, _ := planned(t, mounts(overlayEntry("/", manyLayers(400, 8))), onKernel(6, 1), allNew)
	if root := p.sources[len(p.sources)-1]; root.opener != byRuntime {
		t.Error("an old kernel takes 400 layers by descriptors only")
	}
}

type factsOf func() host.Facts

func privileged6_18() host.Facts   { return privileged }
func privileged6_1() host.Facts    { return onKernel(6, 1) }
func unprivileged6_18() host.Facts { return unprivileged }
func unprivileged6_1() host.Facts {
	f := unprivileged
	f.Kernel = host.Version{Major: 6, Minor: 1}
	return f
}

func TestPlanOverlayComplaints(t *testing.T) {
	ok := "lowerdir=/a:/b"
	for _, c := range []struct {
		mounts []string
		facts  host.Facts
		want   string
	}{
		{[]string{overlayEntry("/", manyLayers(501, 5))}, privileged,
			"mount overlay /: 501 layers, and the kernel takes 500 (config.json /mounts/0/options); put several layers into one"},
		{[]string{overlayEntry("/")}, privileged, "mount overlay /: an overlay needs a lower layer (config.json /mounts/0/options)"},
		{[]string{overlayEntry("/", "lowerdir=/a")}, privileged, "mount overlay /: /a: an overlay without an upper directory needs two lower layers"},
		{[]string{overlayEntry("/", "lowerdir=/a", "upperdir=/u")}, privileged, "/u: upperdir and workdir belong together"},
		{[]string{overlayEntry("/", "lowerdir=/a", "upperdir=/u", "workdir=/u/w")}, privileged, "one inside the other"},
		{[]string{overlayEntry("/", ok, "volatile")}, privileged, "volatile is about an upper directory"},
		{[]string{overlayEntry("/", ok, "tmpcopyup")}, privileged, "tmpcopyup is for a tmpfs, not for overlay"},
		{[]string{overlayEntry("/x", ok), overlayEntry("/", ok)}, privileged,
			"a mount on / would hide the root file system (config.json /mounts/1/destination); set /root/path to it; only an overlay may be the root, as the first mount"},
		{[]string{overlayEntry("/", ok), overlayEntry("/", ok)}, privileged, "(config.json /mounts/1/destination)"},
		{[]string{`{"destination": "/", "type": "overlay", "source": "/x", "options": ["bind"]}`}, privileged, "would hide the root"},
		{[]string{overlayEntry("/", ok, "idmap")}, privileged, "there is no mapping for it"},
		{[]string{overlayEntry("/", ok, "idmap=uids=0-1-1;gids=0-1-1")}, onKernel(5, 15), "an overlay of id-mapped layers needs Linux 5.19"},
		{[]string{overlayEntry("/", ok, "idmap=uids=0-1-1;gids=0-1-1")}, unprivileged, "an id-mapped mount needs CAP_SYS_ADMIN on the host"},
		{[]string{overlayEntry("/x", manyLayers(400, 12))}, unprivileged6_1(), "this kernel takes no more than 4095 bytes of options"},
		{[]string{overlayEntry("/", ok, "userxattr")}, onKernel(5, 10), "userxattr needs Linux 5.11"},
	} {
		_, bad := planned(t, mounts(c.mounts...), c.facts, allNew)
		if len(bad) != 1 || !strings.Contains(bad[0].Error(), c.want) {
			t.Errorf("got %v, want %s", bad, c.want)
		}
	}
}

// An addition to a running container cannot be its root.
func TestRootOverlayAdded(t *testing.T) {
	spec := &specs.Spec{Root: &specs.Root{Path: "/"}, Mounts: []specs.Mount{{Destination: "/", Type: "overlay", Options: []string{"lowerdir=/a:/b"}}}}
	if _, bad := NewAddition(spec, privileged, allNew); len(bad) != 1 || !strings.Contains(bad[0].Error(), "would hide the root") {
		t.Error(bad)
	}
}

// The programs keep the rules, however the root is mounted.
func TestRootOverlayVerify(t *testing.T) {
	user := allNew
	user.UserNS = true
	for _, facts := range []host.Facts{privileged, unprivileged, onKernel(6, 1), onKernel(5, 10), unprivileged6_1()} {
		for _, opt := range []Options{allNew, user} {
			for _, noPivot := range []bool{false, true} {
				opt.NoPivot = noPivot
				p, bad := planned(t, mounts(overlayEntry("/", "lowerdir=/a:/b", "upperdir=/u", "workdir=/w"), `{"destination": "/proc", "type": "proc"}`), facts, opt)
				if len(bad) > 0 {
					t.Fatal(bad)
				}
				if err := nsenter.Verify(compiled(t, p)); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

func TestRootLayers(t *testing.T) {
	overlay := func(options ...string) []specs.Mount {
		return []specs.Mount{{Destination: "/", Type: "overlay", Options: options}}
	}
	for _, c := range []struct {
		spec specs.Spec
		want string
	}{
		{specs.Spec{Root: &specs.Root{Path: "rootfs"}}, "/bundle/rootfs"},
		{specs.Spec{Root: &specs.Root{Path: "/r"}}, "/r"},
		{specs.Spec{}, ""},
		{specs.Spec{Root: &specs.Root{Path: "rootfs"}, Mounts: overlay("lowerdir=/a:b")}, "/a /bundle/b"},
		{specs.Spec{Root: &specs.Root{Path: "rootfs"}, Mounts: overlay("lowerdir=/a:/b", "upperdir=u", "workdir=w")}, "/bundle/u /a /b"},
		{specs.Spec{Root: &specs.Root{Path: "rootfs"}, Mounts: []specs.Mount{{Destination: "/x", Type: "overlay", Options: []string{"lowerdir=/a:/b"}}}}, "/bundle/rootfs"},
	} {
		if got := strings.Join(RootLayers(&c.spec, "/bundle"), " "); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}
