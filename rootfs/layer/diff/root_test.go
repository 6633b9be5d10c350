package diff

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"berth/rootfs/layer/member"
	"berth/rootfs/layer/overlay"
	"berth/rootfs/overlayfs"
)

func scratch(t testing.TB) string {
	t.Helper()
	if testing.Short() || os.Geteuid() != 0 {
		t.Skip("[root] needs root")
	}
	dir := t.TempDir()
	if err := unix.Mount("diff-test", dir, "tmpfs", 0, ""); err != nil {
		t.Skipf("[root] no tmpfs: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	must(t, unix.Mount("", dir, "", unix.MS_SHARED, "")) // as on a machine that systemd runs
	return dir
}

func mkdir(t testing.TB, path string) string {
	t.Helper()
	must(t, os.MkdirAll(path, 0o755))
	return path
}

// live is a mounted overlay that is changed as a container would.
type live struct {
	t       *testing.T
	o       overlay.Options
	root    string // of the mount, by a descriptor
	upper   *overlay.Dir
	lower   *overlay.Stack
	dir     string
	closers []io.Closer
}

func newLive(t *testing.T, dir string, lowers []string) *live {
	l := &live{t: t, dir: dir, lower: &overlay.Stack{Cached: true}}
	l.o = overlay.Options{Upper: mkdir(t, dir+"/upper"), Work: mkdir(t, dir+"/work"), Name: "diff"}
	for _, p := range lowers {
		l.o.Lower = append(l.o.Lower, overlayfs.Layer{Path: p})
		d, err := overlay.OpenDir(p, false)
		must(t, err)
		l.lower.Layers = append(l.lower.Layers, d)
		l.closers = append(l.closers, d)
	}
	f, err := overlay.Open(l.o)
	must(t, err)
	l.closers = append(l.closers, f)
	l.root = fmt.Sprintf("/proc/self/fd/%d/", f.Fd())
	l.upper, err = overlay.OpenDir(l.o.Upper, false)
	must(t, err)
	l.closers = append(l.closers, l.upper)
	return l
}

func (l *live) close() {
	for _, c := range l.closers {
		c.Close()
	}
}

var names = []string{"a", "b", "c"}

// act does something at random. What fails, because it is not there or is
// something else, does not matter.
func (l *live) act(r *rand.Rand) {
	path := func() string {
		p := l.root
		for range 1 + r.IntN(3) {
			p += "/" + names[r.IntN(len(names))]
		}
		return p
	}
	p, q := path(), path()
	switch r.IntN(16) {
	case 14, 15: // a directory that was there before becomes opaque
		if os.RemoveAll(l.root+"/"+names[0]) == nil {
			os.Mkdir(l.root+"/"+names[0], 0o755)
		}
	case 0, 1:
		// Not waiting for who reads a FIFO.
		if f, err := os.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NONBLOCK, 0o644); err == nil {
			fmt.Fprint(f, r.IntN(3))
			f.Close()
		}
	case 2:
		os.Remove(p)
	case 3:
		if st, err := os.Lstat(filepath.Dir(p)); err == nil && st.IsDir() { // it would wait for a FIFO
			os.RemoveAll(p)
		}
	case 4, 5:
		os.Mkdir(p, 0o755)
	case 6:
		os.Chmod(p, os.FileMode(0o700+r.IntN(8)))
	case 7:
		os.Lchown(p, r.IntN(5), r.IntN(5))
	case 8:
		os.Symlink(names[r.IntN(3)], p)
	case 9:
		os.Link(p, q)
	case 10:
		os.Rename(p, q)
	case 11:
		unix.Lsetxattr(p, "trusted.overlay.opaque", []byte("y"), 0)
		unix.Lsetxattr(p, "user.x", []byte("1"), 0)
	case 12:
		if f, err := os.OpenFile(p, os.O_RDWR, 0); err == nil { // a copy-up, and no change
			f.Close()
		}
	case 13:
		unix.Mknod(p, unix.S_IFIFO|0o644, 0)
	}
}

// apply is a layer's members as a directory; a Writer.
type apply struct {
	t    *testing.T
	root string
	dirs []member.Member
}

func (a *apply) Write(m *member.Member, content io.Reader) error {
	p := a.root + "/" + m.Path
	switch m.Kind {
	case member.Dir:
		if m.Path != "" {
			must(a.t, os.Mkdir(p, 0o700))
		}
		a.dirs = append(a.dirs, *m)
	case member.File:
		f, err := os.Create(p)
		must(a.t, err)
		if m.Size > 0 {
			_, err = io.CopyN(f, content, m.Size)
			must(a.t, err)
		}
		f.Close()
	case member.Symlink:
		must(a.t, os.Symlink(m.Target, p))
	case member.Link:
		must(a.t, os.Link(a.root+"/"+m.Target, p))
		return nil
	case member.Fifo:
		must(a.t, unix.Mkfifo(p, 0o600))
	case member.Whiteout:
		return unix.Mknod(p, unix.S_IFCHR, 0)
	case member.Opaque:
		return unix.Lsetxattr(p, "trusted.overlay.opaque", []byte("y"), 0)
	default:
		a.t.Fatalf("a member of kind %d", m.Kind)
	}
	a.metadata(*m)
	return nil
}

func (a *apply) metadata(m member.Member) {
	p := a.root + "/" + m.Path
	must(a.t, os.Lchown(p, int(m.UID), int(m.GID)))
	for _, x := range m.Xattrs {
		must(a.t, unix.Lsetxattr(p, overlay.EscapeXattr(x.Name, false), x.Value, 0))
	}
	if m.Kind != member.Symlink {
		must(a.t, unix.Chmod(p, m.Mode))
	}
	at := unix.NsecToTimespec(m.MTime.UnixNano())
	must(a.t, unix.UtimesNanoAt(unix.AT_FDCWD, p, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW))
}

func (a *apply) close() {
	for i := len(a.dirs) - 1; i >= 0; i-- {
		a.metadata(a.dirs[i])
	}
}

// dump is a tree as text: all that a layer can say, and which names are one
// file.
func dump(t *testing.T, root string, links bool) string {
	var b strings.Builder
	first := map[uint64]string{}
	root = strings.TrimSuffix(root, "/") + "/"
	must(t, filepath.WalkDir(root, func(p string, _ os.DirEntry, err error) error {
		must(t, err)
		rel := strings.TrimPrefix(p, strings.TrimSuffix(root, "/"))
		var st unix.Stat_t
		must(t, unix.Lstat(p, &st))
		fmt.Fprintf(&b, "%s %o %d:%d", rel, st.Mode, st.Uid, st.Gid)
		if rel != "/" {
			fmt.Fprintf(&b, " %d.%d", st.Mtim.Sec, st.Mtim.Nsec)
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			raw, err := os.ReadFile(p)
			must(t, err)
			fmt.Fprintf(&b, " %q", raw)
		case unix.S_IFLNK:
			to, err := os.Readlink(p)
			must(t, err)
			b.WriteString(" " + to)
		}
		if links && st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
			if first[st.Ino] == "" {
				first[st.Ino] = rel
			}
			b.WriteString(" = " + first[st.Ino])
		}
		for _, name := range []string{"user.x", "trusted.overlay.opaque"} {
			var v [8]byte
			if n, err := unix.Lgetxattr(p, name, v[:]); err == nil {
				fmt.Fprintf(&b, " %s=%s", name, v[:n])
			}
		}
		b.WriteByte('\n')
		return nil
	}))
	return b.String()
}

// A layer of what was changed, put on the layers that it was changed from,
// shows what the changed overlay showed; and another look at the upper
// directory gives the same layer.
func TestCommitted(t *testing.T) {
	dir := scratch(t)
	for seed := range uint64(150) {
		r := rand.New(rand.NewPCG(seed, 7))
		at := mkdir(t, fmt.Sprintf("%s/%d", dir, seed))
		lowers := []string{mkdir(t, at+"/empty")}
		// Each round commits what it has changed, and the next one begins there.
		for round := range 3 {
			l := newLive(t, mkdir(t, fmt.Sprintf("%s/r%d", at, round)), lowers)
			for range 4 + r.IntN(80) {
				l.act(r)
			}
			want := dump(t, l.root, false)
			changes, err := Changes(l.upper, l.lower, Options{Detail: seed%2 == 0})
			must(t, err)
			layer := apply{t: t, root: mkdir(t, fmt.Sprintf("%s/layer%d", at, round))}
			must(t, Write(l.upper, changes, &layer))
			layer.close()
			again, err := Changes(l.upper, l.lower, Options{Detail: seed%2 == 0})
			must(t, err)
			if text(again) != text(changes) {
				t.Fatalf("seed %d round %d: %s\nand then %s", seed, round, text(changes), text(again))
			}
			l.close()
			lowers = append([]string{layer.root}, lowers...)
			next := newLive(t, mkdir(t, fmt.Sprintf("%s/check%d", at, round)), lowers)
			got := dump(t, next.root, false)
			none, err := Changes(next.upper, next.lower, Options{})
			must(t, err)
			next.close()
			if got != want {
				t.Fatalf("seed %d round %d: %s\n got\n%s\nwant\n%s", seed, round, text(changes), got, want)
			}
			if len(none) != 0 {
				t.Fatalf("seed %d round %d: an overlay that nobody has touched has changes: %s", seed, round, text(none))
			}
		}
	}
}

// What a container reads, opens for writing and leaves alone is no change.
func TestIdenticalCopyUps(t *testing.T) {
	dir := scratch(t)
	lower := mkdir(t, dir+"/lower")
	for i := range 50 {
		p := fmt.Sprintf("%s/%d/f", mkdir(t, fmt.Sprintf("%s/%d", lower, i))[:len(lower)], i)
		must(t, os.WriteFile(p, []byte(fmt.Sprint(i)), 0o644))
	}
	l := newLive(t, dir, []string{lower})
	defer l.close()
	for i := range 50 {
		f, err := os.OpenFile(fmt.Sprintf("%s/%d/f", l.root, i), os.O_RDWR, 0)
		must(t, err)
		f.Close()
	}
	if names, _ := l.upper.Names(""); len(names) != 50 {
		t.Fatalf("%d copy-ups", len(names))
	}
	got, err := Changes(l.upper, l.lower, Options{})
	if err != nil || len(got) != 0 {
		t.Error(text(got), err)
	}
	must(t, os.Chmod(l.root+"/7/f", 0o600))
	got, err = Changes(l.upper, l.lower, Options{Detail: true})
	if err != nil || text(got) != "C7/,parent C7/f,metadata" {
		t.Error(text(got), err)
	}
}

// The time is that of the upper directory: layers of many thousand files below
// it make no difference.
func BenchmarkChanges(b *testing.B) {
	for _, files := range []int{100, 20000} {
		b.Run(fmt.Sprint(files), func(b *testing.B) {
			dir := scratch(b)
			lower := mkdir(b, dir+"/lower")
			for i := range files {
				if i%100 == 0 {
					mkdir(b, fmt.Sprintf("%s/%d", lower, i/100))
				}
				must(b, os.WriteFile(fmt.Sprintf("%s/%d/%d", lower, i/100, i), nil, 0o644))
			}
			upper := mkdir(b, dir+"/upper")
			for i := range 10 {
				must(b, os.WriteFile(fmt.Sprintf("%s/%d", upper, i), []byte("x"), 0o644))
			}
			for b.Loop() {
				u, err := overlay.OpenDir(upper, false)
				must(b, err)
				low, err := overlay.OpenDir(lower, false)
				must(b, err)
				list, err := Changes(u, &overlay.Stack{Layers: []overlay.Tree{low}, Cached: true}, Options{})
				if err != nil || len(list) != 10 {
					b.Fatal(len(list), err)
				}
				u.Close()
				low.Close()
			}
		})
	}
}
