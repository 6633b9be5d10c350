package layers

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"berth/tests/layers/disk"
)

// moment is a time in the record of a disk, from which on images are to be there.
type moment struct {
	when   int
	images []string
}

// The power goes at any time: of what commands have said that they did, nothing is lost, and of the one that ran it is
// all or nothing. BERTH_CUTS says how often, 20 times if it says nothing.
func TestPowerCut(t *testing.T) {
	needRoot(t)
	if _, err := os.Stat("/dev/fuse"); err != nil {
		t.Skip("[fuse] records what is written")
	}
	cuts := times(t, "BERTH_CUTS", 20)
	for _, backend := range []string{"dir", "erofs"} {
		t.Run(backend, func(t *testing.T) {
			if ok, _ := condition(backend); backend == "erofs" && !ok {
				t.Skip("[erofs] of files")
			}
			s := newStore(t, t.TempDir())
			d, moments := record(t, s, backend)
			for n := range cuts / 2 {
				random := rand.New(rand.NewPCG(uint64(n), rand.Uint64()))
				when := random.IntN(d.Now() + 1)
				if when < moments[0].when {
					continue // the store was not begun
				}
				t.Run(fmt.Sprint(when), func(t *testing.T) { after(t, s, d.Cut(when, random), when, moments) })
			}
		})
	}
}

// record lets commands work on a store on a recording disk.
func record(t *testing.T, s *store, backend string) (*disk.Disk, []moment) {
	plain, served := s.path("plain"), t.TempDir()
	if err := os.WriteFile(plain, make([]byte, 24<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	tool(t, "mkfs.ext4", "-q", "-E", "lazy_itable_init=0", plain)
	base, err := os.ReadFile(plain)
	if err != nil {
		t.Fatal(err)
	}
	d, err := disk.Serve(served, base)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	unmount := attach(t, s, served+"/disk")
	defer unmount()
	var moments []moment
	for _, args := range [][]string{
		{"pull", "oci:base", "base"}, {"pull", "oci:app", "app"}, {"create", "app", s.path("mnt/bundle")}, {"write"},
		{"commit", s.path("mnt/bundle"), "new"}, {"rm", s.path("mnt/bundle")}, {"tag", "base", "other"}, {"rmi", "app"},
		{"pull", "oci:app", "app"}, {"rmi", "new"}, {"rmi", "base", "other"}, {"prune"},
	} {
		if args[0] == "write" {
			if err := os.WriteFile(s.path("mnt/bundle/rootfs/app/log"), []byte("written"), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		s.run(backendArgs(backend, args)...)
		moments = append(moments, moment{d.Now(), s.images()})
	}
	unmount()
	t.Logf("%d writes and flushes", d.Now())
	return d, moments
}

// attach mounts a disk and puts the store on it. What it returns unmounts it; once is enough.
func attach(t *testing.T, s *store, image string) func() {
	mnt := s.path("mnt")
	if err := os.MkdirAll(mnt, 0o755); err != nil {
		t.Fatal(err)
	}
	tool(t, "mount", "-o", "loop", image, mnt)
	s.root = mnt + "/store"
	mounted := true
	return func() {
		if mounted {
			mounted = false
			unmountBelow(mnt + "/bundle")
			if err := unix.Unmount(mnt, 0); err != nil {
				t.Error(err)
			}
		}
	}
}

// after looks at a store that a power cut has left.
func after(t *testing.T, s *store, content []byte, when int, moments []moment) {
	image := s.path("cut")
	if err := os.WriteFile(image, content, 0o600); err != nil {
		t.Fatal(err)
	}
	one := *s
	one.t = t
	defer attach(t, &one, image)()
	last := 0
	for n, m := range moments {
		if m.when <= when {
			last = n
		}
	}
	have := one.images()
	if !slices.Equal(have, moments[last].images) && (last+1 == len(moments) || !slices.Equal(have, moments[last+1].images)) {
		t.Errorf("after command %d there are %q", last, have)
	}
	one.whole("leftover")
	if o := one.try("rm", one.path("mnt/bundle")); o.status != 0 && !strings.Contains(o.err, "not one of this store's") {
		t.Errorf("rm: %s", o.err)
	}
	one.empty()
}

func tool(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
}
