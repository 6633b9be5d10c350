package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"berth/libcontainer"
	"berth/libcontainer/fault"
)

func (r *runner) psCommand() *cli.Command {
	return &cli.Command{
		Name:      "ps",
		Usage:     "list the processes of a container",
		ArgsUsage: "ID [PS-OPTION...]",
		Description: "The table is that of the host's ps(1), called with the options (-ef without any) and without the lines of other processes; " +
			"its columns have to include PID.",
		Flags: []cli.Flag{&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Value: "table", Usage: "table, or json: the pids alone"}},
		Action: func(c *cli.Context) error {
			if c.NArg() == 0 {
				return usage("ps", "takes the container's ID and options of ps")
			}
			format := c.String("format")
			if format != "table" && format != "json" {
				return usage("--format", "invalid format option: takes table or json")
			}
			container, err := libcontainer.Load(r.root, c.Args().First())
			if err != nil {
				return err
			}
			pids, err := container.Processes()
			if err != nil {
				return err
			}
			if format == "json" {
				return json.NewEncoder(os.Stdout).Encode(append([]int{}, pids...))
			}
			table, err := hostProcesses(c.Args().Tail())
			if err != nil {
				return err
			}
			return printProcesses(os.Stdout, table, pids)
		},
	}
}

// hostProcesses is what the host's ps says.
func hostProcesses(options []string) (string, error) {
	if len(options) == 0 {
		options = []string{"-ef"}
	}
	out, err := exec.Command("ps", options...).CombinedOutput()
	if errors.Is(err, exec.ErrNotFound) {
		return "", &fault.Error{Op: "ps", Msg: "the host has none", Hint: "install it (Debian: procps), or use --format json"}
	}
	if err != nil {
		return "", &fault.Error{Op: "ps", Path: strings.Join(options, " "), Msg: err.Error() + ": " + string(bytes.TrimSpace(out))}
	}
	return string(out), nil
}

// printProcesses prints the head of a table of ps and the lines of these
// processes.
func printProcesses(w io.Writer, table string, pids []int) error {
	head, rest, _ := strings.Cut(table, "\n")
	column := slices.Index(strings.Fields(head), "PID")
	if column < 0 {
		return &fault.Error{Op: "ps", Msg: "couldn't find PID field in ps output", Hint: "give options with which ps prints a column PID"}
	}
	fmt.Fprintln(w, head)
	for line := range strings.Lines(rest) {
		fields := strings.Fields(line)
		if len(fields) <= column {
			continue
		}
		if pid, err := strconv.Atoi(fields[column]); err == nil && slices.Contains(pids, pid) {
			fmt.Fprint(w, line)
		}
	}
	return nil
}
