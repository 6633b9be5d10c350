package unpack

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"berth/rootfs/layer/member"
)

// create makes a member that is neither a directory nor a hard link, where nothing is.
func (u *unpacker) create(m *member.Member, parent *dir, name string) error {
	at, err := u.dirs.fd(parent)
	if err != nil {
		return err
	}
	mode := m.Mode & 0o777
	if len(m.Xattrs) > 0 {
		mode |= 0o600 // user.* wants to write
	}
	switch m.Kind {
	case member.File:
		return u.file(m, at, name, mode)
	case member.Symlink:
		err = again(func() error { return unix.Symlinkat(m.Target, at, name) })
	default:
		err = again(func() error { return unix.Mknodat(at, name, types[m.Kind]|mode, device(m)) })
		if err != nil && u.permitted(err) && m.Kind != member.Fifo {
			u.warn(fmt.Sprintf("device %d:%d left out", m.Major, m.Minor), errnoOf(err))
			u.left[place{parent, name}] = true
			return nil
		}
	}
	if err == nil {
		err = u.strip(handle{at, name})
	}
	if err != nil {
		return err
	}
	return u.metadata(handle{at, name}, m, mode)
}

// strip takes away what a new inode inherited.
func (u *unpacker) strip(h handle) error {
	if u.fresh.known {
		return nil
	}
	return dropAttrs(h)
}

var types = map[member.Kind]uint32{
	member.File: unix.S_IFREG, member.Dir: unix.S_IFDIR, member.Symlink: unix.S_IFLNK,
	member.Char: unix.S_IFCHR, member.Block: unix.S_IFBLK, member.Fifo: unix.S_IFIFO,
}

func device(m *member.Member) int { return int(unix.Mkdev(m.Major, m.Minor)) }

func (u *unpacker) file(m *member.Member, at int, name string, mode uint32) (err error) {
	fd, err := openAt(at, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, mode)
	if err != nil {
		return err
	}
	defer func() {
		if closed := unix.Close(fd); err == nil && closed != unix.EINTR {
			err = os.NewSyscallError("close", closed) // where NFS says that the disk is full
		}
	}()
	if err := u.strip(handle{fd: fd}); err != nil {
		return err
	}
	if err := u.content(fd, m.Size); err != nil {
		return err
	}
	return u.metadata(handle{fd: fd}, m, mode)
}

// content writes the content of the present member. Holes stay holes.
func (u *unpacker) content(fd int, size int64) error {
	written := int64(0) // up to where the file reaches
	for pos := int64(0); pos < size; {
		pos += u.in.SkipHole()
		n, err := u.fill()
		if err != nil {
			return streamError{err}
		}
		if n == 0 {
			break
		}
		if err := writeAt(fd, u.buf[:n], pos); err != nil {
			return os.NewSyscallError("write", err)
		}
		u.result.Size += int64(n)
		pos += int64(n)
		written = pos
	}
	if written < size {
		return os.NewSyscallError("truncate", unix.Ftruncate(fd, size))
	}
	return nil
}

// fill reads into the buffer up to the next hole; 0 at the end of the content.
func (u *unpacker) fill() (n int, err error) {
	for n < len(u.buf) && u.in.InData() {
		k, err := u.in.Read(u.buf[n:])
		n += k
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

func writeAt(fd int, p []byte, at int64) error {
	for len(p) > 0 {
		n, err := unix.Pwrite(fd, p, at)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return err
		}
		if n == 0 {
			return io.ErrShortWrite
		}
		p, at = p[n:], at+int64(n)
	}
	return nil
}

// metadata sets what m says of an inode that was made with mode. chown takes away set-ID bits and file capabilities, a
// chmod before attributes would forbid user.* to who is not root, and one behind sets the mask of an ACL.
func (u *unpacker) metadata(h handle, m *member.Member, mode uint32) error {
	uid, gid, err := u.owner(m.UID, m.GID)
	if err != nil {
		return err
	}
	if !u.fresh.known || uid != u.fresh.uid || gid != u.fresh.gid {
		if err := chown(h, uid, gid); err != nil {
			return os.NewSyscallError(fmt.Sprintf("chown to %d:%d", uid, gid), err)
		}
	}
	for _, x := range m.Xattrs {
		if err := u.attribute(h, x); err != nil {
			return err
		}
	}
	if m.Kind != member.Symlink && (!u.fresh.known || m.Mode != mode&u.fresh.mode || len(m.Xattrs) > 0) {
		if err := chmod(h, m.Mode); err != nil {
			return os.NewSyscallError("chmod", err)
		}
	}
	return os.NewSyscallError("utimensat", setTimes(h, m.MTime))
}

func (u *unpacker) attribute(h handle, x member.Xattr) error {
	x, err := u.mapAttr(x)
	if err != nil {
		return err
	}
	err = setAttr(h, u.escaped(x.Name), x.Value)
	if err != nil && u.permitted(err) {
		u.warn("attribute "+x.Name+" left out", errnoOf(err))
		return nil
	}
	return os.NewSyscallError("set attribute "+x.Name, err)
}
