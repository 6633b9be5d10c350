package cli

import (
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

// describeFeatures adds what this binary is.
func describeFeatures(facts host.Facts) features.Features {
	f := libcontainer.Features(facts)
	f.Annotations["io.berth.version"] = version
	f.Annotations["io.berth.checkpoint.enabled"] = "true" // with CRIU in $PATH
	if commit != "" {
		f.Annotations["io.berth.commit"] = commit
	}
	return f
}
