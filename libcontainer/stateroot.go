package libcontainer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/libcontainer/host"
)

// makeRoot makes the state root where it is missing. One that is there must be
// such that nobody else can exchange what is in it: it belongs to root or to
// this user, and others may not write to it, or not to what is not theirs.
func makeRoot(root string, sticky bool) error {
	if err := os.MkdirAll(root, 0o700); err != nil {
		return noAccess(fault.From(err, "mkdir", root))
	}
	var st unix.Stat_t
	if err := unix.Stat(root, &st); err != nil {
		return fault.From(err, "stat", root).In(fault.PhaseState)
	}
	if st.Mode&unix.S_ISVTX != 0 {
		st.Mode &^= 0o022
	}
	if e := foreign(&st, "use", root); e != nil {
		if e.Hint = "choose a directory of this user's own with --root, or take it from others: chmod go-w"; ownsLittle() {
			e.Hint = hintNamespaceRoot // an owner that is not mapped reads as user 65534
		}
		return e
	}
	if !sticky {
		return nil
	}
	if err := unix.Chmod(root, unix.S_ISVTX|0o700); err != nil {
		return noAccess(fault.From(err, "chmod", root))
	}
	return nil
}

// noAccess says where containers of an ordinary user may be, where e is that
// he has no right to where they were looked for.
func noAccess(e *fault.Error) *fault.Error {
	uid := os.Geteuid()
	switch {
	case !errors.Is(e, fs.ErrPermission):
	case uid != 0:
		e.Hint = fmt.Sprintf("an ordinary user's containers are in $XDG_RUNTIME_DIR/berth: set it to a directory of this user's own "+
			"(a login session has /run/user/%d), or choose a directory with --root", uid)
	case ownsLittle():
		e.Hint = hintNamespaceRoot
	}
	return e.In(fault.PhaseState)
}

// ownsLittle tells whether this is root of another user namespace than the host's.
func ownsLittle() bool { return os.Geteuid() == 0 && host.InUserNamespace() }

const hintNamespaceRoot = "root of a user namespace has no right to what is the host's root's: set XDG_RUNTIME_DIR, and USER to another " +
	"name than root, or choose a directory with --root"

// claimDir makes the state directory and locks it. Before it has the lock, list
// may look at the directory, gc or delete --force may remove it as one that was
// left behind, and then another create may make it: who has the lock of a
// directory without a record has the container.
func (c *Container) claimDir() error {
	for range claimTries {
		err := unix.Mkdir(c.dir, 0o711)
		if errors.Is(err, fs.ErrExist) {
			return errExists(c.ID)
		}
		if err != nil {
			return noAccess(fault.From(err, "mkdir", c.dir))
		}
		err = c.lock(false)
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = c.lock(true)
		}
		switch {
		case errors.Is(err, ErrNotExist):
			continue
		case err != nil:
			unix.Rmdir(c.dir) // takes nothing that has content
			return err
		case unix.Access(c.path(stateFile), unix.F_OK) == nil:
			c.Unlock()
			return errExists(c.ID)
		}
		return nil
	}
	return errExists(c.ID)
}

// claimTries is how often a new state directory may be taken away before it is locked.
const claimTries = 16
