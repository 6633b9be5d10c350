package security

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// CRIU keeps place and key of a mount in one string, mnt[PLACE]:KEY, and looks it up by its beginning; restoring, it
// mounts by path. So no name of the image's is a key, no place reads as another's, and none is or leads through a link.
// What Berth asks CRIU for is taken from a stand-in, which reads the request and dies.
//
//cve:2026-115520,2026-119101,2026-119614
func TestCriuKey(t *testing.T) {
	l := start(t, "criu-key")
	l.must(os.MkdirAll(l.path("bin"), 0o755))
	l.must(os.WriteFile(l.path("bin/criu"), []byte("#!/bin/sh\ndd bs=65536 count=1 <&3 >"+l.path("request")+" 2>/dev/null\n"), 0o755))
	ask := func(args ...string) (asked []string, r run) {
		l.tries++
		os.Remove(l.path("request"))
		r = l.command(func(cmd *exec.Cmd) { cmd.Env = append(os.Environ(), "PATH="+l.path("bin")+":"+os.Getenv("PATH")) }, args...)
		if r.status != 1 {
			l.Errorf("%v: %v", args, r)
		}
		raw, _ := os.ReadFile(l.path("request"))
		return externalMounts.FindAllString(string(raw), -1), r
	}
	mounts := func(destinations ...string) func(*specs.Spec) {
		return func(s *specs.Spec) {
			s.Root.Readonly = false
			s.Process.Args = []string{"sleep", "1000"}
			for _, d := range destinations {
				s.Mounts = append(s.Mounts, specs.Mount{Destination: d, Type: "bind", Source: l.path("vol"), Options: []string{"bind"}})
			}
		}
	}
	l.must(os.MkdirAll(l.path("vol"), 0o755))

	// Names that are no trap pass, and are places, not keys.
	rootfs := l.bundle("b", mounts("/mnt[/etc]", "/a:b", "/0"))
	l.detach("b")
	asked, r := ask("checkpoint", "--image-path", l.path("images"), l.name("b"))
	for _, place := range []string{"/mnt[/etc]", "/a:b", "/0"} {
		if !slices.ContainsFunc(asked, regexp.MustCompile(`^mnt\[`+regexp.QuoteMeta(place)+`\]:[0-9]+$`).MatchString) {
			l.Errorf("%s is not asked for: %q %v", place, asked, r)
		}
	}
	for _, m := range asked {
		if key := m[strings.LastIndex(m, "]:")+2:]; !regexp.MustCompile(`^([0-9]+|null)$`).MatchString(key) {
			l.Errorf("the key of %q is no number", m)
		}
	}
	l.delete("b")
	asked, _ = ask("restore", "--bundle", l.path("b"), "--image-path", l.path("images"), l.name("b"))
	for _, m := range asked {
		if !regexp.MustCompile(`^mnt\[([0-9]+|null)\]:/`).MatchString(m) {
			l.Errorf("restore asks for %q", m)
		}
	}
	if len(asked) == 0 {
		l.Error("restore asks for no mounts")
	}

	// A place that has become a link since, at its end or on the way.
	for _, link := range []string{"a:b", "mnt[/etc]", "mnt["} {
		os.RemoveAll(rootfs + "/" + link)
		l.must(os.Symlink(l.host("dir"), rootfs+"/"+link))
		if asked, r := ask("restore", "--bundle", l.path("b"), "--image-path", l.path("images"), l.name("b")); len(asked) > 0 || !strings.Contains(r.err, "symbolic link") {
			l.Errorf("%s: asked for %q: %v", link, asked, r)
		}
		l.must(os.Remove(rootfs + "/" + link))
	}

	// Traps are refused before CRIU is asked for anything.
	for _, trap := range []struct{ destination, why string }{
		{"/vol]:0", `cannot have "]:"`}, {"/link/vol", "a symbolic link leads to /real/vol"},
	} {
		rootfs := l.bundle("c", mounts("/vol", trap.destination))
		l.must(os.MkdirAll(rootfs+"/real", 0o755))
		l.must(os.Symlink("real", rootfs+"/link"))
		l.detach("c")
		if asked, r := ask("checkpoint", "--image-path", l.path("images2"), l.name("c")); len(asked) > 0 || !strings.Contains(r.err, trap.why) {
			l.Errorf("%s: asked for %q: %v", trap.destination, asked, r)
		}
		l.delete("c")
		l.must(os.RemoveAll(l.path("c")))
	}
}

// externalMounts finds options of mounts in a request: text with its length before it.
var externalMounts = regexp.MustCompile(`mnt\[[ -~]*`)
