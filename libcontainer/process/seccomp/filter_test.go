package seccomp

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unsafe"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"
)

// arch is an architecture as the specification, the kernel and libseccomp call
// it.
type arch struct {
	spec  specs.Arch
	audit uint32
	lib   libseccomp.ScmpArch
	bits  int
}

// archTable are those of this machine's byte order.
func archTable() []arch {
	return []arch{
		{specs.ArchX86_64, unix.AUDIT_ARCH_X86_64, libseccomp.ArchAMD64, 64},
		{specs.ArchX86, unix.AUDIT_ARCH_I386, libseccomp.ArchX86, 32},
		{specs.ArchX32, unix.AUDIT_ARCH_X86_64, libseccomp.ArchX32, 32},
		{specs.ArchAARCH64, unix.AUDIT_ARCH_AARCH64, libseccomp.ArchARM64, 64},
		{specs.ArchARM, unix.AUDIT_ARCH_ARM, libseccomp.ArchARM, 32},
		{specs.ArchRISCV64, unix.AUDIT_ARCH_RISCV64, libseccomp.ArchRISCV64, 64},
		{specs.ArchMIPSEL, unix.AUDIT_ARCH_MIPSEL, libseccomp.ArchMIPSEL, 32},
		{specs.ArchMIPSEL64, unix.AUDIT_ARCH_MIPSEL64, libseccomp.ArchMIPSEL64, 64},
		{specs.ArchMIPSEL64N32, unix.AUDIT_ARCH_MIPSEL64N32, libseccomp.ArchMIPSEL64N32, 32},
		{specs.ArchPPC64LE, unix.AUDIT_ARCH_PPC64LE, libseccomp.ArchPPC64LE, 64},
	}
}

func nativeArch(t testing.TB) arch {
	t.Helper()
	for _, a := range archTable() {
		if a.spec == map[string]specs.Arch{"amd64": specs.ArchX86_64, "arm64": specs.ArchAARCH64, "riscv64": specs.ArchRISCV64}[runtime.GOARCH] {
			return a
		}
	}
	t.Skip("[arch] needs amd64, arm64 or riscv64")
	return arch{}
}

// model is what a profile means, read literally.
type model struct {
	profile *specs.LinuxSeccomp
	arches  []arch
}

func number(name string, a arch) (uint32, bool) {
	n, err := libseccomp.GetSyscallFromNameByArch(name, a.lib)
	return uint32(n), err == nil && n >= 0
}

func returned(a specs.LinuxSeccompAction, ret *uint) uint32 {
	n := uint32(unix.EPERM)
	if ret != nil {
		n = uint32(*ret)
	}
	switch a {
	case specs.ActAllow:
		return unix.SECCOMP_RET_ALLOW
	case specs.ActLog:
		return unix.SECCOMP_RET_LOG
	case specs.ActErrno:
		return unix.SECCOMP_RET_ERRNO | n
	case specs.ActTrace:
		return unix.SECCOMP_RET_TRACE | n
	case specs.ActTrap:
		return unix.SECCOMP_RET_TRAP
	case specs.ActKillProcess:
		return unix.SECCOMP_RET_KILL_PROCESS
	case specs.ActNotify:
		return unix.SECCOMP_RET_USER_NOTIF
	}
	return unix.SECCOMP_RET_KILL_THREAD
}

// archOf is the architecture that a call is of, by its audit number and, for
// x32, its own.
func (m model) archOf(c call) (arch, bool) {
	for _, a := range m.arches {
		x32 := c.arch == unix.AUDIT_ARCH_X86_64 && c.nr >= x32Bit
		if a.audit == c.arch && (a.spec == specs.ArchX32) == x32 {
			return a, true
		}
	}
	return arch{}, false
}

func (m model) decide(c call) uint32 {
	a, ok := m.archOf(c)
	if !ok {
		return unix.SECCOMP_RET_KILL_THREAD // libseccomp's answer to foreign architectures
	}
	if m.unknown(c, a) {
		return unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	}
	last := returned(m.profile.DefaultAction, m.profile.DefaultErrnoRet)
	answer := last
	for _, s := range m.profile.Syscalls {
		action := returned(s.Action, s.ErrnoRet)
		if action == last || !m.names(s, c, a) {
			continue // it says nothing, or not of this call
		}
		if len(s.Args) == 0 {
			return action // whatever others say
		}
		if answer == last && matches(s.Args, c, a) {
			answer = action // the first one counts
		}
	}
	return answer
}

// names tells whether a rule is about the call, with these arguments or others.
func (m model) names(s specs.LinuxSyscall, c call, a arch) bool {
	return slices.ContainsFunc(s.Names, func(name string) bool {
		n, ok := number(name, a)
		return ok && n == c.nr
	})
}

// unknown tells whether the call is newer than all that the profile names.
func (m model) unknown(c call, a arch) bool {
	switch m.profile.DefaultAction {
	case specs.ActAllow, specs.ActLog, specs.ActTrace:
		return false
	}
	top := uint32(0)
	for _, s := range m.profile.Syscalls {
		for _, name := range s.Names {
			if n, ok := number(name, a); ok && (a.spec != specs.ArchARM || n < 0x0f0000) {
				top = max(top, n)
			}
		}
	}
	if a.spec == specs.ArchARM && c.nr >= 0x0f0000 {
		return false
	}
	return top > 0 && c.nr > top
}

func matches(args []specs.LinuxSeccompArg, c call, a arch) bool {
	seen := map[uint]int{}
	for _, arg := range args {
		seen[arg.Index]++
	}
	any := false
	all := true
	for _, arg := range args {
		one := compare(arg, c.args[arg.Index], a)
		any = any || one
		all = all && one
	}
	for _, n := range seen {
		if n > 1 {
			return any
		}
	}
	return all
}

func compare(arg specs.LinuxSeccompArg, v uint64, a arch) bool {
	if a.bits == 32 { // its words are shorter, those of the profile too; x32 counts as such
		v, arg.Value, arg.ValueTwo = v&0xffffffff, arg.Value&0xffffffff, arg.ValueTwo&0xffffffff
	}
	switch arg.Op {
	case specs.OpNotEqual:
		return v != arg.Value
	case specs.OpLessThan:
		return v < arg.Value
	case specs.OpLessEqual:
		return v <= arg.Value
	case specs.OpEqualTo:
		return v == arg.Value
	case specs.OpGreaterEqual:
		return v >= arg.Value
	case specs.OpGreaterThan:
		return v > arg.Value
	}
	return v&arg.Value == arg.ValueTwo
}

// Names that have one number on each architecture that has them: not the
// socket and IPC calls, which i386 also has behind one number.
var simpleNames = []string{
	"read", "write", "openat", "close", "mkdir", "mkdirat", "personality", "clone", "kill", "getpid",
	"ioctl", "prctl", "unshare", "mount", "umount2", "setns", "ptrace", "keyctl", "bpf", "clone3",
	"openat2", "close_range", "statx", "futex", "no_such_call",
}

// allActions ends in the one that cannot be the default.
var allActions = []specs.LinuxSeccompAction{
	specs.ActAllow, specs.ActErrno, specs.ActLog, specs.ActTrap, specs.ActKillProcess, specs.ActKillThread, specs.ActKill,
	specs.ActTrace, specs.ActNotify,
}

var allOperators = []specs.LinuxSeccompOperator{
	specs.OpNotEqual, specs.OpLessThan, specs.OpLessEqual, specs.OpEqualTo, specs.OpGreaterEqual, specs.OpGreaterThan,
	specs.OpMaskedEqual,
}

func randomProfile(r *rand.Rand, arches []arch) *specs.LinuxSeccomp {
	errno := func(a specs.LinuxSeccompAction) *uint {
		if a != specs.ActErrno && a != specs.ActTrace || r.IntN(2) == 0 {
			return nil
		}
		n := uint(r.IntN(100))
		return &n
	}
	s := &specs.LinuxSeccomp{DefaultAction: allActions[r.IntN(len(allActions)-1)]}
	s.DefaultErrnoRet = errno(s.DefaultAction)
	for _, a := range arches {
		s.Architectures = append(s.Architectures, a.spec)
	}
	names := slices.Clone(simpleNames)
	r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	for i := 0; i < len(names); {
		n := min(1+r.IntN(4), len(names)-i)
		rule := specs.LinuxSyscall{Names: names[i : i+n], Action: allActions[r.IntN(len(allActions)-1)]}
		rule.ErrnoRet = errno(rule.Action)
		for range r.IntN(3) {
			arg := specs.LinuxSeccompArg{Index: uint(r.IntN(6)), Op: allOperators[r.IntN(len(allOperators))], Value: randomValue(r)}
			if arg.Op == specs.OpMaskedEqual {
				arg.ValueTwo = randomValue(r)
			}
			rule.Args = append(rule.Args, arg)
		}
		s.Syscalls = append(s.Syscalls, rule)
		i += n
		if r.IntN(4) == 0 {
			break
		}
	}
	return s
}

var edges = []uint64{0, 1, 2, 7, 0x10000, 0x7fffffff, 0xffffffff}

func randomValue(r *rand.Rand) uint64 {
	return edges[r.IntN(len(edges))]
}

func randomCall(r *rand.Rand, arches []arch) call {
	a := arches[r.IntN(len(arches))]
	c := call{arch: a.audit, nr: uint32(r.IntN(1000))}
	if n, ok := number(simpleNames[r.IntN(len(simpleNames))], a); ok && r.IntN(4) != 0 {
		c.nr = n
	} else if a.spec == specs.ArchX32 {
		c.nr |= x32Bit
	}
	switch r.IntN(40) {
	case 0:
		c.arch = 0x1234
	case 1:
		c.nr |= x32Bit
	case 2:
		c.nr = a.audit // a number that looks like an architecture
	case 3:
		c.nr = 0x0f0005 // ARM's set_tls
	}
	for i := range c.args {
		c.args[i] = randomValue(r) + uint64(r.IntN(3)) - 1
		if r.IntN(8) == 0 {
			c.args[i] |= 1 << 40
		}
	}
	return c
}

// Filters decide as their profiles say, for random profiles and calls.
func TestFilterAgainstModel(t *testing.T) {
	native := nativeArch(t)
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 150 {
		arches := []arch{native}
		for _, a := range archTable() {
			if a.spec != native.spec && r.IntN(3) == 0 {
				arches = append(arches, a)
			}
		}
		s := randomProfile(r, arches)
		f, complaints := Compile(s)
		if len(complaints) > 0 {
			t.Fatal(complaints)
		}
		m := model{s, arches}
		for range 300 {
			c := randomCall(r, archTable())
			got, err := interpret(f.BPF, c)
			if err != nil {
				t.Fatal(err)
			}
			if want := m.decide(c); got != want {
				t.Fatalf("profile %d: arch %#x nr %#x args %x: got %#x, want %#x\n%+v", n, c.arch, c.nr, c.args, got, want, *s)
			}
		}
	}
}

func profile(action specs.LinuxSeccompAction, rules ...specs.LinuxSyscall) *specs.LinuxSeccomp {
	return &specs.LinuxSeccomp{DefaultAction: action, Syscalls: rules}
}

// A profile of few rules, a call, and what the filter decides.
//
//spec:75,76
func TestRules(t *testing.T) {
	a := nativeArch(t)
	eq := func(index uint, v uint64) specs.LinuxSeccompArg {
		return specs.LinuxSeccompArg{Index: index, Op: specs.OpEqualTo, Value: v}
	}
	const (
		allow  = unix.SECCOMP_RET_ALLOW
		eperm  = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
		nosys  = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
		kill   = unix.SECCOMP_RET_KILL_THREAD
		killer = unix.SECCOMP_RET_KILL_PROCESS
	)
	tests := []struct {
		name    string
		profile *specs.LinuxSeccomp
		call    string
		args    [6]uint64
		want    uint32
	}{
		{"default", profile(specs.ActAllow), "read", [6]uint64{}, allow},
		{"default error", profile(specs.ActErrno, specs.LinuxSyscall{Names: []string{"statx"}, Action: specs.ActAllow}), "read", [6]uint64{}, eperm},
		{"named", profile(specs.ActErrno, specs.LinuxSyscall{Names: []string{"read", "statx"}, Action: specs.ActAllow}), "read", [6]uint64{}, allow},
		{"unknown names are passed over", profile(specs.ActErrno, specs.LinuxSyscall{Names: []string{"from_the_future", "statx"}, Action: specs.ActAllow}), "statx", [6]uint64{}, allow},
		{"newer than the profile", profile(specs.ActErrno, specs.LinuxSyscall{Names: []string{"statx"}, Action: specs.ActAllow}), "openat2", [6]uint64{}, nosys},
		{"newer than the profile, killing", profile(specs.ActKillProcess, specs.LinuxSyscall{Names: []string{"statx"}, Action: specs.ActAllow}), "openat2", [6]uint64{}, nosys},
		{"older than the newest, killing", profile(specs.ActKillProcess, specs.LinuxSyscall{Names: []string{"statx"}, Action: specs.ActAllow}), "read", [6]uint64{}, killer},
		{"newer, and everything is allowed", profile(specs.ActAllow, specs.LinuxSyscall{Names: []string{"statx"}, Action: specs.ActErrno}), "openat2", [6]uint64{}, allow},
		{"a profile without names is no measure", profile(specs.ActErrno), "openat2", [6]uint64{}, eperm},
		{"as the default", profile(specs.ActErrno, specs.LinuxSyscall{Names: []string{"read", "statx"}, Action: specs.ActErrno}), "read", [6]uint64{}, eperm},
		{"another number than the default", profile(specs.ActErrno, specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActErrno, ErrnoRet: ptr(uint(unix.ENOTTY))}), "read", [6]uint64{}, unix.SECCOMP_RET_ERRNO | uint32(unix.ENOTTY)},
		{"both conditions", profile(specs.ActAllow, specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{eq(0, 1), eq(1, 2)}}), "read", [6]uint64{1, 2}, eperm},
		{"one of both conditions", profile(specs.ActAllow, specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{eq(0, 1), eq(1, 2)}}), "read", [6]uint64{1, 3}, allow},
		{"two conditions on one argument are alternatives", profile(specs.ActAllow, specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{eq(0, 1), eq(0, 2)}}), "read", [6]uint64{2}, eperm},
		// libseccomp 2.5.4 loses the first of these.
		{"two conditions that compare for order", profile(specs.ActAllow, specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{
			{Index: 3, Op: specs.OpLessThan, Value: 0x3030303030303030}, {Index: 3, Op: specs.OpLessThan, Value: 0x3030203030303000}}}),
			"read", [6]uint64{3: 0x3030203031000000}, eperm},
		{"a masked comparison with more than the mask", profile(specs.ActErrno, specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActAllow, Args: []specs.LinuxSeccompArg{
			{Index: 0, Op: specs.OpMaskedEqual, Value: 1, ValueTwo: 3}}}), "read", [6]uint64{1}, eperm},
		{"a rule without conditions wins", profile(specs.ActAllow, specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActTrap, Args: []specs.LinuxSeccompArg{eq(0, 1)}},
			specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActErrno}), "read", [6]uint64{1}, eperm},
		{"the first of two rules", profile(specs.ActAllow, specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActKill, Args: []specs.LinuxSeccompArg{eq(0, 1)}},
			specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{eq(1, 2)}}), "read", [6]uint64{1, 2}, kill},
		{"the same rule twice", profile(specs.ActErrno, specs.LinuxSyscall{Names: []string{"read", "read"}, Action: specs.ActAllow}, specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActAllow}), "read", [6]uint64{}, allow},
		{"kill is the thread's", profile(specs.ActAllow, specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActKill}), "read", [6]uint64{}, kill},
	}
	for _, tt := range tests {
		f, complaints := Compile(tt.profile)
		if len(complaints) > 0 {
			t.Errorf("%s: %v", tt.name, complaints)
			continue
		}
		n, _ := number(tt.call, a)
		got, err := interpret(f.BPF, call{nr: n, arch: a.audit, args: tt.args})
		if err != nil || got != tt.want {
			t.Errorf("%s: got %#x, %v, want %#x", tt.name, got, err, tt.want)
		}
	}
}

func ptr[T any](v T) *T { return &v }

// Flags of the profile, and what seccomp(2) is called with; TSYNC says nothing.
//
//spec:77
func TestFlags(t *testing.T) {
	const log, spec, killable = unix.SECCOMP_FILTER_FLAG_LOG, unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW, unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
	notify := specs.LinuxSyscall{Names: []string{"mkdir"}, Action: specs.ActNotify}
	tests := []struct {
		flags []specs.LinuxSeccompFlag
		rules []specs.LinuxSyscall
		want  uint64
	}{
		{nil, nil, spec},
		{[]specs.LinuxSeccompFlag{}, nil, 0},
		{[]specs.LinuxSeccompFlag{specs.LinuxSeccompFlagLog}, nil, log},
		{[]specs.LinuxSeccompFlag{specs.LinuxSeccompFlagLog, specs.LinuxSeccompFlagSpecAllow}, nil, log | spec},
		{[]specs.LinuxSeccompFlag{"SECCOMP_FILTER_FLAG_TSYNC", specs.LinuxSeccompFlagWaitKillableRecv}, nil, 0},
		{[]specs.LinuxSeccompFlag{"SECCOMP_FILTER_FLAG_TSYNC", specs.LinuxSeccompFlagWaitKillableRecv}, []specs.LinuxSyscall{notify}, killable},
	}
	for _, tt := range tests {
		s := profile(specs.ActAllow, tt.rules...)
		s.Flags = tt.flags
		if f, complaints := Compile(s); len(complaints) > 0 || f.Flags != tt.want {
			t.Errorf("%v: %#x, %v, want %#x", tt.flags, f.Flags, complaints, tt.want)
		}
	}
}

func TestComplaints(t *testing.T) {
	rule := func(edit func(*specs.LinuxSyscall)) *specs.LinuxSeccomp {
		s := profile(specs.ActAllow, specs.LinuxSyscall{Names: []string{"write"}, Action: specs.ActErrno},
			specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActErrno})
		edit(&s.Syscalls[1])
		return s
	}
	arg := func(index uint, op specs.LinuxSeccompOperator) *specs.LinuxSeccomp {
		return rule(func(s *specs.LinuxSyscall) {
			s.Args = []specs.LinuxSeccompArg{{Op: specs.OpEqualTo}, {Index: index, Op: op}}
		})
	}
	tests := []struct {
		profile *specs.LinuxSeccomp
		want    string
	}{
		{profile("SCMP_ACT_DANCE"), "/linux/seccomp/defaultAction SCMP_ACT_DANCE: unknown action"},
		{&specs.LinuxSeccomp{DefaultAction: specs.ActAllow, DefaultErrnoRet: ptr(uint(1))}, "/linux/seccomp/defaultErrnoRet 1: SCMP_ACT_ALLOW returns no number"},
		{&specs.LinuxSeccomp{DefaultAction: specs.ActErrno, DefaultErrnoRet: ptr(uint(1 << 16))}, "/linux/seccomp/defaultErrnoRet 65536: the number has more than 16 bits"},
		{&specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: []specs.Arch{"SCMP_ARCH_X86_64", "SCMP_ARCH_Z80"}}, "/linux/seccomp/architectures/1 SCMP_ARCH_Z80: libseccomp " + Version() + " does not know this architecture"},
		{&specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: []specs.Arch{"x86_64"}}, "/linux/seccomp/architectures/0 x86_64: libseccomp " + Version() + " does not know this architecture"},
		{&specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Flags: []specs.LinuxSeccompFlag{"FAST"}}, "/linux/seccomp/flags/0 FAST: unknown flag"},
		{rule(func(s *specs.LinuxSyscall) { s.Names = nil }), "/linux/seccomp/syscalls/1/names : the rule names no system call"},
		{rule(func(s *specs.LinuxSyscall) { s.Action = "x" }), "/linux/seccomp/syscalls/1/action x: unknown action"},
		{rule(func(s *specs.LinuxSyscall) { s.Action, s.ErrnoRet = specs.ActTrap, ptr(uint(1)) }), "/linux/seccomp/syscalls/1/errnoRet 1: SCMP_ACT_TRAP returns no number"},
		{arg(6, specs.OpEqualTo), "/linux/seccomp/syscalls/1/args/1/index 6: no such argument"},
		{arg(1, "=="), "/linux/seccomp/syscalls/1/args/1/op ==: unknown operator"},
	}
	for _, tt := range tests {
		_, complaints := Compile(tt.profile)
		var got []string
		for _, e := range complaints {
			got = append(got, fmt.Sprintf("%s %s: %s", e.Field, e.Path, e.Msg))
		}
		if strings.Join(got, "\n") != tt.want {
			t.Errorf("got %v, want %s", got, tt.want)
		}
	}
}

// everything names all system calls that libseccomp knows here but those left
// out.
func everything(a arch, but ...string) []string {
	var names []string
	for n := range 600 {
		name, err := libseccomp.ScmpSyscall(n).GetNameByArch(a.lib)
		if err == nil && !slices.Contains(but, name) {
			names = append(names, name)
		}
	}
	return names
}

// The kernel takes the filter, and it does there what it should.
//
//spec:75,76
func TestKernelTakesFilter(t *testing.T) {
	a := nativeArch(t)
	f, complaints := Compile(profile(specs.ActErrno, specs.LinuxSyscall{Names: everything(a, "getppid"), Action: specs.ActAllow}))
	if len(complaints) > 0 {
		t.Fatal(complaints)
	}
	type result struct{ install, forbidden, unknown unix.Errno }
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its filter
		var r result
		prog := unix.SockFprog{Len: uint16(f.Instructions()), Filter: (*unix.SockFilter)(unsafe.Pointer(&f.BPF[0]))}
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			r.install = err.(unix.Errno)
		} else if _, _, r.install = unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, uintptr(f.Flags), uintptr(unsafe.Pointer(&prog))); r.install == 0 {
			_, _, r.forbidden = unix.RawSyscall(unix.SYS_GETPPID, 0, 0, 0)
			_, _, r.unknown = unix.RawSyscall(999, 0, 0, 0)
		}
		done <- r
	}()
	if r := <-done; r != (result{0, unix.EPERM, unix.ENOSYS}) {
		t.Errorf("installed: %v; forbidden call: %v; unknown call: %v", r.install, r.forbidden, r.unknown)
	}
}

func BenchmarkCompile(b *testing.B) {
	s := profile(specs.ActErrno, specs.LinuxSyscall{Names: everything(nativeArch(b)), Action: specs.ActAllow})
	for b.Loop() {
		if _, complaints := Compile(s); len(complaints) > 0 {
			b.Fatal(complaints)
		}
	}
}

func BenchmarkCacheHit(b *testing.B) {
	s := profile(specs.ActErrno, specs.LinuxSyscall{Names: everything(nativeArch(b)), Action: specs.ActAllow})
	c := Cache{b.TempDir()}
	for b.Loop() {
		if _, complaints := c.Compile(s); len(complaints) > 0 {
			b.Fatal(complaints)
		}
	}
}
