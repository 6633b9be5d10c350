// Command corpus writes every case of package cases into a directory, as OCI image layouts with their expected trees.
//
//	go run ./tests/layers/corpus DIR
//
// The same source gives the same bytes.
package main

import (
	"fmt"
	"os"

	"berth/tests/layers/cases"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: corpus DIR")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "corpus:", err)
		os.Exit(1)
	}
}

func write(dir string) error {
	all, err := cases.All()
	if err != nil {
		return err
	}
	for i := range all {
		if err := all[i].Write(dir); err != nil {
			return fmt.Errorf("%s: %w", all[i].Name, err)
		}
	}
	fmt.Printf("%d cases in %s\n", len(all), dir)
	return nil
}
