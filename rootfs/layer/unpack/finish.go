package unpack

import (
	"maps"
	"os"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
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
	if !u.changed(d) {
		return nil
	}
	return u.fail(u.finishInode(d, len(hidden) > 0))
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
		if !u.wanted(d, name) {
			continue
		}
		at, err := u.dirs.fd(d)
		if err != nil {
			return err
		}
		if u.XattrWhiteouts {
			err = u.whiteoutFile(at, d, name)
		} else {
			err = u.make(at, d, name, func() error { return unix.Mknodat(at, name, unix.S_IFCHR, 0) })
		}
		if err == unix.EPERM {
			return &fault.Error{Op: "unpack", Path: d.path(name), Msg: "whiteout", Errno: unix.EPERM,
				Hint: "devices cannot be made here: keep whiteouts as attributes"}
		}
		if err != nil {
			return os.NewSyscallError("make the whiteout "+name, err)
		}
	}
	return nil
}

func (u *unpacker) whiteoutFile(at int, d *dir, name string) error {
	err := u.make(at, d, name, func() error { return unix.Mknodat(at, name, unix.S_IFREG|0o600, 0) })
	if err != nil {
		return err
	}
	return setAttr(handle{at, name}, u.prefix()+whiteoutAttr, []byte("y"))
}

// finishInode gives d its marks and its metadata.
func (u *unpacker) finishInode(d *dir, whiteouts bool) error {
	m := d.meta
	if m == nil {
		m = &member.Member{Kind: member.Dir, Mode: 0o755, MTime: time.Unix(0, 0)}
	}
	h := handle{fd: u.dirs.root}
	if d.parent != nil {
		at, err := u.dirs.fd(d.parent)
		if err != nil {
			return err
		}
		h = handle{at, d.name}
	}
	made, err := u.prepare(h, d)
	if err != nil {
		return err
	}
	mark := ""
	switch {
	case d.replaces():
		mark = opaqueYes
	case whiteouts && u.XattrWhiteouts:
		mark = opaqueMixed
	}
	if mark != "" {
		if err := setAttr(h, u.prefix()+opaqueAttr, []byte(mark)); err != nil {
			return os.NewSyscallError("mark as opaque with "+u.prefix()+opaqueAttr, err)
		}
	}
	return u.metadata(h, m, made)
}

// prepare returns the mode that d has now. What was there before gets the owner and the attributes of a new one.
func (u *unpacker) prepare(h handle, d *dir) (uint32, error) {
	if d.parent != nil && u.repair == nil {
		return 0o700, nil
	}
	if err := chmod(h, 0o700); err != nil {
		return 0, os.NewSyscallError("chmod", err)
	}
	if err := chown(h, u.fresh.uid, u.fresh.gid); err != nil {
		return 0, os.NewSyscallError("chown", err)
	}
	return 0o700, dropAttrs(h)
}
