package fuzz

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"berth/rootfs/layer/erofs"
	"berth/tests/layers/flatten"
	"berth/tests/layers/stack"
	"berth/tests/layers/tree"
)

// stacks is how many random stacks a test holds to the reference interpreter: BERTH_LAYERS_STACKS, or a few.
func stacks(t *testing.T, few int) (first, n uint64) {
	first, _ = strconv.ParseUint(os.Getenv("BERTH_LAYERS_FIRST"), 10, 64)
	n = uint64(few)
	if text := os.Getenv("BERTH_LAYERS_STACKS"); text != "" {
		var err error
		if n, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	return first, n
}

// tmpfs mounts one for the time of a test.
func tmpfs(t *testing.T) string {
	t.Helper()
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("[root] mounts")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0700"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// hold holds a backend to the reference interpreter. It ends at the third failure, each made small.
func hold(t *testing.T, few int, show func(seed uint64, tars [][]byte) ([]tree.Entry, error)) {
	first, n := stacks(t, few)
	begin, failures, refusals := time.Now(), 0, 0
	for seed := first; seed < first+n && failures < 3; seed++ {
		s := Generate(Seeded(seed))
		judge := func(s stack.Stack) []string {
			tars, err := s.Tars()
			if err != nil {
				return nil
			}
			want, refused := flatten.Flatten(tars...)
			if refused != nil {
				refusals++
			}
			return differences(want, refused, func() ([]tree.Entry, error) { return show(seed, tars) })
		}
		if (seed-first)%10000 == 9999 {
			t.Logf("%d stacks", seed-first+1)
		}
		if judge(s) == nil {
			continue
		}
		failures++
		s = Minimise(s, func(s stack.Stack) bool { return judge(s) != nil })
		t.Errorf("stack %d:\n%s\n%s", seed, strings.Join(judge(s), "\n"), s)
	}
	t.Logf("%d stacks, %.0f a second, %d refused by both", n, float64(n)/time.Since(begin).Seconds(), refusals)
}

// shown returns what hold wants of a backend.
func shown(backend Backend, dir string) func(uint64, [][]byte) ([]tree.Entry, error) {
	return func(seed uint64, tars [][]byte) ([]tree.Entry, error) { return Show(tars, backend, dir, Seeded(seed)) }
}

func TestDirectories(t *testing.T) { hold(t, 3000, shown(Directory, tmpfs(t))) }

func TestDirectoriesUserXattr(t *testing.T) { hold(t, 1000, shown(DirectoryUser, tmpfs(t))) }

func TestEROFS(t *testing.T) { hold(t, 300, shown(EROFS, noTmpfs(t))) }

func TestEROFSUserXattr(t *testing.T) { hold(t, 100, shown(EROFSUser, noTmpfs(t))) }

// noTmpfs is a directory for EROFS images.
func noTmpfs(t *testing.T) string {
	t.Helper()
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("[root] mounts")
	}
	dir := t.TempDir()
	if err := erofs.Probe(dir); err != nil {
		t.Skip("[erofs] " + err.Error())
	}
	return dir
}

// differences says how a stack's tree differs from the reference interpreter's; nothing where it does not, or both refuse it.
func differences(want []tree.Entry, refused error, show func() ([]tree.Entry, error)) []string {
	got, err := show()
	switch {
	case (refused == nil) != (err == nil):
		return []string{fmt.Sprintf("the reference interpreter says %v, the backend %v", refused, err)}
	case refused != nil:
		return nil
	}
	return tree.Diff(want, got, tree.Options{})
}
