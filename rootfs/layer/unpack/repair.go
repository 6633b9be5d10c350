package unpack

import (
	"os"

	"golang.org/x/sys/unix"
)

// repair is what to make again.
type repair struct{ paths map[string]bool }

// wanted says whether to act on a name.
func (u *unpacker) wanted(parent *dir, name string) bool {
	return u.repair == nil || u.repair.paths[parent.path(name)]
}

// changed says whether the metadata of d is to be set.
func (u *unpacker) changed(d *dir) bool {
	return u.repair == nil || d.touched || u.repair.paths[d.path("")]
}

// make creates what is called name in parent, which is open as at. Only a repair finds anything there before.
func (u *unpacker) make(at int, parent *dir, name string, create func() error) error {
	if u.repair != nil {
		parent.touched = true
		if err := removeAll(at, name); err != nil {
			return err
		}
	}
	return again(create)
}

// removeAll removes what name is in the directory at, if it is anything.
func removeAll(at int, name string) error {
	switch err := unix.Unlinkat(at, name, 0); err {
	case nil, unix.ENOENT:
		return nil
	default:
		return err
	case unix.EISDIR, unix.EPERM:
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
