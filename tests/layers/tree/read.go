package tree

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Read lists the tree below a directory without following a link. It does not cross into other mounts' roots knowingly:
// what is mounted in the tree is listed as a part of it.
func Read(dir string) ([]Entry, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	return read(fd)
}

// ReadFile is Read for a directory that is open, such as a mount that is attached nowhere. It stays the caller's.
func ReadFile(dir *os.File) ([]Entry, error) {
	fd, err := unix.Openat(int(dir.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir.Name(), Err: err}
	}
	return read(fd)
}

func read(fd int) ([]Entry, error) {
	r := &reader{first: map[inode]int{}, buffer: make([]byte, 32<<10)}
	root, err := r.entry(fd, ".", ".")
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	r.entries = append(r.entries, root)
	if err := r.directory(fd, ""); err != nil {
		return nil, err
	}
	return r.entries, nil
}

type inode struct{ dev, ino uint64 }

type reader struct {
	entries []Entry
	first   map[inode]int // the entry that has an inode with several names first
	buffer  []byte
	value   []byte // of an attribute
}

// directory lists what is in a directory and closes its descriptor.
func (r *reader) directory(fd int, prefix string) error {
	f := os.NewFile(uintptr(fd), prefix)
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		e, err := r.entry(fd, name, prefix+name)
		if err != nil {
			return err
		}
		r.entries = append(r.entries, e)
		if e.Type != Dir {
			continue
		}
		sub, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: prefix + name, Err: err}
		}
		if err := r.directory(sub, prefix+name+"/"); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) entry(fd int, name, path string) (Entry, error) {
	fail := func(op string, err error) (Entry, error) { return Entry{}, &os.PathError{Op: op, Path: path, Err: err} }
	var st unix.Stat_t
	if err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fail("stat", err)
	}
	e := Entry{Path: Name(path), Mode: Mode(st.Mode & 0o7777), UID: st.Uid, GID: st.Gid, MTime: Time{st.Mtim.Sec, st.Mtim.Nsec}}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		e.Type, e.Size = File, st.Size
	case unix.S_IFDIR:
		e.Type = Dir
	case unix.S_IFLNK:
		e.Type = Symlink
	case unix.S_IFCHR:
		e.Type, e.Major, e.Minor = Char, unix.Major(st.Rdev), unix.Minor(st.Rdev)
	case unix.S_IFBLK:
		e.Type, e.Major, e.Minor = Block, unix.Major(st.Rdev), unix.Minor(st.Rdev)
	case unix.S_IFIFO:
		e.Type = Fifo
	case unix.S_IFSOCK:
		e.Type = Socket
	}
	if st.Nlink > 1 && e.Type != Dir {
		r.link(&e, inode{st.Dev, st.Ino})
	}
	var err error
	switch e.Type {
	case File:
		if e.SHA256, err = r.digest(fd, name); err != nil {
			return fail("read", err)
		}
	case Symlink:
		if e.Target, err = r.target(fd, name); err != nil {
			return fail("readlink", err)
		}
	}
	if e.Xattrs, err = r.xattrs(fmt.Sprintf("/proc/self/fd/%d/%s", fd, name)); err != nil {
		return fail("listxattr", err)
	}
	return e, nil
}

// link marks the names of an inode once it has a second one.
func (r *reader) link(e *Entry, id inode) {
	first, seen := r.first[id]
	if !seen {
		r.first[id] = len(r.entries)
		return
	}
	r.entries[first].Link = r.entries[first].Path
	e.Link = r.entries[first].Path
}

func (r *reader) digest(dir int, name string) (string, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	hash := sha256.New()
	if _, err := io.CopyBuffer(hash, fdReader(fd), r.buffer); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

type fdReader int

func (fd fdReader) Read(p []byte) (int, error) {
	n, err := unix.Read(int(fd), p)
	if n == 0 && err == nil {
		return 0, io.EOF
	}
	return max(n, 0), err
}

func (r *reader) target(fd int, name string) (Name, error) {
	n, err := unix.Readlinkat(fd, name, r.buffer)
	if err != nil {
		return "", err
	}
	return Name(r.buffer[:n]), nil
}

// xattrs takes a path whose last name is not followed.
func (r *reader) xattrs(path string) (map[string]Name, error) {
	n, err := unix.Llistxattr(path, r.buffer)
	if n == 0 || err == unix.ENOTSUP {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	out := map[string]Name{}
	if r.value == nil {
		r.value = make([]byte, 64<<10) // XATTR_SIZE_MAX
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(r.buffer[:n]), "\x00"), "\x00") {
		n, err := unix.Lgetxattr(path, name, r.value)
		if err == unix.ENODATA { // listed, but hidden from us
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		out[name] = Name(r.value[:n])
	}
	if len(out) == 0 {
		return nil, nil
	}
	return out, nil
}
