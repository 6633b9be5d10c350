package member

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

const (
	aclAccess  = "system.posix_acl_access"
	aclDefault = "system.posix_acl_default"
)

// aclRecords are star's ACLs in text (acl(5), the short text form), and the attribute that the kernel has them in.
var aclRecords = map[string]string{
	"SCHILY.acl.access":  aclAccess,
	"SCHILY.acl.default": aclDefault,
}

// The kernel's form of an ACL: the version, then entries, little-endian (linux/posix_acl_xattr.h).
const (
	aclVersion  = 2
	aclUserObj  = 0x01
	aclUser     = 0x02
	aclGroupObj = 0x04
	aclGroup    = 0x08
	aclMask     = 0x10
	aclOther    = 0x20
	aclNoID     = 1<<32 - 1
)

var aclTags = map[string]uint16{
	"user": aclUserObj, "u": aclUserObj, "group": aclGroupObj, "g": aclGroupObj,
	"mask": aclMask, "m": aclMask, "other": aclOther, "o": aclOther,
}

type aclEntry struct {
	tag, perm uint16
	id        uint32
}

// parseACL turns an ACL in text into the kernel's form. An access ACL that says no more than the mode gives nil.
// Users and groups need their numbers, either as the name or behind the permissions, as star writes them.
func parseACL(text string, isDefault bool) ([]byte, error) {
	var entries []aclEntry
	for line := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' || r == '\n' }) {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		e, err := parseACLEntry(strings.Split(strings.TrimPrefix(line, "default:"), ":"))
		if err != nil {
			return nil, fmt.Errorf("ACL entry %q: %w", line, err)
		}
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b aclEntry) int {
		return cmp.Or(cmp.Compare(a.tag, b.tag), cmp.Compare(a.id, b.id))
	})
	if err := checkACL(entries); err != nil {
		return nil, fmt.Errorf("ACL %q: %w", text, err)
	}
	if len(entries) == 3 && !isDefault {
		return nil, nil
	}
	out := binary.LittleEndian.AppendUint32(nil, aclVersion)
	for _, e := range entries {
		out = binary.LittleEndian.AppendUint16(out, e.tag)
		out = binary.LittleEndian.AppendUint16(out, e.perm)
		out = binary.LittleEndian.AppendUint32(out, e.id)
	}
	return out, nil
}

// parseACLEntry reads TAG:NAME:PERMISSIONS[:ID].
func parseACLEntry(fields []string) (aclEntry, error) {
	tag, known := aclTags[fields[0]]
	if !known || len(fields) < 3 {
		return aclEntry{}, fmt.Errorf("not TAG:NAME:PERMISSIONS")
	}
	e := aclEntry{tag: tag, id: aclNoID}
	for _, c := range fields[2] {
		switch c {
		case 'r':
			e.perm |= 4
		case 'w':
			e.perm |= 2
		case 'x':
			e.perm |= 1
		case '-':
		default:
			return e, fmt.Errorf("unknown permission %q", c)
		}
	}
	if fields[1] == "" {
		return e, nil
	}
	if tag != aclUserObj && tag != aclGroupObj {
		return e, fmt.Errorf("%s takes no name", fields[0])
	}
	number := fields[1]
	if len(fields) > 3 && fields[3] != "" {
		number = fields[3]
	}
	id, err := strconv.ParseUint(number, 10, 32)
	if err != nil || id == aclNoID {
		return e, fmt.Errorf("no number for %q: make the layer with tar --numeric-owner", fields[1])
	}
	e.tag, e.id = tag<<1, uint32(id) // USER is USER_OBJ << 1, as GROUP is GROUP_OBJ << 1
	return e, nil
}

// checkACL wants of the sorted entries what the kernel wants (posix_acl_valid).
func checkACL(entries []aclEntry) error {
	count := map[uint16]int{}
	for i, e := range entries {
		count[e.tag]++
		if i > 0 && e == (aclEntry{entries[i-1].tag, e.perm, entries[i-1].id}) {
			return fmt.Errorf("one user or group twice")
		}
	}
	named := count[aclUser]+count[aclGroup] > 0
	if count[aclUserObj] != 1 || count[aclGroupObj] != 1 || count[aclOther] != 1 || count[aclMask] == 0 && named {
		return fmt.Errorf("needs user, group and other once, and a mask where it names anybody")
	}
	return nil
}
