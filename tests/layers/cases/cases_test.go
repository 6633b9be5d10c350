package cases

import (
	"strings"
	"testing"

	"berth/tests/layers/tree"
)

// TestReferenceInterpreterAgrees holds every case's lines, which a person wrote, to the tree that flatten makes of it.
func TestReferenceInterpreterAgrees(t *testing.T) {
	all, err := All()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, c := range all {
		if seen[c.Name] {
			t.Errorf("%s is there twice", c.Name)
		}
		seen[c.Name] = true
		if c.Why == "" || c.Source == "" || len(c.Stack) == 0 {
			t.Errorf("%s says not why, or where it is from, or has no layer", c.Name)
		}
		if (c.Refused != nil) == (len(c.Expect) > 0) {
			t.Errorf("%s must say what is seen, or with which words it is refused", c.Name)
		}
		entries, err := c.Tree()
		if err != nil {
			t.Errorf("%s: %v", c.Name, err)
			continue
		}
		if c.Refused == nil {
			for _, wrong := range c.Check(entries) {
				t.Errorf("%s: %s", c.Name, wrong)
			}
		}
	}
	if len(all) < 150 {
		t.Errorf("%d cases", len(all))
	}
	t.Logf("%d cases", len(all))
}

// TestCheckSeesWhatIsWrong: a line that always holds would prove nothing.
func TestCheckSeesWhatIsWrong(t *testing.T) {
	entries := []tree.Entry{
		{Path: ".", Type: tree.Dir, Mode: 0o755},
		{Path: "f", Type: tree.File, Mode: 0o644, Size: 1, SHA256: digest("x"), Link: "f", Xattrs: map[string]tree.Name{"user.a": "1"}},
		{Path: "g", Type: tree.File, Mode: 0o644, Link: "f"},
		{Path: "s", Type: tree.Symlink, Target: "t"},
	}
	for _, c := range []struct {
		line  string
		holds bool
	}{
		{`file f x mode=0644 uid=0 size=1 mtime=0 xattr:user.a=1 noxattr:user.b=1`, true},
		{`same f g`, true}, {`apart f s`, true}, {`only f g s`, true}, {`absent h`, true}, {`symlink s t`, true},
		{`file f y`, false}, {`dir f`, false}, {`file h`, false}, {`file f mode=0600`, false}, {`file f uid=1`, false},
		{`file f xattr:user.a=2`, false}, {`file f xattr:user.b=1`, false}, {`file f noxattr:user.a=1`, false},
		{`file f mtime=1`, false}, {`file f size=2`, false}, {`symlink s u`, false}, {`file f colour=red`, false},
		{`same f s`, false}, {`apart f g`, false}, {`only f g`, false}, {`only f g s h`, false}, {`absent f`, false},
	} {
		all, err := parse("g", "case c\nexpect\n"+c.line)
		if err != nil {
			t.Fatal(err)
		}
		if wrong := all[0].Check(entries); (len(wrong) == 0) != c.holds {
			t.Errorf("%s: %s", c.line, strings.Join(wrong, ", "))
		}
	}
}

// TestLayoutsAreReproducible: what others compare by digest must not change from run to run.
func TestLayoutsAreReproducible(t *testing.T) {
	all, err := All()
	if err != nil {
		t.Fatal(err)
	}
	var listings [2][]tree.Entry
	for i := range listings {
		dir := t.TempDir()
		for k := 0; k < len(all); k += 10 {
			if err := all[k].Write(dir); err != nil {
				t.Fatal(err)
			}
		}
		if listings[i], err = tree.Read(dir); err != nil {
			t.Fatal(err)
		}
	}
	for _, line := range tree.Diff(listings[0], listings[1], tree.Options{NoMTime: true}) {
		t.Error(line)
	}
}
