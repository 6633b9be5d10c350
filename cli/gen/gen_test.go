package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Whatever the command table has is in the pages, with its text.
func TestManualHasAllOfTheTable(t *testing.T) {
	for _, table := range tables() {
		t.Run(table.program, func(t *testing.T) { manualHasAll(t, table) })
	}
}

func manualHasAll(t *testing.T, table table) {
	pages := manual(table, edition{version: "1.2.3", date: "2000-01-31"})
	if len(table.commands) < 16 || len(pages) != len(all(table.commands))+1 {
		t.Fatalf("%d pages for %d commands", len(pages), len(table.commands))
	}
	check := func(page string, options []option) {
		t.Helper()
		for _, o := range options {
			for _, n := range o.names {
				if !strings.Contains(pages[page], `\fB`+escape(dashed(n))+`\fR`) {
					t.Errorf("%s does not have %s", page, dashed(n))
				}
			}
			if o.usage == "" {
				t.Errorf("%s: %s says nothing of itself", page, o.names[0])
			}
		}
	}
	check(table.program+".8", table.global)
	for _, c := range all(table.commands) {
		page := pageName(c) + ".8"
		check(page, c.options)
		if c.usage == "" || !strings.Contains(pages[page], escape(c.usage)) {
			t.Errorf("%s does not say what it is for: %q", page, c.usage)
		}
		if !strings.Contains(pages[table.program+".8"], ".BR "+escape(pageName(c))+" (8)") {
			t.Errorf(table.program+".8 does not name %s", pageName(c))
		}
	}
	first := pageName(table.commands[0]) + ".8"
	if !strings.Contains(pages[first], `"2000-01-31" "berth 1.2.3"`) {
		t.Error("date and version are not in the head of", first)
	}
}

func TestManualIsCleanForFormatters(t *testing.T) {
	dir := t.TempDir()
	for _, table := range tables() {
		if err := write(dir, manual(table, edition{version: "1", date: "2000-01-31"})); err != nil {
			t.Fatal(err)
		}
	}
	pages, _ := filepath.Glob(dir + "/*.8")
	for _, formatter := range [][]string{
		{"mandoc", "-Tlint", "-W", "warning"},
		{"groff", "-man", "-Tutf8", "-ww", "-z"},
	} {
		t.Run(formatter[0], func(t *testing.T) {
			have(t, formatter[0])
			out, err := exec.Command(formatter[0], append(formatter[1:], pages...)...).CombinedOutput()
			if err != nil || len(out) > 0 {
				t.Errorf("%v: %.2000s", err, out)
			}
		})
	}
}

func TestEscape(t *testing.T) {
	for in, want := range map[string]string{
		".TH x":  `\&.TH x`,
		`a\b-c`:  `a\eb\-c`,
		"'quote": `\&'quote`,
	} {
		if got := escape(in); got != want {
			t.Errorf("escape(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestKinds(t *testing.T) {
	kinds := map[string]string{}
	table := readTable()
	for _, c := range withGlobal(table) {
		for _, o := range c.options {
			kinds[c.name()+" "+dashed(o.names[0])] = o.kind()
		}
	}
	for option, want := range map[string]string{
		" --root":             dirs,
		" --log":              files,
		" --trace":            files,
		" --log-format":       "words text json",
		" --cgroup-manager":   "words cgroupfs systemd disabled",
		" --rootless":         "words true false auto",
		"run --bundle":        dirs,
		"run --pid-file":      files,
		"list --format":       "words table json",
		"ps --format":         "words table json",
		"update --resources":  files,
		"update --memory":     anything,
		"exec --user":         anything,
		"run --preserve-fds":  anything,
		"exec --pidfd-socket": files,
	} {
		if got, ok := kinds[option]; !ok || got != want {
			t.Errorf("%q is completed with %q, want %q", option, got, want)
		}
	}
}

// What the user has typed, and what a shell offers. The last word is the one
// that is completed.
var typed = []struct {
	line string
	want string // must be offered
	not  string // must not
}{
	{"berth ", "create kill list run", "one --root"},
	{"berth st", "start state", "run"},
	{"berth --", "--root --log-format --version", "run --bundle"},
	{"berth --log-format ", "text json", "run"},
	{"berth --root /some/where state ", "one two.3", "/some/where --root"},
	{"berth --root /some/where state o", "one", "two.3"},
	{"berth state one ", "", "two.3"},
	{"berth state --", "--help", "--root"},
	{"berth kill one ", "TERM KILL", "one"},
	{"berth kill --a", "--all", "--regex"},
	{"berth --debug delete --force ", "one", "--force"},
	{"berth run --bundle ", "directory", "file one"},
	{"berth run --pid-file ", "file", "one"},
	{"berth run ", "", "one TERM"}, // a new container's ID
	{"berth list -f ", "table json", "one"},
	{"berth exec ", "one", ""},
	{"berth exec one ", "", "two.3 TERM"},
	{"berth exec --user 1:2 ", "one", "1:2"},
}

// Every command and option of the table is offered by a shell.
func everything() (lines map[string][]string) {
	lines = map[string][]string{}
	t := readTable()
	lines["berth "] = names(t.commands)
	for _, c := range withGlobal(t) {
		line := strings.TrimSpace("berth "+c.name()) + " --"
		for _, s := range spellings(c.options) {
			if strings.HasPrefix(s, "--") {
				lines[line] = append(lines[line], s)
			}
		}
	}
	return lines
}

func TestBash(t *testing.T) {
	const complete = `
source "$1"
line="$2"
read -ra COMP_WORDS <<<"$line"
[[ "$line" != *' ' ]] || COMP_WORDS+=('')
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_berth
printf '%s\n' "${COMPREPLY[@]}"
`
	testShell(t, "berth.bash", func(script, line string) *exec.Cmd {
		return exec.Command("bash", "-uec", complete, "bash", script, line)
	})
	t.Run("value after an equals sign", func(t *testing.T) {
		script := typingPlace(t, "berth.bash")
		const equals = `source "$1"; COMP_WORDS=(berth --log-format = "$2"); COMP_CWORD=$(($3)); _berth; echo "${COMPREPLY[*]}"`
		for _, c := range [][3]string{{"j", "3", "json"}, {"", "2", "text json"}} {
			out, err := exec.Command("bash", "-uec", equals, "bash", script, c[0], c[1]).CombinedOutput()
			if err != nil || strings.TrimSpace(string(out)) != c[2] {
				t.Errorf("%v: %q, want %q", err, out, c[2])
			}
		}
	})
}

func TestFish(t *testing.T) {
	have(t, "fish")
	testShell(t, "berth.fish", func(script, line string) *exec.Cmd {
		return exec.Command("fish", "--no-config", "-c", "source $argv[1]; complete -C $argv[2]", script, line)
	})
}

// zsh completes in its line editor only: this one runs in a pseudo-terminal of
// zsh's own, and prints what would be added.
func TestZsh(t *testing.T) {
	have(t, "zsh")
	const complete = `
zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z "PROMPT= RPROMPT= ; unsetopt zle_bracketed_paste 2>/dev/null; fpath=(${1:h} \$fpath); autoload -Uz compinit; compinit -u -d ${1:h}/dump"
zpty -w z 'compadd() { local -a __r; if [[ ${@[1,(i)(-|--)]} == *-(O|A|D)\ * ]]; then builtin compadd "$@"; return; fi
builtin compadd -O __r "$@"; print -rl -- OFFER:${^__r} >>'"${1:h}"'/offers; builtin compadd "$@" }'
zpty -w z "bindkey '^I' complete-word; bindkey '^X' kill-whole-line; print READY"
until [[ "$line" == *READY* && "$line" != *print* ]]; do zpty -r z line; done
zpty -w -n z "$2"$'\t'
zpty -w -n z $'\x18'"print DO''NE"$'\n'
line=
until [[ "$line" == *DONE* ]]; do zpty -r z line; done
sed -n 's/^OFFER://p' ${1:h}/offers
`
	testShell(t, "_berth", func(script, line string) *exec.Cmd {
		os.Remove(filepath.Join(filepath.Dir(script), "offers"))
		return exec.Command("zsh", "-fc", complete, "zsh", script, line)
	})
}

func testShell(t *testing.T, script string, complete func(script, line string) *exec.Cmd) {
	path := typingPlace(t, script)
	offered := func(line string) []string {
		cmd := complete(path, line)
		cmd.Dir = filepath.Dir(path)
		cmd.Env = append(os.Environ(), "PATH="+cmd.Dir+":"+os.Getenv("PATH"), "HOME="+cmd.Dir, "TERM=dumb")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%q: %v: %.2000s", line, err, out)
		}
		var words []string
		for l := range strings.Lines(string(out)) {
			word, _, _ := strings.Cut(strings.TrimRight(l, "\n"), "\t")
			words = append(words, strings.TrimRight(word, "/ "))
		}
		return words
	}
	for _, c := range typed {
		got := offered(c.line)
		for _, want := range strings.Fields(c.want) {
			if !slices.Contains(got, want) {
				t.Errorf("%q: %s is not among %q", c.line, want, got)
			}
		}
		for _, not := range strings.Fields(c.not) {
			if slices.Contains(got, not) {
				t.Errorf("%q: %s is offered", c.line, not)
			}
		}
	}
	for line, want := range everything() {
		got := offered(line)
		for _, w := range want {
			if !slices.Contains(got, w) {
				t.Errorf("%q: %s is not among %q", line, w, got)
			}
		}
	}
}

// typingPlace is a directory with a completion, whose path it returns, a file, a
// directory and a berth that knows two containers.
func typingPlace(t *testing.T, script string) string {
	dir := t.TempDir()
	for _, table := range tables() {
		if err := write(dir, completions(table)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "directory"), 0o755); err != nil {
		t.Fatal(err)
	}
	const fake = "#!/bin/sh\ncase \"$*\" in\n'list -q' | '--root /some/where list -q' | '--debug list -q') printf 'one\\ntwo.3\\n' ;;\n" +
		"*) echo wrong: \"$*\" >&2; exit 1 ;;\nesac\n"
	if err := os.WriteFile(filepath.Join(dir, "berth"), []byte(fake), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, script)
}

// have skips where a program that only this test needs is not installed; make
// setup installs it.
func have(t *testing.T, program string) {
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("[%s] is not installed", program)
	}
}

// The layer tool's completions have functions of their own.
func TestLayerCompletions(t *testing.T) {
	have(t, "bash")
	script := typingPlace(t, "berth-layer.bash")
	for line, want := range map[string]string{"pu": "pull push", "--js": "--json", "pull --plat": "--platform"} {
		const ask = `source "$1"; read -ra words <<<"berth-layer $2"; COMP_WORDS=("${words[@]}"); COMP_CWORD=$((${#words[@]} - 1)); _berth_layer; echo "${COMPREPLY[*]}"`
		out, err := exec.Command("bash", "-c", ask, "bash", script, line).CombinedOutput()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("%q: %q %v, want %q", line, got, err, want)
		}
	}
	for program, script := range map[string]string{"fish": "berth-layer.fish", "zsh": "_berth-layer"} {
		if _, err := exec.LookPath(program); err == nil {
			if out, err := exec.Command(program, "-n", typingPlace(t, script)).CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", script, err, out)
			}
		}
	}
}

// Nothing in the scripts speaks of a command that is not there.
func TestCompletionsNameOnlyCommands(t *testing.T) {
	table := readTable()
	var known []string
	for _, c := range withGlobal(table) {
		known = append(known, c.name())
	}
	for _, m := range regexp.MustCompile(`(?m)^\t'([a-z ]*) -`).FindAllStringSubmatch(bash(table), -1) {
		if !slices.Contains(known, m[1]) {
			t.Errorf("%q is no command", m[1])
		}
	}
}
