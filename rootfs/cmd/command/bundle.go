package command

import (
	"fmt"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"berth/rootfs/layer"
	"berth/rootfs/layer/convert"
	"berth/rootfs/layer/userns"
)

func (r *runner) createCommand() *cli.Command {
	return &cli.Command{
		Name:      "create",
		Usage:     "make a bundle from an image: BUNDLE/config.json, and BUNDLE/rootfs as an overlay of the image's layers",
		ArgsUsage: "IMAGE BUNDLE [COMMAND [ARGUMENT...]]",
		Description: "`berth run -b BUNDLE NAME` runs it. COMMAND takes the place of the image's own. What is written in the container\n" +
			"is kept apart from the layers, until `commit` makes a layer of it or `rm` removes the bundle. So is what it writes to\n" +
			"volumes of the image, but no commit has that. As an ordinary user's, the container has his subordinate ids, as the\n" +
			"files of its layers have, and the form is in-config.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "form", Usage: "mounted (default): the overlay is mounted on BUNDLE/rootfs; in-config (default of ordinary users): it is\n" +
				"the first mount of config.json, so nothing is mounted on the host. Layers kept as EROFS images are unpacked\n" +
				"as directories too for it, the first time"},
			&cli.BoolFlag{Name: "read-only", Usage: "the container may not write to its root"},
			&cli.StringFlag{Name: "size", Usage: "let the container write to a file system of its own of `BYTES` (k, m, g, t): ext4, which needs some\n" +
				"of it itself, or memory with --volatile. `berth-layer mount` mounts it again after a reboot. Only for root"},
			&cli.BoolFlag{Name: "volatile", Usage: "what is written need not survive a crash of the machine: no sync ever"},
			&cli.StringFlag{Name: "userns-remap", Usage: "run in a user namespace with the subordinate ids of `USER` (/etc/subuid, /etc/subgid), or with those\n" +
				"of UID:GID:SIZE, from 0 up. Files keep the owners of the image. Only for root"},
			&cli.StringSliceFlag{Name: "uidmap", Usage: "run in a user namespace with `CONTAINER:HOST:SIZE` as users"},
			&cli.StringSliceFlag{Name: "gidmap", Usage: "groups of that user namespace, `CONTAINER:HOST:SIZE`; as the users, if not given"},
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
		Form: layer.Form(c.String("form")), Volatile: c.Bool("volatile"), Rootless: userns.Entered(),
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
	var err error
	if o.Userns, err = mapping(c.String("userns-remap"), c.StringSlice("uidmap"), c.StringSlice("gidmap")); err != nil {
		return err
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

// mapping is the user namespace that a person asks for; nil: none.
func mapping(remap string, uids, gids []string) (*userns.Mapping, error) {
	var m userns.Mapping
	var err error
	switch {
	case remap != "" && len(uids)+len(gids) > 0:
		return nil, usageError{"create: --userns-remap is a mapping already; leave out --uidmap and --gidmap"}
	case remap != "":
		m, err = userns.Remapped(remap)
	case len(uids) > 0:
		m, err = userns.Parse(uids, gids)
	case len(gids) > 0:
		return nil, usageError{"create: --gidmap needs --uidmap"}
	default:
		return nil, nil
	}
	return &m, err
}

func (r *runner) bundlesCommand() *cli.Command {
	return &cli.Command{
		Name:  "bundles",
		Usage: "list the bundles of the store",
		Action: r.onStore(0, 0, func(c *cli.Context, s *layer.Store) error {
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
		Usage:     "mount a bundle's root file system on BUNDLE/rootfs, again after a reboot, and what limits its size",
		ArgsUsage: "BUNDLE",
		Action: r.onStore(1, 1, func(c *cli.Context, s *layer.Store) error {
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
		Action: r.onStore(1, 1, func(c *cli.Context, s *layer.Store) error {
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
		Action: r.onStore(1, -1, func(c *cli.Context, s *layer.Store) error {
			return each(c.Args().Slice(), func(path string) error {
				return s.RemoveBundle(c.Context, path, layer.RemoveOptions{Force: c.Bool("force")})
			})
		}),
	}
}
