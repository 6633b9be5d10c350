package command

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/urfave/cli/v2"

	"berth/rootfs/layer"
)

func (r *runner) imagesCommand() *cli.Command {
	return &cli.Command{
		Name:  "images",
		Usage: "list the images of the store",
		Action: r.onStore(0, 0, func(c *cli.Context, s *layer.Store) error {
			usage, err := s.DiskUsage()
			if err != nil {
				return err
			}
			return r.printImages(usage)
		}),
	}
}

// imageLine is an image as `images --json` prints it.
type imageLine struct {
	Names    []string   `json:"names"`
	ID       string     `json:"id"`
	Digest   string     `json:"digest"`
	Created  *time.Time `json:"created,omitempty"`
	Platform string     `json:"platform"`
	Layers   int        `json:"layers"`
	Size     int64      `json:"size"`
	Unique   int64      `json:"unique"`
}

func (r *runner) printImages(usage *layer.DiskUsage) error {
	lines := []imageLine{}
	for _, u := range usage.Images {
		i := u.Image
		lines = append(lines, imageLine{
			Names: i.Names, ID: i.ID().String(), Digest: i.Descriptor.Digest.String(), Created: i.Config.Created,
			Platform: i.Platform(), Layers: len(i.DiffIDs()), Size: u.Shared + u.Unique, Unique: u.Unique,
		})
	}
	if r.json {
		return r.printJSON(lines)
	}
	if r.quiet {
		for _, l := range lines {
			fmt.Fprintln(r.out, l.ID)
		}
		return nil
	}
	t := tabwriter.NewWriter(r.out, 0, 1, 3, ' ', 0)
	fmt.Fprintln(t, "NAME\tID\tCREATED\tPLATFORM\tLAYERS\tSIZE\tUNIQUE")
	for _, l := range lines {
		names := l.Names
		if len(names) == 0 {
			names = []string{"<none>"}
		}
		for _, name := range names {
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\t%s\t%s\n", name, short(l.ID), when(l.Created), l.Platform, l.Layers, bytes(l.Size), bytes(l.Unique))
		}
	}
	return t.Flush()
}

func (r *runner) inspectCommand() *cli.Command {
	return &cli.Command{
		Name:      "inspect",
		Usage:     "print what is known of an image or a bundle, as JSON",
		ArgsUsage: "IMAGE|BUNDLE...",
		Action: r.onStore(1, -1, func(c *cli.Context, s *layer.Store) error {
			all := []any{}
			for _, name := range c.Args().Slice() {
				one, err := s.Inspect(name)
				if err != nil {
					return err
				}
				all = append(all, one)
			}
			return r.printJSON(all)
		}),
	}
}

func (r *runner) historyCommand() *cli.Command {
	return &cli.Command{
		Name:      "history",
		Usage:     "list what an image was made of, the last step first",
		ArgsUsage: "IMAGE",
		Action: r.onStore(1, 1, func(c *cli.Context, s *layer.Store) error {
			steps, err := s.History(c.Args().First())
			if err != nil {
				return err
			}
			if r.json {
				return r.printJSON(steps)
			}
			t := tabwriter.NewWriter(r.out, 0, 1, 3, ' ', 0)
			fmt.Fprintln(t, "LAYER\tCREATED\tSIZE\tCREATED BY")
			for n := len(steps) - 1; n >= 0; n-- {
				h := steps[n]
				name, size := "-", "-"
				if h.DiffID != "" {
					name, size = short(h.DiffID.String()), bytes(h.Size)
				}
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", name, when(h.Created), size, oneLine(h.CreatedBy, h.Comment))
			}
			return t.Flush()
		}),
	}
}

func (r *runner) dfCommand() *cli.Command {
	return &cli.Command{
		Name:  "df",
		Usage: "print what images and bundles take on the disk",
		Action: r.onStore(0, 0, func(c *cli.Context, s *layer.Store) error {
			usage, err := s.DiskUsage()
			if err != nil {
				return err
			}
			if r.json {
				return r.printJSON(usage)
			}
			t := tabwriter.NewWriter(r.out, 0, 1, 3, ' ', 0)
			fmt.Fprintln(t, "IMAGE\tID\tSHARED\tUNIQUE")
			for _, i := range usage.Images {
				name := strings.Join(i.Names, " ")
				if name == "" {
					name = "<none>"
				}
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", name, short(i.ID.String()), bytes(i.Shared), bytes(i.Unique))
			}
			if len(usage.Bundles) > 0 {
				fmt.Fprintln(t, "BUNDLE\t\t\tCHANGES")
			}
			for _, b := range usage.Bundles {
				fmt.Fprintf(t, "%s\t\t\t%s\n", b.Path, bytes(b.Size))
			}
			fmt.Fprintf(t, "together\t\t\t%s\n", bytes(usage.Total))
			return t.Flush()
		}),
	}
}

// short is how people see a digest.
func short(digest string) string {
	hex := digest[strings.IndexByte(digest, ':')+1:]
	return hex[:min(12, len(hex))]
}

func when(t *time.Time) string {
	if t == nil || t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04")
}

// bytes is a size for people, in units of a thousand as Docker's.
func bytes(n int64) string {
	value, unit := float64(n), 0
	for value >= 1000 && unit < 4 {
		value, unit = value/1000, unit+1
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.3g %s", value, []string{"", "kB", "MB", "GB", "TB"}[unit])
}

func oneLine(texts ...string) string {
	line := strings.Join(strings.Fields(strings.Join(texts, " ")), " ")
	if len(line) > 80 {
		line = line[:77] + "..."
	}
	return line
}
