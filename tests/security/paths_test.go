package security

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// A mount's destination in the image is a link to the host, in every shape that a link can have: what is mounted, and
// what is made for it, stays below the root.
//
//cve:2019-18837
func TestMountTargetSymlink(t *testing.T) {
	l := start(t, "mount-target-symlink")
	file := l.path("file")
	l.must(os.WriteFile(file, []byte("mounted\n"), 0o644))
	links := []struct{ name, to, destination string }{
		{"absolute", l.host("dir"), "/l"},
		{"up", strings.Repeat("../", 40) + strings.TrimPrefix(l.host("dir"), "/"), "/l"},
		{"dangling", l.host("new"), "/l"},
		{"dangling below", l.host("dir/new/deep"), "/l"},
		{"chain", "l2", "/l"},
		{"slash", l.host("dir") + "/", "/l/"},
		{"in the middle", l.host("dir"), "/l/sub/deep"},
		{"to a file", l.host("secret"), "/l"},
		{"magic root", "/proc/1/root" + l.host("dir"), "/l"},
		{"magic cwd", "/proc/self/cwd/../../.." + l.host("dir"), "/l"},
		{"magic descriptor", "/proc/self/fd/3", "/l"},
		{"to /", "/", "/l" + l.host("dir")},
		{"loop", "l", "/l"},
	}
	kinds := map[string]specs.Mount{
		"tmpfs": {Type: "tmpfs", Source: "tmpfs"},
		"dir":   {Type: "bind", Source: l.path("host/../state"), Options: []string{"bind"}},
		"file":  {Type: "bind", Source: file, Options: []string{"bind"}},
		"copy":  {Type: "tmpfs", Source: "tmpfs", Options: []string{"tmpcopyup"}},
	}
	look := []string{"sh", "-c", "cat /proc/self/mountinfo; cat " + l.host("secret") + "; true"}
	rootfs := l.bundle("b", func(s *specs.Spec) { s.Process.Args = look })
	usual := strings.Count(l.run("b").out, " - ")
	for _, link := range links {
		for kind, m := range kinds {
			l.tries++
			os.Remove(filepath.Join(rootfs, "l"))
			os.Remove(filepath.Join(rootfs, "l2"))
			l.must(os.Symlink(link.to, filepath.Join(rootfs, "l")))
			if link.name == "chain" {
				l.must(os.Symlink("/l3", filepath.Join(rootfs, "l2")))
				os.Remove(filepath.Join(rootfs, "l3"))
				l.must(os.Symlink(l.host("dir"), filepath.Join(rootfs, "l3")))
			}
			m.Destination = link.destination
			l.config("b", func(s *specs.Spec) {
				s.Root.Readonly = false
				s.Process.Args = look
				s.Mounts = append(s.Mounts, m)
			})
			r := l.run("b")
			switch mounts := strings.Count(r.out, " - "); {
			case strings.Contains(r.out, "the host's own"):
				l.Errorf("%s, %s: the host can be seen:\n%s", link.name, kind, r.out)
			case r.status != 1 && (r.status != 0 || mounts != usual+1):
				l.Errorf("%s, %s: the mount is somewhere else:\n%s", link.name, kind, r)
			}
			if _, err := os.Lstat(l.host("new")); err == nil {
				l.Errorf("%s, %s: made %s", link.name, kind, l.host("new"))
			}
		}
	}
	l.intact()
}

// /proc or /sys of the image is a link, so that the image would choose what is mounted where, and what is masked.
//
//cve:2019-19921,2023-27561,2023-28642,2025-54867
func TestProcSysSymlink(t *testing.T) {
	l := start(t, "proc-sys-symlink")
	rootfs := l.bundle("b", nil)
	l.must(os.Mkdir(filepath.Join(rootfs, "x"), 0o755))
	for _, name := range []string{"proc", "sys"} {
		for _, to := range []string{"/x", "x", "/tmp", "../" + name + "2", l.host("dir"), "/proc/self/root"} {
			l.tries++
			l.must(os.RemoveAll(filepath.Join(rootfs, name)))
			l.must(os.Symlink(to, filepath.Join(rootfs, name)))
			if r := l.run("b"); r.status != 1 || !strings.Contains(r.err, "/"+name) {
				l.Errorf("/%s -> %s: %v", name, to, r)
			}
			l.must(os.Remove(filepath.Join(rootfs, name)))
			l.must(os.Mkdir(filepath.Join(rootfs, name), 0o755))
		}
	}
}

// /dev of the image is a link to a directory of the host: no device and no link is made there.
//
//cve:2026-41579,2026-47766
func TestDevSymlink(t *testing.T) {
	l := start(t, "dev-symlink")
	rootfs := l.bundle("b", nil)
	for _, to := range []string{l.host("dir"), strings.Repeat("../", 40) + strings.TrimPrefix(l.host("dir"), "/"), "/proc/self/cwd" + l.host("dir")} {
		for _, mounted := range []bool{true, false} {
			l.tries++
			l.must(os.RemoveAll(filepath.Join(rootfs, "dev")))
			l.must(os.Symlink(to, filepath.Join(rootfs, "dev")))
			l.config("b", func(s *specs.Spec) {
				s.Root.Readonly = false
				s.Process.Args = []string{"attack", "stat", "/dev/null"}
				s.Linux.Devices = []specs.LinuxDevice{{Path: "/dev/fuse", Type: "c", Major: 10, Minor: 229}}
				if !mounted {
					without(s, "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
				}
			})
			if r := l.run("b"); r.status != 1 && !strings.HasPrefix(r.out, "/dev/null char 1:3 ") {
				l.Errorf("/dev -> %s, mounted %v: %v", to, mounted, r)
			}
			l.intact()
		}
	}
}
