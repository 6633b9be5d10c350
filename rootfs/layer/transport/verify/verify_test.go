package verify

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

func describe(s string) v1.Descriptor {
	return v1.Descriptor{Digest: digest.FromString(s), Size: int64(len(s))}
}

func TestReader(t *testing.T) {
	const good = "some content"
	for name, c := range map[string]struct {
		desc v1.Descriptor
		from string
		want string // part of the error; empty for none
	}{
		"good":       {describe(good), good, ""},
		"empty":      {describe(""), "", ""},
		"short":      {describe(good), good[:5], "ends after 5 of 12"},
		"long":       {describe(good), good + "x", "longer than the 12"},
		"other":      {describe(good), "SOME content", "the content has digest " + string(digest.FromString("SOME content"))},
		"not empty":  {describe(""), "x", "longer than the 0"},
		"wrong size": {v1.Descriptor{Digest: digest.FromString(good), Size: 5}, good, "longer than the 5"},
		"sha512":     {v1.Descriptor{Digest: digest.SHA512.FromString(good), Size: 12}, good, ""},
	} {
		for _, wrap := range []func(io.Reader) io.Reader{func(r io.Reader) io.Reader { return r }, iotest.OneByteReader, iotest.DataErrReader} {
			got, err := io.ReadAll(Reader(c.desc, io.NopCloser(wrap(strings.NewReader(c.from)))))
			if c.want == "" && (err != nil || string(got) != c.from) {
				t.Errorf("%s: %q, %v", name, got, err)
			}
			if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%s: %v; want %q", name, err, c.want)
			}
			if int64(len(got)) > c.desc.Size {
				t.Errorf("%s: %d bytes given out", name, len(got))
			}
		}
		if err := Bytes(c.desc, []byte(c.from)); (err == nil) != (c.want == "") {
			t.Errorf("Bytes, %s: %v", name, err)
		}
	}
}

// endless never ends and counts what was taken.
type endless struct{ n int }

func (e *endless) Read(p []byte) (int, error) { e.n += len(p); return len(p), nil }

func TestEndlessStopsAtTheFirstByteTooMany(t *testing.T) {
	from := &endless{}
	desc := v1.Descriptor{Digest: digest.FromString("x"), Size: 1000}
	n, err := io.Copy(io.Discard, Reader(desc, io.NopCloser(from)))
	if err == nil || n != 1000 || from.n != 1001 {
		t.Fatal(n, from.n, err)
	}
}

func TestSize(t *testing.T) {
	const content = "some content"
	for rest, good := range map[string]bool{content[4:]: true, " CONTENT": true, " CONTENTS": false, " CONTEN": false, "": false} {
		got, err := io.ReadAll(Size(describe(content), io.NopCloser(strings.NewReader(rest)), 4))
		if (err == nil) != good || good && string(got) != rest {
			t.Errorf("%q: %q, %v", rest, got, err)
		}
	}
}

func TestLimits(t *testing.T) {
	if _, err := All(describe("12345"), io.NopCloser(strings.NewReader("12345")), 4); err == nil || !strings.Contains(err.Error(), "limit of 4") {
		t.Error(err)
	}
	if _, err := Limited(&endless{}, 1<<20, "index.json"); err == nil || !strings.Contains(err.Error(), "index.json") {
		t.Error(err)
	}
	if got, err := Limited(strings.NewReader("1234"), 4, ""); err != nil || len(got) != 4 {
		t.Error(got, err)
	}
}

func TestDescriptor(t *testing.T) {
	for _, d := range []v1.Descriptor{
		{},
		{Digest: "sha256:../../../../etc/passwd"},
		{Digest: "sha256:" + digest.Digest(strings.Repeat("g", 64))},
		{Digest: "sha256:" + digest.Digest(strings.Repeat("A", 64))},
		{Digest: "../sha256:" + digest.Digest(strings.Repeat("a", 64))},
		{Digest: "md5:d41d8cd98f00b204e9800998ecf8427e"},
		{Digest: digest.FromString(""), Size: -1},
	} {
		if Descriptor(d) == nil {
			t.Errorf("%+v accepted", d)
		}
	}
	if err := Descriptor(describe("x")); err != nil {
		t.Error(err)
	}
}
