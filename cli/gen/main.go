// Command gen writes manual pages and shell completions of berth and berth-layer,
// made from the command tables that their command lines are parsed with. It is a
// program of the build and no part of them.
//
//	gen [-version TEXT] [-date YYYY-MM-DD] man DIR        berth.8, berth-COMMAND.8, berth-layer.8, berth-layer-COMMAND.8
//	gen completions DIR                                   berth.bash, _berth (zsh), berth.fish; likewise of berth-layer
package main

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
)

func main() {
	version := flag.String("version", "", "of berth, for the pages' foot")
	date := flag.String("date", "", "of the pages")
	flag.Parse()
	files := map[string]string{}
	for _, t := range tables() {
		switch flag.Arg(0) {
		case "man":
			maps.Copy(files, manual(t, edition{version: *version, date: *date}))
		case "completions":
			maps.Copy(files, completions(t))
		}
	}
	if len(files) == 0 || flag.NArg() != 2 {
		fmt.Fprintln(os.Stderr, "usage: gen [-version TEXT] [-date DATE] man|completions DIR")
		os.Exit(2)
	}
	if err := write(flag.Arg(1), files); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func write(dir string, files map[string]string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func completions(t table) map[string]string {
	return map[string]string{t.program + ".bash": t.named(bash(t)), "_" + t.program: t.named(zsh(t)), t.program + ".fish": t.named(fish(t))}
}
