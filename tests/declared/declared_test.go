package declared

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func write(t *testing.T, root, path, text string) {
	t.Helper()
	path = filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestRead(t *testing.T) {
	root := t.TempDir()
	write(t, root, "a/a_test.go", `package a

// TestPlan is pure.
//
//spec:1,2
//cve:CVE-1-1
func TestPlan(t *testing.T) { helper() }

// TestRoot needs what root says.
//
//spec:3
//spec: 4
func TestRoot(t *testing.T) {
	root(t)
	x := machine{}
	t.Run("x", func(t *testing.T) { x.v2(t) })
}

//spec:5
func FuzzSeeds(f *testing.F) { f.Fuzz(func(t *testing.T, b []byte) {}) }

func TestNothing(t *testing.T) { t.Skip("[never] at all") }
`)
	write(t, root, "a/b_test.go", `package a

func root(t *testing.T) {
	if no { t.Skip("[root] needs root") }
	root(t)
}

func (m machine) v2(t *testing.T) { t.Skipf("[cgroup2] no "+m.name+"%s", "") }

func helper() {}
`)
	write(t, root, "a/testdata/x_test.go", "not go")
	write(t, root, ".hidden/x_test.go", "not go")
	write(t, root, "s/one.txtar", "# One.\n# spec: 5, 6\n[!root] skip 'needs root'\n[v2] skip\n[!berth] [runc] skip 'old'\n[!apparmor] stop\n# spec: 7\nrt run\n-- file --\n[!x] skip\n")
	write(t, root, "s/two.txtar", "# Two.\n# spec: 5\n\n[!root] skip\n# [v2] [v1] in both views\n[crun] stop\n")
	write(t, root, "s/three.txtar", "# Three.\n# cve: CVE-1-2\n")
	got, err := Read(root, "spec")
	if err != nil {
		t.Fatal(err)
	}
	want := []Test{
		{Name: "TestPlan", File: "a/a_test.go", Rows: []string{"1", "2"}},
		{Name: "TestRoot", File: "a/a_test.go", Rows: []string{"3", "4"}, Needs: []string{"root", "cgroup2"}},
		{Name: "FuzzSeeds", File: "a/a_test.go", Rows: []string{"5"}},
		{Name: "one", File: "s/one.txtar", Rows: []string{"5", "6"}, Needs: []string{"root", "!v2", "berth", "!runc"}, Rest: []string{"apparmor"}, Script: true},
		{Name: "two", File: "s/two.txtar", Rows: []string{"5"}, Needs: []string{"root"}, Rest: []string{"!crun"}, Views: true, Script: true},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
	if got, err := Read(root, "cve"); err != nil || len(got) != 2 || got[1].Rows[0] != "CVE-1-2" {
		t.Error(got, err)
	}
}

// A declaration that no test bears would prove nothing.
func TestReadRefuses(t *testing.T) {
	root := t.TempDir()
	write(t, root, "a_test.go", "package a\n\n//spec:1\nfunc helper() {}\n")
	if _, err := Read(root, "spec"); err == nil || !strings.Contains(err.Error(), "helper, which is no test") {
		t.Error(err)
	}
}
