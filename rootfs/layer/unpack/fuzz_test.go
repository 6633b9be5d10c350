package unpack

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// program makes a tar of bytes, three a member: kind, name, target. Names are few, so that members meet.
func program(code []byte, outside string) []byte {
	names := []string{"a", "b", "a/b", "a/b/c", "b/a", "c", "..", "../outside", "/", "a/../..", outside, "../outside/canary",
		"a/../../outside/new", ".wh.a", "a/.wh.b", ".wh..wh..opq", "a/.wh..wh..opq", "a/.wh.outside", "b/canary", "a/canary"}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for ; len(code) >= 3; code = code[3:] {
		h := &tar.Header{
			Typeflag: []byte{tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeLink, tar.TypeFifo, tar.TypeChar}[code[0]%6],
			Name:     names[int(code[1])%len(names)], Linkname: names[int(code[2])%len(names)],
			Mode: int64(code[0]) << 4, Uid: os.Geteuid(), Gid: os.Getegid(), Devminor: 1, Format: tar.FormatPAX,
		}
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(code[2])
		}
		if code[0]&0x40 != 0 {
			h.PAXRecords = map[string]string{"SCHILY.xattr.user.overlay.opaque": "y", "SCHILY.xattr.trusted.overlay.redirect": "/outside"}
		}
		if w.WriteHeader(h) == nil {
			_, _ = w.Write(bytes.Repeat([]byte{code[2]}, int(h.Size)))
		}
	}
	_ = w.Close()
	return b.Bytes()
}

// FuzzUnpack holds any layer to its directory, and Verify to finding nothing wrong with what Unpack made.
func FuzzUnpack(f *testing.F) {
	for _, code := range []string{
		"\x02\x00\x07\x00\x13\x05",             // a → ../outside, a/canary
		"\x02\x00\x0a\x00\x13\x05\x01\x03\x00", // a → /…/outside
		"\x03\x00\x0b\x03\x01\x0c",             // hard links to the outside
		"\x02\x00\x08\x02\x01\x00\x00\x04\x01\x01\x00\x00\x00\x0d\x00",
		"\x01\x02\x00\x00\x03\x09\x03\x00\x03\x02\x05\x00\x00\x05\x01",
		"\x02\x08\x07", "\x00\x0f\x00\x00\x0e\x00\x41\x02\x00", "\x05\x00\x00\x03\x01\x00\x00\x00\x01",
	} {
		f.Add([]byte(code))
	}
	f.Fuzz(func(t *testing.T, code []byte) {
		base := tempDir(t)
		outside := filepath.Join(base, "outside")
		inside := filepath.Join(base, "inside")
		for _, dir := range []string{outside, inside} {
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(outside, "canary"), []byte("alive"), 0o644); err != nil {
			t.Fatal(err)
		}
		before := fingerprint(t, base)
		raw := program(code[:min(len(code), 150)], outside)
		_, err := unpackInto(inside, raw, options())
		if after := fingerprint(t, base); after != before {
			t.Errorf("outside was\n%s\nand is\n%s", before, after)
		}
		if err != nil {
			return
		}
		if damaged := verify(t, inside, raw, options()); len(damaged) > 0 {
			t.Errorf("%v", damaged)
		}
		// Whatever is removed comes back.
		if entries, _ := os.ReadDir(inside); len(entries) > 0 {
			_ = os.Chmod(inside, 0o700)
			_ = removeTree(filepath.Join(inside, entries[0].Name()))
			repairAll(t, inside, raw, verify(t, inside, raw, options()), options())
			if damaged := verify(t, inside, raw, options()); len(damaged) > 0 {
				t.Errorf("after repair: %v", damaged)
			}
		}
	})
}

// FuzzStream does so for any bytes.
func FuzzStream(f *testing.F) {
	f.Add(stream(f, file("a/b", "x"), symlink("l", "a"), link("l/c", "a/b"), whiteout("a/w"), opaque("d"), directory("a", 0o500)))
	f.Fuzz(func(t *testing.T, raw []byte) {
		dir := tempDir(t)
		o := options()
		o.MaxEntries = 100
		if err := os.Mkdir(dir+"/in", 0o755); err != nil {
			t.Fatal(err)
		}
		before := fingerprint(t, dir)
		_, _ = unpackInto(dir+"/in", raw, o)
		if after := fingerprint(t, dir); after != before {
			t.Errorf("outside was\n%s\nand is\n%s", before, after)
		}
	})
}

// fingerprint is all about the directories base and base/outside but what is in base/inside.
func fingerprint(t *testing.T, base string) string {
	t.Helper()
	var lines []string
	for _, dir := range []string{base, filepath.Join(base, "outside")} {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			var st unix.Stat_t
			path := filepath.Join(dir, e.Name())
			if err := unix.Lstat(path, &st); err != nil {
				t.Fatal(err)
			}
			if dir == base && e.Name() != "outside" {
				lines = append(lines, e.Name())
				continue
			}
			content, _ := os.ReadFile(path)
			lines = append(lines, fmt.Sprint(path, string(content), st.Ino, st.Mode, st.Uid, st.Gid, st.Nlink, st.Size, st.Mtim, st.Ctim))
		}
	}
	return strings.Join(lines, "\n")
}
