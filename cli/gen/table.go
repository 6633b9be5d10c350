package main

import (
	"os"
	"regexp"
	"strings"

	urfave "github.com/urfave/cli/v2"

	"berth/cli"
	"berth/rootfs/cmd/command"
)

// table is the command line, as far as pages and completions speak of it:
// without what is hidden.
type table struct {
	program  string
	usage    string
	global   []option
	commands []subcommand
}

// subcommand is one command, or one subcommand of another.
type subcommand struct {
	program     string
	path        []string // its words: "mounts", "add"
	usage       string
	args        string // "ID [SIGNAL]"
	description string
	options     []option
	sub         []subcommand
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

// tables are those of both programs.
func tables() []table { return []table{readTable(), readLayerTable()} }

func readTable() table {
	// The default of --root is that of root, whoever builds.
	os.Unsetenv("XDG_RUNTIME_DIR")
	return tableOf(cli.Table())
}

func readLayerTable() table { return tableOf(command.Table()) }

func tableOf(app *urfave.App) table {
	return table{program: app.Name, usage: app.Usage, global: optionsOf(app.Flags), commands: commandsOf(app.Name, nil, app.Commands)}
}

func commandsOf(program string, above []string, list []*urfave.Command) []subcommand {
	var out []subcommand
	for _, c := range list {
		if c.Hidden {
			continue
		}
		path := append(append([]string{}, above...), c.Name)
		out = append(out, subcommand{
			program: program, path: path, usage: c.Usage, args: c.ArgsUsage, description: c.Description,
			options: optionsOf(c.Flags), sub: commandsOf(program, path, c.Subcommands),
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

func (c subcommand) name() string { return strings.Join(c.path, " ") }

// all are the commands with their subcommands behind them.
func all(commands []subcommand) []subcommand {
	var out []subcommand
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
func (c subcommand) argument(n int) string {
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
	case "FILE", "SOURCE", "DESTINATION":
		return files
	case "BUNDLE", "IMAGE|BUNDLE", "BUNDLE|IMAGE":
		return dirs
	}
	return anything
}

// ends tells whether what follows the ID is another program's command line.
func (c subcommand) ends() bool { return strings.Contains(c.args, "...") }

func (c subcommand) takes(flag string) bool {
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
