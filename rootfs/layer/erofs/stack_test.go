package erofs

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"berth/tests/layers/flatten"
	"berth/tests/layers/stack"
	"berth/tests/layers/tree"
)

// randomLayer declares members with so few names that they meet.
func randomLayer(r *rand.Rand, most int) string {
	name := func() string {
		parts := make([]string, 1+r.IntN(3))
		for i := range parts {
			parts[i] = string(rune('a' + r.IntN(3)))
		}
		return strings.Join(parts, "/")
	}
	var b strings.Builder
	for range r.IntN(most) {
		p, common := name(), fmt.Sprintf("mode=%04o uid=%d mtime=%d", r.IntN(0o10000), r.IntN(3), r.IntN(100))
		switch r.IntN(14) {
		case 0, 1, 2:
			fmt.Fprintf(&b, "dir %s %s", p, common)
		case 3, 4, 5:
			fmt.Fprintf(&b, "file %s %q*%d %s", p, string(rune('p'+r.IntN(9))), 1+r.IntN(700), common)
		case 6:
			to := []string{".", name(), "/" + name(), "../" + name(), "../../../" + name(), name() + "/..", name() + "/../.."}[r.IntN(7)]
			fmt.Fprintf(&b, "symlink %s %s %s", p, to, common)
		case 7, 8:
			fmt.Fprintf(&b, "link %s %s", p, name())
		case 9, 10, 11:
			fmt.Fprintf(&b, "whiteout %s", p)
		case 12:
			fmt.Fprintf(&b, "opaque %s", p)
		case 13:
			fmt.Fprintf(&b, "fifo %s %s xattr:trusted.%c=%d", p, common, 'a'+r.IntN(2), r.IntN(2))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// id is an inode of a stack.
type id struct {
	layer  int
	number uint64
}

// merged is what overlayfs makes of images, the bottom one first.
type merged struct {
	entries map[tree.Name]tree.Entry
	ids     map[tree.Name]id
}

func (m *merged) remove(dir string, itself bool) {
	for p := range m.entries {
		if itself && string(p) == dir || strings.HasPrefix(string(p), dir+"/") || dir == "" && p != "." {
			delete(m.entries, p)
		}
	}
}

func (m *merged) add(layer int, l *listing, parents []string) {
	for _, w := range l.whiteouts {
		m.remove(w, true)
	}
	for _, d := range l.opaque {
		m.remove(d, false)
	}
	for _, e := range l.entries {
		below, there := m.entries[e.Path]
		if e.Type != tree.Dir {
			m.remove(string(e.Path), true)
		} else if there && below.Type == tree.Dir && slices.Contains(parents, strings.TrimPrefix(string(e.Path), ".")) {
			continue
		}
		m.entries[e.Path], m.ids[e.Path] = e, id{layer, l.numbers[e.Path]}
	}
}

func (m *merged) list() []tree.Entry {
	out := slices.Collect(maps.Values(m.entries))
	tree.Sort(out)
	first := map[id]int{}
	for k := range out {
		e := &out[k]
		if e.Link = ""; e.Type == tree.Dir {
			continue
		}
		if f, again := first[m.ids[e.Path]]; again {
			out[f].Link, e.Link = out[f].Path, out[f].Path
		} else {
			first[m.ids[e.Path]] = k
		}
	}
	return out
}

// flattened is what the images of a stack make as a whole.
func flattened(t testing.TB, raw [][]byte) ([]tree.Entry, error) {
	t.Helper()
	m := merged{map[tree.Name]tree.Entry{}, map[tree.Name]id{}}
	for i, one := range raw {
		l, err := build(one, Options{})
		if err != nil {
			return nil, err
		}
		got, err := list(l.open(t, Options{}))
		if err != nil {
			t.Fatal(err)
		}
		if lines, err := differences(t, one, l.image, Options{}); err != nil || len(lines) > 0 {
			t.Fatalf("layer %d: %v %q", i, err, lines)
		}
		m.add(i, got, l.result.Parents)
	}
	return m.list(), nil
}

// judge compares images of a declared stack with the reference interpreter; they must also refuse the same.
func judge(t testing.TB, declaration string) (accepted bool) {
	t.Helper()
	raw := tars(t, declaration)
	want, wantErr := flatten.Flatten(raw...)
	got, gotErr := flattened(t, raw)
	if (wantErr == nil) != (gotErr == nil) {
		t.Errorf("the reference says %v, we say %v", wantErr, gotErr)
	} else if wantErr == nil {
		sameTree(t, want, got, tree.Options{})
	}
	if t.Failed() {
		t.Fatal(declaration)
	}
	return wantErr == nil
}

func randomStack(r *rand.Rand) string {
	var b strings.Builder
	for range 1 + r.IntN(3) {
		b.WriteString("layer\n" + randomLayer(r, 14))
	}
	return b.String()
}

func TestRandomStacks(t *testing.T) {
	rounds := 3000
	if testing.Short() {
		rounds = 600
	}
	accepted := 0
	for seed := range uint64(rounds) {
		if judge(t, randomStack(rand.New(rand.NewPCG(seed, 7)))) {
			accepted++
		}
	}
	if accepted < rounds/8 {
		t.Errorf("only %d stacks of %d are not refused", accepted, rounds)
	}
}

// FuzzStack takes declarations of layers.
func FuzzStack(f *testing.F) {
	for _, c := range declarations {
		if len(c.layer) < 2000 {
			f.Add("layer\n" + c.layer)
		}
	}
	for seed := range uint64(20) {
		f.Add(randomStack(rand.New(rand.NewPCG(seed, 9))))
	}
	f.Fuzz(func(t *testing.T, declaration string) {
		for _, huge := range []string{"*", "zeros", "end=", "times="} {
			if strings.Contains(declaration, huge) {
				return
			}
		}
		for line := range strings.Lines(declaration) {
			if len(line) > 300 {
				return // names that nothing can have are the tables' business
			}
		}
		s, err := stack.Parse(declaration)
		if err != nil || len(s) == 0 || len(declaration) > 4000 {
			return
		}
		if _, err := s.Tars(); err == nil {
			judge(t, declaration)
		}
	})
}
