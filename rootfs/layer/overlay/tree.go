package overlay

import (
	"errors"
	"io"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/member"
)

// Node is what one layer has at a path.
type Node struct {
	// Member is as the image has it: overlayfs's own attributes are taken out,
	// and those that were escaped for it are unescaped. A whiteout has no
	// metadata. Hard links are Files.
	member.Member
	Opaque bool   // a directory that hides what the layers below have in it
	Links  uint32 // names of the inode, 1 or more
	Inode  Inode
	// Foreign is overlayfs's marks that these overlays never make, such as
	// "redirect": the node is not what it seems.
	Foreign []string
}

// Inode tells files with several names from others.
type Inode struct{ Dev, Number uint64 }

// Tree is one layer. Paths are clean and relative, "" is its root; no component
// of them is followed where it is a symbolic link. Implementations are for one
// goroutine at a time.
type Tree interface {
	// Node returns what the layer has at path, nil where it has nothing.
	Node(path string) (*Node, error)
	// Open opens a regular file, which is the caller's to close.
	Open(path string) (io.ReadCloser, error)
}

// Dir is a layer that is a directory, or a mounted image: one that the
// directory backend unpacked, or an upper directory, which a container may
// change meanwhile: no path is led out of it.
type Dir struct {
	root   *os.File
	prefix string // of overlayfs's attributes

	at string // the directory that fd is open on
	fd int
}

// OpenDir opens a directory as a layer. With userXattr the marks are
// user.overlay.*, as in overlays of ordinary users.
func OpenDir(name string, userXattr bool) (*Dir, error) {
	f, err := os.OpenFile(name, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fault.From(err, "open the layer", name)
	}
	return NewDir(f, userXattr), nil
}

// NewDir is OpenDir for a descriptor, such as of a mount that is attached
// nowhere. It becomes the Dir's.
func NewDir(root *os.File, userXattr bool) *Dir {
	d := &Dir{root: root, fd: -1, prefix: "trusted.overlay."}
	if userXattr {
		d.prefix = "user.overlay."
	}
	return d
}

// Name is the path that the layer was opened by.
func (d *Dir) Name() string { return d.root.Name() }

// Close closes the directory.
func (d *Dir) Close() error {
	d.leave()
	return d.root.Close()
}

func (d *Dir) leave() {
	if d.fd >= 0 {
		unix.Close(d.fd)
	}
	d.fd = -1
}

// enter opens the directory that path is in; false where there is none.
func (d *Dir) enter(dir string) (bool, error) {
	if d.fd >= 0 && d.at == dir {
		return true, nil
	}
	d.leave()
	fd, err := d.open(dir, unix.O_PATH|unix.O_DIRECTORY)
	switch {
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
		return false, nil
	case err != nil:
		return false, d.fail(err, "open", dir)
	}
	d.fd, d.at = fd, dir
	return true, nil
}

func (d *Dir) open(name string, flags uint64) (int, error) {
	at, done := int(d.root.Fd()), func() {}
	for len(name) > longest {
		cut := strings.LastIndexByte(name[:longest], '/')
		fd, err := openBelow(at, name[:max(cut, 0)], unix.O_PATH|unix.O_DIRECTORY)
		done()
		if err != nil {
			return -1, err
		}
		at, done, name = fd, func() { unix.Close(fd) }, name[cut+1:]
	}
	defer func() { done() }()
	return openBelow(at, name, flags)
}

// longest is how much of a path goes into one call: less than PATH_MAX, more than a name.
const longest = unix.PathMax - 64

func openBelow(at int, name string, flags uint64) (int, error) {
	how := unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS}
	return unix.Openat2(at, "./"+name, &how)
}

func procFD(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

func (d *Dir) fail(err error, op, name string) error {
	return fault.From(err, op, path.Join(d.root.Name(), name))
}

// split is a path as its directory and name; the root is "." in itself.
func split(name string) (dir, base string) {
	if name == "" {
		return "", "."
	}
	dir, base = path.Split(name)
	return strings.TrimSuffix(dir, "/"), base
}

// Node implements Tree.
func (d *Dir) Node(name string) (*Node, error) {
	dir, base := split(name)
	if ok, err := d.enter(dir); !ok {
		return nil, err
	}
	var st unix.Stat_t
	err := unix.Fstatat(d.fd, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, d.fail(err, "stat", name)
	}
	n := &Node{Links: uint32(st.Nlink), Inode: Inode{st.Dev, st.Ino}}
	n.Path, n.Mode, n.UID, n.GID = name, st.Mode&0o7777, st.Uid, st.Gid
	n.MTime = time.Unix(st.Mtim.Unix())
	if err := d.kind(n, &st, base); err != nil {
		return nil, d.fail(err, "read", name)
	}
	if n.Kind == member.Whiteout {
		n.Member = member.Member{Path: name, Kind: member.Whiteout}
	}
	return n, nil
}

func (d *Dir) kind(n *Node, st *unix.Stat_t, base string) error {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		n.Kind, n.Size = member.File, st.Size
	case unix.S_IFDIR:
		n.Kind = member.Dir
	case unix.S_IFLNK:
		n.Kind = member.Symlink
		target := make([]byte, unix.PathMax)
		length, err := unix.Readlinkat(d.fd, base, target)
		if err != nil {
			return err
		}
		n.Target = string(target[:length])
	case unix.S_IFCHR:
		if n.Kind = member.Char; st.Rdev == 0 {
			n.Kind = member.Whiteout
			return nil
		}
		n.Major, n.Minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
	case unix.S_IFBLK:
		n.Kind, n.Major, n.Minor = member.Block, unix.Major(st.Rdev), unix.Minor(st.Rdev)
	case unix.S_IFIFO:
		n.Kind = member.Fifo
	default:
		n.Kind = Socket
	}
	return d.xattrs(n, procFD(d.fd)+"/"+base)
}

// Socket is a kind that no layer has, but an upper directory may.
const Socket member.Kind = 255

// xattrs reads the attributes, and what overlayfs's own say.
func (d *Dir) xattrs(n *Node, file string) error {
	names, err := listXattrs(file)
	if err != nil {
		return err
	}
	for _, name := range names {
		value, err := getXattr(file, name)
		if err != nil {
			return err
		}
		own, ours := strings.CutPrefix(name, d.prefix)
		switch {
		case !ours:
			n.Xattrs = append(n.Xattrs, member.Xattr{Name: name, Value: value})
		case strings.HasPrefix(own, "overlay."): // Documentation/filesystems/overlayfs.rst, "Nesting overlayfs mounts"
			n.Xattrs = append(n.Xattrs, member.Xattr{Name: d.prefix + strings.TrimPrefix(own, "overlay."), Value: value})
		case own == "opaque":
			n.Opaque = n.Kind == member.Dir && string(value) == "y"
		case own == "whiteout" && n.Kind == member.File && n.Size == 0:
			n.Kind = member.Whiteout
			return nil
		case own == "redirect" || own == "metacopy":
			n.Foreign = append(n.Foreign, name)
		}
	}
	slices.SortFunc(n.Xattrs, func(a, b member.Xattr) int { return strings.Compare(a.Name, b.Name) })
	return nil
}

func listXattrs(file string) ([]string, error) {
	list, err := grown(func(to []byte) (int, error) { return unix.Llistxattr(file, to) })
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(list), "\x00"), "\x00"), nil
}

func getXattr(file, name string) ([]byte, error) {
	return grown(func(to []byte) (int, error) { return unix.Lgetxattr(file, name, to) })
}

// grown calls read with a buffer that is large enough; a file system without
// attributes, and an attribute that has gone meanwhile, have none.
func grown(read func([]byte) (int, error)) ([]byte, error) {
	for size := 256; ; size *= 4 {
		buf := make([]byte, size)
		n, err := read(buf)
		switch {
		case err == nil:
			return buf[:n:n], nil
		case errors.Is(err, unix.ENOTSUP), errors.Is(err, unix.ENODATA):
			return nil, nil
		case !errors.Is(err, unix.ERANGE) || size > 1<<20:
			return nil, err
		}
	}
}

// Open implements Tree.
func (d *Dir) Open(name string) (io.ReadCloser, error) { return d.OpenFile(name) }

// OpenFile is Open for who needs the descriptor.
func (d *Dir) OpenFile(name string) (*os.File, error) {
	fd, err := d.open(name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, d.fail(err, "open", name)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		return nil, d.fail(errors.Join(err, unix.EAGAIN), "open", name) // exchanged meanwhile
	}
	return os.NewFile(uintptr(fd), path.Join(d.root.Name(), name)), nil
}

// Names lists a directory, sorted.
func (d *Dir) Names(name string) ([]string, error) {
	fd, err := d.open(name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, d.fail(err, "list", name)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, d.fail(err, "list", name)
	}
	slices.Sort(names)
	return names, nil
}
