package cli

import (
	"math"
	"os"

	"github.com/urfave/cli/v2"

	"berth/libcontainer"
	"berth/libcontainer/supervise"
	"berth/libcontainer/trace"
)

// execFailed is the status of an exec that fails itself; others are the
// process's own.
const execFailed = exitStatus(255)

func (r *runner) execCommand() *cli.Command {
	return &cli.Command{
		Name:      "exec",
		Usage:     "run one more process in a container",
		ArgsUsage: "ID COMMAND [ARGUMENT...]   or   --process FILE ID",
		Flags: append(processFlags(),
			&cli.StringFlag{Name: "process", Aliases: []string{"p"}, Usage: "`file` with the process as config.json has it"},
			&cli.BoolFlag{Name: "tty", Aliases: []string{"t"}, Usage: "give the process a terminal"},
			&cli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Usage: "return when the process runs"},
			&cli.StringFlag{Name: "cwd", Usage: "working `directory`"},
			&cli.StringSliceFlag{Name: "env", Aliases: []string{"e"}, Usage: "set a variable, `NAME=VALUE`"},
			&cli.StringFlag{Name: "user", Aliases: []string{"u"}, Usage: "`USER[:GROUP]`, numbers, or names of the container's /etc/passwd and /etc/group"},
			&cli.Int64SliceFlag{Name: "additional-gids", Aliases: []string{"g"}, Usage: "supplementary `group`"},
			&cli.StringSliceFlag{Name: "cap", Aliases: []string{"c"}, Usage: "add a `capability` to the bounding, permitted and effective sets"},
			&cli.StringFlag{Name: "apparmor", Usage: "AppArmor `profile`"},
			&cli.StringFlag{Name: "process-label", Usage: "SELinux `label`"},
			&cli.BoolFlag{Name: "no-new-privs", Usage: "forbid the process to gain privileges"},
			&cli.StringSliceFlag{Name: "cgroup", Usage: "join a group below the container's, `[CONTROLLERS:]PATH`"},
			&cli.BoolFlag{Name: "ignore-paused", Usage: "join a paused container, and wait until it is resumed"},
		),
		OnUsageError: func(c *cli.Context, err error, sub bool) error { return r.execFailure(usageError(c, err, sub)) },
		Action: func(c *cli.Context) error {
			status, err := r.exec(c)
			if err != nil {
				return r.execFailure(err)
			}
			if status != 0 {
				return exitStatus(status)
			}
			return nil
		},
	}
}

func (r *runner) execFailure(err error) error {
	r.log.fail(err)
	return execFailed
}

func (r *runner) exec(c *cli.Context) (status int, err error) {
	opt, err := r.execOptions(c)
	if err != nil {
		return 0, err
	}
	trace.Subject(c.Args().First())
	container, err := libcontainer.Load(r.root, c.Args().First())
	if err != nil {
		return 0, err
	}
	signals, err := supervise.NewSignals()
	if err != nil {
		return 0, err
	}
	defer signals.Stop()
	process, err := container.Exec(opt)
	if err != nil {
		return 0, err
	}
	ended, err := r.accompany(process, signals, opt.Detach, nil, process.Execute)
	if err != nil && opt.PidFile != "" {
		os.Remove(opt.PidFile) // nobody may take the pid for a running one
	}
	return ended.Code(), err
}

func (r *runner) execOptions(c *cli.Context) (opt libcontainer.ExecOptions, err error) {
	if c.NArg() == 0 {
		return opt, usage("exec", "takes the container's ID and a command")
	}
	if opt.File = c.String("process"); opt.File != "" && c.NArg() > 1 {
		return opt, usage("--process", "takes the place of a command: give one of them")
	}
	gids, err := groupIDs(c.Int64Slice("additional-gids"))
	if err != nil {
		return opt, err
	}
	opt.Command = libcontainer.Command{
		Args: c.Args().Tail(), Terminal: c.Bool("tty"), Cwd: c.String("cwd"), Env: c.StringSlice("env"),
		AdditionalGids: gids, Caps: c.StringSlice("cap"),
		ApparmorProfile: c.String("apparmor"), SelinuxLabel: c.String("process-label"), NoNewPrivileges: c.Bool("no-new-privs"),
	}
	if user := c.String("user"); c.IsSet("user") {
		opt.User = &user
	}
	opt.Cgroups, opt.IgnorePaused, opt.Rootless = c.StringSlice("cgroup"), c.Bool("ignore-paused"), r.rootless
	// Descriptors of socket activation are for a container's first process.
	opt.ProcessOptions, _, err = r.processOptions(c, func(string) string { return "" })
	opt.Detach = c.Bool("detach")
	opt.Reap = !opt.Detach
	return opt, err
}

func groupIDs(numbers []int64) ([]uint32, error) {
	var out []uint32
	for _, n := range numbers {
		if n < 0 || n >= math.MaxUint32 {
			return nil, usage("--additional-gids", "takes numbers from 0 to 4294967294")
		}
		out = append(out, uint32(n))
	}
	return out, nil
}
