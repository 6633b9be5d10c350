package cgroups

import (
	"encoding/json"
	"math/rand/v2"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// request is one access that the kernel asks a device program about.
type request struct {
	Type         byte // 'b' or 'c'
	Major, Minor int64
	Access       Access
}

// model is what rules mean, as simply as it can be said: go through them in
// order, and remember for each way of access what was said last.
func model(rules []Device, q request) bool {
	for _, way := range []Access{AccessMknod, AccessRead, AccessWrite} {
		if q.Access&way == 0 {
			continue
		}
		allowed := false
		for _, r := range rules {
			device := (r.Type == 'a' || r.Type == q.Type) && (r.Major == Any || r.Major == q.Major) && (r.Minor == Any || r.Minor == q.Minor)
			if device && r.Access&way != 0 {
				allowed = r.Allow
			}
		}
		if !allowed {
			return false
		}
	}
	return true
}

// run interprets a device program as the kernel does.
func run(t *testing.T, prog []Insn, q request) bool {
	t.Helper()
	typ := uint64(devChar)
	if q.Type == 'b' {
		typ = devBlock
	}
	context := [3]uint64{typ | uint64(q.Access)<<16, uint64(q.Major), uint64(q.Minor)}
	var reg [11]uint64
	for pc := 0; pc < len(prog); pc++ {
		i := prog[pc]
		dst, src := &reg[i.Regs&15], reg[i.Regs>>4]
		imm := uint64(uint32(i.Imm))
		switch i.Code {
		case opLoadWord:
			*dst = context[i.Off/4] & 0xffffffff
		case opMov32:
			*dst = imm
		case opMovReg32:
			*dst = src & 0xffffffff
		case opAnd32:
			*dst = *dst & imm & 0xffffffff
		case opShr32:
			*dst = *dst & 0xffffffff >> imm
		case opJne32:
			if *dst&0xffffffff != imm {
				pc += int(i.Off)
			}
		case opJset32:
			if *dst&imm != 0 {
				pc += int(i.Off)
			}
		case opJump:
			pc += int(i.Off)
		case opExit:
			return reg[regAnswer] == 1
		default:
			t.Fatalf("unknown instruction %+v", i)
		}
	}
	t.Fatal("fell off the end")
	return false
}

// everyRequest calls f for all that small numbers can ask.
func everyRequest(f func(request)) {
	for _, typ := range []byte{'b', 'c'} {
		for major := range int64(4) {
			for minor := range int64(4) {
				for a := Access(1); a <= fullAccess; a++ {
					f(request{typ, major, minor, a})
				}
			}
		}
	}
}

func randomRules(r *rand.Rand) []Device {
	rules := make([]Device, r.IntN(8))
	for i := range rules {
		rules[i] = Device{
			Allow: r.IntN(2) == 0, Type: "abc"[r.IntN(3)],
			Major: r.Int64N(5) - 1, Minor: r.Int64N(5) - 1, Access: Access(1 + r.IntN(7)),
		}
	}
	return rules
}

//spec:49
func TestDeviceProgramMeansWhatTheRulesMean(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		rules := randomRules(r)
		prog := CompileDevices(rules)
		everyRequest(func(q request) {
			if got, want := run(t, prog, q), model(rules, q); got != want {
				t.Fatalf("%v\n%+v: %v, want %v\n%+v", rules, q, got, want, prog)
			}
		})
	}
}

// Every instruction can be reached, or the verifier refuses the program.
func TestDeviceProgramsHaveNoDeadEnds(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		rules := randomRules(r)
		prog := CompileDevices(rules)
		reached := make([]bool, len(prog))
		var visit func(int)
		visit = func(pc int) {
			if pc >= len(prog) {
				t.Fatalf("%v leads out of its program", rules)
			}
			if reached[pc] {
				return
			}
			reached[pc] = true
			switch i := prog[pc]; i.Code {
			case opExit:
			case opJump:
				visit(pc + 1 + int(i.Off))
			case opJne32, opJset32:
				visit(pc + 1 + int(i.Off))
				visit(pc + 1)
			default:
				visit(pc + 1)
			}
		}
		visit(0)
		for pc, ok := range reached {
			if !ok {
				t.Fatalf("%v: instruction %d cannot be reached: %+v", rules, pc, prog)
			}
		}
	}
}

// kernelV1 is the v1 controller (security/device_cgroup.c): a default and
// exceptions from it, each way of an access judged by itself.
func kernelV1(lines []Device, q request) bool {
	base, exceptions := lines[0], lines[1:]
	for _, way := range []Access{AccessMknod, AccessRead, AccessWrite} {
		if q.Access&way == 0 {
			continue
		}
		allowed := base.Allow
		for _, e := range exceptions {
			if e.covers(Device{Type: q.Type, Major: q.Major, Minor: q.Minor}) && e.Access&way != 0 {
				allowed = !base.Allow
			}
		}
		if !allowed {
			return false
		}
	}
	return true
}

//spec:49
func TestV1LinesMeanWhatTheRulesMean(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	held := 0
	for range 5000 {
		rules := randomRules(r)
		lines, complaints := v1Rules(rules)
		for _, e := range lines[1:] {
			if e.Allow == lines[0].Allow || e.Type == 'a' || e.Access == 0 {
				t.Fatalf("%v: %v", rules, lines)
			}
		}
		if len(complaints) > 0 {
			continue
		}
		held++
		everyRequest(func(q request) {
			if got, want := kernelV1(lines, q), model(rules, q); got != want {
				t.Fatalf("%v\n%v\n%+v: %v, want %v", rules, lines, q, got, want)
			}
		})
	}
	if held < 1000 {
		t.Errorf("only %d rule lists could be held", held)
	}
}

func parseRules(t *testing.T, fragment string) ([]Device, []string) {
	t.Helper()
	var given []specs.LinuxDeviceCgroup
	if err := json.Unmarshal([]byte(fragment), &given); err != nil {
		t.Fatal(err)
	}
	rules, complaints := deviceRules(given, "/d")
	var out []string
	for _, c := range complaints {
		out = append(out, string(c.Field)+": "+c.Msg)
	}
	return rules, out
}

//spec:49
func TestDeviceRules(t *testing.T) {
	tests := []struct{ fragment, want, complaints string }{
		{`[]`, "", ""},
		{`[{"allow":false,"access":"rwm"}]`, "deny a *:* rwm", ""},
		{`[{"allow":true,"type":"a","major":-1,"minor":-1,"access":"mwr"}]`, "allow a *:* rwm", ""},
		{`[{"allow":true,"type":"c","major":1,"access":"r"}]`, "allow c 1:* r", ""},
		{`[{"allow":true,"type":"b","minor":5,"access":"ww"}]`, "allow b *:5 w", ""},
		{`[{"allow":true}]`, "allow a *:* ", "/d/0: device access cannot be empty"},
		{`[{"allow":true,"type":"p","access":"r"}]`, "allow a *:* r", "/d/0/type: is not a device type that can be ruled"},
		{`[{"allow":true,"type":"c","access":"rx"}]`, "allow c *:* r", "/d/0/access: must be composed of r, w and m"},
		{`[{"allow":true,"type":"c","major":-2,"access":"r"},{"type":"c","minor":4294967296,"access":"r"}]`,
			"allow c -2:* r;deny c *:4294967296 r", "/d/0/major: is not a device number;/d/1/minor: is not a device number"},
	}
	for _, tt := range tests {
		rules, complaints := parseRules(t, tt.fragment)
		var lines []string
		for _, r := range rules {
			text, _ := r.MarshalText()
			lines = append(lines, string(text))
		}
		if got := strings.Join(lines, ";"); got != tt.want || strings.Join(complaints, ";") != tt.complaints {
			t.Errorf("%s:\n%s\n%s", tt.fragment, got, complaints)
		}
	}
}

func TestV1Rules(t *testing.T) {
	tests := []struct{ name, fragment, want, complaint string }{
		{"nothing is allowed", `[]`, "deny a *:* rwm", ""},
		{"all", `[{"allow":true,"access":"rwm"}]`, "allow a *:* rwm", ""},
		{"all, then none", `[{"allow":true,"access":"rwm"},{"allow":false,"access":"rwm"}]`, "deny a *:* rwm", ""},
		{"exceptions are merged", `[{"allow":true,"type":"c","major":1,"minor":3,"access":"r"},{"allow":true,"type":"c","major":1,"minor":3,"access":"w"}]`,
			"deny a *:* rwm;allow c 1:3 rw", ""},
		{"and taken back", `[{"allow":true,"type":"c","major":1,"minor":3,"access":"rw"},{"allow":false,"type":"c","major":1,"minor":3,"access":"w"}]`,
			"deny a *:* rwm;allow c 1:3 r", ""},
		{"by a wider rule, too", `[{"allow":true,"type":"c","major":1,"minor":3,"access":"rw"},{"allow":false,"type":"c","access":"rw"}]`,
			"deny a *:* rwm", ""},
		{"all but one", `[{"allow":true,"access":"rwm"},{"allow":false,"type":"b","major":8,"access":"w"}]`,
			"allow a *:* rwm;deny b 8:* w", ""},
		{"both types at once", `[{"allow":true,"access":"r"}]`, "deny a *:* rwm;allow b *:* r;allow c *:* r", ""},
		{"a hole", `[{"allow":true,"type":"c","access":"rwm"},{"allow":false,"type":"c","major":1,"minor":3,"access":"r"}]`,
			"deny a *:* rwm;allow c *:* rwm", "/d/1"},
		{"a hole in another way of access is none", `[{"allow":true,"type":"c","access":"m"},{"allow":false,"type":"c","major":1,"minor":3,"access":"rw"}]`,
			"deny a *:* rwm;allow c *:* m", ""},
		{"crossing rules", `[{"allow":true,"type":"c","major":1,"access":"r"},{"allow":false,"type":"c","minor":3,"access":"r"}]`,
			"deny a *:* rwm;allow c 1:* r", "/d/1"},
	}
	for _, tt := range tests {
		rules, _ := parseRules(t, tt.fragment)
		lines, complaints := v1Rules(rules)
		var got []string
		for _, r := range lines {
			text, _ := r.MarshalText()
			got = append(got, string(text))
		}
		complaint := ""
		for _, c := range complaints {
			complaint += string(c.Field)
		}
		if strings.Join(got, ";") != tt.want || complaint != tt.complaint {
			t.Errorf("%s: %s %v", tt.name, strings.Join(got, ";"), complaints)
		}
	}
}

func TestAllowsAll(t *testing.T) {
	all, none := Device{Allow: true, Type: 'a', Major: Any, Minor: Any, Access: fullAccess}, Device{Type: 'a', Major: Any, Minor: Any, Access: fullAccess}
	one := Device{Allow: true, Type: 'c', Major: 1, Minor: 3, Access: AccessRead}
	notOne := one
	notOne.Allow = false
	for i, tt := range []struct {
		rules []Device
		want  bool
	}{
		{nil, false},
		{[]Device{all}, true},
		{[]Device{all, one}, true},
		{[]Device{none, all, one}, true},
		{[]Device{all, none, one}, false},
		{[]Device{all, notOne}, false},
		{[]Device{one}, false},
	} {
		if got := allowsAll(tt.rules); got != tt.want {
			t.Errorf("%d: %v", i, got)
		}
	}
}

func FuzzCompileDevices(f *testing.F) {
	f.Add([]byte{1, 'c', 2, 0, 7, 0, 'a', 0, 0, 1})
	f.Fuzz(func(t *testing.T, raw []byte) {
		var rules []Device
		for ; len(raw) >= 5 && len(rules) < 64; raw = raw[5:] {
			rules = append(rules, Device{
				Allow: raw[0]&1 == 1, Type: "abc"[raw[1]%3], Major: int64(raw[2]%5) - 1, Minor: int64(raw[3]%5) - 1, Access: Access(raw[4]%7) + 1,
			})
		}
		prog := CompileDevices(rules)
		everyRequest(func(q request) {
			if run(t, prog, q) != model(rules, q) {
				t.Fatalf("%v %+v", rules, q)
			}
		})
	})
}
