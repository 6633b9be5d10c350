package security

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// volume is a directory that a victim shares with the attacker: d, and a link to the host that takes its place.
func (l *lab) volume(target string) string {
	l.Helper()
	vol := l.path("vol")
	l.must(os.Mkdir(vol, 0o777))
	l.must(os.Mkdir(filepath.Join(vol, "d"), 0o755))
	l.must(os.Symlink(target, filepath.Join(vol, "evil")))
	return vol
}

// A shared volume's directory is exchanged with a link to the host while other mounts are attached below it.
//
//cve:2021-30465
func TestRenameRace(t *testing.T) {
	l := start(t, "rename-race")
	const mounts = 30
	vol := l.volume(l.host("dir"))
	l.must(os.Mkdir(filepath.Join(vol, "d/sub"), 0o755))
	l.must(os.Mkdir(l.host("dir/sub"), 0o755)) // there on both sides, so that only the mount tells them apart
	l.must(os.WriteFile(l.host("dir/sub/secret"), []byte("the host's own\n"), 0o600))
	l.before = l.canary()
	l.bundle("b", func(s *specs.Spec) {
		s.Root.Readonly = false
		bind(s, vol, "/vol")
		for range mounts {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/vol/d/sub", Type: "tmpfs", Source: "race"})
			s.Mounts = append(s.Mounts, specs.Mount{Destination: "/vol/d", Type: "bind", Source: l.path("state"), Options: []string{"bind"}})
		}
		// What a mount that went astray would show: the volume with the host's directory in it, or the host itself.
		s.Process.Args = []string{"sh", "-c", "cat /vol/*/sub/secret /vol/*/secret " + l.host("secret") + " 2>/dev/null; grep -c ' race ' /proc/self/mountinfo"}
	})
	l.exchanging(vol, "d", "evil")
	var o outcome
	l.race(func() int {
		r := l.run("b")
		if strings.Contains(r.out, "the host's own") {
			l.Errorf("the host can be seen: %v", r)
		}
		if r.status == 0 && r.out != fmt.Sprintln(mounts) {
			l.Errorf("not every mount is below the root: %v", r)
		}
		o.add(r)
		return 2 * mounts
	})
	l.Log(o)
}

// A shared volume's directory is exchanged with a link to the host while what is missing for mounts, devices and the
// working directory is made below it: no empty file or directory appears on the host.
//
//cve:2024-45310
func TestMkdirAllRace(t *testing.T) {
	l := start(t, "mkdirall-race")
	const each = 10
	vol := l.volume(l.host("dir"))
	l.bundle("b", nil)
	l.exchanging(vol, "d", "evil")
	var o outcome
	round := 0
	l.race(func() int {
		round++
		l.config("b", func(s *specs.Spec) {
			s.Root.Readonly = false
			s.Process.Args = []string{"true"}
			bind(s, vol, "/vol")
			for i := range each {
				base := fmt.Sprintf("/vol/d/%d.%d", round, i)
				s.Mounts = append(s.Mounts, specs.Mount{Destination: base + "/deep/dir", Type: "tmpfs", Source: "tmpfs"})
				bind(s, "/etc/passwd", base+"file")
				s.Linux.Devices = append(s.Linux.Devices, specs.LinuxDevice{Path: base + "dev/null", Type: "c", Major: 1, Minor: 3})
			}
			s.Process.Cwd = fmt.Sprintf("/vol/d/%d/cwd", round)
		})
		o.add(l.run("b"))
		return 3*each + 1
	})
	l.Log(o)
}

// The image's /proc is exchanged with a link while the container is made. Wherever the procfs ends up, all of it that was
// to be masked or read-only is.
//
//cve:2019-19921,2023-27561,2023-28642,2025-54867
func TestProcSymlinkRace(t *testing.T) {
	l := start(t, "proc-symlink-race")
	rootfs := l.bundle("b", func(s *specs.Spec) {
		s.Root.Readonly = false
		s.Process.Args = []string{"/bin/cat", "/real/self/mountinfo"}
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/real", Type: "proc", Source: "proc"})
		mask(s, []string{"/proc/keys", "/proc/timer_list"}, []string{"/proc/sys", "/proc/bus"})
	})
	l.must(os.Mkdir(filepath.Join(rootfs, "fake"), 0o755))
	l.must(os.Symlink("/fake", filepath.Join(rootfs, "evil")))
	l.exchanging(rootfs, "proc", "evil")
	var o outcome
	l.race(func() int {
		r := l.run("b")
		o.add(r)
		if r.status != 0 {
			return 1
		}
		id := ""
		children := 0
		for line := range strings.Lines(r.out) {
			f := strings.Fields(line)
			if id == "" && strings.Contains(line, " - proc proc ") {
				id = f[0]
			} else if id != "" && f[1] == id {
				children++
			}
		}
		if children != 4 {
			l.Errorf("the procfs has %d covers, not 4:\n%s", children, r.out)
		}
		return 1
	})
	l.Log(o)
}

// /dev/null of the image leads to a file of the kernel's, or is made to while the container is: what is masked is
// masked by the host's /dev/null, or there is no container.
//
//cve:2025-31133,2025-62161
func TestMaskDevNull(t *testing.T) {
	l := start(t, "mask-devnull")
	edit := func(s *specs.Spec) {
		s.Root.Readonly = false
		mask(s, []string{"/proc/keys", "/proc/timer_list", "/etc/passwd"}, nil)
		s.Process.Args = []string{"attack", "stat", "/proc/keys", "/proc/timer_list", "/etc/passwd"}
	}
	held := func(r run) {
		l.Helper()
		if r.status == 0 && strings.Count(r.out, " char 1:3 ") != 3 {
			l.Errorf("not all is masked: %v", r)
		}
	}
	rootfs := l.bundle("b", edit)
	for _, to := range []string{"/proc/sys/kernel/core_pattern", "/etc/group", l.host("secret"), "/proc/self/root/etc/group", "zero"} {
		for _, mounted := range []bool{true, false} {
			l.tries++
			os.Remove(filepath.Join(rootfs, "dev/null"))
			l.must(os.Symlink(to, filepath.Join(rootfs, "dev/null")))
			l.config("b", func(s *specs.Spec) {
				edit(s)
				if !mounted {
					without(s, "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
				}
			})
			held(l.run("b"))
		}
	}
	vol := l.path("vol")
	l.must(os.Mkdir(vol, 0o755))
	l.must(unix.Mknod(filepath.Join(vol, "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	l.must(os.Symlink("/etc/group", filepath.Join(vol, "evil")))
	l.config("b", func(s *specs.Spec) {
		edit(s)
		without(s, "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
		bind(s, vol, "/dev")
	})
	l.exchanging(vol, "null", "evil")
	var o outcome
	l.race(func() int {
		r := l.run("b")
		o.add(r)
		held(r)
		return 1
	})
	l.Log(o)
}

// onTerminal makes and starts a container with a terminal and returns what it printed, or why there is none.
func (l *lab) onTerminal(bundle string) run {
	l.Helper()
	socket := l.path("console")
	os.Remove(socket)
	ptmx, stop := consoleSocket(l.T, socket)
	defer stop()
	defer l.delete(bundle)
	if r := l.berth("create", "--bundle", l.path(bundle), "--console-socket", socket, l.name(bundle)); r.status != 0 {
		return r
	}
	terminal := <-ptmx
	defer terminal.Close()
	if r := l.berth("start", l.name(bundle)); r.status != 0 {
		return r
	}
	return run{out: readTerminal(terminal)}
}

// /dev/console and /dev/pts of a shared /dev are exchanged with links to the host while the terminal is made.
//
//cve:2025-52565
func TestConsoleRace(t *testing.T) {
	l := start(t, "console-race")
	vol := l.path("vol")
	for _, d := range []string{"pts", "shm", "mqueue"} {
		l.must(os.MkdirAll(filepath.Join(vol, d), 0o755))
	}
	l.must(os.WriteFile(filepath.Join(vol, "console"), nil, 0o600))
	l.must(os.Symlink(l.host("new"), filepath.Join(vol, "evil")))
	l.must(os.Symlink(l.host("dir"), filepath.Join(vol, "evilpts")))
	l.bundle("b", func(s *specs.Spec) {
		s.Root.Readonly = false
		s.Process.Terminal = true
		s.Process.Args = []string{"attack", "fds"}
		without(s, "/dev")
		s.Mounts = append([]specs.Mount{{Destination: "/dev", Type: "bind", Source: vol, Options: []string{"bind"}}}, s.Mounts...)
	})
	terminal := regexp.MustCompile(`(?m)^0 char 136:[0-9]+ .*\n1 char 136:[0-9]+ .*\n2 char 136:`)
	l.exchanging(vol, "console", "evil", "pts", "evilpts")
	var o outcome
	l.race(func() int {
		r := l.onTerminal("b")
		o.add(r)
		if r.status == 0 && !terminal.MatchString(r.out) {
			l.Errorf("that is no terminal: %v", r)
		}
		return 1
	})
	l.Log(o)
}

// /dev/console of the image is a link to a file that does not exist on the host, and one that does. With or without a
// mount on /dev, and with a read-only root.
//
//cve:2026-88264
func TestConsoleSymlink(t *testing.T) {
	l := start(t, "console-symlink")
	rootfs := l.bundle("b", nil)
	for _, to := range []string{l.host("new"), l.host("secret"), strings.Repeat("../", 40) + strings.TrimPrefix(l.host("new"), "/"), "/proc/self/cwd/new"} {
		for _, mounted := range []bool{true, false} {
			for _, readonly := range []bool{true, false} {
				l.tries++
				l.must(os.RemoveAll(filepath.Join(rootfs, "dev")))
				l.must(os.MkdirAll(filepath.Join(rootfs, "dev/pts"), 0o755))
				l.must(os.Symlink(to, filepath.Join(rootfs, "dev/console")))
				l.config("b", func(s *specs.Spec) {
					s.Root.Readonly = readonly
					s.Process.Terminal = true
					s.Process.Args = []string{"attack", "fds"}
					if !mounted {
						without(s, "/dev", "/dev/shm", "/dev/mqueue")
					}
				})
				r := l.onTerminal("b")
				if r.status == 0 && !strings.Contains(r.out, "0 char 136:") {
					l.Errorf("console -> %s, mounted %v, read-only %v: %v", to, mounted, readonly, r)
				}
				l.intact()
			}
		}
	}
}

// The image or a volume puts its own files where the kernel's are in /proc, and exchanges them while the container is
// made: kernel parameters and the process's own attributes are written to the real ones, or there is no container.
//
//cve:2025-52881,2025-62596
func TestProcfsRedirect(t *testing.T) {
	l := start(t, "procfs-redirect")
	const parameter = "sys/net/ipv4/ip_forward"
	edit := func(s *specs.Spec) {
		score := 77
		s.Root.Readonly = false
		s.Process.OOMScoreAdj = &score
		s.Linux.Sysctl = map[string]string{"net.ipv4.ip_forward": "1"}
		mask(s, nil, nil)
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/real", Type: "proc", Source: "proc"})
		s.Process.Args = []string{"cat", "/real/" + parameter, "/real/self/oom_score_adj"}
	}
	fake := filepath.Join(l.bundle("b", nil), "proc")
	files := []string{parameter, "self/attr/exec", "self/attr/current", "self/oom_score_adj", "self/uid_map", "1/oom_score_adj"}
	for _, f := range files {
		l.must(os.MkdirAll(filepath.Join(fake, filepath.Dir(f)), 0o755))
		l.must(os.WriteFile(filepath.Join(fake, f), []byte("fake\n"), 0o666))
	}

	// A mount over the kernel's files is refused.
	for _, m := range [][2]string{
		{fake, "/proc"}, {fake + "/sys", "/proc/sys"}, {fake + "/" + parameter, "/proc/" + parameter},
		{fake + "/self/oom_score_adj", "/proc/1/oom_score_adj"}, {fake + "/self/attr", "/proc/self/attr"},
		{fake + "/sys", "/dev/../proc/sys"},
	} {
		l.tries++
		l.config("b", func(s *specs.Spec) { edit(s); bind(s, m[0], m[1]) })
		if r := l.run("b"); r.status != 1 {
			l.Errorf("%s may be covered: %v", m[1], r)
		}
	}

	// Without a mount there, /proc is the image's.
	l.config("b", func(s *specs.Spec) { edit(s); without(s, "/proc") })
	l.must(os.Symlink(l.host("dir"), filepath.Join(fake, "evil")))
	l.must(os.Symlink("/etc", filepath.Join(fake, "evilself")))
	l.exchanging(fake, "sys", "evil", "self", "evilself")
	var o outcome
	l.race(func() int {
		r := l.run("b")
		o.add(r)
		if r.status != 0 || r.out != "1\n77\n" {
			l.Errorf("not written to the kernel: %v", r)
		}
		return 1
	})
	l.Log(o)
	l.delete("attacker")
	err := filepath.WalkDir(fake, func(path string, e os.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() && read(path) != "fake\n" {
			l.Errorf("%q was written to %s", read(path), path)
		}
		return err
	})
	l.must(err)
}

// Another container exchanges names all the time, which has nothing to do with this one: that must not keep it from
// starting, although the kernel gives up every path with ".." in it that it happens to walk at that moment (openat2(2),
// EAGAIN).
func TestRenameStorm(t *testing.T) {
	l := start(t, "rename-storm")
	const mounts = 30
	rootfs := l.bundle("b", func(s *specs.Spec) {
		s.Root.Readonly = false
		s.Process.Args = []string{"true"}
		s.Process.Cwd = "/up/etc"
		for i := range mounts {
			s.Mounts = append(s.Mounts, specs.Mount{Destination: fmt.Sprintf("/up/tmp/%d", i), Type: "tmpfs", Source: "tmpfs"})
		}
		s.Mounts = append(s.Mounts, specs.Mount{Destination: "/up/etc", Type: "tmpfs", Source: "tmpfs", Options: []string{"tmpcopyup"}})
		mask(s, []string{"/up/etc/passwd"}, []string{"/up/etc"})
	})
	l.must(os.Symlink(strings.Repeat("etc/../tmp/../", 20), filepath.Join(rootfs, "up")))
	vol := l.volume("/tmp")
	l.exchanging(vol, "d", "evil")
	l.race(func() int {
		if r := l.run("b"); r.status != 0 {
			l.Error(r)
		}
		return mounts + 3
	})
}
