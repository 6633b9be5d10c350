package member

import (
	"archive/tar"
	"errors"
	"fmt"
	"math"
)

// Largest device numbers that a file system stores (linux/kdev_t.h: 12 and 20 bits).
const (
	majorMax = 1<<12 - 1
	minorMax = 1<<20 - 1
)

var errIgnored = errors.New("not content")

var kinds = map[byte]Kind{
	tar.TypeReg: File, tar.TypeCont: File, tar.TypeGNUSparse: File,
	tar.TypeDir: Dir, tar.TypeSymlink: Symlink, tar.TypeLink: Link,
	tar.TypeChar: Char, tar.TypeBlock: Block, tar.TypeFifo: Fifo,
}

// fromHeader is the member that a tar header means; errIgnored for what is no content.
func fromHeader(h *tar.Header) (*Member, error) {
	path, err := cleanName(h.Name)
	if err != nil {
		return nil, err
	}
	path, mark, ignored, err := whiteout(path)
	switch {
	case err != nil:
		return nil, err
	case ignored:
		return nil, errIgnored
	case mark != File:
		return &Member{Path: path, Kind: mark}, nil
	}
	kind, known := kinds[h.Typeflag]
	if !known {
		return nil, fmt.Errorf("unknown type %q", h.Typeflag)
	}
	m := &Member{Path: path, Kind: kind}
	if err := m.setMetadata(h); err != nil {
		return nil, err
	}
	if m.Path == "" && m.Kind != Dir {
		return nil, errors.New("the layer's root must be a directory")
	}
	return m, m.setContent(h)
}

func (m *Member) setMetadata(h *tar.Header) (err error) {
	const idMax = math.MaxUint32 - 1 // (uid_t)-1 means nobody at all
	switch {
	case h.Uid < 0 || h.Uid > idMax || h.Gid < 0 || h.Gid > idMax:
		return fmt.Errorf("owner %d:%d is out of range", h.Uid, h.Gid)
	case h.Mode < 0:
		return fmt.Errorf("mode %d is out of range", h.Mode)
	}
	m.Mode = uint32(h.Mode & 0o7777)
	m.UID, m.GID = uint32(h.Uid), uint32(h.Gid)
	m.MTime = h.ModTime
	m.Xattrs, err = xattrs(h.PAXRecords, m.Kind)
	return err
}

func (m *Member) setContent(h *tar.Header) (err error) {
	switch m.Kind {
	case File:
		m.Size = h.Size
	case Symlink:
		m.Target = h.Linkname
		if m.Target == "" || len(m.Target) > symlinkMax {
			return errors.New("the target of a symbolic link has 1 to 4095 bytes")
		}
	case Link:
		m.Target, err = cleanName(h.Linkname)
		if err != nil {
			return fmt.Errorf("hard link to %q: %w", h.Linkname, err)
		}
	case Char, Block:
		return m.setDevice(h)
	}
	return nil
}

func (m *Member) setDevice(h *tar.Header) error {
	if h.Devmajor < 0 || h.Devmajor > majorMax || h.Devminor < 0 || h.Devminor > minorMax {
		return fmt.Errorf("device number %d:%d is out of range", h.Devmajor, h.Devminor)
	}
	m.Major, m.Minor = uint32(h.Devmajor), uint32(h.Devminor)
	if m.Kind == Char && m.Major == 0 && m.Minor == 0 {
		return errors.New("character device 0:0 is how overlayfs marks a removed file, so no container could see it")
	}
	return nil
}
