package erofs

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"slices"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/member"
)

// Tar is what the members came from: the whole uncompressed layer.
type Tar struct {
	io.ReaderAt        // read for what of sparse files must be copied; may be nil if there is none
	Size        int64  // in bytes, without the padding that Pad adds
	DiffID      string // "sha256:HEX"; stands in the image's device slot, and the image's UUID comes from it
}

// Result is what Write tells of an image.
type Result struct {
	Size    int64  // of the image, in bytes
	Copied  int64  // how many of them are content of sparse files
	Inodes  uint64 // a file with several names counts once
	Entries uint64 // names, whiteouts included, without the root
	Content int64  // bytes of the files that were added, holes included
	// Parents are directories that the layer never lists, "" for the root, and that may show through from below: their
	// metadata is that of the topmost layer below that has a directory there. Made-up directories below which nothing
	// shows are not among them. Sorted; links followed.
	Parents []string
	// Opaque says that nothing shows through from the layers below: a mount must leave them out, since overlayfs does
	// not look for the mark of an opaque directory on the root of a layer.
	Opaque bool
}

// Write writes the image of the members that have been added. w gets it from front to back; closing and syncing it is
// the caller's. The Builder is of no use afterwards.
func (b *Builder) Write(w io.Writer, tar Tar) (Result, error) {
	defer b.release()
	if tar.Size > maxBlocks*blockSize {
		return Result{}, &fault.Error{Op: "layer", Path: tar.DiffID, Err: errTooFar, Phase: fault.PhasePlan}
	}
	if b.tarEnd > tar.Size {
		return Result{}, &fault.Error{Op: "layer", Path: tar.DiffID, Phase: fault.PhasePlan,
			Msg: fmt.Sprintf("the members' content ends at %d and the tar at %d", b.tarEnd, tar.Size)}
	}
	l, err := b.place()
	if err != nil {
		return Result{}, &fault.Error{Op: "layer", Path: tar.DiffID, Err: err, Phase: fault.PhasePlan}
	}
	if l.copied() > 0 && tar.ReaderAt == nil {
		return Result{}, &fault.Error{Op: "layer", Path: tar.DiffID, Msg: "sparse files need the tar", Phase: fault.PhasePlan}
	}
	out := &writer{layout: l, out: bufio.NewWriterSize(w, 1<<16), tar: tar}
	if err := out.image(); err != nil {
		return Result{}, fault.From(err, "write", "the image of "+tar.DiffID)
	}
	slices.Sort(l.parents)
	return Result{
		Size: l.pos, Copied: l.copied(), Inodes: l.inodes, Entries: l.entries, Content: b.total, Parents: l.parents,
		Opaque: b.tree.at(root).marks&opaque != 0,
	}, nil
}

func (l *layout) copied() (bytes int64) {
	for i := range l.maps {
		if l.maps[i].live {
			bytes += l.maps[i].copied << l.maps[i].shift()
		}
	}
	return bytes
}

// writer writes what a layout has placed.
type writer struct {
	*layout
	out *bufio.Writer
	at  int64
	tar Tar
	buf []byte
}

func (w *writer) image() error {
	s := super{
		root: uint64(w.tree.at(root).slot), inodes: w.inodes, blocks: uint32(w.pos / blockSize),
		xattrBlock: uint32(w.shared / blockSize), tarBlocks: uint32(min(roundUp(w.tar.Size, pageSize)/blockSize, maxBlocks)),
	}
	s.uuid, s.tag = identity(w.tar.DiffID)
	steps := []func() error{
		func() error { return w.put(superOffset, s.block()) },
		func() error { return w.writeInode(root) },
		w.writeTree,
		w.writeShared,
		w.writeCopies,
		func() error { return w.pad(w.pos) },
		w.out.Flush,
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// identity makes of a layer's digest the tag of the device slot, which is its hexadecimal form, and a UUID (RFC 9562,
// version 8). overlayfs keeps file handles of layers by UUID, so each layer needs its own.
func identity(diffID string) (uuid [16]byte, tag [64]byte) {
	hash := sha256.Sum256([]byte(diffID))
	copy(uuid[:], hash[:])
	uuid[6], uuid[8] = uuid[6]&0x0f|0x80, uuid[8]&0x3f|0x80
	if len(diffID) == len("sha256:")+len(tag) {
		copy(tag[:], diffID[len("sha256:"):])
	} else {
		hex.Encode(tag[:], hash[:])
	}
	return uuid, tag
}

// pad writes zeros up to a place.
func (w *writer) pad(to int64) error {
	if to < w.at {
		return fmt.Errorf("the layout overlaps at %d", to) // a mistake of the program, better told than written
	}
	_, err := io.CopyN(w.out, zeros{}, to-w.at)
	w.at = to
	return err
}

func (w *writer) put(at int64, p []byte) error {
	if err := w.pad(at); err != nil {
		return err
	}
	n, err := w.out.Write(p)
	w.at += int64(n)
	return err
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func (w *writer) writeTree() error {
	for d := range w.directories() {
		if err := w.writeEntries(d); err != nil {
			return err
		}
		for r := range w.tree.children(w.tree.at(d)) {
			r = w.tree.inode(r)
			n := w.tree.at(r)
			if n.marks&placed == 0 {
				continue
			}
			n.marks &^= placed // written; it may come again under another name
			if err := w.writeInode(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeInode writes an inode and what stands behind it.
func (w *writer) writeInode(r ref) error {
	n := w.tree.at(r)
	a := w.attrs.values[n.attr]
	body := w.xattrs.body(a.xattrs)
	head := int64(inodeSize + len(body))
	inline := w.inlineBytes(n, head)
	i := inode{
		xattrCount: xattrCount(int64(len(body))), mode: typeOf(n.kind) | a.mode, size: uint64(n.size), number: n.slot,
		uid: a.uid, gid: a.gid, mtime: n.mtime, nsec: n.nsec, nlink: n.nlink,
	}
	switch n.kind {
	case kindFile:
		i.layout, i.union = w.fileLayout(n)
	case kindDir, kindSymlink:
		if i.union = uint32(n.chain); inline > 0 {
			i.layout = layoutInline
		}
	case kindChar, kindBlock:
		i.union = n.data
	}
	w.buf = append(w.buf[:0], make([]byte, inodeSize)...)
	i.put(w.buf)
	if err := w.put(int64(n.slot)*inodeAlign, append(w.buf, body...)); err != nil {
		return err
	}
	switch n.kind {
	case kindFile:
		return w.writeIndexes(n)
	case kindSymlink:
		if inline == 0 {
			if err := w.pad(int64(n.chain) * blockSize); err != nil {
				return err
			}
		}
		return w.put(w.at, w.text.get(n.data, int(n.size)))
	case kindDir:
		return w.writeLastEntries(r, inline)
	}
	return nil
}

func typeOf(k kind) uint16 {
	return [...]uint16{
		kindFile: modeFile, kindDir: modeDir, kindSymlink: modeSymlink, kindChar: modeChar, kindBlock: modeBlock,
		kindFifo: modeFifo,
	}[k]
}

func entryType(k kind) byte {
	return [...]byte{
		kindFile: typeFile, kindDir: typeDir, kindSymlink: typeSymlink, kindChar: typeChar, kindBlock: typeBlock,
		kindFifo: typeFifo,
	}[k]
}

func (w *writer) fileLayout(n *node) (layout uint16, union uint32) {
	switch {
	case n.size == 0:
		return layoutPlain, nullBlock
	case n.marks&mapped != 0:
		return layoutChunks, chunkIndexes | uint32(w.maps[n.data].bits)
	}
	return layoutChunks, chunkIndexes | uint32(chunkBits(n.size))
}

// writeIndexes writes where the chunks of a file are: a device and a block each.
func (w *writer) writeIndexes(n *node) error {
	if n.size == 0 {
		return nil
	}
	if err := w.pad(roundUp(w.at, indexSize)); err != nil {
		return err
	}
	if n.marks&mapped == 0 {
		return w.index(1, n.data)
	}
	c := &w.maps[n.data]
	next := c.first
	return c.each(func(_ int64, block uint32, parts []member.Segment) error {
		switch {
		case block != nullBlock:
			return w.index(1, block)
		case len(parts) == 0:
			return w.index(0, nullBlock)
		}
		at := next
		next += 1 << c.bits
		return w.index(0, at)
	})
}

func (w *writer) index(device uint16, block uint32) error {
	var b [indexSize]byte
	le.PutUint16(b[2:], device)
	le.PutUint32(b[4:], block)
	return w.put(w.at, b[:])
}

// writeEntries writes the entries of a directory that do not stand behind its inode.
func (w *writer) writeEntries(d ref) error {
	n := w.tree.at(d)
	if n.chain == 0 {
		return nil
	}
	at := int64(n.chain) * blockSize
	inline := w.inlineBytes(n, inodeSize+w.xattrs.bodySize(w.attrs.values[n.attr].xattrs))
	left := n.size - inline
	return w.dirBlocks(d, func(entries []entry, size int) error {
		if left <= 0 {
			return nil
		}
		err := w.put(at, w.dirBlock(entries, size))
		at, left = at+blockSize, left-blockSize
		return err
	})
}

// writeLastEntries writes those that do stand behind it.
func (w *writer) writeLastEntries(d ref, inline int64) error {
	if inline == 0 {
		return nil
	}
	left := w.tree.at(d).size
	return w.dirBlocks(d, func(entries []entry, size int) error {
		if left -= blockSize; left > 0 {
			return nil
		}
		return w.put(w.at, w.dirBlock(entries, size))
	})
}

// dirBlock is a block of entries: first all entries, then all names.
func (w *writer) dirBlock(entries []entry, size int) []byte {
	b := append(w.buf[:0], make([]byte, size)...)
	name := direntSize * len(entries)
	for i, e := range entries {
		n := w.tree.at(e.node)
		d := b[direntSize*i:]
		le.PutUint64(d, uint64(n.slot))
		le.PutUint16(d[8:], uint16(name))
		d[10] = entryType(n.kind)
		name += copy(b[name:], e.name)
	}
	w.buf = b
	return b
}

func (w *writer) writeShared() error {
	if err := w.pad(w.shared); err != nil {
		return err
	}
	for e, place := range w.xattrs.shared {
		if place != 0 {
			if err := w.put(w.at, []byte(w.xattrs.entries.values[e])); err != nil {
				return err
			}
		}
	}
	return nil
}

// writeCopies writes the chunks of sparse files that cannot be read from the tar.
func (w *writer) writeCopies() error {
	if err := w.pad(w.copies); err != nil {
		return err
	}
	for i := range w.maps {
		c := &w.maps[i]
		if !c.live {
			continue
		}
		err := c.each(func(number int64, block uint32, parts []member.Segment) error {
			if block != nullBlock || len(parts) == 0 {
				return nil
			}
			return w.copyChunk(number<<c.shift(), 1<<c.shift(), parts)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// copyChunk writes length bytes of a file from the place from on.
func (w *writer) copyChunk(from, length int64, parts []member.Segment) error {
	start := w.at
	for _, s := range parts {
		lo, hi := max(s.At, from), min(s.At+s.Length, from+length)
		if err := w.pad(start + lo - from); err != nil {
			return err
		}
		n, err := io.Copy(w.out, io.NewSectionReader(w.tar, s.Offset+lo-s.At, hi-lo))
		w.at += n
		if err == nil && n < hi-lo {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
	return w.pad(start + length)
}
