package main

import (
	"fmt"
	"strconv"
	"strings"
)

// verdict is "pass" or "fail", as in the list.
func (r result) verdict() string {
	if r.why() == "" {
		return "pass"
	}
	return "fail"
}

// why says what a program found fault with; empty if nothing.
//
// The suite's programs report in three ways: by exit status; by TAP's "not ok"; and some, which hold no numbered test at
// all ("1..0"), only by a YAML block. A report that breaks off before its plan is a failure too.
func (r result) why() string {
	t := parseTAP(r.Stdout)
	switch {
	case r.Failed != "":
		return r.Failed
	case r.Exit == -1:
		return "killed or timed out"
	case r.Exit != 0:
		return fmt.Sprintf("exit status %d: %s", r.Exit, oneLine(r.Stderr))
	case len(t.failed) > 0:
		return strings.Join(t.failed, "; ")
	case t.tests == 0 && t.remark != "":
		return t.remark
	case t.documents > 0 && t.tests != t.planned:
		return fmt.Sprintf("%d tests planned, %d reported", t.planned, t.tests)
	}
	return ""
}

// tap is what matters of a program's TAP output, which may hold several documents.
type tap struct {
	documents, tests, planned int
	failed                    []string // descriptions, with the error of their YAML block
	remark                    string   // "error" in a YAML block that belongs to no failed test
}

func parseTAP(text string) tap {
	var t tap
	var last string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "TAP version"):
			t.documents++
		case strings.HasPrefix(line, "1.."):
			n, _ := strconv.Atoi(line[len("1.."):])
			t.planned += n
		case strings.HasPrefix(line, "ok "):
			t.tests++
			last = "ok"
		case strings.HasPrefix(line, "not ok "):
			t.tests++
			last = "not ok"
			if strings.Contains(line, "# TODO") {
				last = "ok"
				continue
			}
			t.failed = append(t.failed, line)
		case strings.HasPrefix(line, `    "error": `):
			t.note(last, strings.TrimSuffix(strings.TrimPrefix(line, `    "error": `), ","))
		}
	}
	return t
}

func (t *tap) note(last, quoted string) {
	text, err := strconv.Unquote(quoted)
	if err != nil {
		text = quoted
	}
	text = oneLine(text)
	switch last {
	case "":
		t.remark = text
	case "not ok":
		t.failed[len(t.failed)-1] += ": " + text
	}
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }
