package member

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

func TestXattrs(t *testing.T) {
	for _, c := range []struct {
		records map[string]string
		want    string
		of      Kind
	}{
		{records: nil, want: "[]"},
		{map[string]string{"path": "x", "comment": "y", "SCHILY.fflags": "z"}, "[]", File},
		{map[string]string{"SCHILY.xattr.user.b": "2\x00", "SCHILY.xattr.user.a": ""}, `[{user.a ""} {user.b "2\x00"}]`, File},
		{map[string]string{"LIBARCHIVE.xattr.user.a%3Db": "AQID"}, `[{user.a=b "\x01\x02\x03"}]`, File},
		{map[string]string{"LIBARCHIVE.xattr.user.a": "eA"}, `[{user.a "x"}]`, File},
		{map[string]string{"LIBARCHIVE.xattr.user.a": "eA==", "SCHILY.xattr.user.a": "y"}, `[{user.a "y"}]`, File},
		{map[string]string{"SCHILY.xattr.trusted.overlay.opaque": "y"}, `[{trusted.overlay.opaque "y"}]`, File},
		{map[string]string{"SCHILY.acl.access": "user::rw-,group::r--,other::---"}, "[]", File},
		{map[string]string{"SCHILY.acl.access": "u::rw-,u:1:r--,g::r--,m::r--,o::---", "SCHILY.xattr.system.posix_acl_access": "binary"},
			`[{system.posix_acl_access "binary"}]`, File},
		{map[string]string{"SCHILY.xattr.user.a": "", "SCHILY.xattr.trusted.a": "", "SCHILY.xattr.system.posix_acl_access": ""}, `[{trusted.a ""}]`, Symlink},
		{map[string]string{"SCHILY.xattr.user.a": "", "SCHILY.xattr.security.a": "", "SCHILY.acl.default": "u::r,g::r,o::r"}, `[{security.a ""}]`, Fifo},
		{map[string]string{"SCHILY.xattr.noname": "", "SCHILY.xattr.system.x": "", "SCHILY.xattr.user.": ""}, `[]`, Dir},
	} {
		got, err := xattrs(c.records, c.of)
		var words []string
		for _, x := range got {
			words = append(words, fmt.Sprintf("{%s %q}", x.Name, x.Value))
		}
		if text := "[" + strings.Join(words, " ") + "]"; err != nil || text != c.want {
			t.Errorf("%q: got %s %v, want %s", c.records, text, err, c.want)
		}
	}
}

// What setfacl of these gives, read with getfattr on ext4.
func TestACL(t *testing.T) {
	const (
		head  = "02000000" + "01000700ffffffff"
		group = "04000500ffffffff"
		mask  = "10000700ffffffff"
		other = "20000000ffffffff"
	)
	for _, c := range []struct{ text, want string }{
		{"user::rwx,user:lisa:r-x:1000,group::r-x,mask::rwx,other::---", head + "02000500e8030000" + group + mask + other},
		{"user::rwx\nuser:1000:r-x\ngroup::r-x\nmask::rwx\nother::---\n", head + "02000500e8030000" + group + mask + other},
		{"default:user::rwx,default:group::r-x,default:mask::rwx,default:group:7:-w-,default:other::---",
			head + group + "0800020007000000" + mask + other},
		{"user::rwx, user:1:--x, user:0:--x #effective:--x, group::r-x, mask::rwx, other::---",
			head + "0200010000000000" + "0200010001000000" + group + mask + other},
	} {
		if got, err := parseACL(c.text, true); err != nil || hex.EncodeToString(got) != c.want {
			t.Errorf("%q:\n got %x %v\nwant %s", c.text, got, err, c.want)
		}
	}
	for text, want := range map[string]string{
		"user::rwx,user:lisa:r-x,group::r-x,mask::rwx,other::---":    "--numeric-owner",
		"user::rwx,user:1:r-x,group::r-x,other::---":                 "mask",
		"user::rwx,user:1:r-x,user:1:r--,group::r-x,m::r,other::---": "twice",
		"user::rwx,group::r-x":                                       "once",
		"user::rwx,user::rwx,group::r-x,other::---":                  "twice",
		"user::rwz,group::r-x,other::---":                            "permission",
		"user::rwx,group::r-x,other:5:---":                           "takes no name",
		"everyone::rwx":                                              "TAG:NAME",
		"user":                                                       "TAG:NAME",
		"user::rwx,group::r-x,other::---,u:4294967295:r,":            "no number",
	} {
		if _, err := parseACL(text, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}
