// Package fuzz makes random stacks of layers, and makes those that fail small.
package fuzz

import (
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"

	"berth/tests/layers/flatten"
	"berth/tests/layers/stack"
)

// Generate returns a stack of one to five layers. Names are few, so that members often meet: most stacks have entries that
// replace each other, parents that nobody lists or that are symlinks, whiteouts of what is in the same layer. Most are
// valid, some have a member that must be refused.
func Generate(r *rand.Rand) stack.Stack {
	var s stack.Stack
	for range 1 + r.IntN(5) {
		if len(s) > 0 && r.IntN(16) == 0 {
			s = append(s, s[r.IntN(len(s))]) // a layer once more
			continue
		}
		g := generator{r: r, kinds: map[string]string{}}
		for range r.IntN(16) {
			g.member()
		}
		if r.IntN(30) > 0 {
			g.members = accepted(g.members)
		}
		s = append(s, stack.Layer{Members: g.members})
	}
	return s
}

// accepted leaves out the members for which the layer would be refused.
func accepted(members []stack.Line) []stack.Line {
	if !refused(members) {
		return members
	}
	var good []stack.Line
	for _, m := range members {
		if more := append(good[:len(good):len(good)], m); !refused(more) {
			good = more
		}
	}
	return good
}

func refused(members []stack.Line) bool {
	tar, err := (&stack.Layer{Members: members}).Tar()
	if err != nil {
		return true
	}
	_, err = flatten.Flatten(tar)
	return err != nil
}

// generator makes one layer. It remembers what it made, by the names alone, so that most members are valid.
type generator struct {
	r       *rand.Rand
	members []stack.Line
	kinds   map[string]string
}

var names = []string{"a", "b", "c"}

// path returns the path of a member: one that is there already, or a new one.
func (g *generator) path() string {
	for {
		parts := []string{g.pick(names)}
		for len(parts) < 4 && g.r.IntN(2) == 0 {
			parts = append(parts, g.pick(names))
		}
		name := path.Join(parts...)
		if g.r.IntN(60) == 0 || g.possible(name) {
			return name
		}
	}
}

// possible says whether a member can have that path: no file stands where a directory is needed.
func (g *generator) possible(name string) bool {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if kind := g.kinds[dir]; kind != "" && kind != "dir" && kind != "symlink" {
			return false
		}
	}
	return true
}

func (g *generator) pick(from []string) string { return from[g.r.IntN(len(from))] }

func (g *generator) member() {
	name := g.path()
	line := stack.Line{Args: []string{name}}
	switch n := g.r.IntN(100); {
	case n < 24:
		line.Verb, line.Args = "file", append(line.Args, g.pick([]string{"", "x", "y", "longer"}))
	case n < 46:
		line.Verb = "dir"
		if g.r.IntN(15) == 0 {
			line.Args[0] = "."
		}
	case n < 58:
		line.Verb, line.Args = "symlink", append(line.Args, g.target())
	case n < 70:
		line.Verb, line.Args = "link", append(line.Args, g.linked())
	case n < 85:
		line.Verb = "whiteout"
	case n < 93:
		line.Verb = "opaque"
		if g.r.IntN(10) == 0 {
			line.Args[0] = "."
		}
	case n < 96:
		line.Verb = "fifo"
	case n < 98:
		line.Verb, line.Args = "char", append(line.Args, "1", g.pick([]string{"3", "5"}))
	default:
		line.Verb, line.Args = "block", append(line.Args, "0", "0")
	}
	if line.Verb != "whiteout" && line.Verb != "opaque" {
		g.metadata(&line)
		g.remember(line.Args[0], line.Verb)
	} else if line.Verb == "opaque" && !g.possible(path.Join(name, "x")) {
		return
	}
	line.Args[0] = g.spelled(line.Args[0])
	g.members = append(g.members, line)
}

// remember keeps what is at a path, and forgets what was below it.
func (g *generator) remember(name, kind string) {
	if kind != "dir" {
		for old := range g.kinds {
			if strings.HasPrefix(old, name+"/") {
				delete(g.kinds, old)
			}
		}
	}
	g.kinds[name] = kind
}

// target returns where a symlink leads: up, down, to itself, out.
func (g *generator) target() string {
	return g.pick([]string{"a", "b", "c", "a/b", "b/c", "../a", "../b", "../../c", "/a", "/b/a", "/", ".", "..", "../../../..", "c/../a", "/a/../b"})
}

// linked returns the target of a hard link, most often one that is there.
func (g *generator) linked() string {
	var there []string
	for name, kind := range g.kinds {
		if kind != "dir" && kind != "link" || kind == "link" && g.r.IntN(3) == 0 {
			there = append(there, name)
		}
	}
	if len(there) == 0 || g.r.IntN(40) == 0 {
		return g.path()
	}
	slices.Sort(there)
	return g.spelled(g.pick(there))
}

// spelled writes a path in one of the ways that mean it.
func (g *generator) spelled(name string) string {
	switch g.r.IntN(12) {
	case 0:
		return "./" + name
	case 1:
		return "/" + name
	case 2:
		return strings.ReplaceAll(name, "/", "//")
	case 3:
		return "x/../" + name
	}
	return name
}

func (g *generator) metadata(line *stack.Line) {
	set := func(key, value string) { line.Attrs = append(line.Attrs, stack.Attr{Key: key, Value: value}) }
	if g.r.IntN(2) == 0 {
		set("mode", g.pick([]string{"0700", "0755", "0500", "01777", "02755", "04711", "0000", "0644"}))
	}
	if g.r.IntN(3) == 0 {
		set("uid", g.pick([]string{"1", "1000", "4294967294"}))
	}
	if g.r.IntN(4) == 0 {
		set("gid", g.pick([]string{"5", "70000"}))
	}
	if g.r.IntN(2) == 0 {
		set("mtime", g.pick([]string{"0", "1", "1600000000.000000001", "-7.5", "3000000000"}))
	}
	for range 2 {
		if g.r.IntN(6) == 0 {
			set("xattr:"+g.pick([]string{"user.a", "user.b", "trusted.a", "trusted.overlay.opaque", "trusted.overlay.whiteout",
				"trusted.overlay.redirect", "trusted.overlay.overlay.opaque", "user.overlay.opaque"}), g.pick([]string{"y", "x", "", "/a"}))
		}
	}
	line.Attrs = slices.CompactFunc(line.Attrs, func(a, b stack.Attr) bool { return a.Key == b.Key })
}

// Seeded returns the generator of randomness of stack number n; each number has its stack for good.
func Seeded(n uint64) *rand.Rand { return rand.New(rand.NewPCG(n, 0x6c6179657273)) }

// Report says how a stack failed, with a declaration that can be made a case of.
func Report(s stack.Stack, what string) string { return fmt.Sprintf("%s\n%s", what, s) }
