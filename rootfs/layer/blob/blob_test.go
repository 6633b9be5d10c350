package blob

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"

	"berth/libcontainer/fault"
)

func sum(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }

// noise is n bytes that compress a little.
func noise(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, 0, n+8)
	for len(b) < n {
		b = binary.LittleEndian.AppendUint64(b, r.Uint64()&0x3f3f3f3f3f3f3f3f)
	}
	return b[:n]
}

func gzipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func zstded(t testing.TB, b []byte) []byte {
	t.Helper()
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	return e.EncodeAll(b, nil)
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func read(r io.Reader, o Options) ([]byte, Sums, error) {
	b, err := NewReader(r, o)
	if err != nil {
		return nil, Sums{}, err
	}
	defer b.Close()
	plain, err := io.ReadAll(b)
	if err != nil {
		return plain, Sums{}, err
	}
	sums, err := b.Sums()
	return plain, sums, err
}

func TestReader(t *testing.T) {
	data := noise(600_000)
	half := len(data) / 2
	skippable := []byte("\x5a\x2a\x4d\x18\x03\x00\x00\x00abc")
	gz, zs := gzipped(t, data), zstded(t, data)
	for _, c := range []struct {
		name   string
		stored []byte
		want   []byte
		err    string
	}{
		{"plain", data, data, ""},
		{"empty", nil, nil, ""},
		{"short", []byte("ab"), []byte("ab"), ""},
		{"gzip", gz, data, ""},
		{"gzip of nothing", gzipped(t, nil), nil, ""},
		{"gzip members", join(gzipped(t, data[:half]), gzipped(t, nil), gzipped(t, data[half:])), data, ""},
		{"gzip and zeros", join(gz, make([]byte, 100_000)), data, ""},
		{"gzip and garbage", join(gz, []byte("garbage")), nil, "follows the gzip stream"},
		{"gzip, zeros and garbage", join(gz, make([]byte, 1000), []byte{1}), nil, "follows the gzip stream"},
		{"gzip and half a header", join(gz, gz[:5]), nil, "unexpected EOF"},
		{"gzip cut", gz[:len(gz)-9], nil, "unexpected EOF"},
		{"gzip cut in its sum", gz[:len(gz)-4], nil, "unexpected EOF"},
		{"gzip header alone", gz[:5], nil, "unexpected EOF"},
		{"gzip damaged", join(gz[:len(gz)-8], []byte("\x00\x00\x00\x00"), gz[len(gz)-4:]), nil, "checksum"},
		{"zstd", zs, data, ""},
		{"zstd frames", join(skippable, zstded(t, data[:half]), skippable, zstded(t, data[half:]), skippable), data, ""},
		{"zstd cut", zs[:len(zs)-1], nil, "EOF"},
		{"zstd and garbage", join(zs, []byte("garbage")), nil, "decompress layer"},
		{"bzip2", []byte("BZh91AY&SY"), nil, "bzip2"},
		{"xz", []byte("\xfd7zXZ\x00\x00"), nil, "xz"},
	} {
		for _, slow := range []bool{false, true} {
			in := io.Reader(bytes.NewReader(c.stored))
			if slow {
				in = iotest.HalfReader(in)
			}
			got, sums, err := read(in, Options{Name: "sha256:1234"})
			if c.err != "" {
				var f *fault.Error
				if !errors.As(err, &f) || f.Path != "sha256:1234" || !strings.Contains(err.Error(), c.err) {
					t.Errorf("%s: got %v, want %q", c.name, err, c.err)
				}
				continue
			}
			want := Sums{sum(c.stored), int64(len(c.stored)), sum(c.want), int64(len(c.want))}
			if err != nil || !bytes.Equal(got, c.want) || sums != want {
				t.Errorf("%s: %d bytes, %v, %v; want %v", c.name, len(got), sums, err, want)
			}
		}
	}
}

func TestMediaTypeDoesNotDecide(t *testing.T) {
	const layer = "application/vnd.oci.image.layer.v1.tar"
	data := noise(1000)
	for _, mediaType := range []string{"", layer, layer + "+gzip", layer + "+zstd", "application/vnd.docker.image.rootfs.diff.tar.gzip"} {
		for _, stored := range [][]byte{data, gzipped(t, data), zstded(t, data)} {
			if got, _, err := read(bytes.NewReader(stored), Options{MediaType: mediaType}); err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s: %v", mediaType, err)
			}
		}
	}
	if _, _, err := read(bytes.NewReader(data), Options{MediaType: layer + "+gzip+encrypted"}); err == nil || !strings.Contains(err.Error(), "encrypted") {
		t.Errorf("encrypted: %v", err)
	}
}

func TestLimits(t *testing.T) {
	zeros := make([]byte, ratioFloor+1<<20)
	for _, c := range []struct {
		name   string
		stored []byte
		limits Limits
		want   string
	}{
		{"size", gzipped(t, zeros), Limits{Size: 1 << 20}, "more than 1048576 bytes; raise --max-size"},
		{"size of plain tar", zeros, Limits{Size: 1 << 20}, "--max-size"},
		{"just the size", zeros, Limits{Size: int64(len(zeros))}, ""},
		{"ratio of gzip", gzipped(t, zeros), Limits{Ratio: 100}, "more than 100 times its size, as a decompression bomb does; raise --max-ratio"},
		{"ratio of zstd", zstded(t, zeros), Limits{Ratio: 100}, "--max-ratio"},
		{"ratio of plain tar", zeros, Limits{Ratio: 1}, ""},
		{"ratio of little", gzipped(t, zeros[:ratioFloor]), Limits{Ratio: 100}, ""},
		{"ratio is enough", gzipped(t, zeros), Limits{Ratio: 2000}, ""},
	} {
		got, _, err := read(bytes.NewReader(c.stored), Options{Name: "L", Limits: c.limits})
		if c.want == "" != (err == nil) || err != nil && !(strings.HasPrefix(err.Error(), "read layer L: ") && strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err != nil && len(got) > ratioFloor+plainPieces*plainPiece {
			t.Errorf("%s: gave %d bytes", c.name, len(got))
		}
	}
}

func TestErrorOfTheStreamBelow(t *testing.T) {
	own := errors.New("own")
	data := noise(1 << 20)
	for _, stored := range [][]byte{data, gzipped(t, data), zstded(t, data)} {
		for _, n := range []int{0, 3, 100, len(stored) / 2, len(stored)} {
			for _, want := range []error{own, io.ErrUnexpectedEOF} {
				_, _, err := read(io.MultiReader(bytes.NewReader(stored[:n]), iotest.ErrReader(want)), Options{})
				if err != want && !(n < magicMax && errors.Is(err, io.ErrUnexpectedEOF)) {
					t.Errorf("%d of %d: got %v, want %v", n, len(stored), err, want)
				}
			}
		}
	}
}

func TestSumsAreOfTheWhole(t *testing.T) {
	b, err := NewReader(bytes.NewReader(gzipped(t, noise(1000))), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(b, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	if s, err := b.Sums(); err == nil {
		t.Errorf("sums before the end: %v", s)
	}
	if _, err := b.Read(make([]byte, 1)); err != io.EOF {
		t.Error(err)
	}
	if _, err := b.Sums(); err != nil {
		t.Error(err)
	}
	b.Close()
	if _, err := b.Sums(); err != nil {
		t.Error("after Close:", err)
	}
}

func TestVerify(t *testing.T) {
	data := noise(1000)
	stored := gzipped(t, data)
	for _, c := range []struct {
		digest string
		size   int64
		diffID string
		want   string
	}{
		{sum(stored), int64(len(stored)), sum(data), ""},
		{"", -1, "", ""},
		{sum(data), -1, "", "its digest is " + sum(stored) + ", and should be " + sum(data)},
		{"", 5, "", "its size"},
		{"", -1, sum(stored), "tar stream"},
	} {
		b, err := NewReader(bytes.NewReader(stored), Options{Name: "L"})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Verify(c.digest, c.size, c.diffID); err == nil {
			t.Error("verified before the end")
		}
		if _, err := io.Copy(io.Discard, b); err != nil {
			t.Fatal(err)
		}
		err = b.Verify(c.digest, c.size, c.diffID)
		var wrong *Mismatch
		if errors.As(err, &wrong) != (c.want != "") || wrong != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c, err)
		}
		b.Close()
	}
}

func TestCloseEndsEarly(t *testing.T) {
	before := runtime.NumGoroutine()
	data := noise(6 << 20)
	for _, stored := range [][]byte{data, gzipped(t, data), zstded(t, data)} {
		b, err := NewReader(bytes.NewReader(stored), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(b, make([]byte, 100)); err != nil {
			t.Fatal(err)
		}
		b.Close()
		if _, err := b.Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Errorf("read after Close: %v", err)
		}
		if _, err := b.Sums(); err == nil {
			t.Error("sums after an early Close")
		}
	}
	for i := 0; runtime.NumGoroutine() > before; i++ {
		if i > 1e6 {
			t.Fatalf("%d goroutines, before %d", runtime.NumGoroutine(), before)
		}
		runtime.Gosched()
	}
}

func TestWriter(t *testing.T) {
	data := noise(1 << 20)
	for _, c := range []Compression{Plain, Gzip, Zstd} {
		for _, level := range []int{0, 1, 9} {
			first := store(t, data, c, level, len(data))
			got, sums, err := read(bytes.NewReader(first.Bytes()), Options{})
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("%s: %v", c, err)
			}
			if sums != first.sums {
				t.Errorf("%s: writer says %v, reader %v", c, first.sums, sums)
			}
			old := runtime.GOMAXPROCS(1)
			again := store(t, data, c, level, 777)
			runtime.GOMAXPROCS(old)
			if !bytes.Equal(first.Bytes(), again.Bytes()) {
				t.Errorf("%s level %d: output depends on the writes or the processors", c, level)
			}
		}
		if s := store(t, nil, c, 0, 1); s.sums.DiffID != sum(nil) || s.sums.Digest != sum(s.Bytes()) {
			t.Errorf("%s of nothing: %v", c, s.sums)
		}
	}
	if _, err := NewWriter(io.Discard, Gzip, 99); err == nil {
		t.Error("level 99")
	}
}

type stored struct {
	bytes.Buffer
	sums Sums
}

func store(t testing.TB, data []byte, c Compression, level, step int) *stored {
	t.Helper()
	var out stored
	w, err := NewWriter(&out, c, level)
	if err != nil {
		t.Fatal(err)
	}
	for ; len(data) > 0; data = data[min(step, len(data)):] {
		if _, err := w.Write(data[:min(step, len(data))]); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Sums(); err == nil {
		t.Error("sums before Close")
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if out.sums, err = w.Sums(); err != nil {
		t.Fatal(err)
	}
	return &out
}

type full struct{ left int }

var errFull = errors.New("no space left")

func (f *full) Write(p []byte) (int, error) {
	n := min(len(p), f.left)
	if f.left -= n; n < len(p) {
		return n, errFull
	}
	return n, nil
}

func TestWriterToAFullDisk(t *testing.T) {
	data := noise(6 << 20)
	for _, c := range []Compression{Plain, Gzip, Zstd} {
		for _, room := range []int{0, 100, 1 << 18} {
			w, err := NewWriter(&full{room}, c, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(data); err != nil && !errors.Is(err, errFull) {
				t.Errorf("%s, room for %d: write: %v", c, room, err)
			}
			if err := w.Close(); !errors.Is(err, errFull) {
				t.Errorf("%s, room for %d: close: %v", c, room, err)
			}
			if _, err := w.Sums(); err == nil {
				t.Error("sums")
			}
		}
	}
}
