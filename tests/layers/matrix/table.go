package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"berth/tests/layers/cases"
	"berth/tests/layers/tree"
)

// What a tool makes of a case.
const (
	ok       = "ok"
	wrong    = "WRONG"    // another tree than the specification's
	accepted = "ACCEPTED" // an image that must be refused
	refused  = "refused"  // an image that must not
	escapes  = "ESCAPED"  // something of the host was changed
	crashed  = "CRASHED"
	differs  = "differs" // from Berth's rule, where the specification has none
)

var verdicts = []string{ok, differs, refused, wrong, accepted, crashed, escapes}

type table struct {
	why    bool
	tools  []Unpacker
	cases  int
	counts []map[string]int
	wrong  bool // berth-layer has a case that is not ok
}

func (t *table) header() {
	fmt.Printf("%-44s", "case")
	for _, tool := range t.tools {
		fmt.Printf(" %-11s", tool.Name())
		t.counts = append(t.counts, map[string]int{})
	}
	fmt.Println()
}

func (t *table) row(c *cases.Case) error {
	dir := filepath.Join(work, "cases")
	defer os.RemoveAll(dir)
	if err := c.Write(dir); err != nil {
		return err
	}
	want, err := c.Tree()
	if err != nil {
		return err
	}
	layout := filepath.Join(dir, c.Name, "layout")
	words, reasons := fmt.Sprintf("%-44s", c.Name), ""
	for i, tool := range t.tools {
		verdict, reason, err := judge(c, want, tool, layout)
		if err != nil {
			return err
		}
		t.counts[i][verdict]++
		words += fmt.Sprintf(" %-11s", verdict)
		if verdict != ok {
			reasons += fmt.Sprintf("    %s: %s\n", tool.Name(), reason)
			_, ours := tool.(berth)
			t.wrong = t.wrong || ours
		}
	}
	t.cases++
	fmt.Println(strings.TrimRight(words, " "))
	if t.why {
		fmt.Print(reasons)
	}
	return nil
}

// judge runs one tool on one case. reason is one line or several, indented.
func judge(c *cases.Case, want []tree.Entry, tool Unpacker, layout string) (verdict, reason string, err error) {
	dir, err := os.MkdirTemp(place(tool), strings.ReplaceAll(tool.Name(), "/", "-"))
	if err != nil {
		return "", "", err
	}
	defer clean(dir)
	if err := setCanary(); err != nil {
		return "", "", err
	}
	rootfs, cleanup, failed := tool.Unpack(layout, dir)
	defer cleanup()
	if what := escaped(dir); what != "" {
		return escapes, what, nil
	}
	verdict, reason = verdictOf(c, want, tool, rootfs, failed)
	if c.Open && (verdict == wrong || verdict == accepted || verdict == refused) {
		if _, ours := tool.(berth); !ours {
			verdict = differs
		}
	}
	return verdict, reason, nil
}

// place is where a tool's directories are made: some levels down, so that what climbs out can be seen.
func place(tool Unpacker) string {
	dir := work + "/a/b/c"
	if b, ours := tool.(berth); ours && b.backend == "erofs" {
		dir = disk + "/a/b/c"
	}
	os.MkdirAll(dir, 0o755)
	return dir
}

// clean removes a directory with all that is mounted in it.
func clean(dir string) {
	raw, _ := os.ReadFile("/proc/self/mountinfo")
	lines := strings.Split(string(raw), "\n")
	for _, line := range slices.Backward(lines) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			syscall.Unmount(f[4], syscall.MNT_DETACH)
		}
	}
	os.RemoveAll(dir)
}

func verdictOf(c *cases.Case, want []tree.Entry, tool Unpacker, rootfs string, failed error) (verdict, reason string) {
	_, ours := tool.(berth)
	var crash crash
	switch {
	case errors.As(failed, &crash):
		return crashed, lastLine(crash.how)
	case failed != nil && (c.Refused != nil || c.OrRefused):
		for _, word := range c.Refused {
			if ours && !strings.Contains(failed.Error(), word) {
				return wrong, fmt.Sprintf("the error does not say %q: %s", word, lastLine(failed.Error()))
			}
		}
		return ok, ""
	case failed != nil:
		return refused, lastLine(failed.Error())
	case c.Refused != nil && !c.OrRefused:
		return accepted, "no error"
	case c.Refused != nil: // may be refused, and the reference interpreter has no tree
		return ok, ""
	}
	got, err := tree.Read(rootfs)
	if err != nil {
		return wrong, err.Error()
	}
	if lines := tree.Diff(want, got, tree.Options{Loose: !ours}); len(lines) > 0 {
		return wrong, strings.Join(lines[:min(3, len(lines))], "; ")
	}
	return ok, ""
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	last := lines[len(lines)-1]
	return last[:min(len(last), 300)]
}

func (t *table) summary() error {
	fmt.Printf("\n%d cases\n", t.cases)
	for i, tool := range t.tools {
		line := fmt.Sprintf("%-12s", tool.Name())
		for _, verdict := range verdicts {
			if n := t.counts[i][verdict]; n > 0 {
				line += fmt.Sprintf("  %s %d", verdict, n)
			}
		}
		fmt.Println(line)
	}
	if t.wrong {
		return errors.New("berth-layer gets cases wrong")
	}
	return nil
}

func (t *table) close() {
	for _, tool := range t.tools {
		if c, ok := tool.(io.Closer); ok {
			c.Close()
		}
	}
}
