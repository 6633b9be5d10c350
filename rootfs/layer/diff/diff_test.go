package diff

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/member"
	"berth/rootfs/layer/overlay"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// build makes a layer of words, in their order:
//
//	a=text   file    a=text~5  with its time at 5 s   a=text^600  with that mode
//	d/       directory, d/! opaque, d/^700 with that mode
//	-a       whiteout   a@b  link to b   a%b  hard link to b   a|  FIFO   a$  socket   a#  sparse file
//
// All other times are 1 s.
func build(t testing.TB, words string) *overlay.Dir {
	t.Helper()
	root := t.TempDir()
	for _, word := range strings.Fields(words) {
		make1(t, root, word)
	}
	must(t, filepath.WalkDir(root, func(p string, _ os.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil && unix.Lstat(p, &st) == nil && st.Mtim.Sec > 1000 {
			settime(t, p, 1)
		}
		return err
	}))
	d, err := overlay.OpenDir(root, true)
	must(t, err)
	t.Cleanup(func() { d.Close() })
	return d
}

func settime(t testing.TB, p string, sec int64) {
	at := unix.Timespec{Sec: sec}
	must(t, unix.UtimesNanoAt(unix.AT_FDCWD, p, []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW))
}

func make1(t testing.TB, root, word string) {
	t.Helper()
	word, sec, timed := strings.Cut(word, "~")
	word, mode, moded := strings.Cut(word, "^")
	p := ""
	switch i := strings.IndexAny(word, "=@%|$#!"); {
	case word[0] == '-':
		must(t, unix.Mknod(root+"/"+word[1:], unix.S_IFCHR, 0))
		return
	case i < 0 || word[i] == '!':
		p = root + "/" + strings.TrimRight(word, "/!")
		must(t, os.Mkdir(p, 0o755))
		if i >= 0 {
			if err := unix.Lsetxattr(p, "user.overlay.opaque", []byte("y"), 0); err != nil {
				t.Skipf("[user xattr] %v", err)
			}
		}
	default:
		p = root + "/" + word[:i]
		rest := word[i+1:]
		switch word[i] {
		case '=':
			must(t, os.WriteFile(p, []byte(rest), 0o644))
		case '@':
			must(t, os.Symlink(rest, p))
		case '%':
			must(t, os.Link(root+"/"+rest, p))
		case '|':
			must(t, unix.Mkfifo(p, 0o644))
		case '$':
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: p, Net: "unix"})
			must(t, err)
			l.SetUnlinkOnClose(false)
			l.Close()
		case '#':
			f, err := os.Create(p)
			must(t, err)
			_, err = f.WriteAt([]byte("x"), 1<<20)
			must(t, errors.Join(err, f.Truncate(4<<20), f.Close()))
		}
	}
	if moded {
		var m uint32
		fmt.Sscanf(mode, "%o", &m)
		must(t, unix.Chmod(p, m))
	}
	if timed {
		var n int64
		fmt.Sscan(sec, &n)
		settime(t, p, n)
	}
}

// text is changes in words: kind, path, and what else is said.
func text(changes []Change) string {
	var out []string
	for _, c := range changes {
		s := string(c.Kind) + c.Member.Path
		switch c.Member.Kind {
		case member.Dir:
			s += "/"
		case member.Link:
			s += "%" + c.Member.Target
		}
		for _, f := range []struct {
			set  bool
			text string
		}{
			{c.Opaque, "!"}, {c.Type, ",type"}, {c.Metadata, ",metadata"}, {c.Parent, ",parent"},
			{c.BrokenLink, ",broken"}, {c.Data != nil, ",sparse"},
		} {
			if f.set {
				s += f.text
			}
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func TestChanges(t *testing.T) {
	for _, c := range []struct{ lower, upper, want string }{
		// Nothing.
		{"", "", ""},
		{"a=1", "", ""},
		{"a=1 d/ d/b=1", "", ""},
		// Files.
		{"", "a=1", "Aa"},
		{"a=1", "a=2", "Ca"},
		{"a=1", "a=1", ""},
		{"a=1", "a=12", "Ca"},
		{"a=", "a=", ""},
		{"a=1", "a=1~5", "Ca,metadata"},
		{"a=1", "a=1^600", "Ca,metadata"},
		{"a=1", "a=2^600", "Ca"},
		{"a=1", "a=12^600", "Ca"},
		{"a=1^4755", "a=1^755", "Ca,metadata"},
		// Removal.
		{"a=1", "-a", "Da"},
		{"", "-a", ""},
		{"d/ d/a=1", "-d", "Dd"},
		{"d/ d/a=1", "d/ -d/a", "Cd/,parent Dd/a"},
		{"d/", "d/ -d/a", ""},
		{"a@b", "-a", "Da"},
		{"a@b b/ b/c=1", "a/ -a/c", "Ca/,type"},
		// Directories.
		{"", "d/", "Ad/"},
		{"d/", "d/", ""},
		{"d/", "d/^700", "Cd/,metadata"},
		{"d/", "d/~5", "Cd/,metadata"},
		{"d/ d/a=1", "d/ d/a=1", ""},
		{"d/ d/a=1", "d/ d/a=2", "Cd/,parent Cd/a"},
		{"d/ d/a=1", "d/ d/a=1 d/b=1", "Cd/,parent Ad/b"},
		{"d/ d/e/ d/e/a=1", "d/ d/e/ d/e/a=2", "Cd/,parent Cd/e/,parent Cd/e/a"},
		{"d/ d/e/ d/e/a=1 d/f/", "d/ d/e/ d/f/ d/f/a=1", "Cd/,parent Cd/f/,parent Ad/f/a"},
		{"", "d/ d/a=1", "Ad/ Ad/a"},
		{"d/^700", "d/ d/a=1", "Cd/,metadata Ad/a"},
		// Opaque ones.
		{"d/ d/a=1", "d/!", "Cd/!"},
		{"d/ d/a=1", "d/! d/a=1", "Cd/! Ad/a"},
		{"d/ d/a=1", "d/! d/b=1", "Cd/! Ad/b"},
		{"d/ d/e/ d/e/a=1", "d/! d/e/ d/e/a=1", "Cd/! Ad/e/ Ad/e/a"},
		{"d/ d/e/ d/e/a=1", "d/! d/e/! d/e/a=1", "Cd/! Ad/e/ Ad/e/a"},
		{"", "d/! d/a=1", "Ad/ Ad/a"},
		{"d=1", "d/! d/a=1", "Cd/,type Ad/a"},
		{"d/ d/a=1", "d/! -d/a", "Cd/!"},
		// Other kinds, and a change of kind.
		{"a=1", "a/", "Ca/,type"},
		{"a/ a/b=1", "a=1", "Ca,type"},
		{"a=1", "a@b", "Ca,type"},
		{"a@b", "a@b", ""},
		{"a@b", "a@c", "Ca"},
		{"a@b", "a@b~5", "Ca,metadata"},
		{"a|", "a|", ""},
		{"a|", "a|^600", "Ca,metadata"},
		{"", "a|", "Aa"},
		{"a|", "a=1", "Ca,type"},
		{"a=1", "a|", "Ca,type"},
		{"a@d d/ d/b=1", "a/ a/b=1", "Ca/,type Aa/b"},
		// Sockets.
		{"", "a$", ""},
		{"a=1", "a$", "Da"},
		{"d/", "d/ d/a$", ""},
		// Hard links.
		{"", "a=1 b%a", "Aa Ab%a"},
		{"", "b=1 a%b", "Aa Ab%a"},
		{"", "a=1 b%a c%a", "Aa Ab%a Ac%a"},
		{"", "a=1 b=1 c%a d%b", "Aa Ab Ac%a Ad%b"},
		{"a=1", "a=1 b%a", "Ca Ab%a"},
		{"a=1 b%a", "a=1 b%a", ""},
		{"a=1 b%a", "a=2 b%a", "Ca Cb%a"},
		{"a=1 b%a", "a=2", "Ca,broken"},
		{"a=1 b%a", "a=1", ""},
		{"a=1 b%a", "b=1~5", "Cb,metadata,broken"},
		{"", "d/ d/a=1 b%d/a", "Ab Ad/ Ad/a%b"},
		{"", "a@x b%a", "Aa Ab%a"},
		{"d/ d/a=1", "d/ d/a=1 b%d/a", "Ab Cd/,parent Cd/a%b"},
		// Sparse files.
		{"", "a#", "Aa,sparse"},
		{"a#", "a#", ""},
		{"a=1", "a#", "Ca,sparse"},
		{"", "a# b%a", "Aa,sparse Ab%a"},
		// Order: bytes of names, a directory before what is in it, what is removed among them.
		{"b=1 d/ d/x=1", "a=1 -b c=1 d/ -d/x d.a=1 e=1", "Aa Db Ac Cd/,parent Dd/x Ad.a Ae"},
		{"", "b=1 a/ a/z=1 a/b/ a/b/c=1 a-b=1 B=1", "AB Aa/ Aa/b/ Aa/b/c Aa/z Aa-b Ab"},
		{"", "é=1 z=1", "Az Aé"},
	} {
		lower := &overlay.Stack{Layers: []overlay.Tree{build(t, c.lower)}, Cached: true}
		got, err := Changes(build(t, c.upper), lower, Options{Detail: true})
		if err != nil || text(got) != c.want {
			t.Errorf("%q on %q:\n got %q %v\nwant %q", c.upper, c.lower, text(got), err, c.want)
		}
		// Without detail it is the same but for one word.
		got, err = Changes(build(t, c.upper), lower, Options{})
		for i := range got {
			got[i].Metadata = false
		}
		if want := strings.ReplaceAll(c.want, ",metadata", ""); err != nil || text(got) != want {
			t.Errorf("%q on %q without detail:\n got %q %v\nwant %q", c.upper, c.lower, text(got), err, want)
		}
	}
}

func TestLayersBelow(t *testing.T) {
	for _, c := range []struct {
		layers []string // the topmost first
		upper  string
		want   string
	}{
		{[]string{"", "a=1"}, "a=1", ""},
		{[]string{"a=2", "a=1"}, "a=1", "Ca"},
		{[]string{"-a", "a=1"}, "a=1", "Aa"},
		{[]string{"-a", "a=1"}, "-a", ""},
		{[]string{"d/! d/b=1", "d/ d/a=1"}, "d/ d/a=1", "Cd/,parent Ad/a"},
		{[]string{"d/", "d/ d/a=1"}, "d/ -d/a", "Cd/,parent Dd/a"},
		{nil, "a=1 -b", "A/ Aa"},
	} {
		s := &overlay.Stack{Cached: true}
		for _, l := range c.layers {
			s.Layers = append(s.Layers, build(t, l))
		}
		got, err := Changes(build(t, c.upper), s, Options{})
		if err != nil || text(got) != c.want {
			t.Errorf("%q on %q:\n got %q %v\nwant %q", c.upper, c.layers, text(got), err, c.want)
		}
	}
}

func TestSkipWarnEpoch(t *testing.T) {
	var warned []string
	o := Options{
		Skip:  func(p string) bool { return p == "proc" || p == "d/x" },
		Warn:  func(e *fault.Error) { warned = append(warned, e.Error()) },
		Epoch: time.Unix(10, 0),
	}
	upper := build(t, "proc/ proc/a=1 d/ d/x=1 d/y=1~500 s$ z=1~5")
	got, err := Changes(upper, &overlay.Stack{Layers: []overlay.Tree{build(t, "")}}, o)
	if err != nil || text(got) != "Ad/ Ad/y Az" {
		t.Error(text(got), err)
	}
	if want := []string{"compare s: a socket cannot be in a layer: it is left out"}; !slices.Equal(warned, want) {
		t.Error(warned)
	}
	if y, z := got[1].Member.MTime.Unix(), got[2].Member.MTime.Unix(); y != 10 || z != 5 {
		t.Error(y, z)
	}
}

func TestXattrs(t *testing.T) {
	for _, c := range []struct {
		name string // of an attribute of the upper file
		want string // that the member has; "same" for no change
	}{
		{"user.x", "user.x"},
		{"user.overlay.origin", "same"},
		{"user.overlay.impure", "same"},
		{"user.overlay.uuid", "same"},
		{"user.overlay.nlink", "same"},
		{"user.overlay.overlay.opaque", "user.overlay.opaque"},
		{"user.overlay.overlay.overlay.x", "user.overlay.overlay.x"},
	} {
		lower := &overlay.Stack{Layers: []overlay.Tree{build(t, "a=1")}}
		upper := build(t, "a=1")
		if err := unix.Lsetxattr(upper.Name()+"/a", c.name, []byte("v"), 0); err != nil {
			t.Skipf("[user xattr] %v", err)
		}
		got, err := Changes(upper, lower, Options{})
		must(t, err)
		found := "same"
		if len(got) == 1 && len(got[0].Member.Xattrs) == 1 {
			found = got[0].Member.Xattrs[0].Name
		}
		if found != c.want {
			t.Errorf("%s: got %s, want %s", c.name, found, c.want)
		}
	}
	// What the host gives every file is no change.
	upper := build(t, "a=1")
	must(t, unix.Lsetxattr(upper.Name()+"/a", "user.host", []byte("v"), 0))
	got, err := Changes(upper, &overlay.Stack{Layers: []overlay.Tree{build(t, "a=1")}}, Options{Foreign: func(n string) bool { return n == "user.host" }})
	if err != nil || len(got) != 0 {
		t.Error(text(got), err)
	}
}

// An upper directory that is not all there is.
func TestForeignMarks(t *testing.T) {
	for _, mark := range []string{"redirect", "metacopy"} {
		upper := build(t, "a=1 d/")
		for _, name := range []string{"a", "d"} {
			if err := unix.Lsetxattr(upper.Name()+"/"+name, "user.overlay."+mark, []byte("/x"), 0); err != nil {
				t.Skipf("[user xattr] %v", err)
			}
		}
		_, err := Changes(upper, &overlay.Stack{}, Options{})
		if err == nil || !strings.Contains(err.Error(), "compare a: overlayfs has left user.overlay."+mark+" on it") {
			t.Error(err)
		}
	}
}

// recorder is a Writer.
type recorder struct {
	lines []string
	fail  bool
}

func (r *recorder) Write(m *member.Member, content io.Reader) error {
	if r.fail {
		return errors.New("full")
	}
	line := fmt.Sprintf("%d:%s", m.Kind, m.Path)
	if m.Kind == member.File && m.Size > 0 {
		raw := make([]byte, m.Size)
		if _, err := io.ReadFull(content, raw); err != nil {
			return err
		}
		if len(raw) < 100 {
			line += "=" + string(raw)
		}
	}
	r.lines = append(r.lines, line)
	return nil
}

func TestWrite(t *testing.T) {
	upper := build(t, "a=text -b d/! d/c= d/l%a f# s@x")
	lower := &overlay.Stack{Layers: []overlay.Tree{build(t, "b=1 d/ d/x=1")}}
	changes, err := Changes(upper, lower, Options{})
	must(t, err)
	var r recorder
	must(t, Write(upper, changes, &r))
	want := []string{"0:a=text", "7:b", "1:d", "8:d", "0:d/c", "3:d/l", "0:f", "2:s"}
	if !slices.Equal(r.lines, want) {
		t.Errorf("got %q, want %q", r.lines, want)
	}
	if err := Write(upper, changes, &recorder{fail: true}); err == nil {
		t.Error("an error of the writer is lost")
	}
	must(t, os.WriteFile(upper.Name()+"/a", []byte("longer than it was"), 0o644))
	if err := Write(upper, changes, &r); err == nil || !strings.Contains(err.Error(), "read a: its size is not what it was; something writes to it") {
		t.Error(err)
	}
	must(t, os.Remove(upper.Name()+"/a"))
	if err := Write(upper, changes, &r); !errors.Is(err, unix.ENOENT) {
		t.Error(err)
	}
}

func TestEqual(t *testing.T) {
	big := strings.Repeat("x", 3*chunk)
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"", "", true}, {"a", "a", true}, {"a", "b", false}, {"a", "", false}, {"", "a", false},
		{big, big, true}, {big, big[1:], false}, {big, big + "x", false}, {big + "x", big + "y", false}, {big[:chunk], big[:chunk], true},
	} {
		if got, err := equal(strings.NewReader(c.a), strings.NewReader(c.b)); err != nil || got != c.want {
			t.Errorf("%d %d: %v %v", len(c.a), len(c.b), got, err)
		}
	}
	if _, err := equal(strings.NewReader("a"), broken{}); err == nil {
		t.Error("an error of a reader is lost")
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("broken") }
