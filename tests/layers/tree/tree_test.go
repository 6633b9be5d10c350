package tree

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestReadListsWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, err := range []error{
		os.Mkdir(at("a"), 0o750),
		os.WriteFile(at("a/b"), []byte("hello"), 0o640),
		os.Link(at("a/b"), at("a.b")),
		os.Symlink("/nowhere", at("s")),
		unix.Mkfifo(at("f"), 0o600),
		os.WriteFile(at("n\xff\n"), nil, 0o600),
		unix.Lsetxattr(at("a"), "user.k", []byte{0, 'x'}, 0),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	unix.UtimesNanoAt(unix.AT_FDCWD, at("a"), []unix.Timespec{{}, {Sec: -2, Nsec: 7}}, 0)
	got, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	var paths []string
	for _, e := range got {
		paths = append(paths, e.Path.String())
	}
	if want := []string{".", "a", "a/b", "a.b", "f", `n\xff\x0a`, "s"}; !slices.Equal(paths, want) {
		t.Fatalf("paths %q, want %q", paths, want)
	}
	a, b, ab, s := got[1], got[2], got[3], got[6]
	if a.Type != Dir || a.Mode != 0o750 || a.Xattrs["user.k"] != "\x00x" || (a.MTime != Time{-2, 7}) {
		t.Errorf("a: %+v", a)
	}
	const hello = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
	if b.Size != 5 || b.SHA256 != hello || b.Link != "a/b" || ab.Link != "a/b" {
		t.Errorf("a/b: %+v, a.b: %+v", b, ab)
	}
	if s.Target != "/nowhere" || got[4].Type != Fifo {
		t.Errorf("s: %+v, f: %+v", s, got[4])
	}
}

func TestListingSurvivesJSON(t *testing.T) {
	entries := []Entry{
		{Path: ".", Type: Dir, Mode: 0o755},
		{Path: "b\\\xfe\n", Type: File, Mode: 0o4711, Size: 1, SHA256: "00", Xattrs: map[string]Name{"user.x": "\x00"}, MTime: Time{-1, 5}, Link: "c"},
		{Path: "ü", Type: Char, Major: 1, Minor: 3, MTime: Time{1 << 40, 0}, UID: 1<<32 - 2},
	}
	var b bytes.Buffer
	if err := Write(&b, entries); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(b.String(), "\n"); lines != len(entries)+2 {
		t.Errorf("%d lines: %s", lines, b.String())
	}
	back, err := Parse(&b)
	if err != nil || !reflect.DeepEqual(back, entries) {
		t.Errorf("%v: %+v", err, back)
	}
}

func TestDiff(t *testing.T) {
	base := Entry{Path: "a", Type: File, Mode: 0o644, Size: 1, SHA256: "x"}
	with := func(change func(*Entry)) []Entry {
		e := base
		change(&e)
		return []Entry{e}
	}
	for _, c := range []struct {
		name string
		got  []Entry
		o    Options
		want []string
	}{
		{"same", []Entry{base}, Options{}, nil},
		{"missing", nil, Options{}, []string{"a: missing (file 0644 0:0)"}},
		{"more", []Entry{base, {Path: "b", Type: Dir}}, Options{}, []string{"b: should not be there (dir 0000 0:0)"}},
		{"type", with(func(e *Entry) { e.Type = Dir }), Options{}, []string{"a: is a dir, not a file"}},
		{"mode", with(func(e *Entry) { e.Mode = 0o4755 }), Options{}, []string{"a: mode 4755, not 0644"}},
		{"owner", with(func(e *Entry) { e.UID = 7 }), Options{}, []string{"a: owner 7:0, not 0:0"}},
		{"no owner", with(func(e *Entry) { e.UID = 7 }), Options{NoOwner: true}, nil},
		{"mtime", with(func(e *Entry) { e.MTime.Nsec = 7 }), Options{}, []string{"a: mtime 0.000000007, not 0"}},
		{"no mtime", with(func(e *Entry) { e.MTime.Nsec = 7 }), Options{NoMTime: true}, nil},
		{"size", with(func(e *Entry) { e.Size = 2; e.SHA256 = "y" }), Options{}, []string{"a: size 2, not 1"}},
		{"content", with(func(e *Entry) { e.SHA256 = "y" }), Options{}, []string{"a: content y, not x"}},
		{"link", with(func(e *Entry) { e.Link = "a" }), Options{}, []string{"a: hard link of a, not nothing"}},
		{"xattr", with(func(e *Entry) { e.Xattrs = map[string]Name{"user.x": "1"} }), Options{}, []string{"a: xattr user.x=1 should not be there"}},
		{"no xattr", with(func(e *Entry) { e.Xattrs = map[string]Name{"user.x": "1"} }), Options{NoXattrs: []string{"user."}}, nil},
	} {
		if got := Diff([]Entry{base}, c.got, c.o); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	nobodys := Entry{Path: "d", Type: Dir, MadeUp: true}
	if got := Diff([]Entry{nobodys}, []Entry{{Path: "d", Type: Dir, Mode: 0o700}}, Options{Loose: true}); got != nil {
		t.Errorf("loose: %q", got)
	}
	lower := Entry{Path: "d", Type: Dir, Mode: 0o755, Inherited: true}
	if got := Diff([]Entry{lower}, []Entry{{Path: "d", Type: Dir, Mode: 0o700, MTime: Time{1, 0}}}, Options{Loose: true}); len(got) != 1 {
		t.Errorf("loose: %q", got)
	}
}

func TestCompare(t *testing.T) {
	want := []Name{".", "!", "a", "a/b", "a/b/c", "a/c", "a!", "a.b", "ab", "b"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, Compare)
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
