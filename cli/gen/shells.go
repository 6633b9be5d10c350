package main

import (
	"fmt"
	"slices"
	"strings"
)

// In the scripts § is the program's name as part of a function's, and ¤ the name
// as it is typed.
func (t table) named(script string) string {
	return strings.NewReplacer("§", strings.ReplaceAll(t.program, "-", "_"), "¤", t.program).Replace(script)
}

const made = "# Completion of ¤'s command line, made from the command table by cli/gen.\n"

// signalNames are those that people send; kill takes all others, too.
const signalNames = "TERM KILL INT HUP QUIT USR1 USR2 STOP CONT WINCH"

// bash is a completion for bash(1) that needs nothing of bash-completion.
func bash(t table) string {
	var b strings.Builder
	b.WriteString(made + `
# Whose options, by the words of the command.
_§_options() {
	case "$1" in
` + cases(t, func(options []option) string { return "echo " + shellQuote(strings.Join(spellings(options), " ")) }) + `	esac
}

# How the value of an option is completed; fails for one that takes none.
_§_value() {
	case "$1 $2" in
`)
	for _, c := range withGlobal(t) {
		for _, o := range c.options {
			if o.value == "" {
				continue
			}
			var patterns []string
			for _, n := range o.names {
				patterns = append(patterns, shellQuote(c.name()+" "+dashed(n)))
			}
			fmt.Fprintf(&b, "\t%s) echo %s ;;\n", strings.Join(patterns, " | "), shellQuote(o.kind()))
		}
	}
	b.WriteString(`	*) return 1 ;;
	esac
}

# How argument $2, from 0, of a command is completed.
_§_argument() {
	case "$1 $2" in
`)
	for _, c := range all(t.commands) {
		if len(c.sub) > 0 {
			fmt.Fprintf(&b, "\t%s) echo %s ;;\n", shellQuote(c.name()+" 0"), shellQuote(wordsKind+strings.Join(subNames(c), " ")))
			continue
		}
		for n := range strings.Fields(c.args) {
			if kind := c.argument(n); kind != anything {
				fmt.Fprintf(&b, "\t%s) echo %s ;;\n", shellQuote(fmt.Sprintf("%s %d", c.name(), n)), shellQuote(kind))
			}
		}
	}
	b.WriteString(`	esac
}

_§() {
	local cur="${COMP_WORDS[COMP_CWORD]}" option='' command='' kind='' word i
	local -a global=()
	local -i arguments=0
	COMPREPLY=()
	[ "$cur" != = ] || cur=''
	for ((i = 1; i < COMP_CWORD; i++)); do
		word="${COMP_WORDS[i]}"
		# bash splits --option=value into three words.
		[ "$word" != = ] || continue
		if [ -n "$option" ]; then
			[ -n "$command" ] || global+=("$option" "$word")
			option=''
			continue
		fi
		case "$word" in
		-*)
			if _§_value "$command" "$word" >/dev/null; then
				option="$word"
			elif [ -z "$command" ]; then
				global+=("$word")
			fi
			;;
		*)
			if [ -z "$command" ]; then
				command="$word"
			elif [[ " $(_§_argument "$command" 0) " == " words"*" $word "* ]]; then
				command="$command $word"
			else
				arguments+=1
			fi
			;;
		esac
	done
	if [ -n "$option" ]; then
		kind="$(_§_value "$command" "$option")"
	elif [[ "$cur" == -* ]]; then
		((arguments)) || kind="words $(_§_options "$command")"
	elif [ -z "$command" ]; then
		kind=` + shellQuote(wordsKind+strings.Join(names(t.commands), " ")) + `
	else
		kind="$(_§_argument "$command" "$arguments")"
	fi
	case "$kind" in
	files) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
	dirs) mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
	containers) mapfile -t COMPREPLY < <(compgen -W "$("${COMP_WORDS[0]}" "${global[@]}" list -q 2>/dev/null)" -- "$cur") ;;
	signals) mapfile -t COMPREPLY < <(compgen -W '` + signalNames + `' -- "$cur") ;;
	'words '*) mapfile -t COMPREPLY < <(compgen -W "${kind#words }" -- "$cur") ;;
	esac
}

complete -F _§ ¤
`)
	return b.String()
}

// cases are the branches of a case over the words of the command, "" for berth
// itself.
func cases(t table, body func([]option) string) string {
	var b strings.Builder
	for _, c := range withGlobal(t) {
		options := c.options
		if len(c.path) == 0 {
			options = append(slices.Clone(options), option{names: []string{"version", "v"}})
		}
		fmt.Fprintf(&b, "\t%s) %s ;;\n", shellQuote(c.name()), body(options))
	}
	return b.String()
}

// withGlobal are all commands with berth itself, without a name, before them.
func withGlobal(t table) []subcommand {
	return append([]subcommand{{program: t.program, options: t.global}}, all(t.commands)...)
}

func names(commands []subcommand) []string {
	var out []string
	for _, c := range commands {
		out = append(out, c.path[len(c.path)-1])
	}
	return out
}

func subNames(c subcommand) []string { return names(c.sub) }

func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// zsh is a completion function for the directory of $fpath that it is put in.
func zsh(t table) string {
	var b strings.Builder
	b.WriteString("#compdef ¤\n" + made + `
_§_containers() {
	local -a ids before
	before=("${(@)§_words[1,§_command-1]}")
	ids=("${(@f)$("${before[@]}" list -q 2>/dev/null)}")
	compadd -a ids
}

`)
	for _, c := range all(t.commands) {
		b.WriteString(zshFunction(c))
	}
	b.WriteString(zshCommands("_§", "", t.global, t.commands) + "\n_§ \"$@\"\n")
	return b.String()
}

func zshFunction(c subcommand) string {
	name := "_§_" + strings.NewReplacer("-", "_", " ", "_").Replace(c.name())
	if len(c.sub) > 0 {
		return zshCommands(name, c.name(), c.options, c.sub)
	}
	specs := zshOptions(c.options)
	fields := strings.Fields(c.args)
	for n := range fields {
		kind := c.argument(n)
		if n > 0 && kind == anything {
			break
		}
		specs = append(specs, shellQuote(fmt.Sprintf("%d:%s:%s", n+1, strings.ToLower(strings.Trim(fields[n], "[].")), zshAction(kind))))
	}
	if c.ends() {
		specs = append(specs, shellQuote("*:: :_normal"))
	}
	stop := "" // options end with the first argument
	if c.ends() {
		stop = " -A '-*'"
	}
	return fmt.Sprintf("%s() {\n\t_arguments -s%s \\\n\t\t%s\n}\n\n", name, stop, strings.Join(specs, " \\\n\t\t"))
}

// zshCommands is the function of something that has commands.
func zshCommands(function, name string, options []option, commands []subcommand) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s() {\n\tlocal curcontext=\"$curcontext\" state line\n\tlocal -A opt_args\n", function)
	if name == "" {
		b.WriteString("\tlocal -a §_words=(\"${words[@]}\")\n\tlocal -i §_command\n")
		options = append(slices.Clone(options), option{names: []string{"version", "v"}, usage: "print the version"})
	}
	specs := append(zshOptions(options), "'1: :->command'", "'*:: :->rest'")
	fmt.Fprintf(&b, "\t_arguments -C \\\n\t\t%s\n\tcase $state in\n\tcommand)\n\t\tlocal -a commands=(\n", strings.Join(specs, " \\\n\t\t"))
	for _, c := range commands {
		fmt.Fprintf(&b, "\t\t\t%s\n", shellQuote(c.path[len(c.path)-1]+":"+c.usage))
	}
	b.WriteString("\t\t)\n\t\t_describe command commands\n\t\t;;\n\trest)\n")
	if name == "" {
		b.WriteString("\t\t§_command=$(($#§_words - $#words + 1))\n")
	}
	b.WriteString("\t\tcase $line[1] in\n")
	for _, c := range commands {
		word := c.path[len(c.path)-1]
		fmt.Fprintf(&b, "\t\t%s) _§_%s ;;\n", word, strings.NewReplacer("-", "_", " ", "_").Replace(c.name()))
	}
	b.WriteString("\t\tesac\n\t\t;;\n\tesac\n}\n")
	return b.String()
}

func zshOptions(options []option) []string {
	var out []string
	for _, o := range append(slices.Clone(options), option{names: []string{"help", "h"}, usage: "show help"}) {
		var spelt []string
		for _, n := range o.names {
			spelt = append(spelt, dashed(n))
		}
		text := "[" + strings.NewReplacer("[", `\[`, "]", `\]`, ":", `\:`).Replace(o.usage) + "]"
		value := ""
		if o.value != "" {
			value = ":" + strings.NewReplacer(":", `\:`, "[", "", "]", "").Replace(o.value) + ":" + zshAction(o.kind())
		}
		for _, s := range spelt {
			long := ""
			if o.value != "" && strings.HasPrefix(s, "--") {
				long = "="
			}
			out = append(out, shellQuote("*"+s+long+text+value))
		}
	}
	return out
}

func zshAction(kind string) string {
	switch kind {
	case files:
		return "_files"
	case dirs:
		return "_files -/"
	case existing:
		return "_§_containers"
	case signals:
		return "(" + signalNames + ")"
	case anything:
		return " "
	}
	return "(" + strings.TrimPrefix(kind, wordsKind) + ")"
}

// fish is a completion for fish(1).
func fish(t table) string {
	var b strings.Builder
	b.WriteString(made + `
# The command line up to the cursor as it is parsed: the words of the command, the number of its arguments, and before
# them the global options.
function __§_parsed
	set -l words (commandline -opc)
	set -l command
	set -l arguments 0
	set -l value ''
	set -g __§_global
	for word in $words[2..-1]
		if test -n "$value"
			set value ''
			test -n "$command"; or set -a __§_global $word
		else if string match -q -- '-*' $word
			test -n "$command"; or set -a __§_global $word
			if contains -- "$command $word" $__§_values
				set value $word
			end
		else if contains -- (string join ' ' $command $word) $__§_commands
			set -a command $word
		else
			set arguments (math $arguments + 1)
		end
	end
	echo "$command $arguments"
end

function __§_at
	test (__§_parsed) = "$argv"
end

function __§_options_of
	test (__§_parsed) = "$argv 0"
end

function __§_containers
	__§_parsed >/dev/null
	command ¤ $__§_global list -q 2>/dev/null
end

complete -c ¤ -f
`)
	var values, words []string
	for _, c := range withGlobal(t) {
		if c.name() != "" {
			words = append(words, shellQuote(c.name()))
		}
		for _, o := range c.options {
			for _, n := range o.names {
				if o.value != "" {
					values = append(values, shellQuote(c.name()+" "+dashed(n)))
				}
			}
		}
	}
	fmt.Fprintf(&b, "set -g __§_commands %s\nset -g __§_values %s\n\n", strings.Join(words, " "), strings.Join(values, " "))
	fishCommands(&b, "", t.commands)
	for _, c := range withGlobal(t) {
		options := append(slices.Clone(c.options), option{names: []string{"help", "h"}, usage: "show help"})
		if c.name() == "" {
			options = append(options, option{names: []string{"version", "v"}, usage: "print the version"})
		}
		for _, o := range options {
			fmt.Fprintf(&b, "complete -c ¤ -n %s%s -d %s\n", shellQuote("__§_options_of "+fishWord(c.name())), fishOption(o), fishQuote(o.usage))
		}
		for n := range strings.Fields(c.args) {
			if kind := c.argument(n); kind != anything {
				fmt.Fprintf(&b, "complete -c ¤ -n %s%s\n", shellQuote(fmt.Sprintf("__§_at %s %d", fishWord(c.name()), n)), fishAction(kind))
			}
		}
	}
	return b.String()
}

func fishCommands(b *strings.Builder, above string, commands []subcommand) {
	for _, c := range commands {
		fmt.Fprintf(b, "complete -c ¤ -n %s -a %s -d %s\n", shellQuote("__§_at "+fishWord(above)+" 0"), c.path[len(c.path)-1], fishQuote(c.usage))
		fishCommands(b, c.name(), c.sub)
	}
}

// fishWord is the name of a command as words of a condition: berth itself is
// the empty word.
func fishWord(name string) string {
	if name == "" {
		return `""`
	}
	return name
}

func fishOption(o option) string {
	var b strings.Builder
	for _, n := range o.names {
		if len(n) == 1 {
			b.WriteString(" -s " + n)
		} else {
			b.WriteString(" -l " + n)
		}
	}
	if o.value != "" {
		need := " -x"
		if o.kind() == files {
			need = " -r"
		}
		b.WriteString(need + fishAction(o.kind()))
	}
	return b.String()
}

func fishAction(kind string) string {
	switch kind {
	case files:
		return " -F"
	case dirs:
		return ` -a "(__fish_complete_directories)"`
	case existing:
		return ` -a "(__§_containers)"`
	case signals:
		return " -a " + shellQuote(signalNames)
	case anything:
		return ""
	}
	return " -a " + shellQuote(strings.TrimPrefix(kind, wordsKind))
}

// fishQuote is shellQuote for fish, in whose quotes a backslash is one only
// before a quote.
func fishQuote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(s) + "'"
}
