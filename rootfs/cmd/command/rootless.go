package command

import (
	"fmt"
	"os"
	"os/exec"

	"github.com/urfave/cli/v2"

	"berth/rootfs/layer/userns"
)

// handlesFiles are the commands that handle files of images, which belong to many users. For an ordinary user they run in
// a user namespace with his subordinate ids. The others read and write only what is his own.
var handlesFiles = map[string]bool{
	"pull": true, "create": true, "mount": true, "umount": true, "diff": true, "why": true, "commit": true, "export": true,
	"rm": true, "rmi": true, "prune": true, "fsck": true, "unshare": true,
}

// statusError is the status of another program, which has said itself what is wrong.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("exited with %d", int(e)) }

// enter runs the command in a user namespace if this is an ordinary user.
func (r *runner) enter(*cli.Context) error {
	if os.Geteuid() == 0 {
		return nil
	}
	ids, warning, err := userns.Own()
	if err != nil {
		return err
	}
	if warning != "" && !r.quiet {
		r.warn(warning)
	}
	root, err := r.rootDir() // root's default is another
	if err != nil {
		return err
	}
	status, err := userns.Enter(ids, r.args, []string{"BERTH_LAYER_ROOT=" + root})
	if err == nil {
		err = statusError(status)
	}
	return err
}

func (r *runner) unshareCommand() *cli.Command {
	return &cli.Command{
		Name:      "unshare",
		Usage:     "run a program as berth-layer runs for an ordinary user: as root of a user namespace with his subordinate ids",
		ArgsUsage: "[COMMAND [ARGUMENT...]]",
		Description: "In it the files of layers and of containers have the owners that they have in the image, and may be read and\n" +
			"removed. Without COMMAND it is $SHELL.",
		Action: func(c *cli.Context) error {
			argv := c.Args().Slice()
			if len(argv) == 0 {
				argv = []string{shell()}
			}
			path, err := exec.LookPath(argv[0])
			if err != nil {
				return err
			}
			return userns.Exec(path, argv)
		},
	}
}

func shell() string {
	if s := os.Getenv("SHELL"); s != "" {
		return s
	}
	return "/bin/sh"
}
