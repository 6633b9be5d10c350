// Package convert turns an image's configuration into a runtime's config.json,
// as the image specification's conversion.md says, on top of the configuration
// that `berth spec` writes.
//
// An image expects of its runtime what Docker gives, so some of that is
// different from `berth spec`: the root file system is writable, root has
// Docker's capabilities and may be regained by setuid programs, and limits of
// the process are those of the caller.
package convert

import (
	"cmp"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	image "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/defaults"
	"berth/libcontainer/fault"
)

// Options is what a person says about a container beside its image.
type Options struct {
	Entrypoint  []string // in place of the image's Entrypoint and Cmd
	Args        []string // in place of its Cmd
	Env         []string // NAME=VALUE, before the image's
	Annotations map[string]string
	User        string // in place of the image's: name or number, with :GROUP or without
	Cwd         string
	Hostname    string
	Terminal    bool
	ReadOnly    bool // the root file system
	NetworkHost bool // the host's network
	NoNewPrivs  bool

	// Root is an overlay that the runtime mounts as the root file system
	// (overlay.Options.ConfigMount); nil: the root is mounted at rootfs already.
	Root *specs.Mount
	// Mounts come behind the usual ones. One on a volume of the image is in its
	// place.
	Mounts []specs.Mount
	// Volumes is the directory that the image's volumes are kept in, one
	// directory for each, which is to be made and given the image's content
	// before the container starts. Empty: they are tmpfs with that content,
	// which ends with the container.
	Volumes string

	Rootless    bool // for the ordinary user that EUID and EGID are
	EUID, EGID  int
	UIDMappings []specs.LinuxIDMapping // of a user namespace, with GIDMappings
	GIDMappings []specs.LinuxIDMapping
	CgroupNS    bool // as `berth spec` writes it where there is cgroup v2 only
}

// Volume is a directory to be made for a volume of the image.
type Volume struct {
	Destination string // in the container
	Source      string // on the host
}

// Config returns the configuration of a container of an image, and the volumes
// that it needs. accounts is where users and groups are looked up, in the root
// file system; it is read only where it is needed.
func Config(img *image.Image, accounts Files, o Options) (*specs.Spec, []Volume, error) {
	if img.OS != "" && img.OS != "linux" {
		return nil, nil, &fault.Error{Op: "convert the image", Msg: "it is for " + img.OS + "/" + img.Architecture, Hint: "choose one for linux"}
	}
	c := &converter{img: img, opt: o, accounts: accounts}
	c.spec = defaults.Spec(o.Rootless, o.EUID, o.EGID)
	if o.CgroupNS {
		defaults.WithCgroupNamespace(c.spec)
	}
	if err := c.process(); err != nil {
		return nil, nil, err
	}
	c.root()
	c.mounts()
	c.linux()
	c.annotations()
	return c.spec, c.volumes, nil
}

type converter struct {
	img      *image.Image
	opt      Options
	accounts Files
	spec     *specs.Spec
	volumes  []Volume
}

// capabilities is what Docker gives root.
func capabilities() []string {
	return []string{
		"CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_MKNOD",
		"CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID", "CAP_SYS_CHROOT",
	}
}

func (c *converter) process() error {
	p, img := c.spec.Process, c.img.Config
	p.Args = slices.Concat(img.Entrypoint, img.Cmd)
	switch {
	case c.opt.Entrypoint != nil:
		p.Args = slices.Concat(c.opt.Entrypoint, c.opt.Args)
	case c.opt.Args != nil:
		p.Args = slices.Concat(img.Entrypoint, c.opt.Args)
	}
	if len(p.Args) == 0 {
		return &fault.Error{Op: "convert the image", Msg: "it has neither Entrypoint nor Cmd", Hint: "give the command to run"}
	}
	p.Terminal = c.opt.Terminal
	p.Cwd = path.Join("/", cmp.Or(c.opt.Cwd, img.WorkingDir)) // Docker's builders have written relative ones
	p.NoNewPrivileges = c.opt.NoNewPrivs
	p.Rlimits = nil
	u, err := findUser(cmp.Or(c.opt.User, img.User), c.accounts)
	if err != nil {
		return err
	}
	p.User = u.User
	p.Capabilities = &specs.LinuxCapabilities{Bounding: capabilities()}
	if u.UID == 0 {
		p.Capabilities.Effective, p.Capabilities.Permitted = capabilities(), capabilities()
	}
	p.Env = c.environment(u.home)
	return nil
}

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// environment is the image's, with what a person says in its place, and what
// programs expect where neither has it.
func (c *converter) environment(home string) []string {
	var out []string
	at := map[string]int{}
	set := func(entry string, replace bool) {
		name, _, _ := strings.Cut(entry, "=")
		i, there := at[name]
		switch {
		case !there:
			at[name] = len(out)
			out = append(out, entry)
		case replace:
			out[i] = entry
		}
	}
	for _, e := range c.img.Config.Env {
		set(e, true)
	}
	for _, e := range c.opt.Env {
		set(e, true)
	}
	set(defaultPath, false)
	set("HOME="+home, false)
	if c.opt.Terminal {
		set("TERM=xterm", false)
	}
	return out
}

func (c *converter) root() {
	c.spec.Root = &specs.Root{Path: "rootfs", Readonly: c.opt.ReadOnly}
	c.spec.Hostname = cmp.Or(c.opt.Hostname, c.spec.Hostname)
}

func (c *converter) mounts() {
	taken := map[string]bool{}
	for _, m := range c.opt.Mounts {
		taken[path.Join("/", m.Destination)] = true
	}
	c.spec.Mounts = slices.DeleteFunc(c.spec.Mounts, func(m specs.Mount) bool { return taken[m.Destination] })
	if c.opt.Root != nil {
		root := *c.opt.Root
		root.Destination = "/"
		c.spec.Mounts = slices.Insert(c.spec.Mounts, 0, root)
	}
	for i, name := range slices.Sorted(maps.Keys(c.img.Config.Volumes)) {
		if destination := path.Join("/", name); destination != "/" && !taken[destination] {
			c.spec.Mounts = append(c.spec.Mounts, c.volume(i, destination))
		}
	}
	c.spec.Mounts = append(c.spec.Mounts, c.opt.Mounts...)
}

// volume is the mount of a volume. Its directory has a number, because a path
// is no name.
func (c *converter) volume(i int, destination string) specs.Mount {
	if c.opt.Volumes == "" {
		return specs.Mount{Destination: destination, Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "tmpcopyup"}}
	}
	v := Volume{Destination: destination, Source: path.Join(c.opt.Volumes, strconv.Itoa(i))}
	c.volumes = append(c.volumes, v)
	m := specs.Mount{Destination: destination, Type: "bind", Source: v.Source, Options: []string{"rbind", "nosuid", "nodev"}}
	if len(c.opt.UIDMappings) > 0 && !c.opt.Rootless {
		m.Options = append(m.Options, "idmap")
	}
	return m
}

// linux changes the namespaces. A user namespace whose maker is root has its
// layers mapped; an ordinary user's own files need no mapping.
func (c *converter) linux() {
	l := c.spec.Linux
	if c.opt.NetworkHost {
		l.Namespaces = slices.DeleteFunc(l.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.NetworkNamespace })
	}
	if len(c.opt.UIDMappings) == 0 {
		return
	}
	l.UIDMappings, l.GIDMappings = c.opt.UIDMappings, c.opt.GIDMappings
	if c.opt.Rootless {
		return
	}
	l.Namespaces = append(l.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	if c.opt.Root != nil {
		root := &c.spec.Mounts[0]
		root.Options = append(slices.Clip(root.Options), "idmap")
	}
	if c.opt.NetworkHost { // a sysfs is only for the owner of the network namespace
		for i := range c.spec.Mounts {
			if m := &c.spec.Mounts[i]; m.Type == "sysfs" {
				m.Type, m.Source, m.Options = "none", "/sys", append([]string{"rbind"}, m.Options...)
			}
		}
	}
}

// annotations are implicit ones, then labels, then what a person says; the last
// one counts.
func (c *converter) annotations() {
	out := map[string]string{}
	set := func(key, value string) {
		if value != "" {
			out["org.opencontainers.image."+key] = value
		}
	}
	img := c.img
	set("os", img.OS)
	set("architecture", img.Architecture)
	set("variant", img.Variant)
	set("os.version", img.OSVersion)
	set("os.features", strings.Join(img.OSFeatures, ","))
	set("author", img.Author)
	if img.Created != nil {
		set("created", img.Created.Format(time.RFC3339Nano))
	}
	set("stopSignal", img.Config.StopSignal)
	set("exposedPorts", strings.Join(slices.Sorted(maps.Keys(img.Config.ExposedPorts)), ","))
	maps.Copy(out, img.Config.Labels)
	maps.Copy(out, c.opt.Annotations)
	if len(out) > 0 {
		c.spec.Annotations = out
	}
}
