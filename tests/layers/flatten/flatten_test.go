package flatten

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"berth/tests/layers/stack"
	"berth/tests/layers/tree"
)

// TestRules has a row for every rule of the package's comment. What is wanted is the tree in short: "a/" a directory, with
// its mode where that is not 0755, "f=content", "l->target", "f&g" a further name of f.
func TestRules(t *testing.T) {
	for _, c := range []struct{ rule, layers, want string }{
		{"nothing", "layer", "./"},
		{"names are cleaned", "layer; file //a/./b/../c 1; file a//d/ 2", "./ a/ a/c=1 a/d=2"},
		{"names that climb", "layer; file a/../../b 1", "!climbs"},
		{"later names replace", "layer; file a 1; file a 2", "./ a=2"},
		{"parents are made up", "layer; file a/b 1", "./ a/ a/b=1"},
		{"made-up parents take what is below", "layer; dir a mode=0700; layer; file a/b 1", "./ a/0700 a/b=1"},
		{"from two below", "layer; dir a mode=0700; layer; file a/b 1; layer; file a/c 1", "./ a/0700 a/b=1 a/c=1"},
		{"not from what is hidden", "layer; dir a mode=0700; layer; whiteout a; layer; file a/b 1", "./ a/ a/b=1"},
		{"not from what this layer hides", "layer; dir a mode=0700; layer; whiteout a; file a/b 1", "./ a/ a/b=1"},
		{"from an opaque one", "layer; dir a mode=0700; file a/x 1; layer; opaque a", "./ a/0700"},
		{"a made-up one listed later", "layer; file a/b 1; dir a mode=0700", "./ a/0700 a/b=1"},
		{"the root's metadata", "layer; dir . mode=0700; layer; file a 1", "./0700 a=1"},
		{"the root is a directory", "layer; symlink . /tmp", "!root"},
		{"a parent that is a symlink", "layer; dir d; symlink s d; file s/f 1", "./ d/ d/f=1 s->d"},
		{"absolute", "layer; symlink a/s /d; file a/s/f 1", "./ a/ a/s->/d d/ d/f=1"},
		{"above the root", "layer; symlink s ../../d; file s/f 1", "./ d/ d/f=1 s->../../d"},
		{"a chain", "layer; symlink s t/u; symlink t v; symlink v/u ../w; file s/f 1", "./ s->t/u t->v v/ v/u->../w w/ w/f=1"},
		{"a circle", "layer; symlink s t; symlink t s; file s/f 1", "!circle"},
		{"symlinks of other layers are not followed", "layer; dir d; symlink s d; layer; file s/f 1", "./ d/ s/ s/f=1"},
		{"a parent that is a file", "layer; file a 1; file a/b 1", "!not a directory"},
		{"a directory over a directory", "layer; dir a; file a/b 1; dir a mode=0700", "./ a/0700 a/b=1"},
		{"a file over a directory", "layer; file a/b 1; file a 2", "./ a=2"},
		{"a directory over a symlink", "layer; file d/x 1; symlink s d; dir s", "./ d/ d/x=1 s/"},
		{"a file over a symlink", "layer; file f 1; symlink s f; file s 2", "./ f=1 s=2"},
		{"a file over a hard link", "layer; file f 1; link g f; file g 2", "./ f=1 g=2"},
		{"a hard link", "layer; file f 1 mode=0600; link g f mode=0777", "./ f=1 g&f"},
		{"its target replaced", "layer; file f 1; link g f; file f 2", "./ f=2 g=1"},
		{"to a symlink", "layer; symlink f x; link g f", "./ f->x g&f"},
		{"through a symlink", "layer; file d/f 1; symlink s d; link g s/f", "./ d/ d/f=1 g&d/f s->d"},
		{"to itself", "layer; file f 1; link f f", "./ f=1"},
		{"to what it replaces", "layer; file d/f 1; link d d/f", "./ d=1"},
		{"to nothing", "layer; link g f", "!not in this layer"},
		{"to a lower layer", "layer; file f 1; layer; link g f", "!not in this layer"},
		{"to a directory", "layer; dir f; link g f", "!a directory"},
		{"to what was hidden above", "layer; file f 1; link g f; link h f; layer; whiteout f", "./ g=1 h&g"},
		{"a whiteout", "layer; file a 1; file b 1; layer; whiteout a", "./ b=1"},
		{"of a tree", "layer; file a/b/c 1; layer; whiteout a/b", "./ a/"},
		{"hides nothing of its layer", "layer; file a 1; layer; file a 2; whiteout a", "./ a=2"},
		{"before and after", "layer; dir a; file a/x 1; layer; whiteout a; dir a; layer; dir a; whiteout a", "./ a/"},
		{"and a directory begins empty", "layer; file a/x 1; layer; file a/y 2; whiteout a", "./ a/ a/y=2"},
		{"in the bottom layer", "layer; whiteout a/b; opaque c", "./ a/ c/"},
		{"under a symlink", "layer; file d/a 1; layer; symlink s d; whiteout s/a", "./ d/ s->d"},
		{"it goes with its directory", "layer; file d/a 1; layer; whiteout d/a; file d 1; dir d", "./ d/ d/a=1"},
		{"opaque", "layer; file d/a/b 1; file e 1; layer; file d/c 2; opaque d", "./ d/ d/c=2 e=1"},
		{"opaque below", "layer; file d/a/b 1; layer; file d/a/c 2; opaque d", "./ d/ d/a/ d/a/c=2"},
		{"opaque root", "layer; file a 1; layer; file b 2; opaque .", "./ b=2"},
		{"of nothing", "layer; file a/.wh. 1", "!whiteout"},
		{"of .", "layer; file a/.wh.. 1", "!whiteout"},
		{"of ..", "layer; file a/.wh... 1", "!whiteout"},
		{"AUFS", "layer; dir .wh..wh.plnk; file .wh..wh.plnk/1 1; file .wh..wh.aufs 1", "./"},
		{"a file hides a directory", "layer; file a/b 1; layer; file a 2", "./ a=2"},
		{"for good", "layer; file a/b 1; layer; file a 2; layer; dir a", "./ a/"},
		{"a directory hides a symlink", "layer; file d/f 1; symlink s d; layer; dir s; file s/g 2", "./ d/ d/f=1 s/ s/g=2"},
		{"0:0", "layer; char a 0 0", "!whiteout"},
		{"nobody", "layer; file a 1 uid=4294967295", "!nobody"},
	} {
		decl := strings.ReplaceAll(c.layers, ";", "\n")
		s, err := stack.Parse(decl)
		if err != nil {
			t.Fatalf("%s: %v", c.rule, err)
		}
		tars, err := s.Tars()
		if err != nil {
			t.Fatalf("%s: %v", c.rule, err)
		}
		entries, err := Flatten(tars...)
		if wrong, ok := strings.CutPrefix(c.want, "!"); ok {
			if err == nil || !strings.Contains(err.Error(), wrong) {
				t.Errorf("%s: error %v, want %q", c.rule, err, wrong)
			}
			continue
		}
		if got := short(entries, "12"); err != nil || got != c.want {
			t.Errorf("%s: %v\n got %s\nwant %s", c.rule, err, got, c.want)
		}
	}
}

func short(entries []tree.Entry, contents string) string {
	known := map[string]string{}
	for _, c := range contents {
		sum := sha256.Sum256([]byte(string(c)))
		known[hex.EncodeToString(sum[:])] = string(c)
	}
	var out []string
	for _, e := range entries {
		text := string(e.Path)
		switch {
		case e.Link != "" && e.Link != e.Path:
			text += "&" + string(e.Link)
		case e.Type == tree.Dir && e.Mode != 0o755:
			text += "/" + e.Mode.String()
		case e.Type == tree.Dir:
			text += "/"
		case e.Type == tree.Symlink:
			text += "->" + string(e.Target)
		case e.Type == tree.File:
			text += "=" + known[e.SHA256]
		}
		out = append(out, text)
	}
	return strings.Join(out, " ")
}

func TestMetadata(t *testing.T) {
	s, err := stack.Parse(`layer
		file f x mode=04711 uid=3 gid=4 mtime=-1.5 xattr:user.a="\x00" xattr:trusted.overlay.opaque=y
		symlink s t xattr:user.a=1 xattr:trusted.b=2 mode=0600
		file l x pax:LIBARCHIVE.xattr.user.%61=AAE
		fifo p mode=0600`)
	if err != nil {
		t.Fatal(err)
	}
	tars, err := s.Tars()
	if err != nil {
		t.Fatal(err)
	}
	entries, err := Flatten(tars...)
	if err != nil {
		t.Fatal(err)
	}
	f, l, p, link := entries[1], entries[2], entries[3], entries[4]
	if f.Mode != 0o4711 || f.UID != 3 || f.GID != 4 || (f.MTime != tree.Time{Sec: -2, Nsec: 500000000}) ||
		f.Xattrs["user.a"] != "\x00" || f.Xattrs["trusted.overlay.opaque"] != "y" {
		t.Errorf("%+v", f)
	}
	if l.Xattrs["user.a"] != "\x00\x01" || p.Type != tree.Fifo {
		t.Errorf("%+v %+v", l, p)
	}
	if len(link.Xattrs) != 1 || link.Xattrs["trusted.b"] != "2" || link.Mode != 0o777 {
		t.Errorf("%+v", link)
	}
}
