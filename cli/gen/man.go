package main

import (
	"fmt"
	"strings"
)

// edition is what the foot of a page says.
type edition struct{ version, date string }

// about is what the main page of a program says beside its commands.
type about struct {
	description string
	exit        string
	files       [][2]string
	environment [][2]string
	see         []string // other pages
}

var abouts = map[string]about{
	"berth": {
		description: "Berth runs containers from OCI bundles: directories with a config.json and a root file system. It takes the place of " +
			"runc below Docker, containerd, Podman, CRI-O, Buildah and BuildKit, and runs bundles by hand.",
		exit:  "0, or 1 where the command failed; run, exec and wait have their own.",
		files: [][2]string{{"/run/berth", "State of the containers, where --root names no other directory; of an ordinary user, $XDG_RUNTIME_DIR/berth."}},
		environment: [][2]string{
			{"NOTIFY_SOCKET", "What the container says with sd_notify(3) is passed on to this socket of the service manager."},
			{"LISTEN_FDS", "As many descriptors from 3 on are handed to the container's process (systemd's socket activation)."},
			{"TRACEPARENT", "With --trace, the ids of the trace that the command is a part of (W3C Trace Context); each event has them."},
		},
		see: []string{"runc", "berth-layer"},
	},
	"berth-layer": {
		description: "berth-layer keeps the layers of OCI images, each once, and makes bundles of them: directories that berth, or any " +
			"other OCI runtime, runs. It pulls images from registries, image layouts and archives, shows what a container has changed, " +
			"makes images of that, and pushes them.",
		exit:  "0; 1 where the command failed, or fsck found something that is not repaired; 2 for a command line that cannot be; 130 after SIGINT or SIGTERM.",
		files: [][2]string{{"/var/lib/berth-layer", "The store, where neither --root nor BERTH_LAYER_ROOT names another directory; of an ordinary user, $XDG_DATA_HOME/berth-layer. It is an OCI image layout."}},
		environment: [][2]string{
			{"BERTH_LAYER_ROOT", "The store."},
			{"BERTH_LAYER_CREDS", "USER:PASSWORD for registries, as --creds."},
			{"REGISTRY_AUTH_FILE", "A file with passwords, as --authfile. Without it those of podman login and docker login are used."},
			{"SOURCE_DATE_EPOCH", "The time, in seconds since 1970, of what commit makes; no file in it is newer."},
			{"HTTPS_PROXY", "A proxy for registries; HTTP_PROXY and NO_PROXY likewise."},
		},
		see: []string{"berth"},
	},
}

// manual is one page for the program and one for each command, by file name.
func manual(t table, e edition) map[string]string {
	pages := map[string]string{t.program + ".8": mainPage(t, e)}
	for _, c := range all(t.commands) {
		pages[pageName(c)+".8"] = commandPage(c, e)
	}
	return pages
}

func pageName(c subcommand) string { return c.program + "-" + strings.Join(c.path, "-") }

func mainPage(t table, e edition) string {
	a := abouts[t.program]
	p := newPage(t.program, t.usage, e)
	p.section("SYNOPSIS")
	p.line(".B " + escape(t.program))
	p.text("[global options] command [command options] [arguments]")
	p.section("DESCRIPTION")
	p.text(a.description)
	p.section("COMMANDS")
	for _, c := range all(t.commands) {
		p.line(".TP\n.B " + escape(c.name()))
		p.text(sentence(c.usage) + " See")
		p.line(".BR " + escape(pageName(c)) + " (8).")
	}
	p.section("GLOBAL OPTIONS")
	p.options(t.global)
	p.line(".TP\n.BR \\-\\-version \", \" \\-v")
	p.text("Print the version, one \"key: value\" a line.")
	p.helpOption()
	p.section("EXIT STATUS")
	p.text(a.exit)
	p.section("FILES")
	for _, f := range a.files {
		p.file(f[0], f[1])
	}
	p.section("ENVIRONMENT")
	for _, v := range a.environment {
		p.file(v[0], v[1])
	}
	p.seeAlso(a.see, t.commands)
	return p.String()
}

func commandPage(c subcommand, e edition) string {
	p := newPage(pageName(c), c.usage, e)
	p.section("SYNOPSIS")
	for i, form := range strings.Split(c.synopsis(), "   or   ") {
		if i > 0 {
			p.line(".br")
		}
		p.line(".B " + escape(c.program))
		p.text("[global options]")
		p.line(".B " + escape(c.name()))
		p.text(strings.TrimSpace("[options] " + form))
	}
	p.section("DESCRIPTION")
	p.text(sentence(c.usage))
	if c.description != "" {
		p.line(".PP")
		p.text(c.description)
	}
	p.section("OPTIONS")
	p.options(c.options)
	p.helpOption()
	p.line(".PP")
	p.text("The global options, which come before the command, are those of")
	p.line(".BR " + escape(c.program) + " (8).")
	p.section("EXIT STATUS")
	p.text(exitStatus(c))
	p.seeAlso([]string{c.program}, c.sub)
	return p.String()
}

func (c subcommand) synopsis() string {
	if len(c.sub) > 0 && c.args == "" {
		return "COMMAND"
	}
	return c.args
}

func exitStatus(c subcommand) string {
	if c.program == "berth-layer" {
		return abouts[c.program].exit
	}
	if c.name() == "wait" {
		return "That of the container's process, 128 and the signal's number where a signal ended it; 255 where wait fails, or nobody knows."
	}
	if !c.takes("detach") {
		return "0, or 1 where it failed; standard error says why."
	}
	failed := "1"
	if c.name() == "exec" {
		failed = "255"
	}
	return "That of the process, 128 and the signal's number where a signal ended it, 0 with --detach; " + failed + " where it could not be run."
}

// page is a text in the man macros of roff, see groff_man(7).
type page struct{ strings.Builder }

func newPage(name, usage string, e edition) *page {
	p := &page{}
	p.line(`.\" Made from the command table by cli/gen.`)
	p.line(fmt.Sprintf(".TH %s 8 %s %s %s", escape(strings.ToUpper(name)), `"`+e.date+`"`, quote(strings.TrimSpace("berth "+e.version)),
		quote("System administration")))
	p.section("NAME")
	p.line(escape(name) + ` \- ` + escape(usage))
	return p
}

func (p *page) line(s string) { p.WriteString(s + "\n") }

// text is filled by the formatter; a sentence begins a line, so that its end
// gets the right space.
func (p *page) text(s string) {
	for sentence := range strings.SplitAfterSeq(s, ". ") {
		p.line(escape(strings.TrimSpace(sentence)))
	}
}

func (p *page) section(name string) { p.line(".SH " + quote(name)) }

func (p *page) options(options []option) {
	for _, o := range options {
		names := make([]string, len(o.names))
		for i, n := range o.names {
			names[i] = `\fB` + escape(dashed(n)) + `\fR`
		}
		tag := strings.Join(names, ", ")
		if o.value != "" {
			tag += ` \fI` + escape(o.value) + `\fR`
		}
		p.line(".TP\n" + tag)
		text := sentence(o.usage)
		if o.initial != "" && o.initial != "0" {
			text += " The default is " + strings.Trim(o.initial, `"`) + "."
		}
		p.text(text)
	}
}

func (p *page) helpOption() {
	p.line(".TP\n.BR \\-\\-help \", \" \\-h")
	p.text("Show help.")
}

func (p *page) file(name, text string) {
	p.line(".TP\n.I " + escape(name))
	p.text(text)
}

func (p *page) seeAlso(pages []string, commands []subcommand) {
	p.section("SEE ALSO")
	for _, c := range commands {
		pages = append(pages, pageName(c))
	}
	for i, name := range pages {
		comma := " ,"
		if i == len(pages)-1 {
			comma = ""
		}
		p.line(".BR " + escape(name) + " (8)" + comma)
	}
}

// sentence begins with a capital and ends with a full stop. Names of files and
// values stay as they are.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	if first, _, _ := strings.Cut(s, " "); strings.ToLower(first) == first && !strings.ContainsAny(first, ":,=-/.") {
		s = strings.ToUpper(s[:1]) + s[1:]
	}
	return s + "."
}

// escape keeps text from being taken for requests and escapes of roff.
func escape(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, "`", "", "…", "...").Replace(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	return s
}

func quote(s string) string { return `"` + strings.ReplaceAll(escape(s), `"`, `\(dq`) + `"` }
