package erofs

import (
	"errors"
	"fmt"
	"slices"
)

// maxParents is how long the names of made-up directories may be together. A small stream can ask for very many.
const maxParents = 64 << 20

// layout gives everything its place. Sizes are known before anything is written, so the image is written once, from
// front to back; the writer visits in the same order.
type layout struct {
	*Builder
	pos     int64 // where the next thing goes
	inodes  uint64
	entries uint64 // names, whiteouts among them
	shared  int64  // where the shared attributes begin
	copies  int64  // where what is copied begins
	parents []string
	names   int // how long they are together
	scratch []ref
}

// place returns the image's layout.
func (b *Builder) place() (*layout, error) {
	l := &layout{Builder: b, pos: metaStart}
	if l.settle(); l.names > maxParents {
		return nil, errors.New("too many directories that no member lists")
	}
	b.xattrs.share()
	l.placeInode(root)
	for d := range l.directories() {
		l.placeEntries(d)
		for r := range b.tree.children(b.tree.at(d)) {
			if r := b.tree.inode(r); b.tree.at(r).marks&placed == 0 {
				l.placeInode(r)
			}
		}
		if l.pos > maxBlocks*blockSize || l.pos>>5 > 1<<32-1 {
			return nil, fmt.Errorf("too many members for an EROFS image%s", elsewhere)
		}
	}
	l.pos = roundUp(l.pos, blockSize)
	l.shared = l.pos
	l.pos = roundUp(l.pos+b.xattrs.size, blockSize)
	l.copies = l.pos
	for i := range b.maps {
		c := &b.maps[i]
		if !c.live {
			continue
		}
		c.first = uint32(l.pos / blockSize)
		l.pos += c.copied << c.shift()
	}
	l.pos = roundUp(l.pos, pageSize)
	if l.pos > maxBlocks*blockSize {
		return nil, fmt.Errorf("an EROFS image of 2 TiB%s", elsewhere)
	}
	return l, nil
}

// settle sorts the tree, turns marks into what overlayfs reads, and counts links and uses of attributes.
func (l *layout) settle() {
	b := l.Builder
	whiteout := b.attrs.number(attr{})
	for d := range l.directories() {
		n := b.tree.at(d)
		below := l.overlay(d, n)
		l.scratch = b.tree.sort(n, l.scratch)
		n.nlink += 2
		l.inodes++
		b.xattrs.use(b.attrs.values[n.attr].xattrs)
		for _, c := range b.tree.children(n) {
			l.entries++
			switch c.kind {
			case kindDir:
				n.nlink++
				c.marks |= below
				continue
			case kindAbsent: // a whiteout
				c.kind, c.attr = kindChar, whiteout
			case kindLink:
				c = b.tree.at(ref(c.data))
			}
			if c.nlink++; c.nlink == 1 {
				l.inodes++
				b.xattrs.use(b.attrs.values[c.attr].xattrs)
				if c.marks&mapped != 0 {
					b.maps[c.data].live = true
				}
			}
		}
	}
}

// overlay makes of a directory's marks what overlayfs reads, and returns the marks of the directories in it. Where no
// layer below shows through, whiteouts have nothing to hide and are dropped.
func (l *layout) overlay(d ref, n *node) (below uint8) {
	t := l.tree
	if n.marks&madeUp != 0 && n.marks&(hidden|covered) == 0 && l.names <= maxParents {
		l.parents = append(l.parents, t.path(d))
		l.names += len(l.parents[len(l.parents)-1])
	}
	if n.marks&(opaque|hidden|covered) != 0 {
		below = covered
	}
	whiteouts := false
	for _, c := range t.children(n) {
		if c.kind == kindAbsent && below != 0 {
			c.marks |= nameless
		} else if c.kind == kindAbsent {
			whiteouts = true
		}
	}
	if n.marks&(opaque|hidden) != 0 {
		l.mark(n, markOpaque, "y")
	}
	if whiteouts {
		// Else overlayfs reads a directory that it need not merge as it is, and lists names that cannot be opened
		// (ovl_get_inode: "non-merge dir that may have whiteouts").
		l.mark(n, markOrigin, "")
	}
	return below
}

func (l *layout) mark(n *node, name, value string) {
	a := l.attrs.values[n.attr]
	a.xattrs = l.xattrs.mark(a.xattrs, name, value)
	n.attr = l.attrs.number(a)
}

// directories are all of them, each before those in it, in the order of their names.
func (b *Builder) directories() func(yield func(ref) bool) {
	return func(yield func(ref) bool) {
		var later []ref
		for todo := []ref{root}; len(todo) > 0; {
			d := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			if !yield(d) {
				return
			}
			later = later[:0]
			for r, n := range b.tree.children(b.tree.at(d)) {
				if n.kind == kindDir {
					later = append(later, r)
				}
			}
			slices.Reverse(later)
			todo = append(todo, later...)
		}
	}
}

// placeInode places an inode and what stands behind it: attributes and either inline data or the indexes of chunks. What
// does not go inline goes into blocks of its own: a symbolic link's at once, a directory's when its turn comes.
func (l *layout) placeInode(r ref) {
	n := l.tree.at(r)
	n.marks |= placed
	head := inodeSize + l.xattrs.bodySize(l.attrs.values[n.attr].xattrs)
	if n.kind == kindDir {
		n.size = l.dirSize(r)
	}
	at := roundUp(l.pos, inodeAlign)
	inline := l.inlineBytes(n, head)
	if inline > 0 && (at+head)%blockSize+inline > blockSize {
		at = roundUp(at, blockSize)
	}
	n.slot = uint32(at / inodeAlign)
	l.pos = at + head + inline
	switch n.kind {
	case kindFile:
		if count := l.chunkCount(n); count > 0 {
			l.pos = roundUp(at+head, indexSize) + count*indexSize
		}
	case kindSymlink:
		n.chain = 0
		if inline == 0 {
			l.pos = roundUp(l.pos, blockSize)
			n.chain = ref(l.pos / blockSize)
			l.pos += roundUp(n.size, blockSize)
		}
	}
}

// inlineBytes is how much of the data stands behind an inode whose own size with attributes is head: the last block's
// part of a directory or a symbolic link, if it can be in one block with the end of head.
func (l *layout) inlineBytes(n *node, head int64) int64 {
	if n.kind != kindDir && n.kind != kindSymlink {
		return 0
	}
	tail := n.size % blockSize
	if n.kind == kindSymlink && n.size >= blockSize || head%blockSize+tail > blockSize {
		return 0
	}
	return tail
}

// placeEntries places what of a directory's entries does not stand behind its inode.
func (l *layout) placeEntries(d ref) {
	n := l.tree.at(d)
	blocks := n.size - l.inlineBytes(n, inodeSize+l.xattrs.bodySize(l.attrs.values[n.attr].xattrs))
	if blocks == 0 {
		n.chain = 0
		return
	}
	l.pos = roundUp(l.pos, blockSize)
	n.chain = ref(l.pos / blockSize)
	l.pos += roundUp(blocks, blockSize)
}

func (l *layout) chunkCount(n *node) int64 {
	switch {
	case n.kind != kindFile || n.size == 0:
		return 0
	case n.marks&mapped != 0:
		return l.maps[n.data].count()
	}
	return 1
}

// entry is one of a directory.
type entry struct {
	name []byte
	node ref // the inode
}

// entriesIn are those of a directory in the order of their names, "." and ".." in their places.
func (b *Builder) entriesIn(d ref) func(yield func(entry) bool) {
	n := b.tree.at(d)
	return func(yield func(entry) bool) {
		dots := []entry{{[]byte("."), d}, {[]byte(".."), n.parent}}
		for r, c := range b.tree.children(n) {
			name := b.tree.name(c)
			for len(dots) > 0 && string(dots[0].name) < string(name) {
				if !yield(dots[0]) {
					return
				}
				dots = dots[1:]
			}
			if !yield(entry{name, b.tree.inode(r)}) {
				return
			}
		}
		for _, e := range dots {
			if !yield(e) {
				return
			}
		}
	}
}

// dirBlocks calls do for every block of a directory's entries.
func (b *Builder) dirBlocks(d ref, do func(entries []entry, size int) error) error {
	var entries []entry
	size := 0
	for e := range b.entriesIn(d) {
		if size+direntSize+len(e.name) > blockSize {
			if err := do(entries, size); err != nil {
				return err
			}
			entries, size = entries[:0], 0
		}
		entries, size = append(entries, e), size+direntSize+len(e.name)
	}
	return do(entries, size)
}

// dirSize is how long the entries of a directory are: all blocks are full but the last.
func (b *Builder) dirSize(d ref) int64 {
	blocks, last := int64(-1), 0
	_ = b.dirBlocks(d, func(_ []entry, size int) error {
		blocks, last = blocks+1, size
		return nil
	})
	return blocks*blockSize + int64(last)
}
