// Package stack is the language in which tests declare stacks of layers, and turns declarations into tars and images.
//
// A declaration is lines of words. A word may have quoted pieces (Go's escapes; "ab"*3 is ababab), KEY=VALUE is an
// attribute, # begins a comment.
//
//	layer [gzip|zstd|tar] [KEY=VALUE…]     begins a layer, the bottom one first
//	  dir PATH | file PATH [CONTENT] | symlink PATH TARGET | link PATH TARGET
//	  char PATH MAJOR MINOR | block PATH MAJOR MINOR | fifo PATH
//	  whiteout PATH | opaque DIR           the empty files that the image specification wants for these
//	  global                               a global PAX header, of its pax: attributes
//	  raw BYTES                            these bytes, as they are
//	  zeros N                              N blocks of zeros
//
// Attributes of members:
//
//	mode uid gid mtime           numbers; mtime may have a fraction
//	xattr:NAME=VALUE             SCHILY.xattr.NAME in the PAX header
//	pax:KEY=VALUE                as it is in the PAX header; may be there twice
//	via=gnu|prefix|v7|header     long names as GNU has them, in ustar's prefix, no magic, cut off; PAX where there is none
//	size=N                       what the header says, whatever follows
//	type=C                       the type byte
//	body=BYTES                   what follows the header, padded to a block; of a file its content
//	at:OFFSET=BYTES              over the header's bytes, before the checksum is made
//	sum=BYTES                    in place of the checksum
//	nopad=1                      the body is not padded
//
// Attributes of layers:
//
//	end=N                        blocks of zeros at the end; 2 where it says nothing
//	cut=N                        bytes of the tar that are left out at its end
//	times=N                      the layer N times; %N in words is the number of the time
//	members=N                    the compressed stream in N members or frames
//	tail=BYTES                   after the compressed stream
//	skippable=1                  zstd: with skippable frames around
//	blobcut=N                    bytes of the compressed stream that are left out at its end
//	media=TYPE                   the media type that the manifest says
//	diffid|digest|length=wrong   what the config or the manifest say is not so
//	digest=TEXT                  the digest that the manifest says
//	missing=1                    the blob is not there
package stack

import (
	"fmt"
	"strconv"
	"strings"
)

// Stack is layers, the bottom one first.
type Stack []Layer

// Layer is a declared layer.
type Layer struct {
	Words   []string // compression
	Attrs   []Attr
	Members []Line
}

// Line is a line of a declaration: for a member its verb, path and so on.
type Line struct {
	Verb  string
	Args  []string
	Attrs []Attr
}

// Attr is KEY=VALUE.
type Attr struct{ Key, Value string }

// Attr returns the value of the last attribute of a name.
func (l *Line) Attr(key string) (string, bool) { return find(l.Attrs, key) }

// Attr returns the value of the last attribute of a name.
func (l *Layer) Attr(key string) (string, bool) { return find(l.Attrs, key) }

func find(attrs []Attr, key string) (string, bool) {
	for i := len(attrs) - 1; i >= 0; i-- {
		if attrs[i].Key == key {
			return attrs[i].Value, true
		}
	}
	return "", false
}

// Arg returns an argument, empty where there are fewer.
func (l *Line) Arg(i int) string {
	if i < len(l.Args) {
		return l.Args[i]
	}
	return ""
}

// Parse reads the layers of a declaration.
func Parse(text string) (Stack, error) {
	var s Stack
	number := 0
	for raw := range strings.Lines(text) {
		number++
		line, err := ParseLine(raw)
		if err == nil && line.Verb != "" {
			s, err = s.Add(line)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
	}
	return s, nil
}

// Add adds a line of a declaration.
func (s Stack) Add(line Line) (Stack, error) {
	if line.Verb == "layer" {
		return append(s, Layer{Words: line.Args, Attrs: line.Attrs}), nil
	}
	least, known := verbs[line.Verb]
	switch {
	case !known:
		return s, fmt.Errorf("%q is no kind of member", line.Verb)
	case len(line.Args) < least:
		return s, fmt.Errorf("%s wants %d words", line.Verb, least)
	case len(s) == 0:
		return s, fmt.Errorf("%s stands before the first layer", line.Verb)
	}
	top := &s[len(s)-1]
	top.Members = append(top.Members, line)
	return s, nil
}

// verbs says how many words a member has at least.
var verbs = map[string]int{
	"dir": 1, "file": 1, "symlink": 2, "link": 2, "char": 3, "block": 3, "fifo": 1,
	"whiteout": 1, "opaque": 1, "global": 0, "raw": 1, "zeros": 1,
}

// ParseLine reads one line; that of a comment or an empty line has no verb.
func ParseLine(text string) (Line, error) {
	var line Line
	for rest := strings.TrimSpace(text); rest != "" && rest[0] != '#'; rest = strings.TrimLeft(rest, " \t") {
		word, equals, left, err := nextWord(rest)
		if err != nil {
			return line, err
		}
		rest = left
		switch {
		case line.Verb == "":
			line.Verb = word
		case equals > 0:
			line.Attrs = append(line.Attrs, Attr{word[:equals], word[equals+1:]})
		default:
			line.Args = append(line.Args, word)
		}
	}
	return line, nil
}

// nextWord returns the first word, where the first = outside of quotes stands in it (-1: nowhere), and what is left.
func nextWord(s string) (word string, equals int, rest string, err error) {
	equals = -1
	var b strings.Builder
	for s != "" && s[0] != ' ' && s[0] != '\t' {
		if s[0] != '"' {
			if s[0] == '=' && equals < 0 {
				equals = b.Len()
			}
			b.WriteByte(s[0])
			s = s[1:]
			continue
		}
		quoted, err := strconv.QuotedPrefix(s)
		if err != nil {
			return "", 0, "", fmt.Errorf("%s: %w", s, err)
		}
		piece, err := strconv.Unquote(quoted)
		if err != nil {
			return "", 0, "", fmt.Errorf("%s: %w", quoted, err)
		}
		s = s[len(quoted):]
		times := 1
		if strings.HasPrefix(s, "*") {
			digits := len(s[1:]) - len(strings.TrimLeft(s[1:], "0123456789"))
			if times, err = strconv.Atoi(s[1 : 1+digits]); err != nil {
				return "", 0, "", err
			}
			s = s[1+digits:]
		}
		b.WriteString(strings.Repeat(piece, times))
	}
	return b.String(), equals, s, nil
}

// String is the declaration.
func (s Stack) String() string {
	var b strings.Builder
	for i := range s {
		b.WriteString(Line{Verb: "layer", Args: s[i].Words, Attrs: s[i].Attrs}.String() + "\n")
		for _, m := range s[i].Members {
			b.WriteString("  " + m.String() + "\n")
		}
	}
	return b.String()
}

func (l Line) String() string {
	words := []string{l.Verb}
	for _, arg := range l.Args {
		words = append(words, quoted(arg))
	}
	for _, a := range l.Attrs {
		words = append(words, a.Key+"="+quoted(a.Value))
	}
	return strings.Join(words, " ")
}

// quoted is a word as ParseLine reads it; of a long run of one byte it has the byte and the number.
func quoted(word string) string {
	const long = 32
	if len(word) < long && word != "" && !strings.ContainsAny(word, " =\"\\#\t\n") && strconv.Quote(word) == `"`+word+`"` {
		return word
	}
	var b strings.Builder
	plain := 0 // where what is not written yet begins
	for i := 0; i < len(word); {
		end := i + 1
		for end < len(word) && word[end] == word[i] {
			end++
		}
		if end-i >= long {
			if plain < i {
				b.WriteString(strconv.Quote(word[plain:i]))
			}
			fmt.Fprintf(&b, "%s*%d", strconv.Quote(word[i:i+1]), end-i)
			plain = end
		}
		i = end
	}
	if plain < len(word) || word == "" {
		b.WriteString(strconv.Quote(word[plain:]))
	}
	return b.String()
}

// expanded has a layer of its own for each time of those that are declared several times.
func (s Stack) expanded() (Stack, error) {
	var out Stack
	for _, layer := range s {
		times, ok := layer.Attr("times")
		if !ok {
			out = append(out, layer)
			continue
		}
		n, err := strconv.Atoi(times)
		if err != nil {
			return nil, err
		}
		for i := range n {
			copied := Layer{Words: layer.Words, Attrs: layer.Attrs}
			for _, m := range layer.Members {
				args := make([]string, len(m.Args))
				for k, arg := range m.Args {
					args[k] = strings.ReplaceAll(arg, "%N", strconv.Itoa(i))
				}
				copied.Members = append(copied.Members, Line{Verb: m.Verb, Args: args, Attrs: m.Attrs})
			}
			out = append(out, copied)
		}
	}
	return out, nil
}
