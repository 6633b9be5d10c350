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
		if raw, err := p.Encode(); err != nil || len(raw) < headerSize {
			t.Error(err)
		}
	})
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
	out := make([]Arg, 6)
	for i := range out {
		out[i] = kinds[(int(seed)+i)%len(kinds)]
	}
	return out
}
