package member

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"berth/libcontainer/fault"
)

// archive makes a tar of headers; content is by name, else zeros.
func archive(t testing.TB, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatalf("%+v: %v", h, err)
		}
		if h.Typeflag == tar.TypeReg || h.Typeflag == tar.TypeCont {
			if _, err := io.CopyN(w, strings.NewReader(strings.Repeat("x", int(h.Size))), h.Size); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func readAll(b []byte, o Options) (members []Member, err error) {
	r := NewReader(bytes.NewReader(b), o)
	for {
		m, err := r.Next()
		if err == io.EOF {
			return members, nil
		}
		if err != nil {
			return members, err
		}
		members = append(members, *m)
		if n, err := io.Copy(io.Discard, r); err != nil || n != m.Size {
			return members, errors.Join(err, errors.New("size"))
		}
	}
}

func TestNames(t *testing.T) {
	long := strings.Repeat("n", 255)
	for _, c := range []struct {
		name string
		want string
		kind Kind
		err  string // part of it
	}{
		{name: "a/b", want: "a/b"},
		{name: "./a/./b", want: "a/b"},
		{name: "/a//b", want: "a/b"},
		{name: "///a", want: "a"},
		{name: "a/../b", want: "b"},
		{name: "a/..b", want: "a/..b"},
		{name: "...", want: "..."},
		{name: "\xff\xfe", want: "\xff\xfe"},
		{name: long, want: long},
		{name: strings.Repeat(long+"/", 20) + "x", want: strings.Repeat(long+"/", 20) + "x"},
		{name: long + "n", err: "longer than 255"},
		{name: "a/" + long + "n/b", err: "longer than 255"},
		{name: "", err: "empty"},
		{name: "..", err: "climbs"},
		{name: "../x", err: "climbs"},
		{name: "/../x", err: "climbs"},
		{name: "a/../../x", err: "climbs"},
		{name: "a\x00b", err: "NUL"},
		{name: ".", err: "root must be a directory"},
		{name: "/", err: "root must be a directory"},
		{name: ".wh.a", want: "a", kind: Whiteout},
		{name: "d/.wh.a", want: "d/a", kind: Whiteout},
		{name: "d/.wh.wh.a", want: "d/wh.a", kind: Whiteout},
		{name: "./d/.wh.a/", want: "d/a", kind: Whiteout},
		{name: ".wh." + long, want: long, kind: Whiteout},
		{name: ".wh.n" + long, err: "longer than 255"},
		{name: "a.wh.b", want: "a.wh.b"},
		{name: ".wh..wh..opq", want: "", kind: Opaque},
		{name: "d/.wh..wh..opq", want: "d", kind: Opaque},
		{name: "d/.wh.", err: "no name"},
		{name: "d/.wh..", err: "no name"},
		{name: "d/.wh...", err: "no name"},
		{name: ".wh.d/a", err: "nothing below"},
		{name: ".wh.d/.wh.a", err: "nothing below"},
	} {
		m, err := fromHeader(&tar.Header{Name: c.name, Typeflag: tar.TypeReg})
		switch {
		case c.err != "":
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%.20q: got %v, want %q", c.name, err, c.err)
			}
		case err != nil:
			t.Errorf("%.20q: %v", c.name, err)
		case m.Path != c.want || m.Kind != c.kind:
			t.Errorf("%.20q: got %v %.20q, want %v %.20q", c.name, m.Kind, m.Path, c.kind, c.want)
		}
	}
}

func TestAufsFilesAreIgnored(t *testing.T) {
	for _, name := range []string{".wh..wh.plnk", ".wh..wh.plnk/12.34", "d/.wh..wh.orph/x", "d/.wh..wh.aufs", ".wh..wh..opq/x"} {
		if _, err := fromHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Size: 1}); err != errIgnored {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestMembers(t *testing.T) {
	when := time.Unix(-5, 123456789)
	for _, c := range []struct {
		header tar.Header
		want   Member
	}{
		{tar.Header{Name: "f", Mode: 0o106755, Size: 3, Uid: 1, Gid: 2, ModTime: when, Format: tar.FormatPAX},
			Member{Path: "f", Mode: 0o6755, Size: 3, UID: 1, GID: 2, MTime: when}},
		{tar.Header{Name: "f", Typeflag: tar.TypeCont}, Member{Path: "f"}},
		{tar.Header{Name: "d/", Typeflag: tar.TypeDir, Mode: 0o1777}, Member{Path: "d", Kind: Dir, Mode: 0o1777}},
		{tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o755}, Member{Kind: Dir, Mode: 0o755}},
		{tar.Header{Name: "l", Typeflag: tar.TypeSymlink, Linkname: "../../x"}, Member{Path: "l", Kind: Symlink, Target: "../../x"}},
		{tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "/./a//b"}, Member{Path: "h", Kind: Link, Target: "a/b"}},
		{tar.Header{Name: "c", Typeflag: tar.TypeChar, Devmajor: 4095, Devminor: 1048575}, Member{Path: "c", Kind: Char, Major: 4095, Minor: 1048575}},
		{tar.Header{Name: "b", Typeflag: tar.TypeBlock}, Member{Path: "b", Kind: Block}},
		{tar.Header{Name: "p", Typeflag: tar.TypeFifo}, Member{Path: "p", Kind: Fifo}},
		{tar.Header{Name: "u", Uid: 1<<32 - 2, Gid: 1<<32 - 2}, Member{Path: "u", UID: 1<<32 - 2, GID: 1<<32 - 2}},
		{tar.Header{Name: "u", Uid: 1 << 31, Format: tar.FormatGNU}, Member{Path: "u", UID: 1 << 31}},
		{tar.Header{Name: ".wh.x", Size: 7}, Member{Path: "x", Kind: Whiteout}},
	} {
		got, err := readAll(archive(t, c.header, tar.Header{Name: "next"}), Options{})
		if err != nil || len(got) != 2 || got[1].Path != "next" {
			t.Errorf("%+v: %v %v", c.header, got, err)
			continue
		}
		if c.want.MTime.IsZero() && c.want.Kind != Whiteout {
			c.want.MTime = time.Unix(0, 0)
		}
		if !reflect.DeepEqual(got[0], c.want) {
			t.Errorf("%+v:\n got %+v\nwant %+v", c.header, got[0], c.want)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		header tar.Header
		want   string
	}{
		{tar.Header{Typeflag: tar.TypeChar}, "0:0"},
		{tar.Header{Typeflag: tar.TypeChar, Devmajor: 4096}, "device number"},
		{tar.Header{Typeflag: tar.TypeBlock, Devminor: 1 << 20}, "device number"},
		{tar.Header{Typeflag: tar.TypeBlock, Devminor: -1}, "device number"},
		{tar.Header{Typeflag: tar.TypeReg, Uid: 1<<32 - 1}, "owner"},
		{tar.Header{Typeflag: tar.TypeReg, Gid: -1}, "owner"},
		{tar.Header{Typeflag: tar.TypeReg, Mode: -1}, "mode"},
		{tar.Header{Typeflag: tar.TypeSymlink}, "target"},
		{tar.Header{Typeflag: tar.TypeSymlink, Linkname: strings.Repeat("x", 4096)}, "target"},
		{tar.Header{Typeflag: tar.TypeLink, Linkname: "../x"}, "climbs"},
		{tar.Header{Typeflag: tar.TypeLink}, "empty"},
		{tar.Header{Typeflag: 'V'}, "unknown type"},
		{tar.Header{Typeflag: tar.TypeReg, PAXRecords: map[string]string{"SCHILY.xattr.": "x"}}, "extended attribute"},
		{tar.Header{Typeflag: tar.TypeReg, PAXRecords: map[string]string{"SCHILY.xattr.user.big": strings.Repeat("x", 65537)}}, "64 KiB"},
		{tar.Header{Typeflag: tar.TypeReg, PAXRecords: map[string]string{"LIBARCHIVE.xattr.user.x": "!"}}, "base64"},
	} {
		c.header.Name = "bad/name"
		_, err := fromHeader(&c.header)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: got %v, want %q", c.header, err, c.want)
		}
	}
}

func TestErrorNamesTheMember(t *testing.T) {
	_, err := readAll(archive(t, tar.Header{Name: "ok"}, tar.Header{Name: "../bad"}), Options{})
	var f *fault.Error
	if !errors.As(err, &f) || f.Path != "../bad" {
		t.Errorf("%v", err)
	}
	_, err = readAll(archive(t, tar.Header{Name: "a"}, tar.Header{Name: "b"}), Options{MaxEntries: 1})
	if err == nil || !strings.Contains(err.Error(), "read layer b: the layer has more than 1 entries; raise --max-entries") {
		t.Errorf("%v", err)
	}
}

func TestEnds(t *testing.T) {
	whole := archive(t, tar.Header{Name: "a", Size: 700}, tar.Header{Name: "b", Size: 10})
	pax := archive(t, tar.Header{Name: "ä"})
	for _, c := range []struct {
		name    string
		in      []byte
		members int
		err     string
	}{
		{"nothing", nil, 0, ""},
		{"end blocks alone", make([]byte, 1024), 0, ""},
		{"one zero block", make([]byte, 512), 0, ""},
		{"no end blocks", whole[:len(whole)-1024], 2, ""},
		{"no padding", whole[:len(whole)-1024-502], 2, ""},
		{"half the padding", whole[:len(whole)-1024-200], 2, ""},
		{"data behind the end", append(bytes.Clone(whole), "junk"...), 2, ""},
		{"an archive behind the end", append(bytes.Clone(whole), whole...), 2, ""},
		{"data cut", whole[:len(whole)-1024-503], 2, "b: the stream ends"},
		{"header cut", whole[:512+1024+100], 1, "a: the stream ends"},
		{"extension header without member", pax[:1024], 0, "the stream ends"},
		{"no tar", bytes.Repeat([]byte("x"), 2000), 0, "no tar header at its beginning"},
		{"junk between", append(bytes.Clone(whole[:512+1024]), bytes.Repeat([]byte("x"), 512)...), 1, "a: no tar header behind this member, at byte 1536"},
	} {
		for _, o := range []Options{{}, {Offsets: true}} {
			got, err := readAll(c.in, o)
			if len(got) != c.members || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %d members, %v; want %d, %q", c.name, len(got), err, c.members, c.err)
			}
		}
	}
}

func TestStreamIsReadToItsEnd(t *testing.T) {
	in := bytes.NewReader(append(archive(t, tar.Header{Name: "a"}), make([]byte, 12345)...))
	r := NewReader(iotest.OneByteReader(in), Options{})
	for {
		if _, err := r.Next(); err == io.EOF {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if in.Len() > 0 {
		t.Errorf("%d bytes left", in.Len())
	}
	if _, err := r.Next(); err != io.EOF {
		t.Error(err)
	}
}

func TestErrorOfTheStreamComesThrough(t *testing.T) {
	own := errors.New("own")
	whole := archive(t, tar.Header{Name: "a", Size: 10000})
	for _, n := range []int64{0, 100, 512, 5000, int64(len(whole) - 1024), int64(len(whole))} {
		r := NewReader(io.MultiReader(io.LimitReader(bytes.NewReader(whole), n), iotest.ErrReader(own)), Options{})
		err := error(nil)
		for err == nil {
			if _, err = r.Next(); err == nil {
				_, err = io.Copy(io.Discard, r)
			}
		}
		if err != own {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}

func TestGlobalHeadersAreIgnored(t *testing.T) {
	got, err := readAll(archive(t,
		tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "g", PAXRecords: map[string]string{"path": "evil", "comment": "0123"}},
		tar.Header{Name: "a", Size: 3}), Options{})
	if err != nil || len(got) != 1 || got[0].Path != "a" {
		t.Errorf("%+v %v", got, err)
	}
}

func TestOffsets(t *testing.T) {
	raw := archive(t, tar.Header{Name: "ä", Size: 3}, tar.Header{Name: "empty"}, tar.Header{Name: "b", Size: 600})
	got, err := readAll(raw, Options{Offsets: true})
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []int{3, 0, 600} {
		var n int
		for _, s := range got[i].Data {
			n += bytes.Count(raw[s.Offset:s.Offset+s.Length], []byte("x"))
		}
		if n != want {
			t.Errorf("%s: %v", got[i].Path, got[i].Data)
		}
	}
	if got, _ = readAll(raw, Options{}); got[0].Data != nil {
		t.Error("Data without being asked")
	}
}
