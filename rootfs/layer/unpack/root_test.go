package unpack

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"berth/rootfs/layer/member"
)

func asRoot(t *testing.T) {
	t.Helper()
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("[root] owners, devices, mounts")
	}
}

func change(e entry, change func(*member.Member)) entry { return e.with(change) }

// capability of revision 2: cap_net_raw=ep, as setcap writes it.
const netRaw = "0100000200200000000000000000000000000000"

func TestOwnersAndDevices(t *testing.T) {
	asRoot(t)
	capability, err := hex.DecodeString(netRaw)
	if err != nil {
		t.Fatal(err)
	}
	in := []entry{
		change(file("f", "x"), func(m *member.Member) {
			m.Mode, m.UID, m.GID = 0o6755, 1<<32-2, 1<<31
			m.Xattrs = []member.Xattr{{Name: "security.capability", Value: capability}, {Name: "trusted.overlay.opaque", Value: []byte("y")}}
		}),
		change(symlink("l", "x"), func(m *member.Member) {
			m.UID, m.GID = 5, 6
			m.Xattrs = []member.Xattr{{Name: "trusted.a", Value: []byte("b")}}
		}),
		change(directory("d", 0o2750), func(m *member.Member) { m.UID, m.GID = 7, 8 }),
		{m: member.Member{Path: "c", Kind: member.Char, Mode: 0o666, Major: 4095, Minor: 1<<20 - 1}},
		{m: member.Member{Path: "b", Kind: member.Block, Mode: 0o4660, Major: 0, Minor: 0, UID: 3}},
		link("c2", "c"),
	}
	dir, r := unpacked(t, in...)
	if len(r.Warnings) > 0 {
		t.Error(r.Warnings)
	}
	for name, want := range map[string]unix.Stat_t{
		"f":  {Mode: unix.S_IFREG | 0o6755, Uid: 1<<32 - 2, Gid: 1 << 31},
		"l":  {Mode: unix.S_IFLNK | 0o777, Uid: 5, Gid: 6},
		"d":  {Mode: unix.S_IFDIR | 0o2750, Uid: 7, Gid: 8},
		"c2": {Mode: unix.S_IFCHR | 0o666, Rdev: unix.Mkdev(4095, 1<<20-1)},
		"b":  {Mode: unix.S_IFBLK | 0o4660, Uid: 3},
	} {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(dir, name), &st); err != nil || st.Mode != want.Mode || st.Uid != want.Uid || st.Gid != want.Gid || st.Rdev != want.Rdev {
			t.Errorf("%s: %+v %v", name, st, err)
		}
	}
	for name, want := range map[string]string{
		"f security.capability": string(capability), "f trusted.overlay.overlay.opaque": "y", "l trusted.a": "b",
	} {
		path, attr, _ := strings.Cut(name, " ")
		if got, err := attrOf(filepath.Join(dir, path), attr); err != nil || string(got) != want {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
	raw := stream(t, in...)
	if damaged := verify(t, dir, raw, Options{}); len(damaged) > 0 {
		t.Error(damaged)
	}
	for _, damage := range []func() error{
		func() error { return os.Lchown(dir+"/d", 1, 1) },
		func() error { return os.Lchown(dir+"/l", 1, 1) },
		func() error { return removeAttrOf(dir+"/f", "security.capability") },
		func() error { return removeAttrOf(dir+"/l", "trusted.a") },
		func() error { return os.Remove(dir + "/c") },
	} {
		if err := damage(); err != nil {
			t.Fatal(err)
		}
		damaged := verify(t, dir, raw, Options{})
		if len(damaged) == 0 {
			t.Error("damage not seen")
		}
		repairAll(t, dir, raw, damaged, Options{})
		if damaged := verify(t, dir, raw, Options{}); len(damaged) > 0 {
			t.Errorf("after repair: %v", damaged)
		}
	}
}

func TestACLs(t *testing.T) {
	asRoot(t)
	const acl = "02000000" + "01000700ffffffff" + "02000500e8030000" + "04000500ffffffff" + "10000500ffffffff" + "20000000ffffffff"
	value, err := hex.DecodeString(acl)
	if err != nil {
		t.Fatal(err)
	}
	attrs := func(m *member.Member) {
		m.Xattrs = []member.Xattr{{Name: aclAccess, Value: value}}
		if m.Kind == member.Dir {
			m.Xattrs = append(m.Xattrs, member.Xattr{Name: aclDefault, Value: value})
		}
	}
	in := []entry{change(change(directory("d", 0o2750), attrs), func(m *member.Member) { m.GID = 7 }), file("d/plain", "x"), change(file("d/f", "x"), attrs), change(file("g", "x"), attrs)}
	in[2].m.Mode, in[3].m.Mode = 0o750, 0o770 // the second contradicts the mask: the mode wins
	dir, _ := unpacked(t, in...)
	raw := stream(t, in...)
	if damaged := verify(t, dir, raw, Options{}); len(damaged) > 0 {
		t.Error(damaged)
	}
	if got, err := attrOf(dir+"/d/f", aclAccess); err != nil || !bytes.Equal(got, value) {
		t.Errorf("%x %v", got, err)
	}
	if _, err := attrOf(dir+"/d/plain", aclAccess); err != unix.ENODATA {
		t.Errorf("a default ACL came over a file of the layer: %v", err)
	}
	if err := os.Remove(dir + "/d/plain"); err != nil {
		t.Fatal(err)
	}
	repairAll(t, dir, raw, verify(t, dir, raw, Options{}), Options{})
	if damaged := verify(t, dir, raw, Options{}); len(damaged) > 0 {
		t.Errorf("repaired below a default ACL and a set-group-ID bit: %v", damaged)
	}
	o := Options{UIDs: []IDRange{{0, 100000, 65536}}, GIDs: []IDRange{{0, 200000, 65536}}}
	mapped := tempDir(t)
	if _, err := unpackInto(mapped, raw, o); err != nil {
		t.Fatal(err)
	}
	if got, err := attrOf(mapped+"/g", aclAccess); err != nil || !strings.Contains(hex.EncodeToString(got), "02000500888a0100") {
		t.Errorf("%x %v", got, err)
	}
	if damaged := verify(t, mapped, raw, o); len(damaged) > 0 {
		t.Error(damaged)
	}
}

func TestIDsMapped(t *testing.T) {
	asRoot(t)
	o := Options{UIDs: []IDRange{{0, 100000, 10}, {10, 5, 1}}, GIDs: []IDRange{{0, 200000, 1 << 16}}}
	capability, err := hex.DecodeString(netRaw)
	if err != nil {
		t.Fatal(err)
	}
	raw := stream(t,
		change(file("a/f", "x"), func(m *member.Member) {
			m.UID, m.GID = 10, 1000
			m.Xattrs = []member.Xattr{{Name: "security.capability", Value: capability}}
		}), directory("d", 0o755))
	dir := tempDir(t)
	if _, err := unpackInto(dir, raw, o); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][2]uint32{"": {100000, 200000}, "a": {100000, 200000}, "a/f": {5, 201000}, "d": {100000, 200000}} {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(dir, name), &st); err != nil || st.Uid != want[0] || st.Gid != want[1] {
			t.Errorf("%q: %d:%d %v", name, st.Uid, st.Gid, err)
		}
	}
	if got, err := attrOf(dir+"/a/f", "security.capability"); err != nil || hex.EncodeToString(got) != "01000003"+netRaw[8:]+"a0860100" {
		t.Errorf("%x %v", got, err)
	}
	if damaged := verify(t, dir, raw, o); len(damaged) > 0 {
		t.Error(damaged)
	}
	_, err = unpackInto(tempDir(t), stream(t, change(file("f", ""), func(m *member.Member) { m.UID = 11 })), o)
	if err == nil || !strings.Contains(err.Error(), "unpack f: owner: no user of the host is mapped to 11") {
		t.Error(err)
	}
}

// TestOverlay mounts two layers and looks whether overlayfs understands each form of the marks.
func TestOverlay(t *testing.T) {
	asRoot(t)
	lower := []entry{file("gone", "x"), file("d/gone", "x"), file("d/stays", "x"), file("o/old", "x"), file("w/old", "x")}
	upper := []entry{
		whiteout("gone"), whiteout("d/gone"), whiteout("d/never"), opaque("o"), file("o/new", "x"), whiteout("w"), file("w/new", "x"),
		file("alone/f", "x"), whiteout("alone/ghost"),
		change(file("attr", "x"), func(m *member.Member) {
			for _, name := range []string{"trusted.overlay.redirect", "user.overlay.metacopy"} {
				m.Xattrs = append(m.Xattrs, member.Xattr{Name: name, Value: []byte("/content")})
			}
		}),
	}
	const want = "alone: d\nalone/f: f x\nattr: f x\nd: d\nd/stays: f x\no: d\no/new: f x\nw: d\nw/new: f x"
	for _, o := range []Options{{}, {XattrWhiteouts: true}, {UserXattr: true}, {UserXattr: true, XattrWhiteouts: true}} {
		base := tempDir(t)
		var stack []string
		for i, in := range [][]entry{upper, lower} {
			dir := filepath.Join(base, fmt.Sprint(i))
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if _, err := unpackInto(dir, stream(t, in...), o); err != nil {
				t.Fatal(err)
			}
			if damaged := verify(t, dir, stream(t, in...), o); len(damaged) > 0 {
				t.Errorf("%+v: %v", o, damaged)
			}
			stack = append(stack, dir)
		}
		data := "lowerdir=" + strings.Join(stack, ":")
		if o.UserXattr {
			data += ",userxattr"
		}
		merged := filepath.Join(base, "merged")
		if err := os.Mkdir(merged, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("berth-test", merged, "overlay", unix.MS_RDONLY, data); err != nil {
			t.Fatal(err)
		}
		got := listing(t, merged, Options{UserXattr: !o.UserXattr})
		attrs, err := attrsOf(merged + "/attr")
		slices.Sort(attrs)
		if err := unix.Unmount(merged, 0); err != nil {
			t.Fatal(err)
		}
		if got != want {
			t.Errorf("%+v: got\n%s\nwant\n%s", o, got, want)
		}
		if err != nil || strings.Join(attrs, " ") != "trusted.overlay.redirect user.overlay.metacopy" {
			t.Errorf("%+v: attributes %v %v", o, attrs, err)
		}
	}
}

// TestAsOrdinaryUser runs what needs no root once more as somebody else, who gets warnings for devices.
func TestAsOrdinaryUser(t *testing.T) {
	asRoot(t)
	dir, err := os.MkdirTemp("", "ordinary")
	if err != nil {
		t.Fatal(err)
	}
	defer removeTree(dir)
	if err := os.Chown(dir, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	test := filepath.Join(dir, "unpack.test")
	program, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(test, program, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(test, "-test.count=1")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "TMPDIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestDevicesAreLeftOut(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("[user] root may make devices")
	}
	capability, err := hex.DecodeString(netRaw)
	if err != nil {
		t.Fatal(err)
	}
	in := []entry{
		{m: member.Member{Path: "c", Kind: member.Char, Mode: 0o666, Major: 1, Minor: 3}}, link("c2", "c"), file("c3", "x"), link("c3", "c2"),
		{m: member.Member{Path: "b", Kind: member.Block, Major: 8}}, file("b", "x"),
		change(file("f", "x"), func(m *member.Member) { m.Xattrs = []member.Xattr{{Name: "security.capability", Value: capability}} }),
	}
	dir, r := unpacked(t, in...)
	if got := listing(t, dir, options()); got != "b: f x\nf: f x" {
		t.Error(got)
	}
	if got := r.Warnings.Error(); !strings.Contains(got, "unpack c: device 1:3 left out") || !strings.Contains(got, "unpack f: attribute security.capability left out") || len(r.Warnings) != 3 {
		t.Error(got)
	}
	if damaged := verify(t, dir, stream(t, in...), options()); len(damaged) > 0 {
		t.Error(damaged)
	}
	o := options()
	o.Unprivileged = false
	if _, err := unpackInto(tempDir(t), stream(t, in...), o); err == nil || !strings.Contains(err.Error(), "unpack c: ") || !strings.Contains(err.Error(), "only root may make this") {
		t.Error(err)
	}
}
