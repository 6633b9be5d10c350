package process

import (
	"io"
	"os"
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
	if os.Geteuid() != 0 {
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
func execute(t *testing.T, root string, spec *specs.Spec, opt Options) (string, error) {
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
	b.MoveMount(proc, b.MakeDir(r, "proc", 0o755))
	p.CompileEarly(b)
	p.CompileSetup(b, proc)
	b.Fchdir(r)
	b.ChrootHere()
	exec := p.CompileFinish(b, r, 0)
	b.Sync(nsenter.SyncReady)
	p.CompileExec(b, exec)
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
