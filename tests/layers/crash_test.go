package layers

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// step is a command that gets killed, in the state that before makes.
type step struct {
	name   string
	before [][]string
	args   []string
	gone   string // what it says, repeated, if the killed one had done its work
	after  []string
}

// The commands that change a store.
var steps = []step{
	{name: "pull", before: [][]string{{"pull", "oci:base", "base"}}, args: []string{"pull", "oci:app", "app"}},
	{name: "create", before: [][]string{{"pull", "oci:app", "app"}}, args: []string{"create", "app", "bundle"}, gone: "it is there already"},
	{name: "create-in-config", before: [][]string{{"pull", "oci:app", "app"}}, args: []string{"create", "--form", "in-config", "app", "bundle"}, gone: "it is there already"},
	{name: "create-userns", before: [][]string{{"pull", "oci:app", "app"}}, args: []string{"create", "--uidmap", "0:100000:65536", "app", "bundle"}, gone: "it is there already"},
	{name: "create-size", before: [][]string{{"pull", "oci:app", "app"}}, args: []string{"create", "--size", "4m", "app", "bundle"}, gone: "it is there already"},
	{name: "mount-size", before: [][]string{{"pull", "oci:app", "app"}, {"create", "--size", "4m", "app", "bundle"}, {"umount", "bundle"}}, args: []string{"mount", "bundle"}},
	{name: "rm-size", before: [][]string{{"pull", "oci:app", "app"}, {"create", "--size", "4m", "app", "bundle"}, {"write"}}, args: []string{"rm", "bundle"}, gone: "not one of this store's"},
	{name: "push", before: [][]string{{"pull", "oci:app", "app"}}, args: []string{"push", "app", "oci:out:tag"}, after: []string{"pull", "oci:out:tag", "back"}},
	{name: "commit", before: [][]string{{"pull", "oci:app", "app"}, {"create", "app", "bundle"}, {"write"}}, args: []string{"commit", "bundle", "new"}},
	{name: "rm", before: [][]string{{"pull", "oci:app", "app"}, {"create", "app", "bundle"}, {"write"}}, args: []string{"rm", "bundle"}, gone: "not one of this store's"},
	{name: "rmi", before: [][]string{{"pull", "oci:base", "base"}, {"pull", "oci:app", "app"}}, args: []string{"rmi", "app"}, gone: "none of that name"},
	{name: "prune", before: [][]string{{"pull", "oci:app", "app"}, {"create", "app", "bundle"}, {"rmi", "app"}, {"rm", "bundle"}}, args: []string{"prune"}},
	{name: "tag", before: [][]string{{"pull", "oci:base", "base"}}, args: []string{"tag", "base", "other"}},
	{name: "fsck", before: [][]string{{"pull", "oci:app", "app"}, {"damage"}}, args: []string{"fsck", "--repair"}},
}

// calls are those that change what is on the disk or in the mount table.
const calls = "openat,write,mkdirat,renameat,renameat2,unlinkat,fsync,syncfs,fchmodat,mount_setattr,fsmount,move_mount,umount2,flock"

// What is killed at any system call leaves a store in which nothing is lost: fsck finds leftovers at most, the same
// command succeeds, and nothing stays that nobody needs. BERTH_KILLS says how many have to die, 12 if it says nothing.
func TestKilled(t *testing.T) {
	needRoot(t)
	if _, err := exec.LookPath("strace"); err != nil {
		t.Skip("[program:strace] kills at system calls")
	}
	kills := times(t, "BERTH_KILLS", 12)
	backends := backends()
	a, died, total := aim{}, map[string]int{}, 0
	for n := 0; total < kills && !t.Failed(); n++ {
		s, backend := steps[n%len(steps)], backends[n/len(steps)%len(backends)]
		t.Run(fmt.Sprintf("%d-%s-%s", n, s.name, backend), func(t *testing.T) {
			call, which := a.pick(s.name + backend)
			if killed(t, s, backend, call, which) {
				died[s.name]++
				total++
			} else {
				a.missed(s.name+backend, call, which)
			}
		})
	}
	t.Logf("of %d killed were: %v", total, died)
}

// backends are those that this machine has.
func backends() []string {
	if ok, _ := condition("erofs"); ok {
		return []string{"dir", "erofs"}
	}
	return []string{"dir"}
}

// needsNoSpace tells whether the step has to succeed on a full disk.
func (s step) needsNoSpace() bool {
	return slices.Contains([]string{"mount-size", "rm", "rm-size", "rmi", "prune"}, s.name)
}

// aim is how many calls of a kind a command makes at most, as far as it is known.
type aim map[string]map[string]int

func (a aim) pick(command string) (call string, which int) {
	if len(a[command]) == 0 {
		a[command] = map[string]int{"openat": 60, "write": 30}
		for _, call := range strings.Split(calls, ",") {
			a[command][call] = max(a[command][call], 6)
		}
	}
	all := slices.Sorted(maps.Keys(a[command]))
	call = all[rand.IntN(len(all))]
	return call, 1 + rand.IntN(a[command][call])
}

// missed notes that a command did not make a call so often. It counts in each thread, so the next time it may.
func (a aim) missed(command, call string, which int) {
	if a[command][call] = which - 1; which == 1 {
		delete(a[command], call)
	}
}

// killed carries a step out, kills it at a system call, and looks at what is left. It says whether the call was made.
func killed(t *testing.T, s step, backend, call string, which int) bool {
	st := newStore(t, t.TempDir())
	defer unmountBelow(st.dir)
	for _, args := range s.before {
		st.prepare(backend, args)
	}
	named := len(st.images())
	inject := fmt.Sprintf("inject=%s:signal=KILL:when=%d", call, which)
	front := []string{"strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=" + call, "-e", inject}
	args := backendArgs(backend, s.args)
	first := st.finish(st.command(front, args...))
	t.Logf("%s %d: status %d", call, which, first.status)
	if first.status > 0 && s.name != "fsck" {
		t.Fatalf("%s%s", first.out, first.err)
	}
	if s.name != "fsck" {
		for _, f := range st.faults() {
			if f.What != "leftover" {
				t.Fatalf("fsck: %+v", f)
			}
		}
	}
	if now := len(st.images()); now < named && s.name != "rmi" {
		t.Fatalf("%d images, there were %d", now, named)
	}
	again := st.try(args...)
	if again.status != 0 && (s.gone == "" || !strings.Contains(again.err, s.gone)) {
		t.Fatalf("again: %d %s%s", again.status, again.out, again.err)
	}
	st.whole("leftover")
	if s.after != nil {
		st.run(s.after...)
	}
	for _, dir := range []string{"out", "out/blobs/sha256"} {
		if left, _ := filepath.Glob(st.path(dir + "/.*")); left != nil {
			t.Fatalf("left: %q", left)
		}
	}
	if _, err := os.Stat(st.path("bundle")); err == nil {
		st.run("rm", "bundle")
	} else if o := st.try("rm", "bundle"); o.status != 0 && !strings.Contains(o.err, "not one of") {
		t.Fatal(o.err)
	}
	st.unmounted()
	st.empty()
	return first.status < 0
}

func backendArgs(backend string, args []string) []string {
	if args[0] == "pull" {
		return append([]string{"pull", "--backend", backend}, args[1:]...)
	}
	return args
}

// prepare runs a command, or does what a container or a bad disk would do.
func (s *store) prepare(backend string, args []string) {
	s.t.Helper()
	switch args[0] {
	case "write":
		if err := os.WriteFile(s.path("bundle/rootfs/app/log"), []byte(time.Now().String()), 0o644); err != nil {
			s.t.Fatal(err)
		}
	case "damage":
		for _, name := range []string{"fs/app/page", "layer.tar"} {
			found, _ := filepath.Glob(filepath.Join(s.root, "layers/sha256/*", name))
			for _, path := range found {
				damage(s.t, path)
			}
		}
	default:
		s.run(backendArgs(backend, args)...)
	}
}

// damage changes a byte in the middle of a file, and not its times.
func damage(t testing.TB, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, 1)
	if _, err := f.ReadAt(b, info.Size()/2); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0x55
	if _, err := f.WriteAt(b, info.Size()/2); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(path, info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
}
