package erofs

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"berth/rootfs/layer/member"
	"berth/tests/layers/flatten"
	"berth/tests/layers/tree"
)

// many repeats a line with %d being the number of the time.
func many(n int, line string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, strings.ReplaceAll(line, "%d", "%[1]d")+"\n", i)
	}
	return b.String()
}

var sizes = []int{0, 1, 511, 512, 513, 1023, 1024, 1025, 4095, 4096, 4097, 100_000}

func filesOfSizes() string {
	var b strings.Builder
	for _, n := range sizes {
		fmt.Fprintf(&b, "file f%d \"%c\"*%d\n", n, 'a'+n%26, n)
	}
	return b.String()
}

// declarations are layers that are what they say.
var declarations = []struct{ name, layer string }{
	{"nothing", ""},
	{"root only", "dir / mode=0711 uid=3 gid=4 mtime=77"},
	{"sizes", filesOfSizes()},
	{"metadata", `
		dir d mode=1777 uid=4294967294 gid=4294967294 mtime=-5.25
		file d/f hello mode=6755 uid=2147483648 gid=70000 mtime=253402300800.999999999
		file d/old x mtime=-62135596801
		symlink d/s ../somewhere mtime=1.5 uid=5
		char d/c 5 1 mode=0620 gid=5
		char d/big 4095 1048575
		block d/b 259 65536
		fifo d/p mode=0600`},
	{"names", `
		file -before x
		file +before x
		file ` + "`" + `a x
		file "with space" x
		file "\xff\xfe not UTF-8" x
		file "new\nline" x
		file .hidden x
		file ..two x
		file ` + strings.Repeat("n", 255) + ` x
		file ` + strings.Repeat("n", 254) + ` y
		dir é
		file é/x y`},
	{"255-byte names", many(60, `file %d-"n"*250 x`) + many(9, `dir %d"m"*254`)},
	{"many names", many(3000, "file d/name-%d x")},
	{"entries end with a block", many(22, "file d/%d-12345678 x")},
	{"deep", "file " + strings.Repeat("d/", 1500) + "f x"},
	{"symlinks", `
		symlink one /
		symlink long "t"*200
		symlink longer "t"*447
		symlink longest "t"*448
		symlink block "t"*511
		symlink beyond "t"*512
		symlink most "t"*4095
		symlink loop loop
		symlink bytes "\xff\n"`},
	{"hard links", `
		file a content mode=0600
		link b a mode=0777
		dir d
		link d/c b
		symlink s a
		link t s
		fifo p
		link q p
		char c 1 3
		link z c
		file e ""
		link f e`},
	{"a link outlives the name it was made from", `
		file a content
		link b a
		link c a
		file a other
		dir d
		file d/x y
		link e d/x
		file d plain`},
	{"links onto themselves and each other", `
		file a 1
		link a a
		link b a
		link a b
		file c 2
		link b c`},
	{"replaced", `
		file a 1
		file a 22
		dir d mode=0700
		file d/x y
		dir d mode=0711 uid=9 mtime=3
		dir t
		file t/x y
		dir t/u
		file t/u/v w
		file t now
		symlink s t
		dir s
		file s/inside x
		file o 1
		dir o
		dir g
		file g/old x
		file g plain
		dir g
		file g/new x`},
	{"symlinked parents", `
		dir usr
		symlink bin usr/bin
		file bin/sh x
		symlink abs /usr/share
		file abs/doc/x y
		symlink up ../../../etc
		file up/passwd y
		dir a
		symlink a/b ../c/./d
		file a/b/e/f g
		symlink l1 l2
		symlink l2 l3
		symlink l3 usr
		file l1/deep x
		link hard l1/deep
		dir usr/bin mode=0700`},
	{"a member replaces the link that led to it", "symlink c .\ndir c/c\nfile c/a x"},
	{"xattrs", `
		file a x xattr:user.one=1 xattr:security.capability="\x01\x00\x00\x02\x00 \x00\x00""\x00"*12
		file b x xattr:user.one=1 xattr:user.two=22
		file c x xattr:user.one=other xattr:trusted.x=""
		dir d xattr:user.big="v"*65535 xattr:user.s=small
		dir d2 xattr:user.big="v"*65535
		symlink s t xattr:user.no=1 xattr:trusted.yes=1 xattr:security.yes=2
		fifo p xattr:user.no=1 xattr:trusted.yes=1
		file n x xattr:user."n"*250=v
		file acl x mode=0664 xattr:system.posix_acl_access="\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x06\x00\x07\x00\x00\x00\x04\x00\x04\x00\xff\xff\xff\xff\x10\x00\x06\x00\xff\xff\xff\xff \x00\x04\x00\xff\xff\xff\xff"
		file none x xattr:system.other=1 xattr:com.apple.quarantine=1
		file overlay x xattr:trusted.overlay.opaque=y xattr:trusted.overlay.overlay.opaque=z xattr:user.overlay.opaque=y
		dir overlaid xattr:trusted.overlay.opaque=y xattr:trusted.overlay.redirect=/etc
		file l x xattr:user.links=1
		link l2 l`},
	{"more than 255 shared xattrs", "file a x" + manyXattrs(300) + "\nfile b x" + manyXattrs(300) + " xattr:user.own=b"},
	{"made-up parents", "file a/b/c x\nfile a/d x\nsymlink s missing/there\nfile s/x y"},
	{"whiteouts over nothing", "whiteout a\ndir d\nwhiteout d/b\nopaque e\nwhiteout f\nfile f x"},
}

func manyXattrs(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, " xattr:user.%03d=v", i)
	}
	return b.String()
}

func TestTree(t *testing.T) {
	for _, c := range declarations {
		t.Run(c.name, func(t *testing.T) {
			raw := tars(t, "layer\n"+c.layer)[0]
			want, err := flatten.Flatten(raw)
			if err != nil {
				t.Fatal(err)
			}
			for _, o := range []Options{{}, {UserXattr: true}} {
				l, err := build(raw, o)
				if err != nil {
					t.Fatal(err)
				}
				got, err := list(l.open(t, o))
				if err != nil {
					t.Fatal(err)
				}
				sameTree(t, want, got.entries, tree.Options{})
				checkSize(t, l)
			}
		})
	}
}

func checkSize(t *testing.T, l *built) {
	t.Helper()
	if l.result.Size != int64(len(l.image)) || len(l.image)%pageSize != 0 {
		t.Errorf("an image of %d bytes is said to have %d", len(l.image), l.result.Size)
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct{ layer, wants string }{
		{"file f x\nfile f/g x", "/f is in its path and is no directory"},
		{"symlink s s\nfile s/x y", "too many levels"},
		{"dir a/b\nsymlink l a/b/../..\nfile l/x y\nfile l/a z\nfile l/y z", "/a is in its path and is no directory"},
		{"link a b", "not in this layer"},
		{"whiteout b\nlink a b", "not in this layer"},
		{"dir b\nlink a b", "a directory"},
		{"link a missing/b", "not in this layer"},
		{"file " + strings.Repeat("d/", 4097) + "f x", "4096 directories deep"},
		{"symlink l " + strings.Repeat("d/", 2000) + "\nfile l/" + strings.Repeat("d/", 2000) + "l x\nsymlink " +
			strings.Repeat("d/", 4000) + "m " + strings.Repeat("d/", 97) + "\nfile " + strings.Repeat("d/", 4000) + "m/f x", "4096 directories deep"},
	} {
		_, err := build(tars(t, "layer\n"+c.layer)[0], Options{})
		if err == nil || !strings.Contains(err.Error(), c.wants) {
			t.Errorf("%q: %v, which does not say %q", c.layer, err, c.wants)
		}
	}
}

func TestRefusedMembers(t *testing.T) {
	x := func(name string, size int) []member.Xattr {
		return []member.Xattr{{Name: name, Value: make([]byte, size)}}
	}
	many := make([]member.Xattr, 5)
	for i := range many {
		many[i] = x("user."+string(rune('a'+i)), 60000)[0]
	}
	for _, c := range []struct {
		m     member.Member
		wants string
	}{
		{member.Member{Path: "c", Kind: member.Char}, "0:0"},
		{member.Member{Path: "c", Kind: member.Char, Major: 4096}, "4096:0"},
		{member.Member{Path: "c", Kind: member.Block, Minor: 1 << 20}, "0:1048576"},
		{member.Member{Path: "s", Kind: member.Symlink}, "to nothing"},
		{member.Member{Path: "s", Kind: member.Symlink, Target: strings.Repeat("t", 4096)}, "4096 bytes"},
		{member.Member{Path: "", Kind: member.File}, "root"},
		{member.Member{Path: strings.Repeat("n", 256), Kind: member.File}, "longer than 255"},
		{member.Member{Path: strings.Repeat("n", 256) + "/x", Kind: member.File}, "longer than 255"},
		{member.Member{Path: "x", Kind: member.File, Xattrs: x("user.a", 65536)}, "65536 bytes"},
		{member.Member{Path: "x", Kind: member.File, Xattrs: many}, "256 KiB"},
		{member.Member{Path: "x", Kind: 99}, "kind 99"},
		{member.Member{Path: "x", Size: 2, Data: []member.Segment{{At: 1, Length: 1}, {At: 0, Length: 1}}}, "not in order"},
		{member.Member{Path: "x", Size: 2, Data: []member.Segment{{At: 1, Length: 2}}}, "exceed its size"},
		{member.Member{Path: "x", Size: 512, Data: []member.Segment{{Offset: 2 << 40, Length: 512}}}, "2 TiB"},
		{member.Member{Path: "x", Size: 1 << 60, Data: []member.Segment{{At: 513, Length: 1}}}, "own"},
	} {
		err := NewBuilder(Options{}).Add(&c.m)
		if err == nil || !strings.Contains(err.Error(), c.wants) || !strings.Contains(err.Error(), "/"+c.m.Path[:min(9, len(c.m.Path))]) {
			t.Errorf("%.20q: %v, which does not say %q", c.m.Path, err, c.wants)
		}
	}
}

// TestBounded refuses members that are small in the stream and large here.
func TestBounded(t *testing.T) {
	const most = 8 << 20
	long := strings.Repeat("x", 4000)
	for name, m := range map[string]func(i int) member.Member{
		"targets": func(i int) member.Member {
			return member.Member{Path: fmt.Sprint(i), Kind: member.Symlink, Target: fmt.Sprint(long, i)}
		},
		"attributes": func(i int) member.Member {
			return member.Member{Path: "f", Xattrs: []member.Xattr{{Name: "user.x", Value: []byte(fmt.Sprint(long, i))}}}
		},
		"made-up directories": func(i int) member.Member {
			return member.Member{Path: fmt.Sprint(i, strings.Repeat("/d", 4000))}
		},
		"owners":   func(i int) member.Member { return member.Member{Path: "f", UID: uint32(i)} },
		"segments": func(i int) member.Member { return member.Member{Path: "f", Size: 1 << 20, Data: alternate(1000)} },
	} {
		b := NewBuilder(Options{MaxMemory: most})
		var err error
		n := 0
		for ; err == nil && n < 1_000_000; n++ {
			one := m(n)
			err = b.Add(&one)
		}
		if err == nil || !strings.Contains(err.Error(), "too much for an EROFS image") {
			t.Errorf("%s: %d times: %v", name, n, err)
		}
	}
	b := NewBuilder(Options{})
	for i := range 20 {
		one := member.Member{Path: fmt.Sprint(i, strings.Repeat("/d", 4000))}
		if err := b.Add(&one); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Write(io.Discard, Tar{DiffID: "x"}); err == nil || !strings.Contains(err.Error(), "no member lists") {
		t.Errorf("the names of made-up directories have no end: %v", err)
	}
}

// alternate is data and holes of 512 bytes in turns.
func alternate(n int64) (data []member.Segment) {
	for i := range n {
		data = append(data, member.Segment{At: i * 1024, Offset: i * 512, Length: 512})
	}
	return data
}

func TestMarks(t *testing.T) {
	none := `[]`
	for _, c := range []struct{ layer, whiteouts, opaque, parents string }{
		{"dir /\nwhiteout a\nwhiteout b\nfile b x\nfile c x\nwhiteout c", `["a"]`, none, none},
		{"dir /\ndir d\nwhiteout d", none, `["d"]`, none},
		{"dir /\nwhiteout d\nfile d/x y", none, `["d"]`, none},
		{"dir /\ndir d\nopaque d\nwhiteout d/gone", none, `["d"]`, none},
		{"dir /\nwhiteout d/gone\nopaque d\nfile d/e/x y\nwhiteout d/e/z", none, `["d"]`, `["d"]`},
		{"opaque /\nfile a/x y\nwhiteout b", none, `[""]`, `[""]`},
		{"file a/b/x y\nwhiteout c/x", `["c/x"]`, none, `["" "a" "a/b" "c"]`},
		{"dir a\nfile a/b/c/x y\nfile a.b/x y", none, none, `["" "a.b" "a/b" "a/b/c"]`},
		{"dir /\nfile d/x y\ndir d", none, none, none},
		{"dir /\ndir d\nopaque d\nfile d x\ndir d", none, none, none},
		{"dir /\nwhiteout d/x\nfile d y", none, none, none},
		{"dir /\ndir d\nwhiteout d\nfile d x\ndir d", none, `["d"]`, none},
		{"dir /\ndir d\nsymlink s d\nwhiteout s/x\nopaque s/e", `["d/x"]`, `["d/e"]`, `["d/e"]`},
		{"dir /\ndir d\nopaque d\ndir d/e\nopaque d/e\nwhiteout d/f\ndir d/f", none, `["d" "d/e" "d/f"]`, none},
	} {
		l := layerOf(t, c.layer, Options{})
		got, err := list(l.open(t, Options{}))
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range []struct{ what, want, got string }{
			{"whiteouts", c.whiteouts, fmt.Sprintf("%q", got.whiteouts)},
			{"opaque", c.opaque, fmt.Sprintf("%q", got.opaque)},
			{"parents", c.parents, fmt.Sprintf("%q", l.result.Parents)},
		} {
			if d.want != d.got {
				t.Errorf("%q: %s %s, not %s", c.layer, d.what, d.got, d.want)
			}
		}
		if root := slices.Contains(got.opaque, ""); root != l.result.Opaque {
			t.Errorf("%q: opaque: %t", c.layer, l.result.Opaque)
		}
	}
}

func TestCounts(t *testing.T) {
	l := layerOf(t, "file a x\nlink b a\nwhiteout c\ndir d\nfile d/e y", Options{})
	if l.result.Inodes != 5 || l.result.Entries != 5 {
		t.Errorf("%d inodes and %d entries", l.result.Inodes, l.result.Entries)
	}
}

func TestSameBytes(t *testing.T) {
	for _, c := range declarations {
		raw := tars(t, "layer\n"+c.layer)[0]
		first, err := build(raw, Options{})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			again, err := build(raw, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(first.image, again.image) {
				t.Errorf("%s: the image differs from time to time", c.name)
			}
		}
	}
}

func TestLookup(t *testing.T) {
	l := layerOf(t, many(2000, "file d/e/name-%d x")+"whiteout d/gone\nsymlink s d", Options{})
	i := l.open(t, Options{})
	for p, want := range map[string]member.Kind{
		"": member.Dir, "d": member.Dir, "d/e": member.Dir, "d/gone": member.Whiteout, "s": member.Symlink,
	} {
		if n, err := i.Lookup(p); err != nil || n.Kind != want || n.Path != p {
			t.Errorf("%q: %v, %v", p, n.Member, err)
		}
	}
	for k := range 2000 {
		p := fmt.Sprintf("d/e/name-%d", k)
		if n, err := i.Lookup(p); err != nil || n.Kind != member.File || n.Path != p {
			t.Errorf("%q: %v, %v", p, n.Member, err)
		}
	}
	for _, p := range []string{"no", "d/e/name-2000", "d/e/name-", "d/e/a", "d/e/z", "s/e", "d/e/name-1/x", "d//e"} {
		if _, err := i.Lookup(p); err != fs.ErrNotExist {
			t.Errorf("%q: %v", p, err)
		}
	}
}
