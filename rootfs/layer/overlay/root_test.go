package overlay

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/member"
	"berth/rootfs/overlayfs"
)

// scratch is a tmpfs of the test's own, which takes with it what is mounted in it.
func scratch(t testing.TB) string {
	t.Helper()
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("[root] needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("overlay-test", dir, "tmpfs", 0, ""); err != nil {
		t.Skipf("[root] no tmpfs: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	must(t, unix.Mount("", dir, "", unix.MS_SHARED, "")) // as on a machine that systemd runs
	return dir
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mkdir(t testing.TB, path string) string {
	t.Helper()
	must(t, os.MkdirAll(path, 0o755))
	return path
}

func write(t testing.TB, path, text string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(text), 0o644))
}

// options are n lower directories, the topmost first, with upper and work.
func options(t testing.TB, dir string, n int) Options {
	o := Options{Upper: mkdir(t, dir+"/upper"), Work: mkdir(t, dir+"/work"), Name: "test-" + filepath.Base(dir)}
	for i := range n {
		l := mkdir(t, fmt.Sprintf("%s/l%d", dir, i))
		write(t, l+"/top", fmt.Sprint(i))
		o.Lower = append(o.Lower, overlayfs.Layer{Path: l})
	}
	return o
}

func mounts(t testing.TB, name string) int {
	raw, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	return strings.Count(string(raw), name)
}

func TestMount(t *testing.T) {
	dir := scratch(t)
	o, target := options(t, dir, 3), mkdir(t, dir+"/merged")
	must(t, os.Symlink("merged", dir+"/link"))
	if err := Unmount(target, o.Name, false); err != nil {
		t.Error(err)
	}
	for range 2 { // the second finds the first
		must(t, Mount(o, dir+"/link"))
	}
	if n := mounts(t, o.Name); n != 1 {
		t.Errorf("%d mounts", n)
	}
	busy, err := os.Open(target + "/top")
	must(t, err)
	if err := Unmount(target, o.Name, false); err == nil || !strings.Contains(err.Error(), "something still uses it") {
		t.Error(err)
	}
	must(t, Unmount(target, o.Name, true))
	busy.Close()
	must(t, Unmount(target, o.Name, false))
	must(t, Unmount(dir+"/none", o.Name, false))
	if n := mounts(t, o.Name); n != 0 {
		t.Errorf("%d mounts", n)
	}
	// What is not ours stays.
	must(t, unix.Mount("theirs", target, "tmpfs", 0, ""))
	must(t, Unmount(target, o.Name, true))
	if n := mounts(t, " theirs "); n == 0 {
		t.Error("unmounted what is not ours")
	}
}

// The overlay of as many layers as the kernel takes is found again.
func TestMountMany(t *testing.T) {
	dir := mkdir(t, scratch(t)+"/"+strings.Repeat("long", 40))
	o := options(t, dir, overlayfs.MaxLayers)
	o.Name = "test-many"
	target := mkdir(t, dir+"/merged")
	for range 2 {
		must(t, Mount(o, target))
	}
	if there, err := Mounted(target, o.Name); err != nil || !there {
		t.Error(there, err)
	}
	must(t, Unmount(target, o.Name, false))
	if there, err := Mounted(target, o.Name); err != nil || there {
		t.Error(there, err)
	}
}

// Where mounting fails, nothing is left.
func TestMountFails(t *testing.T) {
	dir := scratch(t)
	o := options(t, dir, 2)
	if err := Mount(o, dir+"/none"); err == nil || !strings.Contains(err.Error(), "make the directory first") {
		t.Error(err)
	}
	write(t, dir+"/file", "")
	if err := Mount(o, dir+"/file"); err == nil {
		t.Error("mounted on a file")
	}
	o.Lower[1].Path = dir + "/missing"
	if err := Mount(o, mkdir(t, dir+"/merged")); err == nil || !strings.Contains(err.Error(), "/missing: the lower layer does not exist") {
		t.Error(err)
	}
	if n := mounts(t, o.Name); n != 0 {
		t.Errorf("%d mounts", n)
	}
}

// One layer alone is an overlay, too, and read-only without an upper directory.
func TestOpenOne(t *testing.T) {
	dir := scratch(t)
	o := options(t, dir, 1)
	o.Upper, o.Work, o.Empty = "", "", mkdir(t, dir+"/empty")
	f, err := Open(o)
	must(t, err)
	defer f.Close()
	if raw, err := os.ReadFile(procFD(int(f.Fd())) + "/top"); err != nil || string(raw) != "0" {
		t.Errorf("%q %v", raw, err)
	}
	if err := os.Mkdir(procFD(int(f.Fd()))+"/new", 0o755); fault.From(err, "", "").Errno != unix.EROFS {
		t.Error(err)
	}
}

// A volatile overlay is mounted again by the same boot, and by no other.
func TestVolatile(t *testing.T) {
	dir := scratch(t)
	o := options(t, dir, 2)
	o.Volatile = true
	for range 3 {
		f, err := Open(o)
		must(t, err)
		write(t, procFD(int(f.Fd()))+"/new", "x")
		must(t, f.Close())
	}
	write(t, o.Work+".boot", "another boot\n")
	if f, err := Open(o); err == nil || !strings.Contains(err.Error(), "was mounted volatile before") {
		t.Error(f, err)
	}
	if raw, err := os.ReadFile(o.Work + ".boot"); err != nil || string(raw) != "another boot\n" {
		t.Errorf("%q %v", raw, err)
	}
}

// A view shows what the overlay shows and leaves nothing in its directories.
func TestView(t *testing.T) {
	dir := scratch(t)
	o := options(t, dir, 2)
	o.Volatile = true
	write(t, o.Upper+"/top", "upper")
	for _, n := range []int{2, 1} {
		o.Lower = o.Lower[:n]
		f, err := Open(o.View())
		must(t, err)
		if raw, err := os.ReadFile(procFD(int(f.Fd())) + "/top"); err != nil || string(raw) != "upper" {
			t.Errorf("%q %v", raw, err)
		}
		if err := os.Mkdir(procFD(int(f.Fd()))+"/new", 0o755); fault.From(err, "", "").Errno != unix.EROFS {
			t.Error(err)
		}
		f.Close()
	}
	if left, _ := os.ReadDir(o.Work); len(left) > 0 {
		t.Error(left)
	}
	if o.Upper == "" || len(o.Lower) != 1 {
		t.Error("the overlay itself is changed")
	}
}

func TestScratch(t *testing.T) {
	for _, file := range []string{"", "image"} {
		dir := scratch(t)
		s := Scratch{Dir: mkdir(t, dir+"/s"), Size: 8 << 20}
		if file != "" {
			if _, err := os.Stat("/sys/block/loop0"); err != nil {
				t.Skip("[loop] no loop devices")
			}
			if _, err := exec.LookPath("mkfs.ext4"); err != nil {
				t.Skip("[mkfs.ext4] needs mkfs.ext4")
			}
			s.File = dir + "/" + file
		}
		for range 2 {
			must(t, s.Mount())
		}
		if n := mounts(t, s.Dir); n != 1 {
			t.Errorf("%d mounts", n)
		}
		o := options(t, dir, 2)
		o.Upper, o.Work = s.Upper(), s.Work()
		must(t, Mount(o, mkdir(t, dir+"/merged")))
		big := make([]byte, 9<<20)
		if err := os.WriteFile(dir+"/merged/big", big, 0o644); fault.From(err, "", "").Errno != unix.ENOSPC {
			t.Errorf("%q: 9 MiB in 8: %v", file, err)
		}
		must(t, os.Remove(dir+"/merged/big"))
		write(t, dir+"/merged/kept", "x")
		must(t, Unmount(dir+"/merged", o.Name, false))
		must(t, s.Unmount(false))
		must(t, s.Unmount(false))
		if n := mounts(t, s.Dir); n != 0 {
			t.Errorf("%d mounts", n)
		}
		must(t, s.Mount())
		if _, err := os.Stat(s.Upper() + "/kept"); (err == nil) != (file != "") {
			t.Errorf("%q: %v", file, err)
		}
		must(t, s.Unmount(false))
	}
	s := Scratch{Dir: t.TempDir()}
	if err := s.Mount(); err == nil {
		t.Error("a size of 0")
	}
}

func TestScratchFails(t *testing.T) {
	dir := scratch(t)
	s := Scratch{Dir: mkdir(t, dir+"/s"), Size: 1 << 10, File: dir + "/image"}
	if err := s.Mount(); err == nil {
		t.Error("ext4 in a kilobyte")
	}
	if names, _ := filepath.Glob(dir + "/image*"); len(names) > 0 || mounts(t, s.Dir) > 0 {
		t.Error(names)
	}
	s.File, s.Dir = "", dir+"/none"
	if err := s.Mount(); err == nil {
		t.Error("mounted on nothing")
	}
}

// What MakeParents makes, the overlay shows.
func TestMakeParents(t *testing.T) {
	dir := scratch(t)
	o := options(t, dir, 2)
	top, below := o.Lower[0].Path, o.Lower[1].Path
	write(t, mkdir(t, top+"/a/b")+"/file", "")
	mkdir(t, below+"/a/b")
	old := time.Unix(-7, 123456789)
	must(t, os.Chown(below+"/a/b", 5, 6))
	must(t, os.Chmod(below+"/a/b", 0o3711|os.ModeSticky|os.ModeSetgid))
	must(t, unix.Lsetxattr(below+"/a/b", "trusted.x", []byte("y"), 0))
	must(t, unix.Lsetxattr(below+"/a/b", "trusted.overlay.overlay.opaque", []byte("y"), 0))
	for _, name := range []string{"/a/b", "/a"} {
		must(t, os.Chtimes(below+name, old, old))
	}
	var s Stack
	for _, l := range o.Lower {
		d, err := OpenDir(l.Path, false)
		must(t, err)
		defer d.Close()
		s.Layers = append(s.Layers, d)
	}
	nodes, err := Parents(&s, MadeUp{0: {"a", "a/b"}})
	must(t, err)
	parents := mkdir(t, dir+"/parents")
	must(t, MakeParents(parents, nodes, false))
	o.Lower = slices.Concat([]overlayfs.Layer{{Path: parents}}, o.Lower)
	f, err := Open(o)
	must(t, err)
	merged := NewDir(f, false)
	defer merged.Close()
	for _, name := range []string{"a", "a/b"} {
		got, err := merged.Node(name)
		must(t, err)
		want, err := s.Layers[1].Node(name)
		must(t, err)
		// The overlay shows the escaped name as it was, so that Dir takes it for a mark.
		if name == "a/b" && !got.Opaque && overlayfs.Running().AtLeast(6, 7) {
			t.Error("the escaped attribute is not shown")
		}
		want.Xattrs = slices.DeleteFunc(want.Xattrs, func(x member.Xattr) bool { return strings.HasPrefix(x.Name, "trusted.overlay.") })
		if !sameDir(got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got, want)
		}
	}
	if _, err := os.Stat(procFD(int(f.Fd())) + "/a/b/file"); err != nil {
		t.Error(err)
	}
}

// Stack says of random layers what the kernel shows.
func TestStackIsTheKernels(t *testing.T) {
	dir := scratch(t)
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		o := options(t, mkdir(t, fmt.Sprintf("%s/%d", dir, seed)), 2+r.IntN(4))
		s := Stack{Cached: seed%2 == 0}
		for _, l := range o.Lower {
			grow(t, r, l.Path, "", 3)
			d, err := OpenDir(l.Path, false)
			must(t, err)
			s.Layers = append(s.Layers, d)
		}
		o.Upper, o.Work = "", ""
		f, err := Open(o)
		must(t, err)
		merged := NewDir(f, false)
		for _, name := range universe("", 3) {
			want, err := merged.Node(name)
			must(t, err)
			got, layer, err := s.Lookup(name)
			must(t, err)
			if (got == nil) != (want == nil) {
				t.Fatalf("seed %d: %s: got %v, want %v", seed, name, got, want)
			}
			if got == nil {
				continue
			}
			if fmt.Sprint(got.Member) != fmt.Sprint(want.Member) {
				t.Errorf("seed %d: %s of %d:\n got %+v\nwant %+v", seed, name, layer, got.Member, want.Member)
			}
			if got.Kind == member.File {
				in, err := s.Open(name)
				must(t, err)
				text, _ := io.ReadAll(in)
				in.Close()
				if shown, err := os.ReadFile(procFD(int(f.Fd())) + "/" + name); err != nil || string(shown) != string(text) {
					t.Errorf("seed %d: %s: %q %q %v", seed, name, shown, text, err)
				}
			}
		}
		merged.Close()
	}
}

var names = []string{"a", "b", "c"}

// universe is every path that grow may make.
func universe(dir string, depth int) []string {
	var out []string
	for _, n := range names {
		p := strings.TrimPrefix(dir+"/"+n, "/")
		out = append(out, p)
		if depth > 1 {
			out = append(out, universe(p, depth-1)...)
		}
	}
	return out
}

// grow makes something of every kind below dir.
func grow(t testing.TB, r *rand.Rand, root, dir string, depth int) {
	for _, n := range names {
		p := filepath.Join(root, dir, n)
		switch r.IntN(8) {
		case 0:
			must(t, unix.Mknod(p, unix.S_IFCHR, 0))
		case 1:
			write(t, p, fmt.Sprint(p))
			must(t, os.Lchown(p, r.IntN(9), 0))
		case 2:
			must(t, os.Symlink(names[r.IntN(3)], p))
		case 3:
			must(t, unix.Mknod(p, unix.S_IFIFO|0o600, 0))
		case 4, 5:
			must(t, os.Mkdir(p, os.FileMode(0o700+r.IntN(8))))
			if r.IntN(3) == 0 {
				must(t, unix.Lsetxattr(p, "trusted.overlay.opaque", []byte("y"), 0))
			}
			if depth > 1 {
				grow(t, r, root, filepath.Join(dir, n), depth-1)
			}
		}
	}
}

// The other form of a whiteout, which a layer has where nobody could make the
// device, in a directory that says it has some, and in one that does not.
func TestWhiteoutAttributes(t *testing.T) {
	if !overlayfs.Running().AtLeast(6, 7) {
		t.Skip("[overlay.whiteout] needs Linux 6.7")
	}
	dir := scratch(t)
	o := options(t, dir, 2)
	for _, c := range []struct{ dir, mark string }{{"marked", "x"}, {"unmarked", ""}} {
		top := mkdir(t, o.Lower[0].Path+"/"+c.dir)
		write(t, mkdir(t, o.Lower[1].Path+"/"+c.dir)+"/gone", "x")
		write(t, top+"/gone", "")
		must(t, unix.Lsetxattr(top+"/gone", "trusted.overlay.whiteout", nil, 0))
		if c.mark != "" {
			must(t, unix.Lsetxattr(top, "trusted.overlay.opaque", []byte(c.mark), 0))
		}
	}
	var s Stack
	for _, l := range o.Lower {
		d, err := OpenDir(l.Path, false)
		must(t, err)
		defer d.Close()
		s.Layers = append(s.Layers, d)
	}
	f, err := Open(o)
	must(t, err)
	defer f.Close()
	for _, name := range []string{"marked/gone", "unmarked/gone"} {
		node, _, err := s.Lookup(name)
		must(t, err)
		_, err = os.Lstat(procFD(int(f.Fd())) + "/" + name)
		if node != nil || !os.IsNotExist(err) {
			t.Errorf("%s: %v, and the kernel says %v", name, node, err)
		}
	}
}

// No path of a layer leads out of it.
func TestDirStaysInside(t *testing.T) {
	dir := scratch(t)
	root := mkdir(t, dir+"/layer")
	write(t, dir+"/secret", "x")
	must(t, os.Symlink("..", root+"/up"))
	must(t, os.Symlink(dir, root+"/abs"))
	d, err := OpenDir(root, false)
	must(t, err)
	defer d.Close()
	for _, name := range []string{"up/secret", "abs/secret", "../secret", "up/layer/up/secret"} {
		if n, err := d.Node(name); n != nil {
			t.Errorf("%s: %v %v", name, n, err)
		}
		if f, err := d.OpenFile(name); err == nil {
			f.Close()
			t.Errorf("%s is opened", name)
		}
	}
	for _, name := range []string{"up", "abs"} {
		if n, err := d.Node(name); err != nil || n == nil || n.Kind != member.Symlink {
			t.Errorf("%s: %v %v", name, n, err)
		}
		if f, err := d.OpenFile(name); err == nil {
			f.Close()
			t.Errorf("%s is opened", name)
		}
	}
}
