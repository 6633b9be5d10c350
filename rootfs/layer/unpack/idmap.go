package unpack

import (
	"encoding/binary"
	"errors"
	"slices"

	"berth/rootfs/layer/member"
)

// Attributes that hold IDs of the layer.
const (
	aclAccess  = "system.posix_acl_access"
	aclDefault = "system.posix_acl_default"
	capability = "security.capability"
)

// mapAttr is an attribute with the IDs in it mapped.
func (u *unpacker) mapAttr(x member.Xattr) (member.Xattr, error) {
	if u.UIDs == nil && u.GIDs == nil {
		return x, nil
	}
	var err error
	switch x.Name {
	case aclAccess, aclDefault:
		x.Value, err = u.mapACL(x.Value)
	case capability:
		x.Value, err = u.mapCapability(x.Value)
	}
	return x, err
}

// mapACL maps the entries of users (tag 2) and groups (tag 8) in the kernel's form (linux/posix_acl_xattr.h).
func (u *unpacker) mapACL(value []byte) ([]byte, error) {
	if len(value)%8 != 4 {
		return nil, errors.New("attribute with an ACL is damaged")
	}
	value = slices.Clone(value)
	for entry := value[4:]; len(entry) > 0; entry = entry[8:] {
		ranges, what := u.UIDs, "user"
		switch binary.LittleEndian.Uint16(entry) {
		case 8:
			ranges, what = u.GIDs, "group"
		case 2:
		default:
			continue
		}
		id, err := mapID(ranges, binary.LittleEndian.Uint32(entry[4:]), what)
		if err != nil {
			return nil, err
		}
		binary.LittleEndian.PutUint32(entry[4:], uint32(id))
	}
	return value, nil
}

// mapCapability makes file capabilities those of the user namespace whose root the layer's root is: revision 3 of
// vfs_cap_data names that user (linux/capability.h; capabilities(7), File capability extended attribute versioning).
func (u *unpacker) mapCapability(value []byte) ([]byte, error) {
	const revisionMask, revision2, revision3 = 0xff000000, 0x02000000, 0x03000000
	if len(value) < 4 {
		return value, nil
	}
	magic, root := binary.LittleEndian.Uint32(value), uint32(0)
	switch {
	case magic&revisionMask == revision2 && len(value) == 20:
	case magic&revisionMask == revision3 && len(value) == 24:
		root = binary.LittleEndian.Uint32(value[20:])
	default:
		return value, nil
	}
	id, err := mapID(u.UIDs, root, "user")
	if err != nil {
		return nil, err
	}
	out := slices.Clone(value[:20])
	binary.LittleEndian.PutUint32(out, magic&^revisionMask|revision3)
	return binary.LittleEndian.AppendUint32(out, uint32(id)), nil
}
