// Package archive reads and writes images in one tar file: oci-archive: and docker-archive:.
package archive

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/transport/files"
)

// Limits of what an archive may be.
const (
	maxEntries = 100_000
	maxLinks   = 16
	maxName    = 4096
)

// Spool says where a compressed archive is unpacked to, and how long the result may be.
type Spool struct {
	Dir string // os.TempDir if empty
	Max int64  // in bytes; 64 GiB if 0
}

const defaultMax = 64 << 30

// tree is a tar file whose members can be opened without unpacking it. Of members of one name the last counts, as it
// would on a disk.
type tree struct {
	*os.File
	path    string
	members map[string]place
}

// place is where a member's content is.
type place struct {
	offset, size int64
	link         string // of a symbolic or hard link: the clean name of its target
}

// openTree indexes the tar file path. A compressed one, and one that is no regular file, is spooled first, to a file
// without a name.
func openTree(ctx context.Context, path string, sp Spool) (*tree, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.From(err, "open", path)
	}
	if f, err = plain(ctx, f, sp); err != nil {
		return nil, fault.From(err, "open", path)
	}
	t := &tree{f, path, map[string]place{}}
	if err := t.index(); err != nil {
		f.Close()
		return nil, fault.From(err, "read archive", path)
	}
	return t, nil
}

// plain returns f, or a spooled copy of what f holds compressed; then f is closed.
func plain(ctx context.Context, f *os.File, sp Spool) (_ *os.File, err error) {
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, &fault.Error{Op: "open", Path: f.Name(), Msg: "a directory, not an archive"}
	}
	head := make([]byte, 6)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	format := compression(head[:n])
	if format == "" && info.Mode().IsRegular() {
		_, err := f.Seek(0, io.SeekStart)
		return f, err
	}
	from, err := uncompress(io.MultiReader(bytes.NewReader(head[:n]), f), format)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	return sp.take(ctx, from, f)
}

// take copies from, which is f uncompressed, and closes f.
func (sp Spool) take(ctx context.Context, from io.Reader, f *os.File) (*os.File, error) {
	to, err := os.CreateTemp(sp.Dir, "berth-layer-*")
	if err != nil {
		return nil, err
	}
	os.Remove(to.Name())
	most := cmp.Or(sp.Max, defaultMax)
	n, err := io.Copy(to, io.LimitReader(withContext{ctx, from}, most+1))
	if err == nil && n > most {
		err = fmt.Errorf("longer than the limit of %d bytes", most)
	}
	if err == nil {
		_, err = to.Seek(0, io.SeekStart)
	}
	if err != nil {
		to.Close()
		return nil, &fault.Error{Op: "unpack to a temporary file", Path: f.Name(), Err: err}
	}
	f.Close()
	return to, nil
}

// withContext is a reader that ends when ctx does.
type withContext struct {
	ctx  context.Context
	from io.Reader
}

func (r withContext) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.from.Read(p)
}

// compression tells by its first bytes how something is compressed: "gzip", "zstd", "bzip2", "xz" or "".
func compression(head []byte) string {
	for magic, name := range map[string]string{
		"\x1f\x8b\x08": "gzip", "\x28\xb5\x2f\xfd": "zstd", "BZh": "bzip2", "\xfd7zXZ\x00": "xz",
	} {
		if bytes.HasPrefix(head, []byte(magic)) {
			return name
		}
	}
	return ""
}

func uncompress(from io.Reader, format string) (io.ReadCloser, error) {
	switch format {
	case "":
		return io.NopCloser(from), nil
	case "gzip":
		return gzip.NewReader(from)
	case "zstd":
		d, err := zstd.NewReader(from, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	case "bzip2":
		return io.NopCloser(bzip2.NewReader(from)), nil
	}
	return nil, &fault.Error{Msg: "compressed with " + format + ", which is not supported", Hint: "uncompress it first"}
}

// index goes from header to header; contents are skipped.
func (t *tree) index() error {
	r := tar.NewReader(t.File)
	for n := 0; ; n++ {
		h, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if n == maxEntries {
			return &fault.Error{Op: "read archive", Path: t.path, Msg: fmt.Sprintf("more than %d members", maxEntries)}
		}
		name, err := memberName(h.Name)
		if err != nil {
			return err
		}
		switch h.Typeflag {
		case tar.TypeReg:
			if sparse(h) {
				return &fault.Error{Op: "read archive member", Path: name, Msg: "sparse"}
			}
			offset, err := t.Seek(0, io.SeekCurrent)
			if err != nil {
				return err
			}
			t.members[name] = place{offset: offset, size: h.Size}
		case tar.TypeSymlink, tar.TypeLink:
			target := h.Linkname
			if h.Typeflag == tar.TypeSymlink && !path.IsAbs(target) {
				target = path.Join(path.Dir(name), target)
			}
			if target, err = memberName(target); err != nil {
				return &fault.Error{Op: "read archive member", Path: name, Msg: "link", Err: err}
			}
			t.members[name] = place{link: target}
		}
	}
}

func sparse(h *tar.Header) bool {
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return h.Typeflag == tar.TypeGNUSparse
}

// memberName returns a clean relative name and refuses one that leaves the archive.
func memberName(s string) (string, error) {
	clean := path.Clean(strings.TrimLeft(s, "/"))
	if len(s) > maxName || clean == ".." || strings.HasPrefix(clean, "../") {
		return "", &fault.Error{Op: "read archive member", Path: s[:min(len(s), 200)], Msg: "the name leads out of the archive"}
	}
	return clean, nil
}

// find follows links to the place of a content.
func (t *tree) find(name string) (place, error) {
	at := name
	for range maxLinks {
		p, ok := t.members[at]
		if !ok {
			return p, &fault.Error{Op: "find in archive", Path: name, Err: fs.ErrNotExist}
		}
		if p.link == "" {
			return p, nil
		}
		at = p.link
	}
	return place{}, &fault.Error{Op: "find in archive", Path: name, Msg: "too many links"}
}

type section struct{ *io.SectionReader }

func (section) Close() error { return nil }

// Open implements files.Tree. Contents may be read in several goroutines, until the tree is closed.
func (t *tree) Open(name string) (files.Content, error) {
	p, err := t.find(path.Clean(name))
	if err != nil {
		return nil, err
	}
	return section{io.NewSectionReader(t.File, p.offset, p.size)}, nil
}

// head returns the first n bytes of a member, or less if it has less.
func (t *tree) head(p place, n int64) ([]byte, error) {
	return io.ReadAll(io.NewSectionReader(t.File, p.offset, min(n, p.size)))
}
