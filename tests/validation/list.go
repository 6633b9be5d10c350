package main

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strings"
)

// runtimeNames are the columns of the list; each has one word per view.
var runtimeNames = [...]string{"berth", "runc", "crun"}

// Words of the list besides "pass" and "fail".
const (
	unknown = "?"    // nothing has been measured
	race    = "race" // the program races with the container: it must pass once in a few attempts
	either  = "any"  // the program's verdict says nothing
)

// attempts is how often a race is tried.
const attempts = 20

// agree says whether a verdict is as listed.
func agree(want, got string) bool {
	return want == got || want == either || want == race && got == "pass"
}

// list is expect.txt: what each program is expected to say of each runtime in each view, and why where that is a failure.
//
//	NAME | berth's verdicts, one a view | runc's | crun's
//	    reason, for people; may begin with a condition in brackets
//
// Comment lines come first.
type list struct{ entries []entry }

type entry struct {
	comment string // a comment line, and nothing else
	program string
	words   [len(runtimeNames)][len(viewNames)]string
	reason  []string
}

func readList(path string) (*list, error) {
	file, err := os.Open(path)
	if os.IsNotExist(err) {
		return &list{}, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	l := &list{}
	scanner := bufio.NewScanner(file)
	for scanner.Scan() {
		if err := l.add(scanner.Text()); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return l, scanner.Err()
}

func (l *list) add(line string) error {
	switch {
	case line == "" || line[0] == '#':
		l.entries = append(l.entries, entry{comment: line})
		return nil
	case line[0] == ' ' && len(l.entries) > 0:
		last := &l.entries[len(l.entries)-1]
		last.reason = append(last.reason, strings.TrimSpace(line))
		return nil
	}
	cells := strings.Split(line, "|")
	if len(cells) != 1+len(runtimeNames) {
		return fmt.Errorf("%q: want a name and %d columns", line, len(runtimeNames))
	}
	e := entry{program: strings.TrimSpace(cells[0])}
	for i, cell := range cells[1:] {
		if copy(e.words[i][:], strings.Fields(cell)) != len(viewNames) {
			return fmt.Errorf("%q: want %d verdicts a column", line, len(viewNames))
		}
	}
	l.entries = append(l.entries, e)
	return nil
}

func (l *list) String() string {
	var b strings.Builder
	for _, e := range l.entries {
		if e.program == "" {
			fmt.Fprintln(&b, e.comment)
			continue
		}
		fmt.Fprintln(&b, e.row())
		for _, line := range e.reason {
			fmt.Fprintf(&b, "    %s\n", line)
		}
	}
	return b.String()
}

func (e *entry) row() string {
	row := fmt.Sprintf("%-32s", e.program)
	for _, words := range e.words {
		row += "|"
		for _, word := range words {
			row += fmt.Sprintf(" %-4s", word)
		}
		row += " "
	}
	return strings.TrimRight(row, " ")
}

func (l *list) find(program string) *entry {
	i := slices.IndexFunc(l.entries, func(e entry) bool { return e.program == program })
	if i < 0 {
		return nil
	}
	return &l.entries[i]
}

// place returns where a verdict stands; nil if the list has no such place.
func (l *list) place(program, runtime, view string) *string {
	e := l.find(program)
	column, row := slices.Index(runtimeNames[:], runtime), slices.Index(viewNames[:], view)
	if e == nil || column < 0 || row < 0 {
		return nil
	}
	return &e.words[column][row]
}

// want returns the listed verdict, or unknown.
func (l *list) want(program, runtime, view string) string {
	if p := l.place(program, runtime, view); p != nil {
		return *p
	}
	return unknown
}

// set writes a verdict; a program that was not listed is added. A race stays one unless it is lost, and what says nothing
// goes on doing so.
func (l *list) set(program, runtime, view, verdict string) {
	if l.find(program) == nil {
		e := entry{program: program}
		for i := range e.words {
			for j := range e.words[i] {
				e.words[i][j] = unknown
			}
		}
		l.entries = append(l.entries, e)
		slices.SortStableFunc(l.entries, func(a, b entry) int { return strings.Compare(a.program, b.program) })
	}
	p := l.place(program, runtime, view)
	if p == nil || *p == either || *p == race && verdict == "pass" {
		return
	}
	*p = verdict
}
