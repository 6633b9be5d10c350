package erofs

import (
	"fmt"
	"slices"
	"strings"

	"berth/rootfs/layer/member"
)

// prefixes of names have numbers on disk (EROFS_XATTR_INDEX_*); the two ACLs are names as a whole.
var prefixes = []struct {
	index  uint8
	prefix string
	whole  bool
}{
	{1, "user.", false},
	{2, "system.posix_acl_access", true},
	{3, "system.posix_acl_default", true},
	{4, "trusted.", false},
	{6, "security.", false},
}

// splitName returns the number of a name's prefix and what is left of it; false for a name that Linux has no place for
// in a file system that is not its own.
func splitName(name string) (index uint8, rest string, ok bool) {
	for _, p := range prefixes {
		if rest, ok := strings.CutPrefix(name, p.prefix); ok && p.whole == (rest == "") {
			return p.index, rest, true
		}
	}
	return 0, "", false
}

func joinName(index uint8, rest string) (string, bool) {
	for _, p := range prefixes {
		if p.index == index && p.whole == (rest == "") {
			return p.prefix + rest, true
		}
	}
	return "", false
}

// xattrTable holds each attribute and each set of attributes once.
type xattrTable struct {
	user    bool             // overlayfs is mounted with userxattr
	entries interned[string] // as on disk: entry, name, value
	sets    interned[string] // the numbers of the entries, four bytes each; set 0 is empty
	held    int64            // about how many bytes all this takes
	uses    []uint32         // of entries, by inodes; laid out
	shared  []uint32         // of entries: their place among the shared ones plus one, 0 if inline; laid out
	size    int64            // of the shared ones
}

// perXattr is about what a string takes besides its bytes, in a slice or a map.
const perXattr = 40

func newXattrTable(user bool) *xattrTable {
	t := &xattrTable{user: user}
	t.sets.number("")
	return t
}

// overlay is the prefix of the attributes that overlayfs takes for its own.
func (t *xattrTable) overlay() string {
	if t.user {
		return "user.overlay."
	}
	return "trusted.overlay."
}

// set returns the number of a set of attributes. Those of overlayfs are content in a layer: they are escaped, so that
// overlayfs shows them and does not obey them (Documentation/filesystems/overlayfs.rst, Nesting overlayfs mounts).
func (t *xattrTable) set(attrs []member.Xattr) (uint32, error) {
	if len(attrs) == 0 {
		return 0, nil
	}
	var set []byte
	for _, x := range attrs {
		name := x.Name
		if rest, ok := strings.CutPrefix(name, t.overlay()); ok {
			name = t.overlay() + "overlay." + rest
		}
		index, rest, ok := splitName(name)
		if !ok {
			return 0, fmt.Errorf("extended attribute %s, which is in no name space of Linux", x.Name)
		}
		entry, err := encodeXattr(index, rest, x.Value)
		if err != nil {
			return 0, fmt.Errorf("extended attribute %s: %w", x.Name, err)
		}
		before := len(t.entries.values)
		set = le.AppendUint32(set, t.entries.number(entry))
		t.held += int64(len(t.entries.values)-before) * int64(2*perXattr+len(entry))
	}
	before := len(t.sets.values)
	n := t.sets.number(string(set))
	t.held += int64(len(t.sets.values)-before) * int64(2*perXattr+len(set))
	if t.inlineSize(n) > xattrHeader+4*(1<<16-64) {
		return 0, fmt.Errorf("extended attributes of more than 256 KiB%s", elsewhere)
	}
	return n, nil
}

// Overlayfs's own attributes, behind its prefix (Documentation/filesystems/overlayfs.rst).
const (
	markOpaque = "opaque" // "y": what is below does not show
	markOrigin = "origin" // where a directory was copied up from; empty if unknown
)

// mark returns the number of the set with one of overlayfs's own attributes added.
func (t *xattrTable) mark(set uint32, name, value string) uint32 {
	index, rest, _ := splitName(t.overlay() + name)
	entry, _ := encodeXattr(index, rest, []byte(value))
	return t.sets.number(t.sets.values[set] + string(le.AppendUint32(nil, t.entries.number(entry))))
}

func encodeXattr(index uint8, name string, value []byte) (string, error) {
	switch {
	case len(name) > maxName:
		return "", fmt.Errorf("the name has more than %d bytes", maxName)
	case len(value) > maxValue:
		return "", fmt.Errorf("the value has %d bytes and EROFS takes up to %d%s", len(value), maxValue, elsewhere)
	}
	e := []byte{uint8(len(name)), index, 0, 0}
	le.PutUint16(e[2:], uint16(len(value)))
	e = append(append(e, name...), value...)
	return string(append(e, make([]byte, -len(e)&3)...)), nil
}

// decodeXattr is the inverse of encodeXattr; it also returns what follows the entry.
func decodeXattr(b []byte) (x member.Xattr, rest []byte, err error) {
	if len(b) < xattrEntry {
		return x, nil, errCorrupt
	}
	nameEnd := xattrEntry + int(b[0])
	end := nameEnd + int(le.Uint16(b[2:]))
	if end > len(b) {
		return x, nil, errCorrupt
	}
	name, ok := joinName(b[1], string(b[xattrEntry:nameEnd]))
	if !ok {
		return x, nil, errCorrupt
	}
	return member.Xattr{Name: name, Value: slices.Clone(b[nameEnd:end])}, b[min(roundUp(end, 4), len(b)):], nil
}

func (t *xattrTable) each(set uint32, do func(entry uint32)) {
	for s := t.sets.values[set]; len(s) > 0; s = s[4:] {
		do(le.Uint32([]byte(s[:4])))
	}
}

// inlineSize is what a set takes behind an inode before it is known what is shared.
func (t *xattrTable) inlineSize(set uint32) int {
	size := xattrHeader
	t.each(set, func(e uint32) { size += len(t.entries.values[e]) })
	return size
}

// use counts the inodes that have an attribute.
func (t *xattrTable) use(set uint32) {
	t.uses = append(t.uses, make([]uint32, len(t.entries.values)-len(t.uses))...)
	t.each(set, func(e uint32) { t.uses[e]++ })
}

// share gives every attribute that more than one inode has a place among the shared ones. What one inode has most of
// its attributes in common with others is at most 255 of them.
func (t *xattrTable) share() {
	t.shared = make([]uint32, len(t.entries.values))
	for e, uses := range t.uses {
		if uses > 1 {
			t.shared[e] = uint32(t.size/4) + 1
			t.size += int64(len(t.entries.values[e]))
		}
	}
}

// body returns what follows an inode with the set: a header, the places of shared attributes, the others.
func (t *xattrTable) body(set uint32) []byte {
	if set == 0 {
		return nil
	}
	b := make([]byte, xattrHeader)
	t.each(set, func(e uint32) {
		if t.shared[e] != 0 && b[4] < 255 {
			b[4]++
			b = le.AppendUint32(b, t.shared[e]-1)
		}
	})
	seen := uint8(0)
	t.each(set, func(e uint32) {
		if t.shared[e] != 0 && seen < b[4] {
			seen++
			return
		}
		b = append(b, t.entries.values[e]...)
	})
	return b
}

// bodySize is the length of body(set).
func (t *xattrTable) bodySize(set uint32) int64 {
	if set == 0 {
		return 0
	}
	return int64(len(t.body(set)))
}

// xattrCount is a body's length as an inode tells it (fs/erofs/erofs_fs.h, erofs_xattr_ibody_size).
func xattrCount(size int64) uint16 {
	if size == 0 {
		return 0
	}
	return uint16((size-xattrHeader)/4 + 1)
}
