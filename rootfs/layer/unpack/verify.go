package unpack

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"

	"berth/rootfs/layer/member"
)

// state is what a name of the layer has to be, for a comparison.
type state struct {
	member   *member.Member
	number   int64             // of the member in the stream
	sum      [sha256.Size]byte // of the data, holes left out
	segments []extent          // where that data is
	links    int               // names in the layer, as far as hard links were made
	names    []string          // where links > 1: those that are left, in the order of their comparison
	ino      uint64            // of the first of them
	what     string            // is wrong with it
}

type extent struct{ at, length int64 }

// verifier holds a directory to a stream.
type verifier struct {
	*unpacker
	hash    hash.Hash
	damaged []Damage
	linked  []*state // all with several names
}

// Verify compares the directory in, which Unpack made with the same Options, with the layer, which it reads to its end:
// kinds, metadata, attributes, content, hard links, whiteouts, and that there is nothing else. It returns every path that
// differs, sorted. What the caller may not read is not compared. It keeps some 300 bytes for each entry.
func Verify(in *os.File, r *member.Reader, o Options) ([]Damage, error) {
	v := &verifier{unpacker: newUnpacker(in, r, o), hash: sha256.New()}
	v.tree.makeDir = func(*dir) error { return nil }
	defer v.dirs.close()
	for {
		m, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		v.now, v.count = m, v.count+1
		if err := v.take(m); err != nil {
			return nil, v.fail(err)
		}
	}
	if err := v.compareDir(v.tree.root, v.dirs.root, false); err != nil {
		return nil, err
	}
	whiteouts := len(v.tree.root.hidden(false)) > 0
	v.reportDir(v.tree.root, whiteouts, v.compareInode(handle{fd: v.dirs.root}, v.tree.root, whiteouts))
	v.reportLinks()
	slices.SortFunc(v.damaged, func(a, b Damage) int { return cmp.Compare(a.Path, b.Path) })
	return slices.CompactFunc(v.damaged, func(a, b Damage) bool { return a.Path == b.Path }), nil
}

// take enters a member in the tree, with the sum of its content.
func (v *verifier) take(m *member.Member) error {
	if m.Kind == member.Whiteout || m.Kind == member.Opaque {
		return v.tree.mark(m)
	}
	if m.Path == "" {
		v.tree.root.meta, v.tree.root.number = m, v.count
		return nil
	}
	parent, name, err := v.tree.locate(m.Path)
	if err != nil {
		return err
	}
	switch old := parent.child(name); {
	case m.Kind == member.Link:
		return v.takeLink(m, parent, name)
	case m.Kind == member.Dir && old != nil:
		old.meta, old.number = m, v.count
		return nil
	}
	v.tree.remove(parent, name)
	if m.Kind == member.Dir {
		d, err := v.tree.newDir(parent, name)
		if err == nil {
			d.meta, d.number = m, v.count
		}
		return err
	}
	s := &state{member: m, number: v.count, links: 1}
	v.tree.place(parent, name, &node{kind: m.Kind, target: m.Target, state: s})
	if m.Kind == member.File {
		return v.sumUp(s)
	}
	return nil
}

func (v *verifier) takeLink(m *member.Member, parent *dir, name string) error {
	from, target, n, err := v.tree.linked(m.Target)
	if err != nil {
		return linkFault(m, err)
	}
	if from == parent && target == name {
		return nil
	}
	v.tree.remove(parent, name)
	v.tree.place(parent, name, n)
	if n.state.links++; n.state.links == 2 {
		v.linked = append(v.linked, n.state)
	}
	return nil
}

// sumUp reads the content of the present member.
func (v *verifier) sumUp(s *state) error {
	v.hash.Reset()
	for pos := int64(0); pos < s.member.Size; {
		pos += v.in.SkipHole()
		n, err := v.fill()
		if err != nil {
			return streamError{err}
		}
		if n == 0 {
			break
		}
		v.hash.Write(v.buf[:n])
		if last := len(s.segments) - 1; last >= 0 && s.segments[last].at+s.segments[last].length == pos {
			s.segments[last].length += int64(n)
		} else {
			s.segments = append(s.segments, extent{pos, int64(n)})
		}
		pos += int64(n)
	}
	v.hash.Sum(s.sum[:0])
	return nil
}

func (v *verifier) report(path, what string, d Damage) {
	if what != "" {
		d.Path, d.What = path, what
		v.damaged = append(v.damaged, d)
	}
}

func (v *verifier) reportDir(d *dir, whiteouts bool, what string) {
	v.report(d.path(""), what, Damage{should: beDir, member: d.number, marks: v.marks(d, whiteouts)})
}

func (v *verifier) reportEntry(s *state, path, what string) {
	v.report(path, what, Damage{should: beOther, member: s.number})
}

// compareDir compares what is in d, which is open as fd.
func (v *verifier) compareDir(d *dir, fd int, covered bool) error {
	covered = d.startsEmpty(covered)
	hidden := d.hidden(covered)
	names, err := namesIn(fd)
	if err != nil {
		return os.NewSyscallError("read the directory "+d.path(""), err)
	}
	for _, name := range names {
		if _, isHidden := slices.BinarySearch(hidden, name); d.entries[name] == nil && !isHidden {
			v.report(d.path(name), "is not in the layer", Damage{should: beAbsent})
		}
	}
	for _, name := range hidden {
		v.report(d.path(name), v.compareWhiteout(handle{fd, name}), Damage{should: beWhiteout})
	}
	for name, n := range d.entries {
		if n.kind == member.Dir {
			if err := v.compareBelow(fd, n.dir, covered); err != nil {
				return err
			}
			continue
		}
		ino, what := v.compare(handle{fd, name}, n.state)
		v.reportEntry(n.state, d.path(name), what)
		v.found(n.state, d.path(name), ino, what)
	}
	return nil
}

// compareBelow compares a directory in the one that is open as parent.
func (v *verifier) compareBelow(parent int, d *dir, covered bool) error {
	fd, err := openDirAt(parent, d.name)
	switch {
	case err == unix.EACCES:
	case err == unix.ENOENT:
		v.reportAll(d, covered, "is missing")
		return nil
	case err == unix.ENOTDIR || err == unix.ELOOP:
		v.reportAll(d, covered, "is not a directory")
		return nil
	case err != nil:
		return os.NewSyscallError("open "+d.path(""), err)
	default:
		defer unix.Close(fd)
		if err := v.compareDir(d, fd, covered); err != nil {
			return err
		}
	}
	whiteouts := len(d.hidden(d.startsEmpty(covered))) > 0
	v.reportDir(d, whiteouts, v.compareInode(handle{parent, d.name}, d, whiteouts))
	return nil
}

// reportAll reports a directory and, since nothing of it is there, all below it.
func (v *verifier) reportAll(d *dir, covered bool, what string) {
	covered = d.startsEmpty(covered)
	hidden := d.hidden(covered)
	v.reportDir(d, len(hidden) > 0, what)
	for _, name := range hidden {
		v.report(d.path(name), "is missing", Damage{should: beWhiteout})
	}
	for name, n := range d.entries {
		if n.kind == member.Dir {
			v.reportAll(n.dir, covered, "is missing")
			continue
		}
		v.reportEntry(n.state, d.path(name), "is missing")
		v.found(n.state, d.path(name), 0, "is missing")
	}
}

func (v *verifier) found(s *state, path string, ino uint64, what string) {
	if s.links == 1 {
		return
	}
	if s.names = append(s.names, path); len(s.names) == 1 {
		s.ino = ino
	}
	if s.what == "" && ino != s.ino {
		what = cmp.Or(what, "is not the same file as "+s.names[0])
	}
	s.what = cmp.Or(s.what, what)
}

// reportLinks reports all names of a file of which one is damaged: only together they can be made again.
func (v *verifier) reportLinks() {
	for _, s := range v.linked {
		for _, name := range s.names {
			v.reportEntry(s, name, s.what)
		}
	}
}

func namesIn(fd int) ([]string, error) {
	again, err := openDirAt(fd, ".") // its own offset
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(again), "")
	defer f.Close()
	names, err := f.Readdirnames(-1)
	var call *os.SyscallError
	if errors.As(err, &call) {
		err = call.Err
	}
	return names, err
}
