package unpack_test

import (
	"bytes"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"berth/rootfs/layer/member"
	"berth/rootfs/layer/unpack"
	"berth/tests/layers/fuzz"
)

// TestRandomLayersAreRepaired damages random layers and looks whether Verify sees it and Repair mends it.
func TestRandomLayersAreRepaired(t *testing.T) {
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("[root] owners, devices")
	}
	repaired := 0
	for seed := range uint64(300) {
		r := fuzz.Seeded(seed)
		tars, err := fuzz.Generate(r).Tars()
		if err != nil {
			t.Fatal(err)
		}
		for _, raw := range tars {
			if damageAndRepair(t, r, raw) {
				repaired++
			}
		}
	}
	if repaired < 200 {
		t.Errorf("only %d layers were damaged", repaired)
	}
}

func damageAndRepair(t *testing.T, r *rand.Rand, raw []byte) bool {
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	defer os.RemoveAll(dir.Name())
	again := func() *member.Reader { return member.NewReader(bytes.NewReader(raw), member.Options{}) }
	verify := func() []unpack.Damage {
		damaged, err := unpack.Verify(dir, again(), unpack.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return damaged
	}
	if _, err := unpack.Unpack(dir, again(), unpack.Options{}); err != nil {
		return false // refused
	}
	if damaged := verify(); len(damaged) > 0 {
		t.Fatalf("undamaged: %v", damaged)
	}
	var names []string
	_ = filepath.WalkDir(dir.Name(), func(path string, _ fs.DirEntry, _ error) error {
		names = append(names, path)
		return nil
	})
	if len(names) == 1 {
		return false
	}
	for range 1 + r.IntN(3) {
		damage(t, r, names[1+r.IntN(len(names)-1)])
	}
	damaged := verify()
	if len(damaged) == 0 {
		t.Error("the damage was not seen")
	}
	if err := unpack.Repair(dir, again(), damaged, unpack.Options{}); err != nil {
		t.Errorf("%v of %v", err, damaged)
	}
	if still := verify(); len(still) > 0 {
		t.Errorf("%v is still damaged after the repair of %v", still, damaged)
	}
	return true
}

// damage does something to a path, as far as it is still there.
func damage(t *testing.T, r *rand.Rand, path string) {
	info, err := os.Lstat(path)
	if err != nil {
		return
	}
	what := r.IntN(4)
	if info.Mode()&fs.ModeCharDevice != 0 && what == 1 {
		what = 0 // whose a whiteout is does not matter
	}
	switch what {
	case 0:
		err = os.RemoveAll(path)
	case 1:
		err = os.Lchown(path, 4242, 4242)
	case 2:
		if err = os.RemoveAll(path); err == nil {
			err = os.Mkdir(path, 0o123)
		}
	case 3:
		if err = os.RemoveAll(path); err == nil {
			err = os.WriteFile(path, []byte(info.Name()), 0o412)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
}
