// Package command is berth-layer's command line: flags and output. What a command does is in rootfs/layer.
package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"berth/libcontainer/fault"
	"berth/rootfs/layer"
	"berth/rootfs/layer/userns"
)

// Set by the Makefile (-X).
var (
	version = "0.1.0-dev"
	commit  = ""
)

// The statuses that berth-layer exits with.
const (
	statusFailed      = 1
	statusUsage       = 2
	statusInterrupted = 130
)

// Main runs one command and returns the status to exit with. SIGINT and SIGTERM cancel what it does; a second one kills.
func Main(args []string) int {
	userns.Begin()
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-signals
		signal.Stop(signals)
		cancel(errInterrupted)
	}()
	r := &runner{args: args, out: os.Stdout, err: os.Stderr}
	return r.status(r.app().RunContext(ctx, args))
}

var errInterrupted = errors.New("interrupted")

// Table is the table of commands, for the manual pages and completions.
func Table() *cli.App { return (&runner{}).app() }

// runner is what the commands share.
type runner struct {
	args     []string // the whole command line
	root     string
	json     bool
	quiet    bool
	out, err io.Writer
}

// status prints what went wrong, and says how to exit.
func (r *runner) status(err error) int {
	var usage usageError
	var ended statusError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &ended):
		return int(ended)
	case errors.Is(err, errInterrupted), errors.Is(err, context.Canceled):
		fmt.Fprintln(r.err, "berth-layer: interrupted; what was fetched is kept for the next time")
		return statusInterrupted
	case errors.As(err, &usage):
		fmt.Fprintln(r.err, "berth-layer:", err)
		return statusUsage
	case errors.Is(err, errFound):
		return statusFailed
	}
	for _, e := range single(err) {
		fmt.Fprintln(r.err, "berth-layer:", e)
	}
	return statusFailed
}

// single takes joined errors apart.
func single(err error) []error {
	switch joined := err.(type) {
	case *fault.Error:
	case interface{ Unwrap() []error }:
		var out []error
		for _, one := range joined.Unwrap() {
			out = append(out, single(one)...)
		}
		return out
	}
	return []error{err}
}

func (r *runner) app() *cli.App {
	cli.VersionPrinter = func(c *cli.Context) { fmt.Fprintln(r.out, strings.TrimSpace("berth-layer "+version+" "+commit)) }
	app := &cli.App{
		Name:                      "berth-layer",
		Usage:                     "keep OCI image layers, and make bundles from them",
		UsageText:                 "berth-layer [global options] command [command options] [arguments]",
		Version:                   version,
		HideHelpCommand:           true,
		DisableSliceFlagSeparator: true,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "root", Usage: "`directory` of the store", Value: defaultRoot(), EnvVars: []string{"BERTH_LAYER_ROOT"}, Destination: &r.root},
			&cli.BoolFlag{Name: "json", Usage: "print JSON, for machines", Destination: &r.json},
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print no progress, and names or IDs only", Destination: &r.quiet},
		},
		Commands: []*cli.Command{
			r.pullCommand(), r.imagesCommand(), r.inspectCommand(), r.historyCommand(), r.tagCommand(), r.dfCommand(),
			r.createCommand(), r.bundlesCommand(), r.mountCommand(), r.umountCommand(), r.diffCommand(), r.whyCommand(), r.commitCommand(),
			r.exportCommand(), r.pushCommand(), r.rmCommand(), r.rmiCommand(), r.pruneCommand(), r.fsckCommand(),
			r.unshareCommand(),
		},
		ExitErrHandler:  func(*cli.Context, error) {}, // printed in one place, Main
		OnUsageError:    usage,
		CommandNotFound: func(*cli.Context, string) {},
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return usageError{fmt.Sprintf("there is no command %q; berth-layer --help lists them", c.Args().First())}
			}
			return cli.ShowAppHelp(c)
		},
	}
	for _, c := range app.Commands {
		c.HideHelpCommand = true
		c.OnUsageError = usage
		if handlesFiles[c.Name] {
			c.Before = r.enter
		}
	}
	return app
}

// usageError is a command line that nobody can carry out.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

func usage(_ *cli.Context, err error, _ bool) error { return usageError{err.Error()} }

// onStore is what a command with so many arguments does with the store; most < 0 is no limit.
func (r *runner) onStore(least, most int, action func(*cli.Context, *layer.Store) error) cli.ActionFunc {
	return arguments(least, most, func(c *cli.Context) error {
		s, err := r.store()
		if err != nil {
			return err
		}
		return action(c, s)
	})
}

// arguments holds a command to its number of arguments.
func arguments(least, most int, action func(*cli.Context) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		if n := c.NArg(); n < least || most >= 0 && n > most {
			return usageError{fmt.Sprintf("%s: takes %s; see berth-layer %s --help", c.Command.Name, c.Command.ArgsUsage, c.Command.Name)}
		}
		return action(c)
	}
}

// defaultRoot is /var/lib/berth-layer, or below an ordinary user's own data.
func defaultRoot() string {
	if os.Getuid() == 0 {
		return "/var/lib/berth-layer"
	}
	data := os.Getenv("XDG_DATA_HOME")
	if data == "" {
		data = filepath.Join(os.Getenv("HOME"), ".local/share")
	}
	return filepath.Join(data, "berth-layer")
}

// store opens the store that --root names.
func (r *runner) store() (*layer.Store, error) {
	root, err := r.rootDir()
	if err != nil {
		return nil, err
	}
	return layer.Open(root, r.warn)
}

// rootDir is where the store is; an empty variable is none.
func (r *runner) rootDir() (string, error) {
	if r.root == "" {
		return defaultRoot(), nil
	}
	return filepath.Abs(r.root)
}

func (r *runner) warn(text string) { fmt.Fprintln(r.err, "berth-layer: warning:", text) }

func (r *runner) printJSON(v any) error {
	e := json.NewEncoder(r.out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
