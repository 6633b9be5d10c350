package member

import (
	"archive/tar"
	"bytes"
	"path"
	"strings"
	"testing"
)

// FuzzReader holds every member that any stream gives to what the backends rely on.
func FuzzReader(f *testing.F) {
	f.Add(archive(f, tar.Header{Name: "a/b", Size: 600}, tar.Header{Name: ".wh.c"}, tar.Header{Name: "d/", Typeflag: tar.TypeDir}))
	f.Add(archive(f, tar.Header{Name: "ä", PAXRecords: map[string]string{"SCHILY.xattr.user.x": "y"}}))
	f.Add(archive(f, tar.Header{Name: "s", Typeflag: tar.TypeSymlink, Linkname: "../.."}, tar.Header{Name: "h", Typeflag: tar.TypeLink, Linkname: "/s"}))
	f.Add(archive(f, tar.Header{Name: strings.Repeat("x/", 90), Typeflag: tar.TypeDir, Format: tar.FormatGNU}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := NewReader(bytes.NewReader(raw), Options{Offsets: true, MaxEntries: 1000})
		for {
			m, err := r.Next()
			if err != nil {
				return
			}
			for _, name := range []string{m.Path, m.Target} {
				if m.Kind == Symlink && name == m.Target {
					continue
				}
				if strings.HasPrefix(name, "/") || name != "" && path.Clean(name) != name || name == ".." || strings.HasPrefix(name, "../") {
					t.Errorf("%q is not clean", name)
				}
			}
			pos, place := int64(0), int64(0)
			for _, s := range m.Data {
				if s.At < pos || s.Length <= 0 || s.At+s.Length > m.Size || s.Offset < place {
					t.Errorf("%+v of %d", m.Data, m.Size)
				}
				pos, place = s.At+s.Length, s.Offset+s.Length
			}
		}
	})
}
