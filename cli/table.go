package cli

import "github.com/urfave/cli/v2"

// Table is berth's command line as it is parsed: global flags and commands, each
// with its flags and subcommands. Manual pages and completions are made from it
// (cli/gen); it is not for running.
func Table() *cli.App { return (&runner{log: &log{}}).app(nil) }
