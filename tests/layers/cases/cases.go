// Package cases declares what a layer can contain, one case for each thing that some tool has got wrong or could.
//
// The declarations are the files NAME.cases, whose groups are named after the files. A case is lines:
//
//	case NAME
//	why TEXT            what goes wrong where it does
//	source TEXT         where it comes from: a CVE, an issue, a specification
//	open                the image specification decides nothing here, this is Berth's rule: others may differ
//	envelope            what is special is the manifest or the compression, which flatten does not see
//	image KEY=VALUE…    see stack.WriteLayout
//	layer …             and its members, see package stack
//	refused WORD…       a tool must refuse the image, and Berth's error has these words
//	or-refused          it may refuse it; the tree, if there is one, is the expected one
//	expect              lines of what must be seen in the tree follow: a member as it is declared, with the attributes
//	                    that matter, or
//	  only PATH…        no other names but these and the root
//	  absent PATH…      nothing of that name
//	  same PATH PATH…   names of one inode
//	  apart PATH PATH…  names of different inodes
//
// The whole expected tree comes from the reference interpreter; the lines are a person's word against it.
package cases

import (
	"embed"
	"fmt"
	"slices"
	"strings"

	"berth/tests/layers/flatten"
	"berth/tests/layers/stack"
	"berth/tests/layers/tree"
)

//go:embed *.cases
var files embed.FS

// Case is one thing that a layer can contain.
type Case struct {
	Name        string // GROUP/NAME
	Why, Source string
	Open        bool
	Envelope    bool
	Image       []stack.Attr
	Stack       stack.Stack
	Refused     []string // words of the error; nil if there must be a tree
	OrRefused   bool
	Expect      []stack.Line
}

// All returns every case, in the order of their groups.
func All() ([]Case, error) {
	entries, err := files.ReadDir(".")
	if err != nil {
		return nil, err
	}
	var all []Case
	for _, e := range entries {
		text, err := files.ReadFile(e.Name())
		if err != nil {
			return nil, err
		}
		group, err := parse(strings.TrimSuffix(e.Name(), ".cases"), string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name(), err)
		}
		all = append(all, group...)
	}
	return all, nil
}

func parse(group, text string) ([]Case, error) {
	var all []Case
	expecting := false
	number := 0
	for raw := range strings.Lines(text) {
		number++
		raw = strings.TrimSpace(raw)
		verb, rest, _ := strings.Cut(raw, " ")
		if verb == "case" {
			all = append(all, Case{Name: group + "/" + rest})
			expecting = false
			continue
		}
		if verb == "" || verb[0] == '#' {
			continue
		}
		if len(all) == 0 {
			return nil, fmt.Errorf("line %d: before the first case", number)
		}
		c := &all[len(all)-1]
		var err error
		switch {
		case verb == "why":
			c.Why = rest
		case verb == "source":
			c.Source = rest
		case verb == "expect":
			expecting = true
		default:
			err = c.line(raw, expecting)
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
	}
	return all, nil
}

func (c *Case) line(raw string, expecting bool) error {
	line, err := stack.ParseLine(raw)
	if err != nil {
		return err
	}
	switch line.Verb {
	case "open":
		c.Open = true
	case "envelope":
		c.Envelope = true
	case "or-refused":
		c.OrRefused = true
	case "image":
		c.Image = line.Attrs
	case "refused":
		c.Refused = append([]string{}, line.Args...)
	default:
		if expecting {
			c.Expect = append(c.Expect, line)
			return nil
		}
		c.Stack, err = c.Stack.Add(line)
	}
	return err
}

// Tree returns the tree that the case means. It is an error if there is one where the case wants a refusal, or none where
// it wants a tree.
func (c *Case) Tree() ([]tree.Entry, error) {
	tars, err := c.Stack.Tars()
	if err != nil {
		return nil, err
	}
	entries, err := flatten.Flatten(tars...)
	switch {
	case c.Refused != nil && (err != nil || c.Envelope):
		return nil, nil
	case c.Refused != nil:
		return nil, fmt.Errorf("the reference interpreter does not refuse it")
	}
	return entries, err
}

// Check says what lines of the case do not hold for a tree.
func (c *Case) Check(entries []tree.Entry) []string {
	at := map[string]*tree.Entry{}
	for i := range entries {
		at[string(entries[i].Path)] = &entries[i]
	}
	var wrong []string
	for _, line := range c.Expect {
		for _, what := range holds(line, at) {
			wrong = append(wrong, fmt.Sprintf("%s: %s", line, what))
		}
	}
	return wrong
}

func holds(line stack.Line, at map[string]*tree.Entry) []string {
	switch line.Verb {
	case "only":
		return only(line.Args, at)
	case "absent":
		return slices.DeleteFunc(slices.Clone(line.Args), func(path string) bool { return at[path] == nil })
	case "same", "apart":
		return linked(line, at)
	}
	e := at[line.Arg(0)]
	if e == nil {
		return []string{"is not there"}
	}
	return differs(line, e)
}

func only(paths []string, at map[string]*tree.Entry) []string {
	var wrong []string
	for _, path := range paths {
		if at[path] == nil {
			wrong = append(wrong, path+" is missing")
		}
	}
	for path := range at {
		if path != "." && !slices.Contains(paths, path) {
			wrong = append(wrong, path+" should not be there")
		}
	}
	slices.Sort(wrong)
	return wrong
}

func linked(line stack.Line, at map[string]*tree.Entry) []string {
	groups := map[tree.Name]int{}
	for _, path := range line.Args {
		e := at[path]
		if e == nil {
			return []string{path + " is not there"}
		}
		group := e.Link
		if group == "" {
			group = e.Path
		}
		groups[group]++
	}
	if line.Verb == "same" && len(groups) != 1 || line.Verb == "apart" && len(groups) != len(line.Args) {
		return []string{fmt.Sprintf("inodes %v", groups)}
	}
	return nil
}
