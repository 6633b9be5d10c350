package overlay

import (
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"berth/rootfs/layer/member"
)

// fake is a layer from text: one node a line or blank.
//
//	a/    directory; a/! opaque, a/=700 with that mode, a/?  made up
//	a     file
//	-a    whiteout
//	a@    symbolic link
type fake struct {
	nodes  map[string]*Node
	madeUp []string
	bad    string // a path that cannot be read
}

func layer(text string) *fake {
	f := &fake{nodes: map[string]*Node{"": dirNode("")}}
	for _, word := range strings.Fields(text) {
		name := strings.TrimPrefix(word, "-")
		n := &Node{Member: member.Member{Path: name, Kind: member.File, Mode: 0o644}}
		switch base, flag, isDir := strings.Cut(name, "/:"); {
		case strings.HasPrefix(word, "-"):
			n.Kind = member.Whiteout
		case isDir:
			n = dirNode(base)
			switch {
			case flag == "!":
				n.Opaque = true
			case flag == "?":
				f.madeUp = append(f.madeUp, base)
			case flag != "":
				fmt.Sscanf(flag, "%o", &n.Mode)
			}
		case strings.HasSuffix(name, "@"):
			n.Path, n.Kind = strings.TrimSuffix(name, "@"), member.Symlink
		}
		f.nodes[strings.TrimPrefix(n.Path, ".")] = n
		n.Path = strings.TrimPrefix(n.Path, ".")
	}
	return f
}

func dirNode(name string) *Node {
	return &Node{Member: member.Member{Path: name, Kind: member.Dir, Mode: 0o755, MTime: time.Unix(0, 0)}}
}

func (f *fake) Node(name string) (*Node, error) {
	if f.bad != "" && name == f.bad {
		return nil, errors.New("unreadable")
	}
	for dir := name; dir != ""; {
		dir = parent(dir)
		if n := f.nodes[dir]; n == nil || n.Kind != member.Dir {
			return nil, nil
		}
	}
	return f.nodes[name], nil
}

func (f *fake) Open(name string) (io.ReadCloser, error) {
	return io.NopCloser(strings.NewReader(name)), nil
}

func stackOf(layers ...string) *Stack {
	s := &Stack{}
	for _, l := range layers {
		s.Layers = append(s.Layers, layer(l))
	}
	return s
}

func show(s Supply) string {
	out := fmt.Sprint(s.Layer)
	for _, m := range s.Merged {
		out += fmt.Sprintf("+%d", m)
	}
	for _, h := range s.Hidden {
		out += fmt.Sprintf(" %d hidden by %d %s at %q", h.Layer, h.By, h.How, h.At)
	}
	return out
}

func TestWhy(t *testing.T) {
	for _, c := range []struct {
		layers []string
		path   string
		want   string
	}{
		{[]string{"a"}, "a", "0"},
		{[]string{"a"}, "b", "-1"},
		{[]string{"", "a"}, "a", "1"},
		{[]string{"a", "a"}, "a", `0 1 hidden by 0 replaced at "a"`},
		{[]string{"-a", "a"}, "a", `-1 1 hidden by 0 whiteout at "a"`},
		{[]string{"a", "-a", "a"}, "a", `0 2 hidden by 0 replaced at "a"`},
		{[]string{"", "-a", "a", "a"}, "a", `-1 2 hidden by 1 whiteout at "a" 3 hidden by 1 whiteout at "a"`},
		{[]string{"d/: d/a", "d/: d/b"}, "d", "0+1"},
		{[]string{"d/: d/a", "d/: d/b"}, "d/b", "1"},
		{[]string{"d/:! d/a", "d/: d/b"}, "d", `0 1 hidden by 0 opaque directory at "d"`},
		{[]string{"d/:! d/a", "d/: d/b"}, "d/b", `-1 1 hidden by 0 opaque directory at "d"`},
		{[]string{"d/:", "d/:!", "d/: d/b"}, "d/b", `-1 2 hidden by 1 opaque directory at "d"`},
		{[]string{"d/:", "d/:! d/b", "d/: d/b"}, "d/b", `1 2 hidden by 1 opaque directory at "d"`},
		{[]string{"-d", "d/: d/b"}, "d/b", `-1 1 hidden by 0 whiteout at "d"`},
		{[]string{"d", "d/: d/b"}, "d/b", `-1 1 hidden by 0 replaced at "d"`},
		{[]string{"d@", "d/: d/b"}, "d/b", `-1 1 hidden by 0 replaced at "d"`},
		{[]string{"d@", "d/: d/b"}, "d", `0 1 hidden by 0 replaced at "d"`},
		{[]string{"d/: d/a", "d"}, "d", `0 1 hidden by 0 replaced at "d"`},
		{[]string{"d/: d/a", "d", "d/: d/b"}, "d/b", `-1 2 hidden by 0 replaced at "d"`},
		{[]string{"d/:", "-d", "d/: d/b"}, "d/b", `-1 2 hidden by 1 whiteout at "d"`},
		{[]string{"d/: -d/a", "d/: d/a", "d/: d/a"}, "d/a", `-1 1 hidden by 0 whiteout at "d/a" 2 hidden by 0 whiteout at "d/a"`},
		{[]string{"d/: d/e/:! d/e/a", "d/: d/e/: d/e/b"}, "d/e/b", `-1 1 hidden by 0 opaque directory at "d/e"`},
		{[]string{"-a"}, "a", "-1"},
		{[]string{"a", "b"}, "", "0+1"},
		{[]string{"./:! a", "b"}, "b", `-1 1 hidden by 0 opaque directory at ""`},
	} {
		for _, cached := range []bool{false, true} {
			s := stackOf(c.layers...)
			s.Cached = cached
			if cached { // what Why says does not depend on what was looked up before
				s.Lookup(c.path)
			}
			got, err := s.Why(c.path)
			if err != nil || show(got) != c.want {
				t.Errorf("%q %q:\n got %s %v\nwant %s", c.layers, c.path, show(got), err, c.want)
			}
			node, at, err := s.Lookup(c.path)
			if err != nil || at != got.Layer || (node == nil) != (at < 0) {
				t.Errorf("%q %q: Lookup %v %d %v", c.layers, c.path, node, at, err)
			}
		}
	}
}

func TestUnreadable(t *testing.T) {
	s := stackOf("d/: d/a", "d/: d/a")
	s.Layers[0].(*fake).bad = "d"
	for _, name := range []string{"d", "d/a"} {
		if _, err := s.Why(name); err == nil {
			t.Error(name)
		}
		if _, _, err := s.Lookup(name); err == nil {
			t.Error(name)
		}
	}
	if _, err := s.Open("none"); err == nil {
		t.Error("a file that is not there is opened")
	}
}

func TestParents(t *testing.T) {
	for _, c := range []struct {
		layers []string
		want   string // path=mode
	}{
		{[]string{"d/:700 d/a", "d/:711"}, ""},
		{[]string{"d/:? d/a", "d/:711"}, "=755 d=711"},
		{[]string{"d/:? d/a", "d/:755"}, ""},
		{[]string{"d/:? d/a"}, ""},
		{[]string{"d/:? d/a", "-d", "d/:711"}, ""},
		{[]string{"d/:? d/a", "d/:!", "d/:711"}, ""},
		{[]string{"d/:? d/a", "d", "d/:711"}, ""},
		{[]string{"-d", "d/:? d/a", "d/:711"}, ""},
		{[]string{"", "d/:? d/a", "d/:711"}, "=755 d=711"},
		{[]string{"d/:700", "d/:? d/a", "d/:711"}, ""},
		{[]string{"d/:? d/a", "d/:? d/b", "d/:711"}, "=755 d=711"},
		{[]string{"d/:? d/a", "e", "d/:711", "d/:700"}, "=755 d=711"},
		{[]string{"d/:? d/e/:? d/e/a", "d/:711 d/e/:700"}, "=755 d=711 d/e=700"},
		{[]string{"d/:750 d/e/:? d/e/a", "d/:711 d/e/:700"}, "=755 d=750 d/e=700"},
		{[]string{"./:? a", "./:711"}, "=711"},
		{[]string{"./:? a d/:? d/a", "./:711 d/:700"}, "=711 d=700"},
	} {
		s, made := stackOf(c.layers...), MadeUp{}
		for i, l := range s.Layers {
			for _, name := range l.(*fake).madeUp {
				made[i] = append(made[i], strings.TrimPrefix(name, "."))
			}
		}
		nodes, err := Parents(s, made)
		var got []string
		for _, n := range nodes {
			got = append(got, fmt.Sprintf("%s=%o", n.Path, n.Mode))
		}
		if err != nil || strings.Join(got, " ") != c.want {
			t.Errorf("%q:\n got %v %v\nwant %s", c.layers, got, err, c.want)
		}
		for i, n := range nodes { // parents come first
			if n.Path != "" && !slices.ContainsFunc(nodes[:i], func(o *Node) bool { return o.Path == parent(n.Path) }) {
				t.Errorf("%q: %s comes before its parent", c.layers, n.Path)
			}
		}
	}
}

func TestClean(t *testing.T) {
	for given, want := range map[string]string{"/": "", "": "", "/a/../b": "b", "../../a": "a", "a//b/": "a/b", "/a/./b": "a/b"} {
		if got := Clean(given); got != want || path.IsAbs(got) {
			t.Errorf("%s: %s", given, got)
		}
	}
}

func TestEscapeXattr(t *testing.T) {
	for _, c := range []struct {
		name string
		user bool
		want string
	}{
		{"trusted.overlay.opaque", false, "trusted.overlay.overlay.opaque"},
		{"trusted.overlay.overlay.opaque", false, "trusted.overlay.overlay.overlay.opaque"},
		{"trusted.overlay.opaque", true, "trusted.overlay.opaque"},
		{"user.overlay.opaque", true, "user.overlay.overlay.opaque"},
		{"user.overlay.opaque", false, "user.overlay.opaque"},
		{"user.x", false, "user.x"},
	} {
		if got := EscapeXattr(c.name, c.user); got != c.want {
			t.Errorf("%s: %s", c.name, got)
		}
	}
}

func TestParseMounts(t *testing.T) {
	long := strings.Repeat(",lowerdir+=/a/long/name/of/a/layer", 5000) // more than any buffer of lines
	text := "30 1 254:0 / / rw shared:1 - ext4 /dev/vda rw\n" +
		"90 30 0:44 / /b/rootfs rw - overlay other rw" + long + "\n" +
		"91 90 0:45 / /b/rootfs rw shared:7 master:1 - overlay berth-layer-x rw\n" +
		`92 30 0:46 / /with\040blank\134 rw - tmpfs a\040source rw` + "\n" +
		"damaged\n1 2 - x\n1 2 3 4 /b - \n"
	for path, want := range map[string]string{
		"/":            "[{/ ext4 /dev/vda}]",
		"/b/rootfs":    "[{/b/rootfs overlay other} {/b/rootfs overlay berth-layer-x}]",
		`/with blank\`: "[{/with blank\\ tmpfs a source}]",
		"/b":           "[]",
		"":             "[]",
	} {
		if got := fmt.Sprint(parseMounts(text, path)); got != want {
			t.Errorf("%q: got %s, want %s", path, got, want)
		}
	}
}
