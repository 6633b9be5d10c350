package inflate

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"testing/iotest"
)

// inputs are of every kind that makes encoders do something else.
func inputs(t testing.TB) map[string][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	random := make([]byte, 200_000)
	for i := range random {
		random[i] = byte(r.Uint32())
	}
	skewed := make([]byte, 300_000) // long codes
	for i := range skewed {
		skewed[i] = byte(r.ExpFloat64() * 12)
	}
	far := append(append(append([]byte{}, random[:5000]...), make([]byte, 32768-5000)...), random[:5000]...)
	source, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var text []byte
	for _, name := range source {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, content...)
	}
	return map[string][]byte{
		"empty": nil, "a": []byte("a"), "aaa": bytes.Repeat([]byte("a"), 500_000), "abc": bytes.Repeat([]byte("abc"), 300_000),
		"abcdefg": bytes.Repeat([]byte("abcdefg"), 100_000), "random": random, "skewed": skewed, "far": far,
		"text": bytes.Repeat(text, 5),
	}
}

func pack(t testing.TB, data []byte, level int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, level)
	if err != nil {
		t.Fatal(err)
	}
	w.Name, w.Comment, w.Extra = "name", "comment", []byte("extra")
	for len(data) > 0 { // flushes make empty stored blocks
		n := min(len(data), 333_333)
		if _, err := w.Write(data[:n]); err != nil {
			t.Fatal(err)
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		data = data[n:]
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestRoundTrip(t *testing.T) {
	for name, data := range inputs(t) {
		for _, level := range []int{flate.HuffmanOnly, 0, 1, 6, 9} {
			packed := pack(t, data, level)
			for how, r := range map[string]io.Reader{
				"whole": bytes.NewReader(packed), "halves": iotest.HalfReader(bytes.NewReader(packed)),
				"bytes": iotest.OneByteReader(bytes.NewReader(packed)), "data and EOF": iotest.DataErrReader(bytes.NewReader(packed)),
			} {
				got, err := io.ReadAll(NewReader(r))
				if err != nil || !bytes.Equal(got, data) {
					t.Errorf("%s, level %d, %s: %d of %d bytes, %v", name, level, how, len(got), len(data), err)
				}
			}
			got, err := io.ReadAll(iotest.OneByteReader(NewReader(bytes.NewReader(packed))))
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s, level %d, read byte by byte: %v", name, level, err)
			}
		}
	}
}

func TestCutAnywhere(t *testing.T) {
	packed := append(pack(t, []byte("some text, some text and some more text"), 9), pack(t, bytes.Repeat([]byte("ab"), 50), 1)...)
	one := len(pack(t, []byte("some text, some text and some more text"), 9))
	for n := range packed {
		_, err := io.ReadAll(NewReader(bytes.NewReader(packed[:n])))
		if n == one {
			if err != nil {
				t.Errorf("after one member: %v", err)
			}
		} else if err != io.ErrUnexpectedEOF {
			t.Errorf("cut at %d of %d: %v", n, len(packed), err)
		}
		own := errors.New("own")
		if _, err := io.ReadAll(NewReader(io.MultiReader(bytes.NewReader(packed[:n]), iotest.ErrReader(own)))); err != own {
			t.Errorf("failed at %d: %v", n, err)
		}
	}
}

func TestFlippedBits(t *testing.T) {
	packed := pack(t, bytes.Repeat([]byte("some text, some text and some more text"), 30), 9)
	for i := range packed {
		for bit := range 8 {
			damaged := bytes.Clone(packed)
			damaged[i] ^= 1 << bit
			same(t, damaged)
		}
	}
}

// same holds a Reader to the standard library's: what that takes, this takes, with the same content, and no more but zeros
// behind the end.
func same(t *testing.T, packed []byte) {
	t.Helper()
	want, wantErr := standard(packed)
	got, err := io.ReadAll(io.LimitReader(NewReader(bytes.NewReader(packed)), 1<<24))
	if err == nil && wantErr != nil {
		for n := len(bytes.TrimRight(packed, "\x00")); n < len(packed) && wantErr != nil; n++ {
			want, wantErr = standard(packed[:n])
		}
	}
	if (err == nil) != (wantErr == nil) || err == nil && !bytes.Equal(got, want) {
		t.Errorf("%x:\n got %d bytes, %v\nwant %d bytes, %v", packed[:min(len(packed), 200)], len(got), err, len(want), wantErr)
	}
}

func standard(packed []byte) ([]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(z, 1<<24))
}

func FuzzSame(f *testing.F) {
	for _, data := range inputs(f) {
		for _, level := range []int{flate.HuffmanOnly, 0, 1, 9} {
			f.Add(pack(f, data[:min(len(data), 500)], level), true)
			var raw bytes.Buffer
			w, err := flate.NewWriter(&raw, level)
			if err != nil {
				f.Fatal(err)
			}
			_, _ = w.Write(data[:min(len(data), 3000)])
			_ = w.Close()
			f.Add(raw.Bytes(), false)
		}
	}
	f.Add([]byte("\x1f\x8b\x08A0000001\x00\x00\xff\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00"), true)
	f.Fuzz(func(t *testing.T, raw []byte, whole bool) {
		if !whole { // a deflate stream without a checksum in the way
			z := flate.NewReader(bytes.NewReader(raw))
			want, wantErr := io.ReadAll(io.LimitReader(z, 1<<22))
			d := &decoder{r: bytes.NewReader(raw)}
			var got []byte
			var err error
			for err == nil && d.state != atEnd && len(got) < 1<<22 {
				err = d.decode()
				got = append(got, d.out[d.given:d.write]...)
				d.given = d.write
			}
			if err == nil && d.state == atEnd {
				d.align()
				if d.pos > d.end {
					err = errCut
				}
			}
			if (err == nil) != (wantErr == nil) || err == nil && !bytes.Equal(got[:min(len(got), len(want))], want) {
				t.Errorf("%x:\n got %d bytes, %v\nwant %d bytes, %v", raw, len(got), err, len(want), wantErr)
			}
			return
		}
		same(t, raw)
	})
}
