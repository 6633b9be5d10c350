package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"berth/libcontainer"
)

func (r *runner) gcCommand() *cli.Command {
	return &cli.Command{
		Name:  "gc",
		Usage: "remove what killed runtimes and earlier boots of the machine have left below --root",
		Description: "Removed is what a record below --root names: state directory, control groups, scope of systemd, resctrl group\n" +
			"and mount of a container whose runtime was killed while it created it, or that is of another boot. Containers\n" +
			"that run, have ended (see delete --all-stopped) or are being worked with are kept. Each thing is printed with\n" +
			"the reason. The exit status is 0, or 1 where something could not be removed.",
		Before: sealDescriptors,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "dry-run", Usage: "say what would be removed, and remove nothing"},
			&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Value: "text", Usage: "text or json"},
		},
		Action: func(c *cli.Context) error {
			format := c.String("format")
			switch {
			case c.NArg() != 0:
				return usage("gc", "takes no arguments")
			case format != "text" && format != "json":
				return usage("--format", "takes text or json")
			}
			found, err := libcontainer.Collect(r.root, c.Bool("dry-run"), r.log.warn)
			return errors.Join(printFindings(os.Stdout, found, format), err)
		},
	}
}

func printFindings(w io.Writer, found []libcontainer.Finding, format string) error {
	if format == "json" {
		if found == nil {
			found = []libcontainer.Finding{}
		}
		return printJSON(found, "  ")
	}
	t := tabwriter.NewWriter(w, 0, 1, 2, ' ', 0)
	for _, f := range found {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", f.Action, f.Kind, f.Name, f.Why)
	}
	return t.Flush()
}
