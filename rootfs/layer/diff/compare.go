package diff

import (
	"bytes"
	"errors"
	"io"
	"slices"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/member"
	"berth/rootfs/layer/overlay"
)

// sameNode tells whether two nodes of a kind are the same but for metadata and
// content.
func sameNode(a, b *overlay.Node) bool {
	return a.Kind == b.Kind && a.Size == b.Size && a.Target == b.Target && a.Major == b.Major && a.Minor == b.Minor
}

// sameMetadata tells whether two nodes are the same but for content.
func sameMetadata(a, b *overlay.Node) bool {
	return sameNode(a, b) && a.UID == b.UID && a.GID == b.GID && a.MTime.Equal(b.MTime) &&
		(a.Mode == b.Mode || a.Kind == member.Symlink) &&
		slices.EqualFunc(a.Xattrs, b.Xattrs, func(x, y member.Xattr) bool { return x.Name == y.Name && bytes.Equal(x.Value, y.Value) })
}

// sameContent compares files, of which the larger one is not read.
func (w *walk) sameContent(node, low *overlay.Node) (bool, error) {
	if node.Size != low.Size {
		return false, nil
	}
	a, err := w.upper.OpenFile(node.Path)
	if errors.Is(err, unix.ENOENT) {
		return false, nil // gone meanwhile: writing it will say so
	}
	if err != nil {
		return false, err
	}
	defer a.Close()
	b, err := w.lower.Open(low.Path)
	if err != nil {
		return false, err
	}
	defer b.Close()
	same, err := equal(a, b)
	if err != nil {
		return false, fault.From(err, "compare", node.Path)
	}
	return same, nil
}

const chunk = 128 << 10

func equal(a, b io.Reader) (bool, error) {
	x, y := make([]byte, chunk), make([]byte, chunk)
	for {
		n, err1 := io.ReadFull(a, x)
		m, err2 := io.ReadFull(b, y)
		for _, err := range []error{err1, err2} {
			if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
				return false, err
			}
		}
		if !bytes.Equal(x[:n], y[:m]) {
			return false, nil
		}
		if err1 != nil || err2 != nil {
			return true, nil
		}
	}
}

// data finds where a file has data (lseek(2), SEEK_DATA). A file without holes
// has nil, as has one on a file system that knows of none.
func (w *walk) data(node *overlay.Node) ([]member.Segment, error) {
	if node.Size == 0 {
		return nil, nil
	}
	f, err := w.upper.OpenFile(node.Path)
	if err != nil {
		if errors.Is(err, unix.ENOENT) {
			return nil, nil
		}
		return nil, err
	}
	defer f.Close()
	out := []member.Segment{}
	for at := int64(0); at < node.Size; {
		start, err := unix.Seek(int(f.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // a hole until the end
		}
		if err != nil {
			return nil, nil
		}
		end, err := unix.Seek(int(f.Fd()), start, unix.SEEK_HOLE)
		if err != nil {
			return nil, nil
		}
		end = min(end, node.Size)
		if start == 0 && end == node.Size {
			return nil, nil
		}
		if start >= node.Size {
			break
		}
		out = append(out, member.Segment{At: start, Length: end - start})
		at = end
	}
	return out, nil
}
