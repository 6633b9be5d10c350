package erofs

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"berth/rootfs/layer/member"
	"berth/rootfs/layer/unpack"
	"berth/tests/layers/cases"
	"berth/tests/layers/tree"
)

// caseStacks are the uncompressed layers of all cases that are about what is in a layer.
func caseStacks(t *testing.T, do func(t *testing.T, c *cases.Case, tars [][]byte)) {
	t.Helper()
	all, err := cases.All()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		if c.Envelope {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			tars, err := c.Stack.Tars()
			if err != nil {
				t.Fatal(err)
			}
			do(t, &c, tars)
		})
	}
}

// TestCases makes images of what a layer can contain; all of a stack together must be the expected tree.
func TestCases(t *testing.T) {
	caseStacks(t, func(t *testing.T, c *cases.Case, tars [][]byte) {
		got, err := flattened(t, tars)
		if c.Refused != nil {
			if err == nil {
				t.Error("is not refused")
			}
			return
		}
		if err != nil {
			if !c.OrRefused {
				t.Error(err)
			}
			return
		}
		want, err := c.Tree()
		if err != nil {
			t.Fatal(err)
		}
		sameTree(t, want, got, tree.Options{})
	})
}

// sameAsDirectory compares an image mounted from dir with what the directory backend makes of the same layer in scratch.
func sameAsDirectory(t *testing.T, dir, scratch string, raw []byte) {
	t.Helper()
	l, err := build(raw, Options{})
	to, made := os.MkdirTemp(scratch, "dir")
	if made != nil {
		t.Fatal(made)
	}
	into, opened := os.Open(to)
	if opened != nil {
		t.Fatal(opened)
	}
	defer func() { into.Close(); os.RemoveAll(to) }()
	result, unpacked := unpack.Unpack(into, member.NewReader(bytes.NewReader(raw), member.Options{}), unpack.Options{})
	if (err == nil) != (unpacked == nil) {
		t.Fatalf("the directory backend says %v, this one %v", unpacked, err)
	}
	if err != nil {
		return
	}
	m, err := l.mount(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	want, err1 := tree.Read(to)
	got, err2 := tree.Read(fmt.Sprintf("/proc/self/fd/%d/.", m.Fd()))
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	for k, e := range want {
		if e.Type == tree.Char && e.Major|e.Minor == 0 {
			want[k].MTime = tree.Time{} // nobody sees a whiteout's, and a directory's has the time of unpacking
		}
	}
	sameTree(t, want, got, tree.Options{})
	if want, got := fmt.Sprintf("%q %t %d", result.Parents, result.Opaque, result.Entries),
		fmt.Sprintf("%q %t %d", l.result.Parents, l.result.Opaque, l.result.Entries); want != got {
		t.Errorf("parents, opaque, entries %s, not %s", got, want)
	}
	os.RemoveAll(filepath.Dir(m.Name()))
}

// TestBackends holds both backends to the same trees, marks of overlayfs included.
func TestBackends(t *testing.T) {
	dir, scratch := needMount(t), t.TempDir()
	// ext4 has neither years beyond 2446 nor 64 KiB of attributes
	if err := unix.Mount("none", scratch, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(scratch, unix.MNT_DETACH) }()
	for _, c := range declarations {
		t.Run(c.name, func(t *testing.T) { sameAsDirectory(t, dir, scratch, tars(t, "layer\n"+c.layer)[0]) })
	}
	caseStacks(t, func(t *testing.T, _ *cases.Case, tars [][]byte) {
		for _, raw := range tars[:min(len(tars), 10)] {
			sameAsDirectory(t, dir, scratch, raw)
		}
	})
	for seed := range uint64(200) {
		declaration := "layer\n" + randomLayer(rand.New(rand.NewPCG(seed, 13)), 14)
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			if sameAsDirectory(t, dir, scratch, tars(t, declaration)[0]); t.Failed() {
				t.Log(declaration)
			}
		})
	}
}
