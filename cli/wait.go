package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"berth/libcontainer"
)

// waitFailed is the status of a wait that fails itself, or does not know.
const waitFailed = exitStatus(255)

func (r *runner) waitCommand() *cli.Command {
	return &cli.Command{
		Name:      "wait",
		Usage:     "wait until a container has ended, and exit as its process did",
		ArgsUsage: "ID",
		Description: "Printed is how the process ended, and whether the kernel killed for want of memory in the container; as json also\n" +
			"CPU time, peak memory and wall time. The exit status is the process's own, 128 and the number of the signal that\n" +
			"killed it, or 255 where wait fails or nobody knows: of a container that had ended before (unless run --keep or\n" +
			"another wait saw it), and before Linux 6.15 of one that its parent reaps too quickly.",
		Flags: []cli.Flag{&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Value: "text", Usage: "text or json"}},
		Action: func(c *cli.Context) error {
			err := r.wait(c)
			var status exitStatus
			if err == nil || errors.As(err, &status) {
				return err
			}
			r.log.fail(err)
			return waitFailed
		},
	}
}

func (r *runner) wait(c *cli.Context) error {
	id, err := containerID(c)
	if err != nil {
		return err
	}
	format := c.String("format")
	if format != "text" && format != "json" {
		return usage("--format", "takes text or json")
	}
	container, err := libcontainer.Acquire(r.root, id)
	if err != nil {
		return err
	}
	container.Yield()
	defer container.Unlock()
	exit, err := container.Wait()
	if err != nil {
		return err
	}
	if format == "json" {
		err = printJSON(exit, "  ")
	} else {
		_, err = fmt.Fprintln(os.Stdout, exit)
	}
	code, known := exit.Code()
	switch {
	case err != nil:
		return err
	case !known:
		return waitFailed
	case code != 0:
		return exitStatus(code)
	}
	return nil
}
