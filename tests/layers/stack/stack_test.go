package stack

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"
)

const declaration = `layer gzip end=2
  dir a mode=0700 uid=7
  file a/b "two words" mtime=-5.25 xattr:user.x="\x00"
  file "x=y" ""
  symlink s "x"*40"\x00"*100"yy"
  link l a/b
  char n 1 3
layer
  whiteout a/b
  opaque a
`

func TestDeclarationsSurviveText(t *testing.T) {
	s, err := Parse("# a comment\n" + declaration)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.String(); got != declaration {
		t.Errorf("got\n%s", got)
	}
	again, err := Parse(s.String())
	if err != nil || !reflect.DeepEqual(again, s) {
		t.Errorf("%v: %v", err, again)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, text := range []string{"file a", "layer\nfoo a", "layer\nfile", "layer\nfile \"a", "layer\nfile \"\\q\""} {
		if s, err := Parse(text); err == nil {
			t.Errorf("%q: %v", text, s)
		}
	}
}

// TestTarIsWhatTheStandardLibraryReads holds the writer to the reader that the reference interpreter uses.
func TestTarIsWhatTheStandardLibraryReads(t *testing.T) {
	long := strings.Repeat("d/", 90) + "end"
	for _, c := range []struct {
		line string
		want tar.Header
		body string
	}{
		{`file a body`, tar.Header{Name: "a", Mode: 0o644, Size: 4, Typeflag: '0'}, "body"},
		{`dir a mode=01777 uid=3000000 gid=4294967294`, tar.Header{Name: "a/", Mode: 0o1777, Uid: 3000000, Gid: 4294967294, Typeflag: '5'}, ""},
		{`dir a uid=3000000 via=gnu`, tar.Header{Name: "a/", Mode: 0o755, Uid: 3000000, Typeflag: '5'}, ""},
		{`symlink s t`, tar.Header{Name: "s", Linkname: "t", Mode: 0o777, Typeflag: '2'}, ""},
		{`link s t`, tar.Header{Name: "s", Linkname: "t", Mode: 0o644, Typeflag: '1'}, ""},
		{`char c 5 1`, tar.Header{Name: "c", Devmajor: 5, Devminor: 1, Mode: 0o600, Typeflag: '3'}, ""},
		{`whiteout a/b`, tar.Header{Name: "a/.wh.b", Typeflag: '0'}, ""},
		{`opaque a`, tar.Header{Name: "a/.wh..wh..opq", Typeflag: '0'}, ""},
		{`file "d/"*90"end" via=gnu`, tar.Header{Name: long, Mode: 0o644, Typeflag: '0'}, ""},
		{`file "d/"*90"end" via=prefix`, tar.Header{Name: long, Mode: 0o644, Typeflag: '0'}, ""},
		{`file "d/"*90"end"`, tar.Header{Name: long, Mode: 0o644, Typeflag: '0'}, ""},
	} {
		line, err := ParseLine(c.line)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := (&Layer{Members: []Line{line}}).Tar()
		if err != nil {
			t.Fatal(err)
		}
		r := tar.NewReader(bytes.NewReader(raw))
		h, err := r.Next()
		if err != nil {
			t.Errorf("%s: %v", c.line, err)
			continue
		}
		body, _ := io.ReadAll(r)
		h.Format, h.PAXRecords = 0, nil
		c.want.ModTime = time.Unix(1000000000, 0)
		if !reflect.DeepEqual(*h, c.want) || string(body) != c.body {
			t.Errorf("%s:\n%+v %q, want\n%+v", c.line, *h, body, c.want)
		}
		if _, err := r.Next(); !errors.Is(err, io.EOF) {
			t.Errorf("%s: then %v", c.line, err)
		}
	}
}

func TestPAXAndTimes(t *testing.T) {
	s, err := Parse(declaration)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := s[0].Tar()
	if err != nil {
		t.Fatal(err)
	}
	r := tar.NewReader(bytes.NewReader(raw))
	r.Next()
	h, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	if !h.ModTime.Equal(time.Unix(-6, 750000000)) || h.PAXRecords["SCHILY.xattr.user.x"] != "\x00" {
		t.Errorf("%+v", h)
	}
}

func TestLayersOfManyTimes(t *testing.T) {
	s, err := Parse("layer times=3\n file f%N\n")
	if err != nil {
		t.Fatal(err)
	}
	tars, err := s.Tars()
	if err != nil || len(tars) != 3 || !bytes.HasPrefix(tars[2], []byte("f2\x00")) {
		t.Errorf("%v, %d tars", err, len(tars))
	}
}
