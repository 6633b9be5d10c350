package command

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"berth/rootfs/layer"
	"berth/rootfs/layer/transport"
	"berth/rootfs/layer/transport/registry"
)

func (r *runner) pushCommand() *cli.Command {
	return &cli.Command{
		Name:        "push",
		Usage:       "bring an image to a registry",
		ArgsUsage:   "IMAGE [DESTINATION]",
		Description: "DESTINATION is " + transports + ". Without it the image's name\nsays where.",
		Flags:       registryFlags(),
		Action: arguments(1, 2, func(c *cli.Context) error {
			to := c.Args().Get(1)
			if to == "" {
				to = c.Args().First()
				if !strings.Contains(to, "://") {
					to = "docker://" + to
				}
			}
			return r.send(c, c.Args().First(), to)
		}),
	}
}

func (r *runner) exportCommand() *cli.Command {
	return &cli.Command{
		Name:        "export",
		Usage:       "write an image into a directory or an archive",
		ArgsUsage:   "IMAGE DESTINATION",
		Description: "DESTINATION is oci:DIR[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:NAME:TAG], which docker load takes, or\ndir:DIR.",
		Action: arguments(2, 2, func(c *cli.Context) error {
			return r.send(c, c.Args().First(), c.Args().Get(1))
		}),
	}
}

func (r *runner) send(c *cli.Context, image, to string) error {
	ref, err := transport.Parse(to)
	if err != nil {
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
	dst, err := transport.Create(c.Context, ref, options)
	if err != nil {
		return err
	}
	defer dst.Close()
	bars := r.bars()
	sent, err := s.Push(c.Context, image, dst, layer.PushOptions{Progress: bars.track})
	bars.end()
	if err != nil {
		return err
	}
	if r.json {
		return r.printJSON(sent)
	}
	if !r.quiet {
		fmt.Fprintf(r.out, "%s: %s, %d blobs sent, %d were there\n", to, sent.Digest, sent.Sent, sent.Existed)
	}
	return nil
}

func registryFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "creds", Usage: "`USER:PASSWORD` for the registry; the default are those of docker login and podman login", EnvVars: []string{"BERTH_LAYER_CREDS"}},
		&cli.StringFlag{Name: "authfile", Usage: "`file` that docker login or podman login has written", EnvVars: []string{"REGISTRY_AUTH_FILE"}},
		&cli.StringFlag{Name: "cert-dir", Usage: "`directory` with certificates (*.crt) to trust, and *.cert and *.key to show"},
		&cli.BoolFlag{Name: "tls-verify", Usage: "hold the registry to its certificate; with =false also plain HTTP", Value: true},
	}
}

func registryOptions(c *cli.Context) (transport.Options, error) {
	o := registry.Options{Creds: c.String("creds"), AuthFile: c.String("authfile"), CertDir: c.String("cert-dir")}
	o.Insecure = c.IsSet("tls-verify") && !c.Bool("tls-verify")
	return transport.Options{Registry: o}, nil
}
