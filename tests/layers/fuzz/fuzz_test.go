package fuzz

import (
	"slices"
	"strings"
	"testing"

	"berth/tests/layers/flatten"
	"berth/tests/layers/stack"
)

// TestGenerateIsWorthIt: most stacks are valid, and each kind of meeting is frequent.
func TestGenerateIsWorthIt(t *testing.T) {
	const n = 500
	valid, entries, verbs := 0, 0, map[string]int{}
	for i := range uint64(n) {
		s := Generate(Seeded(i))
		for _, layer := range s {
			for _, m := range layer.Members {
				verbs[m.Verb]++
			}
		}
		tars, err := s.Tars()
		if err != nil {
			t.Fatal(err)
		}
		if tree, err := flatten.Flatten(tars...); err == nil {
			valid++
			entries += len(tree)
		}
	}
	t.Logf("%d of %d stacks are valid, with %d entries; members %v", valid, n, entries, verbs)
	if valid < n*6/10 || valid > n*97/100 {
		t.Errorf("%d of %d stacks are valid", valid, n)
	}
	if entries < 4*n {
		t.Errorf("%d entries in %d stacks", entries, n)
	}
}

func TestGenerateIsRepeatable(t *testing.T) {
	if a, b := Generate(Seeded(7)).String(), Generate(Seeded(7)).String(); a != b || a == Generate(Seeded(8)).String() {
		t.Errorf("%s\n%s", a, b)
	}
}

// TestMinimise: a failure that needs two members of two layers is left with these and nothing more.
func TestMinimise(t *testing.T) {
	s, err := stack.Parse(`layer
		file x y
		dir d/e/f mode=0700 uid=5
	layer
		symlink u v
	layer
		link l d
		whiteout d/e/f
		opaque g`)
	if err != nil {
		t.Fatal(err)
	}
	fails := func(s stack.Stack) bool {
		has := func(verb string) bool {
			return slices.ContainsFunc(s, func(l stack.Layer) bool {
				return slices.ContainsFunc(l.Members, func(m stack.Line) bool {
					return m.Verb == verb && strings.HasSuffix(m.Args[0], "f")
				})
			})
		}
		return has("dir") && has("whiteout") && len(s) > 1
	}
	const want = "layer\n  dir f\nlayer\n  whiteout f\n"
	if got := Minimise(s, fails).String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
