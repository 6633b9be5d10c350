package member

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// random makes any member that a layer can hold, with its content.
func random(r *rand.Rand) (*Member, []byte) {
	name := func() string {
		parts := make([]string, 1+r.IntN(4))
		for i := range parts {
			b := make([]byte, 1+r.IntN(90))
			for j := range b {
				for b[j] == 0 || b[j] == '/' || b[j] == '.' {
					b[j] = byte(r.IntN(256))
				}
			}
			parts[i] = string(b)
		}
		return strings.Join(parts, "/")
	}
	m := &Member{Path: name(), Kind: Kind(r.IntN(int(Opaque) + 1))}
	if m.Kind == Whiteout || m.Kind == Opaque {
		return m, nil
	}
	m.Mode, m.UID, m.GID = r.Uint32N(0o10000), r.Uint32N(1<<32-1), r.Uint32N(1<<32-1)
	m.MTime = time.Unix(r.Int64N(1<<36)-1<<35, r.Int64N(2)*r.Int64N(1e9))
	for range r.IntN(3) {
		m.Xattrs = append(m.Xattrs, Xattr{fmt.Sprintf("trusted.%d", len(m.Xattrs)), []byte(name())})
	}
	var content []byte
	switch m.Kind {
	case File:
		content = bytes.Repeat([]byte{byte(r.IntN(256))}, r.IntN(3000))
		m.Size = int64(len(content))
	case Symlink:
		m.Target = "/" + name()
	case Link:
		m.Target = name()
	case Char, Block:
		m.Major, m.Minor = 1+r.Uint32N(majorMax), r.Uint32N(minorMax+1)
	}
	return m, content
}

func TestRoundTrip(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 0))
		var stream, again bytes.Buffer
		w, w2 := NewWriter(&stream), NewWriter(&again)
		var members []*Member
		var contents [][]byte
		for range 40 {
			m, content := random(r)
			members, contents = append(members, m), append(contents, content)
			if err := w.Write(m, bytes.NewReader(content)); err != nil {
				t.Fatal(err)
			}
			if err := w2.Write(m, bytes.NewReader(content)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if err := w2.Close(); err != nil || !bytes.Equal(stream.Bytes(), again.Bytes()) {
			t.Fatal("the same members gave other bytes", err)
		}
		back := NewReader(&stream, Options{})
		for i, want := range members {
			got, err := back.Next()
			if err != nil {
				t.Fatalf("seed %d: %+v: %v", seed, want, err)
			}
			content, err := io.ReadAll(back)
			if !reflect.DeepEqual(got, want) || !bytes.Equal(content, contents[i]) || err != nil {
				t.Fatalf("seed %d:\n got %+v %v\nwant %+v", seed, got, err, want)
			}
		}
		if _, err := back.Next(); err != io.EOF {
			t.Error(err)
		}
	}
}

func TestWriterKeepsToPlainHeaders(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	for _, m := range []*Member{
		{Kind: Dir, Mode: 0o755, MTime: time.Unix(1, 0)},
		{Path: "a/" + strings.Repeat("b", 99), MTime: time.Unix(1, 0)},
		{Path: "a/gone", Kind: Whiteout},
		{Path: "a", Kind: Opaque},
	} {
		if err := w.Write(m, nil); err != nil {
			t.Fatal(err)
		}
	}
	if b.Len() != 4*512 {
		t.Errorf("%d bytes for four members", b.Len())
	}
	if !slices.Equal([]string{"./", "a/.wh.gone", "a/.wh..wh..opq"}, []string{
		field(b.Bytes()[0:]), field(b.Bytes()[1024:]), field(b.Bytes()[1536:])}) {
		t.Errorf("%q", b.Bytes())
	}
}

func field(header []byte) string { return string(bytes.TrimRight(header[:100], "\x00")) }

func TestWriterRefuses(t *testing.T) {
	for _, c := range []struct {
		m    Member
		want string
	}{
		{Member{Path: ".wh.x"}, "begin with .wh."},
		{Member{Path: ".wh..wh.x", Kind: Dir}, "begin with .wh."},
		{Member{Path: "d/.wh.x/y"}, "nothing below"},
		{Member{Path: "../x"}, "climbs"},
		{Member{Path: "a//b"}, "not clean"},
		{Member{Path: "c", Kind: Char}, "0:0"},
		{Member{Path: "s", Kind: Symlink, Target: "a\x00b"}, "NUL"},
		{Member{Path: "short", Size: 5}, "fewer than 5"},
	} {
		err := NewWriter(io.Discard).Write(&c.m, strings.NewReader("x"))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), c.m.Path) {
			t.Errorf("%+v: got %v, want %q", c.m, err, c.want)
		}
	}
}
