// Command gen writes berth's manual pages and shell completions, made from the
// command table that the command line is parsed with. It is a program of the
// build and no part of berth.
//
//	gen [-version TEXT] [-date YYYY-MM-DD] man DIR        berth.8 and berth-COMMAND.8
//	gen completions DIR                                   berth.bash, _berth (zsh), berth.fish
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	version := flag.String("version", "", "of berth, for the pages' foot")
	date := flag.String("date", "", "of the pages")
	flag.Parse()
	var files map[string]string
	switch flag.Arg(0) {
	case "man":
		files = manual(readTable(), edition{version: *version, date: *date})
	case "completions":
		files = completions(readTable())
	}
	if files == nil || flag.NArg() != 2 {
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
	return map[string]string{"berth.bash": bash(t), "_berth": zsh(t), "berth.fish": fish(t)}
}
