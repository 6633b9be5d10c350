package fuzz

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"berth/tests/layers/cases"
	"berth/tests/layers/flatten"
	"berth/tests/layers/tree"
)

// FuzzTar damages the tars of the cases. What both the reference interpreter and the directory backend accept must be the
// same tree: a tar that two readers understand differently is how content gets past one of them.
func FuzzTar(f *testing.F) {
	if testing.Short() || os.Geteuid() != 0 {
		f.Skip("[root] mounts")
	}
	all, err := cases.All()
	if err != nil {
		f.Fatal(err)
	}
	for i := range all {
		tars, err := all[i].Stack.Tars()
		if err != nil {
			f.Fatal(err)
		}
		if raw := tars[len(tars)-1]; len(raw) < 20<<10 {
			f.Add(raw)
		}
	}
	dir := f.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0700"); err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	f.Fuzz(func(t *testing.T, raw []byte) {
		raw = summed(raw)
		want, refused := flatten.Flatten(raw)
		got, err := Show([][]byte{raw}, Directory, dir, Seeded(1))
		if refused != nil || err != nil {
			return
		}
		if lines := tree.Diff(want, got, tree.Options{}); lines != nil {
			t.Error(strings.Join(lines, "\n"))
		}
	})
}

// summed makes the checksums right of what may be headers: a damaged one is refused, and nothing is learnt.
func summed(raw []byte) []byte {
	raw = slices.Clone(raw)
	for at := 0; at+512 <= len(raw); {
		head := raw[at : at+512]
		size, _ := strconv.ParseInt(strings.Trim(string(head[124:136]), " \x00"), 8, 32)
		if head[0] != 0 {
			copy(head[148:], "        ")
			sum := 0
			for _, c := range head {
				sum += int(c)
			}
			copy(head[148:], fmt.Sprintf("%06o\x00 ", sum))
		}
		at += 512 + (int(max(size, 0))+511)/512*512
	}
	return raw
}
