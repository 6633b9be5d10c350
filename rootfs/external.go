package rootfs

import (
	"os"
	"path"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

// External is a mount whose source is the host's: what a checkpoint leaves
// out, and a restore brings along.
type External struct {
	Target   string // in the container
	Source   string // on the host
	Readonly bool
	Mask     bool // it covers a file, where there is one
	Field    fault.Pointer
}

// External lists the mounts of the plan that come from the host, in the order
// in which they are mounted. Links that are copied are none (see ReadLinks).
func (p *Plan) External() []External {
	var out []External
	for _, op := range p.Ops {
		switch op := op.(type) {
		case *Bind:
			if op.link == "" {
				ro := (op.Flags.Attr.Set|op.Flags.Rec.Set)&unix.MOUNT_ATTR_RDONLY != 0
				out = append(out, External{Target: op.Target, Source: op.Source, Readonly: ro, Field: op.Field})
			}
		case *Device:
			if op.bind {
				out = append(out, External{Target: op.Path, Source: op.Path, Field: op.Field})
			}
		case *CgroupTree:
			for i := range op.sources {
				g := op.Groups[i]
				out = append(out, External{Target: path.Join(op.Target, g.Name), Source: g.Dir, Field: op.Field})
			}
		case *Mask:
			out = append(out, External{Target: op.Path, Source: "/dev/null", Mask: true, Field: op.Field})
		}
	}
	return out
}

// MountPoint is a place in the container's root that has to be there before
// the mounts are.
type MountPoint struct {
	Dir    string // of the host, that Path is below
	Path   string // relative to Dir
	Source string // what is mounted: a directory needs a directory; "" is one
	Field  fault.Pointer
}

// MountPoints are the places of the plan's mounts in the root file system and
// in what is bound from the host. Those in new file systems come with their
// content.
func (p *Plan) MountPoints() []MountPoint {
	var out []MountPoint
	above := map[string]string{"/": p.Root} // mounts so far; "" is a new file system
	add := func(target, source string, field fault.Pointer) {
		top := target
		for top != "/" {
			top = path.Dir(top)
			if dir, ok := above[top]; ok {
				if dir != "" {
					out = append(out, MountPoint{Dir: dir, Path: strings.TrimPrefix(strings.TrimPrefix(target, top), "/"), Source: source, Field: field})
				}
				break
			}
		}
		above[target] = source
	}
	for _, op := range p.Ops {
		switch op := op.(type) {
		case *Bind:
			if op.link == "" {
				add(op.Target, op.Source, op.Field)
			}
		case *Mount:
			add(op.Target, "", op.Field)
		case *CgroupTree:
			add(op.Target, "", op.Field)
		}
	}
	return out
}

// Make makes the mount point where it is missing. No part of it may be a
// symbolic link: CRIU, which mounts by path, would follow it to the host
// (CVE-2026-119101).
func (m MountPoint) Make() error {
	dir, err := unix.Open(m.Dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == unix.ENOTDIR {
		return nil // a file has nothing below it; CRIU will say so
	}
	if err != nil {
		return m.fail(err)
	}
	defer func() { unix.Close(dir) }()
	parts := strings.Split(m.Path, "/")
	for i, name := range parts {
		last := i == len(parts)-1
		next, err := m.step(dir, name, last && m.isFile())
		if err != nil {
			return m.fail(err)
		}
		unix.Close(dir)
		dir = next
	}
	return nil
}

// step opens one component, made where it is missing.
func (m MountPoint) step(dir int, name string, file bool) (int, error) {
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	fd, err := unix.Openat2(dir, name, &how)
	if err == unix.ENOENT {
		if file {
			err = unix.Mknodat(dir, name, unix.S_IFREG|0o644, 0)
		} else {
			err = unix.Mkdirat(dir, name, 0o755)
		}
		if err == nil || err == unix.EEXIST {
			fd, err = unix.Openat2(dir, name, &how)
		}
	}
	if err != nil {
		return -1, err
	}
	// openat2(2) opens a link that it is told not to follow.
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
		err = unix.ELOOP
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func (m MountPoint) isFile() bool {
	st, err := os.Stat(m.Source)
	return m.Source != "" && err == nil && !st.IsDir()
}

func (m MountPoint) fail(err error) error {
	e := fault.From(err, "make a mount point", filepath.Join(m.Dir, m.Path)).For(m.Field).In(fault.PhaseMounts)
	if e.Errno == unix.ELOOP {
		e.Hint = "no symbolic link may lead to what is restored: name the place that it leads to"
	}
	return e
}
