// Package tree is the canonical listing of a file tree: what a test compares when it asks whether two trees are the same.
//
// A listing has one Entry for each name, the root first as ".", a directory before what is in it, names in the order of
// their bytes. As JSON it is one entry a line, so that a diff of two listings can be read.
package tree

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Entry is one name in a tree.
type Entry struct {
	Path   Name            `json:"path"` // relative; the root is "."
	Type   Type            `json:"type"`
	Mode   Mode            `json:"mode"`
	UID    uint32          `json:"uid"`
	GID    uint32          `json:"gid"`
	Size   int64           `json:"size,omitempty"`   // of a File
	SHA256 string          `json:"sha256,omitempty"` // of a File's content, in hexadecimal
	Target Name            `json:"target,omitempty"` // of a Symlink
	Major  uint32          `json:"major,omitempty"`  // of Char and Block
	Minor  uint32          `json:"minor,omitempty"`
	Xattrs map[string]Name `json:"xattrs,omitempty"`
	MTime  Time            `json:"mtime"`
	Link   Name            `json:"link,omitempty"` // the first name of its inode, where that has several names in this tree
	// MadeUp says that no layer lists this directory, so that its metadata is nobody's word. Only flatten knows.
	MadeUp bool `json:"madeUp,omitempty"`
	// Inherited says that the topmost layer with this directory does not list it: the metadata is that of a layer below,
	// by Berth's rule also the time. Only flatten knows.
	Inherited bool `json:"inherited,omitempty"`
}

// Type is what an Entry is.
type Type string

// The types of entries.
const (
	File    Type = "file"
	Dir     Type = "dir"
	Symlink Type = "symlink"
	Char    Type = "char"
	Block   Type = "block"
	Fifo    Type = "fifo"
	Socket  Type = "socket"
)

// Name is a string of any bytes. Its text form has those that are not printable, not UTF-8 or a backslash as \xNN.
type Name string

// MarshalText returns the text form.
func (n Name) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

func (n Name) String() string {
	var b strings.Builder
	for s := string(n); s != ""; {
		r, size := utf8.DecodeRuneInString(s)
		if r == '\\' || r == utf8.RuneError && size == 1 || !unicode.IsPrint(r) {
			for i := range size {
				fmt.Fprintf(&b, `\x%02x`, s[i])
			}
		} else {
			b.WriteString(s[:size])
		}
		s = s[size:]
	}
	return b.String()
}

// UnmarshalText reads the text form.
func (n *Name) UnmarshalText(text []byte) error {
	var b strings.Builder
	for s := string(text); s != ""; {
		if s[0] != '\\' {
			b.WriteByte(s[0])
			s = s[1:]
			continue
		}
		if len(s) < 4 || s[1] != 'x' {
			return fmt.Errorf("%q has a backslash that is not \\xNN", text)
		}
		value, err := strconv.ParseUint(s[2:4], 16, 8)
		if err != nil {
			return err
		}
		b.WriteByte(byte(value))
		s = s[4:]
	}
	*n = Name(b.String())
	return nil
}

// Mode is the twelve permission bits, octal in text.
type Mode uint32

func (m Mode) String() string { return fmt.Sprintf("%04o", uint32(m)) }

// MarshalText returns four octal digits.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads octal digits.
func (m *Mode) UnmarshalText(text []byte) error {
	value, err := strconv.ParseUint(string(text), 8, 32)
	*m = Mode(value)
	return err
}

// Time is a struct timespec: Nsec counts up from Sec, also where Sec is negative.
type Time struct {
	Sec  int64
	Nsec int64
}

func (t Time) String() string {
	if t.Nsec == 0 {
		return strconv.FormatInt(t.Sec, 10)
	}
	return fmt.Sprintf("%d.%09d", t.Sec, t.Nsec)
}

// MarshalText returns seconds, and nanoseconds behind a point where there are any.
func (t Time) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads what MarshalText has written.
func (t *Time) UnmarshalText(text []byte) error {
	sec, nsec, fraction := strings.Cut(string(text), ".")
	var err error
	if t.Sec, err = strconv.ParseInt(sec, 10, 64); err == nil && fraction {
		t.Nsec, err = strconv.ParseInt((nsec + "000000000")[:9], 10, 64)
	}
	return err
}

// Write writes a listing as JSON, one entry a line.
func Write(w io.Writer, entries []Entry) error {
	b := bufio.NewWriter(w)
	b.WriteString("[\n")
	for i, e := range entries {
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		b.Write(line)
		if i < len(entries)-1 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
	}
	b.WriteString("]\n")
	return b.Flush()
}

// Parse reads what Write has written.
func Parse(r io.Reader) ([]Entry, error) {
	var entries []Entry
	err := json.NewDecoder(r).Decode(&entries)
	return entries, err
}

// Sort puts entries into the order of a listing.
func Sort(entries []Entry) {
	slices.SortFunc(entries, func(a, b Entry) int { return Compare(a.Path, b.Path) })
}

// Compare orders paths as a listing does: the root first, a directory before its entries, "a/b" before "a.b".
func Compare(a, b Name) int {
	if a == "." || b == "." {
		return boolInt(b == ".") - boolInt(a == ".")
	}
	n := min(len(a), len(b))
	for i := range n {
		if x, y := a[i], b[i]; x != y {
			if x == '/' {
				return -1
			}
			if y == '/' {
				return 1
			}
			return int(x) - int(y)
		}
	}
	return len(a) - len(b)
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}
