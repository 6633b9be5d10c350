package unpack

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"berth/rootfs/layer/member"
)

func verify(t testing.TB, dir string, raw []byte, o Options) []Damage {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	damaged, err := Verify(f, member.NewReader(bytes.NewReader(raw), member.Options{}), o)
	if err != nil {
		t.Fatal(err)
	}
	return damaged
}

func repairAll(t testing.TB, dir string, raw []byte, damaged []Damage, o Options) {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Repair(f, member.NewReader(bytes.NewReader(raw), member.Options{}), damaged, o); err != nil {
		t.Fatal(err)
	}
}

// everything is a layer with one of each, names replaced on the way, and a root that nobody may write to.
func everything() []entry {
	when := time.Unix(1e9, 5)
	set := func(mode uint32) func(*member.Member) {
		return func(m *member.Member) { m.Mode, m.MTime = mode, when }
	}
	attr := func(m *member.Member) { m.Xattrs = []member.Xattr{{Name: "user.a", Value: []byte("1")}} }
	return []entry{
		file("f", "old"), directory("f", 0o700), file("f/x", "gone"),
		file("f", "content").with(set(0o640)),
		directory("d", 0o755), file("d/big", strings.Repeat("0123456789", 100_000)).with(set(0o644)),
		file("d/empty", ""), symlink("d/s", "big").with(set(0o777)),
		file("h1", "hard"), link("d/h2", "h1"), link("h3", "d/h2"),
		file("t", "first"), link("t2", "t"), file("t", "second"),
		whiteout("d/w"), whiteout("o"), directory("o", 0o755), file("o/f", "x"), opaque("p/q"), whiteout("p/q/hidden"),
		file("made/up/f", "x"),
		file("attr", "x").with(attr), directory("attrs", 0o755).with(attr),
		entry{m: member.Member{Path: "fifo", Kind: member.Fifo, Mode: 0o600}},
		file("d/ro/f", "x").with(set(0o444)), directory("d/ro", 0o555).with(set(0o555)),
		directory("", 0o555).with(set(0o555)),
	}
}

func TestVerifyAndRepair(t *testing.T) {
	raw := append(stream(t, everything()...), []byte("data behind the end")...)
	write := func(name, content string) func(string) error {
		return func(dir string) error {
			_ = os.Chmod(filepath.Join(dir, name), 0o644)
			return os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644)
		}
	}
	remove := func(name string) func(string) error {
		return func(dir string) error { return os.RemoveAll(filepath.Join(dir, name)) }
	}
	both := func(calls ...func(string) error) func(string) error {
		return func(dir string) error {
			for _, call := range calls {
				if err := call(dir); err != nil {
					return err
				}
			}
			return nil
		}
	}
	for name, c := range map[string]struct {
		damage func(dir string) error
		want   string // paths
	}{
		"nothing":           {func(string) error { return nil }, ""},
		"one byte":          {flip("d/big", 777_777), "d/big"},
		"empty file":        {write("f", ""), "f"},
		"longer":            {write("d/empty", "x"), "d/empty"},
		"removed":           {remove("f"), " f"},
		"extra":             {both(write("d/extra", "x"), write("more", "x")), " d d/extra more"},
		"extra in opaque":   {write("o/f2", "x"), "o o/f2"},
		"extra tree":        {func(dir string) error { return os.MkdirAll(dir+"/o/a/b", 0o755) }, "o o/a"},
		"whiteout removed":  {remove("d/w"), "d d/w"},
		"whiteout is file":  {both(remove("d/w"), write("d/w", "")), "d d/w"},
		"directory gone":    {remove("d"), " d d/big d/empty d/h2 d/ro d/ro/f d/s d/w h1 h3"},
		"directory is file": {both(remove("o"), write("o", "x")), " o o/f"},
		"file is directory": {both(remove("f"), func(dir string) error { return os.MkdirAll(dir+"/f/g", 0o755) }), " f"},
		"made-up gone":      {remove("made"), " made made/up made/up/f"},
		"mode":              {func(dir string) error { return os.Chmod(dir+"/f", 0o600) }, "f"},
		"mode of directory": {func(dir string) error { return os.Chmod(dir+"/d", 0o700) }, "d"},
		"mode of root":      {func(dir string) error { return os.Chmod(dir, 0o755) }, "" + "."},
		"time":              {func(dir string) error { return os.Chtimes(dir+"/d/big", time.Time{}, time.Unix(1e9, 6)) }, "d/big"},
		"symlink":           {both(remove("d/s"), func(dir string) error { return os.Symlink("bug", dir+"/d/s") }), "d d/s"},
		"hard link content": {flip("h3", 2), "d/h2 h1 h3"},
		"hard link cut": {both(remove("d/h2"), write("d/h2", "hard"), func(dir string) error {
			return os.Chtimes(dir+"/d/h2", time.Time{}, time.Unix(0, 0))
		}), "d d/h2 h1 h3"},
		"target replaced later":  {flip("t2", 0), "t2"},
		"attribute gone":         {func(dir string) error { return removeAttrOf(dir+"/attr", "user.a") }, "attr"},
		"attribute more":         {func(dir string) error { return setAttrOf(dir+"/d/big", "user.b", "") }, "d/big"},
		"attribute of directory": {func(dir string) error { return setAttrOf(dir+"/attrs", "user.a", "2") }, "attrs"},
		"not opaque":             {func(dir string) error { return removeAttrOf(dir+"/o", optionsPrefix()+"opaque") }, "o"},
		"opaque":                 {func(dir string) error { return setAttrOf(dir+"/d", optionsPrefix()+"opaque", "y") }, "d"},
		"nested":                 {both(func(dir string) error { return os.Chmod(dir+"/d/ro", 0o755) }, flip("d/ro/f", 0)), "d/ro d/ro/f"},
		"everything": {func(dir string) error {
			entries, err := os.ReadDir(dir)
			for _, e := range entries {
				_ = os.RemoveAll(filepath.Join(dir, e.Name()))
			}
			return err
		}, " attr attrs d d/big d/empty d/h2 d/ro d/ro/f d/s d/w f fifo h1 h3 made made/up made/up/f o o/f p p/q t t2"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := tempDir(t)
			if _, err := unpackInto(dir, raw, options()); err != nil {
				t.Fatal(err)
			}
			if damaged := verify(t, dir, raw, options()); len(damaged) > 0 {
				t.Fatalf("undamaged: %v", damaged)
			}
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(dir+"/d/ro", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := c.damage(dir); err != nil {
				t.Fatal(err)
			}
			if name != "nested" {
				_ = os.Chmod(dir+"/d/ro", 0o555)
			}
			if c.want != "." {
				if err := os.Chmod(dir, 0o555); err != nil {
					t.Fatal(err)
				}
			}
			damaged := verify(t, dir, raw, options())
			if got := paths(damaged); got != strings.TrimSuffix(c.want, ".") || (c.want == ".") != (got == "" && len(damaged) == 1) {
				t.Errorf("got  %q\nwant %q\n%v", got, c.want, damaged)
			}
			repairAll(t, dir, raw, damaged, options())
			if damaged := verify(t, dir, raw, options()); len(damaged) > 0 {
				t.Errorf("after repair: %v", damaged)
			}
		})
	}
}

func paths(damaged []Damage) string {
	var out []string
	for _, d := range damaged {
		out = append(out, d.Path)
	}
	return strings.Join(out, " ")
}

// flip changes a byte and nothing else.
func flip(name string, at int64) func(string) error {
	return func(dir string) error {
		path := filepath.Join(dir, name)
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		content[at] ^= 1
		if err := os.Chmod(path, 0o644); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0); err != nil {
			return err
		}
		if err := os.Chmod(path, info.Mode()); err != nil {
			return err
		}
		return os.Chtimes(path, time.Time{}, info.ModTime())
	}
}

func optionsPrefix() string { o := options(); return o.prefix() }

func TestVerifySparse(t *testing.T) {
	raw := sparse(1<<40, []int64{0, 4096, 1 << 39, 8192}, bytes.Repeat([]byte("x"), 12288))
	o := options()
	o.KeepOwner = true
	for at, want := range map[int64]int{-1: 0, 4095: 1, 4096: 1, 1 << 38: 1, 1<<39 + 8191: 1, 1<<40 - 1: 1} {
		dir := tempDir(t)
		if _, err := unpackInto(dir, raw, o); err != nil {
			t.Fatal(err)
		}
		if at >= 0 {
			f, err := os.OpenFile(dir+"/sparse", os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt([]byte("!"), at); err != nil {
				t.Fatal(err)
			}
			f.Close()
			if err := os.Chtimes(dir+"/sparse", time.Time{}, time.Unix(0, 0)); err != nil {
				t.Fatal(err)
			}
		}
		damaged := verify(t, dir, raw, o)
		if len(damaged) != want || want > 0 && !strings.Contains(fmt.Sprint(damaged), "content") {
			t.Errorf("changed at %d: %v", at, damaged)
		}
		repairAll(t, dir, raw, damaged, o)
		if damaged := verify(t, dir, raw, o); len(damaged) > 0 {
			t.Errorf("changed at %d, repaired: %v", at, damaged)
		}
	}
}
