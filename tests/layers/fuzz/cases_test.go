package fuzz

import (
	"strings"
	"testing"

	"berth/tests/layers/cases"
	"berth/tests/layers/tree"
)

// hugeTar is what unpacking in memory does not have to show twice.
const hugeTar = 32 << 20

// TestCases holds both backends to every case whose point is in the tar.
func TestCases(t *testing.T) {
	all, err := cases.All()
	if err != nil {
		t.Fatal(err)
	}
	for _, backend := range []struct {
		name string
		make Backend
		dir  func(*testing.T) string
	}{
		{"directory", Directory, tmpfs}, {"directory-userxattr", DirectoryUser, tmpfs},
		{"erofs", EROFS, noTmpfs}, {"erofs-userxattr", EROFSUser, noTmpfs},
	} {
		t.Run(backend.name, func(t *testing.T) {
			dir := backend.dir(t)
			for i := range all {
				holdCase(t, &all[i], backend.make, dir)
			}
		})
	}
}

func holdCase(t *testing.T, c *cases.Case, backend Backend, dir string) {
	if c.Envelope {
		return
	}
	tars, err := c.Stack.Tars()
	if err != nil {
		t.Fatalf("%s: %v", c.Name, err)
	}
	if len(tars[0]) > hugeTar {
		return
	}
	got, err := Show(tars, backend, dir, Seeded(1))
	switch {
	case err != nil && c.Refused == nil && !c.OrRefused:
		t.Errorf("%s is refused: %v", c.Name, err)
	case err != nil:
		for _, word := range c.Refused {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: the error does not say %q: %v", c.Name, word, err)
			}
		}
	case c.Refused != nil && !c.OrRefused:
		t.Errorf("%s is not refused", c.Name)
	case c.Refused == nil:
		want, err := c.Tree()
		if err != nil {
			t.Fatal(err)
		}
		if lines := tree.Diff(want, got, tree.Options{}); lines != nil {
			t.Errorf("%s:\n\t%s", c.Name, strings.Join(lines[:min(len(lines), 5)], "\n\t"))
		}
	}
}
