package dbus

import (
	"encoding/binary"
	"errors"
	"strings"
)

// The types of messages, and the header fields, by their numbers.
const (
	TypeCall, TypeReply, TypeError, TypeSignal = 1, 2, 3, 4

	fieldPath, fieldInterface, fieldMember, fieldError, fieldReplySerial = 1, 2, 3, 4, 5
	fieldDestination, fieldSignature                                     = 6, 8
)

// maxMessage is far above all that systemd says; D-Bus would allow 128 MiB.
const maxMessage = 1 << 20

// Message is one message, as it is sent or was received.
type Message struct {
	Type        byte
	Serial      uint32
	ReplySerial uint32 // of a reply or an error: the call's
	Path        string
	Interface   string
	Member      string
	ErrorName   string
	Destination string
	Body        []Value
}

// alignment is that of a type's first byte.
func alignment(sig string) int {
	switch sig[0] {
	case 'y', 'g', 'v':
		return 1
	case 'n', 'q':
		return 2
	case 'x', 't', 'd', '(', '{':
		return 8
	}
	return 4
}

// encoder appends values; padding counts from the start of out.
type encoder struct{ out []byte }

func (e *encoder) pad(n int) {
	for len(e.out)%n != 0 {
		e.out = append(e.out, 0)
	}
}

func (e *encoder) uint32(n uint32) {
	e.pad(4)
	e.out = binary.LittleEndian.AppendUint32(e.out, n)
}

func (e *encoder) value(v Value) {
	e.pad(alignment(v.Sig))
	switch v.Sig[0] {
	case 'y':
		e.out = append(e.out, byte(v.Bits))
	case 'n', 'q':
		e.out = binary.LittleEndian.AppendUint16(e.out, uint16(v.Bits))
	case 'b', 'i', 'u':
		e.uint32(uint32(v.Bits))
	case 'x', 't', 'd':
		e.out = binary.LittleEndian.AppendUint64(e.out, v.Bits)
	case 's', 'o':
		e.uint32(uint32(len(v.Text)))
		e.out = append(append(e.out, v.Text...), 0)
	case 'g':
		e.signature(v.Text)
	case 'v':
		e.signature(v.List[0].Sig)
		e.value(v.List[0])
	case 'a':
		e.array(v)
	case '(', '{':
		for _, f := range v.List {
			e.value(f)
		}
	}
}

func (e *encoder) signature(sig string) {
	e.out = append(append(append(e.out, byte(len(sig))), sig...), 0)
}

// array: its length does not count the padding before the first element.
func (e *encoder) array(v Value) {
	e.uint32(0)
	length := len(e.out) - 4
	e.pad(alignment(v.Sig[1:]))
	from := len(e.out)
	for _, elem := range v.List {
		e.value(elem)
	}
	binary.LittleEndian.PutUint32(e.out[length:], uint32(len(e.out)-from))
}

// Encode is the message as it goes over the wire.
func (m Message) Encode() []byte {
	body := &encoder{}
	sig := ""
	for _, v := range m.Body {
		sig += v.Sig
		body.value(v)
	}
	fields := Array("(yv)")
	add := func(code uint64, v Value) {
		if v.Text != "" || v.Bits != 0 {
			fields.List = append(fields.List, Struct(Value{Sig: "y", Bits: code}, Variant(v)))
		}
	}
	add(fieldPath, Value{Sig: "o", Text: m.Path})
	add(fieldInterface, String(m.Interface))
	add(fieldMember, String(m.Member))
	add(fieldError, String(m.ErrorName))
	add(fieldReplySerial, Uint32(m.ReplySerial))
	add(fieldDestination, String(m.Destination))
	add(fieldSignature, Value{Sig: "g", Text: sig})

	head := &encoder{out: []byte{'l', m.Type, 0, 1}}
	head.uint32(uint32(len(body.out)))
	head.uint32(m.Serial)
	head.value(fields)
	head.pad(8)
	return append(head.out, body.out...)
}

var errDamaged = errors.New("a damaged D-Bus message")

// decoder reads values; padding counts from the start of in.
type decoder struct {
	in    []byte
	at    int
	order binary.ByteOrder
	bad   bool
}

// bytes are the next n, zeros where there are not that many.
func (d *decoder) bytes(n int) []byte {
	if n < 0 || n > len(d.in)-d.at {
		d.bad, d.at = true, len(d.in)
		return make([]byte, 8)
	}
	d.at += n
	return d.in[d.at-n : d.at]
}

func (d *decoder) pad(n int) { d.bytes((n - d.at%n) % n) }

func (d *decoder) uint32() uint32 {
	d.pad(4)
	return d.order.Uint32(d.bytes(4))
}

// text is a string of n bytes and the NUL behind it.
func (d *decoder) text(n int) string {
	if n < 0 || n >= len(d.in)-d.at {
		d.bad = true
		return ""
	}
	return strings.TrimSuffix(string(d.bytes(n+1)), "\x00")
}

func (d *decoder) signature() string { return d.text(int(d.bytes(1)[0])) }

func (d *decoder) value(sig string, depth int) Value {
	v := Value{Sig: sig}
	if d.bad = d.bad || depth > 2*maxDepth; d.bad {
		return v
	}
	d.pad(alignment(sig))
	switch sig[0] {
	case 'y':
		v.Bits = uint64(d.bytes(1)[0])
	case 'n':
		v.Bits = uint64(int64(int16(d.order.Uint16(d.bytes(2)))))
	case 'q':
		v.Bits = uint64(d.order.Uint16(d.bytes(2)))
	case 'i':
		v.Bits = uint64(int64(int32(d.uint32())))
	case 'b', 'u', 'h':
		v.Bits = uint64(d.uint32())
	case 'x', 't', 'd':
		v.Bits = d.order.Uint64(d.bytes(8))
	case 's', 'o':
		v.Text = d.text(int(d.uint32()))
	case 'g':
		v.Text = d.signature()
	case 'v':
		if inner := d.signature(); complete(inner, 0) == len(inner) && inner != "" {
			v.List = []Value{d.value(inner, depth+1)}
		} else {
			d.bad = true
		}
	case 'a':
		v.List = d.array(sig[1:], depth)
	case '(', '{':
		fields, ok := types(sig[1 : len(sig)-1])
		d.bad = d.bad || !ok
		for _, f := range fields {
			v.List = append(v.List, d.value(f, depth+1))
		}
	default:
		d.bad = true
	}
	return v
}

func (d *decoder) array(elem string, depth int) (list []Value) {
	n := int(d.uint32())
	d.pad(alignment(elem))
	if n > len(d.in)-d.at {
		d.bad = true
	}
	for end := d.at + n; !d.bad && d.at < end; {
		list = append(list, d.value(elem, depth+1))
	}
	return list
}

// HeadSize is that of the part of a message that says how long it is.
const HeadSize = 16

// Size is the length of the message that begins with head, HeadSize bytes.
func Size(head []byte) (int, error) {
	var order binary.ByteOrder = binary.LittleEndian
	switch head[0] {
	case 'l':
	case 'B':
		order = binary.BigEndian
	default:
		return 0, errDamaged
	}
	body, fields := order.Uint32(head[4:]), order.Uint32(head[12:])
	if body > maxMessage || fields > maxMessage {
		return 0, errDamaged
	}
	return HeadSize + (int(fields)+7)&^7 + int(body), nil
}

// Decode reads one whole message.
func Decode(raw []byte) (Message, error) {
	d := &decoder{in: raw, order: binary.LittleEndian}
	if raw[0] == 'B' {
		d.order = binary.BigEndian
	}
	d.at = 4
	d.uint32()
	m := Message{Type: raw[1], Serial: d.uint32()}
	sig := ""
	for _, f := range d.value("a(yv)", 0).List {
		if d.bad {
			break
		}
		v := f.List[1].List[0]
		switch f.List[0].Bits {
		case fieldPath:
			m.Path = v.Text
		case fieldInterface:
			m.Interface = v.Text
		case fieldMember:
			m.Member = v.Text
		case fieldError:
			m.ErrorName = v.Text
		case fieldReplySerial:
			m.ReplySerial = uint32(v.Bits)
		case fieldDestination:
			m.Destination = v.Text
		case fieldSignature:
			sig = v.Text
		}
	}
	d.pad(8)
	list, ok := types(sig)
	for _, t := range list {
		m.Body = append(m.Body, d.value(t, 0))
	}
	if d.bad || !ok {
		return Message{}, errDamaged
	}
	return m, nil
}
