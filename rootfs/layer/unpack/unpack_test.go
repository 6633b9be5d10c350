package unpack

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/member"
)

// Shorthands for members.
func file(path, content string) entry {
	return entry{member.Member{Path: path, Mode: 0o644, Size: int64(len(content))}, content}
}
func directory(path string, mode uint32) entry {
	return entry{m: member.Member{Path: path, Kind: member.Dir, Mode: mode}}
}
func symlink(path, target string) entry {
	return entry{m: member.Member{Path: path, Kind: member.Symlink, Target: target}}
}
func link(path, target string) entry {
	return entry{m: member.Member{Path: path, Kind: member.Link, Target: target}}
}
func whiteout(path string) entry {
	return entry{m: member.Member{Path: path, Kind: member.Whiteout}}
}
func opaque(path string) entry {
	return entry{m: member.Member{Path: path, Kind: member.Opaque}}
}

type entry struct {
	m       member.Member
	content string
}

func (e entry) with(change func(*member.Member)) entry {
	if e.m.MTime.IsZero() {
		e.m.MTime = time.Unix(0, 0)
	}
	change(&e.m)
	return e
}

// stream is the tar of entries. Everything belongs to whoever runs the test unless it says so.
func stream(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := member.NewWriter(&b)
	for _, e := range entries {
		if e.m.UID == 0 && e.m.GID == 0 {
			e.m.UID, e.m.GID = uint32(os.Geteuid()), uint32(os.Getegid())
		}
		if err := w.Write(&e.m, strings.NewReader(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// options are what whoever runs the test can do.
func options() Options {
	if os.Geteuid() == 0 {
		return Options{}
	}
	return Options{UserXattr: true, Unprivileged: true, KeepOwner: true}
}

// tempDir is one that may come to hold directories that its owner may not write to.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "unpack")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := removeTree(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func removeTree(dir string) error {
	_ = filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if e != nil && e.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil // RemoveAll says what is wrong
	})
	return os.RemoveAll(dir)
}

func unpackInto(dir string, raw []byte, o Options) (Result, error) {
	f, err := os.Open(dir)
	if err != nil {
		return Result{}, err
	}
	defer f.Close()
	return Unpack(f, member.NewReader(bytes.NewReader(raw), member.Options{}), o)
}

func unpacked(t testing.TB, entries ...entry) (string, Result) {
	t.Helper()
	dir := tempDir(t)
	r, err := unpackInto(dir, stream(t, entries...), options())
	if err != nil {
		t.Fatal(err)
	}
	return dir, r
}

// listing shows a directory, a line for each name: "a: d" for a directory, ": o" for an opaque one, ": f CONTENT",
// ": l TARGET", ": w" for a whiteout.
func listing(t testing.TB, dir string, o Options) string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(strings.TrimPrefix(path, dir), "/")
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		line := ""
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			line = "d"
			if v, err := attrOf(path, o.prefix()+opaqueAttr); err == nil {
				line = "o" + strings.TrimPrefix(string(v), "y")
			}
		case unix.S_IFREG:
			content, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line = "f " + string(content)
		case unix.S_IFLNK:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			line = "l " + target
		case unix.S_IFCHR:
			line = "c"
			if st.Rdev == 0 {
				line = "w"
			}
		default:
			line = "?"
		}
		if name != "" || line != "d" {
			lines = append(lines, strings.TrimSpace(name+": "+line))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

func attrOf(path, attr string) ([]byte, error) {
	return sized(func(buf []byte) (int, error) { return unix.Lgetxattr(path, attr, buf) })
}

func TestTrees(t *testing.T) {
	for _, c := range []struct {
		name    string
		in      []entry
		want    []string
		parents string
	}{
		{"nothing", nil, nil, "."},
		{"root listed", []entry{directory("", 0o755)}, nil, ""},
		{"plain", []entry{directory("", 0o755), directory("a", 0o755), file("a/b", "x"), symlink("a/c", "../x")},
			[]string{"a: d", "a/b: f x", "a/c: l ../x"}, ""},
		{"missing parents", []entry{file("a/b/c", "x")}, []string{"a: d", "a/b: d", "a/b/c: f x"}, ". a a/b"},
		{"directory behind its children", []entry{file("a/b", "x"), directory("a", 0o700)}, []string{"a: d", "a/b: f x"}, "."},
		{"last wins", []entry{file("a", "1"), file("a", "22")}, []string{"a: f 22"}, "."},
		{"directory over file", []entry{file("a", "1"), directory("a", 0o755), file("a/b", "x")}, []string{"a: d", "a/b: f x"}, "."},
		{"file over tree", []entry{file("a/b/c", "1"), symlink("a/d", "x"), file("a", "2")}, []string{"a: f 2"}, "."},
		{"directory over directory", []entry{directory("a", 0o755), file("a/b", "1"), directory("a", 0o700)}, []string{"a: d", "a/b: f 1"}, "."},
		{"symlink over tree", []entry{file("a/b", "1"), symlink("a", "c"), file("a/b", "2")}, []string{"a: l c", "c: d", "c/b: f 2"}, ". c"},
		{"directory over symlink", []entry{directory("t", 0o755), symlink("a", "t"), directory("a", 0o755), file("a/b", "x")},
			[]string{"a: d", "a/b: f x", "t: d"}, "."},
		{"file over symlink", []entry{file("t", "t"), symlink("a", "t"), file("a", "x")}, []string{"a: f x", "t: f t"}, "."},
		{"file over hard link", []entry{file("t", "t"), link("a", "t"), file("a", "x")}, []string{"a: f x", "t: f t"}, "."},
		{"through a symlink", []entry{directory("d", 0o755), symlink("l", "d"), file("l/x", "1")}, []string{"d: d", "d/x: f 1", "l: l d"}, "."},
		{"through an absolute symlink", []entry{directory("d", 0o755), symlink("e/l", "/d"), file("e/l/x", "1")},
			[]string{"d: d", "d/x: f 1", "e: d", "e/l: l /d"}, ". e"},
		{"out of the root", []entry{symlink("l", "../../../etc"), file("l/passwd", "x")}, []string{"etc: d", "etc/passwd: f x", "l: l ../../../etc"}, ". etc"},
		{"chain of symlinks", []entry{symlink("a", "b"), symlink("b", "/c/."), symlink("c", "d/.."), file("a/x", "1")},
			[]string{"a: l b", "b: l /c/.", "c: l d/..", "d: d", "x: f 1"}, ". d"},
		{"symlink to the root", []entry{symlink("l", "/"), file("l/x", "1")}, []string{"l: l /", "x: f 1"}, "."},
		{"hard links", []entry{file("a", "x"), link("d/b", "a"), link("c", "d/b")}, []string{"a: f x", "c: f x", "d: d", "d/b: f x"}, ". d"},
		{"hard link to a symlink", []entry{symlink("s", "/etc/passwd"), link("h", "s")}, []string{"h: l /etc/passwd", "s: l /etc/passwd"}, "."},
		{"hard link through a symlink", []entry{file("d/a", "x"), symlink("l", "d"), link("h", "l/a")}, []string{"d: d", "d/a: f x", "h: f x", "l: l d"}, ". d"},
		{"hard link to itself", []entry{file("a", "x"), link("a", "a")}, []string{"a: f x"}, "."},
		{"hard link over a file", []entry{file("a", "x"), file("b", "y"), link("b", "a")}, []string{"a: f x", "b: f x"}, "."},
		{"hard link over the tree it comes from", []entry{file("d/e/a", "x"), file("d/b", "y"), link("d", "d/e/a")}, []string{"d: f x"}, "."},
		{"target replaced behind the link", []entry{file("a", "x"), link("b", "a"), file("a", "y")}, []string{"a: f y", "b: f x"}, "."},
		{"whiteout", []entry{directory("d", 0o755), whiteout("d/x"), whiteout("y")}, []string{"d: d", "d/x: w", "y: w"}, "."},
		{"whiteout makes its parent", []entry{whiteout("a/b")}, []string{"a: d", "a/b: w"}, ". a"},
		{"whiteout before the file", []entry{whiteout("a"), file("a", "x")}, []string{"a: f x"}, "."},
		{"whiteout behind the file", []entry{file("a", "x"), whiteout("a")}, []string{"a: f x"}, "."},
		{"whiteout before the directory", []entry{whiteout("a"), directory("a", 0o755), file("a/b", "x")}, []string{"a: o", "a/b: f x"}, "."},
		{"whiteout behind the directory", []entry{directory("a", 0o755), file("a/b", "x"), whiteout("a")}, []string{"a: o", "a/b: f x"}, "."},
		{"whiteout of a made-up directory", []entry{whiteout("a"), file("a/b/c", "x")}, []string{"a: o", "a/b: d", "a/b/c: f x"}, "."},
		{"whiteout of file, then directory", []entry{whiteout("a"), file("a", "x"), directory("a", 0o755)}, []string{"a: o"}, "."},
		{"whiteout in what is replaced", []entry{whiteout("a/b"), file("a", "x"), directory("a", 0o755)}, []string{"a: d"}, "."},
		{"opaque before siblings", []entry{directory("a", 0o755), opaque("a"), file("a/b", "x")}, []string{"a: o", "a/b: f x"}, "."},
		{"opaque behind siblings", []entry{directory("a", 0o755), file("a/b", "x"), opaque("a")}, []string{"a: o", "a/b: f x"}, "."},
		{"opaque alone", []entry{opaque("a")}, []string{"a: o"}, ". a"},
		{"opaque and whiteout", []entry{directory("a", 0o755), whiteout("a/gone"), opaque("a")}, []string{"a: o"}, "."},
		{"below opaque", []entry{directory("a", 0o755), opaque("a"), file("a/b/c", "x"), whiteout("a/b/d")}, []string{"a: o", "a/b: d", "a/b/c: f x"}, "."},
		{"opaque root", []entry{opaque(""), file("a/b", "x"), whiteout("c")}, []string{": o", "a: d", "a/b: f x"}, "."},
		{"opaque behind a symlink", []entry{directory("d", 0o755), symlink("l", "d"), opaque("l"), whiteout("l/x")}, []string{"d: o", "l: l d"}, "."},
		{"names of any bytes", []entry{file("\xff\n ", "x"), file(strings.Repeat("n", 255), "y")}, []string{strings.Repeat("n", 255) + ": f y", "\xff\n : f x"}, "."},
	} {
		dir, r := unpacked(t, c.in...)
		if got, want := listing(t, dir, options()), strings.Join(c.want, "\n"); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", c.name, got, want)
		}
		var parents []string
		for _, p := range r.Parents {
			parents = append(parents, cmp.Or(p, "."))
		}
		if strings.Join(parents, " ") != c.parents {
			t.Errorf("%s: parents %q, want %q", c.name, r.Parents, c.parents)
		}
		want := len(c.want)
		if len(c.want) > 0 && c.want[0] == ": o" {
			if want--; !r.Opaque {
				t.Errorf("%s: the root is not said to be opaque", c.name)
			}
		}
		if r.Entries != int64(want) {
			t.Errorf("%s: %d entries, want %d", c.name, r.Entries, want)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		in   []entry
		want string
	}{
		{"below a file", []entry{file("a", "x"), file("a/b", "y")}, "unpack a/b: a is not a directory"},
		{"below a device of another name", []entry{file("a", "x"), symlink("l", "a"), file("l/b", "y")}, "unpack l/b: a is not a directory"},
		{"loop", []entry{symlink("a", "b"), symlink("b", "a"), file("a/x", "y")}, "too many symbolic links"},
		{"loop of itself", []entry{symlink("a", "a"), whiteout("a/x")}, "unpack a/x: too many symbolic links"},
		{"hard link to nothing", []entry{link("a", "b")}, "unpack a: hard link to b: it is not in this layer"},
		{"hard link to what comes later", []entry{link("a", "b"), file("b", "x")}, "hard link to b: it is not in this layer"},
		{"hard link below nothing", []entry{link("a", "b/c")}, "hard link to b/c: it is not in this layer"},
		{"hard link to a directory", []entry{directory("d", 0o755), link("a", "d")}, "hard link to d: it is a directory"},
		{"hard link to a whiteout", []entry{whiteout("w"), link("a", "w")}, "hard link to w: it is not in this layer"},
		{"hard link below a file", []entry{file("f", "x"), link("a", "f/x")}, "f is not a directory"},
		{"name too long in a link", []entry{symlink("l", strings.Repeat("n", 256)), file("l/x", "y")}, "unpack l/x: a part of the target"},
	} {
		_, err := unpackInto(tempDir(t), stream(t, c.in...), options())
		var f *fault.Error
		if !errors.As(err, &f) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

func TestLimit(t *testing.T) {
	o := options()
	o.MaxEntries = 4
	if _, err := unpackInto(tempDir(t), stream(t, file("a/b/c/d", "")), o); err != nil {
		t.Error(err)
	}
	_, err := unpackInto(tempDir(t), stream(t, file("a/b/c/d/e", "")), o)
	if err == nil || err.Error() != "unpack a/b/c/d/e: the layer makes more than 4 files and directories; raise --max-entries if you trust it" {
		t.Error(err)
	}
}

func TestErrorOfTheStreamIsPassedOn(t *testing.T) {
	raw := stream(t, file("a", strings.Repeat("x", 10000)))
	_, err := unpackInto(tempDir(t), raw[:5000], options())
	if err == nil || !strings.HasPrefix(err.Error(), "read layer a: the stream ends within this member") {
		t.Error(err)
	}
}

func TestNotEmpty(t *testing.T) {
	dir := tempDir(t)
	if err := os.WriteFile(dir+"/a", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := unpackInto(dir, stream(t, file("a", "x")), options()); !errors.Is(err, unix.EEXIST) || !strings.Contains(err.Error(), "different names for the same") {
		t.Error(err)
	}
}

func TestPathLongerThanPATHMAX(t *testing.T) {
	part := strings.Repeat("n", 200)
	deep := strings.Repeat(part+"/", 30) + "f"
	dir, r := unpacked(t, file(deep, "deep"), link("l", deep))
	if content, err := os.ReadFile(dir + "/l"); err != nil || string(content) != "deep" || r.Entries != 32 {
		t.Errorf("%q %v, %d entries", content, err, r.Entries)
	}
}

func TestDepthIsLimited(t *testing.T) {
	tree := newTree(func(*dir) error { return nil })
	deepest := strings.Repeat("d/", depthMax-1) + "d"
	if _, err := tree.find(deepest, tree.makeUp); err != nil {
		t.Error(err)
	}
	if _, err := tree.find(deepest+"/d", tree.makeUp); err == nil || !strings.Contains(err.Error(), "more than 4096 directories deep") {
		t.Error(err)
	}
}

func TestDeepTrees(t *testing.T) {
	in := []entry{file(strings.Repeat("d/", 600)+"f", "x"), symlink("l", strings.Repeat("d/", 600)), file("l/"+strings.Repeat("e/", 300)+"f", "x"),
		file(strings.Repeat("g/", 600)+"f", "x"), link("l/h", strings.Repeat("g/", 600)+"f"), file("l/i", "x"), file("g", "a file over it all")}
	dir, r := unpacked(t, in...)
	if r.Entries != 906 {
		t.Errorf("%d entries", r.Entries)
	}
	if damaged := verify(t, dir, stream(t, in...), options()); len(damaged) > 0 {
		t.Error(damaged)
	}
}

// TestDirectoryStaysOpen lets go of the directory while it is used, as a caller may who has no more use for it.
func TestDirectoryStaysOpen(t *testing.T) {
	open := func() *os.File {
		f, err := os.Open(tempDir(t))
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	raw := stream(t, file("a/b", "x"), file("a/c", "y"))
	collect := writerFunc(func([]byte) { runtime.GC() })
	if _, err := Unpack(open(), member.NewReader(io.TeeReader(bytes.NewReader(raw), collect), member.Options{}), options()); err != nil {
		t.Error(err)
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) { f(p); return len(p), nil }

func TestMetadata(t *testing.T) {
	old := time.Date(1901, 12, 25, 0, 0, 0, 0, time.UTC)
	when := time.Unix(1234567890, 123456789)
	dir, r := unpacked(t,
		file("ro/f", "x").with(func(m *member.Member) { m.Mode, m.MTime = 0o4751, when }),
		directory("ro", 0o555).with(func(m *member.Member) { m.MTime = old }),
		symlink("ro/l", "f").with(func(m *member.Member) { m.MTime = when }),
		directory("", 0o1770).with(func(m *member.Member) { m.MTime = when }),
		directory("shut", 0).with(func(m *member.Member) { m.MTime = when }),
		entry{m: member.Member{Path: "shut/fifo", Kind: member.Fifo, Mode: 0o666, MTime: when}},
		file("w", "").with(func(m *member.Member) { m.Mode, m.MTime = 0o777, when }),
		directory("up/g", 0o2775).with(func(m *member.Member) { m.MTime = when }),
		file("up/g/f", ""),
	)
	if len(r.Warnings) > 0 {
		t.Errorf("warnings: %v", r.Warnings)
	}
	for name, want := range map[string]struct {
		mode  uint32
		mtime time.Time
	}{
		"": {0o1770, when}, "ro": {0o555, old}, "ro/f": {0o4751, when}, "ro/l": {0o777, when}, "shut": {0, when},
		"w": {0o777, when}, "up": {0o755, time.Unix(0, 0)}, "up/g": {0o2775, when}, "up/g/f": {0o644, time.Unix(0, 0)},
	} {
		var st unix.Stat_t
		if err := unix.Lstat(filepath.Join(dir, name), &st); err != nil {
			t.Error(err)
		} else if got := time.Unix(st.Mtim.Unix()); st.Mode&0o7777 != want.mode || !got.Equal(want.mtime) {
			t.Errorf("%s: mode %o mtime %v, want %o %v", name, st.Mode&0o7777, got, want.mode, want.mtime)
		}
	}
	os.Chmod(dir+"/shut", 0o700)
	var st unix.Stat_t
	if err := unix.Lstat(dir+"/shut/fifo", &st); err != nil || st.Mode != unix.S_IFIFO|0o666 {
		t.Errorf("fifo: %o %v", st.Mode, err)
	}
}

func TestSparseFilesStaySparse(t *testing.T) {
	// 1 TiB, made by GNU tar's format 1.0: archive/tar writes none.
	raw := sparse(1<<40, []int64{0, 4096, 1 << 39, 8192}, bytes.Repeat([]byte("x"), 12288))
	dir := tempDir(t)
	o := options()
	o.KeepOwner = true
	r, err := unpackInto(dir, raw, o)
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(dir+"/sparse", &st); err != nil || st.Size != 1<<40 || st.Blocks*512 > 1<<20 || r.Size != 12288 {
		t.Errorf("size %d, %d blocks, %d written, %v", st.Size, st.Blocks, r.Size, err)
	}
	f, err := os.Open(dir + "/sparse")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for at, want := range map[int64]byte{0: 'x', 4095: 'x', 4096: 0, 1<<39 - 1: 0, 1 << 39: 'x', 1<<39 + 8191: 'x', 1<<39 + 8192: 0, 1<<40 - 1: 0} {
		var b [1]byte
		if _, err := f.ReadAt(b[:], at); err != nil || b[0] != want {
			t.Errorf("at %d: %q %v", at, b, err)
		}
	}
	if _, err := f.ReadAt(make([]byte, 1), 1<<40); err != io.EOF {
		t.Error(err)
	}
}

// sparse is the tar of one sparse file in the format 1.0 of GNU tar; pairs are offsets and lengths of its data.
func sparse(size int64, pairs []int64, data []byte) []byte {
	table := fmt.Sprintln(len(pairs) / 2)
	for _, n := range pairs {
		table += fmt.Sprintln(n)
	}
	body := append([]byte(table), make([]byte, 512-len(table)%512)...)
	body = append(body, data...)
	records := map[string]string{"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "sparse", "GNU.sparse.realsize": strconv.FormatInt(size, 10)}
	extension := ""
	for _, key := range slices.Sorted(maps.Keys(records)) {
		line := " " + key + "=" + records[key] + "\n"
		extension += strconv.Itoa(len(line)+2) + line // all of them have 10 to 97 bytes
	}
	var b bytes.Buffer
	for _, part := range []struct {
		kind    byte
		content []byte
	}{{'x', []byte(extension)}, {'0', body}} {
		h := make([]byte, 512)
		copy(h, "GNUSparseFile.0/sparse")
		copy(h[100:], "0000644\x000000000\x000000000\x00")
		copy(h[124:], fmt.Sprintf("%011o\x0000000000000\x00        ", len(part.content)))
		h[156] = part.kind
		copy(h[257:], "ustar\x0000")
		sum := 0
		for _, c := range h {
			sum += int(c)
		}
		copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
		b.Write(h)
		b.Write(part.content)
		b.Write(make([]byte, -len(part.content)&511))
	}
	return b.Bytes()
}

func setAttrOf(path, attr, value string) error { return unix.Lsetxattr(path, attr, []byte(value), 0) }
func removeAttrOf(path, attr string) error     { return unix.Lremovexattr(path, attr) }

func attrsOf(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return listAttrs(handle{fd: int(f.Fd())})
}
