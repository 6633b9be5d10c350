// Package security tries on Berth what got out of other runtimes: one test for each known escape, named by the CVEs it
// stands for. docs/SECURITY.md says what is promised and which test holds it.
//
// A test is a row of the table that the package prints in the end. Attacks run as containers of their own, beside a
// piece of the host (lab.host) that has to come out of it unchanged. Races are run for a bounded number of tries and a
// bounded time; BERTH_SECURITY_TRIES=N is for as many tries as there is time for.
package security

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const patience = 20 * time.Second // for what must come

// raceTime is for one race, unless BERTH_SECURITY_TRIES says how many tries. In a guest whose processors are emulated a race
// is a matter of luck in any time.
var raceTime = 6 * time.Second

func init() {
	if os.Getenv("BERTH_GUEST") != "" {
		raceTime = 2 * time.Second
	}
}

// lab is one test's piece of the world:
//
//	dir/host     stands for the host: what an attack wants to change. Berth's binary is in it
//	dir/NAME     a bundle
//	dir/state    Berth's --root
type lab struct {
	*testing.T
	*result
	dir    string
	id     string // every container's begins with it
	binary string
	before string
}

// start begins a row of the table that needs root.
func start(t *testing.T, row string) *lab {
	t.Helper()
	l := &lab{T: t, result: begin(t, row)}
	if os.Geteuid() != 0 || testing.Short() {
		t.Skip("[root] needs root")
	}
	l.dir = publicDir(t)
	l.id = "sec." + strings.TrimPrefix(filepath.Base(l.dir), dirPrefix)
	l.binary = l.host("berth")
	for _, d := range []string{"host/dir", "state"} {
		l.must(os.MkdirAll(filepath.Join(l.dir, d), 0o755))
	}
	l.must(copyFile(berth(t), l.binary))
	l.must(os.WriteFile(l.host("secret"), []byte("the host's own\n"), 0o600))
	l.must(os.WriteFile(l.host("dir/keep"), []byte("kept\n"), 0o644))
	l.before = l.canary()
	t.Cleanup(l.clean)
	t.Cleanup(l.intact)
	return l
}

const dirPrefix = "bs"

// publicDir is a temporary directory with a short name that everybody may enter. It is on the file system of /tmp, and
// no mount is left below it.
func publicDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", dirPrefix)
	if err == nil {
		err = os.Chmod(dir, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if strings.Contains(read("/proc/self/mountinfo"), dir+"/") {
			t.Errorf("mounts are left below %s", dir)
			return
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// berth is the path of the binary under test.
func berth(t *testing.T) string {
	path := os.Getenv("BERTH")
	if path == "" {
		path = "../../bin/berth"
	}
	path, err := filepath.Abs(path)
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		t.Fatalf("there is no berth to test: run make first, or set BERTH (%v)", err)
	}
	return path
}

func copyFile(from, to string) error {
	raw, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, raw, 0o755)
}

func (l *lab) must(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

// path is one in the lab.
func (l *lab) path(rel ...string) string { return filepath.Join(append([]string{l.dir}, rel...)...) }

// host is a path of what stands for the host.
func (l *lab) host(rel string) string { return l.path("host", rel) }

// clean removes what containers are left, attackers above all.
func (l *lab) clean() {
	l.binary = berth(l.T) // an attack may have spoilt the lab's own
	entries, _ := os.ReadDir(l.path("state"))
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "@") {
			l.berth("delete", "--force", e.Name())
		}
	}
	for line := range strings.Lines(read("/proc/self/mountinfo")) {
		if dir := strings.Fields(line)[4]; strings.HasPrefix(dir, l.dir+"/") {
			l.Errorf("a mount was left on the host: %s", dir)
			unix.Unmount(dir, unix.MNT_DETACH)
		}
	}
}

// --- the host

// intact fails the test if anything of the host has changed.
func (l *lab) intact() {
	l.Helper()
	if after := l.canary(); after != l.before {
		l.Errorf("the host was changed. It was\n%sand is\n%s", l.before, after)
		l.before = after
	}
}

// canary is everything that matters of the host, as text: the files' content, owner, mode, kind and time of last change,
// and what an attack would most like to write to.
func (l *lab) canary() string { return l.look(true) }

// look is the canary with or without the digests of files.
func (l *lab) look(digests bool) string {
	var out strings.Builder
	err := filepath.WalkDir(l.host(""), func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		fmt.Fprintf(&out, "%s mode=%o owner=%d:%d size=%d changed=%d.%09d", strings.TrimPrefix(path, l.dir),
			st.Mode, st.Uid, st.Gid, st.Size, st.Ctim.Sec, st.Ctim.Nsec)
		if digests && st.Mode&unix.S_IFMT == unix.S_IFREG {
			raw, err := os.ReadFile(path)
			fmt.Fprintf(&out, " sha256=%x %v", sha256.Sum256(raw), err)
		}
		out.WriteByte('\n')
		return nil
	})
	l.must(err)
	for _, path := range []string{"/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/hostname"} {
		fmt.Fprintf(&out, "%s %s\n", path, strings.TrimSpace(read(path)))
	}
	for _, path := range []string{"/dev/null", "/dev/console", "/dev/pts", "/dev", "/proc", "/etc/passwd"} {
		var st unix.Stat_t
		if unix.Lstat(path, &st) == nil {
			fmt.Fprintf(&out, "%s mode=%o owner=%d:%d device=%x\n", path, st.Mode, st.Uid, st.Gid, st.Rdev)
		}
	}
	return out.String()
}

// read is a file's text, or "".
func read(path string) string {
	raw, _ := os.ReadFile(path)
	return string(raw)
}

// --- bundles

// bundle makes a bundle of an image with busybox and the attack program in /bin, and returns the path of its root file
// system. The config is what `berth spec` makes, without a terminal, changed by edit.
func (l *lab) bundle(name string, edit func(*specs.Spec)) string {
	l.Helper()
	rootfs := l.path(name, "rootfs")
	for _, d := range strings.Fields("bin etc proc sys dev tmp root") {
		l.must(os.MkdirAll(filepath.Join(rootfs, d), 0o755))
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		l.Fatalf("%v (Debian: package busybox-static)", err)
	}
	l.must(linkOrCopy(busybox, filepath.Join(rootfs, "bin/busybox")))
	for _, applet := range strings.Fields("sh cat echo grep ls mkdir pwd readlink sleep test touch true") {
		l.must(os.Symlink("busybox", filepath.Join(rootfs, "bin", applet)))
	}
	l.must(copyFile(attack(l.T), filepath.Join(rootfs, "bin/attack")))
	l.must(os.WriteFile(filepath.Join(rootfs, "etc/passwd"), []byte("root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/:/bin/sh\n"), 0o644))
	l.must(os.WriteFile(filepath.Join(rootfs, "etc/group"), []byte("root:x:0:\nalice:x:1000:\n"), 0o644))
	l.config(name, edit)
	return rootfs
}

func linkOrCopy(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	return copyFile(from, to)
}

// config writes a bundle's config.json anew.
func (l *lab) config(name string, edit func(*specs.Spec)) {
	l.Helper()
	path := l.path(name, "config.json")
	os.Remove(path)
	if r := l.berth("spec", "--bundle", l.path(name)); r.status != 0 {
		l.Fatal(r)
	}
	var s specs.Spec
	l.must(json.Unmarshal([]byte(read(path)), &s))
	s.Process.Terminal = false
	s.Process.Env = append(s.Process.Env, "HOME=/root")
	if edit != nil {
		edit(&s)
	}
	raw, err := json.Marshal(&s)
	l.must(err)
	l.must(os.WriteFile(path, raw, 0o644))
}

// without leaves out a mount.
func without(s *specs.Spec, destinations ...string) {
	s.Mounts = slices.DeleteFunc(s.Mounts, func(m specs.Mount) bool { return slices.Contains(destinations, m.Destination) })
}

// mount adds bind mounts: SOURCE DESTINATION.
func bind(s *specs.Spec, source, destination string, options ...string) {
	s.Mounts = append(s.Mounts, specs.Mount{Destination: destination, Type: "bind", Source: source, Options: append([]string{"rbind"}, options...)})
}

// mask is the masked paths and the read-only paths, nothing else.
func mask(s *specs.Spec, masked, readonly []string) {
	s.Linux.MaskedPaths, s.Linux.ReadonlyPaths = masked, readonly
}

var attackProgram string

// attack is the path of the attack program, built once (see TestMain).
func attack(t *testing.T) string {
	t.Helper()
	if attackProgram != "" {
		return attackProgram
	}
	if os.Getenv("BERTH_PREBUILT") != "" { // the machine has no compiler
		attackProgram, _ = filepath.Abs("../../.cache/security/attack")
		return attackProgram
	}
	path := filepath.Join(temporary, "attack")
	out, err := exec.Command("gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-static", "-o", path, "testdata/attack.c").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	attackProgram = path
	return path
}

// --- the runtime

// run is how a command ended.
type run struct {
	out, err string
	status   int // -1: it did not end by itself
}

func (r run) String() string { return fmt.Sprintf("status %d: %s%s", r.status, r.out, r.err) }

// berth runs a command of Berth's.
func (l *lab) berth(args ...string) run { return l.command(nil, args...) }

// command is berth with more to set.
func (l *lab) command(set func(*exec.Cmd), args ...string) run {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, l.binary, append([]string{"--root", l.path("state")}, args...)...)
	cmd.Dir = l.dir
	return finish(cmd, set)
}

func finish(cmd *exec.Cmd, set func(*exec.Cmd)) run {
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.WaitDelay = time.Second // a detached container may hold the pipes
	if set != nil {
		set(cmd)
	}
	err := cmd.Run()
	r := run{out.String(), errs.String(), -1}
	if cmd.ProcessState != nil {
		r.status = cmd.ProcessState.ExitCode()
	}
	if err != nil && cmd.ProcessState == nil {
		r.err += err.Error()
	}
	return r
}

// name is the ID of container n.
func (l *lab) name(n string) string { return l.id + "." + n }

// run runs a bundle in the foreground.
func (l *lab) run(bundle string, args ...string) run {
	return l.berth(slices.Concat([]string{"run", "--bundle", l.path(bundle)}, args, []string{l.name(bundle)})...)
}

// detach starts a container that stays. Its output goes to a file in the lab.
func (l *lab) detach(bundle string, args ...string) {
	l.Helper()
	out, err := os.Create(l.path(bundle + ".out"))
	l.must(err)
	defer out.Close()
	args = slices.Concat([]string{"run", "--detach", "--bundle", l.path(bundle)}, args, []string{l.name(bundle)})
	if r := l.command(func(cmd *exec.Cmd) { cmd.Stdout, cmd.Stderr = out, out }, args...); r.status != 0 {
		l.Fatalf("%v: %s", args, read(out.Name()))
	}
}

// delete removes a container, whatever its state.
func (l *lab) delete(bundle string) { l.berth("delete", "--force", l.name(bundle)) }

// pid is that of a container's init.
func (l *lab) pid(bundle string) int {
	l.Helper()
	r := l.berth("state", l.name(bundle))
	var state specs.State
	if err := json.Unmarshal([]byte(r.out), &state); err != nil {
		l.Fatal(r)
	}
	return state.Pid
}

// await waits until done.
func (l *lab) await(what string, done func() bool) {
	l.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if done() {
			return
		}
	}
	l.Fatalf("%s does not come", what)
}

// --- races

// race tries until there have been enough tries or the time is over. Each call of try counts as many tries as it
// returns.
func (l *lab) race(try func() int) {
	l.Helper()
	l.raceFor(raceTime, try)
}

// raceFor is race for a while of one's own.
func (l *lab) raceFor(long time.Duration, try func() int) {
	l.Helper()
	glance := l.look(false)
	most, end := 1<<30, time.Now().Add(long)
	if n, err := strconv.Atoi(os.Getenv("BERTH_SECURITY_TRIES")); err == nil && n > 0 {
		most, end = l.tries+n, time.Now().Add(1000*time.Hour)
	}
	for l.tries < most && time.Now().Before(end) && !l.Failed() {
		l.tries += try()
		if l.look(false) != glance {
			l.intact()
		}
	}
	l.Logf("%d tries", l.tries)
}

// exchanging makes a container whose only purpose is to exchange pairs of names in a directory of the host, which it has
// as /vol, and waits until it does.
func (l *lab) exchanging(dir string, names ...string) {
	l.Helper()
	args := []string{"attack", "swap"}
	for _, n := range names {
		args = append(args, "/vol/"+n)
	}
	l.bundle("attacker", func(s *specs.Spec) {
		s.Process.Args = args
		bind(s, dir, "/vol")
	})
	l.detach("attacker")
	kinds := map[uint32]bool{}
	l.await("an exchange", func() bool {
		for range 1000 {
			var st unix.Stat_t
			if unix.Lstat(filepath.Join(dir, names[0]), &st) == nil {
				kinds[st.Mode&unix.S_IFMT] = true
			}
		}
		return len(kinds) > 1
	})
}

// outcome counts how the containers of a race ended.
type outcome struct{ started, refused int }

func (o *outcome) add(r run) {
	if r.status == 0 {
		o.started++
	} else {
		o.refused++
	}
}

func (o outcome) String() string { return fmt.Sprintf("%d started, %d refused", o.started, o.refused) }
