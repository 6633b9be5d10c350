package unpack

import (
	"maps"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"berth/rootfs/layer/member"
)

// finishDir completes d and all below it, those below first; covered says that nothing shows in its parent from the
// layers below.
func (u *unpacker) finishDir(d *dir, covered bool) error {
	covered = d.startsEmpty(covered)
	for _, n := range d.entries {
		if n.kind == member.Dir {
			if err := u.finishDir(n.dir, covered); err != nil {
				return err
			}
		}
	}
	u.now = &member.Member{Path: d.path("")}
	hidden := d.hidden(covered)
	u.result.Entries += int64(len(d.entries) + len(hidden))
	if d.meta == nil && !covered {
		u.result.Parents = append(u.result.Parents, d.path(""))
	}
	if err := u.whiteouts(d, hidden); err != nil {
		return u.fail(err)
	}
	defer u.dirs.forget(d)
	h, err := u.inode(d)
	if err != nil {
		return u.fail(err)
	}
	if d.parent == nil {
		return u.fail(u.refurbish(h, u.marks(d, len(hidden) > 0), d.metadata()))
	}
	return u.fail(u.furnish(h, u.marks(d, len(hidden) > 0), d.metadata()))
}

// hidden are the names in d that need a whiteout: nothing in the layer has them, and something may show from below.
// overlayfs lists whiteouts that hide nothing where there is nothing to merge.
func (d *dir) hidden(covered bool) []string {
	if covered || d.opaque || len(d.hides) == 0 {
		return nil
	}
	var names []string
	for _, name := range slices.Sorted(maps.Keys(d.hides)) {
		if d.entries[name] == nil {
			names = append(names, name)
		}
	}
	return names
}

// replaces says whether d needs overlayfs's mark of an opaque directory.
func (d *dir) replaces() bool {
	if d.opaque || d.parent == nil {
		return d.opaque
	}
	_, hidden := d.parent.hides[d.name]
	return hidden
}

func (u *unpacker) whiteouts(d *dir, names []string) error {
	for _, name := range names {
		at, err := u.dirs.fd(d)
		if err == nil {
			err = u.whiteout(at, name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (u *unpacker) whiteout(at int, name string) error {
	if !u.XattrWhiteouts {
		return os.NewSyscallError("make the whiteout "+name, unix.Mknodat(at, name, unix.S_IFCHR, 0))
	}
	if err := unix.Mknodat(at, name, unix.S_IFREG|0o600, 0); err != nil {
		return os.NewSyscallError("make the whiteout "+name, err)
	}
	return os.NewSyscallError("make the whiteout "+name, setAttr(handle{at, name}, u.prefix()+whiteoutAttr, []byte("y")))
}

// inode is d in its parent.
func (u *unpacker) inode(d *dir) (handle, error) {
	if d.parent == nil {
		return handle{fd: u.dirs.root}, nil
	}
	at, err := u.dirs.fd(d.parent)
	return handle{at, d.name}, err
}

// furnish gives a directory that was made with mode 0700 overlayfs's marks and its metadata.
func (u *unpacker) furnish(h handle, marks map[string]string, m *member.Member) error {
	for name, value := range marks {
		if err := setAttr(h, name, []byte(value)); err != nil {
			return os.NewSyscallError("set attribute "+name, err)
		}
	}
	return u.metadata(h, m, 0o700)
}

// refurbish does so for a directory of any mode, owner and attributes.
func (u *unpacker) refurbish(h handle, marks map[string]string, m *member.Member) error {
	if err := chmod(h, 0o700); err != nil {
		return os.NewSyscallError("chmod", err)
	}
	if u.fresh.known {
		if err := chown(h, u.fresh.uid, u.fresh.gid); err != nil {
			return os.NewSyscallError("chown", err)
		}
	}
	if err := dropAttrs(h); err != nil {
		return err
	}
	return u.furnish(h, marks, m)
}

// marks are overlayfs's own attributes of a directory. Without one of origin overlayfs lists the whiteouts of a directory
// that it need not merge, as names that cannot be opened (ovl_get_inode: "non-merge dir that may have whiteouts").
func (u *unpacker) marks(d *dir, whiteouts bool) map[string]string {
	marks := map[string]string{}
	if d.replaces() {
		marks[u.prefix()+opaqueAttr] = opaqueYes
	}
	if whiteouts {
		marks[u.prefix()+originAttr] = ""
	}
	if whiteouts && u.XattrWhiteouts {
		marks[u.prefix()+opaqueAttr] = opaqueMixed
	}
	return marks
}

// metadata is what the layer says of d, and otherwise what a directory has that is nowhere listed.
func (d *dir) metadata() *member.Member {
	if d.meta != nil {
		return d.meta
	}
	return madeUp
}

var madeUp = &member.Member{Kind: member.Dir, Mode: 0o755, MTime: time.Unix(0, 0)}
