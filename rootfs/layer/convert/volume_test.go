package convert

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSeed(t *testing.T) {
	dir := t.TempDir()
	image := filepath.Join(dir, "image")
	if err := errors.Join(os.MkdirAll(image+"/data/sub", 0o755), os.WriteFile(image+"/data/f", []byte("x"), 0o640), os.Symlink("/f", image+"/data/s"),
		os.Link(image+"/data/f", image+"/data/sub/l"), os.WriteFile(image+"/file", nil, 0o644), os.Symlink("/data", image+"/link"),
		os.Symlink("/", image+"/up"), os.Chmod(image+"/data", 0o2711|os.ModeSetgid)); err != nil {
		t.Fatal(err)
	}
	root, err := os.Open(image)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, c := range []struct {
		destination string
		files       bool
	}{{"/data", true}, {"/link", true}, {"/up/../data", true}, {"/none", false}, {"/file", false}, {"/data/sub/none", false}} {
		v := Volume{Destination: c.destination, Source: filepath.Join(t.TempDir(), "v", "0")}
		for range 2 { // the second time it is there
			if err := Seed(root, v); err != nil {
				t.Fatal(err)
			}
			if text, err := os.ReadFile(v.Source + "/f"); c.files != (err == nil) || c.files && string(text) != "x" {
				t.Errorf("%s: %q %v", c.destination, text, err)
			}
			if err := os.Remove(v.Source + "/sub/l"); c.files && err != nil {
				t.Error(err)
			}
			os.WriteFile(v.Source+"/sub/l", nil, 0o644)
		}
		if left, _ := filepath.Glob(v.Source + ".new"); len(left) > 0 {
			t.Error(left)
		}
		if !c.files {
			continue
		}
		var st unix.Stat_t
		if err := unix.Lstat(v.Source, &st); err != nil || st.Mode&0o777 != 0o711 {
			t.Errorf("%s: mode %o %v", c.destination, st.Mode, err)
		}
		if to, err := os.Readlink(v.Source + "/s"); err != nil || to != "/f" {
			t.Error(to, err)
		}
	}
	if err := Seed(root, Volume{Destination: "/data", Source: image + "/file/x"}); err == nil {
		t.Error("a volume in a file")
	}
}
