package cli

import (
	"github.com/urfave/cli/v2"

	"berth/libcontainer"
)

func (r *runner) mountsCommand() *cli.Command {
	return &cli.Command{
		Name:  "mounts",
		Usage: "add mounts to a container that runs, or remove them",
		Subcommands: []*cli.Command{
			r.mountsChange("add", "mount what a file lists, all of it or nothing", (*libcontainer.Container).AddMounts,
				"FILE is a JSON array of mounts as config.json has it; a relative source is below the bundle. Where one fails, those\n"+
					"before it are unmounted again."),
			r.mountsChange("remove", "unmount what a file lists, the last entry first", (*libcontainer.Container).RemoveMounts,
				"FILE is an array as for add, of which only the destinations count. Nothing is unmounted unless something is mounted\n"+
					"at each of them."),
		},
		Action: func(c *cli.Context) error {
			if c.NArg() == 0 {
				return usage("mounts", "takes add or remove, the container's ID and a file")
			}
			return usage("mounts", "takes add or remove, not "+c.Args().First())
		},
	}
}

func (r *runner) mountsChange(name, what string, change func(*libcontainer.Container, string) error, more string) *cli.Command {
	return &cli.Command{
		Name: name, Usage: what, ArgsUsage: "ID FILE", Description: more,
		HideHelpCommand: true, OnUsageError: usageError,
		Action: func(c *cli.Context) error {
			if c.NArg() != 2 {
				return usage("mounts "+name, "takes the container's ID and a file")
			}
			return r.locked(c.Args().First(), func(container *libcontainer.Container) error { return change(container, c.Args().Get(1)) })
		},
	}
}
