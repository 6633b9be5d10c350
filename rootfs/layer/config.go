package layer

import (
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/convert"
	"berth/rootfs/layer/overlay"
)

// configure writes a bundle's config.json and attaches its root file system, which mount has. Users are looked up in
// there.
func (s *Store) configure(i *Image, b *Bundle, o convert.Options, how overlay.Options) error {
	look := how
	if b.Form == InConfig {
		var err error
		if o.Root, err = inConfig(b, how); err != nil {
			return err
		}
		look = how.View() // a volatile one is mounted once, by the runtime
	}
	mount, err := overlay.Open(look)
	if err != nil {
		return err
	}
	defer mount.Close()
	o.CgroupNS = true
	spec, _, err := convert.Config(&i.Config, convert.Root{File: mount}, o)
	if err != nil {
		return err
	}
	data, err := json.MarshalIndent(spec, "", "\t")
	if err != nil {
		return err
	}
	path := filepath.Join(b.Path, "config.json")
	if err := os.WriteFile(path, append(data, '\n'), 0o600); err != nil {
		return err
	}
	if b.Form == Mounted {
		if err := overlay.Attach(mount, b.Rootfs()); err != nil {
			os.Remove(path)
			return err
		}
	}
	return nil
}

// inConfig is the overlay as the first mount of config.json. Layers that are images have to be mounted before, which a
// configuration cannot say.
func inConfig(b *Bundle, how overlay.Options) (*specs.Mount, error) {
	for _, l := range how.Lower {
		if l.Dir != nil {
			return nil, &fault.Error{Op: "create the bundle", Path: b.Path, Msg: "its layers are kept as EROFS images, which a mount of config.json cannot be made of",
				Hint: "use --form mounted, or pull the image with --backend dir into another store"}
		}
	}
	return &specs.Mount{Destination: "/", Type: "overlay", Source: "overlay", Options: how.Spec().Options()}, nil
}
