package erofs

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"berth/rootfs/layer/member"
	"berth/tests/layers/cases"
	"berth/tests/layers/flatten"
	"berth/tests/layers/tree"
)

// needMount skips where images cannot be mounted below dir.
func needMount(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 || testing.Short() {
		t.Skip("[root] needs root")
	}
	dir := t.TempDir()
	if err := Probe(dir); err != nil {
		t.Skip("[erofs] " + err.Error())
	}
	return dir
}

// mounted mounts a layer whose files it writes to a directory of its own below dir; the path is good until the test
// ends, and nothing is attached anywhere.
func (l *built) mounted(t testing.TB, dir string) string {
	t.Helper()
	m, err := l.mount(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return fmt.Sprintf("/proc/self/fd/%d/.", m.Fd())
}

func (l *built) mount(dir string) (*os.File, error) {
	dir, err := os.MkdirTemp(dir, "layer")
	if err != nil {
		return nil, err
	}
	image, tar := filepath.Join(dir, "layer.erofs"), filepath.Join(dir, "layer.tar")
	if err := os.WriteFile(image, l.image, 0o600); err != nil {
		return nil, err
	}
	if err := os.WriteFile(tar, l.tar, 0o600); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(tar, os.O_RDWR, 0)
	if err == nil {
		err = errors.Join(Pad(f), f.Close())
	}
	if err != nil {
		return nil, err
	}
	return Mount(image, tar)
}

// raw is what the kernel is to show of an image: whiteouts as devices, attributes escaped.
func raw(t testing.TB, i *Image) []tree.Entry {
	t.Helper()
	l, err := list(i)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range l.whiteouts {
		l.entries = append(l.entries, tree.Entry{Path: tree.Name(w), Type: tree.Char})
	}
	for k := range l.entries {
		e := &l.entries[k]
		escaped := map[string]tree.Name{}
		for name, value := range e.Xattrs {
			if rest, ok := strings.CutPrefix(name, i.overlay); ok {
				name = i.overlay + "overlay." + rest
			}
			escaped[name] = value
		}
		if slices.Contains(l.opaque, strings.TrimPrefix(string(e.Path), ".")) {
			escaped[i.overlay+"opaque"] = "y"
		}
		if slices.ContainsFunc(l.whiteouts, func(w string) bool { return path.Dir(w) == string(e.Path) }) {
			escaped[i.overlay+"origin"] = ""
		}
		e.Xattrs = escaped
	}
	tree.Sort(l.entries)
	return l.entries
}

// TestMounted compares what the kernel shows with what our own reader says, and both with the reference.
func TestMounted(t *testing.T) {
	dir := needMount(t)
	layers := slices.Clone(declarations)
	layers = append(layers, struct{ name, layer string }{"marks", damageable + "\nopaque d\ndir z\nwhiteout z\nwhiteout q"})
	for _, c := range layers {
		t.Run(c.name, func(t *testing.T) {
			for _, o := range []Options{{}, {UserXattr: true}} {
				l := layerOf(t, c.layer, o)
				i, at := l.open(t, o), l.mounted(t, dir)
				got, err := tree.Read(at)
				if err != nil {
					t.Fatal(err)
				}
				sameTree(t, raw(t, i), got, tree.Options{})
				sameLinks(t, i, at)
			}
		})
	}
}

// sameLinks compares the numbers of links and of inodes.
func sameLinks(t *testing.T, i *Image, at string) {
	t.Helper()
	for n, err := range i.Walk() {
		if err != nil {
			t.Fatal(err)
		}
		var st unix.Stat_t
		if err := unix.Lstat(at+"/"+n.Path, &st); err != nil {
			t.Error(n.Path, err)
		} else if uint32(st.Nlink) != n.Links || st.Ino != n.Number {
			t.Errorf("%s: %d links and number %d, not %d and %d", n.Path, st.Nlink, st.Ino, n.Links, n.Number)
		}
	}
}

// TestUnpackers compares mounted layers with what other programs unpack of the same tars.
func TestUnpackers(t *testing.T) {
	dir := needMount(t)
	for name, args := range map[string][]string{
		"bsdtar": {"-xpf", "-", "--numeric-owner"},
		"tar":    {"-xpf", "-", "--numeric-owner", "--xattrs", "--xattrs-include=*", "--delay-directory-restore"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := exec.LookPath(name); err != nil {
				t.Skip("[" + name + "] is not installed")
			}
			for _, c := range []string{
				filesOfSizes(),
				"dir d mode=1777 uid=70000 gid=5 mtime=-5\nfile d/f hello mode=6755 uid=2147483648 mtime=5\nchar d/c 5 1 mode=0620 gid=5\nblock d/b 259 65536\nfifo d/p\nsymlink d/s ../x mtime=3 uid=5",
				"file a content mode=0600\nlink b a\ndir d\nlink d/c b\nsymlink s a\nfile e \"\"\nlink f e",
				"dir d\nfile a x xattr:user.one=1 xattr:user.two=22\nfile b x xattr:user.one=1",
				many(3000, "file d/name-%d x") + "dir d mtime=7",
			} {
				l := layerOf(t, "dir / mode=0711 mtime=9\n"+c, Options{})
				to := filepath.Join(dir, fmt.Sprint(name, len(c)))
				if err := os.Mkdir(to, 0o755); err != nil {
					t.Fatal(err)
				}
				unpack := exec.Command(name, append(args, "-C", to)...)
				unpack.Stdin = bytes.NewReader(l.tar)
				if out, err := unpack.CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
				want, err := tree.Read(to)
				if err != nil {
					t.Fatal(err)
				}
				got, err := tree.Read(l.mounted(t, dir))
				if err != nil {
					t.Fatal(err)
				}
				sameTree(t, want[1:], got[1:], tree.Options{}) // the root is of the unpacker's making
			}
		})
	}
}

// TestMountedDirectories opens every name of large directories, which the kernel finds by halving.
func TestMountedDirectories(t *testing.T) {
	dir := needMount(t)
	for _, n := range []int{1, 100, 10_000, 100_000} {
		b := NewBuilder(Options{})
		name := func(i int) string { return fmt.Sprintf("d/%d-%s", i, strings.Repeat("x", i%40)) }
		for i := range n {
			if err := b.Add(&member.Member{Path: name(i), UID: uint32(i)}); err != nil {
				t.Fatal(err)
			}
		}
		var image bytes.Buffer
		if _, err := b.Write(&image, Tar{DiffID: "x"}); err != nil {
			t.Fatal(err)
		}
		at := (&built{nil, image.Bytes(), Result{}}).mounted(t, dir)
		names, err := os.ReadDir(at + "/d")
		if err != nil || len(names) != n {
			t.Errorf("%d names of %d, %v", len(names), n, err)
		}
		for i := range n {
			var st unix.Stat_t
			if err := unix.Lstat(at+"/"+name(i), &st); err != nil || st.Uid != uint32(i) {
				t.Fatalf("%s: %v, of %d", name(i), err, st.Uid)
			}
		}
		for _, no := range []string{"d/", "d/0", "d/~", "d/1-x-"} {
			if err := unix.Access(at+"/"+no+"no", unix.F_OK); err != unix.ENOENT {
				t.Errorf("%s: %v", no, err)
			}
		}
	}
}

// TestMountedSparse reads files in random pieces through the kernel.
func TestMountedSparse(t *testing.T) {
	dir := needMount(t)
	raw := make([]byte, 1<<15)
	r := rand.New(rand.NewPCG(3, 4))
	for i := range raw {
		raw[i] = byte(r.Uint32()) | 1
	}
	b := NewBuilder(Options{})
	var want [][]byte
	for i := range 300 {
		data, size := randomSegments(r, []int64{1, 512, 4096}[i%3])
		if err := b.Add(&member.Member{Path: fmt.Sprint(i), Size: size, Data: data}); err != nil {
			t.Fatal(err)
		}
		want = append(want, naive(raw, size, data))
	}
	var image bytes.Buffer
	if _, err := b.Write(&image, Tar{bytes.NewReader(raw), int64(len(raw)), "x"}); err != nil {
		t.Fatal(err)
	}
	at := (&built{raw, image.Bytes(), Result{}}).mounted(t, dir)
	for i := range want {
		got, err := os.ReadFile(filepath.Join(at, fmt.Sprint(i)))
		if err != nil || !bytes.Equal(got, want[i]) {
			t.Errorf("%d: other content, %v", i, err)
		}
	}
}

// TestOverlay lets overlayfs make one tree of images and compares it with the reference.
func TestOverlay(t *testing.T) {
	dir := needMount(t)
	accepted := 0
	for seed := range uint64(1500) {
		declaration := randomStack(rand.New(rand.NewPCG(seed, 11)))
		raw := tars(t, declaration)
		want, err := flatten.Flatten(raw...)
		if err != nil {
			continue
		}
		accepted++
		got, err := overlaid(t, dir, want, raw)
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, declaration)
		}
		if sameTree(t, want, got, tree.Options{}); t.Failed() {
			t.Fatalf("seed %d:\n%s", seed, declaration)
		}
	}
	if accepted < 100 {
		t.Errorf("only %d stacks", accepted)
	}
}

// TestOverlayCases does so with what a layer can contain.
func TestOverlayCases(t *testing.T) {
	dir := needMount(t)
	caseStacks(t, func(t *testing.T, c *cases.Case, tars [][]byte) {
		want, err := flatten.Flatten(tars...)
		if err != nil {
			return // refused, as TestCases sees
		}
		if got, err := overlaid(t, dir, want, tars); err == nil {
			sameTree(t, want, got, tree.Options{})
		} else if !c.OrRefused {
			t.Fatal(err)
		}
	})
}

// overlaid mounts layers and an overlay over them and lists that. Directories that a layer does not list get the
// metadata that want has for them, which is a mount's business.
func overlaid(t *testing.T, dir string, want []tree.Entry, raw [][]byte) ([]tree.Entry, error) {
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fs)
	var mounts []*os.File
	defer func() {
		for _, m := range mounts {
			m.Close()
		}
	}()
	add := func(l *built) error {
		m, err := l.mount(dir)
		if err != nil {
			return err
		}
		mounts = append(mounts, m)
		return unix.FsconfigSetString(fs, "lowerdir+", fmt.Sprintf("/proc/self/fd/%d", m.Fd()))
	}
	parents := map[tree.Name]bool{}
	for _, one := range slices.Backward(raw) {
		l, err := build(one, Options{})
		if err == nil {
			err = add(l)
		}
		if err != nil {
			return nil, err
		}
		for _, p := range l.result.Parents {
			parents[tree.Name(cmp.Or(p, "."))] = true
		}
		if l.result.Opaque {
			break
		}
	}
	if err := add(layerOf(t, "", Options{})); err != nil { // overlayfs wants two lower layers
		return nil, err
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return nil, fmt.Errorf("%s: %w", complaints(fs), err)
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	got, err := tree.Read(fmt.Sprintf("/proc/self/fd/%d/.", fd))
	for k := range got {
		n := slices.IndexFunc(want, func(e tree.Entry) bool { return e.Path == got[k].Path })
		if n >= 0 && parents[got[k].Path] && got[k].Type == tree.Dir {
			got[k] = want[n]
		}
	}
	return got, err
}

// TestMountFaults says what stands in the way.
func TestMountFaults(t *testing.T) {
	dir := needMount(t)
	good := layerOf(t, "file f x", Options{})
	image, tar := filepath.Join(dir, "i"), filepath.Join(dir, "t")
	damaged := slices.Clone(good.image)
	damaged[superOffset+6] ^= 1
	for _, c := range []struct {
		name       string
		image, tar []byte
		wants      string
	}{
		{"no image", make([]byte, 8192), good.tar, image + ": invalid argument; the image is damaged"},
		{"damaged", damaged, good.tar, image + ": bad message; the image is damaged"},
		{"no tar", good.image, nil, tar + ": no such file"},
	} {
		os.Remove(tar)
		if err := os.WriteFile(image, c.image, 0o600); err != nil {
			t.Fatal(err)
		}
		if c.tar != nil {
			if err := os.WriteFile(tar, c.tar, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		m, err := Mount(image, tar)
		if err == nil {
			m.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.wants) {
			t.Errorf("%s: %v, which does not say %q", c.name, err, c.wants)
		}
	}
}

// TestMountLongPath has paths that fsconfig does not take as they are.
func TestMountLongPath(t *testing.T) {
	dir := needMount(t)
	long := dir
	for range 3 {
		long = filepath.Join(long, strings.Repeat("p", 200))
	}
	if err := os.MkdirAll(long, 0o755); err != nil {
		t.Fatal(err)
	}
	l := layerOf(t, "file f content", Options{})
	if data, err := os.ReadFile(l.mounted(t, long) + "/f"); err != nil || string(data) != "content" {
		t.Error(string(data), err)
	}
}

// TestMountOutlivesFiles removes the files of a mounted layer.
func TestMountOutlivesFiles(t *testing.T) {
	dir := needMount(t)
	l := layerOf(t, many(200, `file d/%d "x"*3000`), Options{})
	m, err := l.mount(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	left, _ := filepath.Glob(dir + "/layer*")
	for _, d := range left {
		if err := os.RemoveAll(d); err != nil {
			t.Fatal(err)
		}
	}
	got, err := tree.Read(fmt.Sprintf("/proc/self/fd/%d/.", m.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	sameTree(t, raw(t, l.open(t, Options{})), got, tree.Options{})
}

func TestProbeOnTmpfs(t *testing.T) {
	dir := needMount(t)
	if err := unix.Mount("none", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
	err := Probe(dir)
	if !errors.Is(err, unix.ENOTBLK) || !strings.Contains(err.Error(), "ext4") {
		t.Errorf("%v, which does not say where it would work", err)
	}
	if names, _ := os.ReadDir(dir); len(names) > 0 {
		t.Errorf("%v is left", names)
	}
}

// TestUtils lets erofs-utils judge.
func TestUtils(t *testing.T) {
	dir := t.TempDir()
	if _, err := exec.LookPath("fsck.erofs"); err != nil {
		t.Skip("[erofs-utils] is not installed")
	}
	l := layerOf(t, damageable, Options{})
	image, tar := filepath.Join(dir, "i"), filepath.Join(dir, "t")
	if err := errors.Join(os.WriteFile(image, l.image, 0o600), os.WriteFile(tar, l.tar, 0o600)); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("fsck.erofs", "--device="+tar, image).CombinedOutput()
	if strings.Contains(string(out), "blksize 512 isn't supported") {
		t.Skip("[erofs-utils] 1.5 and before read blocks of 4 KiB only")
	}
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
