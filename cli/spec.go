package cli

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"

	"berth/libcontainer/defaults"
	"berth/libcontainer/fault"
	"berth/libcontainer/host"
)

func (r *runner) specCommand() *cli.Command {
	return &cli.Command{
		Name:  "spec",
		Usage: "write a config.json to begin with",
		Flags: []cli.Flag{
			bundleFlag(),
			&cli.BoolFlag{Name: "rootless", Usage: "for an ordinary user"},
		},
		Action: func(c *cli.Context) error {
			if c.NArg() != 0 {
				return usage("spec", "takes no arguments")
			}
			return writeSpec(filepath.Join(c.String("bundle"), "config.json"), c.Bool("rootless"))
		},
	}
}

func writeSpec(path string, rootless bool) error {
	spec := defaults.Spec(rootless, os.Geteuid(), os.Getegid())
	if host.Probe().Cgroup.Mode() == "unified" {
		spec = defaults.WithCgroupNamespace(spec)
	}
	raw, err := defaults.Marshal(spec)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if errors.Is(err, fs.ErrExist) {
		return &fault.Error{Op: "write", Path: path, Msg: "it exists already", Hint: "remove it first, or choose another directory with --bundle"}
	}
	if err != nil {
		return fault.From(err, "write", path)
	}
	if _, err := f.Write(raw); err != nil {
		f.Close()
		return fault.From(err, "write", path)
	}
	return f.Close()
}
