package unpack

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"berth/rootfs/layer/member"
)

// compare says what is wrong with a name that is no directory, if anything, and which inode it is.
func (v *verifier) compare(h handle, s *state) (ino uint64, what string) {
	m := s.member
	var st unix.Stat_t
	if err := unix.Fstatat(h.fd, h.name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		if (m.Kind == member.Char || m.Kind == member.Block) && v.Unprivileged && err == unix.ENOENT {
			return 0, "" // left out
		}
		return 0, missing(err)
	}
	if what := v.compareStat(&st, m); what != "" {
		return st.Ino, what
	}
	switch m.Kind {
	case member.File:
		what = v.compareContent(h, s)
	case member.Symlink:
		target, err := sized(func(buf []byte) (int, error) {
			n, err := unix.Readlinkat(h.fd, h.name, buf)
			if n == len(buf) {
				err = unix.ERANGE
			}
			return n, err
		})
		if err != nil || string(target) != m.Target {
			what = fmt.Sprintf("leads to %q, and should to %q", target, m.Target)
		}
	case member.Char, member.Block:
		if st.Rdev != unix.Mkdev(m.Major, m.Minor) {
			what = fmt.Sprintf("is device %d:%d, and should be %d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev), m.Major, m.Minor)
		}
	}
	if what == "" {
		what = v.compareAttrs(h, m)
	}
	return st.Ino, what
}

func missing(err error) string {
	if err == unix.ENOENT {
		return "is missing"
	}
	return "cannot be read: " + err.Error()
}

func (v *verifier) compareStat(st *unix.Stat_t, m *member.Member) string {
	uid, gid, err := v.owner(m.UID, m.GID)
	switch {
	case err != nil:
		return err.Error()
	case st.Mode&unix.S_IFMT != types[m.Kind]:
		return "is of another type"
	case m.Kind == member.File && st.Size != m.Size:
		return fmt.Sprintf("has %d bytes, and should have %d", st.Size, m.Size)
	case m.Kind != member.Symlink && st.Mode&0o7777 != m.Mode:
		return fmt.Sprintf("has mode %04o, and should have %04o", st.Mode&0o7777, m.Mode)
	case int(st.Uid) != uid || int(st.Gid) != gid:
		return fmt.Sprintf("belongs to %d:%d, and should to %d:%d", st.Uid, st.Gid, uid, gid)
	case !sameTime(time.Unix(st.Mtim.Unix()), m.MTime):
		return fmt.Sprintf("is of %v, and should be of %v", time.Unix(st.Mtim.Unix()).UTC(), m.MTime.UTC())
	}
	return ""
}

// sameTime allows for file systems that keep whole seconds or cannot keep a time at all: 32 bits are what all can.
func sameTime(got, want time.Time) bool {
	if want.IsZero() {
		want = time.Unix(0, 0)
	}
	if s := want.Unix(); s != int64(int32(s)) {
		return true
	}
	return got.Equal(want) || got.Nanosecond() == 0 && got.Unix() == want.Unix()
}

// compareContent compares data with its sum, and looks for zeros everywhere else.
func (v *verifier) compareContent(h handle, s *state) string {
	fd, err := openAt(h.fd, h.name, unix.O_RDONLY, 0)
	if err == unix.EACCES {
		return ""
	}
	if err != nil {
		return missing(err)
	}
	f := os.NewFile(uintptr(fd), h.name)
	defer f.Close()
	v.hash.Reset()
	pos := int64(0)
	for _, e := range s.segments {
		if what := v.onlyZeros(f, pos, e.at); what != "" {
			return what
		}
		if _, err := io.CopyBuffer(v.hash, struct{ io.Reader }{io.NewSectionReader(f, e.at, e.length)}, v.buf); err != nil {
			return "cannot be read: " + err.Error()
		}
		pos = e.at + e.length
	}
	if !bytes.Equal(v.hash.Sum(nil), s.sum[:]) {
		return "has other content"
	}
	return v.onlyZeros(f, pos, s.member.Size)
}

// onlyZeros reads what the file system keeps between two places of a file.
func (v *verifier) onlyZeros(f *os.File, from, to int64) string {
	for from < to {
		at, err := f.Seek(from, unix.SEEK_DATA)
		if err != nil || at >= to {
			return "" // ENXIO: a hole up to the end
		}
		n, err := f.ReadAt(v.buf[:min(int64(len(v.buf)), to-at)], at)
		if n == 0 {
			return "cannot be read: " + err.Error()
		}
		if len(bytes.Trim(v.buf[:n], "\x00")) > 0 {
			return "has other content"
		}
		from = at + int64(n)
	}
	return ""
}

func (v *verifier) compareWhiteout(h handle) string {
	var st unix.Stat_t
	if err := unix.Fstatat(h.fd, h.name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return missing(err)
	}
	if !v.XattrWhiteouts && st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0 {
		return ""
	}
	if v.XattrWhiteouts && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size == 0 {
		if _, err := getAttr(h, v.prefix()+whiteoutAttr); err == nil {
			return ""
		}
	}
	return "is not the whiteout that it should be"
}

// compareInode compares a directory itself.
func (v *verifier) compareInode(h handle, d *dir, whiteouts bool) string {
	var st unix.Stat_t
	err := error(nil)
	if h.name == "" {
		err = unix.Fstat(h.fd, &st)
	} else {
		err = unix.Fstatat(h.fd, h.name, &st, unix.AT_SYMLINK_NOFOLLOW)
	}
	if err != nil {
		return missing(err)
	}
	m := d.metadata()
	if what := v.compareStat(&st, m); what != "" {
		return what
	}
	marks := v.marks(d, whiteouts)
	for _, name := range []string{v.prefix() + opaqueAttr, v.prefix() + originAttr} {
		value, err := getAttr(h, name)
		if want, marked := marks[name]; err != unix.EACCES && (marked != (err == nil) || string(value) != want) {
			return "is not marked for overlayfs as it should be, with " + name
		}
	}
	return v.compareAttrs(h, m)
}

func (v *verifier) compareAttrs(h handle, m *member.Member) string {
	names, err := listAttrs(h)
	if err == unix.EACCES {
		return ""
	}
	if err != nil {
		return "attributes cannot be read: " + err.Error()
	}
	for _, name := range names {
		content, ok := v.unescaped(name)
		wanted := slices.ContainsFunc(m.Xattrs, func(x member.Xattr) bool { return x.Name == content })
		if ok && !wanted && !ofHost(name) {
			return "has the attribute " + name + ", and should not"
		}
	}
	for _, x := range m.Xattrs {
		if what := v.compareAttr(h, m, x, names); what != "" {
			return what
		}
	}
	return ""
}

// ofHost names attributes that security modules of the host give to any file.
func ofHost(name string) bool {
	return slices.Contains([]string{"security.selinux", "security.ima", "security.evm"}, name) || strings.HasPrefix(name, "security.SMACK64")
}

func (v *verifier) compareAttr(h handle, m *member.Member, x member.Xattr, have []string) string {
	x, err := v.mapAttr(x)
	if err != nil {
		return err.Error()
	}
	name := v.escaped(x.Name)
	if !slices.Contains(have, name) {
		if v.Unprivileged && !strings.HasPrefix(name, "user.") || x.Name == aclAccess && len(x.Value) <= 4+3*8 {
			return "" // left out; an ACL that says no more than the mode is not kept
		}
		return "lacks the attribute " + name
	}
	value, err := getAttr(h, name)
	if err == unix.EACCES {
		return ""
	}
	if x.Name == aclAccess {
		x.Value = withMode(x.Value, m.Mode)
	}
	if err != nil || !bytes.Equal(value, x.Value) {
		return "has another value of the attribute " + name
	}
	return ""
}

// withMode is an ACL as chmod leaves it: the mode's bits in the entries of the owner (tag 1), of all others (0x20), and
// in the mask (0x10), or the group's (4) where there is none (acl(5), Correspondence between ACL entries and file
// permission bits).
func withMode(acl []byte, mode uint32) []byte {
	acl = slices.Clone(acl)
	group := uint16(4)
	for pass := range 2 {
		for entry := acl[min(4, len(acl)):]; len(entry) >= 8; entry = entry[8:] {
			tag := binary.LittleEndian.Uint16(entry)
			if tag == 0x10 {
				group = tag
			}
			shift, known := map[uint16]uint32{1: 6, group: 3, 0x20: 0}[tag]
			if pass == 1 && known {
				binary.LittleEndian.PutUint16(entry[2:], uint16(mode>>shift&7))
			}
		}
	}
	return acl
}
