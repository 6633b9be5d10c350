package managers

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// A suite is a file of cases: what a user of one manager types and sees.
//
//	== NAME              begins a case; its lines are a shell script
//	-> LINE              a line that its standard output has to have; all of them, in order, and no other
//	?runc REASON         runc is not held to it: it does otherwise, or cannot do it
//	?needs NAME COMMAND  the case is skipped as [NAME] where the command fails
//	?alone               no other case of the file runs beside it
//
// The cases "start" and "stop" are the manager's own: they come first and last, and each has to succeed. Other cases run
// beside each other, each in an empty directory, with $C for the name of what it makes and $RUNTIME for the runtime.
type suite struct {
	name        string
	start, stop step
	cases       []step
}

type step struct {
	name, script, want string
	runcDiffers        string // why
	needs, needsName   string // a command
	skip               string // "[name] why", where that fails
	alone              bool
}

func readSuite(path, name string) (suite, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return suite{}, err
	}
	return parseSuite(name, string(raw))
}

func parseSuite(name, text string) (suite, error) {
	s := suite{name: name}
	seen := map[string]bool{}
	head, rest, _ := strings.Cut("\n"+text, "\n== ")
	for line := range strings.Lines(head) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			return s, fmt.Errorf("%s: %q stands before the first case", name, line)
		}
	}
	for part := range strings.SplitSeq(rest, "\n== ") {
		c, err := parseStep(part)
		if err != nil || seen[c.name] {
			return s, fmt.Errorf("%s: case %q is there twice, or: %v", name, c.name, err)
		}
		seen[c.name] = true
		switch c.name {
		case "start":
			s.start = c
		case "stop":
			s.stop = c
		default:
			s.cases = append(s.cases, c)
		}
	}
	if s.start.script == "" || s.stop.script == "" || len(s.cases) == 0 {
		return s, fmt.Errorf("%s: start, stop or the cases are missing", name)
	}
	return s, nil
}

func parseStep(text string) (step, error) {
	title, body, _ := strings.Cut(text, "\n")
	c := step{name: strings.TrimSpace(title)}
	own := c.name == "start" || c.name == "stop"
	for line := range strings.Lines(strings.TrimRight(body, "\n") + "\n") {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case line == "->" || strings.HasPrefix(line, "-> "):
			c.want += strings.TrimPrefix(line[2:], " ") + "\n"
		case strings.HasPrefix(line, "?runc "):
			c.runcDiffers = line[len("?runc "):]
		case strings.HasPrefix(line, "?needs "):
			c.needsName, c.needs, _ = strings.Cut(line[len("?needs "):], " ")
		case line == "?alone":
			c.alone = true
		default:
			c.script += line + "\n"
		}
	}
	if strings.TrimSpace(c.script) == "" || !own && c.want == "" {
		return c, fmt.Errorf("it has no script, or nothing that it could fail by")
	}
	return c, nil
}

func TestParseSuite(t *testing.T) {
	const good = "# words\n\n== start\ntrue\n\n== a case\n?runc it does otherwise\necho one\n\n-> one\n->\n== left out\n?needs moon test -e /moon\nlook\n-> moon\n== stop\ntrue\n"
	s, err := parseSuite("x", good)
	if err != nil {
		t.Fatal(err)
	}
	want := step{name: "a case", script: "echo one\n\n", want: "one\n\n", runcDiffers: "it does otherwise"}
	if len(s.cases) != 2 || s.cases[0] != want || s.cases[1].needsName != "moon" || s.cases[1].needs != "test -e /moon" {
		t.Errorf("cases are %+v", s.cases)
	}
	for _, bad := range []string{
		strings.Replace(good, "# words", "words", 1),
		strings.Replace(good, "-> one\n->\n", "", 1),
		strings.Replace(good, "left out", "a case", 1),
		strings.Replace(good, "== start\ntrue\n", "", 1),
	} {
		if _, err := parseSuite("x", bad); err == nil {
			t.Errorf("taken: %q", bad)
		}
	}
}
