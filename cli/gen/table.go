package main

import (
	"os"
	"regexp"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"berth/cli"
)

// table is the command line, as far as pages and completions speak of it:
// without what is hidden.
type table struct {
	usage    string
	global   []option
	commands []command
}

// command is one command, or one subcommand of another.
type command struct {
	path        []string // its words: "mounts", "add"
	usage       string
	args        string // "ID [SIGNAL]"
	description string
	options     []option
	sub         []command
}

// option is one flag.
type option struct {
	names   []string // "bundle", "b"
	usage   string
	value   string // what its value is called; empty where it takes none
	initial string // the value that holds where it is not given
}

// What values and arguments can be completed with.
const (
	files     = "files"
	dirs      = "dirs"
	existing  = "containers"
	signals   = "signals"
	anything  = ""
	wordsKind = "words " // followed by the words
)

func readTable() table {
	// The default of --root is that of root, whoever builds.
	os.Unsetenv("XDG_RUNTIME_DIR")
	app := cli.Table()
	return table{usage: app.Usage, global: optionsOf(app.Flags), commands: commandsOf(nil, app.Commands)}
}

func commandsOf(above []string, list []*urfave.Command) []command {
	var out []command
	for _, c := range list {
		if c.Hidden {
			continue
		}
		path := append(append([]string{}, above...), c.Name)
		out = append(out, command{
			path: path, usage: c.Usage, args: c.ArgsUsage, description: c.Description,
			options: optionsOf(c.Flags), sub: commandsOf(path, c.Subcommands),
		})
	}
	return out
}

func optionsOf(flags []urfave.Flag) []option {
	var out []option
	for _, f := range flags {
		if v, ok := f.(urfave.VisibleFlag); ok && !v.IsVisible() {
			continue
		}
		o := option{names: f.Names()}
		if d, ok := f.(urfave.DocGenerationFlag); ok {
			o.value, o.usage = placeholder(d.GetUsage())
			if !d.TakesValue() {
				o.value = ""
			} else {
				o.initial = d.GetValue()
			}
		}
		out = append(out, o)
	}
	return out
}

// placeholder is the word in backquotes of a usage text, and the text without
// them; "value" where it has none.
func placeholder(usage string) (name, text string) {
	before, rest, ok := strings.Cut(usage, "`")
	name, after, closed := strings.Cut(rest, "`")
	if !ok || !closed {
		return "value", usage
	}
	return name, before + name + after
}

func (c command) name() string { return strings.Join(c.path, " ") }

// all are the commands with their subcommands behind them.
func all(commands []command) []command {
	var out []command
	for _, c := range commands {
		out = append(append(out, c), all(c.sub)...)
	}
	return out
}

// alternatives are the words of "text or json" and "a, b, or c" in a usage text:
// at its beginning or behind a colon, and up to its end, a colon, a bracket or
// what "for" says about the last.
var alternatives = regexp.MustCompile(`(?:^|: )((?:[a-z]+, )*[a-z]+),? or ([a-z]+)(?:$|:| \(| for )`)

// kind is what the option's value is completed with.
func (o option) kind() string {
	if m := alternatives.FindStringSubmatch(o.usage); m != nil {
		return wordsKind + strings.ReplaceAll(m[1], ",", "") + " " + m[2]
	}
	switch {
	case strings.EqualFold(o.value, "directory"), o.names[0] == "root":
		return dirs
	case strings.EqualFold(o.value, "file"), strings.EqualFold(o.value, "socket"):
		return files
	}
	return anything
}

// argument is what the n-th argument, from 0, is completed with. A command with
// a bundle makes a container, whose ID nobody knows yet.
func (c command) argument(n int) string {
	words := strings.Fields(c.args)
	if n >= len(words) {
		return anything
	}
	switch strings.Trim(words[n], "[].") {
	case "ID":
		if !c.takes("bundle") {
			return existing
		}
	case "SIGNAL":
		return signals
	case "FILE":
		return files
	}
	return anything
}

// ends tells whether what follows the ID is another program's command line.
func (c command) ends() bool { return strings.Contains(c.args, "...") }

func (c command) takes(flag string) bool {
	for _, o := range c.options {
		if o.names[0] == flag {
			return true
		}
	}
	return false
}

// dashed is a flag's name as it is typed.
func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// spellings are all names of options as they are typed.
func spellings(options []option) []string {
	var out []string
	for _, o := range options {
		for _, n := range o.names {
			out = append(out, dashed(n))
		}
	}
	return append(out, "--help", "-h")
}
