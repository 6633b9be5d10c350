package security

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// A bind or an image's directory over /proc must not keep a label from being applied: a mount there is refused, and so
// is a label that cannot be applied.
//
//cve:2019-16884
func TestProcOvermount(t *testing.T) {
	l := start(t, "proc-overmount")
	rootfs := l.bundle("b", nil)
	l.must(os.MkdirAll(filepath.Join(rootfs, "proc/self/attr"), 0o755))
	l.must(os.WriteFile(filepath.Join(rootfs, "proc/self/attr/exec"), nil, 0o666))
	cover := func(s *specs.Spec) { bind(s, l.host("dir"), "/proc") }
	for name, edit := range map[string]func(*specs.Spec){
		"a bind on /proc":      cover,
		"and a label":          func(s *specs.Spec) { cover(s); s.Process.ApparmorProfile = "berth-test" },
		"a tmpfs on /proc":     func(s *specs.Spec) { s.Mounts = append(s.Mounts, specs.Mount{Destination: "/proc", Type: "tmpfs"}) },
		"a bind on /proc/self": func(s *specs.Spec) { bind(s, l.host("dir"), "/proc/self") },
		"the image's /proc and a label": func(s *specs.Spec) {
			without(s, "/proc")
			s.Process.ApparmorProfile = "berth-test"
		},
		"only a label": func(s *specs.Spec) { s.Process.ApparmorProfile = "berth-test" },
	} {
		l.tries++
		l.config("b", func(s *specs.Spec) {
			s.Process.Args = []string{"true"}
			edit(s)
		})
		// A kernel with AppArmor refuses the profile, because it does not exist.
		if r := l.run("b"); r.status != 1 {
			l.Errorf("%s: %v", name, r)
		}
	}
	if text := read(filepath.Join(rootfs, "proc/self/attr/exec")); text != "" {
		l.Errorf("the image's file was written to: %q", text)
	}
}

// More of everything than fits into 16 bits of a length: nothing of it is cut, nothing takes another's place, and every
// namespace that was asked for is made.
//
//cve:2021-43784
func TestHugeConfig(t *testing.T) {
	l := start(t, "huge-config")
	var env []string
	for i := range 5000 {
		env = append(env, fmt.Sprintf("V%05d=%s", i, strings.Repeat("x", i%200)))
	}
	long := strings.Repeat("d/", 1500) // a path of 3000 bytes
	const look = "for n in ipc mnt net pid uts user; do readlink /proc/self/ns/$n; done; cat /proc/self/uid_map; "
	maps := func(s *specs.Spec, n int) {
		s.Linux.Namespaces = append(s.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
		s.Linux.UIDMappings, s.Linux.GIDMappings = nil, nil
		for i := range n {
			m := specs.LinuxIDMapping{ContainerID: uint32(i), HostID: uint32(100000 + 2*i), Size: 1}
			s.Linux.UIDMappings, s.Linux.GIDMappings = append(s.Linux.UIDMappings, m), append(s.Linux.GIDMappings, m)
		}
	}
	rootfs := l.bundle("b", nil)
	chownAll(l, rootfs, 100000)
	var host []string
	for _, n := range strings.Fields("ipc mnt net pid uts user") {
		link, _ := os.Readlink("/proc/self/ns/" + n)
		host = append(host, link)
	}
	for _, c := range []struct {
		name   string
		status int
		edit   func(*specs.Spec)
		check  func(out string) bool
	}{
		{"environment", 0, func(s *specs.Spec) {
			s.Process.Env = append(s.Process.Env, env...)
			s.Process.Args[2] += "cat /proc/1/environ; :"
		},
			func(out string) bool { return strings.HasSuffix(out, strings.Join(env, "\x00")+"\x00") }},
		{"argument", 0, func(s *specs.Spec) {
			s.Process.Args = []string{"sh", "-c", look + `echo "$0"`, strings.Repeat("a", 130000)}
		},
			func(out string) bool { return strings.HasSuffix(out, "\n"+strings.Repeat("a", 130000)+"\n") }},
		{"mappings", 0, func(s *specs.Spec) { maps(s, 280) },
			func(out string) bool { return strings.Count(out, " 1\n") == 280 && strings.Contains(out, " 100558 ") }},
		{"more mappings than the kernel takes", 1, func(s *specs.Spec) { maps(s, 7000) }, nil},
		{"groups", 0, func(s *specs.Spec) {
			for g := range 65000 {
				s.Process.User.AdditionalGids = append(s.Process.User.AdditionalGids, uint32(g+1))
			}
			s.Process.Args[2] += "grep -o '64999 65000' /proc/self/status"
			s.Linux.Namespaces = s.Linux.Namespaces[:5]
		}, func(out string) bool { return strings.HasSuffix(out, "64999 65000\n") }},
		{"path", 0, func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/" + long + "end", Type: "tmpfs", Source: "tmpfs"})
			s.Process.Args[2] += "grep -c /d/d/end /proc/self/mountinfo"
		}, func(out string) bool { return strings.HasSuffix(out, "\n1\n") }},
		{"path that no kernel takes", 1, func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/" + long + long, Type: "tmpfs", Source: "tmpfs"})
		}, nil},
		{"annotation", 0, func(s *specs.Spec) { s.Annotations = map[string]string{"a": strings.Repeat("a", 1<<20)} },
			func(string) bool { return true }},
		{"mounts", 0, func(s *specs.Spec) {
			for i := range 1000 {
				s.Mounts = append(s.Mounts, specs.Mount{Destination: fmt.Sprintf("/tmp/m%d", i), Type: "tmpfs", Source: "tmpfs"})
			}
			s.Process.Args[2] += "grep -c /tmp/m /proc/self/mountinfo"
		}, func(out string) bool { return strings.HasSuffix(out, "\n1000\n") }},
	} {
		l.tries++
		l.config("b", func(s *specs.Spec) {
			s.Root.Readonly = false
			s.Process.Args = []string{"sh", "-c", look}
			if c.name != "mappings" && c.name != "groups" {
				maps(s, 10)
			}
			c.edit(s)
		})
		r := l.run("b")
		if r.status != c.status {
			l.Errorf("%s: %.2000s", c.name, r)
			continue
		}
		if r.status != 0 {
			continue
		}
		if !c.check(r.out) {
			l.Errorf("%s: cut or changed: %.1000s … (sha256 %x)", c.name, r.out, sha256.Sum256([]byte(r.out)))
		}
		for i, ns := range host {
			if i < 5 && strings.Contains(r.out, ns) || i == 5 && c.name != "groups" && strings.Contains(r.out, ns) {
				l.Errorf("%s: the container is in the host's %s", c.name, ns)
			}
		}
	}
}

// chownAll gives a tree to a user.
func chownAll(l *lab, dir string, uid int) {
	l.Helper()
	l.must(filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, uid)
	}))
}

// Without a cgroup namespace, the groups of the user who runs Berth are not the container's to change: neither by the
// /sys that `spec --rootless` binds, nor by a mount of type cgroup.
//
//cve:2023-25809
func TestRootlessCgroupReadonly(t *testing.T) {
	l := start(t, "rootless-cgroup-ro")
	const uid = 1000
	var groups []string
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids", "/sys/fs/cgroup/systemd"} {
		group := filepath.Join(dir, l.id)
		if strings.Contains(fstype(dir), "cgroup") && os.Mkdir(group, 0o755) == nil {
			l.Cleanup(func() { os.Remove(group) })
			l.must(os.Chown(group, uid, uid))
			for _, f := range []string{"cgroup.procs", "cgroup.subtree_control", "tasks"} {
				os.Chown(filepath.Join(group, f), uid, uid)
			}
			groups = append(groups, group)
		}
	}
	if len(groups) == 0 {
		t.Skip("[cgroup] no cgroup file system is mounted")
	}
	l.bundle("b", nil)
	as := func(cmd *exec.Cmd) {
		user(cmd, uid)
		cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR=")
		cmd.Args[2] = l.path("ustate")
	}
	l.must(os.Mkdir(l.path("ustate"), 0o700))
	l.must(os.Chown(l.path("ustate"), uid, uid))
	for _, d := range []string{"b", "b/rootfs"} {
		l.must(os.Chown(l.path(d), uid, uid))
	}
	for name, edit := range map[string]func(*specs.Spec){
		"as spec --rootless makes it": func(*specs.Spec) {},
		"with /sys writable": func(s *specs.Spec) {
			for i := range s.Mounts {
				if s.Mounts[i].Destination == "/sys" {
					s.Mounts[i].Options = []string{"rbind"}
				}
			}
			without(s, "/sys/fs/cgroup")
		},
		"with nothing on /sys/fs/cgroup": func(s *specs.Spec) { without(s, "/sys/fs/cgroup") },
		"with a mount of type cgroup": func(s *specs.Spec) {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"ro", "nosuid"}})
		},
	} {
		l.tries++
		os.Remove(l.path("b/config.json"))
		if r := l.command(as, "spec", "--rootless", "--bundle", l.path("b")); r.status != 0 {
			l.Fatal(r)
		}
		var s specs.Spec
		l.must(json.Unmarshal([]byte(read(l.path("b/config.json"))), &s))
		s.Process.Terminal = false
		s.Process.Args = append([]string{"/bin/attack", "probe"}, groups...)
		edit(&s)
		s.Linux.Namespaces = slices.DeleteFunc(s.Linux.Namespaces, func(ns specs.LinuxNamespace) bool {
			return ns.Type == specs.CgroupNamespace // which spec gives on cgroup v2, and hides what is looked for
		})
		raw, err := json.Marshal(&s)
		l.must(err)
		os.Remove(l.path("b/config.json"))
		l.must(os.WriteFile(l.path("b/config.json"), raw, 0o644))
		r := l.command(as, "run", "--bundle", l.path("b"), l.name("b"))
		if name == "with /sys writable" {
			// The bundle's author asks for it: this shows that the attack works.
			if strings.Count(r.out, " open\n") != len(groups) {
				l.Errorf("the attack does not work: %v", r)
			}
			continue
		}
		if strings.Contains(r.out, " open\n") || r.status == 0 && strings.Count(r.out, "\n") != len(groups) {
			l.Errorf("%s: %v", name, r)
		}

	}
}

// user makes a command one of that user.
func user(cmd *exec.Cmd, uid uint32) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
}

func fstype(dir string) string {
	var fs unix.Statfs_t
	if unix.Statfs(dir, &fs) != nil {
		return ""
	}
	switch fs.Type {
	case unix.CGROUP2_SUPER_MAGIC:
		return "cgroup2"
	case unix.CGROUP_SUPER_MAGIC:
		return "cgroup"
	}
	return ""
}

// The standard descriptors are /dev/null, and the container's /dev/null is a file of the host's, bound or by a link: it is
// neither written to nor given to the container's user.
//
//cve:2026-88265
func TestStdioDevNull(t *testing.T) {
	l := start(t, "stdio-devnull")
	l.must(os.Chmod(l.host("secret"), 0o666))
	l.before = l.canary()
	rootfs := l.bundle("b", nil)
	for _, how := range []string{"bound", "bound without /dev", "link to a bound file", "fifo", "bound on a volume", "link on a volume"} {
		l.tries++
		l.must(os.RemoveAll(filepath.Join(rootfs, "dev")))
		l.must(os.Mkdir(filepath.Join(rootfs, "dev"), 0o755))
		null := filepath.Join(rootfs, "dev/null")
		l.config("b", func(s *specs.Spec) {
			s.Root.Readonly = false
			s.Process.User = specs.User{UID: 1000, GID: 1000}
			s.Process.Args = []string{"attack", "fds", "/vol/out"}
			l.must(os.MkdirAll(l.path("vol"), 0o777))
			l.must(os.Chmod(l.path("vol"), 0o777))
			bind(s, l.path("vol"), "/vol")
			if how != "bound" {
				without(s, "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
			}
			switch how {
			case "bound", "bound without /dev":
				bind(s, l.host("secret"), "/dev/null")
			case "link to a bound file":
				bind(s, l.host("secret"), "/etc/target")
				l.must(os.Symlink("/etc/target", null))
			case "fifo":
				l.must(unix.Mkfifo(null, 0o666))
			case "bound on a volume", "link on a volume": // Berth makes no devices there
				dev := l.path("dev")
				l.must(os.RemoveAll(dev))
				l.must(os.Mkdir(dev, 0o755))
				bind(s, dev, "/dev")
				bind(s, l.host("secret"), "/dev/null")
				if strings.HasPrefix(how, "link") {
					l.must(os.Symlink("/etc/target", filepath.Join(dev, "null")))
				}
			}
		})
		os.Remove(l.path("vol/out"))
		r := l.command(func(cmd *exec.Cmd) { cmd.Stdin, cmd.Stdout, cmd.Stderr = nil, nil, nil }, "run", "--bundle", l.path("b"), l.name("b"))
		list := read(l.path("vol/out"))
		if r.status == 0 && !strings.Contains(list, "0 char 1:3 ") {
			l.Errorf("%s: standard input is not the null device: %v%s", how, r, list)
		}
		l.intact()
	}
}

// The image has its own /proc with links where a runtime would look for its descriptors: what has to be read-only is.
//
//cve:2026-115521
func TestReadonlyRemount(t *testing.T) {
	l := start(t, "ro-remount")
	rootfs := l.bundle("b", nil)
	fd := filepath.Join(rootfs, "proc/self/fd")
	l.must(os.MkdirAll(fd, 0o755))
	for n := range 2000 {
		l.must(os.Symlink("/tmp", filepath.Join(fd, fmt.Sprint(n))))
	}
	l.must(os.Symlink("self", filepath.Join(rootfs, "proc/thread-self")))
	vol := l.path("vol")
	l.must(os.Mkdir(vol, 0o777))
	for _, proc := range []bool{false, true} {
		l.tries++
		l.config("b", func(s *specs.Spec) {
			s.Root.Readonly = true
			mask(s, nil, []string{"/etc"})
			if !proc {
				without(s, "/proc")
			}
			bind(s, vol, "/tmp", "ro")
			bind(s, vol, "/root", "rro")
			s.Mounts = append(s.Mounts,
				specs.Mount{Destination: "/tmp", Type: "bind", Source: vol, Options: []string{"bind", "ro"}},
				specs.Mount{Destination: "/run", Type: "tmpfs", Source: "tmpfs", Options: []string{"ro"}},
				specs.Mount{Destination: "/real", Type: "proc", Source: "proc"})
			s.Process.Args = []string{"sh", "-c", "attack probe / /tmp /root /run /etc /etc/passwd; cat /real/self/mountinfo"}
		})
		l.must(os.MkdirAll(filepath.Join(rootfs, "real"), 0o755))
		l.must(os.MkdirAll(filepath.Join(rootfs, "run"), 0o755))
		r := l.run("b")
		if strings.Count(r.out, " denied\n") != 6 {
			l.Errorf("/proc mounted: %v: %v", proc, r)
		}
		for _, mount := range []string{"/", "/tmp", "/root", "/run", "/etc"} {
			if !regexp.MustCompile(`(?m)^\d+ \d+ \S+ \S+ ` + mount + ` ro[, ]`).MatchString(r.out) {
				l.Errorf("/proc mounted: %v: %s is not read-only:\n%s", proc, mount, r.out)
			}
		}
	}
}
