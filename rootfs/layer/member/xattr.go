package member

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

const (
	xattrNameMax = 255     // XATTR_NAME_MAX
	xattrSizeMax = 1 << 16 // XATTR_SIZE_MAX
)

// Prefixes of PAX records that carry extended attributes: star's, which nearly everybody writes, and libarchive's, whose
// names are URL-encoded and values base64.
const (
	starPrefix       = "SCHILY.xattr."
	libarchivePrefix = "LIBARCHIVE.xattr."
)

// xattrs returns the extended attributes among the records of a PAX header, without those that Linux cannot have on an
// inode of this kind. Where several records mean one attribute, star's binary form wins over libarchive's, and that over
// an ACL in text.
func xattrs(records map[string]string, of Kind) ([]Xattr, error) {
	if len(records) == 0 {
		return nil, nil
	}
	found := map[string][]byte{}
	for record, name := range aclRecords {
		if text := records[record]; text != "" {
			acl, err := parseACL(text, name == aclDefault)
			if err != nil {
				return nil, err
			}
			if acl != nil {
				found[name] = acl
			}
		}
	}
	for record, text := range records {
		if encoded, ok := strings.CutPrefix(record, libarchivePrefix); ok {
			name, err1 := url.PathUnescape(encoded)
			value, err2 := base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
			if err := errors.Join(err1, err2); err != nil {
				return nil, fmt.Errorf("record %s: %w", record, err)
			}
			found[name] = value
		}
	}
	for record, value := range records {
		if name, ok := strings.CutPrefix(record, starPrefix); ok {
			found[name] = []byte(value)
		}
	}
	maps.DeleteFunc(found, func(name string, _ []byte) bool { return name != "" && !possible(name, of) })
	return sortedXattrs(found)
}

// possible says whether Linux can have such an attribute on such an inode (xattr(7), Extended attribute namespaces).
func possible(name string, of Kind) bool {
	switch name {
	case aclAccess:
		return of != Symlink
	case aclDefault:
		return of == Dir
	}
	namespace, rest, _ := strings.Cut(name, ".")
	switch namespace {
	case "user":
		return rest != "" && (of == File || of == Dir)
	case "trusted", "security":
		return rest != ""
	}
	return false
}

func sortedXattrs(found map[string][]byte) ([]Xattr, error) {
	var out []Xattr
	for name, value := range found {
		switch {
		case name == "" || len(name) > xattrNameMax || strings.IndexByte(name, 0) >= 0:
			return nil, errors.New("an extended attribute without a name, or with one of more than 255 bytes")
		case len(value) > xattrSizeMax:
			return nil, fmt.Errorf("extended attribute %s is larger than 64 KiB", name)
		}
		out = append(out, Xattr{name, value})
	}
	slices.SortFunc(out, func(a, b Xattr) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// paxRecords is the inverse of xattrs.
func paxRecords(attrs []Xattr) map[string]string {
	if len(attrs) == 0 {
		return nil
	}
	records := make(map[string]string, len(attrs))
	for _, x := range attrs {
		records[starPrefix+x.Name] = string(x.Value)
	}
	return records
}
