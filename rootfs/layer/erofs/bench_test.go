package erofs

import (
	"archive/tar"
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"berth/rootfs/layer/member"
)

// bigTar writes a tar of entries members with about total bytes of content, most of them holes of the tar's file, as
// packages of a distribution have them: directories of some dozen files, some links, some attributes.
func bigTar(b testing.TB, entries int, total int64) *os.File {
	b.Helper()
	f, err := os.Create(filepath.Join(b.TempDir(), "layer.tar"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	out := &sparseWriter{f: f}
	w := tar.NewWriter(out)
	each := total / int64(entries)
	for i := range entries {
		h := tar.Header{
			Name: fmt.Sprintf("usr/share/package-%d/some-file-of-it-%d.ext", i/24, i), Typeflag: tar.TypeReg, Size: each, Mode: 0o644,
			ModTime: time.Unix(1.6e9+int64(i/24), 0), Format: tar.FormatPAX,
		}
		switch i % 24 {
		case 0:
			h.Name, h.Typeflag, h.Size, h.Mode = fmt.Sprintf("usr/share/package-%d/", i/24), tar.TypeDir, 0, 0o755
		case 1:
			h.Typeflag, h.Size, h.Linkname = tar.TypeSymlink, 0, "some-other-file.so.1"
		case 2:
			h.Size = 24*each - 20*each
		case 3:
			h.PAXRecords = map[string]string{"SCHILY.xattr.user.mime_type": "text/plain"}
		}
		if err := w.WriteHeader(&h); err != nil {
			b.Fatal(err)
		}
		if err := out.skip(w, h.Size); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	return f
}

// sparseWriter writes zeros as holes.
type sparseWriter struct {
	f  *os.File
	at int64
}

func (s *sparseWriter) Write(p []byte) (int, error) {
	if strings.Trim(string(p), "\x00") != "" {
		if _, err := s.f.WriteAt(p, s.at); err != nil {
			return 0, err
		}
	}
	s.at += int64(len(p))
	return len(p), s.f.Truncate(s.at)
}

func (s *sparseWriter) skip(w io.Writer, n int64) error {
	_, err := io.CopyN(w, zeros{}, n)
	return err
}

// members gives the members of a tar without reading its content.
func members(b testing.TB, f *os.File, do func(*member.Member) error) {
	b.Helper()
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		b.Fatal(err)
	}
	r := member.NewReader(bufio.NewReaderSize(f, 1<<16), member.Options{Offsets: true})
	for {
		m, err := r.Next()
		if err == io.EOF {
			return
		}
		if err == nil {
			err = do(m)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkImage is what the image costs besides reading the tar: 28 thousand members, 1 GB.
func BenchmarkImage(b *testing.B) {
	f := bigTar(b, 28_000, 1<<30)
	var all []member.Member
	members(b, f, func(m *member.Member) error { all = append(all, *m); return nil })
	st, err := f.Stat()
	if err != nil {
		b.Fatal(err)
	}
	var size int64
	for b.Loop() {
		builder := NewBuilder(Options{})
		for i := range all {
			if err := builder.Add(&all[i]); err != nil {
				b.Fatal(err)
			}
		}
		out, err := os.Create(filepath.Join(b.TempDir(), "layer.erofs"))
		if err != nil {
			b.Fatal(err)
		}
		r, err := builder.Write(out, Tar{f, st.Size(), "x"})
		if err != nil {
			b.Fatal(err)
		}
		out.Close()
		size = r.Size
	}
	b.ReportMetric(float64(size), "image-bytes")
}

// BenchmarkMillion is what a million members take of memory.
func BenchmarkMillion(b *testing.B) {
	for b.Loop() {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		builder := NewBuilder(Options{})
		for i := range 1_000_000 {
			m := member.Member{
				Path: fmt.Sprintf("usr/share/package-%d/some-file-of-it-%d.ext", i/24, i), Mode: 0o644, Size: 100,
				MTime: time.Unix(int64(i), 0), Data: []member.Segment{{Offset: int64(i) * 1024, Length: 100}},
			}
			if err := builder.Add(&m); err != nil {
				b.Fatal(err)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/1e6, "MB-held")
		r, err := builder.Write(io.Discard, Tar{nil, 1 << 31, "x"})
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(r.Size)/1e6, "MB-image")
	}
}

// BenchmarkMount is what a layer of a bundle costs.
func BenchmarkMount(b *testing.B) {
	dir := needMount(b)
	l := layerOf(b, "file f x", Options{})
	if m, err := l.mount(dir); err != nil {
		b.Fatal(err)
	} else {
		m.Close()
	}
	files, err := filepath.Glob(dir + "/layer*/layer.*")
	if err != nil || len(files) != 2 {
		b.Fatal(files, err)
	}
	for b.Loop() {
		m, err := Mount(files[0], files[1])
		if err != nil {
			b.Fatal(err)
		}
		m.Close()
	}
}
