package command

import (
	"fmt"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"berth/rootfs/layer"
	"berth/rootfs/layer/convert"
)

func (r *runner) createCommand() *cli.Command {
	return &cli.Command{
		Name:      "create",
		Usage:     "make a bundle from an image: BUNDLE/config.json, and BUNDLE/rootfs as an overlay of the image's layers",
		ArgsUsage: "IMAGE BUNDLE [COMMAND [ARGUMENT...]]",
		Description: "`berth run -b BUNDLE NAME` runs it. COMMAND takes the place of the image's own. What is written in the container\n" +
			"is kept apart from the layers, until `commit` makes a layer of it or `rm` removes the bundle.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "form", Usage: "mounted: the overlay is mounted on BUNDLE/rootfs; in-config: it is the first mount of config.json,\n" +
				"so nothing is mounted on the host", Value: string(layer.Mounted)},
			&cli.BoolFlag{Name: "read-only", Usage: "the container may not write to its root"},
			&cli.StringFlag{Name: "size", Usage: "let the container write `BYTES` (k, m, g, t) at most"},
			&cli.BoolFlag{Name: "volatile", Usage: "what is written need not survive a crash of the machine: no sync ever"},
			&cli.BoolFlag{Name: "tty", Aliases: []string{"t"}, Usage: "give the process a terminal"},
			&cli.StringSliceFlag{Name: "env", Aliases: []string{"e"}, Usage: "add `NAME=VALUE` to the environment"},
			&cli.StringFlag{Name: "user", Aliases: []string{"u"}, Usage: "run as `USER[:GROUP]` instead of the image's"},
			&cli.StringFlag{Name: "workdir", Aliases: []string{"w"}, Usage: "start in `DIR` instead of the image's"},
			&cli.StringFlag{Name: "hostname", Usage: "the container's host name"},
			&cli.BoolFlag{Name: "host-network", Usage: "use the host's network instead of an empty one"},
		},
		Action: func(c *cli.Context) error {
			return arguments(2, -1, r.create)(c)
		},
	}
}

func (r *runner) create(c *cli.Context) error {
	o := layer.CreateOptions{
		Form: layer.Form(c.String("form")), Volatile: c.Bool("volatile"),
		Config: convert.Options{
			Args: c.Args().Slice()[2:], Env: c.StringSlice("env"), User: c.String("user"), Cwd: c.String("workdir"),
			Hostname: c.String("hostname"), Terminal: c.Bool("tty"), ReadOnly: c.Bool("read-only"), NetworkHost: c.Bool("host-network"),
		},
	}
	if c.NArg() == 2 {
		o.Config.Args = nil // the image's
	}
	if text := c.String("size"); text != "" {
		var err error
		if o.Size, err = parseBytes("--size", text); err != nil {
			return err
		}
	}
	s, err := r.store()
	if err != nil {
		return err
	}
	b, err := s.Create(c.Context, c.Args().Get(0), c.Args().Get(1), o)
	switch {
	case err != nil:
		return err
	case r.json:
		return r.printJSON(b)
	case !r.quiet:
		fmt.Fprintf(r.out, "%s: %d layers of %s\n", b.Path, len(b.Layers), b.Name)
	}
	return nil
}

func (r *runner) bundlesCommand() *cli.Command {
	return &cli.Command{
		Name:  "bundles",
		Usage: "list the bundles of the store",
		Action: arguments(0, 0, func(c *cli.Context) error {
			s, err := r.store()
			if err != nil {
				return err
			}
			all, err := s.Bundles()
			if err != nil {
				return err
			}
			if r.json {
				return r.printJSON(append([]*layer.Bundle{}, all...))
			}
			t := tabwriter.NewWriter(r.out, 0, 1, 3, ' ', 0)
			if !r.quiet {
				fmt.Fprintln(t, "BUNDLE\tIMAGE\tFORM\tCREATED")
			}
			for _, b := range all {
				if r.quiet {
					fmt.Fprintln(t, b.Path)
					continue
				}
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", b.Path, b.Name, b.Form, when(&b.Created))
			}
			return t.Flush()
		}),
	}
}

func (r *runner) mountCommand() *cli.Command {
	return &cli.Command{
		Name:      "mount",
		Usage:     "mount a bundle's root file system on BUNDLE/rootfs, again after a reboot",
		ArgsUsage: "BUNDLE",
		Action: arguments(1, 1, func(c *cli.Context) error {
			s, err := r.store()
			if err != nil {
				return err
			}
			path, err := s.Mount(c.Context, c.Args().First())
			if err == nil {
				fmt.Fprintln(r.out, path)
			}
			return err
		}),
	}
}

func (r *runner) umountCommand() *cli.Command {
	return &cli.Command{
		Name:      "umount",
		Usage:     "unmount a bundle's root file system; what was written is kept",
		ArgsUsage: "BUNDLE",
		Action: arguments(1, 1, func(c *cli.Context) error {
			s, err := r.store()
			if err != nil {
				return err
			}
			return s.Unmount(c.Context, c.Args().First())
		}),
	}
}

func (r *runner) rmCommand() *cli.Command {
	return &cli.Command{
		Name:      "rm",
		Usage:     "remove bundles and what was written in them",
		ArgsUsage: "BUNDLE...",
		Flags:     []cli.Flag{&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "also one that a container uses"}},
		Action: arguments(1, -1, func(c *cli.Context) error {
			s, err := r.store()
			if err != nil {
				return err
			}
			return each(c.Args().Slice(), func(path string) error {
				return s.RemoveBundle(c.Context, path, layer.RemoveOptions{Force: c.Bool("force")})
			})
		}),
	}
}
