package nsenter

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

func number32(s string) uint32 {
	if len(s) < 4 {
		return 0xdeadbeef
	}
	return binary.NativeEndian.Uint32([]byte(s))
}

func TestWalkJumps(t *testing.T) {
	missing := func(b *Builder) *Step {
		b.OpenHost("/does/not/exist", unix.O_PATH)
		return b.Last()
	}
	tests := []struct {
		name  string
		steps func(*Builder)
		out   string
	}{
		{"straight", func(b *Builder) { b.say("a"); b.say("b") }, "ab"},
		{"accepted goes on", func(b *Builder) { missing(b).Accepts(unix.ENOENT); b.say("a") }, "a"},
		{"the fourth accepted errno", func(b *Builder) {
			missing(b).Accepts(unix.EPERM, unix.EACCES, unix.EIO, unix.ENOENT)
			b.say("a")
		}, "a"},
		{"else jumps after an accepted errno", func(b *Builder) {
			l := b.Label()
			missing(b).Accepts(unix.ENOENT).Else(l)
			b.say("skipped")
			b.Place(l)
			b.say("a")
		}, "a"},
		{"else does not jump after success", func(b *Builder) {
			l := b.Label()
			b.OpenHost("/", unix.O_PATH)
			b.Last().Accepts(unix.ENOENT).Else(l)
			b.say("a")
			b.Place(l)
		}, "a"},
		{"then jumps after success", func(b *Builder) {
			l := b.Label()
			b.OpenHost("/", unix.O_PATH)
			b.Last().Then(l)
			b.say("skipped")
			b.say("skipped")
			b.Place(l)
			b.say("a")
		}, "a"},
		{"then does not jump after an accepted errno", func(b *Builder) {
			l := b.Label()
			missing(b).Accepts(unix.ENOENT).Then(l)
			b.say("a")
			b.Place(l)
		}, "a"},
		{"a jump of no step", func(b *Builder) {
			l := b.Label()
			missing(b).Accepts(unix.ENOENT).Else(l)
			b.Place(l)
			b.say("a")
		}, "a"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := walk(t, nil, func(b *Builder) { test.steps(b); b.Exit(7) })
			if got.err != nil || got.out != test.out || got.status.ExitStatus() != 7 {
				t.Errorf("err %v, out %q, status %d", got.err, got.out, got.status.ExitStatus())
			}
		})
	}
}

func TestWalkFailureNamesItsStep(t *testing.T) {
	got := walk(t, nil, func(b *Builder) {
		b.Append(unix.SYS_GETPID)
		b.For(Origin{Field: "/mounts/3", Op: "mount", Path: "/data", Phase: fault.PhaseMounts})
		b.OpenHost("/does/not/exist", unix.O_PATH)
		b.Exit(0)
	})
	var e *fault.Error
	if !errors.As(got.err, &e) {
		t.Fatalf("error %v", got.err)
	}
	want := fault.Error{Field: "/mounts/3", Op: "mount", Path: "/data", Phase: fault.PhaseMounts, Errno: unix.ENOENT}
	if !reflect.DeepEqual(*e, want) {
		t.Errorf("%#v\nwant %#v", *e, want)
	}
	if got.status.ExitStatus() != 1 {
		t.Errorf("exit status %d", got.status.ExitStatus())
	}
}

func TestWalkTellsWhatTheKernelSaysAboutAMount(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("[root] needs root")
	}
	got := walk(t, nil, func(b *Builder) {
		b.FsconfigString(b.Fsopen("tmpfs"), "no-such-option", "1")
		b.Exit(0)
	})
	wantErrno(t, got.err, unix.EINVAL)
	if got.err == nil || !strings.Contains(got.err.Error(), "Unknown parameter 'no-such-option'") {
		t.Errorf("error %v", got.err)
	}
}

// TestWalkTellsLongMessages: the kernel drops a message that does not fit.
func TestWalkTellsLongMessages(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("[root] needs root to mount")
	}
	key := strings.Repeat("k", 250)
	got := walk(t, nil, func(b *Builder) { b.FsconfigFlag(b.Fsopen("tmpfs"), key); b.Exit(0) })
	if got.err == nil || !strings.Contains(got.err.Error(), "tmpfs: Unknown parameter 'kkkk") || len(got.err.Error()) < 240 {
		t.Errorf("got %v", got.err)
	}
}

// TestWalkFailsAtOnce: a call for mount contexts that is given something else
// fails, and nobody waits for that to say something.
func TestWalkFailsAtOnce(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	got := walk(t, []*os.File{r}, func(b *Builder) { b.FsconfigCreate(1); b.Exit(0) })
	wantErrno(t, got.err, unix.EINVAL)
}

func TestWalkWithoutEnd(t *testing.T) {
	got := walk(t, nil, func(b *Builder) { b.say("a") })
	wantErrno(t, got.err, unix.ENOEXEC)
}

func TestWalkRegisters(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("from the file"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := walk(t, []*os.File{open(t, file, unix.O_RDONLY)}, func(b *Builder) {
		again := b.OpenHost(file, unix.O_RDONLY)
		buf := b.Bytes(make([]byte, 64), "buffer")
		b.Append(unix.SYS_READ, FD(1), buf, Num(5))
		b.Append(unix.SYS_READ, FD(again), buf.At(5), Num(13))
		b.Append(unix.SYS_WRITE, Num(1), buf, Num(18))
		b.Exit(0)
	})
	if got.err != nil || got.out != "from from the file" {
		t.Errorf("err %v, out %q", got.err, got.out)
	}
}

func TestWalkResultIsKeptOnlyOnSuccess(t *testing.T) {
	got := walk(t, []*os.File{open(t, "/", unix.O_PATH)}, func(b *Builder) {
		b.Append(unix.SYS_OPENAT, CWD(), b.Str("/does/not/exist"), Num(0)).Accepts(unix.ENOENT).Result = 1
		b.Check(1, Identity{Type: unix.S_IFDIR})
		b.Exit(0)
	})
	if got.err != nil {
		t.Error(got.err)
	}
}

func TestExecve(t *testing.T) {
	args := []string{"name", "", "two words", strings.Repeat("x", 100_000)}
	env := []string{"NSENTER_TEST=tell", "EMPTY=", "A=ä"}
	got := walk(t, nil, func(b *Builder) { b.ExecvePath("/proc/self/exe", args, env) })
	var what told
	if err := json.Unmarshal([]byte(got.out), &what); err != nil {
		t.Fatalf("%v: %v", err, got.err)
	}
	if !slices.Equal(what.Args, args) || !slices.Equal(what.Env, env) {
		t.Errorf("args %q, env %q", what.Args, what.Env)
	}
	if !slices.Equal(what.FDs, []int{0, 1, 2}) {
		t.Errorf("descriptors %v", what.FDs)
	}
}

func TestExecveFails(t *testing.T) {
	got := walk(t, nil, func(b *Builder) { b.ExecvePath("/does/not/exist", []string{"a"}, nil) })
	wantErrno(t, got.err, unix.ENOENT)
}

// A program that was not executed leaves its process where the runtime can look
// at its root, until the conversation is closed.
func TestExecveFailsAndWaits(t *testing.T) {
	for name, steps := range map[string]func(*Builder){
		"execve": func(b *Builder) { b.ExecvePath("/does/not/exist", []string{"a"}, nil) },
		"find":   func(b *Builder) { b.FindExec([]string{"/does/not/exist"}); b.ExecvePath("/", []string{"a"}, nil) },
	} {
		c := start(t, Config{Stdio: [3]int{0, 1, 2}})
		if err := c.Send(built(t, 0, steps), nil); err != nil {
			t.Fatal(err)
		}
		_, err := c.Next()
		wantErrno(t, err, unix.ENOENT)
		if _, err := os.Readlink(fmt.Sprintf("/proc/%d/root", c.PID)); err != nil && os.Geteuid() == 0 {
			t.Errorf("%s: %v", name, err)
		}
		c.Close()
		if status, err := c.Wait(); err != nil || status.ExitStatus() != 1 {
			t.Errorf("%s: %v, %v", name, status, err)
		}
	}
}

// TestNothingLeaks opens descriptors behind Go's back, without close-on-exec,
// and hands one over on purpose.
func TestNothingLeaks(t *testing.T) {
	for range 40 {
		fd, err := unix.Open("/dev/null", unix.O_RDONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	kept := open(t, "/", unix.O_PATH)
	c := start(t, Config{Stdio: [3]int{0, int(w.Fd()), 0}, Preserve: []*os.File{kept, kept}})
	w.Close()
	waiting := fdsOf(t, c.PID)
	p := built(t, 1, func(b *Builder) {
		b.Sync(SyncReady)
		b.ExecvePath("/proc/self/exe", []string{"x"}, []string{"NSENTER_TEST=tell"})
	})
	if err := c.Send(p, []*os.File{kept}); err != nil {
		t.Fatal(err)
	}
	if e, err := c.Next(); err != nil || e.Sync != SyncReady {
		t.Fatal(e, err)
	}
	// The preamble runs by now: stdio, two preserved, the socket, one received
	// (6 was the program).
	if got := fdsOf(t, c.PID); !slices.Equal(got, []string{"0", "1", "2", "3", "4", "5", "7"}) {
		t.Errorf("descriptors of the walker %v (%v before its program)", got, waiting)
	}
	c.Go(SyncReady)
	var what told
	if err := json.Unmarshal([]byte(readAll(t, r)), &what); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(what.FDs, []int{0, 1, 2, 3, 4}) {
		t.Errorf("descriptors of what was executed %v", what.FDs)
	}
}

func fdsOf(t *testing.T, pid int) []string {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if errors.Is(err, unix.EACCES) {
		t.Skip("[root] needs root to look into a non-dumpable process")
	}
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestWalkerIsNotDumpable(t *testing.T) {
	got := walk(t, nil, func(b *Builder) {
		r := b.Reserve()
		b.Prctl(unix.PR_GET_DUMPABLE, "PR_GET_DUMPABLE").Result = r
		b.show(r)
		b.Fork()
		b.Prctl(unix.PR_GET_DUMPABLE, "PR_GET_DUMPABLE").Result = r
		b.show(r)
		b.Exit(0)
	})
	if got.out != strings.Repeat("\x00", 8) {
		t.Errorf("PR_GET_DUMPABLE %q, %v", got.out, got.err)
	}
}

// TestExeNumber: the executable's number in the runtime may be one that a file
// of the child takes.
func TestExeNumber(t *testing.T) {
	null := open(t, "/dev/null", unix.O_RDWR)
	fd, err := unix.FcntlInt(open(t, "/proc/self/exe", unix.O_RDONLY).Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		t.Fatal(err)
	}
	exe := os.NewFile(uintptr(fd), "exe")
	defer exe.Close()
	n := int(null.Fd())
	preserve := slices.Repeat([]*os.File{null}, max(0, fd-3)) // so that the socket takes the number
	for extra := range 3 {
		c, err := Start(Config{Exe: exe, Stdio: [3]int{n, n, n}, Preserve: append(preserve, slices.Repeat([]*os.File{null}, extra)...)})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Send(built(t, 0, func(b *Builder) { b.Exit(9) }), nil); err != nil {
			t.Error(err)
		}
		if status, err := c.Wait(); err != nil || status.ExitStatus() != 9 {
			t.Errorf("%d extra: status %#x, %v", extra, status, err)
		}
		c.Close()
	}
}

func TestSealedExecutable(t *testing.T) {
	for _, mount := range []bool{false, true} {
		if mount && os.Geteuid() != 0 {
			t.Skip("[root] needs root to mount")
		}
		exe, err := Seal(mount)
		if err != nil {
			t.Fatal(err)
		}
		defer exe.Close()
		if seals, err := unix.FcntlInt(exe.Fd(), unix.F_GET_SEALS, 0); !mount && seals&unix.F_SEAL_WRITE == 0 {
			t.Errorf("seals %#x, %v", seals, err)
		}
		null := int(open(t, "/dev/null", unix.O_RDWR).Fd())
		c, err := Start(Config{Exe: exe, Stdio: [3]int{null, null, null}})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.Send(built(t, 0, func(b *Builder) { b.Sync(SyncReady); b.Exit(0) }), nil); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Next(); err != nil {
			t.Fatal(err)
		}
		if f, err := os.OpenFile(fmt.Sprintf("/proc/%d/exe", c.PID), os.O_WRONLY, 0); err == nil {
			_, err := f.Write([]byte{0})
			f.Close()
			if err == nil {
				t.Errorf("mount %v: the executable can be written to", mount)
			}
		}
		c.Go(SyncReady)
		if status, err := c.Wait(); err != nil || status.ExitStatus() != 0 {
			t.Errorf("mount %v: status %#x, %v", mount, status, err)
		}
	}
}

func TestSendFD(t *testing.T) {
	got := walk(t, nil, func(b *Builder) {
		b.SendFD(SyncConsole, b.OpenHost("/dev/zero", unix.O_RDONLY))
		b.SendFD(SyncReady, b.OpenHost("/", unix.O_PATH))
		b.Exit(0)
	})
	if got.err != nil || len(got.fds) != 2 {
		t.Fatalf("%v, %d descriptors", got.err, len(got.fds))
	}
	for i, want := range []string{"/dev/zero", "/"} {
		if path := pathOf(t, got.fds[i]); path != want {
			t.Errorf("descriptor %d is %s", i, path)
		}
		if flags, _ := unix.FcntlInt(got.fds[i].Fd(), unix.F_GETFD, 0); flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("descriptor %d is not close-on-exec", i)
		}
	}
}

func pathOf(t *testing.T, f *os.File) string {
	t.Helper()
	path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestManyDescriptors takes three messages.
func TestManyDescriptors(t *testing.T) {
	const n = 600
	dir := t.TempDir()
	files, inodes := make([]*os.File, n), make([]uint64, n)
	for i := range files {
		name := filepath.Join(dir, fmt.Sprint(i))
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		files[i] = open(t, name, unix.O_PATH)
		var st unix.Stat_t
		if err := unix.Fstat(int(files[i].Fd()), &st); err != nil {
			t.Fatal(err)
		}
		inodes[i] = st.Ino
	}
	for _, count := range []int{249, 250, 251, 499, 500, n} {
		got := walk(t, files[:count], func(b *Builder) {
			for i := range count {
				b.Check(Reg(i+1), Identity{Type: unix.S_IFREG, Inode: inodes[i]})
			}
			b.Exit(0)
		})
		if got.err != nil || got.status.ExitStatus() != 0 {
			t.Errorf("%d descriptors: %v, status %#x", count, got.err, got.status)
		}
	}
}

func TestLongProgram(t *testing.T) {
	text := strings.Repeat("0123456789abcdef", 100_000)
	got := walk(t, nil, func(b *Builder) {
		for range 10_000 {
			b.Append(unix.SYS_GETPID)
		}
		b.say(text[:60_000])
		b.Str(text)
		b.Exit(0)
	})
	if got.err != nil || got.out != text[:60_000] {
		t.Errorf("%v, %d bytes", got.err, len(got.out))
	}
}

func TestCheck(t *testing.T) {
	stat := func(path string) (st unix.Stat_t) {
		if err := unix.Stat(path, &st); err != nil {
			t.Fatal(err)
		}
		return st
	}
	null := stat("/dev/null")
	proc := uint64(unix.PROC_SUPER_MAGIC)
	tests := []struct {
		path string
		id   Identity
		ok   bool
	}{
		{"/dev/null", Identity{}, true},
		{"/dev/null", Identity{Type: unix.S_IFCHR, Rdev: unix.Mkdev(1, 3)}, true},
		{"/dev/null", Identity{Type: unix.S_IFCHR, Rdev: unix.Mkdev(1, 5)}, false},
		{"/dev/null", Identity{Type: unix.S_IFREG}, false},
		{"/dev/null", Identity{Inode: null.Ino}, true},
		{"/dev/null", Identity{Inode: null.Ino + 1}, false},
		{"/dev/null", Identity{Magic: proc}, false},
		{"/proc", Identity{Type: unix.S_IFDIR, Magic: proc, Inode: 1}, true},
		{"/proc/self/status", Identity{Magic: proc, Inode: 1}, false},
		{"/", Identity{Magic: proc}, false},
	}
	for _, test := range tests {
		got := walk(t, nil, func(b *Builder) {
			b.Check(b.OpenHost(test.path, unix.O_PATH), test.id)
			b.Exit(0)
		})
		if test.ok != (got.err == nil) || !test.ok && !errors.Is(got.err, unix.EXDEV) {
			t.Errorf("%s %+v: %v", test.path, test.id, got.err)
		}
	}
}

func TestLikeMode(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("[root] needs root to mount")
	}
	like := filepath.Join(t.TempDir(), "like")
	if err := errors.Join(os.Mkdir(like, 0o755), unix.Chmod(like, 0o2751)); err != nil {
		t.Fatal(err)
	}
	got := walk(t, nil, func(b *Builder) {
		fs := b.Fsopen("tmpfs")
		b.FsconfigCreate(fs)
		mount := b.Fsmount(fs, 0)
		b.LikeMode(mount, b.OpenHost(like, unix.O_PATH))
		b.SendFD(1, mount)
		b.LikeMode(b.OpenHost("/dev/null", unix.O_PATH), mount)
		b.Exit(0)
	})
	wantErrno(t, got.err, unix.ENOTDIR)
	var st unix.Stat_t
	if len(got.fds) != 1 || unix.Fstat(int(got.fds[0].Fd()), &st) != nil || st.Mode != unix.S_IFDIR|0o2751 {
		t.Errorf("%d descriptors, mode %#o", len(got.fds), st.Mode)
	}
}

func TestInside(t *testing.T) {
	if got := walk(t, nil, func(b *Builder) { b.Inside(); b.Exit(0) }); got.err != nil {
		t.Error(got.err)
	}
	if os.Geteuid() != 0 {
		t.Skip("[root] needs root to chroot")
	}
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "in"), 0o755); err != nil {
		t.Fatal(err)
	}
	files := []*os.File{open(t, dir, unix.O_PATH), open(t, "/", unix.O_PATH), open(t, filepath.Join(dir, "in"), unix.O_PATH)}
	for _, test := range []struct {
		cwd Reg
		ok  bool
	}{{1, true}, {2, false}, {3, true}} {
		got := walk(t, files, func(b *Builder) {
			b.Fchdir(1)
			b.ChrootHere()
			b.Fchdir(test.cwd)
			b.Inside()
			b.Exit(0)
		})
		if test.ok != (got.err == nil) || !test.ok && !errors.Is(got.err, unix.EXDEV) {
			t.Errorf("register %d: %v", test.cwd, got.err)
		}
	}
	if err := os.Remove(filepath.Join(dir, "in")); err != nil {
		t.Fatal(err)
	}
	got := walk(t, files, func(b *Builder) { b.Fchdir(3); b.Inside(); b.Exit(0) })
	wantErrno(t, got.err, unix.ENOENT)
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	plain, missing, sub := write("plain", 0o644), filepath.Join(dir, "missing"), filepath.Join(dir, "sub")
	good, second := write("good", 0o755), write("second", 0o755)
	under := filepath.Join(plain, "x")
	if err := os.Mkdir(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink("good", link); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		candidates []string
		want       int // index, or -1
		errno      unix.Errno
	}{
		{[]string{good}, 0, 0},
		{[]string{missing, good}, 1, 0},
		{[]string{under, good}, 1, 0},
		{[]string{sub, good}, 1, 0},
		{[]string{plain, good}, 1, 0},
		{[]string{good, second}, 0, 0},
		{[]string{"", link}, 1, 0},
		{[]string{missing, under, sub, plain, second}, 4, 0},
		{[]string{missing}, -1, unix.ENOENT},
		{[]string{under}, -1, unix.ENOTDIR},
		{[]string{sub}, -1, unix.EISDIR},
		{[]string{plain, missing}, -1, unix.EACCES},
		{nil, -1, unix.ENOENT},
	}
	for _, test := range tests {
		got := walk(t, nil, func(b *Builder) {
			r := b.FindExec(test.candidates)
			// Which one: the distance of the address from the first one's.
			b.Append(unix.SYS_OPENAT, CWD(), FD(r), Num(unix.O_PATH|unix.O_CLOEXEC)).Result = r
			b.SendFD(SyncConsole, r)
			b.Exit(0)
		})
		switch {
		case test.want < 0:
			wantErrno(t, got.err, test.errno)
		case got.err != nil:
			t.Errorf("%q: %v", test.candidates, got.err)
		default:
			want, _ := filepath.EvalSymlinks(test.candidates[test.want])
			if path := pathOf(t, got.fds[0]); path != want {
				t.Errorf("%q: found %s", test.candidates, path)
			}
		}
	}
}

func TestFindThenExecve(t *testing.T) {
	got := walk(t, nil, func(b *Builder) {
		r := b.FindExec([]string{"/nowhere/x", "/proc/self/exe"})
		b.Execve(r, []string{"a0"}, []string{"NSENTER_TEST=tell"})
	})
	if !strings.Contains(got.out, `"Args":["a0"]`) {
		t.Errorf("out %q, %v", got.out, got.err)
	}
}

func TestStore(t *testing.T) {
	got := walk(t, nil, func(b *Builder) {
		r := b.Reserve()
		b.Append(unix.SYS_GETPID).Result = r
		b.show(r)
		b.Exit(0)
	})
	if pid := number32(got.out); pid < 2 || pid == 0xdeadbeef {
		t.Errorf("pid %d, %v", pid, got.err)
	}
}

func TestReport(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	// The walker stays until nobody reads any more.
	record := make(chan []byte)
	go func() {
		raw := make([]byte, ReportSize+1)
		n, _ := r.Read(raw)
		r.Close()
		record <- raw[:n]
	}()
	got := walk(t, []*os.File{w}, func(b *Builder) {
		b.ReportTo(1)
		b.say("on")
		b.ExecvePath("/does/not/exist", []string{"x"}, nil)
	})
	w.Close()
	if got.err != nil || got.out != "on" {
		t.Errorf("err %v, out %q: the conversation ends with Report", got.err, got.out)
	}
	step, errno, ok := ReadReport(<-record)
	if !ok || step != 2 || errno != unix.ENOENT {
		t.Errorf("record %d, %v, %v", step, errno, ok)
	}
}

func TestReportIsClosedByExecve(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	walk(t, []*os.File{w}, func(b *Builder) {
		b.ReportTo(1)
		b.ExecvePath("/proc/self/exe", []string{"x"}, []string{"NSENTER_TEST=tell"})
	})
	w.Close()
	if record := readAll(t, r); record != "" {
		t.Errorf("record %q", record)
	}
}
