package cli

import (
	"os"

	"github.com/urfave/cli/v2"

	"berth/libcontainer"
	"berth/libcontainer/fault"
	"berth/libcontainer/supervise"
)

func bundleFlag() cli.Flag {
	return &cli.StringFlag{Name: "bundle", Aliases: []string{"b"}, Value: ".", Usage: "`directory` with config.json"}
}

// processFlags are those of create, run and exec.
func processFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "console-socket", Usage: "`socket` that takes the process's terminal"},
		&cli.StringFlag{Name: "pidfd-socket", Usage: "`socket` that takes a pidfd of the process"},
		&cli.StringFlag{Name: "pid-file", Usage: "write the process's pid to this `file`"},
		&cli.IntFlag{Name: "preserve-fds", Usage: "`N` descriptors from 3 on are the process's too"},
	}
}

// createFlags are those of create and run.
func createFlags() []cli.Flag {
	return append([]cli.Flag{
		bundleFlag(),
		&cli.BoolFlag{Name: "no-pivot", Usage: "move the root instead of pivot_root (for a root on an initramfs)"},
		&cli.BoolFlag{Name: "no-new-keyring", Usage: "keep the session keyring"},
	}, processFlags()...)
}

func (r *runner) createCommand() *cli.Command {
	return &cli.Command{
		Name:      "create",
		Usage:     "make a container whose process waits for start",
		ArgsUsage: "ID",
		Flags:     createFlags(),
		Action: func(c *cli.Context) error {
			opt, err := r.createOptions(c)
			if err != nil {
				return err
			}
			opt.Fifo = true
			container, _, err := libcontainer.Create(opt)
			if err != nil {
				return err
			}
			container.Unlock()
			return nil
		},
	}
}

// createOptions reads what create and run share.
func (r *runner) createOptions(c *cli.Context) (libcontainer.CreateOptions, error) {
	id, err := containerID(c)
	if err != nil {
		return libcontainer.CreateOptions{}, err
	}
	process, env, err := r.processOptions(c, os.Getenv)
	if err != nil {
		return libcontainer.CreateOptions{}, err
	}
	return libcontainer.CreateOptions{
		PlanOptions: libcontainer.PlanOptions{
			ID:            id,
			NoPivot:       c.Bool("no-pivot"),
			NoNewKeyring:  c.Bool("no-new-keyring"),
			Preserve:      len(process.Preserved),
			Env:           env,
			CgroupManager: r.manager,
			Rootless:      r.rootless,
		},
		ProcessOptions: process,
		Root:           r.root,
		Sticky:         r.sticky,
		Bundle:         c.String("bundle"),
		Notify:         os.Getenv("NOTIFY_SOCKET") != "",
	}, nil
}

// processOptions reads processFlags, and the variables that go with preserved
// descriptors. It must come before anything else opens some.
func (r *runner) processOptions(c *cli.Context, getenv func(string) string) (libcontainer.ProcessOptions, []string, error) {
	files, env, err := supervise.Preserved(c.Int("preserve-fds"), getenv)
	if err != nil {
		return libcontainer.ProcessOptions{}, nil, err
	}
	return libcontainer.ProcessOptions{
		Stdio:         [3]int{0, 1, 2},
		Preserved:     files,
		PidFile:       c.String("pid-file"),
		ConsoleSocket: c.String("console-socket"),
		PidfdSocket:   c.String("pidfd-socket"),
		Detach:        true,
		Warn:          func(e *fault.Error) { r.log.warn(e) },
	}, env, nil
}
