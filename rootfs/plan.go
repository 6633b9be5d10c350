// Package rootfs builds a container's root file system.
//
// NewPlan turns the mounts, devices, masks and propagation of a config into a
// list of Ops, and CompileMounts and CompilePivot turn those into steps for
// the walker; both are pure. Open prepares on the host what the plan's Sources
// name. In the container everything acts on descriptors: a path of the image
// is only ever resolved inside the root (openat2(2), RESOLVE_IN_ROOT).
package rootfs

import (
	"encoding/json"
	"path"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/libcontainer/host"
)

// Options is what a plan needs to know besides config.json and the host.
type Options struct {
	Bundle  string // absolute; relative root.path and bind sources are below it
	NoPivot bool   // move the root over "/" instead of pivot_root(2)
	Console bool   // process.terminal

	// The namespaces that are the container's own, new or joined.
	MountNS, UserNS, PIDNS, NetNS, CgroupNS bool
	// JoinedMountNS says that the mount namespace is joined: the walker has
	// other mounts than the runtime.
	JoinedMountNS bool

	// Mappings of the container's new user namespace: what "idmap" means for a
	// mount without mappings of its own.
	UIDMappings, GIDMappings []specs.LinuxIDMapping

	// Cgroup is the container's own groups, for a mount of type cgroup.
	Cgroup []CgroupMount
	// Extra is mounts of the runtime's own, after those of the config.
	Extra []ExtraMount
}

// ExtraMount is a mount that config.json does not ask for in /mounts.
type ExtraMount struct {
	specs.Mount
	Field fault.Pointer // what asks for it, such as "/process/env/2"; may be empty
}

// Plan is how a root file system will be built. It can be printed (Lines) and
// written as JSON.
type Plan struct {
	Root string `json:"root"` // host path of the root file system
	Ops  []Op   `json:"ops"`
	// HostMounts says that the root is mounted at Root in the runtime's own
	// mount namespace, so that it is for the runtime to unmount it (umount2(2),
	// MNT_DETACH) when the container is deleted.
	HostMounts bool `json:"hostMounts,omitempty"`

	m       machine
	label   string   // linux.mountLabel, where it is to be applied
	sources []Source // in register order; the root last

	rootMount *Mount // the overlay that is the root, nil where root.path is
}

// machine is what of Options and host.Facts decides how Ops are compiled.
type machine struct {
	setattr     bool // mount_setattr(2) exists
	nosymfollow bool // and knows MOUNT_ATTR_NOSYMFOLLOW (Linux 5.14)
	lowerdir    bool // overlayfs takes lowerdir+
	// open_tree(2) clones a mount that is not attached (Linux 6.15).
	cloneDetached bool
	privileged    bool // the runtime opens host sources itself
	mountNS       bool
	userNS        bool
	nested        bool // the runtime is not in the initial user namespace
	pidNS         bool
	noPivot       bool
	propagation   uint64 // of the new root, after the pivot; 0: leave it
	base          uint64 // of everything that comes from the host
}

// planner collects a plan and the complaints about a config.
type planner struct {
	*Plan
	spec  *specs.Spec
	opt   Options
	facts host.Facts
	bad   fault.List

	addition   bool          // to a container that runs
	rootSource *Source       // the overlay that is the root
	readonlyAt fault.Pointer // the mount option that makes the root read-only
}

// NewPlan decides how the root file system of spec is built on a machine like
// facts. It returns every complaint at once, each with its pointer; the plan is
// only good without any, from here or from package bundle. It reads nothing but its arguments.
func NewPlan(spec *specs.Spec, facts host.Facts, opt Options) (*Plan, fault.List) {
	p := newPlanner(spec, facts, opt)
	p.planRoot()
	p.planLabel()
	p.planPropagation()
	p.planMounts()
	p.planDev()
	p.planWorkdir()
	p.planLate()
	p.planMasks()
	p.planPivot()
	p.planRootSource()
	return p.Plan, p.bad
}

func newPlanner(spec *specs.Spec, facts host.Facts, opt Options) *planner {
	p := &planner{Plan: &Plan{Ops: make([]Op, 0, usualOps)}, spec: spec, opt: opt, facts: facts}
	p.m = machine{
		setattr:       facts.HasMountSetattr(),
		nosymfollow:   facts.Kernel.AtLeast(5, 14),
		lowerdir:      facts.HasOverlayLowerdirPlus(),
		cloneDetached: facts.Kernel.AtLeast(6, 15),
		privileged:    facts.Privileged(),
		mountNS:       opt.MountNS,
		userNS:        opt.UserNS,
		nested:        facts.UserNS,
		pidNS:         opt.PIDNS,
		noPivot:       opt.NoPivot,
	}
	return p
}

// complain adds a complaint about field.
func (p *planner) complain(field fault.Pointer, op, path, msg, hint string) {
	p.bad = append(p.bad, &fault.Error{
		Op: op, Path: path, Field: field, Msg: msg, Hint: hint, Phase: fault.PhasePlan,
	})
}

// whole tells whether the kernel takes s as it is, not for a shorter string.
func whole(s string) bool { return strings.IndexByte(s, 0) < 0 }

// text complains about a string that is not whole.
func (p *planner) text(field fault.Pointer, op, s string) bool {
	if whole(s) {
		return true
	}
	p.complain(field, op, s, "a zero byte cannot be part of it", "")
	return false
}

// usualOps is enough for the default configuration without growing.
const usualOps = 64

func (p *planner) add(op Op) { p.Ops = append(p.Ops, op) }

// planRoot leaves Root empty where the config has none, which is package
// bundle's to complain about.
func (p *planner) planRoot() {
	if p.spec.Root != nil && p.spec.Root.Path != "" && p.text("/root/path", "root", p.spec.Root.Path) {
		p.Root = p.inBundle(p.spec.Root.Path)
	}
	p.HostMounts = !p.opt.MountNS
	if p.opt.MountNS {
		return
	}
	if p.m.userNS {
		p.complain("/linux/namespaces", "mount", p.Root, "mounting without a mount namespace needs CAP_SYS_ADMIN on the host",
			`add {"type": "mount"} to /linux/namespaces`)
	}
}

func (p *planner) inBundle(name string) string {
	if filepath.IsAbs(name) {
		return filepath.Clean(name)
	}
	return filepath.Join(p.opt.Bundle, name)
}

// planPropagation decides three things that runc derives from the same field:
// the propagation of everything in the mount namespace, of what is cloned from
// the host, and of the new root.
//
// Nothing of the old root stays shared, so that neither the mounts below the
// new root nor the detaching of the old one reach the host, and pivot_root(2)
// finds the private parent that it insists on.
func (p *planner) planPropagation() {
	p.m.base = unix.MS_SLAVE | unix.MS_REC
	given := ""
	if p.spec.Linux != nil {
		given = p.spec.Linux.RootfsPropagation
	}
	flag, ok := rootPropagation(given)
	if !ok {
		p.complain("/linux/rootfsPropagation", "propagation", "", "unknown propagation "+given,
			"use shared, slave, private or unbindable, or one of them with r in front")
	}
	p.m.propagation = flag
	switch flag &^ unix.MS_REC {
	case unix.MS_SHARED:
		// A volume that is to be shared has to stay a peer of the host's mount.
		p.m.base = 0
	case unix.MS_PRIVATE, unix.MS_UNBINDABLE:
		p.m.base = unix.MS_PRIVATE | unix.MS_REC
	}
	if !p.opt.MountNS {
		p.m.base = unix.MS_PRIVATE | unix.MS_REC
	}
}

func rootPropagation(name string) (uint64, bool) {
	if name == "" {
		return 0, true
	}
	o, ok := findOption(name)
	return o.set, ok && o.effect == propagate
}

func (p *planner) planWorkdir() {
	if p.spec.Process == nil || !p.text("/process/cwd", "mkdir", p.spec.Process.Cwd) {
		return
	}
	if cwd := inside(p.spec.Process.Cwd); cwd != "/" {
		p.add(&Workdir{Base: Base{Op: "workdir", Field: "/process/cwd"}, Path: cwd})
	}
}

// planLate makes read-only what has to be writable until all mounts and
// devices below it are made: a tmpfs with "ro", and /dev among them.
func (p *planner) planLate() {
	for _, op := range p.Ops {
		if m, ok := op.(*Mount); ok && m.late {
			p.add(&Seal{Base: Base{Op: "seal", Field: m.Field}, Target: m.Target})
		}
	}
}

func (p *planner) planPivot() {
	how := "pivot_root"
	switch {
	case !p.opt.MountNS:
		how = "chroot"
	case p.opt.NoPivot:
		how = "move"
	}
	p.add(&Pivot{Base: Base{Op: how, Field: "/root/path"}, Propagation: propagationText(p.m.propagation)})
	readonly := p.readonlyAt
	if p.spec.Root != nil && p.spec.Root.Readonly {
		readonly = "/root/readonly"
	}
	if readonly != "" {
		p.add(&RootReadonly{Base: Base{Op: "root-readonly", Field: readonly}})
	}
}

func propagationText(flag uint64) string {
	if flag == 0 {
		return ""
	}
	return propagationName(flag)
}

// inside is a container path, absolute and clean. A relative one is below "/"
// (config.md, "mounts").
func inside(name string) string {
	if !path.IsAbs(name) {
		name = "/" + name
	}
	return path.Clean(name)
}

// Lines is the plan for people to read, one op a line, with the config.json
// entry that asked for it behind '#'.
func (p *Plan) Lines() []string {
	lines := make([]string, 0, len(p.Ops)+1)
	lines = append(lines, "root "+p.Root+"   # /root/path")
	for _, op := range p.Ops {
		line := op.String()
		if f := op.base().Field; f != "" {
			line += "   # " + string(f)
		}
		lines = append(lines, line)
	}
	return lines
}

// String is Lines in one string.
func (p *Plan) String() string { return strings.Join(p.Lines(), "\n") + "\n" }

// Sources is what the runtime opens on the host and hands over, in the order of
// CompileMounts's registers. The rest of what is mounted from the host the
// walker opens itself.
func (p *Plan) Sources() []Source {
	var out []Source
	for _, s := range p.sources {
		if s.opener == byRuntime {
			out = append(out, s)
		}
	}
	return out
}

var _ json.Marshaler = Flags{}

// MarshalJSON writes the options as they read in config.json.
func (f Flags) MarshalJSON() ([]byte, error) {
	s := f.Strings()
	if s == nil {
		s = []string{}
	}
	return json.Marshal(s)
}
