package process

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/libcontainer/host"
	"berth/libcontainer/process/seccomp"
	"berth/nsenter"
)

// The tests below run plans in a small root of their own: a private mount
// namespace, busybox, procfs.

const busybox = "/bin/busybox"

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 || testing.Short() {
		t.Skip("[root] needs root")
	}
	if _, err := os.Stat(busybox); err != nil {
		t.Skip("[busybox] needs " + busybox)
	}
}

// makeRoot is a root file system with busybox and the directories asked for.
func makeRoot(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"bin", "dev", "proc", "tmp"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "bin/busybox"), raw, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sh", "cat", "id", "pwd"} {
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", name)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// realFacts is as much of host.Facts as plans here need.
func realFacts(t *testing.T) host.Facts {
	t.Helper()
	f := host.Facts{Kernel: host.Version{Major: 5, Minor: 11}, EUID: os.Geteuid(), Seccomp: true, LastCap: 40}
	f.Stdio = [3]host.Stdio{
		{Open: true, Mode: unix.S_IFCHR, Rdev: devNull}, {Open: true, Mode: unix.S_IFIFO}, {Open: true, Mode: unix.S_IFIFO},
	}
	last, err := os.ReadFile("/proc/sys/kernel/cap_last_cap")
	if err != nil {
		t.Fatal(err)
	}
	f.LastCap, _ = strconv.Atoi(strings.TrimSpace(string(last)))
	f.Caps, _ = strconv.ParseUint(statusField(mustRead(t, "/proc/self/status"), "CapEff"), 16, 64)
	return f
}

func mustRead(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func statusField(status, name string) string {
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.Join(strings.Fields(value), " ")
		}
	}
	return ""
}

// execute runs the plan of spec in root and returns what it printed.
func execute(t *testing.T, root string, spec *specs.Spec, opt Options, extra ...func(*nsenter.Builder)) (string, error) {
	t.Helper()
	p, _, complaints := NewPlan(spec, realFacts(t), opt)
	if err := complaints.Err(); err != nil {
		t.Fatal(err)
	}
	if s := p.Seccomp(); s != nil {
		f, complaints := seccomp.Compile(s)
		if err := complaints.Err(); err != nil {
			t.Fatal(err)
		}
		p.Filter = &f
	}
	b := nsenter.NewBuilder(0)
	b.Unshare(unix.CLONE_NEWNS | unix.CLONE_NEWUTS)
	b.MountSetattrHost("/", true, nsenter.MountAttr{Propagation: unix.MS_PRIVATE})
	r := b.OpenHost(root, unix.O_PATH|unix.O_DIRECTORY)
	b.RootOpen()
	fs := b.Fsopen("proc")
	b.FsconfigCreate(fs)
	proc := b.Fsmount(fs, 0)
	target := b.MakeDir(r, "proc", 0o755)
	b.MoveMount(proc, target)
	b.Close(target)
	b.Close(fs)
	p.CompileEarly(b)
	p.CompileSetup(b, proc)
	b.Close(proc)
	b.Fchdir(r)
	b.ChrootHere()
	for _, f := range extra {
		f(b)
	}
	found := p.CompileFinish(b, r, 0)
	b.Sync(nsenter.SyncReady)
	p.CompileExec(b, found)
	return walk(t, p, b)
}

func walk(t *testing.T, p *Plan, b *nsenter.Builder) (string, error) {
	t.Helper()
	prog, err := b.Program()
	if err != nil {
		t.Fatal(err)
	}
	if err := nsenter.Verify(prog); err != nil {
		t.Fatal(err)
	}
	exe, err := nsenter.Seal(false)
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	out, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	child, err := nsenter.Start(nsenter.Config{Exe: exe, Stdio: [3]int{int(null.Fd()), int(in.Fd()), int(in.Fd())}})
	in.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer child.Wait() //nolint:errcheck // it is gone when its output ends
	defer child.Close()
	if err := child.Send(prog, nil); err != nil {
		t.Fatal(err)
	}
	for {
		e, err := child.Next()
		if err != nil {
			if fe, ok := err.(*fault.Error); ok {
				return "", p.Explain(fe)
			}
			return "", err
		}
		if e.Sync == nsenter.SyncReady {
			if err := p.Outside(child.PID); err != nil {
				return "", err
			}
			if err := child.Go(e.Sync); err != nil {
				t.Fatal(err)
			}
		}
		if e.End {
			break
		}
	}
	text, err := io.ReadAll(out)
	if err != nil {
		t.Fatal(err)
	}
	return string(text), nil
}

func base(args ...string) *specs.Spec {
	return &specs.Spec{
		Process: &specs.Process{Args: args, Cwd: "/", Env: []string{"PATH=/bin"}},
		Linux:   &specs.Linux{},
	}
}

//spec:28,29,34,35
func TestRunStatus(t *testing.T) {
	needRoot(t)
	root := makeRoot(t)
	tests := []struct {
		name string
		edit func(*specs.Spec)
		want map[string]string
	}{
		{"root without capabilities", func(*specs.Spec) {}, map[string]string{
			"Uid": "0 0 0 0", "Gid": "0 0 0 0", "Groups": "", "Umask": "0022", "NoNewPrivs": "0", "Seccomp": "0",
			"CapInh": "0000000000000000", "CapPrm": "0000000000000000", "CapEff": "0000000000000000",
			"CapBnd": "0000000000000000", "CapAmb": "0000000000000000",
		}},
		{"user with everything", func(s *specs.Spec) {
			s.Process.User = specs.User{UID: 1000, GID: 1001, AdditionalGids: []uint32{10, 20}, Umask: new(uint32)}
			s.Process.NoNewPrivileges = true
			s.Process.Capabilities = capsOf("CAP_KILL", "CAP_CHOWN")
		}, map[string]string{
			"Uid": "1000 1000 1000 1000", "Gid": "1001 1001 1001 1001", "Groups": "10 20", "Umask": "0000", "NoNewPrivs": "1",
			"CapInh": "0000000000000021", "CapPrm": "0000000000000021", "CapEff": "0000000000000021",
			"CapBnd": "0000000000000021", "CapAmb": "0000000000000021",
		}},
		{"seccomp without no_new_privs", func(s *specs.Spec) {
			s.Process.User = specs.User{UID: 1000, GID: 1000}
			s.Process.Capabilities = capsOf("CAP_KILL")
			s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{
				{Names: []string{"sethostname"}, Action: specs.ActErrno},
			}}
		}, map[string]string{
			"Uid": "1000 1000 1000 1000", "NoNewPrivs": "0", "Seccomp": "2", "Seccomp_filters": "1",
			"CapPrm": "0000000000000020", "CapEff": "0000000000000020", "CapAmb": "0000000000000020",
		}},
		{"seccomp with no_new_privs", func(s *specs.Spec) {
			s.Process.NoNewPrivileges = true
			s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow}
		}, map[string]string{"NoNewPrivs": "1", "Seccomp": "2", "CapEff": "0000000000000000"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			spec := base("cat", "/proc/self/status")
			tt.edit(spec)
			out, err := execute(t, root, spec, Options{ID: "t"})
			if err != nil {
				t.Fatal(err)
			}
			for field, want := range tt.want {
				if got := statusField(out, field); got != want {
					t.Errorf("%s: got %q, want %q", field, got, want)
				}
			}
		})
	}
}

func capsOf(names ...string) *specs.LinuxCapabilities {
	return &specs.LinuxCapabilities{Bounding: names, Effective: names, Permitted: names, Inheritable: names, Ambient: names}
}

func TestRunShows(t *testing.T) {
	needRoot(t)
	root := makeRoot(t)
	tests := []struct {
		name, shell string
		edit        func(*specs.Spec)
		want        string
	}{
		{"cwd", "pwd", func(s *specs.Spec) { s.Process.Cwd = "/tmp" }, "/tmp"},
		{"cwd below a link stays inside", "pwd", func(s *specs.Spec) { s.Process.Cwd = "/tmp/../../../tmp" }, "/tmp"},
		{"hostname", "busybox hostname", func(s *specs.Spec) { s.Hostname = "berthed" }, "berthed"},
		{"domainname", "cat /proc/sys/kernel/domainname", func(s *specs.Spec) { s.Domainname = "dom" }, "dom"},
		{"sysctl", "cat /proc/sys/kernel/domainname", func(s *specs.Spec) {
			s.Linux.Sysctl = map[string]string{"kernel.domainname": "by.sysctl"}
		}, "by.sysctl"},
		{"rlimit", "ulimit -n; ulimit -H -n", func(s *specs.Spec) {
			s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 100, Hard: 200}}
		}, "100\n200"},
		{"rlimit of a user", "ulimit -n; ulimit -H -n", func(s *specs.Spec) {
			s.Process.User.UID = 1000
			s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 1000, Hard: 1000}}
		}, "1000\n1000"},
		{"nearly no descriptors", "ulimit -n", func(s *specs.Spec) {
			s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 20, Hard: 20}}
		}, "20"},
		{"oom score", "cat /proc/self/oom_score_adj", func(s *specs.Spec) { s.Process.OOMScoreAdj = ptr(7) }, "7"},
		{"nice", "set -- $(cat /proc/self/stat); echo ${19}", func(s *specs.Spec) {
			s.Process.Scheduler = &specs.Scheduler{Policy: specs.SchedBatch, Nice: 5}
		}, "5"},
		{"ioprio", "busybox ionice", func(s *specs.Spec) {
			s.Process.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 3}
		}, "best-effort: prio 3"},
		{"personality", "busybox uname -m", func(s *specs.Spec) {
			s.Linux.Personality = &specs.LinuxPersonality{Domain: specs.PerLinux32}
		}, map[string]string{"amd64": "i686", "arm64": "armv8l"}[goarch]},
		{"env, the last counts", "echo $A $B", func(s *specs.Spec) {
			s.Process.Env = append(s.Process.Env, "A=1", "B=2", "A=3")
		}, "3 2"},
		{"stdout is the user's", "echo ok > /proc/self/fd/1", func(s *specs.Spec) { s.Process.User.UID = 1000 }, "ok"},
		{"no foreign descriptors", "cd /proc/self/fd; echo *", func(*specs.Spec) {}, "0 1 2 3"},
		{"seccomp forbids", "busybox hostname x 2>&1; busybox mkdir /tmp/x 2>&1", func(s *specs.Spec) {
			s.Linux.Seccomp = &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Syscalls: []specs.LinuxSyscall{
				{Names: []string{"mkdir", "mkdirat"}, Action: specs.ActErrno, ErrnoRet: ptr(uint(unix.ENOTTY))},
			}}
		}, "hostname: sethostname: Operation not permitted\nmkdir: can't create directory '/tmp/x': Inappropriate ioctl for device"},
		{"own session", "cat /proc/self/stat", func(s *specs.Spec) {
			s.Process.Args = []string{"sh", "-c", "set -- $(cat /proc/self/stat); [ $6 = $$ ] && echo leader"}
		}, "leader"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			spec := base("sh", "-c", tt.shell)
			tt.edit(spec)
			facts := Options{ID: "t"}
			out, err := execute(t, root, spec, facts)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.TrimSpace(out); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func ptr[T any](v T) *T { return &v }

// A directory that only the user may enter, as with NFS's root squashing: root
// is made to need permissions like everybody else.
func TestRunCwdOfTheUser(t *testing.T) {
	needRoot(t)
	root := makeRoot(t)
	home := filepath.Join(root, "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(home, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(home, 1000, 1000); err != nil {
		t.Fatal(err)
	}
	weaken := func(b *nsenter.Builder) {
		all := realFacts(t).Caps &^ (1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH)
		b.Capset(all, all, 0)
	}
	for _, cwd := range []string{"/home", "/home/sub"} {
		spec := base("pwd")
		spec.Process.Cwd = cwd
		spec.Process.User = specs.User{UID: 1000, GID: 1000}
		spec.Process.Capabilities = capsOf("CAP_KILL")
		if out, err := execute(t, root, spec, Options{ID: "t"}, weaken); err != nil || strings.TrimSpace(out) != cwd {
			t.Errorf("as the owner: %q, %v", out, err)
		}
		spec.Process.User.UID = 1001
		_, err := execute(t, root, spec, Options{ID: "t"}, weaken)
		if err == nil || !strings.Contains(err.Error(), "neither root nor the user may enter the directory") {
			t.Errorf("as somebody else: %v", err)
		}
	}
}

//spec:23
func TestRunFails(t *testing.T) {
	needRoot(t)
	root := makeRoot(t)
	if err := os.WriteFile(filepath.Join(root, "bin/plain"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "bin/private"), []byte("x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "bin/noexec"), []byte("\x00\x01"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "bin/script"), []byte("#!/no/such\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	args := func(a ...string) func(*specs.Spec) { return func(s *specs.Spec) { s.Process.Args = a } }
	tests := []struct {
		name  string
		edit  func(*specs.Spec)
		want  string
		field fault.Pointer
	}{
		{"not in PATH", args("nothing"), `exec: "nothing": executable file not found in $PATH`, "/process/args/0"},
		{"not executable in PATH", args("plain"), `exec: "plain": executable file not found in $PATH`, "/process/args/0"},
		{"no such file", args("/nothing"), `exec: "/nothing": stat /nothing: no such file or directory`, "/process/args/0"},
		{"not executable", args("/bin/plain"), `exec: "/bin/plain": permission denied`, "/process/args/0"},
		{"not executable by the user", func(s *specs.Spec) {
			s.Process.Args, s.Process.User.UID = []string{"/bin/private"}, 1000
		}, `exec: "/bin/private": permission denied`, "/process/args/0"},
		{"directory", args("/bin"), `exec: "/bin": is a directory`, "/process/args/0"},
		{"no program", args("/bin/noexec"), `exec /bin/noexec: exec format error`, "/process/args/0"},
		{"no interpreter", args("/bin/script"), `exec /bin/script: no such file or directory`, "/process/args/0"},
		{"no such directory", func(s *specs.Spec) { s.Process.Cwd = "/none" }, "chdir /none: no such file or directory", "/process/cwd"},
		{"a descriptor as directory", func(s *specs.Spec) { s.Process.Cwd = "/proc/self/fd/0" }, "chdir /proc/self/fd/0: too many levels of symbolic links", "/process/cwd"},
		{"a magic link as directory", func(s *specs.Spec) { s.Process.Cwd = "/proc/self/cwd" }, "chdir /proc/self/cwd: too many levels of symbolic links", "/process/cwd"},
		{"no such parameter", func(s *specs.Spec) { s.Linux.Sysctl = map[string]string{"kernel.nonsense": "1"} }, "sysctl kernel.nonsense=1: no such file or directory", "/linux/sysctl/kernel.nonsense"},
		{"too high a limit", func(s *specs.Spec) {
			s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NICE", Soft: 2, Hard: 1}}
		}, "prlimit RLIMIT_NICE 2:1: invalid argument", "/process/rlimits/0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			spec := base("busybox")
			tt.edit(spec)
			_, err := execute(t, root, spec, Options{ID: "t"})
			fe, ok := err.(*fault.Error)
			if !ok || !strings.HasPrefix(fe.Error(), tt.want) || fe.Field != tt.field || fe.Phase == "" || fe.Hint == "" && fe.Op != "chdir" {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
}

// The terminal is the three standard descriptors, the session's, of the size
// asked for, and the user's.
//
//spec:21,22
func TestRunTerminal(t *testing.T) {
	needRoot(t)
	ptmx, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("[ptmx] " + err.Error())
	}
	defer ptmx.Close()
	if err := unix.IoctlSetPointerInt(int(ptmx.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(ptmx.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open("/dev/pts/"+strconv.Itoa(number), unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	pts := os.NewFile(uintptr(fd), "pts")
	defer pts.Close()

	spec := base("sh", "-c", "busybox stty size; : </dev/tty && echo controlling; [ -O /proc/self/fd/1 ] && echo mine; cat <&2 >&1")
	spec.Process.Terminal = true
	spec.Process.ConsoleSize = &specs.Box{Height: 31, Width: 97}
	spec.Process.User = specs.User{UID: 1000, GID: 1000}
	p, _, complaints := NewPlan(spec, realFacts(t), Options{ID: "t"})
	if err := complaints.Err(); err != nil {
		t.Fatal(err)
	}
	root := makeRoot(t)
	if err := unix.Mknod(filepath.Join(root, "dev/tty"), unix.S_IFCHR|0o666, int(unix.Mkdev(5, 0))); err != nil {
		t.Skip("[mknod] " + err.Error())
	}
	if err := os.Chmod(filepath.Join(root, "dev/tty"), 0o666); err != nil {
		t.Fatal(err)
	}
	b := nsenter.NewBuilder(1)
	b.Unshare(unix.CLONE_NEWNS)
	b.MountSetattrHost("/", true, nsenter.MountAttr{Propagation: unix.MS_PRIVATE})
	r := b.OpenHost(root, unix.O_PATH|unix.O_DIRECTORY)
	fs := b.Fsopen("proc")
	b.FsconfigCreate(fs)
	proc := b.Fsmount(fs, 0)
	target := b.MakeDir(r, "proc", 0o755)
	b.MoveMount(proc, target)
	b.Close(target)
	b.Close(fs)
	p.CompileSetup(b, proc)
	b.Close(proc)
	b.Fchdir(r)
	b.ChrootHere()
	p.CompileExec(b, p.CompileFinish(b, r, 1))
	prog, err := b.Program()
	if err != nil {
		t.Fatal(err)
	}
	exe, err := nsenter.Seal(false)
	if err != nil {
		t.Fatal(err)
	}
	defer exe.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	n := int(null.Fd())
	child, err := nsenter.Start(nsenter.Config{Exe: exe, Stdio: [3]int{n, n, n}})
	if err != nil {
		t.Fatal(err)
	}
	defer child.Close()
	if err := child.Send(prog, []*os.File{pts}); err != nil {
		t.Fatal(err)
	}
	if e, err := child.Next(); err != nil || !e.End {
		t.Fatal(e, err)
	}
	pts.Close()
	if _, err := ptmx.WriteString("typed\n\x04"); err != nil {
		t.Fatal(err)
	}
	if _, err := child.Wait(); err != nil {
		t.Fatal(err)
	}
	out := make([]byte, 4096)
	got := ""
	for {
		n, err := ptmx.Read(out)
		got += string(out[:n])
		if err != nil {
			break // EIO: nobody has the terminal any more
		}
	}
	for _, want := range []string{"31 97", "controlling", "mine", "typed"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
}

// No descriptor that the walker has open leads to a working directory
// (CVE-2024-21626).
func TestRunNoCwdByDescriptor(t *testing.T) {
	needRoot(t)
	root := makeRoot(t)
	for fd := range 41 {
		spec := base("pwd")
		spec.Process.Cwd = "/proc/self/fd/" + strconv.Itoa(fd)
		if out, err := execute(t, root, spec, Options{ID: "t"}); err == nil {
			t.Errorf("descriptor %d: %s", fd, out)
		}
	}
}

// A container gets the limits that the runtime was started with, not those
// that Go raises for itself.
func TestRunLimitOfDescriptors(t *testing.T) {
	needRoot(t)
	shell := exec.Command("sh", "-c", "ulimit -S -n 512; exec \"$0\" -test.run='^TestRunInheritedLimit$' -test.v", os.Args[0])
	shell.Env = append(os.Environ(), "INHERITED_LIMIT=512")
	if out, err := shell.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: TestRunInheritedLimit") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestRunInheritedLimit(t *testing.T) {
	want := os.Getenv("INHERITED_LIMIT")
	if want == "" {
		t.Skip("[parent] is run by TestRunLimitOfDescriptors")
	}
	out, err := execute(t, makeRoot(t), base("sh", "-c", "ulimit -S -n"), Options{ID: "t"})
	if err != nil || strings.TrimSpace(out) != want {
		t.Errorf("%q, %v, want %s", out, err, want)
	}
}

func TestHome(t *testing.T) {
	dir := t.TempDir()
	if got := Home(0, dir); got != "/" {
		t.Errorf("without passwd: %s", got)
	}
	if err := os.Mkdir(filepath.Join(dir, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	passwd := filepath.Join(dir, "etc/passwd")
	if err := os.Symlink("/etc/real", passwd); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "etc/real"), []byte("u:x:4242:1::/inside:\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := Home(4242, dir); got != "/inside" {
		t.Errorf("by a link that stays inside: %s", got)
	}
	if got := Home(0, dir); got != "/" {
		t.Errorf("the host's passwd was read: %s", got)
	}
	os.Remove(passwd)
	if err := unix.Mkfifo(passwd, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := Home(0, dir); got != "/" {
		t.Errorf("a FIFO: %s", got)
	}
	if got := Home(0, filepath.Join(dir, "none")); got != "/" {
		t.Errorf("no root file system: %s", got)
	}
}
