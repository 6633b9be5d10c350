package rootfs

import (
	"fmt"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/fault"
	"berth/rootfs/overlayfs"
)

// Op is one thing that is done to the root file system. The types below are
// all there are. String prints it like the command it stands for.
type Op interface {
	fmt.Stringer
	base() *Base
	compile(c *compiler)
}

// Base is what every Op has.
type Base struct {
	Op    string        `json:"op"`              // the kind: "mount", "bind", "mknod" …
	Field fault.Pointer `json:"field,omitempty"` // the config.json entry that asked for it
}

func (b *Base) base() *Base { return b }

// Mount is a new file system.
type Mount struct {
	Base
	Type   string `json:"type"`
	Source string `json:"source,omitempty"`
	Target string `json:"target"`
	Flags  Flags  `json:"options"`

	late     bool // read-only only when all is made
	likeMode bool // its mode is that of what it covers
	classic  bool // needs mount(2)
	source   int  // index into Plan.sources where the runtime makes it; else -1
	root     bool // it is the root file system: openSources and attachRoot are about it
	overlay  *overlayfs.Mount
}

func (m *Mount) String() string {
	return "mount " + typeAndSource(m.Type, m.Source) + " on " + m.Target + dashO(m.Flags)
}

func typeAndSource(fstype, source string) string {
	if source == "" || source == fstype {
		return fstype
	}
	return "-t " + fstype + " " + source
}

// Bind is a mount that exists on the host, seen in the container.
type Bind struct {
	Base
	Source string `json:"source"`
	Target string `json:"target"`
	Flags  Flags  `json:"options"`

	UIDMappings []specs.LinuxIDMapping `json:"uidMappings,omitempty"`
	GIDMappings []specs.LinuxIDMapping `json:"gidMappings,omitempty"`

	procfs bool   // the source has to be the root of a procfs
	link   string // what the source is a link to, where the link is copied; known to ReadLinks
	source int    // index into Plan.sources
}

func (m *Bind) String() string {
	how := "bind "
	if m.Flags.Recursive {
		how = "rbind "
	}
	return how + m.Source + " on " + m.Target + dashO(m.Flags)
}

// Remount changes the mount that is at Target already.
type Remount struct {
	Base
	Type   string `json:"type,omitempty"`
	Source string `json:"source,omitempty"`
	Target string `json:"target"`
	Flags  Flags  `json:"options"`
}

func (m *Remount) String() string { return "remount " + m.Target + dashO(m.Flags) }

// CgroupTree is the hierarchies of cgroup v1 below a tmpfs of their own.
type CgroupTree struct {
	Base
	Target string        `json:"target"`
	Flags  Flags         `json:"options"`
	Groups []CgroupMount `json:"groups"`

	namespace bool  // the cgroup namespace shows only the container's group
	sources   []int // index into Plan.sources of each group where it is bound
}

func (m *CgroupTree) String() string {
	names := make([]string, len(m.Groups))
	for i, g := range m.Groups {
		names[i] = g.Name
	}
	return "mount cgroup on " + m.Target + dashO(m.Flags) + " (" + strings.Join(names, " ") + ")"
}

// Device is a device node or FIFO.
type Device struct {
	Base
	Path  string `json:"path"`
	Type  string `json:"type"` // c, b or p
	Major uint32 `json:"major,omitempty"`
	Minor uint32 `json:"minor,omitempty"`
	Mode  uint32 `json:"mode"`
	UID   uint32 `json:"uid,omitempty"`
	GID   uint32 `json:"gid,omitempty"`

	bind   bool // of the host's node, where mknod(2) is not allowed
	source int  // index into Plan.sources
}

func (d *Device) String() string {
	if d.bind {
		return fmt.Sprintf("bind %s on %s (%s %d:%d)", d.Path, d.Path, d.Type, d.Major, d.Minor)
	}
	line := fmt.Sprintf("mknod %s %s %d:%d 0%o", d.Path, d.Type, d.Major, d.Minor, d.Mode)
	if d.Type == "p" {
		line = fmt.Sprintf("mknod %s p 0%o", d.Path, d.Mode)
	}
	if d.UID != 0 || d.GID != 0 {
		line += fmt.Sprintf(" %d:%d", d.UID, d.GID)
	}
	return line
}

// Link is a symbolic link in /dev.
type Link struct {
	Base
	Name    string `json:"name"` // in /dev
	To      string `json:"to"`
	Replace bool   `json:"replace,omitempty"`
	IfProc  string `json:"ifProc,omitempty"` // only where this file of procfs exists
}

func (l *Link) String() string { return "link /dev/" + l.Name + " -> " + l.To }

// Console makes a terminal on the container's devpts, hands its master to the
// runtime and mounts its slave on /dev/console.
type Console struct{ Base }

func (*Console) String() string { return "console /dev/console" }

// Workdir is a directory that is made where it is missing.
type Workdir struct {
	Base
	Path string `json:"path"`
}

func (w *Workdir) String() string { return "mkdir -p " + w.Path }

// Seal makes a mount read-only that had to be writable until now.
type Seal struct {
	Base
	Target string `json:"target"`
}

func (s *Seal) String() string { return "remount " + s.Target + " -o ro" }

// ReadonlyPath is an entry of /linux/readonlyPaths.
type ReadonlyPath struct {
	Base
	Path string `json:"path"`
}

func (r *ReadonlyPath) String() string { return "readonly " + r.Path }

// Mask is an entry of /linux/maskedPaths.
type Mask struct {
	Base
	Path string `json:"path"`
}

func (m *Mask) String() string { return "mask " + m.Path }

// Pivot makes the root file system the root.
type Pivot struct {
	Base
	Propagation string `json:"propagation,omitempty"` // of the new root
}

func (p *Pivot) String() string {
	if p.Propagation != "" {
		return p.Op + " -o " + p.Propagation
	}
	return p.Op
}

// RootReadonly is /root/readonly.
type RootReadonly struct{ Base }

func (*RootReadonly) String() string { return "root read-only" }

func dashO(f Flags) string {
	if s := f.Strings(); len(s) > 0 {
		return " -o " + strings.Join(s, ",")
	}
	return ""
}
