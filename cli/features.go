package cli

import (
	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/opencontainers/runtime-spec/specs-go/features"
	"github.com/urfave/cli/v2"

	"berth/libcontainer"
	"berth/libcontainer/host"
)

func (r *runner) featuresCommand() *cli.Command {
	return &cli.Command{
		Name:  "features",
		Usage: "print what this runtime can do as JSON (features.md of the specification)",
		Action: func(*cli.Context) error {
			return printJSON(describeFeatures(host.Probe()), "    ")
		},
	}
}

// describeFeatures is made from the tables that planning itself uses.
func describeFeatures(facts host.Facts) features.Features {
	f := libcontainer.Features(facts)
	f.OCIVersionMin, f.OCIVersionMax = "1.0.0", specs.Version
	f.Annotations = map[string]string{"io.berth.version": version}
	return f
}
