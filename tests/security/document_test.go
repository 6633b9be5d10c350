package security

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// docs/SECURITY.md is true: each test that it names exists, each test here is in it, in one line with all of its CVEs,
// each rule of nsenter.Verify is in it, and is broken by a test.
func TestDocument(t *testing.T) {
	raw, err := os.ReadFile("../../docs/SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	all, err := declaredBelow("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z][A-Za-z]*\b`).FindAllString(text, -1) {
		if !all[name] {
			t.Errorf("there is no %s", name)
		}
	}
	here, err := cves()
	if err != nil {
		t.Fatal(err)
	}
	known := regexp.MustCompile(`CVE-\d{4}-\d+`)
	own, err := declaredBelow(".")
	if err != nil {
		t.Fatal(err)
	}
	for name := range own {
		if name == "TestDocument" || name == "TestMain" {
			continue
		}
		if !regexp.MustCompile(`\b` + name + `\b`).MatchString(text) {
			t.Errorf("docs/SECURITY.md does not name %s", name)
		}
		for _, cve := range here[name] {
			if !inOneLine(text, cve, name) {
				t.Errorf("docs/SECURITY.md does not name %s with %s", name, cve)
			}
		}
	}
	for line := range strings.Lines(text) {
		for _, cve := range known.FindAllString(line, -1) {
			held := false
			for name, cves := range here {
				held = held || strings.Contains(line, name) && strings.Contains(strings.Join(cves, " ")+" ", cve+" ")
			}
			if !held {
				t.Errorf("no test that the line names says that it stands for %s", cve)
			}
		}
	}
	broken := read("../../nsenter/verify_test.go")
	for _, rule := range rules(t) {
		if !strings.Contains(text, `"`+rule+`"`) {
			t.Errorf("docs/SECURITY.md does not list the rule %q", rule)
		}
		if !strings.Contains(broken, `"`+rule+`"`) {
			t.Errorf("no test breaks the rule %q", rule)
		}
	}
}

func inOneLine(text, a, b string) bool {
	for line := range strings.Lines(text) {
		if strings.Contains(line, a) && strings.Contains(line, b) {
			return true
		}
	}
	return false
}

// declaredBelow are the tests and fuzz targets of all packages.
func declaredBelow(dir string) (map[string]bool, error) {
	names := map[string]bool{}
	declaration := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	return names, filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err == nil && e.IsDir() && strings.HasPrefix(e.Name(), ".") && e.Name() != ".." && path != dir {
			return filepath.SkipDir
		}
		if err == nil && strings.HasSuffix(path, "_test.go") {
			for _, m := range declaration.FindAllStringSubmatch(read(path), -1) {
				names[m[1]] = true
			}
		}
		return err
	})
}

// rules are the texts that the verifier says are broken.
func rules(t *testing.T) []string {
	t.Helper()
	var out []string
	files, _ := filepath.Glob("../../nsenter/verify*.go")
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			var literal ast.Expr
			switch n := n.(type) {
			case *ast.CallExpr:
				if f, ok := n.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "fail" && len(n.Args) == 2 {
					literal = n.Args[1]
				}
			case *ast.ValueSpec:
				if n.Names[0].Name == "rule" && len(n.Values) == 1 {
					literal = n.Values[0]
				}
			}
			if l, ok := literal.(*ast.BasicLit); ok {
				rule, err := strconv.Unquote(l.Value)
				if err != nil {
					t.Fatal(err)
				}
				out = append(out, rule)
			}
			return true
		})
	}
	if len(out) < 25 {
		t.Fatalf("only %d rules were found", len(out))
	}
	return out
}
