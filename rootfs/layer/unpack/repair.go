package unpack

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"berth/rootfs/layer/member"
)

// repairer makes damaged paths again. Its tree has only the directories that lead there, all of them real.
type repairer struct {
	*unpacker
	damaged []Damage
	touched map[*dir]unix.Stat_t // directories with changes in them, as they were
}

// Repair makes again what Verify reported, from the same layer, which it reads to its end, with the same Options. Files
// are replaced, not overwritten: who has the damaged one open keeps it.
func Repair(in *os.File, r *member.Reader, damaged []Damage, o Options) error {
	u := &repairer{newUnpacker(in, r, o), slices.Clone(damaged), map[*dir]unix.Stat_t{}}
	u.tree.makeDir = func(*dir) error { return nil }
	defer u.dirs.close()
	slices.SortFunc(u.damaged, func(a, b Damage) int { return strings.Compare(a.Path, b.Path) })
	for _, step := range []func() error{u.clear, u.replay, u.finishDirs, u.restore} {
		u.now = &member.Member{}
		if err := step(); err != nil {
			return u.fail(err)
		}
	}
	return nil
}

// clear removes what is damaged, except for directories that should be some, and makes what needs no member:
// directories and whiteouts.
func (u *repairer) clear() error {
	for _, d := range u.damaged {
		u.now = &member.Member{Path: d.Path}
		if d.should == 0 {
			return errors.New("Repair wants what Verify reported")
		}
		if d.Path == "" {
			continue
		}
		parent, name, err := u.tree.locate(d.Path)
		if err != nil {
			return err
		}
		at, err := u.touch(parent)
		if err != nil {
			return err
		}
		if d.should == beDir && isDir(at, name) {
			continue
		}
		if err := removeAll(at, name); err != nil {
			return os.NewSyscallError("remove", err)
		}
		switch d.should {
		case beDir:
			err = os.NewSyscallError("mkdir", unix.Mkdirat(at, name, 0o700))
		case beWhiteout:
			err = u.whiteout(at, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// touch opens a directory to change what is in it. Its owner, who may not be root, is given the right to.
func (u *repairer) touch(d *dir) (int, error) {
	fd, err := u.dirs.fd(d)
	if _, before := u.touched[d]; before || err != nil {
		return fd, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return -1, os.NewSyscallError("fstat", err)
	}
	u.touched[d] = st
	if os.Geteuid() != 0 && st.Mode&0o700 != 0o700 {
		err = os.NewSyscallError("chmod", unix.Fchmod(fd, st.Mode&0o7777|0o700))
	}
	return fd, err
}

// replay makes what members make, each with its own metadata.
func (u *repairer) replay() error {
	byMember := map[int64][]int{}
	for i, d := range u.damaged {
		byMember[d.member] = append(byMember[d.member], i)
	}
	for n := int64(1); ; n++ {
		m, err := u.in.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return streamError{err}
		}
		u.now = m
		if err := u.again(m, byMember[n]); err != nil {
			return err
		}
	}
}

// again makes the damaged paths, by number, that are names of what m makes.
func (u *repairer) again(m *member.Member, names []int) error {
	var first place
	for i, n := range names {
		d := &u.damaged[n]
		if d.should == beDir {
			d.meta = m
			continue
		}
		parent, name, err := u.tree.locate(d.Path)
		if err != nil {
			return err
		}
		if i == 0 {
			first = place{parent, name}
			err = u.create(m, parent, name)
		} else if !u.left[first] {
			err = u.linkOver(first.dir, first.name, parent, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// finishDirs gives damaged directories their metadata, those below first.
func (u *repairer) finishDirs() error {
	for _, d := range slices.Backward(u.damaged) {
		if d.should != beDir {
			continue
		}
		u.now = &member.Member{Path: d.Path}
		at, err := u.tree.find(d.Path, u.tree.makeUp)
		if err != nil {
			return err
		}
		h, err := u.inode(at)
		if err != nil {
			return err
		}
		if d.meta == nil {
			if d.member != 0 {
				return fmt.Errorf("the layer has no member %d: it is another than the one that was compared", d.member)
			}
			d.meta = madeUp
		}
		if err := u.refurbish(h, d.marks, d.meta); err != nil {
			return err
		}
		delete(u.touched, at)
		u.dirs.forget(at)
	}
	return nil
}

// restore gives directories that were not damaged the metadata that they had.
func (u *repairer) restore() error {
	for d, st := range u.touched {
		h, err := u.inode(d)
		if err != nil {
			return err
		}
		if err := chmod(h, st.Mode&0o7777); err != nil {
			return os.NewSyscallError("chmod", err)
		}
		if err := setTimes(h, time.Unix(st.Mtim.Unix())); err != nil {
			return os.NewSyscallError("utimensat", err)
		}
	}
	return nil
}

func isDir(at int, name string) bool {
	var st unix.Stat_t
	return unix.Fstatat(at, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR
}

// removeAll removes what name is in the directory at, if it is anything.
func removeAll(at int, name string) error {
	switch err := unix.Unlinkat(at, name, 0); err {
	case nil, unix.ENOENT:
		return nil
	case unix.EISDIR, unix.EPERM:
	default:
		return err
	}
	fd, err := openDirAt(at, name)
	if err == unix.ENOTDIR {
		return unix.EPERM
	}
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return err
	}
	for _, below := range names {
		if err := removeAll(fd, below); err != nil {
			return err
		}
	}
	return unix.Unlinkat(at, name, unix.AT_REMOVEDIR)
}
