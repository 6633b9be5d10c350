// Package dbus speaks as much of D-Bus as one conversation with systemd takes: method calls, their replies, and signals,
// over a Unix socket (dbus.freedesktop.org/doc/dbus-specification.html). It needs neither package net nor reflection, and
// does nothing at start-up.
package dbus

import (
	"math"
	"strconv"
	"strings"
)

// Value is one value of D-Bus.
type Value struct {
	// Sig is its type: one complete type (D-Bus specification, "Type System").
	Sig string
	// Text is that of s, o and g.
	Text string
	// Bits is a number of any type: signed ones in two's complement, d as IEEE 754, b as 0 or 1.
	Bits uint64
	// List are the elements of an array, the fields of a structure, or the content of a variant.
	List []Value
}

// String, Bool, Uint32 and Uint64 make values of the basic types.
func String(s string) Value { return Value{Sig: "s", Text: s} }

// Bool makes a b.
func Bool(on bool) Value {
	if on {
		return Value{Sig: "b", Bits: 1}
	}
	return Value{Sig: "b"}
}

// Uint32 makes a u.
func Uint32(n uint32) Value { return Value{Sig: "u", Bits: uint64(n)} }

// Uint64 makes a t.
func Uint64(n uint64) Value { return Value{Sig: "t", Bits: n} }

// Array makes an array of elements that are all of type elem.
func Array(elem string, list ...Value) Value { return Value{Sig: "a" + elem, List: list} }

// Strings makes an as.
func Strings(list ...string) Value {
	out := Array("s")
	for _, s := range list {
		out.List = append(out.List, String(s))
	}
	return out
}

// Bytes makes an ay.
func Bytes(raw []byte) Value {
	out := Array("y")
	for _, b := range raw {
		out.List = append(out.List, Value{Sig: "y", Bits: uint64(b)})
	}
	return out
}

// Struct makes a structure of its fields.
func Struct(fields ...Value) Value {
	sig := "("
	for _, f := range fields {
		sig += f.Sig
	}
	return Value{Sig: sig + ")", List: fields}
}

// Variant wraps a value together with its type.
func Variant(v Value) Value { return Value{Sig: "v", List: []Value{v}} }

// keywords are the types as GVariant's text format spells them.
var keywords = [...]struct{ sig, word string }{
	{"y", "byte"}, {"n", "int16"}, {"q", "uint16"}, {"i", "int32"}, {"u", "uint32"}, {"x", "int64"}, {"t", "uint64"},
	{"d", "double"}, {"b", "boolean"}, {"s", "string"}, {"o", "objectpath"}, {"g", "signature"},
}

// String is the value in GVariant's text format, as Parse reads it: uint64 5, 'text', ['a', 'b'].
func (v Value) String() string {
	var b strings.Builder
	v.print(&b, true)
	return b.String()
}

// MarshalText is String.
func (v Value) MarshalText() ([]byte, error) { return []byte(v.String()), nil }

// print writes the type of a number only where it cannot be told otherwise.
func (v Value) print(b *strings.Builder, typed bool) {
	switch v.Sig[0] {
	case 's':
		b.WriteString(quote(v.Text))
	case 'o', 'g':
		v.printType(b, typed)
		b.WriteString(quote(v.Text))
	case 'b':
		b.WriteString(strconv.FormatBool(v.Bits != 0))
	case 'a':
		if len(v.List) == 0 {
			b.WriteString("@" + v.Sig + " []")
			return
		}
		v.printList(b, '[', ']', false)
	case '(':
		v.printList(b, '(', ')', true)
	case 'v':
		b.WriteByte('<')
		v.List[0].print(b, true)
		b.WriteByte('>')
	default:
		v.printType(b, typed)
		b.WriteString(v.number())
	}
}

func (v Value) printType(b *strings.Builder, typed bool) {
	for _, k := range keywords {
		if typed && k.sig == v.Sig && k.sig != "i" && k.sig != "d" {
			b.WriteString(k.word + " ")
		}
	}
}

// printList types the first element of an array, which is enough for all, and each field of a structure.
func (v Value) printList(b *strings.Builder, open, end byte, each bool) {
	b.WriteByte(open)
	for i, e := range v.List {
		if i > 0 {
			b.WriteString(", ")
		}
		e.print(b, each || i == 0)
	}
	if open == '(' && len(v.List) == 1 {
		b.WriteByte(',')
	}
	b.WriteByte(end)
}

func (v Value) number() string {
	switch v.Sig {
	case "n", "i", "x":
		return strconv.FormatInt(int64(v.Bits), 10)
	case "d":
		text := strconv.FormatFloat(math.Float64frombits(v.Bits), 'g', -1, 64)
		if !strings.ContainsAny(text, ".eIN") {
			text += ".0"
		}
		return text
	}
	return strconv.FormatUint(v.Bits, 10)
}

// quote uses the escapes that Parse knows.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('\'')
	for _, r := range s {
		switch {
		case r == '\'' || r == '\\':
			b.WriteString(`\` + string(r))
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < 0x20 || r == 0x7f:
			b.WriteString(`\u00` + string("0123456789abcdef"[r>>4]) + string("0123456789abcdef"[r&15]))
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('\'')
	return b.String()
}
