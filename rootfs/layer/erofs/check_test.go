package erofs

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"berth/rootfs/layer/member"
	"berth/tests/layers/tree"
)

// differences are what Check reports.
func differences(t testing.TB, raw, image []byte, o Options) ([]string, error) {
	t.Helper()
	i, err := Open(bytes.NewReader(image), bytes.NewReader(raw), o)
	if err != nil {
		return nil, err
	}
	b, err := builderOf(raw, o)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	b.Check(i, func(path, what string) { out = append(out, path+": "+what) })
	return out, nil
}

func TestCheckSound(t *testing.T) {
	for _, c := range declarations {
		for _, o := range []Options{{}, {UserXattr: true}} {
			raw := tars(t, "layer\n"+c.layer)[0]
			l, err := build(raw, o)
			if err != nil {
				t.Fatal(err)
			}
			if lines, err := differences(t, raw, l.image, o); err != nil || len(lines) > 0 {
				t.Errorf("%s: %v %q", c.name, err, lines)
			}
		}
	}
}

// TestCheckOther says what differs where a layer's image is another layer's.
func TestCheckOther(t *testing.T) {
	base := "dir d mtime=5\nfile d/f content mode=0640\nsymlink s t\nlink l d/f\nchar c 1 3\nfile z x xattr:user.a=1\nwhiteout w"
	want := layerOf(t, base, Options{})
	for _, c := range []struct{ old, now, says string }{
		{"mtime=5", "mtime=6", "d: time"},
		{"0640", "0641", "mode"},
		{"symlink s t", "symlink s u", `s: leads to "u"`},
		{"symlink s t", "file s t", "s: is of another type"},
		{"link l d/f", "file l content mode=0640", "number of links"},
		{"char c 1 3", "char c 1 4", "another device"},
		{"user.a=1", "user.a=2", "extended attributes"},
		{"whiteout w", "whiteout v", "v: should not be there"},
		{"whiteout w", "whiteout v", "w: missing"},
		{"whiteout w", "opaque d", "d: extended attributes opaque=y"},
		{"content", "longer content", "bytes"},
		{"file z x", "file z x uid=7", "owner"},
	} {
		other := layerOf(t, strings.Replace(base, c.old, c.now, 1), Options{})
		lines, err := differences(t, want.tar, other.image, Options{})
		if err != nil || !slices.ContainsFunc(lines, func(s string) bool { return strings.Contains(s, c.says) }) {
			t.Errorf("%q for %q: %v %q", c.now, c.old, err, lines)
		}
	}
}

// TestCheckHardLink tells a name that has become an inode of its own though the number of links is right.
func TestCheckHardLink(t *testing.T) {
	raw := tars(t, "layer\nfile a x\nfile b x\nlink c a\nlink d b")[0]
	other := tars(t, "layer\nfile a x\nfile b x\nlink c b\nlink d a")[0]
	l, err := build(other, Options{})
	if err != nil {
		t.Fatal(err)
	}
	lines, err := differences(t, raw, l.image, Options{})
	if err != nil || !slices.Contains(lines, "c: is an inode of its own and should be a hard link") {
		t.Errorf("%v %q", err, lines)
	}
}

const damageable = `
	dir d mode=0750 uid=1 gid=2 mtime=7.5
	file d/f "some content"*200 mode=04755 xattr:user.one=1 xattr:user.two=2
	file d/g other xattr:user.one=1
	link d/h d/g
	symlink d/s target
	symlink d/l "t"*600
	char d/c 5 1
	fifo d/p
	whiteout d/w
	file e/x y`

// TestEveryByte changes each byte of an image. Either it is seen, or it does not matter; nothing panics or hangs.
func TestEveryByte(t *testing.T) {
	l := layerOf(t, damageable+many(40, "\nfile n/name-%d x"), Options{})
	i := l.open(t, Options{})
	want, err := list(i)
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	step := 1
	if testing.Short() {
		step = 23
	}
	for at := superOffset; at < len(l.image); at += step {
		image := slices.Clone(l.image)
		image[at] ^= 1 << (at % 8)
		lines, err := differences(t, l.tar, image, Options{})
		if err != nil || len(lines) > 0 {
			seen++
			continue
		}
		damaged, err := Open(bytes.NewReader(image), bytes.NewReader(l.tar), Options{})
		if err != nil {
			t.Fatal(err)
		}
		got, err := list(damaged)
		if err != nil {
			t.Fatalf("byte %d: not seen, and %v", at, err)
		}
		if lines := tree.Diff(want.entries, got.entries, tree.Options{}); len(lines) > 0 || !slices.Equal(want.whiteouts, got.whiteouts) {
			t.Fatalf("byte %d: not seen: %q", at, lines)
		}
	}
	if seen < 2000/step {
		t.Errorf("only %d bytes of %d matter", seen, len(l.image))
	}
}

// FuzzImage reads what may be no image at all.
func FuzzImage(f *testing.F) {
	l := layerOf(f, damageable, Options{})
	f.Add(l.image, l.tar)
	f.Add(l.image[:2048], l.tar[:512])
	f.Fuzz(func(t *testing.T, image, tar []byte) {
		if len(image) > superOffset+blockSize { // so that fuzzing gets behind it
			le.PutUint32(image[superOffset+4:], 0)
			le.PutUint32(image[superOffset+4:], checksum(image[superOffset:superOffset+blockSize]))
		}
		i, err := Open(bytes.NewReader(image), bytes.NewReader(tar), Options{})
		if err != nil {
			return
		}
		count := 0
		for n, err := range i.Walk() {
			if count++; err != nil || count > 1000 {
				return
			}
			if n.Kind == member.File {
				part := make([]byte, 100)
				_, _ = i.Content(n).ReadAt(part, n.Size/2)
			}
			_, _ = i.Lookup(n.Path)
		}
	})
}
