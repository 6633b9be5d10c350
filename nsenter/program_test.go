package nsenter

import (
	"flag"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "write testdata anew")

// TestProgramText: the text of a program is what `plan --steps` prints.
func TestProgramText(t *testing.T) {
	p := built(t, 3, func(b *Builder) {
		b.For(Origin{Field: "/linux/namespaces"})
		l := b.Label()
		b.OpenHost("/maybe", unix.O_PATH|unix.O_DIRECTORY)
		b.Last().Accepts(unix.ENOENT, unix.ENOTDIR).Else(l)
		b.Fchdir(1).Then(l)
		b.Inside()
		b.Place(l)
		b.For(Origin{})
		container(b)
	})
	text := p.String()
	const golden = "testdata/program.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("the text is\n%s\nwant (-update writes it)\n%s", text, want)
	}
}

func TestEncodeRefuses(t *testing.T) {
	tests := []struct {
		name string
		step Step
	}{
		{"too many arguments", Step{Call: unix.SYS_GETPID, Args: make([]Arg, 7)}},
		{"too many errnos", Step{Call: unix.SYS_GETPID, Accept: make([]unix.Errno, 5)}},
		{"no such register", Step{Call: unix.SYS_GETPID, Result: registers}},
		{"argument in no register", Step{Call: unix.SYS_CLOSE, Args: []Arg{FD(registers)}}},
	}
	for _, test := range tests {
		p := Program{Steps: []Step{test.step}, data: []byte{0}}
		if _, err := p.Encode(); err == nil {
			t.Errorf("%s: no error", test.name)
		}
	}
}

func TestLabels(t *testing.T) {
	b := NewBuilder(0)
	b.Exit(0).Then(b.Label())
	if _, err := b.Program(); err == nil {
		t.Error("a label that was never placed")
	}
	b = NewBuilder(0)
	l := b.Label()
	b.Place(l)
	b.Exit(0).Then(l)
	if _, err := b.Program(); err == nil {
		t.Error("a jump backwards")
	}
	b = NewBuilder(0)
	l = b.Label()
	b.Exit(0).Then(l)
	for range 1<<16 + 1 {
		b.Exit(0)
	}
	b.Place(l)
	if _, err := b.Program(); err == nil {
		t.Error("a jump that is too long")
	}
}

func TestRegistersAreUsedAgain(t *testing.T) {
	b := NewBuilder(2)
	for range 5000 {
		b.Close(b.OpenHost("/", unix.O_PATH))
	}
	if n := b.Registers(); n != 4 {
		t.Errorf("%d registers", n)
	}
}

func TestEqualStringsAreStoredOnce(t *testing.T) {
	p := built(t, 0, func(b *Builder) {
		for range 100 {
			b.Str("the same string")
		}
	})
	if n := strings.Count(string(p.data), "the same string"); n != 1 {
		t.Errorf("stored %d times", n)
	}
}

func TestReadReport(t *testing.T) {
	good := encodeMessage(message{kind: messageFailed, id: 7, value: int32(unix.EACCES)})
	tests := []struct {
		name string
		raw  []byte
		ok   bool
	}{
		{"a record", good, true},
		{"nothing", nil, false},
		{"part of one", good[:messageSize-1], false},
		{"more than one", append(good, 0), false},
		{"another message", encodeMessage(message{kind: messageSync}), false},
	}
	for _, test := range tests {
		step, errno, ok := ReadReport(test.raw)
		if ok != test.ok || ok && (step != 7 || errno != unix.EACCES) {
			t.Errorf("%s: %d, %v, %v", test.name, step, errno, ok)
		}
	}
}

func TestKernelText(t *testing.T) {
	for given, want := range map[string]string{
		"e proc: Unknown parameter 'x'\n": "proc: Unknown parameter 'x'",
		"w old\x00":                       "old",
		"":                                "",
		"e":                               "e",
		"plain":                           "plain",
	} {
		if got := kernelText(given); got != want {
			t.Errorf("kernelText(%q) = %q", given, got)
		}
	}
}

func TestHints(t *testing.T) {
	for _, h := range hints {
		p := Program{Steps: []Step{{Call: h.call}}}
		if e := p.Failure(0, h.errno, ""); e.Hint != h.text || e.Op != h.call.String() || e.Errno != h.errno {
			t.Errorf("%v %v: %+v", h.call, h.errno, e)
		}
	}
	if h := hint(&Step{Call: Make}, unix.EIO); h != "" {
		t.Errorf("hint %q", h)
	}
}

func TestEveryCallHasAName(t *testing.T) {
	p := built(t, 3, container)
	for i := range p.Steps {
		if name := p.Steps[i].Call.String(); strings.HasPrefix(name, "call") {
			t.Errorf("step %d: %s", i, name)
		}
	}
}
