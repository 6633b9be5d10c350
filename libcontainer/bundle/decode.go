package bundle

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"

	"berth/libcontainer/fault"
)

// decoder reads one JSON document (RFC 8259) in one pass.
//
// It exists because of two things that encoding/json cannot do: its first
// Unmarshal into specs.Spec builds the decoders of every platform's types by
// reflection, which takes longer than everything else that a start needs of
// this package, and it forgets where in the document a value of the wrong
// type stood. This one calls a function per object (fields.go), goes on after
// a value of the wrong type, and knows the pointer of every complaint.
//
// It differs from encoding/json in what it lets pass: keys are matched
// exactly, as the specification spells them, and strings that are not UTF-8
// or hold half a surrogate pair are complaints instead of being altered.
type decoder struct {
	doc   string
	pos   int
	trail trail

	bad  fault.List // complaints in document order
	dead bool       // after a syntax error nothing more is read

	arena    []string    // what readTexts has read, list after list
	notUTF8  bool        // the document holds invalid UTF-8 somewhere
	notes    *fault.List // where to note unknown and repeated keys; nil is nowhere
	values   int         // members and elements so far
	keySound bool        // of the last key, as text returns it
}

// Limits on what a document may make us do: with them the memory that one of
// MaxConfigSize takes is a small multiple of its own size.
const (
	maxDepth      = 1000    // of nesting, in parts of the document that are skipped
	maxValues     = 1 << 20 // members and elements; execve(2) takes fewer arguments
	maxKey        = 4096    // bytes; a complaint repeats the keys that lead to it
	maxComplaints = fault.Most
)

func newDecoder(doc string) *decoder {
	return &decoder{doc: doc, notUTF8: !utf8.ValidString(doc)}
}

// document reads the only value of the document.
func (d *decoder) document(value func()) {
	value()
	if d.space(); !d.dead && d.pos != len(d.doc) {
		d.syntax("the document ends here, but more follows", "")
	}
}

// complain records a complaint about the current entry.
func (d *decoder) complain(off int, format string, args ...any) {
	if len(d.bad) < maxComplaints {
		d.bad = append(d.bad, d.fault(off, fmt.Sprintf(format, args...)))
	}
}

func (d *decoder) fault(off int, msg string) *fault.Error {
	return &fault.Error{
		Op:    "parse",
		Field: d.trail.pointer(),
		Msg:   position(d.doc, off) + ": " + msg,
		Phase: fault.PhaseConfig,
	}
}

// syntax records that the document is not JSON and stops reading.
func (d *decoder) syntax(msg, hint string) {
	if d.dead {
		return
	}
	d.dead = true
	e := d.fault(d.pos, msg)
	e.Code, e.Hint = "json-syntax", hint
	d.bad = append(d.bad, e)
}

// position names a byte offset as editors do.
func position(doc string, off int) string {
	before := doc[:min(off, len(doc))]
	line := 1 + strings.Count(before, "\n")
	column := 1 + utf8.RuneCountInString(before[strings.LastIndexByte(before, '\n')+1:])
	return "line " + strconv.Itoa(line) + ", column " + strconv.Itoa(column)
}

// The kinds of JSON values, by a byte that they begin with.
const (
	kindObject = '{'
	kindArray  = '['
	kindString = '"'
	kindNumber = '0'
	kindBool   = 't'
	kindNull   = 'n'
	kindNone   = 0
)

func kindName(kind byte) string {
	switch kind {
	case kindObject:
		return "an object"
	case kindArray:
		return "an array"
	case kindString:
		return "a string"
	case kindNumber:
		return "a number"
	case kindBool:
		return "true or false"
	}
	return "null"
}

// kind returns the kind of the next value and leaves it unread.
func (d *decoder) kind() byte {
	d.space()
	if d.pos >= len(d.doc) {
		return kindNone
	}
	switch c := d.doc[d.pos]; c {
	case '{', '[', '"', 't', 'n':
		return c
	case 'f':
		return kindBool
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return kindNumber
	}
	return kindNone
}

func (d *decoder) space() {
	for d.pos < len(d.doc) {
		switch d.doc[d.pos] {
		case ' ', '\n', '\t', '\r':
			d.pos++
		default:
			return
		}
	}
}

// want tells whether the next value is of this kind. If not it is skipped,
// with a complaint unless it is null: null leaves a field as it is, as with
// encoding/json.
func (d *decoder) want(kind byte) bool {
	got := d.kind()
	if d.dead || got == kind {
		return !d.dead
	}
	if got != kindNull && got != kindNone {
		d.complain(d.pos, "must be %s, not %s", kindName(kind), kindName(got))
	}
	d.skip()
	return false
}

// null tells whether the next value is null, and then reads it.
func (d *decoder) null() bool {
	if d.kind() != kindNull {
		return false
	}
	d.literal("null")
	return true
}

func (d *decoder) literal(word string) {
	if !strings.HasPrefix(d.doc[d.pos:], word) {
		d.unexpected("a value")
		return
	}
	d.pos += len(word)
}

// unexpected is the syntax error of finding something else than wanted.
func (d *decoder) unexpected(wanted string) {
	if d.pos >= len(d.doc) {
		d.syntax("the document ends where "+wanted+" should follow", "")
		return
	}
	r, _ := utf8.DecodeRuneInString(d.doc[d.pos:])
	d.syntax("found "+strconv.QuoteRune(r)+" where "+wanted+" should be", "")
}

// object reads an object: member is called for each key, with the trail on
// it, and has to read the value.
func (d *decoder) object(member func(key string)) {
	if !d.want(kindObject) {
		return
	}
	var seen map[string]bool
	if d.notes != nil {
		seen = map[string]bool{}
	}
	d.enter()
	d.trail.enter("")
	for first := true; d.more('}', first); first = false {
		d.trail.leave() // a key that cannot be read is the object's mistake
		key, ok := d.key()
		d.trail.enter(key)
		if !ok {
			break
		}
		d.noteRepeated(seen, key)
		member(key)
	}
	d.trail.leave()
}

// array reads an array: element is called for each element, with the trail on
// it, and has to read it.
func (d *decoder) array(element func()) {
	if !d.want(kindArray) {
		return
	}
	d.enter()
	d.trail.enterArray()
	for i := 0; d.more(']', i == 0); i++ {
		d.trail.at(i)
		element()
	}
	d.trail.leave()
}

// enter steps over the opening bracket.
func (d *decoder) enter() {
	if d.pos++; len(d.trail) >= maxDepth {
		d.syntax("the document is nested too deeply", "")
	}
}

// more steps over the comma before the next element, or over the closing
// bracket.
func (d *decoder) more(closing byte, first bool) bool {
	d.space()
	switch {
	case d.dead:
		return false
	case d.pos < len(d.doc) && d.doc[d.pos] == closing:
		d.pos++
		return false
	case d.values == maxValues:
		d.syntax("the document holds more than "+strconv.Itoa(maxValues)+" values", "no container needs as many")
		return false
	case first:
		d.values++
		return true
	case d.pos >= len(d.doc) || d.doc[d.pos] != ',':
		d.unexpected("',' or '" + string(rune(closing)) + "'")
		return false
	}
	comma := d.pos
	d.pos++
	if d.space(); d.pos < len(d.doc) && d.doc[d.pos] == closing {
		d.pos = comma
		d.syntax("a comma follows the last entry", "remove the comma")
		return false
	}
	d.values++
	return true
}

// key reads an object's key and the colon after it.
func (d *decoder) key() (string, bool) {
	if d.kind() != kindString {
		d.unexpected("a key in double quotes")
		return "", false
	}
	start := d.pos
	key, sound := d.text()
	d.keySound = sound
	if len(key) > maxKey {
		d.pos = start
		d.syntax("a key has more than "+strconv.Itoa(maxKey)+" bytes", "")
	}
	if d.space(); d.dead {
		return "", false
	}
	if d.pos >= len(d.doc) || d.doc[d.pos] != ':' {
		d.unexpected("':'")
		return "", false
	}
	d.pos++
	return key, true
}

// noteRepeated notes a key that its object has already had.
func (d *decoder) noteRepeated(seen map[string]bool, key string) {
	if d.notes == nil {
		return
	}
	if seen[key] {
		d.note("is given twice", "the last one counts: remove the other")
	}
	seen[key] = true
}

// unknown skips a value whose key the specification does not have.
func (d *decoder) unknown() {
	if d.notes != nil {
		d.note("is not a field of the runtime specification and is ignored", "")
	}
	d.skip()
}

func (d *decoder) note(msg, hint string) {
	if len(*d.notes) == maxComplaints {
		return
	}
	*d.notes = append(*d.notes, &fault.Error{Op: "check", Field: d.trail.pointer(), Msg: msg, Hint: hint, Phase: fault.PhaseConfig})
}

// skip reads a value of any kind and forgets it.
func (d *decoder) skip() {
	switch d.kind() {
	case kindObject:
		notes := d.notes
		d.notes = nil
		d.object(func(string) { d.skip() })
		d.notes = notes
	case kindArray:
		d.array(d.skip)
	case kindString:
		d.text()
	case kindNumber:
		d.number()
	case kindBool:
		d.boolean()
	case kindNull:
		d.literal("null")
	default:
		d.unexpected("a value")
	}
}

// locate reads the next value and notes where it and the entries below it are
// that the tree asks for.
func (d *decoder) locate(at *place) {
	switch kind := d.kind(); {
	case d.dead || kind == kindNone:
		d.skip()
		return
	case kind == kindObject && len(at.below) > 0:
		at.found(d.pos)
		d.object(func(key string) { d.locateIn(at.below[key]) })
	case kind == kindArray && len(at.below) > 0:
		at.found(d.pos)
		d.array(func() { d.locateIn(at.below[strconv.Itoa(d.trail[len(d.trail)-1].index)]) })
	default:
		at.found(d.pos)
		d.skip()
	}
}

func (d *decoder) locateIn(at *place) {
	if at == nil {
		d.skip()
		return
	}
	d.locate(at)
}

// boolean reads true or false.
func (d *decoder) boolean() bool {
	if d.doc[d.pos] == 't' {
		d.literal("true")
		return true
	}
	d.literal("false")
	return false
}

// number reads a number and returns it as it is written.
func (d *decoder) number() string {
	start := d.pos
	d.one("-")
	switch {
	case d.one("0"):
	case !d.digits():
		d.unexpected("a digit")
	}
	if d.one(".") && !d.digits() {
		d.unexpected("a digit")
	}
	if d.one("eE") {
		d.one("+-")
		if !d.digits() {
			d.unexpected("a digit")
		}
	}
	return d.doc[start:d.pos]
}

// one steps over one of these characters, if it comes next.
func (d *decoder) one(of string) bool {
	if d.pos >= len(d.doc) || strings.IndexByte(of, d.doc[d.pos]) < 0 {
		return false
	}
	d.pos++
	return true
}

func (d *decoder) digits() bool {
	start := d.pos
	for d.pos < len(d.doc) && '0' <= d.doc[d.pos] && d.doc[d.pos] <= '9' {
		d.pos++
	}
	return d.pos > start
}

// text reads a string. sound is false where it held half a surrogate pair.
// What has no escape is a part of the document, without a copy.
func (d *decoder) text() (s string, sound bool) {
	d.pos++
	start := d.pos
	for ; d.pos < len(d.doc); d.pos++ {
		switch c := d.doc[d.pos]; {
		case c == '"':
			d.pos++
			return d.doc[start : d.pos-1], true
		case c == '\\':
			return d.escaped(start)
		case c < 0x20:
			d.syntax("a string holds the control character "+strconv.QuoteRune(rune(c)), "write it as an escape, such as \\n")
			return "", true
		}
	}
	d.unexpected("the rest of a string")
	return "", true
}

// escaped reads the rest of a string that began at start and has an escape at
// the current position.
func (d *decoder) escaped(start int) (s string, sound bool) {
	b := []byte(d.doc[start:d.pos])
	sound = true
	for d.pos < len(d.doc) {
		switch c := d.doc[d.pos]; {
		case c == '"':
			d.pos++
			return string(b), sound
		case c == '\\':
			r, whole := d.escape()
			if d.dead {
				return "", true
			}
			sound = sound && whole
			b = utf8.AppendRune(b, r)
		case c < 0x20:
			d.syntax("a string holds the control character "+strconv.QuoteRune(rune(c)), "write it as an escape, such as \\n")
			return "", true
		default:
			b = append(b, c)
			d.pos++
		}
	}
	d.unexpected("the rest of a string")
	return "", true
}

// escape reads one escape, which with a surrogate pair is two. whole is false
// for half a pair.
func (d *decoder) escape() (r rune, whole bool) {
	if strings.HasPrefix(d.doc[d.pos:], `\u`) {
		return d.unicode()
	}
	if d.pos+1 < len(d.doc) {
		if i := strings.IndexByte(`"\/bfnrt`, d.doc[d.pos+1]); i >= 0 {
			d.pos += 2
			return rune("\"\\/\b\f\n\r\t"[i]), true
		}
	}
	d.syntax("a string holds an escape that JSON does not have", `write a backslash as \\`)
	return 0, true
}

func (d *decoder) unicode() (r rune, whole bool) {
	first, ok := hex4(d.doc[d.pos:])
	if !ok {
		d.syntax(`\u wants four hexadecimal digits`, "")
		return 0, true
	}
	d.pos += 6
	if !utf16.IsSurrogate(first) {
		return first, true
	}
	second, ok := hex4(d.doc[d.pos:])
	if pair := utf16.DecodeRune(first, second); ok && pair != utf8.RuneError {
		d.pos += 6
		return pair, true
	}
	return utf8.RuneError, false
}

// hex4 reads the \uXXXX that s begins with.
func hex4(s string) (rune, bool) {
	if len(s) < 6 || s[:2] != `\u` {
		return 0, false
	}
	for _, c := range []byte(s[2:6]) {
		if !('0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f') {
			return 0, false
		}
	}
	n, err := strconv.ParseUint(s[2:6], 16, 16)
	return rune(n), err == nil
}

// readAny reads a string as it is, NUL bytes included.
func readAny[S ~string](d *decoder, out *S) {
	if !d.want(kindString) {
		return
	}
	start := d.pos
	s, sound := d.text()
	if !sound {
		d.complain(start, "holds half of a surrogate pair")
	}
	if d.notUTF8 && !utf8.ValidString(s) {
		d.complain(start, "holds bytes that are not UTF-8")
	}
	*out = S(s)
}

// readText reads a string that the kernel will read: a path, an argument, a
// name. The kernel's strings end at the first NUL byte, so what follows one
// would be lost.
func readText[S ~string](d *decoder, out *S) {
	d.space()
	start := d.pos
	readAny(d, out)
	if strings.IndexByte(string(*out), 0) >= 0 {
		d.complain(start, "holds a NUL byte")
	}
}

// readBool reads true or false.
func readBool(d *decoder, out *bool) {
	if d.want(kindBool) {
		*out = d.boolean()
	}
}

type integer interface {
	~int | ~int32 | ~int64 | ~uint | ~uint16 | ~uint32 | ~uint64
}

// readInt reads a whole number that fits its type.
func readInt[N integer](d *decoder, out *N) {
	if !d.want(kindNumber) {
		return
	}
	start := d.pos
	text := d.number()
	if d.dead {
		return
	}
	low, high := limits[N]()
	magnitude, negative := strings.CutPrefix(text, "-")
	n, err := strconv.ParseUint(magnitude, 10, 64)
	switch {
	case strings.ContainsAny(text, ".eE"):
		d.complain(start, "must be a whole number, not %s", brief(text))
	case err != nil, !negative && n > high, negative && (n > low || low == 0):
		d.complain(start, "must be between %s and %d, not %s", minus(low), high, brief(text))
	case negative:
		*out = -N(n)
	default:
		*out = N(n)
	}
}

// brief is as much of a text of the document as a message needs.
func brief(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// limits returns the greatest magnitudes of N's negative and positive values.
func limits[N integer]() (low, high uint64) {
	bits := 8 * unsafe.Sizeof(N(0))
	if minusOne := ^N(0); minusOne < 0 {
		return 1 << (bits - 1), 1<<(bits-1) - 1
	}
	return 0, 1<<bits - 1
}

func minus(n uint64) string {
	if n == 0 {
		return "0"
	}
	return "-" + strconv.FormatUint(n, 10)
}

// readPtr reads a value that may be absent.
func readPtr[T any](d *decoder, out **T, read func(*decoder, *T)) {
	if d.null() {
		*out = nil
		return
	}
	v := new(T)
	read(d, v)
	*out = v
}

// readList reads an array.
func readList[T any](d *decoder, out *[]T, read func(*decoder, *T)) {
	if d.null() {
		*out = nil
		return
	}
	list := []T{}
	d.array(func() {
		var zero T
		list = append(list, zero)
		read(d, &list[len(list)-1])
	})
	*out = list
}

// readTexts reads an array of strings that the kernel will read. All such
// arrays of a document share one block of memory: to let each grow on its own
// would touch fresh pages for every size on the way, which in a process that
// has just started takes longer than the reading.
func readTexts(d *decoder, out *[]string) {
	if d.null() {
		*out = nil
		return
	}
	if d.arena == nil {
		d.arena = make([]string, 0, 512)
	}
	start := len(d.arena)
	d.array(func() {
		d.arena = append(d.arena, "")
		readText(d, &d.arena[len(d.arena)-1])
	})
	end := len(d.arena)
	*out = d.arena[start:end:end]
}

// readMap reads an object whose keys are names.
func readMap[T any](d *decoder, out *map[string]T, read func(*decoder, *T)) {
	if d.null() {
		*out = nil
		return
	}
	m := map[string]T{}
	d.object(func(key string) {
		if strings.IndexByte(key, 0) >= 0 {
			d.complain(d.pos, "has a NUL byte in its name")
		}
		if d.notUTF8 && !utf8.ValidString(key) {
			d.complain(d.pos, "has bytes that are not UTF-8 in its name")
		}
		if !d.keySound {
			d.complain(d.pos, "has half of a surrogate pair in its name")
		}
		var v T
		read(d, &v)
		m[key] = v
	})
	*out = m
}
