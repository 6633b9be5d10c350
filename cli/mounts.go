package cli

import (
	"github.com/urfave/cli/v2"

	"berth/libcontainer"
)

func (r *runner) mountsCommand() *cli.Command {
	return &cli.Command{
		Name:      "mounts",
		Usage:     "add mounts to a container that runs, or remove them",
		ArgsUsage: "add|remove ID FILE",
		Description: "FILE is a JSON array of mounts as config.json has it. add mounts all of them or, where one fails, none; a relative\n" +
			"source is below the bundle. remove unmounts, from the last entry to the first, what is mounted at their\n" +
			"destinations, and nothing unless something is mounted at each; of an entry only the destination counts.",
		Action: func(c *cli.Context) error {
			if c.NArg() != 3 {
				return usage("mounts", "takes add or remove, the container's ID and a file")
			}
			change := (*libcontainer.Container).AddMounts
			switch c.Args().First() {
			case "add":
			case "remove":
				change = (*libcontainer.Container).RemoveMounts
			default:
				return usage("mounts", "takes add or remove, not "+c.Args().First())
			}
			return r.locked(c.Args().Get(1), func(container *libcontainer.Container) error { return change(container, c.Args().Get(2)) })
		},
	}
}
