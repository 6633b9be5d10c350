package nsenter

import (
	"errors"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// tree makes what lines say below dir: "d PATH", "f PATH" or "l PATH TARGET".
func tree(t *testing.T, dir string, lines []string) {
	t.Helper()
	for _, line := range lines {
		f := strings.Fields(line)
		path := filepath.Join(dir, f[1])
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		switch {
		case err != nil:
		case f[0] == "d":
			err = os.MkdirAll(path, 0o755)
		case f[0] == "f":
			err = os.WriteFile(path, []byte("kept"), 0o644)
		case f[0] == "l":
			err = os.Symlink(f[2], path)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// listing is dir as tree takes it, sorted.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		switch {
		case d.IsDir():
			lines = append(lines, "d "+rel)
		case d.Type()&os.ModeSymlink != 0:
			target, _ := os.Readlink(path)
			lines = append(lines, "l "+rel+" "+target)
		default:
			lines = append(lines, "f "+rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

func TestMake(t *testing.T) {
	long := strings.Repeat("n", 255)
	tests := []struct {
		name  string
		tree  []string
		path  string
		file  bool
		at    string   // where in the root it is
		made  []string // what is new
		errno unix.Errno
	}{
		{name: "existing", tree: []string{"d a/b"}, path: "/a/b", at: "a/b"},
		{name: "existing file", tree: []string{"f a/b"}, path: "/a/b", file: true, at: "a/b"},
		{name: "existing file where a directory is asked for is the caller's to see", tree: []string{"f a"}, path: "/a", at: "a"},
		{name: "missing", path: "/a", at: "a", made: []string{"d a"}},
		{name: "missing file", path: "/a", file: true, at: "a", made: []string{"f a"}},
		{name: "relative", path: "a", at: "a", made: []string{"d a"}},
		{name: "several levels", path: "/a/b/c/d", at: "a/b/c/d", made: []string{"d a", "d a/b", "d a/b/c", "d a/b/c/d"}},
		{name: "several levels and a file", path: "/a/b/c", file: true, at: "a/b/c", made: []string{"d a", "d a/b", "f a/b/c"}},
		{name: "some of it exists", tree: []string{"d a"}, path: "/a/b/c", at: "a/b/c", made: []string{"d a/b", "d a/b/c"}},
		{name: "doubled and trailing slashes", path: "//a///b//", at: "a/b", made: []string{"d a", "d a/b"}},
		{name: "file with trailing slash", path: "/a/b/", file: true, at: "a/b", made: []string{"d a", "f a/b"}},
		{name: "the root", path: "/", at: "."},
		{name: "nothing", path: "", at: "."},
		{name: "dots", path: "/./a/./b/.", at: "a/b", made: []string{"d a", "d a/b"}},
		{name: "dot dot in the middle", path: "/a/../b", at: "b", made: []string{"d a", "d b"}},
		{name: "dot dot leads nowhere", path: "/../../../a", at: "a", made: []string{"d a"}},
		{name: "dot dot at the end", path: "/a/b/..", at: "a", made: []string{"d a", "d a/b"}},
		{name: "below a file", tree: []string{"f a"}, path: "/a/b", errno: unix.ENOTDIR},
		{name: "longest name", path: "/" + long, at: long, made: []string{"d " + long}},
		{name: "too long a name", path: "/" + long + "n", errno: unix.ENAMETOOLONG},
		{name: "too long a path", path: strings.Repeat("/a", 2048), errno: unix.ENAMETOOLONG},

		{name: "absolute link", tree: []string{"l a /b", "d b"}, path: "/a/c", at: "b/c", made: []string{"d b/c"}},
		{name: "relative link", tree: []string{"l x/a ../b", "d b"}, path: "/x/a/c", at: "b/c", made: []string{"d b/c"}},
		{name: "link at the end", tree: []string{"l a b", "d b"}, path: "/a", at: "b"},
		{name: "link at the end to a file", tree: []string{"l a /b/c", "f b/c"}, path: "/a", file: true, at: "b/c"},
		{name: "dangling link", tree: []string{"l a b"}, path: "/a", at: "b", made: []string{"d b"}},
		{name: "dangling link to a file", tree: []string{"l a b/c"}, path: "/a", file: true, at: "b/c", made: []string{"d b", "f b/c"}},
		{name: "dangling absolute link", tree: []string{"l x/a /b/c"}, path: "/x/a/d", at: "b/c/d", made: []string{"d b", "d b/c", "d b/c/d"}},
		{name: "dangling relative link below a link", tree: []string{"l l deep/er", "d deep/er", "l deep/er/a ../b"}, path: "/l/a/c", at: "deep/b/c", made: []string{"d deep/b", "d deep/b/c"}},
		{name: "dangling link with trailing slash", tree: []string{"l a b/"}, path: "/a/", at: "b", made: []string{"d b"}},
		{name: "chain of links", tree: []string{"l a b", "l b c", "l c d"}, path: "/a/e", at: "d/e", made: []string{"d d", "d d/e"}},
		{name: "loop", tree: []string{"l a b", "l b a"}, path: "/a/c", errno: unix.ELOOP},
		{name: "link to itself", tree: []string{"l a a"}, path: "/a", errno: unix.ELOOP},
		{name: "escape by an absolute link", tree: []string{"l a /outside"}, path: "/a/b", at: "outside/b", made: []string{"d outside", "d outside/b"}},
		{name: "escape by dot dot", tree: []string{"l a ../../outside"}, path: "/a/b", at: "outside/b", made: []string{"d outside", "d outside/b"}},
		{name: "escape by a file", tree: []string{"l a ../outside/file"}, path: "/a", file: true, at: "outside/file", made: []string{"d outside", "f outside/file"}},
		{name: "magic link", tree: []string{"l a /proc/self/cwd"}, path: "/a/b", at: "proc/self/cwd/b",
			made: []string{"d proc", "d proc/self", "d proc/self/cwd", "d proc/self/cwd/b"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			top := t.TempDir()
			root := filepath.Join(top, "root")
			tree(t, top, []string{"d root", "f outside-canary"})
			tree(t, root, test.tree)
			before := strings.Split(listing(t, top), "\n")
			got := walk(t, []*os.File{open(t, root, unix.O_PATH)}, func(b *Builder) {
				b.Append(unix.SYS_UMASK, Num(0))
				r := Reg(0)
				if test.file {
					r = b.MakeFile(1, test.path, 0o640)
				} else {
					r = b.MakeDir(1, test.path, 0o750)
				}
				b.SendFD(SyncConsole, r)
				b.Exit(0)
			})
			if test.errno != 0 {
				wantErrno(t, got.err, test.errno)
			} else if got.err != nil {
				t.Fatal(got.err)
			} else if path := pathOf(t, got.fds[0]); path != filepath.Join(root, test.at) {
				t.Errorf("it is %s", path)
			}
			want := before
			for _, m := range test.made {
				want = append(want, m[:2]+"root/"+m[2:])
			}
			sort.Strings(want)
			if after := listing(t, top); after != strings.Join(want, "\n") {
				t.Errorf("afterwards\n%s\nwant\n%s", after, strings.Join(want, "\n"))
			}
			checkModes(t, root, test.made)
		})
	}
}

// checkModes: what is asked for has the mode asked for, what leads there 0755.
func checkModes(t *testing.T, root string, made []string) {
	t.Helper()
	for i, m := range made {
		info, err := os.Stat(filepath.Join(root, m[2:]))
		if err != nil {
			t.Error(err)
			continue
		}
		mode := info.Mode().Perm()
		if !info.IsDir() && mode != 0o640 || info.IsDir() && mode != 0o755 && (mode != 0o750 || i < len(made)-2) {
			t.Errorf("%s has mode %o", m, mode)
		}
	}
}

func TestMakeLike(t *testing.T) {
	for _, like := range []string{"/", "/dev/null", "/proc/self/exe"} {
		root := t.TempDir()
		got := walk(t, []*os.File{open(t, root, unix.O_PATH), open(t, like, unix.O_PATH)}, func(b *Builder) {
			b.MakeLike(1, "/a/b", 0o700, 2)
			b.Exit(0)
		})
		want := "d a\nf a/b"
		if like == "/" {
			want = "d a\nd a/b"
		}
		if l := listing(t, root); got.err != nil || l != want {
			t.Errorf("like %s: %v, %s", like, got.err, l)
		}
	}
}

// TestMakeRace: another process exchanges a directory with a link that leads
// outside, all the time (CVE-2021-30465, CVE-2024-45310).
func TestMakeRace(t *testing.T) {
	top := t.TempDir()
	root := filepath.Join(top, "root")
	tree(t, top, []string{"d root/dir", "d canary", "l root/link ../canary"})
	stop, done := make(chan bool), make(chan bool)
	go func() {
		defer close(done)
		dir, link := filepath.Join(root, "dir"), filepath.Join(root, "link")
		for {
			select {
			case <-stop:
				return
			default:
				unix.Renameat2(unix.AT_FDCWD, dir, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE)
			}
		}
	}()
	got := walk(t, []*os.File{open(t, root, unix.O_PATH)}, func(b *Builder) {
		for i := range 400 {
			path := "/dir/" + strings.Repeat("x/", 1+i%7) + "y"
			racy := []unix.Errno{unix.EAGAIN, unix.ELOOP, unix.EEXIST, unix.ENOENT}
			b.MakeDir(1, path, 0o755)
			b.Last().Accepts(racy...)
			b.MakeFile(1, path+"f", 0o644)
			b.Last().Accepts(racy...)
			// 5 is the root; a register whose step failed names no descriptor.
			b.Append(unix.SYS_CLOSE_RANGE, Num(6), Const(0xffffffff, "~0U"), Num(0))
		}
		b.Exit(0)
	})
	close(stop)
	<-done
	if got.err != nil {
		t.Error(got.err)
	}
	if l := listing(t, filepath.Join(top, "canary")); l != "" {
		t.Errorf("made outside the root:\n%s", l)
	}
}

// TestOpenInRace: a rename anywhere on the machine makes openat2(2) give up on a
// path with "..", which says nothing about the path.
func TestOpenInRace(t *testing.T) {
	root, elsewhere := t.TempDir(), t.TempDir()
	tree(t, root, []string{"d a", "d a/b"})
	stop := make(chan bool)
	var storm sync.WaitGroup
	for i := range 2 {
		storm.Add(1)
		go func() {
			defer storm.Done()
			from, to := filepath.Join(elsewhere, "from"+strconv.Itoa(i)), filepath.Join(elsewhere, "to"+strconv.Itoa(i))
			if err := os.WriteFile(from, nil, 0o600); err != nil {
				t.Error(err)
			}
			for {
				select {
				case <-stop:
					return
				default:
					unix.Rename(from, to)
					unix.Rename(to, from)
				}
			}
		}()
	}
	dir := open(t, root, unix.O_PATH)
	for range 20 {
		got := walk(t, []*os.File{dir}, func(b *Builder) {
			for range 1000 {
				b.Close(b.OpenIn(1, strings.Repeat("a/b/../../", 20)+"a", unix.O_PATH))
			}
			b.Exit(0)
		})
		if got.err != nil {
			t.Error(got.err)
			break
		}
	}
	close(stop)
	storm.Wait()
}

// TestMakeTogether: two containers make the same path in a shared volume.
func TestMakeTogether(t *testing.T) {
	root := t.TempDir()
	program := func(b *Builder) {
		b.Sync(SyncReady)
		for i := range 100 {
			b.Close(b.MakeDir(1, strings.Repeat("/d", 1+i/10)+strings.Repeat("/e", 1+i%10), 0o755))
		}
		b.Exit(0)
	}
	var children []*Child
	dir := open(t, root, unix.O_PATH)
	for range 4 {
		c := start(t, Config{})
		if err := c.Send(built(t, 1, program), []*os.File{dir}); err != nil {
			t.Fatal(err)
		}
		children = append(children, c)
	}
	for _, c := range children {
		if _, err := c.Next(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range children {
		c.Go(SyncReady)
	}
	for _, c := range children {
		if e, err := c.Next(); err != nil || !e.End {
			t.Errorf("%+v, %v", e, err)
		}
	}
}

func TestMakeOnReadOnlyFileSystem(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("[root] needs root to mount")
	}
	got := walk(t, nil, func(b *Builder) {
		fs := b.Fsopen("tmpfs")
		b.FsconfigCreate(fs)
		b.MakeDir(b.Fsmount(fs, unix.MOUNT_ATTR_RDONLY), "/a", 0o755)
		b.Exit(0)
	})
	wantErrno(t, got.err, unix.EROFS)
	if got.err == nil || errors.Is(got.err, unix.EINVAL) || !strings.Contains(got.err.Error(), "make it in the image") {
		t.Errorf("error %v", got.err)
	}
}
