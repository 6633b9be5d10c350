package erofs

import (
	"bytes"
	"hash/maphash"
	"math"
	"slices"
)

// ref is the place of a node in the tree; 0 is none, root the root.
type ref uint32

const root ref = 1

// kind is what a node is; absent nodes are there for a mark only.
type kind uint8

const (
	kindAbsent kind = iota
	kindFile
	kindDir
	kindSymlink
	kindChar
	kindBlock
	kindFifo
	kindLink // another name of the node data
)

// Marks of a node.
const (
	hidden   = 1 << iota // a whiteout names it: what the layers below have there is not to be seen
	opaque               // what the layers below have in the directory is not to be seen
	madeUp               // a directory that no member lists
	linked               // an inode with other names
	nameless             // removed from the tree; kept for its other names
	mapped               // a file whose content is not one extent: data is a place in Builder.maps
	placed               // its inode has a place
	covered              // nothing shows through this directory: one above it, or its parent, is hidden or opaque
)

// node is a name of the tree with its inode. It has no pointers; a million of them take 56 MB, and their names what they
// are long.
type node struct {
	mtime   int64
	size    int64 // bytes of a file, a target, or a directory's entries
	name    uint32
	parent  ref
	next    ref    // the next child of the parent
	chain   ref    // building: the next in the same bucket; laid out: the first block of what the inode has outside of it
	data    uint32 // file: block of the tar; symlink: place of the target; device: its number; dir: first child; link: the node
	nsec    uint32
	attr    uint32
	nlink   uint32
	slot    uint32 // of its inode, the nid
	nameLen uint8
	kind    kind
	marks   uint8
}

// nodeTree is names below a root, found by a hash of parent and name.
type nodeTree struct {
	arena   *arena
	chunks  [][]node
	count   uint32
	names   text
	buckets []ref
	seed    maphash.Seed
}

func newTree(a *arena) *nodeTree {
	t := &nodeTree{arena: a, names: text{arena: a}, seed: maphash.MakeSeed(), buckets: make([]ref, 1<<10), count: 1}
	r := t.add(root, nil)
	n := t.at(r)
	n.kind, n.marks, n.parent, n.next = kindDir, madeUp, root, 0
	return t
}

func (t *nodeTree) at(r ref) *node { return &t.chunks[r/ref(nodesInPiece)][r%ref(nodesInPiece)] }

func (t *nodeTree) name(n *node) []byte { return t.names.get(n.name, int(n.nameLen)) }

// child returns the node called name below parent, 0 if there is none.
func (t *nodeTree) child(parent ref, name []byte) ref {
	for r := t.buckets[t.bucket(parent, name)]; r != 0; r = t.at(r).chain {
		if n := t.at(r); n.parent == parent && bytes.Equal(t.name(n), name) {
			return r
		}
	}
	return 0
}

// add makes an absent child of parent. For the root, which is its own parent, it makes the root.
func (t *nodeTree) add(parent ref, name []byte) ref {
	if int(t.count) == len(t.chunks)*nodesInPiece || t.chunks == nil {
		t.chunks = append(t.chunks, t.arena.nodes())
	}
	r := ref(t.count)
	t.count++
	n := t.at(r)
	n.parent, n.name, n.nameLen = parent, t.names.put(name), uint8(len(name))
	if r != root {
		t.hang(r)
	}
	return r
}

// full says whether there may be no room for another member with all of its parents.
func (t *nodeTree) full() bool {
	return t.count > math.MaxUint32-(maxLinks+1)*maxDepth || t.names.full()
}

// hang makes a node a child of its parent that is found by its name.
func (t *nodeTree) hang(r ref) {
	if int(t.count) > len(t.buckets) {
		t.grow()
	}
	n := t.at(r)
	b := t.bucket(n.parent, t.name(n))
	n.chain, t.buckets[b] = t.buckets[b], r
	p := t.at(n.parent)
	n.next, p.data = ref(p.data), uint32(r)
}

func (t *nodeTree) grow() {
	old := t.buckets
	t.buckets = make([]ref, 2*len(old))
	for _, r := range old {
		for r != 0 {
			n := t.at(r)
			following := n.chain
			b := t.bucket(n.parent, t.name(n))
			n.chain, t.buckets[b] = t.buckets[b], r
			r = following
		}
	}
}

func (t *nodeTree) bucket(parent ref, name []byte) int {
	h := maphash.Bytes(t.seed, name) ^ uint64(parent)*0x9E3779B97F4A7C15
	h ^= h >> 32
	return int(h & uint64(len(t.buckets)-1))
}

// unhash makes a node not be found any more. It stays in its parent's list, marked.
func (t *nodeTree) unhash(r ref) {
	n := t.at(r)
	at := &t.buckets[t.bucket(n.parent, t.name(n))]
	for *at != r {
		at = &t.at(*at).chain
	}
	*at = n.chain
	n.marks |= nameless
}

// clear removes all that is below a directory.
func (t *nodeTree) clear(d ref) {
	for todo := []ref{d}; len(todo) > 0; {
		n := t.at(todo[len(todo)-1])
		todo = todo[:len(todo)-1]
		for r := range t.children(n) {
			t.unhash(r)
			if t.at(r).kind == kindDir {
				todo = append(todo, r)
			}
		}
		n.data = 0
	}
}

// children are those of a directory that have not been removed.
func (t *nodeTree) children(d *node) func(yield func(ref, *node) bool) {
	return func(yield func(ref, *node) bool) {
		for r := ref(d.data); r != 0; {
			n := t.at(r)
			following := n.next
			if n.marks&nameless == 0 && !yield(r, n) {
				return
			}
			r = following
		}
	}
}

// sort puts the children of d in the order of their names, as bytes, and drops those that have been removed.
func (t *nodeTree) sort(d *node, scratch []ref) []ref {
	scratch = scratch[:0]
	for r := range t.children(d) {
		scratch = append(scratch, r)
	}
	slices.SortFunc(scratch, func(a, b ref) int { return bytes.Compare(t.name(t.at(a)), t.name(t.at(b))) })
	following := ref(0)
	for _, r := range slices.Backward(scratch) {
		t.at(r).next, following = following, r
	}
	d.data = uint32(following)
	return scratch
}

// path is where a node is, for people; the root is "".
func (t *nodeTree) path(r ref) string {
	var parts [][]byte
	for ; r != root; r = t.at(r).parent {
		parts = append(parts, t.name(t.at(r)))
	}
	slices.Reverse(parts)
	return string(bytes.Join(parts, []byte{'/'}))
}

// inode returns the node that has the inode of r: r itself but for a link.
func (t *nodeTree) inode(r ref) ref {
	if n := t.at(r); n.kind == kindLink {
		return ref(n.data)
	}
	return r
}
