package cli

import (
	"errors"
	"regexp"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v2"

	"berth/libcontainer"
	"berth/libcontainer/fault"
)

func regexFlag() cli.Flag {
	return &cli.BoolFlag{Name: "regex", Aliases: []string{"r"}, Usage: "ID is a regular expression: all containers of which it is a part of the ID"}
}

// each calls do for every container below --root that is chosen. All are
// tried; the error tells of each that failed.
func (r *runner) each(chosen func(*libcontainer.Container) bool, do func(*libcontainer.Container) error) error {
	containers, err := libcontainer.List(r.root, r.log.warn)
	if err != nil {
		return err
	}
	var failed fault.List
	for _, c := range containers {
		if !chosen(c) {
			continue
		}
		// Who is gone meanwhile is none of those that were asked for.
		if err := do(c); err != nil && !errors.Is(err, libcontainer.ErrNotExist) {
			failed = append(failed, fault.From(err, "container", c.ID))
		}
	}
	return failed.Err()
}

// named chooses by a regular expression.
func named(expression string) (func(*libcontainer.Container) bool, error) {
	re, err := regexp.Compile(expression)
	if err != nil {
		return nil, usage("--regex", err.Error())
	}
	return func(c *libcontainer.Container) bool { return re.MatchString(c.ID) }, nil
}

func stopped(c *libcontainer.Container) bool { return c.Status() == specs.StateStopped }

// deleteMany is delete with --regex or --all-stopped.
func (r *runner) deleteMany(c *cli.Context) error {
	chosen := stopped
	switch {
	case !c.Bool("all-stopped"):
		expression, err := containerID(c)
		if err != nil {
			return err
		}
		if chosen, err = named(expression); err != nil {
			return err
		}
	case c.NArg() != 0 || c.Bool("regex"):
		return usage("--all-stopped", "takes no ID")
	}
	return r.each(chosen, func(container *libcontainer.Container) error {
		if c.Bool("force") {
			return libcontainer.ForceRemove(r.root, container.ID, r.log.warn)
		}
		return r.locked(container.ID, func(locked *libcontainer.Container) error {
			if c.Bool("all-stopped") && !stopped(locked) {
				return nil // another one of that ID by now
			}
			return locked.Delete(false)
		})
	})
}
