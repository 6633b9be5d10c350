package erofs

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"testing"

	"berth/rootfs/layer/member"
	"berth/tests/layers/stack"
	"berth/tests/layers/tree"
)

// built is a layer with its image.
type built struct {
	tar, image []byte
	result     Result
}

// build makes the image of an uncompressed tar.
func build(raw []byte, o Options) (*built, error) {
	b, err := builderOf(raw, o)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(raw)
	var image bytes.Buffer
	result, err := b.Write(&image, Tar{bytes.NewReader(raw), int64(len(raw)), "sha256:" + hex.EncodeToString(sum[:])})
	return &built{raw, image.Bytes(), result}, err
}

func builderOf(raw []byte, o Options) (*Builder, error) {
	return Build(member.NewReader(bytes.NewReader(raw), member.Options{Offsets: true}), o)
}

// tars are the layers of a declaration, the bottom one first.
func tars(t testing.TB, declaration string) [][]byte {
	t.Helper()
	s, err := stack.Parse(declaration)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := s.Tars()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// layerOf is the image of a declaration of one layer.
func layerOf(t testing.TB, declaration string, o Options) *built {
	t.Helper()
	l, err := build(tars(t, "layer\n"+declaration)[0], o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (l *built) open(t testing.TB, o Options) *Image {
	t.Helper()
	i, err := Open(bytes.NewReader(l.image), bytes.NewReader(l.tar), o)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// listing is what our own reader says of an image: the tree, and apart from it what hides names of layers below.
type listing struct {
	entries   []tree.Entry
	numbers   map[tree.Name]uint64 // of inodes
	whiteouts []string
	opaque    []string
}

var types = map[member.Kind]tree.Type{
	member.File: tree.File, member.Dir: tree.Dir, member.Symlink: tree.Symlink, member.Char: tree.Char,
	member.Block: tree.Block, member.Fifo: tree.Fifo,
}

func list(i *Image) (*listing, error) {
	l := &listing{numbers: map[tree.Name]uint64{}}
	links := map[uint64]uint32{}
	for n, err := range i.Walk() {
		if err != nil {
			return nil, err
		}
		if n.Kind == member.Whiteout {
			l.whiteouts = append(l.whiteouts, n.Path)
			continue
		}
		if n.Opaque {
			l.opaque = append(l.opaque, n.Path)
		}
		e, err := entryOf(i, n)
		if err != nil {
			return nil, err
		}
		if n.Kind != member.Dir {
			if links[n.Number]++; links[n.Number] > n.Links {
				return nil, errors.New(n.Path + ": more names than its number of links")
			}
		}
		l.numbers[e.Path] = n.Number
		l.entries = append(l.entries, e)
	}
	tree.Sort(l.entries)
	l.link()
	slices.Sort(l.whiteouts)
	slices.Sort(l.opaque)
	return l, nil
}

func entryOf(i *Image, n Node) (tree.Entry, error) {
	e := tree.Entry{
		Path: tree.Name(n.Path), Type: types[n.Kind], Mode: tree.Mode(n.Mode), UID: n.UID, GID: n.GID,
		Target: tree.Name(n.Target), Major: n.Major, Minor: n.Minor,
		MTime: tree.Time{Sec: n.MTime.Unix(), Nsec: int64(n.MTime.Nanosecond())},
	}
	if n.Path == "" {
		e.Path = "."
	}
	for _, x := range n.Xattrs {
		if e.Xattrs == nil {
			e.Xattrs = map[string]tree.Name{}
		}
		e.Xattrs[x.Name] = tree.Name(x.Value)
	}
	if n.Kind == member.File {
		sum := sha256.New()
		if _, err := io.Copy(sum, i.Content(n)); err != nil {
			return e, err
		}
		e.Size, e.SHA256 = n.Size, hex.EncodeToString(sum.Sum(nil))
	}
	return e, nil
}

// link marks names of one inode, as tree.Read does.
func (l *listing) link() {
	first := map[uint64]int{}
	for k := range l.entries {
		e := &l.entries[k]
		if e.Type == tree.Dir {
			continue
		}
		e.Link = ""
		if f, again := first[l.numbers[e.Path]]; again {
			l.entries[f].Link, e.Link = l.entries[f].Path, l.entries[f].Path
		} else {
			first[l.numbers[e.Path]] = k
		}
	}
}

func sameTree(t testing.TB, want, got []tree.Entry, o tree.Options) {
	t.Helper()
	lines := tree.Diff(want, got, o)
	for _, line := range lines[:min(len(lines), 20)] {
		t.Error(line)
	}
}
