package erofs

import (
	"bytes"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"berth/rootfs/layer/member"
)

// sparseFile is an image of one file with such segments over tar.
func sparseFile(t *testing.T, tar []byte, size int64, data []member.Segment) (*Image, *built) {
	t.Helper()
	b := NewBuilder(Options{})
	if err := b.Add(&member.Member{Path: "f", Size: size, Data: data}); err != nil {
		t.Fatal(err)
	}
	var image bytes.Buffer
	result, err := b.Write(&image, Tar{bytes.NewReader(tar), int64(len(tar)), "x"})
	if err != nil {
		t.Fatal(err)
	}
	l := &built{tar, image.Bytes(), result}
	return l.open(t, Options{}), l
}

// naive is the content of a file, made the simple way.
func naive(tar []byte, size int64, data []member.Segment) []byte {
	out := make([]byte, size)
	for _, s := range data {
		copy(out[s.At:], tar[s.Offset:s.Offset+s.Length])
	}
	return out
}

func TestSparse(t *testing.T) {
	tar := make([]byte, 1<<16)
	for i := range tar {
		tar[i] = byte(i>>9 + i)
	}
	const k = 1024
	for _, c := range []struct {
		name   string
		size   int64
		data   []member.Segment
		copied int64
	}{
		{"all hole", 10 * k, nil, 0},
		{"hole before", 10 * k, []member.Segment{{At: 4 * k, Offset: 512, Length: 6 * k}}, 0},
		{"hole behind", 10*k + 5, []member.Segment{{Offset: 512, Length: 4 * k}}, 0},
		{"ends in data", 4*k + 5, []member.Segment{{At: 4 * k, Offset: 512, Length: 5}}, 0},
		{"two", 100 * k, []member.Segment{{At: 4 * k, Offset: 512, Length: 4 * k}, {At: 64 * k, Offset: 4*k + 512, Length: 4 * k}}, 0},
		{"not on a block of the tar", 512, []member.Segment{{Offset: 1, Length: 512}}, 512},
		{"not on a block of the file", 1024, []member.Segment{{At: 1, Offset: 512, Length: 512}}, 1024},
		{"a byte in the middle", 1 << 20, []member.Segment{{At: 700_000, Offset: 512, Length: 1}}, 2048},
		{"short piece", 8 * k, []member.Segment{{Offset: 512, Length: 100}, {At: 4 * k, Offset: 1024, Length: 512}}, 512},
		{"empty pieces", 8 * k, []member.Segment{{}, {Offset: 512, Length: 4 * k}, {At: 4 * k, Offset: 4*k + 512}, {At: 4 * k, Offset: 4*k + 512, Length: 4 * k}}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			i, l := sparseFile(t, tar, c.size, c.data)
			n, err := i.Lookup("f")
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(i.Content(n))
			if err != nil || !bytes.Equal(got, naive(tar, c.size, c.data)) {
				t.Errorf("other content, %v", err)
			}
			if l.result.Copied != c.copied {
				t.Errorf("%d bytes are copied, not %d", l.result.Copied, c.copied)
			}
		})
	}
}

// TestSparseRandom reads files in random pieces at random places.
func TestSparseRandom(t *testing.T) {
	tar := make([]byte, 1<<15)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range tar {
		tar[i] = byte(r.Uint32()) | 1
	}
	for round := range 400 {
		unit := []int64{1, 1, 512, 4096}[r.IntN(4)] // what the pieces are multiples of
		data, size := randomSegments(r, unit)
		i, _ := sparseFile(t, tar, size, data)
		n, err := i.Lookup("f")
		if err != nil {
			t.Fatal(err)
		}
		want := naive(tar, size, data)
		for range 4 {
			from := r.Int64N(size)
			part := make([]byte, r.Int64N(size-from)+1)
			if _, err := i.Content(n).ReadAt(part, from); err != nil || !bytes.Equal(part, want[from:from+int64(len(part))]) {
				t.Fatalf("round %d: %v of %d: other content at %d, %v", round, data, size, from, err)
			}
		}
	}
}

func randomSegments(r *rand.Rand, unit int64) (data []member.Segment, size int64) {
	at, offset := int64(0), r.Int64N(8)*min(unit, 512)
	for range r.IntN(6) {
		at += r.Int64N(4) * unit
		length := r.Int64N(3) * unit
		if offset+length > 1<<15 {
			break
		}
		data = append(data, member.Segment{At: at, Offset: offset, Length: length})
		at, offset = at+length, offset+length
	}
	return data, at + r.Int64N(3*unit) + 1
}

// TestHugeFiles need not be read to see that their maps stay small.
func TestHugeFiles(t *testing.T) {
	for _, c := range []struct {
		size int64
		data []member.Segment
	}{
		{1 << 62, nil},
		{1<<41 - 512, []member.Segment{{Length: 1<<41 - 512}}},
		{1 << 42, []member.Segment{{At: 1 << 41, Length: 1 << 20}}},
		{10 << 30, []member.Segment{{At: 5<<30 + 4096, Length: 4096}, {At: 7 << 30, Offset: 4096, Length: 1 << 20}}},
	} {
		b := NewBuilder(Options{})
		if err := b.Add(&member.Member{Path: "f", Size: c.size, Data: c.data}); err != nil {
			t.Errorf("%d: %v", c.size, err)
			continue
		}
		var image bytes.Buffer
		tar := Tar{zeroTar{}, 1<<41 - 512, "x"}
		if _, err := b.Write(&image, tar); err != nil || image.Len() > 48<<20 {
			t.Errorf("%d: an image of %d bytes, %v", c.size, image.Len(), err)
			continue
		}
		i, err := Open(bytes.NewReader(image.Bytes()), tar, Options{})
		if err != nil {
			t.Fatal(err)
		}
		n, err := i.Lookup("f")
		if err != nil || n.Size != c.size {
			t.Errorf("%d: has %d, %v", c.size, n.Size, err)
		}
		if _, err := i.Content(n).ReadAt(make([]byte, 10), c.size-10); err != nil {
			t.Errorf("%d: %v", c.size, err)
		}
	}
}

type zeroTar struct{}

func (zeroTar) ReadAt(p []byte, _ int64) (int, error) { return zeros{}.Read(p) }

// TestSparseDialects goes from the dialects of tar to the content.
func TestSparseDialects(t *testing.T) {
	block := strings.Repeat("d", 512)
	for _, c := range []struct{ name, line, want string }{
		{"PAX 1.0", `file f size=1536 body="2\n512\n512\n1536\n512\n"+pad+"BB" pax:GNU.sparse.major=1 pax:GNU.sparse.minor=0 ` +
			`pax:GNU.sparse.name=f pax:GNU.sparse.realsize=2048`, "HBHB"},
		{"PAX 0.1", `file f size=1024 body="BB" pax:GNU.sparse.map=512,512,1536,512 pax:GNU.sparse.size=2048 ` +
			`pax:GNU.sparse.numblocks=2 pax:GNU.sparse.name=f`, "HBHB"},
	} {
		line := strings.ReplaceAll(c.line, `"+pad+"`, strings.Repeat(`\x00`, 512-len("2\n512\n512\n1536\n512\n")))
		line = strings.ReplaceAll(line, "BB", block+block)
		l := layerOf(t, line, Options{})
		i := l.open(t, Options{})
		n, err := i.Lookup("f")
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(i.Content(n))
		want := strings.NewReplacer("H", strings.Repeat("\x00", 512), "B", block).Replace(c.want)
		if err != nil || string(got) != want {
			t.Errorf("%s: %v, %d bytes of %d", c.name, err, len(got), len(want))
		}
		if l.result.Copied != 0 {
			t.Errorf("%s: %d bytes copied", c.name, l.result.Copied)
		}
	}
}

// TestTarTooShort refuses content that is not there.
func TestTarTooShort(t *testing.T) {
	for _, size := range []int64{1023, 2<<40 + 512} {
		b := NewBuilder(Options{})
		if err := b.Add(&member.Member{Path: "f", Size: 512, Data: []member.Segment{{Offset: 512, Length: 512}}}); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Write(io.Discard, Tar{nil, size, "x"}); err == nil {
			t.Errorf("%d is taken", size)
		}
	}
	b := NewBuilder(Options{})
	if err := b.Add(&member.Member{Path: "f", Size: 512, Data: []member.Segment{{Offset: 1, Length: 512}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Write(io.Discard, Tar{nil, 1024, "x"}); err == nil || !strings.Contains(err.Error(), "need the tar") {
		t.Error(err)
	}
}
