// Package cli is berth's command line: flags and output. What a command does
// is in libcontainer.
package cli

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v2"

	"berth/cgroups"
	"berth/libcontainer/fault"
	"berth/libcontainer/host"
	"berth/libcontainer/process/seccomp"
	"berth/libcontainer/trace"
	"berth/nsenter"
)

// Set by the Makefile (-X).
var (
	version = "0.1.0-dev"
	commit  = ""
)

// Main runs one command and returns the status to exit with: 0, the status of
// a foreground container's process, or 1 with the error written to the log and
// to standard error.
func Main(args []string) int {
	r := &runner{log: &log{}, begun: nsenter.Begun()}
	defer r.endTrace()
	err := r.app(args).Run(args)
	var status exitStatus
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	}
	r.log.fail(err)
	return 1
}

// exitStatus is no failure of ours: what the container's process ended with.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// runner is what the commands share: the global flags.
type runner struct {
	root     string
	sticky   bool // root is in XDG_RUNTIME_DIR
	manager  string
	rootless cgroups.Rootless
	log      *log
	begun    []trace.Event // see nsenter.Begun
	trace    string        // the file of --trace
}

// app is the command line for these arguments, or any (nil).
func (r *runner) app(args []string) *cli.App {
	cli.VersionPrinter = func(*cli.Context) { printVersion() }
	app := &cli.App{
		Name:            "berth",
		Usage:           "run containers from OCI bundles",
		UsageText:       "berth [global options] command [command options] [arguments]",
		Version:         version,
		HideHelpCommand: true,
		// A value may have a comma in it.
		DisableSliceFlagSeparator: true,
		Flags:                     globalFlags(),
		Before:                    r.before,
		Commands:                  r.commands(args),
		// Errors are printed in one place, Main.
		ExitErrHandler: func(*cli.Context, error) {},
		OnUsageError:   usageError,
		CommandNotFound: func(*cli.Context, string) {
		},
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return &fault.Error{Op: "command", Path: c.Args().First(), Msg: "there is no such command", Code: "usage",
					Hint: "berth --help lists them"}
			}
			return cli.ShowAppHelp(c)
		},
	}
	withNames(app.Flags)
	for _, c := range app.Commands {
		withNames(c.Flags)
		c.HideHelpCommand = true
		if c.OnUsageError == nil {
			c.OnUsageError = usageError
		}
	}
	return app
}

// commands are those whose names are among the arguments, because each takes its time to make: all where none is, and where
// help is asked for.
func (r *runner) commands(args []string) []*cli.Command {
	type maker struct {
		name string
		make func() *cli.Command
	}
	all := []maker{
		{"create", r.createCommand}, {"run", r.runCommand}, {"start", r.startCommand}, {"exec", r.execCommand},
		{"state", r.stateCommand}, {"kill", r.killCommand}, {"pause", r.pauseCommand}, {"resume", r.resumeCommand},
		{"delete", r.deleteCommand}, {"list", r.listCommand}, {"ps", r.psCommand}, {"update", r.updateCommand},
		{"events", r.eventsCommand}, {"checkpoint", r.checkpointCommand}, {"restore", r.restoreCommand},
		{"wait", r.waitCommand}, {"mounts", r.mountsCommand}, {"gc", r.gcCommand}, {"plan", r.planCommand},
		{"spec", r.specCommand}, {"features", r.featuresCommand},
	}
	isNamed := func(c maker) bool { return slices.Contains(args, c.name) }
	help := slices.Contains(args, "--help") || slices.Contains(args, "-h")
	if !help && slices.ContainsFunc(all, isNamed) {
		all = slices.DeleteFunc(all, func(c maker) bool { return !isNamed(c) })
	}
	commands := make([]*cli.Command, len(all))
	for i, c := range all {
		commands[i] = c.make()
	}
	return commands
}

func globalFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "root", Value: defaultRoot(), Usage: "directory of the containers' state"},
		&cli.StringFlag{Name: "log", Usage: "append errors to this `file`, besides standard error"},
		&cli.StringFlag{Name: "log-format", Value: "text", Usage: "format of the log: text or json"},
		&cli.BoolFlag{Name: "debug", Usage: "log warnings and notes too"},
		&cli.StringFlag{Name: "trace", Usage: "append what the command spends its time on to this `file`, for ui.perfetto.dev; with the ids of TRACEPARENT"},
		&cli.BoolFlag{Name: "systemd-cgroup", Usage: "let systemd manage the control groups: --cgroup-manager systemd"},
		&cli.StringFlag{Name: "cgroup-manager", Value: "cgroupfs", Usage: "what manages the control groups: cgroupfs, systemd or disabled"},
		&cli.StringFlag{Name: "rootless", Value: "auto", Usage: "be content with the control groups that may be made: true, false, or auto for all but the host's root"},
	}
}

// defaultRoot is /run/berth, or below the user's own runtime directory.
func defaultRoot() string {
	if dir := runtimeDir(); dir != "" {
		return filepath.Join(dir, "berth")
	}
	return "/run/berth"
}

// runtimeDir is $XDG_RUNTIME_DIR of an ordinary user, also of one who is root
// in a user namespace that he has made (USER is still his then); "" is none.
func runtimeDir() string {
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" || os.Geteuid() != 0 {
		return dir
	}
	if os.Getenv("USER") == "root" || !host.InUserNamespace() {
		return ""
	}
	return dir
}

func (r *runner) before(c *cli.Context) error {
	if err := r.log.open(c.String("log"), c.String("log-format"), c.Bool("debug")); err != nil {
		return err
	}
	if err := r.beginTrace(c); err != nil {
		return err
	}
	root, err := filepath.Abs(c.String("root"))
	if err != nil || c.String("root") == "" || root == "/" {
		return usage("--root", "names the directory of the containers' state: neither empty nor /")
	}
	r.root, r.sticky = root, !c.IsSet("root") && runtimeDir() != ""
	if r.manager, err = manager(c); err != nil {
		return err
	}
	r.rootless, err = rootless(c.String("rootless"))
	return err
}

func rootless(value string) (cgroups.Rootless, error) {
	switch value {
	case "auto", "":
		return cgroups.RootlessAuto, nil
	case "true":
		return cgroups.RootlessYes, nil
	case "false":
		return cgroups.RootlessNo, nil
	}
	return 0, usage("--rootless", "takes true, false or auto")
}

func manager(c *cli.Context) (string, error) {
	m := c.String("cgroup-manager")
	if c.Bool("systemd-cgroup") {
		m = cgroups.ManagerSystemd
	}
	if slices.Contains(cgroups.Managers(), m) {
		return m, nil
	}
	return "", usage("--cgroup-manager", "takes cgroupfs, systemd or disabled")
}

func usage(flag, what string) error {
	return &fault.Error{Op: "option", Path: flag, Msg: what, Code: "usage"}
}

func usageError(_ *cli.Context, err error, _ bool) error {
	return &fault.Error{Op: "command line", Msg: err.Error(), Code: "usage", Hint: "--help shows the options"}
}

// printVersion keeps to the form that managers parse: "NAME version X", then
// one "key: value" a line.
func printVersion() {
	fmt.Printf("berth version %s\n", version)
	if commit != "" {
		fmt.Printf("commit: %s\n", commit)
	}
	fmt.Printf("spec: %s\ngo: %s\nlibseccomp: %s\n", specs.Version, runtime.Version(), seccomp.Version())
}

// containerID is the one argument of most commands.
func containerID(c *cli.Context) (string, error) {
	if c.NArg() != 1 {
		return "", &fault.Error{Op: c.Command.Name, Code: "usage",
			Msg: fmt.Sprintf("takes the container's ID and nothing else, not %d arguments", c.NArg())}
	}
	trace.Subject(c.Args().First())
	return c.Args().First(), nil
}
