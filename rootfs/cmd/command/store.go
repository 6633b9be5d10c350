package command

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"berth/rootfs/layer"
)

// errFound is what fsck ends with when something is wrong; it has been printed.
var errFound = errors.New("something is wrong with the store")

func (r *runner) tagCommand() *cli.Command {
	return &cli.Command{
		Name:      "tag",
		Usage:     "give an image one more name",
		ArgsUsage: "IMAGE NAME",
		Action: r.onStore(2, 2, func(c *cli.Context, s *layer.Store) error {
			return s.Tag(c.Context, c.Args().Get(0), c.Args().Get(1))
		}),
	}
}

func (r *runner) rmiCommand() *cli.Command {
	return &cli.Command{
		Name:      "rmi",
		Usage:     "take names away from images, and remove what no other image and no bundle needs",
		ArgsUsage: "IMAGE...",
		Action: r.onStore(1, -1, func(c *cli.Context, s *layer.Store) error {
			removed, err := s.RemoveImage(c.Context, c.Args().Slice()...)
			if err != nil {
				return err
			}
			return r.printRemoved(removed, "freed")
		}),
	}
}

func (r *runner) pruneCommand() *cli.Command {
	return &cli.Command{
		Name:  "prune",
		Usage: "remove what no image and no bundle needs, and what killed processes have left",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "dry-run", Usage: "only say what would be removed"},
			&cli.DurationFlag{Name: "partial", Usage: "remove what unfinished pulls have fetched `AGE` ago or earlier", Value: 7 * 24 * time.Hour},
		},
		Action: r.onStore(0, 0, func(c *cli.Context, s *layer.Store) error {
			removed, err := s.Prune(c.Context, layer.PruneOptions{DryRun: c.Bool("dry-run"), Partial: c.Duration("partial")})
			if err != nil {
				return err
			}
			verb := "freed"
			if c.Bool("dry-run") {
				verb = "would be freed"
			}
			return r.printRemoved(removed, verb)
		}),
	}
}

func (r *runner) printRemoved(removed *layer.Removed, verb string) error {
	if r.json {
		return r.printJSON(removed)
	}
	if !r.quiet {
		for _, name := range removed.Names {
			fmt.Fprintln(r.out, "untagged", name)
		}
		for _, d := range removed.Layers {
			fmt.Fprintln(r.out, "removed layer", short(d.String()))
		}
		fmt.Fprintf(r.out, "%d bytes %s\n", removed.Bytes, verb)
	}
	return nil
}

func (r *runner) fsckCommand() *cli.Command {
	return &cli.Command{
		Name:        "fsck",
		Usage:       "hold everything in the store to its digest, and unpacked layers file by file to their blobs",
		Description: "The exit status is 0 if nothing is wrong, or all of it has been repaired, and 1 otherwise. What was written to a bundle whose record cannot be read is kept in lost/ of the store.",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "repair", Usage: "mend what can be mended: extract damaged files again, remove damaged blobs and leftovers"},
			&cli.BoolFlag{Name: "quick", Usage: "look only for what is missing"},
		},
		Action: r.onStore(0, 0, func(c *cli.Context, s *layer.Store) error {
			found, err := s.Fsck(c.Context, layer.FsckOptions{Repair: c.Bool("repair"), Quick: c.Bool("quick")})
			if shown := r.printFaults(found); err == nil {
				err = shown
			}
			if err != nil {
				return err
			}
			for _, f := range found {
				if !f.Repaired {
					return errFound
				}
			}
			return nil
		}),
	}
}

func (r *runner) printFaults(found []layer.Fault) error {
	if r.json {
		return r.printJSON(append([]layer.Fault{}, found...))
	}
	t := tabwriter.NewWriter(r.out, 0, 1, 2, ' ', 0)
	for _, f := range found {
		state := "wrong"
		if f.Repaired {
			state = "repaired"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", state, f.What, f.Name, f.Why)
	}
	return t.Flush()
}

// each does all, whatever becomes of one.
func each(names []string, do func(string) error) error {
	var errs []error
	for _, name := range names {
		errs = append(errs, do(name))
	}
	return errors.Join(errs...)
}

// epoch is the time that an image is said to be of, and whether no file in it may be newer
// (reproducible-builds.org/specs/source-date-epoch).
func epoch(flag string) (when time.Time, clamp bool, err error) {
	text, name := flag, "--created"
	if text == "" {
		text, name = os.Getenv("SOURCE_DATE_EPOCH"), "SOURCE_DATE_EPOCH"
	}
	if text == "" {
		return time.Time{}, false, nil
	}
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.Unix(seconds, 0).UTC(), true, nil
	}
	if when, err = time.Parse(time.RFC3339, text); err != nil {
		return when, false, usageError{fmt.Sprintf("%s: %q is no time; RFC 3339, or seconds since 1970", name, text)}
	}
	return when.UTC(), true, nil
}
