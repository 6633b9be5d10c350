package unpack

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/member"
)

// between is a name that no member can have, for what takes another's place.
const between = ".wh.berth"

// unpacker acts on what the tree decides.
type unpacker struct {
	Options
	tree   *tree
	dirs   dirs
	in     *member.Reader
	now    *member.Member // for errors
	fresh  fresh
	buf    []byte
	result Result
	left   map[place]bool // what was left out
	count  int64
}

// place is a name in a directory.
type place struct {
	dir  *dir
	name string
}

// fresh is what the file system gives a new file: its owner, and which bits of its mode it lets through. The zero value
// is for what has to do with the directory: with default ACLs and set-group-ID bits already in place.
type fresh struct {
	known    bool
	uid, gid int
	mode     uint32
}

// Unpack makes the members of r, up to its end, in into, which must be empty and reachable by nobody else meanwhile. It
// sets the metadata of into itself too. Nothing is synced. After an error the content of into is of no use. An error about a member
// is a fault.Error that names it; others are those of r.
func Unpack(into *os.File, r *member.Reader, o Options) (Result, error) {
	u := newUnpacker(into, r, o)
	defer u.dirs.close()
	// While it is incomplete nobody may come in, and no group may be passed on.
	err := unix.Fchmod(u.dirs.root, 0o700)
	if err != nil {
		return Result{}, &fault.Error{Op: "chmod", Path: "the layer's directory", Errno: errnoOf(err)}
	}
	if u.fresh, err = probe(u.dirs.root); err != nil {
		return Result{}, err
	}
	if err := u.members(); err != nil {
		return Result{}, err
	}
	if err := u.finishDir(u.tree.root, false); err != nil {
		return Result{}, err
	}
	slices.Sort(u.result.Parents)
	u.result.Opaque = u.tree.root.opaque
	return u.result, nil
}

func newUnpacker(into *os.File, r *member.Reader, o Options) *unpacker {
	u := &unpacker{Options: o, in: r, buf: make([]byte, 256<<10), left: map[place]bool{}}
	u.tree = newTree(u.makeDir)
	u.dirs = dirs{root: int(into.Fd()), into: into, open: func(parent int, d *dir) (int, error) { return openDirAt(parent, d.name) }}
	return u
}

// probe finds out what a new file gets: umask, default ACLs and set-group-ID directories have a say in it.
func probe(dir int) (fresh, error) {
	fail := func(op string, err error) (fresh, error) {
		return fresh{}, &fault.Error{Op: op, Path: "the layer's directory", Errno: errnoOf(err), Hint: hints[errnoOf(err)]}
	}
	fd, err := openAt(dir, between, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, 0o777)
	if err != nil {
		return fail("create a file in", err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fail("stat a file in", err)
	}
	return fresh{true, int(st.Uid), int(st.Gid), st.Mode & 0o777}, unix.Unlinkat(dir, between, 0)
}

func (u *unpacker) members() error {
	for {
		m, err := u.in.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		u.now, u.count = m, u.count+1
		if err := u.member(m); err != nil {
			return u.fail(err)
		}
		if u.MaxEntries > 0 && u.count+u.tree.made > u.MaxEntries {
			return &fault.Error{Op: "unpack", Path: m.Path, Msg: fmt.Sprintf("the layer makes more than %d files and directories", u.MaxEntries),
				Hint: "raise --max-entries if you trust it"}
		}
	}
}

// streamError is an error of the stream, not of what is made of it.
type streamError struct{ error }

// hints say what to do about an errno that a layer can lead to.
var hints = map[syscall.Errno]string{
	unix.ENOSPC:       "free space or inodes where the layers are kept",
	unix.EDQUOT:       "free some of your quota where the layers are kept",
	unix.EPERM:        "only root may make this: run as root, or as an ordinary user, who leaves it out",
	unix.EOPNOTSUPP:   "the file system of the layers cannot keep this: put them on another (ext4, XFS, btrfs, tmpfs)",
	unix.EEXIST:       "the file system of the layers takes different names for the same: put them on one that does not",
	unix.EMLINK:       "the file system of the layers has no room for so many links to one file: put them on another",
	unix.ENAMETOOLONG: "the file system of the layers has no room for such names: put them on another",
}

// fail names the present member, unless the error does already.
func (u *unpacker) fail(err error) error {
	var f *fault.Error
	var below streamError
	switch {
	case err == nil, errors.As(err, &f):
		return err
	case errors.As(err, &below):
		return below.error
	}
	out := &fault.Error{Op: "unpack", Path: u.now.Path}
	var call *os.SyscallError
	if errors.As(err, &call) {
		out.Msg, err = call.Syscall, call.Err
	}
	if out.Errno = errnoOf(err); out.Errno == 0 {
		out.Err = err
	}
	out.Hint = hints[out.Errno]
	return out
}

func (u *unpacker) member(m *member.Member) error {
	if m.Kind == member.Whiteout || m.Kind == member.Opaque {
		return u.tree.mark(m)
	}
	if m.Path == "" {
		u.tree.root.meta = m
		return nil
	}
	parent, name, err := u.tree.locate(m.Path)
	if err != nil {
		return err
	}
	switch old := parent.child(name); {
	case m.Kind == member.Link:
		return u.link(m, parent, name)
	case m.Kind == member.Dir && old != nil:
		old.meta = m
		return nil
	}
	if err := u.remove(parent, name); err != nil {
		return err
	}
	if m.Kind == member.Dir {
		d, err := u.tree.newDir(parent, name)
		if err != nil {
			return err
		}
		d.meta = m
		return u.makeDir(d)
	}
	if err := u.create(m, parent, name); err != nil {
		return err
	}
	u.tree.place(parent, name, nodeOf(m))
	return nil
}

// Nodes of what needs no more than its kind are all the same.
var plain = map[member.Kind]*node{
	member.File: {kind: member.File}, member.Char: {kind: member.Char},
	member.Block: {kind: member.Block}, member.Fifo: {kind: member.Fifo},
}

func nodeOf(m *member.Member) *node {
	if m.Kind == member.Symlink {
		return &node{kind: m.Kind, target: m.Target}
	}
	return plain[m.Kind]
}

func (u *unpacker) makeDir(d *dir) error {
	parent, err := u.dirs.fd(d.parent)
	if err != nil {
		return err
	}
	return os.NewSyscallError("mkdir", again(func() error { return unix.Mkdirat(parent, d.name, 0o700) }))
}

// remove takes away what stands at a name, if anything does.
func (u *unpacker) remove(parent *dir, name string) error {
	n := parent.entries[name]
	if n == nil {
		return nil
	}
	if n.kind == member.Dir {
		for below := range n.dir.entries {
			if err := u.remove(n.dir, below); err != nil {
				return err
			}
		}
		u.dirs.forget(n.dir)
	}
	u.tree.remove(parent, name)
	if p := (place{parent, name}); u.left[p] {
		delete(u.left, p)
		return nil
	}
	at, err := u.dirs.fd(parent)
	if err != nil {
		return err
	}
	flags := 0
	if n.kind == member.Dir {
		flags = unix.AT_REMOVEDIR
	}
	return os.NewSyscallError("remove", unix.Unlinkat(at, name, flags))
}

// link makes one more name of a file. Its target is found before anything goes away: it may be below what is replaced.
func (u *unpacker) link(m *member.Member, parent *dir, name string) error {
	from, target, n, err := u.tree.linked(m.Target)
	if err != nil {
		return linkFault(m, err)
	}
	if from == parent && target == name {
		return nil
	}
	if u.left[place{from, target}] {
		err = u.remove(parent, name)
		u.left[place{parent, name}] = true
	} else {
		err = u.linkOver(from, target, parent, name)
	}
	u.tree.place(parent, name, n)
	return err
}

func linkFault(m *member.Member, err error) error {
	return &fault.Error{Op: "unpack", Path: m.Path, Msg: "hard link to " + m.Target, Err: err,
		Hint: "a layer can only link what it holds itself; have the image made again"}
}

func (u *unpacker) linkOver(from *dir, target string, parent *dir, name string) error {
	at, err := u.dirs.fd(parent)
	if err != nil {
		return err
	}
	source, err := u.dirs.fd(from)
	if err != nil {
		return err
	}
	if parent.entries[name] == nil {
		return os.NewSyscallError("link", unix.Linkat(source, target, at, name, 0))
	}
	if err := unix.Linkat(source, target, at, between, 0); err != nil {
		return os.NewSyscallError("link", err)
	}
	if err := u.remove(parent, name); err != nil {
		return err
	}
	if at, err = u.dirs.fd(parent); err != nil {
		return err
	}
	return os.NewSyscallError("rename", unix.Renameat(at, between, at, name))
}

func (u *unpacker) warn(what string, errno syscall.Errno) {
	if len(u.result.Warnings) < fault.Most {
		u.result.Warnings = append(u.result.Warnings, &fault.Error{Op: "unpack", Path: u.now.Path, Msg: what, Errno: errno})
	}
}

// permitted says of an error whether the layer does without what it is about.
func (u *unpacker) permitted(err error) bool {
	return u.Unprivileged && (errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EOPNOTSUPP))
}
