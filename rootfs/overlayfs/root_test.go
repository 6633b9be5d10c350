package overlayfs

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

// scratch is a tmpfs of the test's own.
func scratch(t testing.TB) string {
	t.Helper()
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("[root] needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("overlayfs-test", dir, "tmpfs", 0, ""); err != nil {
		t.Skipf("[root] no tmpfs: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	// As on a machine that systemd runs: what is mounted on a copy would come to the original.
	if err := unix.Mount("", dir, "", unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	return dir
}

func mkdir(t testing.TB, path string) string {
	t.Helper()
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// stack makes n lower directories, the topmost first, each with a file of its
// own and one that says which is the topmost, and an upper and work directory.
func stack(t testing.TB, dir string, n int) *Mount {
	m := &Mount{Upper: mkdir(t, dir+"/upper"), Work: mkdir(t, dir+"/work"), Params: Pinned()}
	for i := range n {
		l := mkdir(t, fmt.Sprintf("%s/l%d", dir, i))
		write(t, fmt.Sprintf("%s/f%d", l, i), "")
		write(t, l+"/top", fmt.Sprint(i))
		m.Lower = append(m.Lower, Layer{Path: l})
	}
	return m
}

func open(t *testing.T, m *Mount, k Kernel) *os.File {
	t.Helper()
	f, err := Open(m, k)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func at(f *os.File, name string) string { return fmt.Sprintf("/proc/self/fd/%d/%s", f.Fd(), name) }

func nothingOnHost(t *testing.T, m *Mount) {
	t.Helper()
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(raw), m.Source) {
		t.Errorf("the overlay is mounted on the host (%v)", err)
	}
}

// kernels are those whose way the kernel at hand takes: this one, and older
// ones.
var kernels = slices.DeleteFunc([]Kernel{{6, 18}, {6, 14}, {6, 1}}, func(k Kernel) bool { return !Running().AtLeast(k.Major, k.Minor) })

// The overlay shows its layers in order, keeps changes in upper alone, and
// nothing of it is to be seen on the host, by each kernel's way.
func TestOpen(t *testing.T) {
	for _, k := range kernels {
		for _, layers := range []int{1, 3, 40, MaxLayers} {
			t.Run(fmt.Sprintf("%v/%d", k, layers), func(t *testing.T) {
				dir := scratch(t)
				m := stack(t, dir, layers)
				m.Source = dir + "-source"
				f := open(t, m, k)
				nothingOnHost(t, m)
				if raw, err := os.ReadFile(at(f, "top")); err != nil || string(raw) != "0" {
					t.Errorf("top: %q %v", raw, err)
				}
				if entries, err := os.ReadDir(at(f, ".")); err != nil || len(entries) != layers+1 {
					t.Errorf("%d entries, %v", len(entries), err)
				}
				write(t, at(f, "new"), "x")
				if _, err := os.Stat(dir + "/upper/new"); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

func TestOpenReadOnly(t *testing.T) {
	dir := scratch(t)
	for _, k := range kernels {
		m := stack(t, dir, 2)
		m.Upper, m.Work = "", ""
		f := open(t, m, k)
		if err := os.WriteFile(at(f, "x"), nil, 0o644); !isErrno(err, unix.EROFS) {
			t.Errorf("%v: %v", k, err)
		}
	}
}

func isErrno(err error, errno unix.Errno) bool {
	e := fault.From(err, "", "")
	return e != nil && e.Errno == errno
}

// What is pinned goes with the marks of ordinary users, too.
func TestOpenUserXattr(t *testing.T) {
	for _, k := range kernels {
		m := stack(t, scratch(t), 2)
		m.UserXattr, m.Volatile = true, true
		f := open(t, m, k)
		mkdir(t, at(f, "d"))
		if err := os.Remove(at(f, "f0")); err != nil {
			t.Error(err)
		}
	}
}

// A layer may be a mount that is attached nowhere.
func TestOpenDetachedLayer(t *testing.T) {
	for _, k := range kernels {
		t.Run(fmt.Sprint(k), func(t *testing.T) {
			dir := scratch(t)
			m := stack(t, dir, 2)
			for i := range m.Lower {
				fd, err := cloneMount(unix.AT_FDCWD, m.Lower[i].Path)
				if err != nil {
					t.Fatal(err)
				}
				m.Lower[i].Dir = os.NewFile(uintptr(fd), "")
				defer m.Lower[i].Dir.Close()
			}
			m.Source = dir + "-source"
			f := open(t, m, k)
			nothingOnHost(t, m)
			for _, name := range []string{"f0", "f1"} {
				if _, err := os.Stat(at(f, name)); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// Names that the option string would take for something else.
func TestOpenNames(t *testing.T) {
	for _, name := range []string{"a:b", `a\b`, "a,b", "a b", `"q"`, strings.Repeat("x", 250)} {
		for _, k := range kernels {
			dir := mkdir(t, filepath.Join(scratch(t), name, name))
			m := stack(t, dir, 2)
			f := open(t, m, k)
			write(t, at(f, "new"), "")
			if _, err := os.Stat(m.Upper + "/new"); err != nil {
				t.Errorf("%q: %v", name, err)
			}
			f.Close()
		}
	}
}

// userns is a user namespace that maps 0 to 100000.
func userns(t *testing.T) *os.File {
	t.Helper()
	cmd := exec.Command("sleep", "60")
	maps := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 100000, Size: 65536}}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: maps, GidMappings: maps}
	if err := cmd.Start(); err != nil {
		t.Skipf("[root] no user namespace: %v", err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	f, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// Mapped layers show the ids of the user namespace, and the upper directory
// keeps those of the image.
func TestOpenMapped(t *testing.T) {
	onTmpfs := Running().AtLeast(6, 3) // before, a tmpfs cannot be mapped
	for _, k := range kernels {
		t.Run(fmt.Sprint(k), func(t *testing.T) {
			dir := scratch(t)
			if !onTmpfs {
				dir = t.TempDir()
			}
			m := stack(t, dir, 3)
			m.Userns, m.Source = userns(t), dir+"-source"
			link := dir + "/link"
			if err := os.Symlink(m.Lower[1].Path, link); err != nil {
				t.Fatal(err)
			}
			m.Lower[1].Path = link
			if onTmpfs { // a layer on a mount of its own
				if err := unix.Mount("other", m.Lower[2].Path, "tmpfs", 0, ""); err != nil {
					t.Fatal(err)
				}
			}
			write(t, m.Lower[2].Path+"/f2", "")
			f := open(t, m, k)
			nothingOnHost(t, m)
			for _, name := range []string{"f0", "f1", "f2"} {
				if uid := owner(t, at(f, name)); uid != 100000 {
					t.Errorf("%s: %d", name, uid)
				}
			}
			if err := os.Chown(at(f, "f1"), 100007, 100007); err != nil {
				t.Fatal(err)
			}
			if uid := owner(t, m.Upper+"/f1"); uid != 7 {
				t.Error(uid)
			}
			if err := os.Remove(at(f, "f0")); err != nil { // leaves a whiteout
				t.Error(err)
			}
			if uid := owner(t, m.Upper+"/f0"); uid != 0 {
				t.Error(uid)
			}
		})
	}
}

func owner(t *testing.T, path string) uint32 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Uid
}

// What is said where the kernel says EINVAL or less.
func TestExplain(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(t *testing.T, dir string, m *Mount)
		want string
	}{
		{"lower", func(t *testing.T, dir string, m *Mount) { m.Lower[1].Path = dir + "/none" },
			"/none: the lower layer does not exist: no such file or directory; a layer that is not unpacked here"},
		{"file", func(t *testing.T, dir string, m *Mount) {
			m.Lower[1].Path = m.Lower[1].Path + "/top"
		}, "the lower layer is not a directory"},
		{"upper", func(t *testing.T, dir string, m *Mount) { os.Remove(m.Upper) }, "the upper directory does not exist"},
		{"work", func(t *testing.T, dir string, m *Mount) { os.Remove(m.Work) }, "the work directory does not exist"},
		{"other", func(t *testing.T, dir string, m *Mount) {
			if err := unix.Mount("w", m.Work, "tmpfs", 0, ""); err != nil {
				t.Fatal(err)
			}
		}, "is on another mount than upperdir"},
		{"volatile", func(t *testing.T, dir string, m *Mount) {
			m.Volatile = true
			f, err := Open(m, Running())
			if err != nil {
				t.Fatal(err)
			}
			f.Close()
		}, "was mounted volatile before"},
		{"overlay", func(t *testing.T, dir string, m *Mount) {
			f := open(t, stack(t, mkdir(t, dir+"/other"), 2), Running())
			m.Upper, m.Work = at(f, "u"), at(f, "w")
			mkdir(t, m.Upper)
			mkdir(t, m.Work)
		}, "the upper directory is an overlay itself"},
		{"option", func(t *testing.T, dir string, m *Mount) { m.Set(Param{"nonsense", "1", true}) },
			"invalid argument; the kernel does not know an option"},
		{"conflict", func(t *testing.T, dir string, m *Mount) {
			m.UserXattr, m.Params = true, []Param{{"redirect_dir", "on", true}}
		}, "such as userxattr with redirect_dir=on"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := scratch(t)
			m := stack(t, dir, 3)
			c.do(t, dir, m)
			f, err := Open(m, Running())
			if err == nil {
				f.Close()
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	for _, k := range kernels {
		for _, n := range []int{3, 100, MaxLayers} {
			b.Run(fmt.Sprintf("%v/%d", k, n), func(b *testing.B) {
				m := stack(b, scratch(b), n)
				for b.Loop() {
					f, err := Open(m, k)
					if err != nil {
						b.Fatal(err)
					}
					f.Close()
				}
			})
		}
	}
}
