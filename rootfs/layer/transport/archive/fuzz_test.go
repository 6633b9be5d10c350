package archive

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"berth/rootfs/layer/transport/ref"
)

// FuzzArchives: whatever a file has, opening it ends, and what is opened can be read.
func FuzzArchives(f *testing.F) {
	seed := func(members map[string]string) {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for name, content := range members {
			if err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(content))}); err != nil {
				f.Fatal(err)
			}
			io.WriteString(w, content)
		}
		w.Close()
		f.Add(b.Bytes())
	}
	const sum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	seed(map[string]string{"manifest.json": `[{"Config":"c","Layers":["l"]}]`, "c": `{"rootfs":{"diff_ids":["sha256:` + sum + `"]}}`, "l": ""})
	seed(map[string]string{"oci-layout": `{"imageLayoutVersion":"1.0.0"}`, "blobs/sha256/" + sum: "",
		"index.json": `{"schemaVersion":2,"manifests":[{"digest":"sha256:` + sum + `","size":0}]}`})
	f.Add([]byte{0x1f, 0x8b, 8})
	f.Fuzz(func(t *testing.T, raw []byte) {
		path := filepath.Join(t.TempDir(), "x.tar") // a new one each time: ext4 syncs what is written over
		if err := os.WriteFile(path, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		sp := Spool{Dir: t.TempDir(), Max: 1 << 20}
		if s, err := OpenDocker(t.Context(), ref.Ref{Path: path}, sp); err == nil {
			for sum, p := range s.blobs {
				if sum.Validate() != nil || p.offset < 0 || p.size < 0 {
					t.Errorf("%s at %+v", sum, p)
				}
			}
			s.Close()
		}
		if s, err := OpenOCI(t.Context(), path, "", sp); err == nil {
			if from, err := s.Blob(t.Context(), s.Root(), 0); err == nil {
				io.Copy(io.Discard, from)
			}
			s.Close()
		}
	})
}
