package cli

import (
	"os"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"berth/libcontainer"
	"berth/libcontainer/fault"
	"berth/libcontainer/supervise"
	"berth/libcontainer/trace"
)

func (r *runner) startCommand() *cli.Command {
	return &cli.Command{
		Name:      "start",
		Usage:     "let a created container execute its process",
		ArgsUsage: "ID",
		Before:    sealDescriptors,
		Action: func(c *cli.Context) error {
			return r.with(c, func(container *libcontainer.Container) error {
				notify, err := notifyProxy(container)
				if err != nil {
					return err
				}
				defer notify.Close()
				if err := container.Start(); err != nil || notify == nil {
					return err
				}
				container.Unlock()
				return notify.WaitReady(supervise.Process{Pid: container.PID()})
			})
		},
	}
}

// sealDescriptors is for commands that run hooks and hand no descriptor on.
func sealDescriptors(*cli.Context) error { return supervise.SealDescriptors() }

// notifyProxy is nil unless the container was created for sd_notify(3) and
// this runtime is asked to pass it on.
func notifyProxy(c *libcontainer.Container) (*supervise.Notify, error) {
	if _, err := os.Lstat(c.NotifyDir()); err != nil {
		return nil, nil
	}
	return supervise.NotifyProxy(os.Getenv("NOTIFY_SOCKET"), c.NotifyDir())
}

func (r *runner) killCommand() *cli.Command {
	return &cli.Command{
		Name:      "kill",
		Usage:     "send a signal (SIGTERM, TERM or 15) to a container's init",
		ArgsUsage: "ID [SIGNAL]",
		Flags:     []cli.Flag{&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "to all its processes"}, regexFlag()},
		Action: func(c *cli.Context) error {
			if c.NArg() < 1 || c.NArg() > 2 {
				return usage("kill", "takes the container's ID and a signal")
			}
			name := "SIGTERM"
			if c.NArg() == 2 {
				name = c.Args().Get(1)
			}
			signal, err := parseSignal(name)
			if err != nil {
				return err
			}
			if c.Bool("regex") {
				chosen, err := named(c.Args().First())
				if err != nil {
					return err
				}
				return r.each(chosen, func(container *libcontainer.Container) error { return container.Kill(signal, c.Bool("all")) })
			}
			trace.Subject(c.Args().First())
			container, err := libcontainer.Load(r.root, c.Args().First())
			if err != nil {
				return err
			}
			return container.Kill(signal, c.Bool("all"))
		},
	}
}

// parseSignal reads "9", "KILL" and "SIGKILL", in any case.
func parseSignal(s string) (unix.Signal, error) {
	if n, err := strconv.Atoi(s); err == nil && n >= 0 && n <= 64 {
		return unix.Signal(n), nil
	}
	name := strings.ToUpper(s)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if n := unix.SignalNum(name); n != 0 {
		return n, nil
	}
	return 0, &fault.Error{Op: "signal", Path: s, Msg: "unknown signal", Code: "usage", Hint: "give a number or a name such as SIGTERM"}
}

func (r *runner) pauseCommand() *cli.Command {
	return &cli.Command{
		Name:      "pause",
		Usage:     "stop all processes of a container until it is resumed",
		ArgsUsage: "ID",
		Action:    func(c *cli.Context) error { return r.with(c, (*libcontainer.Container).Pause) },
	}
}

func (r *runner) resumeCommand() *cli.Command {
	return &cli.Command{
		Name:      "resume",
		Usage:     "let the processes of a paused container go on",
		ArgsUsage: "ID",
		Action:    func(c *cli.Context) error { return r.with(c, (*libcontainer.Container).Resume) },
	}
}

func (r *runner) deleteCommand() *cli.Command {
	return &cli.Command{
		Name:      "delete",
		Usage:     "remove what is left of a stopped container",
		ArgsUsage: "ID",
		Before:    sealDescriptors,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "kill it first; no error if there is none"},
			regexFlag(),
			&cli.BoolFlag{Name: "all-stopped", Usage: "all containers that have ended"},
		},
		Action: func(c *cli.Context) error {
			switch {
			case c.Bool("regex"), c.Bool("all-stopped"):
				return r.deleteMany(c)
			case c.Bool("force"):
				id, err := containerID(c)
				if err != nil {
					return err
				}
				return libcontainer.ForceRemove(r.root, id, r.log.warn)
			}
			return r.with(c, func(container *libcontainer.Container) error { return container.Delete(false) })
		},
	}
}

// with calls do with the container of the command line, locked.
func (r *runner) with(c *cli.Context, do func(*libcontainer.Container) error) error {
	id, err := containerID(c)
	if err != nil {
		return err
	}
	return r.locked(id, func(container *libcontainer.Container) error {
		trace.Phase(c.Command.Name)
		return do(container)
	})
}

// locked calls do with a container, locked.
func (r *runner) locked(id string, do func(*libcontainer.Container) error) error {
	container, err := libcontainer.Acquire(r.root, id)
	if err != nil {
		return err
	}
	defer container.Unlock()
	container.Warn = func(e *fault.Error) { r.log.warn(e) }
	return do(container)
}
