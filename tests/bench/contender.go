package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A contender is a program that makes containers.
type contender struct {
	name, bin string
	argv      func(bin, verb string, c container) []string
}

// A container is one that a contender is about to make, or has made.
type container struct {
	id      string   // also the name of its cgroup
	bundle  string   // directory with config.json
	rootfs  string   // the same as in config.json
	args    []string // the same as in config.json
	root    string   // the contender's state directory
	pidFile string
	view    view
}

// command is the command line for verb: run, create, start, exec or delete.
func (d contender) command(verb string, c container) []string { return d.argv(d.bin, verb, c) }

// ociArgv speaks the command line that runc has and others follow.
func ociArgv(bin, verb string, c container) []string {
	argv := []string{bin, "--root", c.root, verb}
	switch verb {
	case "run":
		argv = append(argv, "--bundle", c.bundle)
	case "create":
		argv = append(argv, "--bundle", c.bundle, "--pid-file", c.pidFile)
	}
	argv = append(argv, c.id)
	if verb == "exec" {
		argv = append(argv, c.args...)
	}
	return argv
}

// floorArgv speaks the floor's; see floor.c.
func floorArgv(bin, verb string, c container) []string {
	fifo := filepath.Join(c.root, "fifo")
	switch verb {
	case "run":
		return append([]string{bin, verb, c.view.groups(), c.rootfs, c.id}, c.args...)
	case "create":
		return append([]string{bin, verb, c.view.groups(), c.rootfs, c.id, fifo, c.pidFile}, c.args...)
	case "start":
		return []string{bin, verb, fifo}
	default:
		return []string{bin, verb, c.view.groups(), c.id, fifo, c.pidFile}
	}
}

// findContenders returns those that exist, the floor first, and a note for each that does not.
// A path that is empty means that the name is looked up in PATH.
func findContenders(floor string, paths map[string]string) (found []contender, notes []string) {
	found = []contender{{"floor", floor, floorArgv}}
	for _, name := range []string{"berth", "crun", "runc"} {
		bin := paths[name]
		if bin == "" {
			bin = name
		}
		bin, err := exec.LookPath(bin)
		if err == nil {
			bin, err = filepath.Abs(bin)
		}
		if err != nil {
			notes = append(notes, name+" is left out: "+err.Error())
			continue
		}
		found = append(found, contender{name, bin, ociArgv})
	}
	return found, notes
}

// version is the first line of what the contender says about itself.
func (d contender) version() string {
	if d.name == "floor" {
		return "floor, tests/bench/floor.c"
	}
	out, err := exec.Command(d.bin, "--version").CombinedOutput()
	if err != nil {
		return d.name + ": " + err.Error()
	}
	line, _, _ := strings.Cut(string(out), "\n")
	return line + ", " + d.bin + fileSize(d.bin)
}

func fileSize(name string) string {
	info, err := os.Stat(name)
	if err != nil {
		return ""
	}
	return ", " + megabytes(info.Size())
}
