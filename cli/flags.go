package cli

import "github.com/urfave/cli/v2"

// Flags that know their names. The library asks for them some hundred times in
// one command, and finds them by a regular expression each time.
type (
	stringFlag struct {
		*cli.StringFlag
		names []string
	}
	boolFlag struct {
		*cli.BoolFlag
		names []string
	}
	stringSliceFlag struct {
		*cli.StringSliceFlag
		names []string
	}
	int64SliceFlag struct {
		*cli.Int64SliceFlag
		names []string
	}
)

func (f stringFlag) Names() []string      { return f.names }
func (f boolFlag) Names() []string        { return f.names }
func (f stringSliceFlag) Names() []string { return f.names }
func (f int64SliceFlag) Names() []string  { return f.names }

// withNames makes flags know their names.
func withNames(flags []cli.Flag) []cli.Flag {
	for i, f := range flags {
		switch f := f.(type) {
		case *cli.StringFlag:
			flags[i] = stringFlag{f, append([]string{f.Name}, f.Aliases...)}
		case *cli.BoolFlag:
			flags[i] = boolFlag{f, append([]string{f.Name}, f.Aliases...)}
		case *cli.StringSliceFlag:
			flags[i] = stringSliceFlag{f, append([]string{f.Name}, f.Aliases...)}
		case *cli.Int64SliceFlag:
			flags[i] = int64SliceFlag{f, append([]string{f.Name}, f.Aliases...)}
		}
	}
	return flags
}
