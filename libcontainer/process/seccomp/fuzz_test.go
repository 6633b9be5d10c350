package seccomp

import (
	"hash/fnv"
	"math/rand/v2"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// entropy hands out a fuzzer's bytes one by one, and zeroes behind them.
type entropy []byte

func (e *entropy) below(n int) int {
	if len(*e) == 0 {
		return 0
	}
	b := (*e)[0]
	*e = (*e)[1:]
	return int(b) % n
}

func (e *entropy) number() uint64 {
	if e.below(4) != 0 {
		return edges[e.below(len(edges))]
	}
	var n uint64
	for range 8 {
		n = n<<8 | uint64(e.below(256))
	}
	return n
}

// errno is for an action that takes one.
func (e *entropy) errno(a specs.LinuxSeccompAction) *uint {
	if a != specs.ActErrno && a != specs.ActTrace || e.below(2) == 0 {
		return nil
	}
	n := uint(e.below(4096))
	return &n
}

// profile is any that bundle.Check lets pass: names may come in many rules.
func (e *entropy) profile(native arch) (*specs.LinuxSeccomp, []arch) {
	arches := []arch{native}
	for _, a := range archTable() {
		if a.spec != native.spec && e.below(3) == 0 {
			arches = append(arches, a)
		}
	}
	s := &specs.LinuxSeccomp{DefaultAction: allActions[e.below(len(allActions)-1)]} // the last is NOTIFY
	s.DefaultErrnoRet = e.errno(s.DefaultAction)
	for _, a := range arches {
		s.Architectures = append(s.Architectures, a.spec)
	}
	for range e.below(9) {
		s.Syscalls = append(s.Syscalls, e.rule())
	}
	return s, arches
}

func (e *entropy) rule() specs.LinuxSyscall {
	rule := specs.LinuxSyscall{Action: allActions[e.below(len(allActions))]}
	rule.ErrnoRet = e.errno(rule.Action)
	for range 1 + e.below(3) {
		rule.Names = append(rule.Names, simpleNames[e.below(len(simpleNames))])
	}
	for range e.below(4) {
		arg := specs.LinuxSeccompArg{Index: uint(e.below(6)), Op: allOperators[e.below(len(allOperators))], Value: e.number()}
		if arg.Op == specs.OpMaskedEqual {
			arg.ValueTwo = e.number()
		}
		rule.Args = append(rule.Args, arg)
	}
	return rule
}

// nearCall is a call that a profile's rules look at: of a name in it, with
// arguments at, below and above the numbers that it compares with.
func (m model) nearCall(r *rand.Rand) call {
	c := randomCall(r, m.arches)
	if len(m.profile.Syscalls) == 0 {
		return c
	}
	s := m.profile.Syscalls[r.IntN(len(m.profile.Syscalls))]
	a := m.arches[r.IntN(len(m.arches))]
	if n, ok := number(s.Names[r.IntN(len(s.Names))], a); ok {
		c.arch, c.nr = a.audit, n
	}
	for _, arg := range s.Args {
		switch v := arg.Value; r.IntN(8) {
		case 0:
			c.args[arg.Index] = v - 1
		case 1:
			c.args[arg.Index] = v + 1
		case 2:
			c.args[arg.Index] = v ^ 1<<r.IntN(64)
		case 3:
			c.args[arg.Index] = arg.ValueTwo
		case 4:
			c.args[arg.Index] = arg.ValueTwo | r.Uint64()&^v
		default:
			c.args[arg.Index] = v
		}
	}
	return c
}

// FuzzSeccomp holds what the kernel would decide, by running the compiled
// program as the kernel does, to what the profile says when it is read
// literally.
//
//spec:75
func FuzzSeccomp(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte("\x01\x01\x01\x01\x01\x01\x00\x02"))
	for seed := range uint64(24) {
		raw := make([]byte, 200)
		r := rand.New(rand.NewPCG(seed, 5))
		for i := range raw {
			raw[i] = byte(r.Uint32())
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		e := entropy(raw)
		s, arches := e.profile(nativeArch(t))
		filter, complaints := Compile(s)
		if len(complaints) > 0 {
			t.Fatalf("%v\n%+v", complaints, *s)
		}
		m := model{s, arches}
		h := fnv.New64a()
		h.Write(raw)
		r := rand.New(rand.NewPCG(h.Sum64(), 1))
		for range 100 {
			c := m.nearCall(r)
			got, err := interpret(filter.BPF, c)
			if err != nil {
				t.Fatal(err)
			}
			if want := m.decide(c); got != want {
				t.Fatalf("arch %#x nr %#x args %#x: got %#x, want %#x\n%+v", c.arch, c.nr, c.args, got, want, *s)
			}
		}
	})
}
