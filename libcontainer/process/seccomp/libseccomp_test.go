package seccomp

import (
	"encoding/json"
	"io"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"

	"berth/tests/seccompprofile"
)

// libseccompFilter is what libseccomp's own compiler makes of a profile. It has
// no ENOSYS for calls that are newer than the profile.
func libseccompFilter(t testing.TB, s *specs.LinuxSeccomp) []byte {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	filter, err := libseccomp.NewFilter(libseccompAction(s.DefaultAction, s.DefaultErrnoRet))
	must(err)
	defer filter.Release()
	for _, a := range s.Architectures {
		arch, _ := architecture(a)
		must(filter.AddArch(arch))
	}
	for _, r := range s.Syscalls {
		action := libseccompAction(r.Action, r.ErrnoRet)
		if action == libseccompAction(s.DefaultAction, s.DefaultErrnoRet) {
			continue
		}
		var all []libseccomp.ScmpCondition
		for _, a := range r.Args {
			all = append(all, libseccomp.ScmpCondition{Argument: a.Index, Op: libseccompOperators[a.Op], Operand1: a.Value, Operand2: a.ValueTwo})
		}
		for _, name := range r.Names {
			call, err := libseccomp.GetSyscallFromName(name)
			if err != nil {
				continue
			}
			if all == nil {
				must(filter.AddRule(call, action))
			} else {
				must(filter.AddRuleConditional(call, action, all))
			}
		}
	}
	return exported(t, filter)
}

func exported(t testing.TB, filter *libseccomp.ScmpFilter) []byte {
	t.Helper()
	fd, err := unix.MemfdCreate("filter", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "filter")
	defer f.Close()
	if err := filter.ExportBPF(f); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(f)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func libseccompAction(a specs.LinuxSeccompAction, ret *uint) libseccomp.ScmpAction {
	n := int16(unix.EPERM)
	if ret != nil {
		n = int16(*ret)
	}
	switch a {
	case specs.ActErrno:
		return libseccomp.ActErrno.SetReturnCode(n)
	case specs.ActTrace:
		return libseccomp.ActTrace.SetReturnCode(n)
	}
	return map[specs.LinuxSeccompAction]libseccomp.ScmpAction{
		specs.ActKill: libseccomp.ActKillThread, specs.ActKillThread: libseccomp.ActKillThread, specs.ActKillProcess: libseccomp.ActKillProcess,
		specs.ActTrap: libseccomp.ActTrap, specs.ActAllow: libseccomp.ActAllow, specs.ActLog: libseccomp.ActLog, specs.ActNotify: libseccomp.ActNotify,
	}[a]
}

var libseccompOperators = map[specs.LinuxSeccompOperator]libseccomp.ScmpCompareOp{
	specs.OpNotEqual: libseccomp.CompareNotEqual, specs.OpLessThan: libseccomp.CompareLess, specs.OpLessEqual: libseccomp.CompareLessOrEqual,
	specs.OpEqualTo: libseccomp.CompareEqual, specs.OpGreaterEqual: libseccomp.CompareGreaterEqual, specs.OpGreaterThan: libseccomp.CompareGreater,
	specs.OpMaskedEqual: libseccomp.CompareMaskedEqual,
}

// sameAsLibseccomp compares two programs for a call: they decide alike, but for
// ENOSYS where libseccomp has the default.
func sameAsLibseccomp(t *testing.T, s *specs.LinuxSeccomp, ours, theirs []byte, c call) {
	t.Helper()
	got, err := interpret(ours, c)
	if err != nil {
		t.Fatal(err)
	}
	want, err := interpret(theirs, c)
	if err != nil {
		t.Fatal(err)
	}
	if got != want && !(got == enosys && want == returned(s.DefaultAction, s.DefaultErrnoRet)) {
		t.Fatalf("arch %#x nr %#x args %#x: %#x, libseccomp %#x\n%+v", c.arch, c.nr, c.args, got, want, *s)
	}
}

// Where libseccomp's compiler can be relied on (one rule a call, one condition
// an argument), both programs decide alike.
//
//spec:75
func TestFilterAgainstLibseccomp(t *testing.T) {
	native := nativeArch(t)
	r := rand.New(rand.NewPCG(3, 4))
	for range 60 {
		arches := []arch{native}
		for _, a := range archTable() {
			if a.spec != native.spec && r.IntN(3) == 0 {
				arches = append(arches, a)
			}
		}
		s := randomProfile(r, arches)
		for i, rule := range s.Syscalls {
			if len(rule.Args) == 2 && rule.Args[0].Index == rule.Args[1].Index {
				s.Syscalls[i].Args = rule.Args[:1]
			}
			for j, a := range s.Syscalls[i].Args {
				s.Syscalls[i].Args[j].ValueTwo = a.ValueTwo & a.Value // what is beside the mask it cuts off
			}
		}
		f, complaints := Compile(s)
		if len(complaints) > 0 {
			t.Fatal(complaints)
		}
		theirs := libseccompFilter(t, s)
		for range 200 {
			sameAsLibseccomp(t, s, f.BPF, theirs, randomCall(r, archTable()))
		}
	}
}

// managers are the profiles that containers are started with every day.
func managers(t *testing.T) map[string]*specs.LinuxSeccomp {
	t.Helper()
	out := map[string]*specs.LinuxSeccomp{}
	docker, err := os.ReadFile("../../../tests/seccompprofile/testdata/dockerd.json")
	if err != nil {
		t.Fatal(err)
	}
	out["dockerd"] = &specs.LinuxSeccomp{}
	if err := json.Unmarshal(docker, out["dockerd"]); err != nil {
		t.Fatal(err)
	}
	podman, err := os.ReadFile("/usr/share/containers/seccomp.json")
	if err != nil {
		t.Log("[seccomp.json] Podman's profile needs golang-github-containers-common")
		return out
	}
	for name, caps := range map[string][]string{"podman": {"CAP_CHOWN", "CAP_KILL"}, "podman --privileged": {"CAP_SYS_ADMIN", "CAP_BPF", "CAP_SYS_PTRACE"}} {
		if out[name], err = seccompprofile.Resolve(podman, seccompprofile.Target{Arch: "amd64", Caps: caps, Kernel: "6.1.0"}); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// The profiles of managers, for every system call of each architecture, those
// behind socketcall(2) and ipc(2) too, with arguments that the profiles look at
// and others: as libseccomp has it, and as the profile reads.
//
//spec:75,76
func TestManagersProfiles(t *testing.T) {
	for name, s := range managers(t) {
		t.Run(name, func(t *testing.T) {
			f, complaints := Compile(s)
			if len(complaints) > 0 {
				t.Fatal(complaints)
			}
			theirs := libseccompFilter(t, s)
			t.Logf("%d instructions, libseccomp %d", f.Instructions(), len(theirs)/instruction)
			values := []uint64{38, 40, 0x20000, 0x20008, 0xffffffff, 0x7e020000, 1 << 28, 1 << 40}
			for n := range uint64(26) { // places behind socketcall(2) and ipc(2)
				values = append(values, n)
			}
			for _, rule := range s.Syscalls {
				for _, a := range rule.Args {
					values = append(values, a.Value, a.Value+1, a.ValueTwo)
				}
			}
			r := rand.New(rand.NewPCG(1, 1))
			for _, a := range archTable() {
				for nr := range uint32(700) {
					c := call{arch: a.audit, nr: nr}
					if a.spec == specs.ArchX32 {
						c.nr |= x32Bit
					}
					for range 20 {
						for i := range c.args {
							c.args[i] = values[r.IntN(len(values))]
						}
						sameAsLibseccomp(t, s, f.BPF, theirs, c)
					}
				}
			}
		})
	}
}

// A profile of this kind keeps libseccomp's compiler (2.5.4) busy for minutes.
func TestCompileIsQuick(t *testing.T) {
	s := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow}
	r := rand.New(rand.NewPCG(1, 1))
	for range 60 {
		s.Syscalls = append(s.Syscalls, specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{
			{Index: 0, Op: allOperators[r.IntN(7)], Value: uint64(r.IntN(3))<<32 | uint64(r.IntN(5))},
			{Index: 1, Op: allOperators[r.IntN(7)], Value: uint64(r.IntN(3))<<32 | uint64(r.IntN(5))},
		}})
	}
	began := time.Now()
	if _, complaints := Compile(s); len(complaints) > 0 {
		t.Fatal(complaints)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("it took %v", took)
	}
}

// What is too long for the kernel is refused, whatever its length.
func TestCompileIsBounded(t *testing.T) {
	s := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow}
	for i := range uint64(2000) {
		s.Syscalls = append(s.Syscalls, specs.LinuxSyscall{Names: []string{"read"}, Action: specs.ActErrno,
			Args: []specs.LinuxSeccompArg{{Index: 0, Op: specs.OpEqualTo, Value: i}}})
	}
	_, complaints := Compile(s)
	if len(complaints) != 1 || complaints[0].Msg != "the filter has 10014 instructions, the kernel takes 4096" {
		t.Error(complaints)
	}
}
