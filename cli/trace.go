package cli

import (
	"os"

	"github.com/urfave/cli/v2"

	"berth/libcontainer/fault"
	"berth/libcontainer/trace"
)

// beginTrace begins what --trace asks for, before the command has done anything.
func (r *runner) beginTrace(c *cli.Context) error {
	r.trace = c.String("trace")
	if r.trace == "" {
		return nil
	}
	err := trace.Open(r.trace, "berth "+c.Args().First(), os.Getenv("TRACEPARENT"), r.begun)
	if err == nil {
		return nil
	}
	e := fault.From(err, "trace", r.trace)
	e.Hint = "--trace takes a file that may be written to: a new one, or one with a trace in it"
	return e
}

// endTrace writes the trace, also that of a command that has failed. One that is lost fails no command.
func (r *runner) endTrace() {
	if err := trace.Close(); err != nil {
		r.log.warn(fault.From(err, "trace", r.trace))
	}
}
