package dbus

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxDepth is D-Bus's own limit of nesting.
const maxDepth = 32

// Parse reads a value in GVariant's text format (docs.gtk.org/glib/gvariant-text-format.html): strings in either quote,
// true and false, numbers, arrays in brackets and structures in parentheses. A type stands before what it is for, as a
// word (uint64 5) or a signature (@as []); a number without one is an int32, with a point or an exponent a double. An
// array's elements take the type of the first. Dictionaries, variants and byte strings are not read.
func Parse(text string) (Value, error) {
	if !utf8.ValidString(text) {
		return Value{}, errors.New("is not UTF-8")
	}
	p := &parser{in: text}
	v := p.value("", 0)
	p.space()
	if p.err == nil && p.at < len(p.in) {
		p.fail("there is more behind the value")
	}
	return v, p.err
}

type parser struct {
	in  string
	at  int
	err error
}

func (p *parser) fail(format string, args ...any) Value {
	if p.err == nil {
		p.err = fmt.Errorf(format+" (at byte %d)", append(args, p.at)...)
	}
	p.at = len(p.in)
	return Value{}
}

func (p *parser) space() {
	for p.at < len(p.in) && strings.IndexByte(" \t\n", p.in[p.at]) >= 0 {
		p.at++
	}
}

// next is the byte that comes, behind blanks; 0 at the end.
func (p *parser) next() byte {
	p.space()
	if p.at < len(p.in) {
		return p.in[p.at]
	}
	return 0
}

func (p *parser) take(c byte) bool {
	if p.next() != c {
		return false
	}
	p.at++
	return true
}

// word is a run of bytes that numbers, keywords and signatures consist of.
func (p *parser) word() string {
	from := p.at
	for p.at < len(p.in) && strings.IndexByte(" \t\n,)]>'\"", p.in[p.at]) < 0 {
		p.at++
	}
	return p.in[from:p.at]
}

// value reads one value; sig is the type it must have, "" what it says itself.
func (p *parser) value(sig string, depth int) Value {
	if depth > maxDepth {
		return p.fail("is nested too deeply")
	}
	switch c := p.next(); {
	case c == 0:
		return p.fail("a value is missing")
	case c == '\'' || c == '"':
		return p.text(sig)
	case c == '[':
		return p.array(sig, depth)
	case c == '(':
		return p.structure(sig, depth)
	case c == '@':
		return p.signed(sig, depth)
	case c == '{' || c == '<':
		return p.fail("dictionaries and variants are not read here")
	}
	return p.bare(sig, depth)
}

// typed makes sure that a type that is said is the one that is wanted.
func (p *parser) typed(said, wanted string, depth int) Value {
	if wanted != "" && said != wanted {
		return p.fail("is of type %s where %s is wanted", said, wanted)
	}
	return p.value(said, depth+1)
}

func (p *parser) signed(sig string, depth int) Value {
	p.at++
	from := p.at
	for p.at < len(p.in) && strings.IndexByte(" \t\n", p.in[p.at]) < 0 {
		p.at++
	}
	said := p.in[from:p.at]
	if n := complete(said, 0); n == 0 || n != len(said) || strings.ContainsAny(said, "{}vh") {
		return p.fail("@%s is not a type that is read here", said)
	}
	return p.typed(said, sig, depth)
}

// bare reads what has no brackets and no quotes: a keyword, true or false, a number.
func (p *parser) bare(sig string, depth int) Value {
	word := p.word()
	for _, k := range keywords {
		if k.word == word {
			return p.typed(k.sig, sig, depth)
		}
	}
	if word == "true" || word == "false" {
		if sig != "" && sig != "b" {
			return p.fail("%s is no value of type %s", word, sig)
		}
		return Bool(word == "true")
	}
	return p.number(word, sig)
}

func (p *parser) number(word, sig string) Value {
	hex := strings.HasPrefix(strings.TrimLeft(word, "+-"), "0x")
	switch {
	case word == "":
		return p.fail("a value is missing")
	case strings.IndexByte("+-.0123456789", word[0]) < 0 || strings.Contains(word, "_"):
		return p.fail("%q is no value: a string needs quotes", word)
	case sig == "" && !hex && strings.ContainsAny(word, ".eE"):
		sig = "d"
	case sig == "":
		sig = "i"
	}
	v, err := parseNumber(word, sig)
	if err != nil {
		return p.fail("%s is no value of type %s", word, sig)
	}
	return v
}

var errType = errors.New("no number")

func parseNumber(word, sig string) (Value, error) {
	if sig == "d" {
		f, err := strconv.ParseFloat(word, 64)
		return Value{Sig: sig, Bits: math.Float64bits(f)}, err
	}
	signed, unsigned := map[string]int{"n": 16, "i": 32, "x": 64}, map[string]int{"y": 8, "q": 16, "u": 32, "t": 64}
	if size, ok := signed[sig]; ok {
		n, err := strconv.ParseInt(word, 0, size)
		return Value{Sig: sig, Bits: uint64(n)}, err
	}
	if size, ok := unsigned[sig]; ok {
		n, err := strconv.ParseUint(strings.TrimPrefix(word, "+"), 0, size)
		return Value{Sig: sig, Bits: n}, err
	}
	return Value{}, errType
}

func (p *parser) text(sig string) Value {
	if sig == "" {
		sig = "s"
	}
	if !strings.Contains("sog", sig) || len(sig) != 1 {
		return p.fail("a string is no value of type %s", sig)
	}
	s := p.unquote()
	switch {
	case p.err != nil:
		return Value{}
	case strings.Contains(s, "\x00"):
		return p.fail("a string holds no NUL")
	case sig == "o" && !isObjectPath(s):
		return p.fail("%q is no object path", s)
	case sig == "g" && !isSignature(s):
		return p.fail("%q is no signature", s)
	}
	return Value{Sig: sig, Text: s}
}

// unquote reads up to the quote that is there first.
func (p *parser) unquote() string {
	quote := p.in[p.at]
	p.at++
	var b strings.Builder
	for p.at < len(p.in) {
		c := p.in[p.at]
		p.at++
		switch c {
		case quote:
			return b.String()
		case '\\':
			p.escape(&b)
		default:
			b.WriteByte(c)
		}
	}
	p.fail("a string does not end")
	return ""
}

func (p *parser) escape(b *strings.Builder) {
	if p.at == len(p.in) {
		return
	}
	c := p.in[p.at]
	p.at++
	if c == '\n' {
		return
	}
	if digits := map[byte]int{'u': 4, 'U': 8}[c]; digits != 0 {
		if n, err := strconv.ParseUint(p.in[p.at:min(p.at+digits, len(p.in))], 16, 32); err == nil && utf8.ValidRune(rune(n)) {
			p.at = min(p.at+digits, len(p.in))
			b.WriteRune(rune(n))
			return
		}
		p.fail(`\%c takes %d hexadecimal digits`, c, digits)
		return
	}
	if i := strings.IndexByte("abfnrtv", c); i >= 0 {
		c = "\a\b\f\n\r\t\v"[i]
	}
	b.WriteByte(c)
}

func (p *parser) array(sig string, depth int) Value {
	elem, ok := strings.CutPrefix(sig, "a")
	if sig != "" && !ok {
		return p.fail("an array is no value of type %s", sig)
	}
	p.at++
	out := Value{Sig: sig}
	for !p.take(']') {
		if p.err != nil || len(out.List) > 0 && !p.take(',') {
			return p.fail("an array's elements are parted by commas and end with ]")
		}
		e := p.value(elem, depth+1)
		if elem == "" {
			elem = e.Sig
		}
		out.List = append(out.List, e)
	}
	if elem == "" {
		return p.fail("an empty array needs a type, such as @as []")
	}
	out.Sig = "a" + elem
	return out
}

func (p *parser) structure(sig string, depth int) Value {
	fields, ok := fieldsOf(sig)
	if sig != "" && !ok {
		return p.fail("a structure is no value of type %s", sig)
	}
	p.at++
	var list []Value
	for !p.take(')') {
		if p.err != nil || len(list) > 0 && !p.take(',') {
			return p.fail("a structure's fields are parted by commas and end with )")
		}
		if len(list) == 1 && p.take(')') {
			break // (1,) has one field
		}
		want := ""
		if sig != "" {
			if len(list) == len(fields) {
				return p.fail("a structure of type %s has %d fields", sig, len(fields))
			}
			want = fields[len(list)]
		}
		list = append(list, p.value(want, depth+1))
	}
	if len(list) == 0 || sig != "" && len(list) != len(fields) {
		return p.fail("a structure has too few fields")
	}
	return Struct(list...)
}

// fieldsOf are the types of a structure's fields.
func fieldsOf(sig string) ([]string, bool) {
	if len(sig) < 2 || sig[0] != '(' {
		return nil, false
	}
	return types(sig[1 : len(sig)-1])
}

// types parts a signature into complete types; false where it is none.
func types(sig string) (out []string, ok bool) {
	for sig != "" {
		n := complete(sig, 0)
		if n == 0 {
			return nil, false
		}
		out, sig = append(out, sig[:n]), sig[n:]
	}
	return out, true
}

// complete is the length of the complete type that sig begins with; 0 is none.
func complete(sig string, depth int) int {
	switch {
	case sig == "" || depth > maxDepth:
		return 0
	case strings.IndexByte("ybnqiuxtdsogvh", sig[0]) >= 0:
		return 1
	case sig[0] == 'a':
		if n := complete(sig[1:], depth+1); n > 0 {
			return n + 1
		}
	case sig[0] == '(' || sig[0] == '{':
		return completeFields(sig, depth)
	}
	return 0
}

func completeFields(sig string, depth int) int {
	end := map[byte]byte{'(': ')', '{': '}'}[sig[0]]
	for at := 1; at < len(sig); {
		if sig[at] == end {
			if at == 1 {
				return 0
			}
			return at + 1
		}
		n := complete(sig[at:], depth+1)
		if n == 0 {
			return 0
		}
		at += n
	}
	return 0
}

func isSignature(s string) bool {
	_, ok := types(s)
	return ok && len(s) < 256
}

func isObjectPath(s string) bool {
	if s == "/" {
		return true
	}
	for i, part := range strings.Split(s, "/") {
		word := strings.Trim(part, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") == ""
		if i == 0 && part != "" || i > 0 && part == "" || !word {
			return false
		}
	}
	return true
}
