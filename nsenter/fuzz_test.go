package nsenter

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

// FuzzMessages: whatever a child sends, the runtime does not panic over it.
func FuzzMessages(f *testing.F) {
	f.Add(encodeMessage(message{kind: messageSync, id: uint32(SyncMaps)}), []byte{})
	f.Add(encodeMessage(message{kind: messageFailed, id: 1, value: int32(unix.ENOENT)}), unix.UnixRights(0))
	f.Add(encodeMessage(message{kind: messageFailed, id: refused, value: -1}), []byte{1, 2, 3})
	long := encodeMessage(message{kind: messageFailed})
	binary.NativeEndian.PutUint32(long[12:], 0xffffffff)
	f.Add(long, make([]byte, unix.CmsgSpace(unix.SizeofUcred)))
	p := &Program{Steps: []Step{{Call: Fork}, {Call: unix.SYS_FSCONFIG}}}
	f.Fuzz(func(t *testing.T, raw, control []byte) {
		if step, errno, ok := ReadReport(raw); ok {
			_ = p.Failure(step, errno, "").Error()
		}
		// Numbers that the kernel did not put there are no descriptors of ours.
		for i := range control {
			control[i] |= 0x80
		}
		received(control)
		full := make([]byte, messageSize)
		copy(full, raw)
		m := decodeMessage(full)
		if len(m.text) > messageSize {
			t.Errorf("%d bytes of text", len(m.text))
		}
		_ = p.Failure(m.id, unix.Errno(m.value), string(m.text)).Error()
	})
}

// FuzzVerify: any steps at all are verified, printed and encoded without a
// panic. Three bytes make a step.
func FuzzVerify(f *testing.F) {
	f.Add([]byte("abc"), true)
	f.Add([]byte{0, 1, 2, 7, 7, 7, 40, 2, 90, 3, 3, 3, 1, 0, 9}, false)
	calls := fuzzCalls()
	f.Fuzz(func(t *testing.T, raw []byte, root bool) {
		raw = raw[:min(len(raw), 3000)]
		b := NewBuilder(2)
		if root {
			b.RootOpen()
		}
		var labels []*Label
		for ; len(raw) >= 3; raw = raw[3:] {
			args := fuzzArgs(b, raw[1])
			s := b.Append(calls[int(raw[0])%len(calls)], args[:int(raw[1])%(len(args)+1)]...)
			s.Result = Reg(raw[2] % 8)
			if raw[2]&0x10 != 0 {
				s.Accepts(unix.ENOENT)
			}
			if raw[2]&0x20 != 0 {
				l := b.Label()
				labels = append(labels, l)
				s.Then(l).Else(l)
			}
			if raw[2]&0x40 != 0 {
				for _, l := range labels {
					b.Place(l)
				}
				labels = nil
			}
		}
		for _, l := range labels {
			b.Place(l)
		}
		p, err := b.Program()
		if err != nil {
			return
		}
		_ = Verify(p)
		_ = p.String()
		encoded, err := p.Encode()
		if err != nil {
			t.Fatal(err)
		}
		decodes(t, p, encoded)
	})
}

// decodes reads an encoded program as the walker does, by its offsets, and
// holds every field to the step that it came from, and every offset to the
// walker's own bounds.
func decodes(t *testing.T, p *Program, raw []byte) {
	t.Helper()
	u16, u32, u64 := binary.NativeEndian.Uint16, binary.NativeEndian.Uint32, binary.NativeEndian.Uint64
	steps, relocs, size := int(u32(raw[4:])), int(u32(raw[8:])), int(u32(raw[12:]))
	dataAt := headerSize + stepSize*steps + 8*relocs
	if steps != len(p.Steps) || relocs != len(p.relocs) || int(u32(raw[16:])) != p.Received || dataAt+size != len(raw) {
		t.Fatalf("%d steps, %d relocations, %d bytes in %d", steps, relocs, size, len(raw))
	}
	if data := raw[dataAt:]; string(data) != string(p.data) || data[size-1] != 0 {
		t.Error("other data")
	}
	for i := range p.Steps {
		s, at := &p.Steps[i], raw[headerSize+stepSize*i:]
		if Call(u32(at)) != s.Call || Reg(u16(at[4:])) != s.Result || int(u16(at[6:])) != s.skipSuccess || int(u16(at[8:])) != s.skipAccept {
			t.Errorf("step %d: another call, result or jump", i)
		}
		for n := range 4 {
			var want unix.Errno
			if n < len(s.Accept) {
				want = s.Accept[n]
			}
			if unix.Errno(u16(at[10+2*n:])) != want {
				t.Errorf("step %d accepts another errno than %v", i, want)
			}
		}
		for n := range 6 {
			var want Arg
			if n < len(s.Args) {
				want = s.Args[n]
			}
			value := want.num
			if want.kind == inRegister {
				value = uint64(want.reg)
			}
			got := u64(at[24+8*n:])
			if argKind(at[18+n]) != want.kind || got != value {
				t.Errorf("step %d: argument %d is %d, not %d", i, n, got, value)
			}
			if want.kind == inData && got >= uint64(size) || want.kind == inRegister && got >= registers {
				t.Errorf("step %d: argument %d is out of bounds", i, n)
			}
		}
	}
	for i, r := range p.relocs {
		at := raw[headerSize+stepSize*steps+8*i:]
		if u32(at) != r.at || u32(at[4:]) != r.to || r.at%8 != 0 || int(r.at)+8 >= size || int(r.to) >= size {
			t.Errorf("relocation %d: %+v", i, r)
		}
	}
}

func fuzzCalls() []Call {
	calls := []Call{9999}
	for _, n := range callNames {
		calls = append(calls, n.call)
	}
	return calls
}

func fuzzArgs(b *Builder, seed byte) []Arg {
	texts := []string{"", "/", ".", "..", "a", "a/b", "/proc", "self/fd/3", "self/../x", "a\x00b"}
	kinds := []Arg{Num(int(seed)), FD(Reg(seed % 8)), b.Str(texts[int(seed)%len(texts)]), Null(), b.Bytes([]byte{seed}, "x"), CWD()}
	if seed%16 == 3 {
		kinds = append(kinds, b.Strings(texts[:seed%7]), b.Words("w", b.Str("x"), Num(1), b.Str("a/b")))
	}
	out := make([]Arg, 6)
	for i := range out {
		out[i] = kinds[(int(seed)+i)%len(kinds)]
	}
	return out
}
