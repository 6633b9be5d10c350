package command

import (
	"fmt"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/urfave/cli/v2"

	"berth/rootfs/layer"
	"berth/rootfs/layer/transport"
	"berth/rootfs/layer/transport/manifest"
)

const transports = "docker://HOST/NAME[:TAG][@DIGEST], oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME:TAG] or dir:DIR"

func (r *runner) pullCommand() *cli.Command {
	return &cli.Command{
		Name:      "pull",
		Usage:     "bring an image into the store",
		ArgsUsage: "SOURCE [NAME]",
		Description: "SOURCE is " + transports + ".\n" +
			"NAME is what the image is called in the store; without it, what SOURCE calls it. Layers that are in the store are\n" +
			"not fetched. A pull that was interrupted goes on where it was when it is repeated.",
		Flags: append(registryFlags(),
			&cli.StringFlag{Name: "platform", Usage: "of an index take the image for `OS/ARCH[/VARIANT]`; the default is this machine's"},
			&cli.StringFlag{Name: "backend", Usage: "how layers are kept: dir, erofs, or auto for what the kernel can do best", Value: "auto"},
			&cli.IntFlag{Name: "jobs", Aliases: []string{"j"}, Usage: "layers at once; 0 is one for each processor, at least 3"},
			&cli.StringFlag{Name: "max-size", Usage: "refuse a layer whose tar is larger than `BYTES` (k, m, g, t); 0 is no limit", Value: "64g"},
			&cli.Int64Flag{Name: "max-ratio", Usage: "refuse a layer that is more than `N` times as large unpacked; 0 is no limit", Value: 1000},
			&cli.Int64Flag{Name: "max-entries", Usage: "refuse a layer with more files; 0 is no limit", Value: 4 << 20},
		),
		Action: arguments(1, 2, r.pull),
	}
}

func (r *runner) pull(c *cli.Context) error {
	ref, err := transport.Parse(c.Args().First())
	if err != nil {
		return err
	}
	o := layer.PullOptions{Name: c.Args().Get(1), Backend: layer.Backend(c.String("backend")), Jobs: c.Int("jobs")}
	if o.Limits.Size, err = parseBytes("--max-size", c.String("max-size")); err != nil {
		return err
	}
	o.Limits.Ratio, o.Limits.Entries = c.Int64("max-ratio"), c.Int64("max-entries")
	if o.Platform, err = platform(c.String("platform")); err != nil {
		return err
	}
	s, err := r.store()
	if err != nil {
		return err
	}
	options, err := registryOptions(c)
	if err != nil {
		return err
	}
	options.SizeOnly = true // Pull computes the digests, and forgets what has a wrong one
	src, err := transport.Open(c.Context, ref, options)
	if err != nil {
		return err
	}
	defer src.Close()
	if o.Name == "" {
		o.Name = layer.NameFor(ref, src.Root())
	}
	bars := r.bars()
	o.Progress = bars.track
	pulled, err := s.Pull(c.Context, src, o)
	bars.end()
	if err != nil {
		return err
	}
	return r.printPulled(pulled)
}

func platform(s string) (ocispec.Platform, error) {
	if s == "" {
		return manifest.Host(), nil
	}
	return manifest.ParsePlatform(s)
}

// pulledLine is what `pull --json` prints.
type pulledLine struct {
	Name   string      `json:"name"`
	ID     string      `json:"id"`
	Digest string      `json:"digest"`
	Layers []layerLine `json:"layers"`
}

type layerLine struct {
	DiffID  string        `json:"diffID"`
	Outcome layer.Outcome `json:"outcome"`
}

func (r *runner) printPulled(p *layer.Pulled) error {
	switch {
	case r.json:
		line := pulledLine{Name: p.Image.Names[0], ID: p.Image.ID().String(), Digest: p.Image.Descriptor.Digest.String(), Layers: []layerLine{}}
		for n, outcome := range p.Layers {
			line.Layers = append(line.Layers, layerLine{p.Image.DiffIDs()[n].String(), outcome})
		}
		return r.printJSON(line)
	case r.quiet:
		_, err := fmt.Fprintln(r.out, p.Image.ID())
		return err
	}
	here := 0
	for _, outcome := range p.Layers {
		if outcome == layer.Exists {
			here++
		}
	}
	_, err := fmt.Fprintf(r.out, "%s: %s, %d layers, %d of them were here\n", p.Image.Names[0], short(p.Image.ID().String()), len(p.Layers), here)
	return err
}
