package cli

import (
	"errors"
	"os"

	"github.com/urfave/cli/v2"

	"berth/libcontainer"
	"berth/libcontainer/supervise"
	"berth/libcontainer/trace"
)

func (r *runner) runCommand() *cli.Command {
	return &cli.Command{
		Name:      "run",
		Usage:     "create and start a container, wait for its process, delete it",
		ArgsUsage: "ID",
		Flags: append(createFlags(),
			&cli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Usage: "return when the process runs; delete is up to you"},
			&cli.BoolFlag{Name: "keep", Usage: "do not delete the container when its process has ended"},
			&cli.BoolFlag{Name: "no-subreaper", Usage: "do not adopt what the container's process leaves behind"},
		),
		Action: r.run,
	}
}

func (r *runner) run(c *cli.Context) error {
	opt, err := r.createOptions(c)
	if err != nil {
		return err
	}
	opt.Detach = c.Bool("detach")
	opt.Reap = !opt.Detach
	opt.NoSubreaper = c.Bool("no-subreaper")
	signals, err := supervise.NewSignals()
	if err != nil {
		return err
	}
	defer signals.Stop()
	container, process, err := libcontainer.Create(opt)
	if err != nil {
		return err
	}
	defer container.Unlock()
	return r.attend(container, opt, c.Bool("keep"), func() (supervise.ExitStatus, error) {
		return r.foreground(container, process, signals, opt)
	})
}

// attend deletes the container when its process has ended, or where stay, which
// stays with it, fails; and makes the process's status the command's.
func (r *runner) attend(container *libcontainer.Container, opt libcontainer.CreateOptions, keep bool, stay func() (supervise.ExitStatus, error)) error {
	status, err := stay()
	if err != nil {
		trace.Fail(err)
		if opt.PidFile != "" {
			os.Remove(opt.PidFile) // nobody may take the pid for a running one
		}
		return errors.Join(err, r.finish(container))
	}
	switch {
	case opt.Detach:
	case keep:
		err = container.NoteExit(status)
	default:
		err = r.finish(container)
	}
	if status == 0 {
		return err
	}
	// Managers take the status for the process's own, whatever is left behind.
	if err != nil {
		r.log.fail(err)
	}
	return exitStatus(status.Code())
}

// finish deletes the container, unless somebody or a failed hook has done that.
func (r *runner) finish(c *libcontainer.Container) error {
	err := c.Lock()
	if errors.Is(err, libcontainer.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return c.Delete(true)
}

// foreground starts the process and, unless detached, stays with it to its end.
// The container comes locked; others may work with it from the start on.
func (r *runner) foreground(c *libcontainer.Container, p *libcontainer.Process, signals *supervise.Signals, opt libcontainer.CreateOptions) (supervise.ExitStatus, error) {
	var notify *supervise.Notify
	if opt.Notify {
		var err error
		if notify, err = supervise.NotifyProxy(os.Getenv("NOTIFY_SOCKET"), c.NotifyDir()); err != nil {
			return 0, err
		}
	}
	return r.accompany(p, signals, opt.Detach, notify, func() error { return c.Release(p) })
}

// accompany lets the process go and, unless detached, stays with it to its end
// and returns its status.
func (r *runner) accompany(p *libcontainer.Process, signals *supervise.Signals, detach bool, notify *supervise.Notify, release func() error) (supervise.ExitStatus, error) {
	var tty *supervise.TTY
	if p.PTMX != nil {
		var err error
		if tty, err = supervise.OpenTTY(p.PTMX, os.Stdin, os.Stdout, os.Stderr); err != nil {
			return 0, err
		}
		defer tty.Close()
	}
	if err := release(); err != nil {
		return 0, err
	}
	trace.Phase("container")
	return supervise.Foreground(supervise.Options{
		Process: supervise.Process{Pid: p.PID, Pidfd: p.Pidfd},
		Signals: signals, TTY: tty, Notify: notify, Detach: detach,
	})
}
