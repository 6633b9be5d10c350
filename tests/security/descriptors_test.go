package security

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// leaky is a careless manager: it starts Berth with descriptors of the host's directories, none of them close-on-exec,
// from 3 on.
func (l *lab) leaky(n int) func(*exec.Cmd) {
	return func(cmd *exec.Cmd) {
		for range n {
			f, err := os.Open(l.host("dir"))
			l.must(err)
			l.Cleanup(func() { f.Close() })
			cmd.ExtraFiles = append(cmd.ExtraFiles, f)
		}
	}
}

// descriptor is one of a list that `attack fds` made.
type descriptor struct {
	number int
	kind   string
	target string
}

func descriptors(list string) []descriptor {
	var out []descriptor
	for line := range strings.Lines(list) {
		f := strings.SplitN(strings.TrimRight(line, "\r\n"), " ", 4)
		if n, err := strconv.Atoi(f[0]); err == nil && len(f) == 4 {
			out = append(out, descriptor{n, f[1], f[3]})
		}
	}
	return out
}

// hold wants the standard descriptors, none of them a directory or of the host's files, and besides them the wanted ones.
func (l *lab) hold(where, list string, wanted ...string) {
	l.Helper()
	l.tries++
	have := descriptors(list)
	if len(have) != 3+len(wanted) {
		l.Errorf("%s: %d descriptors, not %d:\n%s", where, len(have), 3+len(wanted), list)
		return
	}
	for i, d := range have {
		switch {
		case d.number != i:
			l.Errorf("%s: descriptor %d where %d should be", where, d.number, i)
		case i < 3 && (d.kind == "dir" || strings.Contains(d.target, l.dir+"/host") || strings.Contains(d.target, l.dir+"/state")):
			l.Errorf("%s: descriptor %d is %s %s", where, i, d.kind, d.target)
		case i >= 3 && d.target != wanted[i-3]:
			l.Errorf("%s: descriptor %d is %s, not %s", where, i, d.target, wanted[i-3])
		}
	}
}

// Every process that Berth starts has the standard descriptors and what was asked for: the container's own, each of the
// six kinds of hooks, and what is executed, whatever the manager leaves open.
//
//cve:2024-21626
func TestDescriptors(t *testing.T) {
	l := start(t, "descriptors")
	const leaks = 17
	hook := func(kind, attack, to string) []specs.Hook {
		return []specs.Hook{{Path: attack, Args: []string{"attack", "fds", to}}}
	}
	hooks := func(rootfs string) *specs.Hooks {
		program := filepath.Join(rootfs, "bin/attack")
		return &specs.Hooks{
			Prestart:        hook("prestart", program, l.path("prestart")), //lint:ignore SA1019 deprecated, and still run
			CreateRuntime:   hook("createRuntime", program, l.path("createRuntime")),
			CreateContainer: hook("createContainer", program, l.path("createContainer")),
			StartContainer:  hook("startContainer", "/bin/attack", "/startContainer"),
			Poststart:       hook("poststart", program, l.path("poststart")),
			Poststop:        hook("poststop", program, l.path("poststop")),
		}
	}
	rootfs := l.bundle("b", func(s *specs.Spec) {
		s.Root.Readonly = false
		s.Process.Args = []string{"attack", "fds"}
		s.Hooks = hooks(l.path("b/rootfs"))
	})
	all := func() {
		l.Helper()
		for _, kind := range []string{"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"} {
			path := l.path(kind)
			if kind == "startContainer" {
				path = filepath.Join(rootfs, kind)
			}
			l.hold(kind, read(path))
			os.Remove(path)
		}
	}

	r := l.command(l.leaky(leaks), "run", "--bundle", l.path("b"), l.name("b"))
	l.hold("run", r.out)
	all()

	out, err := os.Create(l.path("created"))
	l.must(err)
	defer out.Close()
	stdio := func(cmd *exec.Cmd) { l.leaky(leaks)(cmd); cmd.Stdout, cmd.Stderr = out, out }
	for _, args := range [][]string{{"create", "--bundle", l.path("b"), l.name("b")}, {"start", l.name("b")}} {
		if r := l.command(stdio, args...); r.status != 0 {
			l.Fatal(args, r, read(out.Name()))
		}
	}
	l.await("the list", func() bool { return strings.Count(read(out.Name()), "\n") >= 3 })
	l.hold("create and start", read(out.Name()))
	l.command(l.leaky(leaks), "delete", "--force", l.name("b"))
	all()

	// What was asked for, and no more.
	own, err := os.Create(l.path("asked"))
	l.must(err)
	defer own.Close()
	asked := func(cmd *exec.Cmd) { cmd.ExtraFiles = []*os.File{own}; l.leaky(leaks)(cmd) }
	r = l.command(asked, "run", "--preserve-fds", "1", "--bundle", l.path("b"), l.name("b"))
	l.hold("run --preserve-fds 1", r.out, own.Name())
	all()
	// LISTEN_PID has to be the runtime's own pid: the shell becomes it.
	activate := func(cmd *exec.Cmd) {
		asked(cmd)
		cmd.Env = append(os.Environ(), "LISTEN_FDS=1")
		cmd.Args = append([]string{"sh", "-c", `export LISTEN_PID=$$; exec "$0" "$@"`, cmd.Path}, cmd.Args[1:]...)
		cmd.Path, err = exec.LookPath("sh")
		l.must(err)
	}
	r = l.command(activate, "run", "--bundle", l.path("b"), l.name("b"))
	l.hold("run with LISTEN_FDS", r.out, own.Name())

	l.bundle("t", func(s *specs.Spec) {
		s.Process.Args = []string{"attack", "fds"}
		s.Process.Terminal = true
	})
	l.hold("terminal", l.onTerminal("t").out)

	l.pausing("e", nil)
	r = l.command(l.leaky(leaks), "exec", l.name("e"), "attack", "fds")
	l.hold("exec", r.out)
	r = l.command(asked, "exec", "--preserve-fds", "1", l.name("e"), "attack", "fds")
	l.hold("exec --preserve-fds 1", r.out, own.Name())
	l.hold("exec --tty", l.execOnTerminal("e").out)
}

// execOnTerminal executes `attack fds` on a terminal.
func (l *lab) execOnTerminal(bundle string) run {
	l.Helper()
	socket := l.path("console")
	os.Remove(socket)
	ptmx, stop := consoleSocket(l.T, socket)
	defer stop()
	args := []string{"exec", "--detach", "--tty", "--console-socket", socket, l.name(bundle), "attack", "fds"}
	if r := l.command(l.leaky(9), args...); r.status != 0 {
		return r
	}
	terminal := <-ptmx
	defer terminal.Close()
	return run{out: readTerminal(terminal)}
}

// The working directory is a descriptor of the host's that a careless manager left open: there is no container, and
// nothing is executed. No way up from any working directory leads out of the root.
//
//cve:2024-21626
func TestWorkingDirectory(t *testing.T) {
	l := start(t, "fd-leak")
	const leaks = 40
	rootfs := l.bundle("b", nil)
	l.pausing("e", nil)
	for n := 3; n <= leaks; n++ {
		for i, cwd := range []string{"/proc/self/fd/%d", "/proc/self/fd/%d/..", "/proc/1/fd/%d", "/dev/fd/%d"} {
			if i > 0 && n%10 != 3 {
				break // the other ways there, for some of them
			}
			l.tries += 2
			dir := fmt.Sprintf(cwd, n)
			l.config("b", func(s *specs.Spec) {
				s.Root.Readonly = false
				s.Process.Args = []string{"sh", "-c", "pwd; ls; attack climb"}
				s.Process.Cwd = dir
			})
			r := l.command(l.leaky(leaks), "run", "--bundle", l.path("b"), l.name("b"))
			// "fd/N/.." without links in it is the process's own /proc/self/fd.
			safe := func(r run) bool {
				return r.status != 0 || strings.HasSuffix(dir, "/..") && !strings.Contains(r.out, "keep") && strings.HasSuffix(r.out, "inside\n")
			}
			if !safe(r) {
				l.Errorf("cwd %s: %v", dir, r)
			}
			r = l.command(l.leaky(leaks), "exec", "--cwd", dir, l.name("e"), "sh", "-c", "pwd; ls; attack climb")
			if !safe(r) {
				l.Errorf("exec --cwd %s: %v", dir, r)
			}
		}
		if l.Failed() {
			break
		}
	}
	l.must(os.Symlink("/proc/self/fd/8", filepath.Join(rootfs, "link")))
	l.must(os.Symlink(l.host("dir"), filepath.Join(rootfs, "tohost")))
	for _, dir := range []string{"/", "/etc", "/link", "/tohost", "/../../..", "/proc/self/root", "/proc/1/cwd"} {
		l.tries++
		l.config("b", func(s *specs.Spec) {
			s.Process.Args = []string{"/bin/attack", "climb"}
			s.Process.Cwd = dir
		})
		if r := l.command(l.leaky(leaks), "run", "--bundle", l.path("b"), l.name("b")); r.status == 0 && r.out != "inside\n" {
			l.Errorf("cwd %s: %v", dir, r)
		}
	}
}

// A startContainer hook is a program of the image's: it may do no more than the container's process, and is in its groups.
func TestHookPrivileges(t *testing.T) {
	l := start(t, "hook-privileges")
	groups := regexp.MustCompile(`(?m)^0::.*$|^[0-9]+:(pids|devices|freezer):.*$`)
	const look = "cat /proc/self/status /proc/self/cgroup; for n in /proc/self/ns/*; do readlink $n; done"
	for _, user := range []uint32{0, 1000} {
		rootfs := l.bundle("b"+strconv.Itoa(int(user)), func(s *specs.Spec) {
			s.Root.Readonly = false
			s.Process.Args = []string{"sh", "-c", look}
			s.Process.User = specs.User{UID: user, GID: user}
			s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow,
				Syscalls: []specs.LinuxSyscall{{Names: []string{"reboot"}, Action: specs.ActErrno}}}
			s.Hooks = &specs.Hooks{StartContainer: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "(" + look + ") > /tmp/hook"}, Env: []string{"PATH=/bin"}}}}
		})
		l.must(os.Chmod(filepath.Join(rootfs, "tmp"), 0o777))
		r := l.run("b" + strconv.Itoa(int(user)))
		if r.status != 0 {
			l.Fatal(r)
		}
		hook := read(filepath.Join(rootfs, "tmp/hook"))
		for _, name := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Uid", "Gid"} {
			l.tries++
			line := regexp.MustCompile(`(?m)^` + name + `:.*$`)
			if mine, its := line.FindString(r.out), line.FindString(hook); mine != its || mine == "" {
				l.Errorf("user %d: the hook has %q, the process %q", user, its, mine)
			}
		}
		if mine, its := groups.FindAllString(r.out, -1), groups.FindAllString(hook, -1); !slices.Equal(mine, its) || len(mine) == 0 {
			l.Errorf("user %d: the hook is in %q, the process in %q", user, its, mine)
		}
	}
}
