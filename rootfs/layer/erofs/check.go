package erofs

import (
	"bytes"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"

	"berth/rootfs/layer/member"
)

// Check compares an image with the members that were added, which must be those of its tar, and tells report every
// difference: in a name, an inode, or where content is. What the tar holds is not looked at, its digest says whether
// that is right. The Builder is of no use afterwards.
func (b *Builder) Check(i *Image, report func(path, what string)) {
	defer b.release()
	l := &layout{Builder: b}
	l.settle()
	c := &checker{layout: l, image: i, report: report, numbers: map[ref]uint64{}}
	if i.super.inodes != l.inodes {
		report("", fmt.Sprintf("the image counts %d inodes, not %d", i.super.inodes, l.inodes))
	}
	n, err := i.Root()
	if err != nil {
		report("", err.Error())
		return
	}
	c.inode(root, n)
	for todo := []both{{root, n}}; len(todo) > 0; {
		d := todo[len(todo)-1]
		todo = append(todo[:len(todo)-1], c.directory(d)...)
	}
}

// both is a directory in the tree and in the image.
type both struct {
	want ref
	got  Node
}

type checker struct {
	*layout
	image   *Image
	report  func(path, what string)
	numbers map[ref]uint64 // of inodes with several names
}

// directory compares the names in a directory, and what they name; it returns the directories among them.
func (c *checker) directory(d both) (dirs []both) {
	next, stop := iter.Pull2(c.image.ReadDir(d.got))
	defer stop()
	got, err, more := next()
	for r, want := range c.tree.children(c.tree.at(d.want)) {
		p := join(d.got.Path, string(c.tree.name(want)))
		for ; more && err == nil && got.Path < p; got, err, more = next() {
			c.report(got.Path, "should not be there")
		}
		if err != nil {
			break
		}
		if !more || got.Path != p {
			c.report(p, "missing")
			continue
		}
		if c.inode(c.tree.inode(r), got) && want.kind == kindDir {
			dirs = append(dirs, both{r, got})
		}
		got, err, more = next()
	}
	for ; more && err == nil; got, err, more = next() {
		c.report(got.Path, "should not be there")
	}
	if err != nil {
		c.report(d.got.Path, err.Error())
	}
	return dirs
}

// inode compares one inode; false if the types differ already.
func (c *checker) inode(r ref, got Node) bool {
	n := c.tree.at(r)
	a := c.attrs.values[n.attr]
	if got.rawMode&modeType != typeOf(n.kind) {
		c.report(got.Path, "is of another type")
		return false
	}
	for _, d := range []struct {
		what      string
		want, got any
	}{
		{"mode", a.mode, uint16(got.Mode)},
		{"owner", [2]uint32{a.uid, a.gid}, [2]uint32{got.UID, got.GID}},
		{"time", [2]int64{n.mtime, int64(n.nsec)}, [2]int64{got.MTime.Unix(), int64(got.MTime.Nanosecond())}},
		{"number of links", n.nlink, got.Links},
		{"extended attributes", c.xattrsOf(a.xattrs), describe(got)},
	} {
		if d.want != d.got {
			c.report(got.Path, fmt.Sprintf("%s %v, not %v", d.what, d.got, d.want))
		}
	}
	if n.kind != kindDir && n.nlink > 1 {
		if first, ok := c.numbers[r]; ok && first != got.Number {
			c.report(got.Path, "is an inode of its own and should be a hard link")
		}
		c.numbers[r] = got.Number
	}
	c.data(n, got)
	return true
}

// xattrsOf and describe are extended attributes in one form to compare them.
func (c *checker) xattrsOf(set uint32) string {
	var n Node
	c.xattrs.each(set, func(e uint32) {
		x, _, _ := decodeXattr([]byte(c.xattrs.entries.values[e]))
		c.image.add(&n, x)
	})
	return describe(n)
}

func describe(n Node) string {
	var b strings.Builder
	b.WriteString(n.marks)
	slices.SortFunc(n.Xattrs, func(a, b member.Xattr) int { return strings.Compare(a.Name, b.Name) })
	for _, x := range n.Xattrs {
		fmt.Fprintf(&b, "%s=%q ", x.Name, x.Value)
	}
	return b.String()
}

// data compares what an inode holds.
func (c *checker) data(n *node, got Node) {
	switch n.kind {
	case kindSymlink:
		if want := string(c.text.get(n.data, int(n.size))); want != got.Target {
			c.report(got.Path, fmt.Sprintf("leads to %q, not %q", got.Target, want))
		}
	case kindChar, kindBlock:
		if got.union != n.data {
			c.report(got.Path, "is another device")
		}
	case kindFile:
		if got.Size != n.size {
			c.report(got.Path, fmt.Sprintf("has %d bytes, not %d", got.Size, n.size))
		} else if err := c.content(n, got); err != nil {
			c.report(got.Path, err.Error())
		}
	}
}

var errElsewhere = fmt.Errorf("%w: the content is not where the tar has it", errCorrupt)

func (c *checker) content(n *node, got Node) error {
	if n.size == 0 {
		return nil
	}
	if n.marks&mapped == 0 {
		return c.extent(got, 0, n.size, int64(n.data))
	}
	m := &c.maps[n.data]
	return m.each(func(number int64, block uint32, parts []member.Segment) error {
		from := number << m.shift()
		length := min(1<<m.shift(), m.size-from)
		if block != nullBlock {
			return c.extent(got, from, length, int64(block))
		}
		return c.copied(got, from, length, parts)
	})
}

// extent checks that length bytes of a file from the place at on are in the tar, from a block on.
func (c *checker) extent(got Node, at, length, block int64) error {
	e, err := c.image.extent(got, at)
	if err == nil && (e.place != inTar || e.offset != block*blockSize || e.length != length) {
		err = errElsewhere
	}
	return err
}

// copied compares bytes of a file with what parts say they are; with no parts they must be a hole.
func (c *checker) copied(got Node, at, length int64, parts []member.Segment) error {
	if len(parts) == 0 {
		e, err := c.image.extent(got, at)
		if err == nil && (e.place != inHole || e.length != length) {
			err = errElsewhere
		}
		return err
	}
	want := make([]byte, min(length, 1<<20))
	is := make([]byte, len(want))
	for ; length > 0; at, length = at+int64(len(want)), length-int64(len(want)) {
		want, is = want[:min(length, int64(len(want)))], is[:min(length, int64(len(want)))]
		clear(want)
		for _, s := range parts {
			lo, hi := max(s.At, at), min(s.At+s.Length, at+int64(len(want)))
			if lo < hi {
				if _, err := c.image.tar.ReadAt(want[lo-at:hi-at], s.Offset+lo-s.At); err != nil && err != io.EOF {
					return err
				}
			}
		}
		if err := c.image.readData(got, is, at); err != nil {
			return err
		}
		if !bytes.Equal(want, is) {
			return errElsewhere
		}
	}
	return nil
}
