package process

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/libcontainer/host"
	"berth/libcontainer/process/seccomp"
	"berth/nsenter"
)

// resolves tells whether the pointer leads to something in the document. What
// a config may leave out (a umask, say) is named by its nearest entry's name.
func resolves(doc any, p fault.Pointer) bool {
	for _, token := range p.Tokens() {
		switch at := doc.(type) {
		case map[string]any:
			next, ok := at[token]
			if !ok {
				return true // an entry that has its default
			}
			doc = next
		case []any:
			i, err := strconv.Atoi(token)
			if err != nil || i < 0 || i >= len(at) {
				return false
			}
			doc = at[i]
		default:
			return false
		}
	}
	return true
}

// Planning never panics, planning twice is the same, every program obeys
// nsenter's rules, and every pointer leads into the config.
func FuzzPlan(f *testing.F) {
	f.Add([]byte(`{}`), uint64(1<<41-1), uint8(0))
	f.Add([]byte(`{"hostname":"h","process":{"cwd":"/a","args":["sh"],"env":["PATH=:a:/b"],"user":{"uid":1,"gid":1,"additionalGids":[3]}}}`), uint64(0), uint8(3))
	f.Add([]byte(`{"process":{"terminal":true,"consoleSize":{"height":1,"width":2},"capabilities":{"bounding":["CAP_KILL"],"ambient":["CAP_KILL","x"]},"rlimits":[{"type":"RLIMIT_NOFILE","soft":1,"hard":2}],"oomScoreAdj":3}}`), uint64(1<<41-1), uint8(1))
	f.Add([]byte(`{"process":{"noNewPrivileges":true},"linux":{"seccomp":{"defaultAction":"SCMP_ACT_KILL"},"sysctl":{"a.b/c":"1","..":"2"},"memoryPolicy":{"mode":"MPOL_BIND","nodes":"0-9999"},"personality":{"domain":"LINUX32"}}}`), uint64(1<<24), uint8(4))
	f.Add([]byte(`{"process":{"scheduler":{"policy":"SCHED_FIFO","priority":1},"ioPriority":{"class":"IOPRIO_CLASS_RT","priority":9}},"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW"}}}`), uint64(1<<21), uint8(2))
	f.Add([]byte(`{"process":{"noNewPrivileges":true},"linux":{"seccomp":{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/a","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_NOTIFY"}]}}}`), uint64(0), uint8(0))
	f.Add([]byte(`{"process":{"apparmorProfile":"p\u0000","selinuxLabel":"a:b","noNewPrivileges":true}}`), uint64(0), uint8(0x60))
	f.Add([]byte(`{"process":{"apparmorProfile":"unconfined","selinuxLabel":"a\nb"}}`), uint64(1<<21), uint8(0x61))
	f.Fuzz(func(t *testing.T, raw []byte, caps uint64, bits uint8) {
		var spec specs.Spec
		if json.Unmarshal(raw, &spec) != nil || spec.Process == nil {
			return
		}
		for _, s := range slices.Concat(spec.Process.Args, spec.Process.Env, []string{spec.Hostname, spec.Domainname, spec.Process.Cwd}) {
			if bytes.IndexByte([]byte(s), 0) >= 0 {
				return // bundle.Check refuses it
			}
		}
		if spec.Linux != nil {
			for _, v := range spec.Linux.Sysctl {
				if bytes.IndexByte([]byte(v), 0) >= 0 {
					return
				}
			}
		}
		facts := host.Facts{
			Caps: caps, LastCap: int(bits), Kernel: host.Version{Major: 5, Minor: 10 + int(bits&1)}, Seccomp: bits&16 == 0,
			LSM:   host.LSM{AppArmor: bits&32 != 0, SELinux: bits&64 != 0},
			Stdio: [3]host.Stdio{{Open: bits&4 != 0, Mode: unix.S_IFCHR, Rdev: devNull}, {Open: true}, {}},
		}
		opt := Options{ID: "f", UserNS: bits&2 != 0, NoSetgroups: bits&8 != 0, Preserve: int(bits & 7)}
		p, warnings, complaints := NewPlan(&spec, facts, opt)
		again, _, _ := NewPlan(&spec, facts, opt)
		if !slices.Equal(p.Lines(), again.Lines()) {
			t.Error("two plans of one config differ")
		}
		if _, err := json.Marshal(p); err != nil {
			t.Error(err)
		}
		var doc any
		if err := json.Unmarshal(mustMarshal(t, &spec), &doc); err != nil {
			t.Fatal(err)
		}
		for _, e := range append(warnings, complaints...) {
			if !resolves(doc, e.Field) {
				t.Errorf("%s leads nowhere", e.Field)
			}
		}
		p.Filter = &seccomp.Filter{BPF: make([]byte, 8)}
		b := nsenter.NewBuilder(3)
		p.CompileEarly(b)
		b.Check(procReg, nsenter.Identity{Magic: unix.PROC_SUPER_MAGIC})
		b.RootOpen()
		p.CompileSetup(b, procReg)
		b.Fchdir(rootReg)
		b.ChrootHere()
		var console nsenter.Reg
		if p.terminal {
			console = consoleReg
		}
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
		for _, s := range prog.Steps {
			if !resolves(doc, s.Origin.Field) {
				t.Errorf("%s of %s leads nowhere", s.Origin.Field, s.Call)
			}
		}
	})
}

func mustMarshal(t *testing.T, v any) []byte {
	t.Helper()
	raw, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
