package security

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"berth/tests/declared"
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
	tests, _ := cves()
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

// cves are what tests stand for, by test: those that they name in their doc comments by a line //cve:NUMBER[,NUMBER…].
func cves() (map[string][]string, error) {
	tests, err := declared.Read(".", "cve")
	out := map[string][]string{}
	for _, t := range tests {
		for _, number := range t.Rows {
			out[t.Name] = append(out[t.Name], "CVE-"+number)
		}
	}
	return out, err
}
