package layers

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A full disk, at every step: the command fails and says why, nothing is half-done, and with space again it succeeds.
func TestNoSpace(t *testing.T) {
	needRoot(t)
	for _, s := range steps {
		if s.name == "fsck" {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			failed := 0
			for free := 0; free <= 160; free += 4 + free/2 {
				if withSpace(t, s, free) {
					failed++
				}
			}
			t.Logf("%d times there was not enough space", failed)
			if failed == 0 && !s.needsNoSpace() {
				t.Error("it never failed")
			}
		})
	}
}

// withSpace carries out a step with so many kB free, and again with more. It says whether it failed first.
func withSpace(t *testing.T, s step, free int) bool {
	small := t.TempDir()
	if err := unix.Mount("tmpfs", small, "tmpfs", 0, "size=8m"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(small, unix.MNT_DETACH)
	st := newStore(t, small)
	defer unmountBelow(small)
	for _, args := range s.before {
		st.prepare("dir", args)
	}
	full := st.path("full")
	fill(t, full, free)
	first := st.try(backendArgs("dir", s.args)...)
	if first.status != 0 && s.needsNoSpace() {
		t.Fatalf("%d kB: it needs no space: %s", free, first.err)
	}
	if first.status != 0 && !strings.Contains(strings.ToLower(first.err), "no space left on device") {
		t.Fatalf("%d kB: %s", free, first.err)
	}
	for _, f := range st.faults() {
		t.Errorf("%d kB: %+v", free, f)
	}
	if err := os.Remove(full); err != nil {
		t.Fatal(err)
	}
	if again := st.try(backendArgs("dir", s.args)...); again.status != 0 && (first.status != 0 || !strings.Contains(again.err, s.gone)) {
		t.Fatalf("%d kB, again: %s", free, again.err)
	}
	st.clean()
	if s.after != nil {
		st.run(s.after...)
	}
	st.try("rm", "bundle")
	st.empty()
	return first.status != 0
}

// fill writes a file until so many kB are free.
func fill(t *testing.T, path string, free int) {
	t.Helper()
	var fs unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(path), &fs); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, make([]byte, max(0, int64(fs.Bavail)*fs.Bsize-int64(free)<<10)), 0o644); err != nil {
		t.Fatal(err)
	}
}
