package process

import (
	"encoding/json"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/libcontainer/host"
	"berth/libcontainer/process/seccomp"
	"berth/nsenter"
)

// machine is a current kernel, and a runtime that is root with everything;
// its standard descriptors are closed.
func machine() host.Facts {
	return host.Facts{Kernel: host.Version{Major: 6, Minor: 1}, Caps: 1<<41 - 1, LastCap: 40, Seccomp: true}
}

// config is a spec from a fragment of config.json. What it leaves out of
// process is the smallest that can be planned.
func config(t *testing.T, fragment string) *specs.Spec {
	t.Helper()
	s := &specs.Spec{Process: &specs.Process{Cwd: "/", Args: []string{"sh"}}, Linux: &specs.Linux{}}
	d := json.NewDecoder(strings.NewReader(fragment))
	d.DisallowUnknownFields()
	if err := d.Decode(s); err != nil {
		t.Fatalf("%s: %v", fragment, err)
	}
	return s
}

func planOf(t *testing.T, s *specs.Spec, f host.Facts, opt Options) *Plan {
	t.Helper()
	if opt.ID == "" {
		opt.ID = "c1"
	}
	p, warnings, complaints := NewPlan(s, f, opt)
	if len(complaints) > 0 || len(warnings) > 0 {
		t.Fatalf("complaints %v, warnings %v", complaints, warnings)
	}
	return p
}

// The registers that the tests hand over.
const (
	rootReg = nsenter.Reg(iota + 1)
	procReg
	consoleReg
)

// steps are the lines of the whole program without their numbers. It holds
// every program to nsenter's rules.
func steps(t *testing.T, p *Plan) []string {
	t.Helper()
	if p.seccomp != nil {
		p.Filter = &seccomp.Filter{BPF: make([]byte, 16), Flags: 4}
	}
	console := consoleReg
	if !p.terminal {
		console = 0
	}
	b := nsenter.NewBuilder(3)
	p.CompileEarly(b)
	b.Check(procReg, nsenter.Identity{Magic: unix.PROC_SUPER_MAGIC})
	b.RootOpen()
	p.CompileSetup(b, procReg)
	b.Fchdir(rootReg)
	b.ChrootHere()
	exec := p.CompileFinish(b, rootReg, console)
	p.CompileListener(b)
	p.CompileExec(b, exec)
	prog, err := b.Program()
	if err != nil {
		t.Fatal(err)
	}
	if err := nsenter.Verify(prog); err != nil {
		t.Error(err)
	}
	var out []string
	for i := range prog.Steps {
		_, line, _ := strings.Cut(strings.TrimLeft(prog.Line(i), " "), " ")
		out = append(out, line)
	}
	return out
}

// follow holds lines to have the wanted ones in their order, with others
// between them.
func follow(t *testing.T, lines, want []string) {
	t.Helper()
	at := 0
	for _, w := range want {
		i := at
		for i < len(lines) && lines[i] != w {
			i++
		}
		if i == len(lines) {
			t.Fatalf("missing, or out of order: %s\nin:\n%s", w, strings.Join(lines, "\n"))
		}
		at = i + 1
	}
}

func never(t *testing.T, lines []string, parts ...string) {
	t.Helper()
	for _, line := range lines {
		for _, part := range parts {
			if strings.Contains(line, part) {
				t.Errorf("unwanted: %s", line)
			}
		}
	}
}

// How the program's text names these calls.
var (
	rlimitStep = nsenter.Call(unix.SYS_PRLIMIT64).String()
	ioprioStep = nsenter.Call(unix.SYS_IOPRIO_SET).String()
)

//spec:23,24,28,29,30,31,32,34,35,74,82
func TestSteps(t *testing.T) {
	const (
		find = `r1 = FIND(["/usr/local/sbin/sh", "/usr/local/bin/sh", "/usr/sbin/sh", "/usr/bin/sh", "/sbin/sh", "/bin/sh"], 6)  # /process/args/0`
		run  = `execve(r1, ["sh"], [])  # /process/args/0`
	)
	tests := []struct {
		name, config string
		opt          Options
		facts        func(*host.Facts)
		want         []string
		never        []string
	}{
		{
			name: "the least", config: `{}`,
			want: []string{
				`setsid()`,
				`r4 = keyctl(KEYCTL_JOIN_SESSION_KEYRING, "_ses.c1") or ENOSYS|EPERM -> 4`,
				`keyctl(KEYCTL_SETPERM, r4, 0x3f1b0008) or EACCES|EPERM`,
				`umask(022)  # /process/user/umask`,
				`setgroups(0, NULL)  # /process/user/additionalGids`,
				`setresgid(0, 0, 0)  # /process/user/gid`,
				`setresuid(0, 0, 0)  # /process/user/uid`,
				`capset(_LINUX_CAPABILITY_VERSION_3, {effective=0x0, permitted=0x0, inheritable=0x0})  # /process/capabilities`,
				`close_range(4, ~0U, 0)`, find, run,
			},
			never: []string{"KEEPCAPS", "seccomp", "NO_NEW_PRIVS", "fchown", "dup3", "TIOCSCTTY", "hostname", "personality", "mempolicy", "AMBIENT_RAISE"},
		},
		{name: "no new keyring", config: `{}`, opt: Options{NoNewKeyring: true}, want: []string{`setsid()`}, never: []string{"keyctl"}},
		{name: "another id", config: `{}`, opt: Options{ID: "x.y"}, want: []string{`r4 = keyctl(KEYCTL_JOIN_SESSION_KEYRING, "_ses.x.y") or ENOSYS|EPERM -> 4`}},
		{
			name: "names", config: `{"hostname": "box", "domainname": "example"}`,
			want: []string{`sethostname("box", 3)  # /hostname`, `setdomainname("example", 7)  # /domainname`},
		},
		{
			name: "kernel parameters in a fixed order", config: `{"linux": {"sysctl": {"net.ipv4.ip_forward": "1", "kernel.msgmax": "65536"}}}`,
			opt: Options{NoNewKeyring: true},
			want: []string{
				`r4 = openat(r2, "sys/kernel/msgmax", O_WRONLY|O_CLOEXEC)  # /linux/sysctl/kernel.msgmax`,
				`write(r4, "65536", 5)  # /linux/sysctl/kernel.msgmax`,
				`close(r4)  # /linux/sysctl/kernel.msgmax`,
				`r4 = openat(r2, "sys/net/ipv4/ip_forward", O_WRONLY|O_CLOEXEC)  # /linux/sysctl/net.ipv4.ip_forward`,
				`write(r4, "1", 1)  # /linux/sysctl/net.ipv4.ip_forward`,
			},
		},
		{
			name: "a parameter of a VLAN interface", config: `{"linux": {"sysctl": {"net.ipv4.conf.eth0/1.forwarding": "1"}}}`,
			opt:  Options{NoNewKeyring: true},
			want: []string{`r4 = openat(r2, "sys/net/ipv4/conf/eth0.1/forwarding", O_WRONLY|O_CLOEXEC)  # /linux/sysctl/net.ipv4.conf.eth0~11.forwarding`},
		},
		{
			name: "terminal", config: `{"process": {"terminal": true, "consoleSize": {"height": 25, "width": 80}}}`,
			want: []string{
				`ioctl(r3, TIOCSCTTY, 0)  # /process/terminal`,
				`ioctl(r3, TIOCSWINSZ, {rows=25, columns=80})  # /process/consoleSize`,
				`dup3(r3, 0, 0x0)  # /process/terminal`,
				`dup3(r3, 1, 0x0)  # /process/terminal`,
				`dup3(r3, 2, 0x0)  # /process/terminal`,
			},
			never: []string{"fchown"},
		},
		{
			name: "a user's terminal is his", config: `{"process": {"terminal": true, "user": {"uid": 7, "gid": 0}}}`,
			want: []string{
				`dup3(r3, 0, 0x0)  # /process/terminal`,
				`fchown(0, 7, -1) or EPERM|EROFS|EINVAL  # /process/user/uid`,
			},
			never: []string{"fchown(1", "fchown(2", "TIOCSWINSZ"},
		},
		{
			name: "console size without terminal", config: `{"process": {"consoleSize": {"height": 25, "width": 80}}}`,
			never: []string{"TIOCSWINSZ"},
		},
		{
			name: "standard descriptors", config: `{"process": {"user": {"uid": 7, "gid": 8}}}`,
			facts: func(f *host.Facts) {
				f.Stdio = [3]host.Stdio{
					{Open: true, Mode: unix.S_IFCHR, Rdev: devNull},
					{Open: true, Mode: unix.S_IFIFO, UID: 0},
					{Open: true, Mode: unix.S_IFIFO, UID: 7},
				}
			},
			want: []string{
				`r5 = openat2(r1, "/dev/null", {O_RDWR|O_NOCTTY|O_NONBLOCK|O_CLOEXEC, RESOLVE_IN_ROOT|RESOLVE_NO_MAGICLINKS}, 24) or ENOENT|ENOTDIR|EACCES|EPERM -> 10`,
				`CHECK(r5, 020000, 0x103, 0x0, 0) or EXDEV -> 9`,
				`dup3(r5, 0, 0x0)`,
				`close(r5)`,
				`fchown(1, 7, -1) or EPERM|EROFS|EINVAL  # /process/user/uid`,
			},
			never: []string{"fchown(0", "fchown(2", "dup3(r5, 1"},
		},
		{
			name: "standard descriptors of another user namespace", config: `{}`, opt: Options{UserNS: true},
			facts: func(f *host.Facts) { f.Stdio[2] = host.Stdio{Open: true, Mode: unix.S_IFREG} },
			want:  []string{`fchown(2, 0, -1) or EPERM|EROFS|EINVAL  # /process/user/uid`},
			never: []string{"fchown(0", "fchown(1"},
		},
		{
			name:   "the working directory, and again as the user where root may not enter",
			config: `{"process": {"cwd": "/home/../srv//x/", "user": {"uid": 7, "gid": 8}}}`,
			opt:    Options{NoNewKeyring: true},
			want: []string{
				`r4 = openat2(r1, "/srv/x", {O_PATH|O_DIRECTORY|O_CLOEXEC, RESOLVE_IN_ROOT|RESOLVE_NO_MAGICLINKS}, 24) or EACCES|EPERM -> 57  # /process/cwd`,
				`fchdir(r4) or EACCES|EPERM -> 57  # /process/cwd`,
				`setresuid(7, 7, 7)  # /process/user/uid`,
				`INSIDE() then -> 69  # /process/cwd`,
				`setresuid(7, 7, 7)  # /process/user/uid`,
				`r4 = openat2(r1, "/srv/x", {O_PATH|O_DIRECTORY|O_CLOEXEC, RESOLVE_IN_ROOT|RESOLVE_NO_MAGICLINKS}, 24)  # /process/cwd`,
				`fchdir(r4)  # /process/cwd`,
				`INSIDE()  # /process/cwd`,
			},
		},
		{
			name: "user", config: `{"process": {"user": {"uid": 1000, "gid": 1001, "umask": 63, "additionalGids": [10, 20]}}}`,
			want: []string{
				`prctl(PR_CAPBSET_DROP, CAP_CHOWN)  # /process/capabilities/bounding`,
				`prctl(PR_CAPBSET_DROP, CAP_CHECKPOINT_RESTORE)  # /process/capabilities/bounding`,
				`umask(077)  # /process/user/umask`,
				`prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0)  # /process/capabilities`,
				`setgroups(2, [10 20])  # /process/user/additionalGids`,
				`setresgid(1001, 1001, 1001)  # /process/user/gid`,
				`setresuid(1000, 1000, 1000)  # /process/user/uid`,
				`capset(_LINUX_CAPABILITY_VERSION_3, {effective=0x0, permitted=0x0, inheritable=0x0})  # /process/capabilities`,
				`prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0)  # /process/capabilities`,
				`prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)  # /process/capabilities/ambient`,
			},
		},
		{name: "umask 0", config: `{"process": {"user": {"uid": 0, "gid": 0, "umask": 0}}}`, want: []string{`umask(00)  # /process/user/umask`}, never: []string{"umask(022)"}},
		{name: "a user namespace may deny setgroups", config: `{}`, opt: Options{UserNS: true}, want: []string{`setgroups(0, NULL) or EPERM  # /process/user/additionalGids`}},
		{
			name: "as may the one that the runtime is in", config: `{}`, facts: func(f *host.Facts) { f.UserNS = true },
			want: []string{`setgroups(0, NULL) or EPERM  # /process/user/additionalGids`},
		},
		{
			name: "groups that are asked for must be set", config: `{"process": {"user": {"uid": 0, "gid": 0, "additionalGids": [1]}}}`,
			opt: Options{UserNS: true}, want: []string{`setgroups(1, [1])  # /process/user/additionalGids`},
		},
		{name: "setgroups denied", config: `{}`, opt: Options{UserNS: true, NoSetgroups: true}, never: []string{"setgroups"}},
		{
			name:   "capabilities",
			config: `{"process": {"capabilities": {"bounding": ["CAP_CHOWN", "CAP_KILL"], "permitted": ["CAP_CHOWN", "CAP_KILL"], "effective": ["CAP_KILL"], "inheritable": ["CAP_CHOWN"], "ambient": ["CAP_CHOWN"]}}}`,
			want: []string{
				`capset(_LINUX_CAPABILITY_VERSION_3, {effective=0x20, permitted=0x21, inheritable=0x1})  # /process/capabilities`,
				`prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)  # /process/capabilities/ambient`,
				`prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0)  # /process/capabilities/ambient`,
				find,
			},
			never: []string{"CAPBSET_DROP, CAP_CHOWN", "CAPBSET_DROP, CAP_KILL", "RAISE, CAP_KILL"},
		},
		{
			name: "an old kernel's capabilities", config: `{}`,
			facts: func(f *host.Facts) { f.LastCap, f.Kernel = 37, host.Version{Major: 5, Minor: 10} },
			want:  []string{`prctl(PR_CAPBSET_DROP, CAP_AUDIT_READ)  # /process/capabilities/bounding`},
			never: []string{"CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE"},
		},
		{
			name: "a new kernel's capabilities", config: `{}`,
			facts: func(f *host.Facts) { f.LastCap = 60 },
			want:  []string{`prctl(PR_CAPBSET_DROP, CAP_CHECKPOINT_RESTORE)  # /process/capabilities/bounding`},
		},
		{
			name: "no_new_privs and a filter", config: `{"process": {"noNewPrivileges": true}, "linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}}}`,
			want: []string{
				`prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)  # /process/noNewPrivileges`,
				`prctl(PR_CAPBSET_DROP, CAP_CHOWN)  # /process/capabilities/bounding`,
				`setresuid(0, 0, 0)  # /process/user/uid`,
				`capset(_LINUX_CAPABILITY_VERSION_3, {effective=0x0, permitted=0x0, inheritable=0x0})  # /process/capabilities`,
				`close_range(4, ~0U, 0)`, find,
				`seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, {2 instructions})  # /linux/seccomp`,
				run,
			},
			never: []string{"0x200000"},
		},
		{
			name: "a filter without no_new_privs", config: `{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}}}`,
			want: []string{
				`capset(_LINUX_CAPABILITY_VERSION_3, {effective=0x200000, permitted=0x200000, inheritable=0x0})  # /process/capabilities`,
				`close_range(4, ~0U, 0)`, find,
				`seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, {2 instructions})  # /linux/seccomp`,
				`capset(_LINUX_CAPABILITY_VERSION_3, {effective=0x0, permitted=0x0, inheritable=0x0})  # /process/capabilities`,
				run,
			},
		},
		{
			name:   "a filter for a process that keeps CAP_SYS_ADMIN",
			config: `{"process": {"capabilities": {"bounding": ["CAP_SYS_ADMIN"], "permitted": ["CAP_SYS_ADMIN"], "effective": ["CAP_SYS_ADMIN"]}}, "linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}}}`,
			want: []string{
				`capset(_LINUX_CAPABILITY_VERSION_3, {effective=0x200000, permitted=0x200000, inheritable=0x0})  # /process/capabilities`,
				`seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, {2 instructions})  # /linux/seccomp`,
				run,
			},
			never: []string{"{effective=0x0"},
		},
		{
			name:   "a filter for a process that has CAP_SYS_ADMIN in reserve",
			config: `{"process": {"capabilities": {"bounding": ["CAP_SYS_ADMIN"], "permitted": ["CAP_SYS_ADMIN"]}}, "linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}}}`,
			want: []string{
				`capset(_LINUX_CAPABILITY_VERSION_3, {effective=0x200000, permitted=0x200000, inheritable=0x0})  # /process/capabilities`,
				`seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW, {2 instructions})  # /linux/seccomp`,
				`capset(_LINUX_CAPABILITY_VERSION_3, {effective=0x0, permitted=0x200000, inheritable=0x0})  # /process/capabilities`,
				run,
			},
		},
		{name: "an empty profile is none", config: `{"linux": {"seccomp": {"defaultAction": ""}}}`, never: []string{"seccomp"}},
		{name: "personality", config: `{"linux": {"personality": {"domain": "LINUX32"}}}`, want: []string{`personality(PER_LINUX32)  # /linux/personality/domain`}},
		{name: "personality of this machine", config: `{"linux": {"personality": {"domain": "LINUX"}}}`, want: []string{`personality(PER_LINUX)  # /linux/personality/domain`}},
		{
			name: "memory nodes", config: `{"linux": {"memoryPolicy": {"mode": "MPOL_INTERLEAVE", "nodes": "0-3,7", "flags": ["MPOL_F_STATIC_NODES"]}}}`,
			want: []string{`set_mempolicy(MPOL_INTERLEAVE|MPOL_F_STATIC_NODES, [0x8f], 65)  # /linux/memoryPolicy`},
		},
		{name: "memory without nodes", config: `{"linux": {"memoryPolicy": {"mode": "MPOL_LOCAL", "nodes": ""}}}`, want: []string{`set_mempolicy(MPOL_LOCAL, NULL, 0)  # /linux/memoryPolicy`}},
		{
			name: "kept descriptors", config: `{}`, opt: Options{Preserve: 2},
			want: []string{`close_range(6, ~0U, 0)`},
		},
		{
			name: "environment", config: `{"process": {"env": ["PATH=/a:/b/:rel::/c", "A=1", "A=2"], "args": ["prog", "-x"]}}`,
			opt: Options{ExtraEnv: []string{"HOME=/root"}},
			want: []string{
				`r1 = FIND(["/a/prog", "/b/prog", "/c/prog"], 3)  # /process/args/0`,
				`execve(r1, ["prog", "-x"], ["PATH=/a:/b/:rel::/c", "A=2", "HOME=/root"])  # /process/args/0`,
			},
		},
		{name: "a path is not searched", config: `{"process": {"env": ["PATH=/a"], "args": ["./prog"]}}`, want: []string{`r1 = FIND(["./prog"], 1)  # /process/args/0`}},
		{
			name:   "limits that the runtime sets",
			config: `{"process": {"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 1024}, {"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]}}`,
			never:  []string{"RLIMIT"},
		},
		{
			name:   "limits that a runtime without CAP_SYS_RESOURCE leaves to the process",
			config: `{"process": {"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 2048}]}}`,
			facts:  func(f *host.Facts) { f.Caps &^= 1 << unix.CAP_SYS_RESOURCE },
			want: []string{
				rlimitStep + `(0, RLIMIT_NOFILE, {rlim_cur=1024, rlim_max=2048}, NULL)  # /process/rlimits/0`,
				`setresuid(0, 0, 0)  # /process/user/uid`,
			},
		},
		{
			name:   "a limit that the walker would feel",
			config: `{"process": {"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 3, "hard": 2048}]}}`,
			want:   []string{find, rlimitStep + `(0, RLIMIT_NOFILE, {rlim_cur=3, rlim_max=2048}, NULL)  # /process/rlimits/0`, run},
		},
		{
			name: "I/O priority with the runtime's rights", config: `{"process": {"ioPriority": {"class": "IOPRIO_CLASS_RT", "priority": 3}}}`,
			want: []string{ioprioStep + `(IOPRIO_WHO_PROCESS, 0, 0x2003)  # /process/ioPriority`, `setsid()`},
		},
		{
			name:   "what a rootless runtime leaves to the process",
			config: `{"process": {"oomScoreAdj": 100}}`,
			opt:    Options{UserNS: true, NoNewKeyring: true},
			facts:  func(f *host.Facts) { f.Caps, f.EUID = 0, 1000 },
			want: []string{
				`prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # /process/oomScoreAdj`,
				`r4 = openat(AT_FDCWD, "/proc/self/oom_score_adj", O_WRONLY|O_CLOEXEC)  # /process/oomScoreAdj`,
				`write(r4, "100", 3)  # /process/oomScoreAdj`,
				`close(r4)  # /process/oomScoreAdj`,
				`prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)  # /process/oomScoreAdj`,
				`setsid()`,
			},
		},
		{name: "what a privileged runtime does itself", config: `{"process": {"oomScoreAdj": 100}}`, never: []string{"oom_score_adj", "DUMPABLE"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := machine()
			if tt.facts != nil {
				tt.facts(&f)
			}
			lines := steps(t, planOf(t, config(t, tt.config), f, tt.opt))
			follow(t, lines, tt.want)
			never(t, lines, tt.never...)
		})
	}
}

func TestLines(t *testing.T) {
	tests := []struct{ config, want string }{
		{`{"hostname": "box"}`, "hostname box"},
		{`{"domainname": "dom"}`, "domainname dom"},
		{`{}`, "keyring _ses.c1"},
		{`{}`, "user 0:0 umask 022"},
		{`{}`, "capabilities bounding,effective,permitted,inheritable,ambient=none"},
		{`{}`, "cwd /"},
		{`{}`, `exec ["sh"]`},
		{`{"linux": {"sysctl": {"net.ipv4.ip_forward": "1"}}}`, "sysctl net.ipv4.ip_forward=1"},
		{`{"process": {"user": {"uid": 1000, "gid": 1001, "umask": 18, "additionalGids": [10, 20]}}}`, "user 1000:1001 +10,20 umask 022"},
		{`{"process": {"user": {"uid": 1, "gid": 1, "umask": 0}}}`, "user 1:1 umask 000"},
		{`{"process": {"capabilities": {"bounding": ["CAP_CHOWN", "CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]}}}`,
			"capabilities bounding=CHOWN,KILL effective,permitted=KILL inheritable,ambient=none"},
		{`{"process": {"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1024, "hard": 4096}]}}`, "rlimit RLIMIT_NOFILE 1024:4096"},
		{`{"process": {"rlimits": [{"type": "RLIMIT_CORE", "soft": 0, "hard": 18446744073709551615}]}}`, "rlimit RLIMIT_CORE 0:unlimited"},
		{`{"process": {"oomScoreAdj": -5}}`, "oom_score_adj -5"},
		{`{"process": {"scheduler": {"policy": "SCHED_FIFO", "priority": 10, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}}}`, "scheduler SCHED_FIFO SCHED_FLAG_RESET_ON_FORK priority 10"},
		{`{"process": {"scheduler": {"policy": "SCHED_DEADLINE", "runtime": 10000, "deadline": 20000, "period": 30000}}}`, "scheduler SCHED_DEADLINE runtime 10000 deadline 20000 period 30000"},
		{`{"process": {"ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 7}}}`, "io priority IOPRIO_CLASS_IDLE 7"},
		{`{"process": {"terminal": true}}`, "terminal"},
		{`{"process": {"terminal": true, "consoleSize": {"height": 25, "width": 80}}}`, "terminal of 80 columns, 25 rows"},
		{`{"process": {"noNewPrivileges": true}}`, "no new privileges"},
		{`{"process": {"cwd": "/a/../b"}}`, "cwd /b"},
		{`{"process": {"env": ["A=1"]}}`, "env A=1"},
		{`{"process": {"args": ["a b", "\"c\""]}}`, `exec ["a b" "\"c\""]`},
		{`{"linux": {"personality": {"domain": "LINUX32"}}}`, "personality PER_LINUX32"},
		{`{"linux": {"memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0"}}}`, "memory policy MPOL_BIND 0"},
		{`{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["execve"], "action": "SCMP_ACT_ALLOW"}]}}}`, "seccomp default SCMP_ACT_ERRNO, 1 rules"},
	}
	for _, tt := range tests {
		follow(t, planOf(t, config(t, tt.config), machine(), Options{}).Lines(), []string{tt.want})
	}
}

func TestJSON(t *testing.T) {
	p := planOf(t, config(t, `{"hostname": "box", "linux": {"sysctl": {"net.core.somaxconn": "1"}}}`), machine(), Options{})
	raw, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"hostname":"box"`, `"cwd":"/"`, `"/proc/sys/net/core/somaxconn":"1"`, `"bounding":[]`, `"args":["sh"]`} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("no %s in %s", want, raw)
		}
	}
}

func messages(list []*fault.Error) string {
	var out []string
	for _, e := range list {
		out = append(out, string(e.Field)+" "+e.Path+": "+e.Msg)
	}
	return strings.Join(out, "\n")
}

func TestComplaintsAndWarnings(t *testing.T) {
	const notGranted = ": the runtime does not have the capability itself, ignored"
	tests := []struct {
		name, config   string
		opt            Options
		facts          func(*host.Facts)
		complaint      string
		warning, lines string
	}{
		{name: "groups that cannot be set", config: `{"process": {"user": {"uid": 0, "gid": 0, "additionalGids": [1]}}}`,
			opt:       Options{UserNS: true, NoSetgroups: true},
			complaint: "/process/user/additionalGids : the user namespace denies setgroups(2)"},
		{name: "kernel without seccomp", config: `{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}}}`,
			facts:     func(f *host.Facts) { f.Seccomp = false },
			complaint: "/linux/seccomp : this kernel has no seccomp filters"},
		{name: "a profile without execve", config: `{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ERRNO"}}}`,
			complaint: "/linux/seccomp : the profile does not allow execve, so the process could never start"},
		{name: "a listener that cannot be handed over", config: `{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ERRNO", "listenerPath": "/a", "syscalls": [
				{"names": ["execve", "openat", "close"], "action": "SCMP_ACT_ALLOW"}, {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]}}}`,
			complaint: "/linux/seccomp : with SCMP_ACT_NOTIFY the filter is there before the container is, and it does not allow sendmsg\n" +
				"/linux/seccomp : with SCMP_ACT_NOTIFY the filter is there before the container is, and it does not allow recvmsg"},
		{name: "a flag of a newer kernel", config: `{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/a",
				"flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"], "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]}}}`,
			facts:     func(f *host.Facts) { f.Kernel = host.Version{Major: 5, Minor: 18} },
			complaint: "/linux/seccomp/flags/1 SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV: it needs Linux 5.19"},
		{name: "a flag that says nothing", config: `{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/a",
				"flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]}}}`,
			facts: func(f *host.Facts) { f.Kernel = host.Version{Major: 5, Minor: 18} }},
		{name: "unknown capability", config: `{"process": {"capabilities": {"bounding": ["CAP_KILL", "CAP_FLY", "KILL", "cap_kill"]}}}`,
			warning: "/process/capabilities/bounding/1 CAP_FLY: unknown capability, ignored\n" +
				"/process/capabilities/bounding/2 KILL: unknown capability, ignored\n" +
				"/process/capabilities/bounding/3 cap_kill: unknown capability, ignored",
			lines: "capabilities bounding=KILL effective,permitted,inheritable,ambient=none"},
		{name: "capability of a newer kernel", config: `{"process": {"capabilities": {"bounding": ["CAP_BPF"]}}}`,
			facts:   func(f *host.Facts) { f.LastCap = 37 },
			warning: "/process/capabilities/bounding/0 CAP_BPF: this kernel does not have the capability, ignored"},
		{name: "a capability that the runtime lacks is one warning", config: `{"process": {"capabilities": {"bounding": ["CAP_SYS_RESOURCE", "CAP_KILL"], "permitted": ["CAP_SYS_RESOURCE"]}}}`,
			facts:   func(f *host.Facts) { f.Caps &^= 1 << 24 },
			warning: "/process/capabilities/bounding/0 CAP_SYS_RESOURCE" + notGranted,
			lines:   "capabilities bounding=KILL effective,permitted,inheritable,ambient=none"},
		{name: "a new user namespace has all", config: `{"process": {"capabilities": {"bounding": ["CAP_SYS_RESOURCE"]}}}`,
			opt: Options{UserNS: true}, facts: func(f *host.Facts) { f.Caps = 0 },
			lines: "capabilities bounding=SYS_RESOURCE effective,permitted,inheritable,ambient=none"},
		{name: "effective without permitted", config: `{"process": {"capabilities": {"effective": ["CAP_KILL"]}}}`,
			warning: "/process/capabilities/effective KILL: a capability must be permitted to be effective, ignored",
			lines:   "capabilities bounding,effective,permitted,inheritable,ambient=none"},
		{name: "inheritable outside the bounding set", config: `{"process": {"capabilities": {"permitted": ["CAP_KILL"], "inheritable": ["CAP_KILL"]}}}`,
			warning: "/process/capabilities/inheritable KILL: a capability outside the bounding set cannot be inheritable, ignored"},
		{name: "ambient without inheritable", config: `{"process": {"capabilities": {"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "ambient": ["CAP_KILL"]}}}`,
			warning: "/process/capabilities/ambient KILL: a capability must be permitted and inheritable to be ambient, ignored"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := machine()
			if tt.facts != nil {
				tt.facts(&f)
			}
			p, warnings, complaints := NewPlan(config(t, tt.config), f, tt.opt)
			if got := messages(complaints); got != tt.complaint {
				t.Errorf("complaints:\n%s\nwant:\n%s", got, tt.complaint)
			}
			if got := messages(warnings); got != tt.warning {
				t.Errorf("warnings:\n%s\nwant:\n%s", got, tt.warning)
			}
			if tt.lines != "" {
				follow(t, p.Lines(), []string{tt.lines})
			}
		})
	}
}

//spec:20
func TestNoProcess(t *testing.T) {
	_, _, complaints := NewPlan(&specs.Spec{}, machine(), Options{})
	if got := messages(complaints); got != "/process : the process is missing" {
		t.Error(got)
	}
}

func TestFilterIsNeverForgotten(t *testing.T) {
	p := planOf(t, config(t, `{"linux": {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}}}`), machine(), Options{})
	defer func() {
		if recover() == nil {
			t.Error("a program without the filter was compiled")
		}
	}()
	p.CompileExec(nsenter.NewBuilder(3), 1)
}

//spec:74
func TestSysctlPath(t *testing.T) {
	tests := []struct{ key, want string }{
		{"net.ipv4.ip_forward", "net/ipv4/ip_forward"},
		{"net/ipv4/ip_forward", "net/ipv4/ip_forward"},
		{"net.ipv4.conf.eth0/1.forwarding", "net/ipv4/conf/eth0.1/forwarding"},
		{"net/ipv4/conf/eth0.1/forwarding", "net/ipv4/conf/eth0.1/forwarding"},
		{"kernel", "kernel"},
		{"", ""}, {".", ""}, {"..", ""}, {"net..x", ""}, {"/net/x", ""}, {"net/", ""}, {"net.", ""},
		{"net/../kernel/core_pattern", ""}, {"net/./x", ""}, {"net.//.x", ""}, {"a.b\x00c", ""},
	}
	for _, tt := range tests {
		if got := sysctlPath(tt.key); got != tt.want {
			t.Errorf("sysctlPath(%q) = %q, want %q", tt.key, got, tt.want)
		}
	}
}

func TestParseNodes(t *testing.T) {
	tests := []struct {
		list string
		want []uint64
	}{
		{"", nil}, {"0", []uint64{1}}, {"0-3,7", []uint64{0x8f}}, {" 1 , 2 ", []uint64{6}}, {"63", []uint64{1 << 63}},
		{"64", []uint64{0, 1}}, {"62-65", []uint64{3 << 62, 3}}, {"3-1", nil}, {"x", nil}, {"1-", nil}, {"-1", nil},
	}
	for _, tt := range tests {
		got := parseList(tt.list, maxNode)
		if len(got) != len(tt.want) {
			t.Errorf("%q: %x, want %x", tt.list, got, tt.want)
			continue
		}
		for i := range got {
			if got[i] != tt.want[i] {
				t.Errorf("%q: %x, want %x", tt.list, got, tt.want)
			}
		}
	}
	if got := len(parseList("0-65535", maxNode)); got != 16 {
		t.Errorf("a huge list has %d words", got)
	}
}

//spec:23
func TestEnvironment(t *testing.T) {
	tests := []struct{ env, extra, want string }{
		{"", "", ""},
		{"A=1 B=2", "", "A=1 B=2"},
		{"A=1 B=2 A=3", "", "B=2 A=3"},
		{"A=1 B=2", "A=9", "B=2 A=9"},
		{"A= B", "", "A= B"},
		{"A=1=2", "", "A=1=2"},
		{"LISTEN_PID=4", "LISTEN_PID=1 HOME=/", "LISTEN_PID=1 HOME=/"},
	}
	for _, tt := range tests {
		got := strings.Join(environment(strings.Fields(tt.env), strings.Fields(tt.extra)), " ")
		if got != tt.want {
			t.Errorf("%q + %q = %q, want %q", tt.env, tt.extra, got, tt.want)
		}
	}
}

func TestExplain(t *testing.T) {
	tests := []struct {
		op, program, env string
		errno            unix.Errno
		want             string
	}{
		{opFind, "x", "PATH=/bin", unix.ENOENT, `exec: "x": executable file not found in $PATH (config.json /process/args/0); in process.env PATH is "/bin"`},
		{opFind, "x", "PATH=/bin", unix.EACCES, `exec: "x": executable file not found in $PATH (config.json /process/args/0); there is one, but user 0:0 umask 022 may not execute it`},
		{opFind, "x", "A=", unix.ENOENT, `exec: "x": executable file not found in $PATH (config.json /process/args/0); process.env has no PATH, so ` + defaultPath + ` was searched`},
		{opFind, "/x", "", unix.ENOENT, `exec: "/x": stat /x: no such file or directory (config.json /process/args/0)`},
		{opFind, "/x/y", "", unix.ENOTDIR, `exec: "/x/y": stat /x/y: not a directory (config.json /process/args/0)`},
		{opFind, "/x", "", unix.EACCES, `exec: "/x": permission denied (config.json /process/args/0)`},
		{opFind, "/", "", unix.EISDIR, `exec: "/": is a directory (config.json /process/args/0)`},
		{opExec, "/x", "", unix.ENOEXEC, `exec /x: exec format error (config.json /process/args/0)`},
		{opExec, "/x", "", unix.ENOENT, `exec /x: no such file or directory (config.json /process/args/0)`},
		{"setresuid", "/x", "", unix.EINVAL, `setresuid: invalid argument; the uid is not mapped`},
	}
	for _, tt := range tests {
		s := config(t, `{}`)
		s.Process.Args, s.Process.Env = []string{tt.program}, []string{tt.env}
		p := planOf(t, s, machine(), Options{})
		e := p.Explain(&fault.Error{Op: tt.op, Errno: tt.errno, Phase: fault.PhaseProcess})
		if !strings.HasPrefix(e.Error(), tt.want) {
			t.Errorf("got  %s\nwant %s", e.Error(), tt.want)
		}
		if tt.op != "setresuid" && (e.Phase != fault.PhaseExec || e.Field != "/process/args/0") {
			t.Errorf("%s: phase %s, field %s", tt.want, e.Phase, e.Field)
		}
	}
	p := planOf(t, config(t, `{}`), machine(), Options{})
	if p.Explain(nil) != nil {
		t.Error("nil was explained")
	}
	other := &fault.Error{Op: opExec, Phase: fault.PhaseHooks, Errno: unix.ENOENT}
	if p.Explain(other) != other || other.Hint != "" {
		t.Error("another phase's error was explained")
	}
}

// Every hint belongs to an operation that some step or Outside has.
func TestHintsAreReachable(t *testing.T) {
	ops := map[string]bool{"prlimit": true, "oom_score_adj": true, "sched_setattr": true, opFind: true, opExec: true}
	facts := machine()
	withLSMs(&facts)
	p := planOf(t, config(t, `{"hostname": "h", "domainname": "d",
		"process": {"terminal": true, "apparmorProfile": "p", "selinuxLabel": "l", "noNewPrivileges": true, "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 1}, "user": {"uid": 1, "gid": 1}, "execCPUAffinity": {"final": "0"}},
		"linux": {"sysctl": {"a.b": "1"}, "memoryPolicy": {"mode": "MPOL_LOCAL", "nodes": ""}, "seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}}}`),
		facts, Options{Joins: true})
	p.Filter = &seccomp.Filter{BPF: make([]byte, 8)}
	b := nsenter.NewBuilder(3)
	p.CompileEarly(b)
	p.CompileLabels(b, procReg)
	p.CompileSetup(b, procReg)
	p.CompileExec(b, p.CompileFinish(b, rootReg, consoleReg))
	prog, err := b.Program()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range prog.Steps {
		ops[s.Origin.Op] = true
	}
	for _, h := range hints {
		if !ops[h.op] {
			t.Errorf("nothing is called %q", h.op)
		}
		if hint(h.op, h.errno) != h.text {
			t.Errorf("%s %v has two hints", h.op, h.errno)
		}
	}
}

func TestHomeOf(t *testing.T) {
	const passwd = "root:x:0:0:root:/root:/bin/sh\n# comment\nbad\nweb:x:33:33::/var/www:\nweb2:x:33:33::/other:\nrel:x:5:5::tmp:\nlast:x:9:9::/last:/bin/sh"
	tests := []struct {
		uid  uint32
		want string
	}{{0, "/root"}, {33, "/var/www"}, {5, "/"}, {9, "/last"}, {77, "/"}}
	for _, tt := range tests {
		if got := homeOf(passwd, tt.uid); got != tt.want {
			t.Errorf("uid %d: %s, want %s", tt.uid, got, tt.want)
		}
	}
}

func TestCapabilityNames(t *testing.T) {
	for i, name := range CapabilityNames() {
		if capNumber(name) != i {
			t.Errorf("%s is %d, not %d", name, capNumber(name), i)
		}
	}
	for name, want := range map[string]int{"CAP_SYS_ADMIN": unix.CAP_SYS_ADMIN, "CAP_BPF": unix.CAP_BPF, "CAP_CHECKPOINT_RESTORE": unix.CAP_CHECKPOINT_RESTORE, "CAP_SETFCAP": unix.CAP_SETFCAP, "CAP_MKNOD": unix.CAP_MKNOD, "CAP_": -1, "": -1} {
		if got := capNumber(name); got != want {
			t.Errorf("%q is %d, want %d", name, got, want)
		}
	}
}
