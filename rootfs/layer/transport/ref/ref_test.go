package ref

import (
	"strings"
	"testing"
)

const sum = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestParse(t *testing.T) {
	for _, c := range []struct {
		in, want string // want "" is in itself
	}{
		{"docker://busybox", "docker://docker.io/library/busybox:latest"},
		{"docker://user/box:1", "docker://docker.io/user/box:1"},
		{"docker://docker.io/box", "docker://docker.io/library/box:latest"},
		{"docker://index.docker.io/box", "docker://docker.io/library/box:latest"},
		{"docker://localhost/a/b_c/d__e/f--g/h.i:T_1.2-3", ""},
		{"docker://localhost:5000/a", "docker://localhost:5000/a:latest"},
		{"docker://[::1]:5000/a:b", ""},
		{"docker://Host/a:b", ""},
		{"docker://registry.example:443/a@" + sum, ""},
		{"docker://registry.example/a:b@" + sum, ""},
		{"docker://box@" + sum, "docker://docker.io/library/box@" + sum},
		{"oci:/some/dir", ""},
		{"oci:dir:tag", ""},
		{"oci:dir:docker.io/library/box:1", ""},
		{"oci-archive:../file.tar:a@b+c", ""},
		{"docker-archive:file.tar", ""},
		{"docker-archive:file.tar:box", "docker-archive:file.tar:docker.io/library/box:latest"},
		{"docker-archive:file.tar:localhost:5000/a:b", ""},
		{"docker-archive:file.tar:@0", ""},
		{"dir:a:b", ""},
	} {
		r, err := Parse(c.in)
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		want := c.want
		if want == "" {
			want = c.in
		}
		if got := r.String(); got != want {
			t.Errorf("%s: got %s, want %s", c.in, got, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", "no transport"},
		{"busybox", "write docker://busybox"},
		{"busybox:1", `transport "busybox" is not known`},
		{"docker:busybox", "write docker://busybox"},
		{"docker://", "no repository name"},
		{"docker://host:5000/", "no repository name"},
		{"docker://host.x/../../etc/passwd", `name component ".."`},
		{"docker://host.x/a/../b", `name component ".."`},
		{"docker://host.x/a//b", `name component "": empty`},
		{"docker://host.x/a/", `name component "": empty`},
		{"docker://host.x/Box", `name component "Box": has capitals`},
		{"docker://host.x/a___b", `name component "a___b"`},
		{"docker://host.x/a..b", `name component "a..b"`},
		{"docker://host.x/-a", `name component "-a"`},
		{"docker://host.x/a?b=c", `name component "a?b=c"`},
		{"docker://host.x/a%2fb", `name component "a%2fb"`},
		{"docker://host.x/a b", `name component "a b"`},
		{"docker://user:pass@host.x/a", `digest "host.x/a"`},
		{"docker://host.x/a:", `tag "": empty`},
		{"docker://host.x/a:.b", `tag ".b"`},
		{"docker://host.x/a:b/c", `tag "b/c"`},
		{"docker://host.x/a:" + strings.Repeat("x", 129), "longer than 128"},
		{"docker://host.x/" + strings.Repeat("x/", 130) + "x", "longer than 255"},
		{"docker://host.x/a@sha256:12", `digest "sha256:12"`},
		{"docker://host.x/a@sha256:../../../etc/passwd", "digest"},
		{"docker://host.x/a@md5:0123", "unsupported digest algorithm"},
		{"docker://host.x:0/a", `host "host.x:0"`},
		{"docker://host.x:99999/a", `host "host.x:99999"`},
		{"docker://host..x/a", `host "host..x"`},
		{"docker://.x/a", `host ".x"`},
		{"docker://../a", `host ".."`},
		{"docker://[::1/a", `host "[::1"`},
		{"docker://[1.2.3.4]/a", `host "[1.2.3.4]"`},
		{"oci:", "no path"},
		{"oci::tag", "no path"},
		{"oci:dir:", `tag "": empty`},
		{"oci:dir:../x", `tag "../x"`},
		{"oci:dir:a b", `tag "a b"`},
		{"docker-archive:f:@x", `index "@x"`},
		{"docker-archive:f:@-1", `index "@-1"`},
		{"docker-archive:f:a@" + sum, "knows no digests"},
		{"dir:", "no path"},
		{"dir:a\x00b", "NUL"},
		{"http://host/a", "not known"},
	} {
		r, err := Parse(c.in)
		if err == nil {
			t.Errorf("%q: accepted as %v", c.in, r)
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v; want %q", c.in, err, c.want)
		}
	}
}

// FuzzParse: what is accepted prints as itself, and no registry's name leaves its place in a URL.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"docker://a", "docker://h:1/a/b:c@" + sum, "oci:d:t", "docker-archive:f:@3", "docker-archive:f:n:t", "dir:x:y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := Parse(s)
		if err != nil {
			return
		}
		again, err := Parse(r.String())
		if err != nil || again != r {
			t.Fatalf("%q: %+v, again %+v, %v", s, r, again, err)
		}
		if strings.ContainsAny(r.Name+r.Host, "?#%\\ \x00") || strings.Contains("/"+r.Name+"/", "/../") {
			t.Fatalf("%q: %+v", s, r)
		}
	})
}
