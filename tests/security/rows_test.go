package security

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// temporary is for what all tests share.
var temporary string

func TestMain(m *testing.M) {
	status := func() int {
		var err error
		if temporary, err = os.MkdirTemp("", "berth-security"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(temporary)
		if err := os.Chmod(temporary, 0o755); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return m.Run()
	}()
	fmt.Print(table())
	os.Exit(status)
}

// result is a row of the table.
type result struct {
	row    string
	test   string
	said   string // what came of it
	tries  int
	absent string // why the row does not apply
	note   string // what the result is worth
}

var (
	results   []*result
	resultsMu sync.Mutex
)

// begin enters a row, and notes in the end what came of it.
func begin(t *testing.T, row string) *result {
	r := &result{row: row, test: t.Name(), said: "did not end"}
	resultsMu.Lock()
	results = append(results, r)
	resultsMu.Unlock()
	t.Cleanup(func() {
		switch {
		case t.Failed():
			r.said = "FAILED"
		case t.Skipped():
			r.said = "skipped"
		case r.absent != "":
			r.said = "does not apply: " + r.absent
		default:
			r.said = "safe"
		}
		if r.note != "" {
			r.said += " (" + r.note + ")"
		}
	})
	return r
}

// table is one line for each row that ran.
func table() string {
	tests, _ := declared("*_test.go")
	var out strings.Builder
	for _, r := range results {
		tries := ""
		if r.tries > 0 {
			tries = fmt.Sprintf(", %d tries", r.tries)
		}
		fmt.Fprintf(&out, "%-20s %-66s %s%s\n", r.row, strings.Join(tests[r.test], " "), r.said, tries)
	}
	return out.String()
}

// declared are the CVEs that tests name in their doc comments by a line //cve:NUMBER[,NUMBER…], by test.
func declared(pattern string) (map[string][]string, error) {
	files, err := filepath.Glob(pattern)
	if err != nil {
		return nil, err
	}
	tests := map[string][]string{}
	for _, name := range files {
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		for _, d := range file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && strings.HasPrefix(f.Name.Name, "Test") && f.Name.Name != "TestMain" {
				tests[f.Name.Name] = directives(f.Doc)
			}
		}
	}
	return tests, nil
}

func directives(doc *ast.CommentGroup) []string {
	var out []string
	if doc == nil {
		return nil
	}
	for _, c := range doc.List {
		if list, ok := strings.CutPrefix(c.Text, "//cve:"); ok {
			for number := range strings.SplitSeq(strings.TrimSpace(list), ",") {
				out = append(out, "CVE-"+number)
			}
		}
	}
	return out
}
