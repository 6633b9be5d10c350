package cli

import (
	"encoding/json"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"berth/libcontainer"
)

func (r *runner) eventsCommand() *cli.Command {
	return &cli.Command{
		Name:      "events",
		Usage:     "print what a container uses, and when it runs out of memory, one JSON object a line",
		ArgsUsage: "ID",
		Flags: []cli.Flag{
			&cli.DurationFlag{Name: "interval", Value: 5 * time.Second, Usage: "between two lines with statistics"},
			&cli.BoolFlag{Name: "stats", Usage: "print the statistics once"},
		},
		Action: func(c *cli.Context) error {
			id, err := containerID(c)
			if err != nil {
				return err
			}
			interval := c.Duration("interval")
			if interval <= 0 {
				return usage("--interval", "duration interval must be greater than 0")
			}
			container, err := libcontainer.Load(r.root, id)
			if err != nil {
				return err
			}
			out := json.NewEncoder(os.Stdout)
			print := func(e libcontainer.Event) error { return out.Encode(e) }
			if !c.Bool("stats") {
				return container.Events(interval, print)
			}
			event, err := container.Stats()
			if err != nil {
				return err
			}
			return print(event)
		},
	}
}
