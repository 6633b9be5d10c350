package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

func main() {
	if isKeeper() {
		keep()
	}
	if err := command(); err != nil {
		fmt.Fprintln(os.Stderr, "validation:", err)
		os.Exit(1)
	}
}

// command is the program for people: it runs what the flags select and prints, or with -update records, the verdicts.
func command() error {
	runtime := flag.String("runtime", "bin/berth", "the runtime `binary`")
	views := flag.String("views", strings.Join(viewNames[:], ","), "cgroup `views` to run in")
	pattern := flag.String("run", "", "only programs that match `regexp`")
	update := flag.Bool("update", false, "write the verdicts into expect.txt")
	only := flag.Bool("prepare", false, "build the programs and run none")
	verbose := flag.Bool("v", false, "print every verdict and what a failing program said")
	flag.Parse()

	match, err := regexp.Compile(*pattern)
	if err != nil {
		return err
	}
	s, err := prepare(repository(), *runtime)
	if err != nil {
		return err
	}
	if *only {
		return nil
	}
	list, err := readList(s.list)
	if err != nil {
		return err
	}
	var selected []job
	for _, view := range strings.Split(*views, ",") {
		if why := missing(view); why != "" {
			fmt.Printf("skipped: view %s: %s\n", view, why)
			continue
		}
		for _, program := range s.programs {
			if match.MatchString(program) {
				selected = append(selected, job{program, view})
			}
		}
	}
	differs := 0
	left := s.run(selected, func(j job, r result) {
		want := list.want(j.program, s.name, j.view)
		r = s.again(j, r, list)
		if *update {
			list.set(j.program, s.name, j.view, r.verdict())
		} else if !agree(want, r.verdict()) {
			differs++
		}
		if *verbose || !agree(want, r.verdict()) {
			fmt.Printf("%-32s %-6s %-4s (listed: %s) %5.1fs %s\n", j.program, j.view, r.verdict(), want, r.Seconds, r.why())
		}
		for _, left := range r.Left {
			fmt.Printf("%-32s %-6s left behind: %s\n", j.program, j.view, left)
		}
	})
	for _, line := range left {
		fmt.Println("left behind by all:", line)
	}
	if *update {
		return os.WriteFile(s.list, []byte(list.String()), 0o644)
	}
	if differs > 0 {
		return fmt.Errorf("%d verdicts differ from the list", differs)
	}
	return nil
}

// repository returns the top directory of berth's module.
func repository() string {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil { // there is no go: it is where this runs
		dir, _ := os.Getwd()
		return dir
	}
	return filepath.Clean(strings.TrimSpace(string(out)))
}
