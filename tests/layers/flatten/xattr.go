package flatten

import (
	"archive/tar"
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"berth/tests/layers/tree"
)

// xattrs returns the attributes among a PAX header's records: star's, libarchive's and star's ACLs in text. Of several
// for one attribute star's own form counts, then libarchive's.
func xattrs(h *tar.Header, of tree.Type) (map[string]tree.Name, error) {
	all := map[string]string{}
	for record, name := range map[string]string{"SCHILY.acl.access": "system.posix_acl_access", "SCHILY.acl.default": "system.posix_acl_default"} {
		if text := h.PAXRecords[record]; text != "" {
			value, err := acl(text)
			if err != nil {
				return nil, err
			}
			all[name] = value
		}
	}
	for record, value := range h.PAXRecords {
		if encoded, ok := strings.CutPrefix(record, "LIBARCHIVE.xattr."); ok {
			name, err := url.PathUnescape(encoded)
			if err != nil {
				return nil, err
			}
			raw, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(value, "="))
			if err != nil {
				return nil, err
			}
			all[name] = string(raw)
		}
	}
	for record, value := range h.PAXRecords {
		if name, ok := strings.CutPrefix(record, "SCHILY.xattr."); ok {
			all[name] = value
		}
	}
	out := map[string]tree.Name{}
	for name, value := range all {
		if name == "" || len(name) > 255 || len(value) > 64<<10 {
			return nil, fmt.Errorf("nothing can have the extended attribute %.300q", name)
		}
		if possible(name, of) {
			out[name] = tree.Name(value)
		}
	}
	if len(out) == 0 {
		return nil, nil
	}
	return out, nil
}

// possible says whether Linux can have such an attribute on such an inode: xattr(7).
func possible(name string, of tree.Type) bool {
	switch namespace, _, _ := strings.Cut(name, "."); namespace {
	case "user":
		return of == tree.File || of == tree.Dir
	case "trusted", "security":
		return true
	}
	return name == "system.posix_acl_access" && of != tree.Symlink || name == "system.posix_acl_default" && of == tree.Dir
}

// acl turns an ACL as acl(5) writes it, users and groups by number, into the form of linux/posix_acl_xattr.h.
func acl(text string) (string, error) {
	tags := map[string]uint16{"user": 0x01, "group": 0x04, "mask": 0x10, "other": 0x20}
	var entries [][]byte
	for entry := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == ',' || r == '\n' }) {
		f := append(strings.Split(entry, ":"), "", "", "")
		tag, id := tags[f[0]], uint32(1<<32-1)
		if f[1] != "" {
			number, err := strconv.ParseUint(cmp.Or(f[3], f[1]), 10, 32)
			if err != nil {
				return "", err
			}
			tag, id = tag<<1, uint32(number)
		}
		perm := uint16(0)
		for i, bit := range "xwr" {
			if strings.ContainsRune(f[2], bit) {
				perm |= 1 << i
			}
		}
		e := binary.BigEndian.AppendUint16(nil, tag) // big-endian, so that it sorts
		entries = append(entries, binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(e, perm), id))
	}
	slices.SortFunc(entries, bytes.Compare)
	out := []byte{2, 0, 0, 0}
	for _, e := range entries {
		out = append(out, e[1], e[0], e[3], e[2], e[7], e[6], e[5], e[4])
	}
	return string(out), nil
}
