package nsenter

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

// Builder compiles a Program. Methods named after system calls append one step
// each (calls.go); Last returns it for Accept and the jumps.
type Builder struct {
	p       Program
	origin  Origin
	next    Reg
	free    []Reg
	strings map[string]uint32 // where a string stands in data
	structs map[any]Arg       // what Struct has put into data
	args    []Arg             // of the steps, one slab after the other
	kept    Reg               // what CloseRest leaves open
}

// Enough for the default configuration without growing.
const (
	usualSteps = 512
	usualArgs  = 1536
	usualData  = 16 << 10
)

// NewBuilder returns an empty program that will receive n descriptors, which
// are in registers 1..n in the order in which Start is given them.
func NewBuilder(n int) *Builder {
	return &Builder{
		p: Program{
			Received: n, RootAt: -1,
			Steps: make([]Step, 0, usualSteps), data: make([]byte, 0, usualData),
		},
		next:    Reg(n + 1),
		strings: make(map[string]uint32, 128),
		structs: map[any]Arg{},
		args:    make([]Arg, 0, usualArgs),
	}
}

// For says who asks for the steps that follow.
func (b *Builder) For(o Origin) { b.origin = o }

// RootOpen declares that the container's root is open from here on, so that
// Verify holds the steps that follow to the path rules.
func (b *Builder) RootOpen() {
	if b.p.RootAt < 0 {
		b.p.RootAt = len(b.p.Steps)
	}
}

// Label is a place further on in the program.
type Label struct{ at int }

// Label makes a label; Place says where it is.
func (b *Builder) Label() *Label {
	return &Label{at: -1}
}

// Place puts the label before the next step.
func (b *Builder) Place(l *Label) { l.at = len(b.p.Steps) }

// Last is the step that was appended last.
func (b *Builder) Last() *Step { return &b.p.Steps[len(b.p.Steps)-1] }

// Accepts makes errnos no failure; the program goes on with the next step.
func (s *Step) Accepts(errnos ...unix.Errno) *Step {
	s.Accept = append(s.Accept, errnos...)
	if len(s.Accept) > 4 {
		panic("nsenter: a step accepts at most four errnos")
	}
	return s
}

// Else goes to l after an accepted errno.
func (s *Step) Else(l *Label) *Step {
	s.onAccept = l
	return s
}

// Then goes to l after success.
func (s *Step) Then(l *Label) *Step {
	s.onSuccess = l
	return s
}

// Program resolves the labels and returns the program. It fails where the
// program is more than the walker holds.
func (b *Builder) Program() (*Program, error) {
	if b.Registers() > registers {
		return nil, &fault.Error{Op: "compile the program", Phase: fault.PhasePlan, Code: "too-large",
			Msg:  fmt.Sprintf("needs %d descriptors at once, of which there are %d", b.Registers()-1, registers-1),
			Hint: "give it fewer mounts and devices, for example by mounting a directory above several of them"}
	}
	if len(b.p.data) > maxData {
		return nil, &fault.Error{Op: "compile the program", Phase: fault.PhasePlan, Code: "too-large",
			Msg: fmt.Sprintf("needs %d bytes of data, and may have %d", len(b.p.data), maxData)}
	}
	for i := range b.p.Steps {
		s := &b.p.Steps[i]
		var err error
		if s.skipAccept, err = skip(i, s.onAccept); err != nil {
			return nil, err
		}
		if s.skipSuccess, err = skip(i, s.onSuccess); err != nil {
			return nil, err
		}
	}
	b.p.data = append(b.p.data, 0) // the byte that ends every string
	return &b.p, nil
}

// maxData keeps the offsets, of 32 bits, and what the walker maps small: it is
// more than execve(2) takes for arguments and environment.
const maxData = 1 << 28

func skip(from int, l *Label) (int, error) {
	if l == nil {
		return 0, nil
	}
	n := l.at - from - 1
	if n < 0 || n > 0xffff {
		return 0, fmt.Errorf("nsenter: step %d jumps by %d", from, n)
	}
	return n, nil
}

// Reserve allocates a register that no step has written yet.
func (b *Builder) Reserve() Reg {
	if n := len(b.free); n > 0 {
		r := b.free[n-1]
		b.free = b.free[:n-1]
		return r
	}
	r := b.next
	b.next++
	return r
}

// Registers is how many registers the program uses.
func (b *Builder) Registers() int { return int(b.next) }

// Append adds a step. Use the methods in calls.go; Append is for what they do
// not cover.
func (b *Builder) Append(call Call, args ...Arg) *Step {
	if len(b.args)+len(args) > cap(b.args) {
		b.args = make([]Arg, 0, max(usualArgs, len(args)))
	}
	at := len(b.args)
	b.args = append(b.args, args...)
	end := len(b.args)
	b.p.Steps = append(b.p.Steps, Step{Call: call, Args: b.args[at:end:end], Origin: b.origin})
	return b.Last()
}

// yields adds a step whose result goes into a fresh register.
func (b *Builder) yields(call Call, args ...Arg) Reg {
	r := b.Reserve()
	b.Append(call, args...).Result = r
	return r
}

// Num is a number printed in decimal.
func Num[T ~int | ~int32 | ~int64 | ~uint | ~uint32 | ~uint64](v T) Arg {
	if v < 0 {
		return Arg{num: uint64(v), text: negative(v)}
	}
	return Arg{num: uint64(v)}
}

// Octal is a file mode.
func Octal(v uint32) Arg { return Arg{num: uint64(v), text: octal(v)} }

// Hex is a number printed in hexadecimal.
func Hex(v uint64) Arg { return Arg{num: v, text: hex(v)} }

// Const is a number that is printed by its name.
func Const(v uint64, name string) Arg { return Arg{num: v, text: word(name)} }

// Shown is a number that is printed by text.
func Shown(v uint64, text fmt.Stringer) Arg { return Arg{num: v, text: text} }

// CWD is AT_FDCWD.
func CWD() Arg {
	at := int64(unix.AT_FDCWD)
	return Arg{num: uint64(at), text: word("AT_FDCWD")}
}

// FD is a register as an argument.
func FD(r Reg) Arg { return Arg{kind: inRegister, reg: r} }

// Null is a null pointer.
func Null() Arg { return Arg{text: word("NULL")} }

// Str puts s with its final zero byte into data. Equal strings are stored once.
func (b *Builder) Str(s string) Arg {
	at, ok := b.strings[s]
	if !ok {
		at = b.put(append([]byte(s), 0), 1)
		b.strings[s] = at
	}
	return Arg{kind: inData, num: uint64(at), text: str(s)}
}

// Bytes puts raw bytes into data, 8-aligned; text is what the program's text
// shows for them.
func (b *Builder) Bytes(raw []byte, text string) Arg {
	return Arg{kind: inData, num: uint64(b.put(raw, 8)), text: word(text)}
}

// layout is a C struct that many steps pass alike: comparable, so that equal
// ones are stored once.
type layout interface {
	fmt.Stringer
	bytes() []byte
}

// structure puts s into data, 8-aligned, equal ones once.
func (b *Builder) structure(s layout) Arg {
	a, ok := b.structs[s]
	if !ok {
		a = Arg{kind: inData, num: uint64(b.put(s.bytes(), 8)), text: s}
		b.structs[s] = a
	}
	return a
}

func (b *Builder) put(raw []byte, align int) uint32 {
	for len(b.p.data)%align != 0 {
		b.p.data = append(b.p.data, 0)
	}
	at := len(b.p.data)
	b.p.data = append(b.p.data, raw...)
	return uint32(at)
}

// Words packs 64-bit words into data, 8-aligned, such as a C struct of them.
// An Arg word that lives in data becomes a pointer to it.
func (b *Builder) Words(text string, words ...Arg) Arg {
	return b.words(word(text), words)
}

func (b *Builder) words(text fmt.Stringer, words []Arg) Arg {
	raw := make([]byte, 8*len(words))
	for i, w := range words {
		if w.kind == number {
			binary.NativeEndian.PutUint64(raw[8*i:], w.num)
		}
	}
	at := b.put(raw, 8)
	for i, w := range words {
		if w.kind == inData {
			b.p.relocs = append(b.p.relocs, relocation{at: at + uint32(8*i), to: uint32(w.num)})
		}
	}
	return Arg{kind: inData, num: uint64(at), text: text}
}

// Strings is a null-terminated array of string pointers, as for argv and envp.
func (b *Builder) Strings(list []string) Arg {
	words := make([]Arg, 0, len(list)+1)
	for _, s := range list {
		words = append(words, b.Str(s))
	}
	return b.words(quoted(list), append(words, Null()))
}

// Packed is strings one after the other, each with its zero byte.
func (b *Builder) Packed(list []string) Arg {
	var raw []byte
	for _, s := range list {
		raw = append(append(raw, s...), 0)
	}
	return Arg{kind: inData, num: uint64(b.put(raw, 1)), text: quoted(list)}
}

// At is a place n bytes behind a in data.
func (a Arg) At(n int) Arg {
	a.num += uint64(n)
	a.text = word(fmt.Sprintf("%s+%d", a.text, n))
	return a
}
