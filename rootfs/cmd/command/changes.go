package command

import (
	"fmt"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"berth/rootfs/layer"
	"berth/rootfs/layer/blob"
)

func (r *runner) diffCommand() *cli.Command {
	return &cli.Command{
		Name:      "diff",
		Usage:     "list what has been added (A), changed (C) and deleted (D) in a bundle, also while its container runs",
		ArgsUsage: "BUNDLE",
		Action: r.onStore(1, 1, func(c *cli.Context, s *layer.Store) error {
			changes, err := s.Diff(c.Context, c.Args().First())
			if err != nil {
				return err
			}
			if r.json {
				return r.printJSON(changes)
			}
			for _, change := range changes {
				fmt.Fprintf(r.out, "%s %s\n", change.Kind, change.Path)
			}
			return nil
		}),
	}
}

func (r *runner) whyCommand() *cli.Command {
	return &cli.Command{
		Name:      "why",
		Usage:     "say which layer a path of a bundle or an image is from, by which step of its history, and what it hides",
		ArgsUsage: "BUNDLE|IMAGE PATH",
		Action: r.onStore(2, 2, func(c *cli.Context, s *layer.Store) error {
			places, err := s.Why(c.Args().Get(0), c.Args().Get(1))
			if err != nil {
				return err
			}
			if r.json {
				return r.printJSON(places)
			}
			t := tabwriter.NewWriter(r.out, 0, 1, 3, ' ', 0)
			fmt.Fprintln(t, "\tLAYER\tWHAT\tMODE\tSIZE\tBY")
			for _, p := range places {
				sign := "hides"
				if p.Shows {
					sign = "shows"
				}
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", sign, p.Layer, p.What, p.Mode, bytes(p.Size), oneLine(p.By))
			}
			return t.Flush()
		}),
	}
}

func (r *runner) commitCommand() *cli.Command {
	return &cli.Command{
		Name:      "commit",
		Usage:     "make an image of a bundle: a layer of what was changed on top of the image it was created from",
		ArgsUsage: "BUNDLE NAME",
		Description: "The same changes make the same layer; with --created or SOURCE_DATE_EPOCH in the environment also the same image.\n" +
			"Pause or stop the container before, if a half-written file would matter.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "message", Aliases: []string{"m"}, Usage: "a `TEXT` for the image's history"},
			&cli.StringFlag{Name: "author", Usage: "who made the image"},
			&cli.StringSliceFlag{Name: "change", Aliases: []string{"c"}, Usage: "change the image's configuration by a `LINE` of a Dockerfile:\n" +
				"CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR"},
			&cli.StringFlag{Name: "compression", Usage: "gzip, zstd or none", Value: "gzip"},
			&cli.StringFlag{Name: "created", Usage: "the `TIME` of the image: RFC 3339, or seconds since 1970; the default is SOURCE_DATE_EPOCH, or now"},
		},
		Action: r.onStore(2, 2, func(c *cli.Context, s *layer.Store) error {
			o := layer.CommitOptions{
				Name: c.Args().Get(1), Message: c.String("message"), Author: c.String("author"), Changes: c.StringSlice("change"),
			}
			var err error
			if o.Compression, err = compression(c.String("compression")); err != nil {
				return err
			}
			if o.Created, o.Clamp, err = epoch(c.String("created")); err != nil {
				return err
			}
			done, err := s.Commit(c.Context, c.Args().Get(0), o)
			switch {
			case err != nil:
				return err
			case r.json:
				return r.printJSON(done)
			case r.quiet:
				fmt.Fprintln(r.out, done.ID)
			default:
				fmt.Fprintf(r.out, "%s: %s, a layer of %d changes, %s\n", o.Name, short(done.ID.String()), done.Changes, bytes(done.Size))
			}
			return nil
		}),
	}
}

func compression(name string) (blob.Compression, error) {
	switch name {
	case "none":
		return blob.Plain, nil
	case "gzip", "zstd":
		return blob.Compression(name), nil
	}
	return "", usageError{fmt.Sprintf("--compression: %q is neither gzip nor zstd nor none", name)}
}
