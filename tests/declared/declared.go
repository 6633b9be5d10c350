// Package declared reads what tests say of themselves: which row of a table they prove, and what they need to run.
//
// A Go test or fuzz target says it in its doc comment, a script in the comment at its head; "spec" is one such word, "cve" another:
//
//	//spec:44,45
//	func TestDevicesMove(t *testing.T) {
//
//	# A device of the host's is the container's.
//	# spec: 44,45
//
// What a test needs are the names in brackets of the skips that it can come to: t.Skip("[root] needs root") in it or in
// what it calls of its package, `[!root] skip` or `[!root] stop` in a script.
package declared

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Test is a test with a declaration.
type Test struct {
	Name   string   // of the test function, or a script's name without its extension
	File   string   // path below the root, with slashes
	Rows   []string // as declared
	Needs  []string // names of conditions, in the order in which they are met; "!v2" where v2 must not be
	Rest   []string // the same of a script's stops: what the part behind them needs besides
	Views  bool     // a script that is run once more with v1 and with v2 alone to be seen
	Script bool
}

// Read returns the tests below root that declare something under the word, Go tests by package and then scripts, each in
// the order of their paths. It leaves out testdata directories and names that begin with a dot.
func Read(root, word string) ([]Test, error) {
	dirs := map[string][]string{}
	var scripts []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".")):
			return filepath.SkipDir
		case strings.HasSuffix(path, "_test.go"):
			dirs[filepath.Dir(path)] = append(dirs[filepath.Dir(path)], path)
		case strings.HasSuffix(path, ".txtar"):
			scripts = append(scripts, path)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var tests []Test
	for _, dir := range slices.Sorted(maps.Keys(dirs)) {
		found, err := readPackage(dirs[dir], word)
		if err != nil {
			return nil, err
		}
		tests = append(tests, found...)
	}
	for _, path := range scripts {
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		if s := readScript(string(raw), word); len(s.Rows) > 0 {
			s.Name, s.File = strings.TrimSuffix(filepath.Base(path), ".txtar"), path
			tests = append(tests, s)
		}
	}
	for i := range tests {
		rel, err := filepath.Rel(root, tests[i].File)
		if err != nil {
			return nil, err
		}
		tests[i].File = filepath.ToSlash(rel)
	}
	return tests, nil
}

// list splits "44, 45".
func list(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
}

// readPackage reads the test files of one directory.
func readPackage(paths []string, word string) ([]Test, error) {
	funcs := map[string][]*ast.FuncDecl{}
	var tests []Test
	var bodies []*ast.FuncDecl
	for _, path := range paths {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, decl := range file.Decls {
			f, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			funcs[f.Name.Name] = append(funcs[f.Name.Name], f)
			rows := directive(f.Doc, word)
			switch {
			case len(rows) == 0:
			case f.Recv != nil || !isTest(f.Name.Name):
				return nil, fmt.Errorf("%s: //%s: stands at %s, which is no test", path, word, f.Name.Name)
			default:
				tests = append(tests, Test{Name: f.Name.Name, File: path, Rows: rows})
				bodies = append(bodies, f)
			}
		}
	}
	for i, f := range bodies {
		tests[i].Needs = skips(f, funcs)
	}
	return tests, nil
}

// isTest tells a test by its name; the seeds of a fuzz target are one too.
func isTest(name string) bool {
	return strings.HasPrefix(name, "Test") || strings.HasPrefix(name, "Fuzz")
}

// directive returns what stands behind //word: in a doc comment.
func directive(doc *ast.CommentGroup, word string) []string {
	if doc == nil {
		return nil
	}
	var rows []string
	for _, c := range doc.List {
		if text, ok := strings.CutPrefix(c.Text, "//"+word+":"); ok {
			rows = append(rows, list(text)...)
		}
	}
	return rows
}

var bracket = regexp.MustCompile(`^\[([^\]]+)\]`)

// skips returns the conditions of the skips in a function and in those of its package that it names.
func skips(f *ast.FuncDecl, funcs map[string][]*ast.FuncDecl) []string {
	var names []string
	seen := map[*ast.FuncDecl]bool{}
	var visit func(*ast.FuncDecl)
	visit = func(f *ast.FuncDecl) {
		if seen[f] || f.Body == nil {
			return
		}
		seen[f] = true
		ast.Inspect(f.Body, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				if name := skipped(n); name != "" && !slices.Contains(names, name) {
					names = append(names, name)
				}
			case *ast.Ident:
				for _, called := range funcs[n.Name] {
					visit(called)
				}
			}
			return true
		})
	}
	visit(f)
	return names
}

// skipped returns the condition that a call of t.Skip names.
func skipped(call *ast.CallExpr) string {
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || f.Sel.Name != "Skip" && f.Sel.Name != "Skipf" || len(call.Args) == 0 {
		return ""
	}
	arg := call.Args[0]
	for {
		sum, ok := arg.(*ast.BinaryExpr)
		if !ok {
			break
		}
		arg = sum.X
	}
	text, ok := arg.(*ast.BasicLit)
	if !ok || text.Kind != token.STRING {
		return ""
	}
	s, err := strconv.Unquote(text.Value)
	if err != nil {
		return ""
	}
	if m := bracket.FindStringSubmatch(s); m != nil {
		return m[1]
	}
	return ""
}

var (
	conditions = regexp.MustCompile(`^((?:\[[^\]]+\]\s*)+)(skip|stop)\b`)
	condition  = regexp.MustCompile(`\[([^\]]+)\]`)
)

// readScript reads one script: its declarations stand in the comment before its first command.
func readScript(text, word string) Test {
	t := Test{Script: true}
	head, skipsV2 := true, false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "-- ") && strings.HasSuffix(line, " --"):
			t.Views = t.Views && !skipsV2
			return t
		case strings.HasPrefix(line, "#"):
			if rows, ok := strings.CutPrefix(strings.TrimSpace(line[1:]), word+":"); ok && head {
				t.Rows = append(t.Rows, list(rows)...)
			}
		case line != "":
			head = false
		}
		t.Views = t.Views || strings.Contains(line, "[v2]")
		m := conditions.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		for _, c := range condition.FindAllStringSubmatch(m[1], -1) {
			name, negated := strings.CutPrefix(c[1], "!")
			if !negated {
				name = "!" + name
			}
			names := &t.Rest
			if m[2] == "skip" {
				names, skipsV2 = &t.Needs, skipsV2 || name == "!v2"
			}
			if !slices.Contains(*names, name) {
				*names = append(*names, name)
			}
		}
	}
	t.Views = t.Views && !skipsV2
	return t
}
