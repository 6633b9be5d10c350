package member

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestSparse has GNU tar write the four formats and compares with what archive/tar reads.
func TestSparse(t *testing.T) {
	if _, err := exec.LookPath("tar"); err != nil {
		t.Skip("[tar] not installed")
	}
	dir := t.TempDir()
	for name, ends := range map[string][]int64{
		"middle": {8192, 12288, 1 << 20, 1<<20 + 5000}, // data from the first to the second, and so on; the last is the size
		"hole":   {1 << 20},
		"many":   many(60),
		"tail":   {0, 4096, 1 << 20},
	} {
		makeSparse(t, filepath.Join(dir, name), ends)
	}
	if err := os.WriteFile(filepath.Join(dir, "zz-plain"), []byte("plain"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, format := range [][]string{
		{"--format=gnu"},
		{"--format=posix", "--sparse-version=0.0"},
		{"--format=posix", "--sparse-version=0.1"},
		{"--format=posix", "--sparse-version=1.0"},
	} {
		cmd := exec.Command("tar", append(format, "-cSC", dir, "middle", "hole", "many", "tail", "zz-plain")...)
		raw, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		want := tar.NewReader(bytes.NewReader(raw))
		got := NewReader(bytes.NewReader(raw), Options{Offsets: true})
		holes := int64(0)
		for {
			h, err := want.Next()
			m, err2 := got.Next()
			if err == io.EOF && err2 == io.EOF {
				break
			}
			if err != nil || err2 != nil {
				t.Fatal(format, err, err2)
			}
			content, err := io.ReadAll(want)
			if err != nil {
				t.Fatal(err)
			}
			if m.Path != h.Name || m.Size != h.Size {
				t.Errorf("%v: got %s %d, want %s %d", format, m.Path, m.Size, h.Name, h.Size)
			}
			bySegment := make([]byte, m.Size)
			for _, s := range m.Data {
				copy(bySegment[s.At:], raw[s.Offset:s.Offset+s.Length])
			}
			byRead := make([]byte, 0, m.Size)
			for buf := make([]byte, 3000); ; {
				n := got.SkipHole()
				holes += n
				byRead = append(byRead, make([]byte, n)...)
				k, err := got.Read(buf)
				if byRead = append(byRead, buf[:k]...); err == io.EOF {
					break
				} else if err != nil {
					t.Fatal(format, err)
				}
			}
			if !bytes.Equal(bySegment, content) || !bytes.Equal(byRead, content) {
				t.Errorf("%v %s: content differs", format, m.Path)
			}
		}
		if holes < 2<<20 {
			t.Errorf("%v: only %d bytes of holes", format, holes)
		}
		dense, err := readAll(raw, Options{})
		if err != nil || len(dense) != 5 {
			t.Errorf("%v: read with zeros: %v", format, err)
		}
	}
}

func many(n int64) (ends []int64) {
	for i := range n {
		ends = append(ends, i*65536, i*65536+4096)
	}
	return append(ends, n*65536)
}

func makeSparse(t *testing.T, name string, ends []int64) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := 0; i+1 < len(ends); i += 2 {
		if _, err := f.WriteAt(bytes.Repeat([]byte{byte('a' + i%26)}, int(ends[i+1]-ends[i])), ends[i]); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(ends[len(ends)-1]); err != nil {
		t.Fatal(err)
	}
}

func TestSparseMapMustFitTheData(t *testing.T) {
	for _, c := range []struct {
		pairs        []int64
		size, stored int64
		ok           bool
	}{
		{[]int64{0, 5}, 5, 5, true},
		{[]int64{10, 0}, 10, 0, true},
		{nil, 1 << 40, 0, true},
		{[]int64{0, 5, 8, 2}, 10, 7, true},
		{[]int64{0, 5}, 5, 4, false},
		{[]int64{0, 5}, 5, 6, false},
		{[]int64{0, 5, 4, 2}, 10, 7, false},
		{[]int64{5, 6}, 10, 6, false},
		{[]int64{11, 0}, 10, 0, false},
		{[]int64{-1, 1}, 10, 1, false},
		{[]int64{1, -1}, 10, -1, false},
		{[]int64{2, 1<<63 - 1}, 10, 1<<63 - 1, false},
	} {
		if _, err := lay(c.pairs, c.size, c.stored, 512); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
