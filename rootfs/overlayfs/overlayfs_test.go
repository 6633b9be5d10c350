package overlayfs

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"berth/libcontainer/fault"
)

func paths(layers []Layer) []string {
	var out []string
	for _, l := range layers {
		out = append(out, l.Path)
	}
	return out
}

func TestSet(t *testing.T) {
	for _, c := range []struct {
		options string // separated by blanks
		lower   string
		data    string
		upper   string
		rest    string
	}{
		{"lowerdir=/a", "/a", "", "", ""},
		{"lowerdir=/a:/b:/c", "/a /b /c", "", "", ""},
		{`lowerdir=/a\:b:/c`, "/a:b /c", "", "", ""},
		{`lowerdir=/a\\b:/c`, `/a\b /c`, "", "", ""},
		{`lowerdir=/a\,b`, "/a,b", "", "", ""},
		{`lowerdir=/a\`, `/a\`, "", "", ""},
		{"lowerdir=/a::/d", "/a", "/d", "", ""},
		{"lowerdir=/a:/b::/d::/e", "/a /b", "/d /e", "", ""},
		{"lowerdir=/a: upperdir=/u", "/a", "", "/u", ""},
		{"lowerdir=", "", "", "", ""},
		{"lowerdir=/a lowerdir=/b", "/b", "", "", ""},
		{"lowerdir=/a::/d lowerdir=/b", "/b", "", "", ""},
		{"lowerdir+=/a lowerdir+=/b:c", "/a /b:c", "", "", ""},
		{`lowerdir+=/a\b`, `/a\b`, "", "", ""},
		{"lowerdir=/a lowerdir+=/b", "/a /b", "", "", ""},
		{"lowerdir+=/a datadir+=/d", "/a", "/d", "", ""},
		{"upperdir=/a upperdir=/b", "", "", "/b", ""},
		{`upperdir=/a\,b\:c\\d`, "", "", `/a,b:c\d`, ""},
		{"volatile userxattr", "", "", "", "volatile userxattr"},
		{"index=off redirect_dir=on", "", "", "", "index=off redirect_dir=on"},
		{"userxattr xino=", "", "", "", "userxattr xino="},
	} {
		var m Mount
		for _, o := range strings.Fields(c.options) {
			key, value, has := strings.Cut(o, "=")
			m.Set(Param{key, value, has})
		}
		var rest []string
		for _, p := range m.rest() {
			rest = append(rest, p.String())
		}
		got := []string{strings.Join(paths(m.Lower), " "), strings.Join(paths(m.Data), " "), m.Upper, strings.Join(rest, " ")}
		if want := []string{c.lower, c.data, c.upper, c.rest}; !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", c.options, got, want)
		}
	}
}

// What Options writes, Set reads.
func TestOptions(t *testing.T) {
	for _, names := range [][]string{
		{"/a"}, {"/a", "/b"}, {"/a:b", "/c"}, {`/a\`, "/b"}, {"/a,b", `/c\:d`}, {"/ä b", `/"q"`}, {`/\\:,`},
	} {
		for _, data := range [][]string{nil, {"/d:e"}, {"/d", `/f\`}} {
			m := Mount{Volatile: true, UserXattr: true, Upper: names[0] + "/u", Work: names[0] + "/w", Params: Pinned()}
			for _, n := range names {
				m.Lower = append(m.Lower, Layer{Path: n})
			}
			for _, n := range data {
				m.Data = append(m.Data, Layer{Path: n})
			}
			var got Mount
			for _, o := range m.Options() {
				key, value, has := strings.Cut(o, "=")
				got.Set(Param{key, value, has})
			}
			if !reflect.DeepEqual(got, m) {
				t.Errorf("%v:\n got %+v\nwant %+v", m.Options(), got, m)
			}
		}
	}
	m := Mount{Lower: []Layer{{Path: "/a:b"}, {Path: "/c"}}, Data: []Layer{{Path: "/d"}}, Upper: "/u,v", Work: "/w", Volatile: true}
	want := []string{`lowerdir=/a\:b:/c::/d`, `upperdir=/u\,v`, "workdir=/w", "volatile"}
	if got := m.Options(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func layers(n int) []Layer {
	out := make([]Layer, n)
	for i := range out {
		out[i].Path = fmt.Sprintf("/l%d", i)
	}
	return out
}

func TestCheck(t *testing.T) {
	now := Kernel{6, 18}
	for _, c := range []struct {
		name string
		m    Mount
		k    Kernel
		want string // part of the complaint
	}{
		{"three", Mount{Lower: layers(3)}, now, ""},
		{"most", Mount{Lower: layers(500)}, now, ""},
		{"too many", Mount{Lower: layers(501)}, now, "501 layers, and the kernel takes 500"},
		{"too many with data", Mount{Lower: layers(500), Data: layers(1)}, now, "501 layers"},
		{"none", Mount{Upper: "/u", Work: "/w"}, now, "needs a lower layer"},
		{"one alone", Mount{Lower: layers(1)}, now, "/l0: an overlay without an upper directory needs two lower layers"},
		{"no work", Mount{Lower: layers(1), Upper: "/u"}, now, "/u: upperdir and workdir belong together"},
		{"no upper", Mount{Lower: layers(1), Work: "/w"}, now, "/w: upperdir and workdir belong together"},
		{"work in upper", Mount{Lower: layers(1), Upper: "/u", Work: "/u/w"}, now, "one inside the other"},
		{"upper in work", Mount{Lower: layers(1), Upper: "/w/u", Work: "/w"}, now, "one inside the other"},
		{"the same", Mount{Lower: layers(1), Upper: "/u", Work: "/u"}, now, "one inside the other"},
		{"like names", Mount{Lower: layers(1), Upper: "/u", Work: "/u2"}, now, ""},
		{"volatile", Mount{Lower: layers(1), Upper: "/u", Work: "/w", Volatile: true}, now, ""},
		{"volatile alone", Mount{Lower: layers(2), Volatile: true}, now, "volatile is about an upper directory"},
		{"volatile old", Mount{Lower: layers(1), Upper: "/u", Work: "/w", Volatile: true}, Kernel{5, 9}, "needs Linux 5.10"},
		{"userxattr old", Mount{Lower: layers(2), UserXattr: true}, Kernel{5, 10}, "needs Linux 5.11"},
		{"userxattr", Mount{Lower: layers(2), UserXattr: true}, Kernel{5, 11}, ""},
		{"data old", Mount{Lower: layers(2), Data: layers(1)}, Kernel{6, 7}, "needs Linux 6.8"},
		{"very old", Mount{Lower: layers(2)}, Kernel{5, 1}, "needs Linux 5.2"},
		{"unknown kernel", Mount{Lower: layers(2)}, Kernel{}, "needs Linux 5.2"},
	} {
		got := c.m.Check(c.k)
		if (got == nil) != (c.want == "") || got != nil && !strings.Contains(got.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, got, c.want)
		}
	}
}

func TestWay(t *testing.T) {
	plain := Mount{Lower: layers(2)}
	for _, c := range []struct {
		k    Kernel
		want Way
	}{
		{Kernel{7, 0}, Way{}},
		{Kernel{6, 8}, Way{}},
		{Kernel{6, 7}, Way{Classic: true, Private: true}},
		{Kernel{6, 5}, Way{Classic: true, Private: true}},
		{Kernel{5, 10}, Way{Classic: true, Private: true}},
	} {
		if got := plain.Way(c.k); got != c.want {
			t.Errorf("%v: got %+v, want %+v", c.k, got, c.want)
		}
	}
}

// The hints of errnos hold where nothing is found on the host.
func TestExplainErrno(t *testing.T) {
	for _, h := range hints {
		e := &fault.Error{Op: "mount overlay", Errno: h.errno}
		(&Mount{}).Explain(e)
		if e.Hint != h.text {
			t.Errorf("%v: %s", h.errno, e.Hint)
		}
	}
	said := &fault.Error{Op: "mount overlay", Errno: 22, Hint: "x"}
	(&Mount{}).Explain(said)
	if said.Hint != "x" {
		t.Error(said.Hint)
	}
}

func FuzzSet(f *testing.F) {
	f.Add("lowerdir", `/a:/b\:c::/d`)
	f.Add("upperdir", `\`)
	f.Fuzz(func(t *testing.T, key, value string) {
		var m Mount
		m.Set(Param{key, value, true})
		for _, p := range append(paths(m.Lower), paths(m.Data)...) {
			if p == "" {
				t.Errorf("%s=%q: an empty layer", key, value)
			}
		}
	})
}
