package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"berth/libcontainer"
	"berth/libcontainer/bundle"
)

func (r *runner) stateCommand() *cli.Command {
	return &cli.Command{
		Name:      "state",
		Usage:     "print a container's state as JSON",
		ArgsUsage: "ID",
		Action: func(c *cli.Context) error {
			id, err := containerID(c)
			if err != nil {
				return err
			}
			container, err := libcontainer.Load(r.root, id)
			if err != nil {
				return err
			}
			return printJSON(container.State(), "  ")
		},
	}
}

func (r *runner) listCommand() *cli.Command {
	return &cli.Command{
		Name:  "list",
		Usage: "list the containers below --root",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Value: "table", Usage: "table or json"},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "IDs only"},
		},
		Action: func(c *cli.Context) error {
			containers, err := libcontainer.List(r.root, r.log.warn)
			if err != nil {
				return err
			}
			states := make([]libcontainer.State, len(containers))
			for i, container := range containers {
				states[i] = container.State()
			}
			return printList(os.Stdout, states, c.String("format"), c.Bool("quiet"))
		},
	}
}

func printList(w io.Writer, states []libcontainer.State, format string, quiet bool) error {
	switch {
	case quiet:
		for _, s := range states {
			fmt.Fprintln(w, s.ID)
		}
		return nil
	case format == "json":
		return json.NewEncoder(w).Encode(states)
	case format != "table":
		return usage("--format", "takes table or json")
	}
	t := tabwriter.NewWriter(w, 12, 1, 3, ' ', 0)
	fmt.Fprintln(t, "ID\tPID\tSTATUS\tBUNDLE\tCREATED\tOWNER")
	for _, s := range states {
		fmt.Fprintf(t, "%s\t%d\t%s\t%s\t%s\t%s\n", s.ID, s.PID, s.Status, s.Bundle, s.Created.Format(time.RFC3339Nano), s.Owner)
	}
	return t.Flush()
}

func (r *runner) planCommand() *cli.Command {
	return &cli.Command{
		Name:      "plan",
		Usage:     "print what a bundle would do, and do nothing",
		ArgsUsage: "[ID]",
		Flags: []cli.Flag{
			bundleFlag(),
			&cli.BoolFlag{Name: "steps", Usage: "print the program: one system call a line"},
			&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Value: "text", Usage: "text or json"},
			&cli.BoolFlag{Name: "no-pivot", Usage: "as of create"},
			&cli.BoolFlag{Name: "no-new-keyring", Usage: "as of create"},
			&cli.IntFlag{Name: "preserve-fds", Usage: "as of create"},
		},
		Action: r.plan,
	}
}

func (r *runner) plan(c *cli.Context) error {
	b, err := bundle.Load(c.String("bundle"))
	if err != nil {
		return err
	}
	id := "ID"
	switch c.NArg() {
	case 0:
	case 1:
		id = c.Args().First()
	default:
		return usage("plan", "takes options first, then at most the container's ID")
	}
	opt := libcontainer.PlanOptions{
		ID: id, NoPivot: c.Bool("no-pivot"), NoNewKeyring: c.Bool("no-new-keyring"),
		Preserve: c.Int("preserve-fds"), Env: libcontainer.HomeVariable(b), CgroupManager: r.manager, Rootless: r.rootless, Fifo: true,
	}
	plan, err := libcontainer.NewPlan(b, opt.Facts(b.Spec), opt)
	if err != nil {
		return err
	}
	if err := plan.CompileSeccomp(""); err != nil {
		return err
	}
	for _, note := range append(plan.Notes, b.UnknownFields()...) {
		fmt.Fprintf(os.Stderr, "note: %s\n", note)
	}
	switch {
	case c.Bool("steps"):
		plan.Rootfs.ReadLinks()
		program, err := plan.Compile()
		if err != nil {
			return err
		}
		_, err = os.Stdout.WriteString(program.String())
		return err
	case c.String("format") == "json":
		return printJSON(plan, "  ")
	case c.String("format") != "text":
		return usage("--format", "takes text or json")
	}
	_, err = os.Stdout.WriteString(plan.String())
	return err
}

func printJSON(v any, indent string) error {
	raw, err := json.MarshalIndent(v, "", indent)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(append(raw, '\n'))
	return err
}
