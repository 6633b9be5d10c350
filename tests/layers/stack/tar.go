package stack

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"path"
	"strconv"
	"strings"
)

const blockSize = 512

// whenever is the modification time of a member that says none.
const whenever = "1000000000"

// Tars returns the uncompressed tar of each layer.
func (s Stack) Tars() ([][]byte, error) {
	s, err := s.expanded()
	if err != nil {
		return nil, err
	}
	var tars [][]byte
	for i := range s {
		tar, err := s[i].Tar()
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		tars = append(tars, tar)
	}
	return tars, nil
}

// Tar returns the uncompressed tar.
func (l *Layer) Tar() ([]byte, error) {
	var b bytes.Buffer
	for _, m := range l.Members {
		if err := writeMember(&b, m); err != nil {
			return nil, fmt.Errorf("%s: %w", m, err)
		}
	}
	end := 2
	if text, ok := l.Attr("end"); ok {
		var err error
		if end, err = strconv.Atoi(text); err != nil {
			return nil, err
		}
	}
	b.Write(make([]byte, end*blockSize))
	return cutOff(b.Bytes(), l, "cut")
}

func cutOff(data []byte, l *Layer, attr string) ([]byte, error) {
	text, ok := l.Attr(attr)
	if !ok {
		return data, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n > len(data) {
		return nil, fmt.Errorf("%s=%s of %d bytes", attr, text, len(data))
	}
	return data[:len(data)-n], nil
}

func writeMember(b *bytes.Buffer, m Line) error {
	switch m.Verb {
	case "raw":
		b.WriteString(m.Arg(0))
		return nil
	case "zeros":
		n, err := strconv.Atoi(m.Arg(0))
		b.Write(make([]byte, n*blockSize))
		return err
	}
	h := header{via: attrOr(&m, "via", ""), line: &m}
	if err := h.fill(); err != nil {
		return err
	}
	h.write(b)
	return nil
}

func attrOr(m *Line, key, otherwise string) string {
	if value, ok := m.Attr(key); ok {
		return value
	}
	return otherwise
}

// header is a member on its way into a tar.
type header struct {
	line         *Line
	via          string
	block        [blockSize]byte
	pax          []Attr
	name, target string
	body         string
}

// fields of a ustar header: where and how long.
const (
	nameAt, nameLen     = 0, 100
	modeAt              = 100
	uidAt               = 108
	gidAt               = 116
	sizeAt              = 124
	mtimeAt             = 136
	sumAt               = 148
	typeAt              = 156
	linkAt              = 157
	magicAt             = 257
	majorAt             = 329
	minorAt             = 337
	prefixAt, prefixLen = 345, 155
)

var kinds = map[string]struct {
	flag byte
	mode string
}{
	"dir": {'5', "0755"}, "file": {'0', "0644"}, "symlink": {'2', "0777"}, "link": {'1', "0644"},
	"char": {'3', "0600"}, "block": {'4', "0600"}, "fifo": {'6', "0600"},
	"whiteout": {'0', "0000"}, "opaque": {'0', "0000"}, "global": {'g', "0644"},
}

func (h *header) fill() error {
	m := h.line
	kind := kinds[m.Verb]
	h.block[typeAt] = kind.flag
	h.name, h.body = m.Arg(0), attrOr(m, "body", "")
	switch m.Verb {
	case "dir":
		if !strings.HasSuffix(h.name, "/") {
			h.name += "/"
		}
	case "file":
		h.body = attrOr(m, "body", m.Arg(1))
	case "symlink", "link":
		h.target = m.Arg(1)
	case "whiteout":
		dir, base := path.Split(h.name)
		h.name = dir + ".wh." + base
	case "opaque":
		h.name = path.Join(h.name, ".wh..wh..opq")
	}
	h.name = attrOr(m, "name", h.name)
	h.magic()
	if err := h.numbers(kind.mode); err != nil {
		return err
	}
	for _, a := range m.Attrs {
		if name, ok := strings.CutPrefix(a.Key, "xattr:"); ok {
			h.pax = append(h.pax, Attr{"SCHILY.xattr." + name, a.Value})
		}
		if name, ok := strings.CutPrefix(a.Key, "pax:"); ok {
			h.pax = append(h.pax, Attr{name, a.Value})
		}
		if a.Key == "type" {
			h.block[typeAt] = a.Value[0]
		}
	}
	return nil
}

func (h *header) magic() {
	switch h.via {
	case "gnu":
		copy(h.block[magicAt:], "ustar  \x00")
	case "v7":
	default:
		copy(h.block[magicAt:], "ustar\x0000")
	}
}

func (h *header) numbers(mode string) error {
	m := h.line
	parse := func(text string, base int) (int64, error) { return strconv.ParseInt(text, base, 64) }
	set := func(at, width int, key, text string, base int) error {
		value, err := parse(text, base)
		if err != nil {
			return err
		}
		if !h.number(at, width, value) {
			h.pax = append(h.pax, Attr{key, text})
		}
		return nil
	}
	mtime := attrOr(m, "mtime", whenever)
	if strings.Contains(mtime, ".") {
		h.pax, mtime = append(h.pax, Attr{"mtime", mtime}), "0"
	}
	size := attrOr(m, "size", strconv.Itoa(len(h.body)))
	for _, err := range []error{
		set(modeAt, 8, "mode", attrOr(m, "mode", mode), 8),
		set(uidAt, 8, "uid", attrOr(m, "uid", "0"), 10),
		set(gidAt, 8, "gid", attrOr(m, "gid", "0"), 10),
		set(sizeAt, 12, "size", size, 10),
		set(mtimeAt, 12, "mtime", mtime, 10),
	} {
		if err != nil {
			return err
		}
	}
	if m.Verb == "char" || m.Verb == "block" {
		if err := set(majorAt, 8, "SCHILY.devmajor", m.Arg(1), 10); err != nil {
			return err
		}
		return set(minorAt, 8, "SCHILY.devminor", m.Arg(2), 10)
	}
	return nil
}

// number writes a number as octal digits, or in base 256 where the dialect is GNU's; false if it does not fit.
func (h *header) number(at, width int, value int64) bool {
	digits := strconv.FormatInt(value, 8)
	switch {
	case value >= 0 && len(digits) < width:
		copy(h.block[at:], strings.Repeat("0", width-1-len(digits))+digits+"\x00")
		return true
	case h.via == "gnu":
		var wide [16]byte
		if value < 0 {
			copy(wide[:], bytes.Repeat([]byte{0xff}, 8))
		}
		binary.BigEndian.PutUint64(wide[8:], uint64(value))
		copy(h.block[at:at+width], wide[16-width:])
		h.block[at] |= 0x80
		return true
	}
	copy(h.block[at:], strings.Repeat("0", width-1)+"\x00")
	return false
}

func (h *header) write(b *bytes.Buffer) {
	h.names(b)
	if h.line.Verb == "global" {
		h.body, h.pax = paxRecords(h.pax), nil
		h.number(sizeAt, 12, int64(len(h.body)))
	}
	if h.pax != nil {
		writeSpecial(b, 'x', "PaxHeaders/x", paxRecords(h.pax))
	}
	for _, a := range h.line.Attrs {
		if at, ok := strings.CutPrefix(a.Key, "at:"); ok {
			offset, _ := strconv.Atoi(at)
			copy(h.block[offset:], a.Value)
		}
	}
	sum(&h.block)
	if value, ok := h.line.Attr("sum"); ok {
		copy(h.block[sumAt:sumAt+8], value)
	}
	b.Write(h.block[:])
	b.WriteString(h.body)
	if _, ok := h.line.Attr("nopad"); !ok {
		pad(b, len(h.body))
	}
}

// names puts the name and the target where the dialect has them.
func (h *header) names(b *bytes.Buffer) {
	if h.via == "prefix" {
		cut := strings.LastIndexByte(h.name[:min(prefixLen+1, len(h.name))], '/')
		copy(h.block[prefixAt:prefixAt+prefixLen], h.name[:cut])
		copy(h.block[nameAt:nameAt+nameLen], h.name[cut+1:])
		return
	}
	for _, n := range []struct {
		text string
		at   int
		gnu  byte
		key  string
	}{{h.target, linkAt, 'K', "linkpath"}, {h.name, nameAt, 'L', "path"}} {
		copy(h.block[n.at:n.at+nameLen], n.text)
		switch {
		case len(n.text) <= nameLen && !strings.Contains(n.text, "\x00") || h.via == "header" || h.via == "v7":
		case h.via == "gnu":
			writeSpecial(b, n.gnu, "././@LongLink", n.text+"\x00")
		default:
			h.pax = append(h.pax, Attr{n.key, n.text})
		}
	}
}

func writeSpecial(b *bytes.Buffer, flag byte, name, body string) {
	special := header{}
	special.block[typeAt] = flag
	copy(special.block[nameAt:], name)
	special.magic()
	special.number(modeAt, 8, 0o644)
	for at, width := range map[int]int{uidAt: 8, gidAt: 8, mtimeAt: 12} {
		special.number(at, width, 0)
	}
	special.number(sizeAt, 12, int64(len(body)))
	sum(&special.block)
	b.Write(special.block[:])
	b.WriteString(body)
	pad(b, len(body))
}

func pad(b *bytes.Buffer, n int) {
	if over := n % blockSize; over > 0 {
		b.Write(make([]byte, blockSize-over))
	}
}

// paxRecords writes "LENGTH KEY=VALUE\n" records; the length counts itself.
func paxRecords(attrs []Attr) string {
	var b strings.Builder
	for _, a := range attrs {
		rest := " " + a.Key + "=" + a.Value + "\n"
		n := len(rest) + 1
		for len(strconv.Itoa(n))+len(rest) != n {
			n++
		}
		b.WriteString(strconv.Itoa(n) + rest)
	}
	return b.String()
}

// sum writes the checksum: the sum of the header's bytes, its own place being spaces.
func sum(block *[blockSize]byte) {
	copy(block[sumAt:], "        ")
	total := 0
	for _, c := range block {
		total += int(c)
	}
	copy(block[sumAt:], fmt.Sprintf("%06o\x00 ", total))
}
