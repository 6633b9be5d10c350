package libcontainer

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/cgroups"
	"berth/libcontainer/bundle"
	"berth/libcontainer/fault"
	"berth/libcontainer/host"
	"berth/libcontainer/intelrdt"
	"berth/libcontainer/netdev"
	"berth/libcontainer/process"
	"berth/libcontainer/process/seccomp"
	"berth/nsenter"
	"berth/rootfs"
)

// PlanOptions are the parts of a command line that change what is done in the
// container.
type PlanOptions struct {
	ID            string
	NoPivot       bool
	NoNewKeyring  bool
	Preserve      int      // descriptors from 3 on that the process inherits
	Env           []string // added to process.env
	CgroupManager string   // one of cgroups.Managers
	Rootless      cgroups.Rootless
	// Fifo makes init wait for `start` at exec.fifo, as create needs it; else
	// the runtime that made it lets it go itself.
	Fifo bool
	// Mounts are added behind the bundle's own.
	Mounts []specs.Mount
}

// Plan is everything that one container needs, decided: from here on nothing
// is looked up and nothing is chosen.
type Plan struct {
	ID         string          `json:"id"`
	Namespaces Namespaces      `json:"namespaces"`
	Cgroup     *cgroups.Plan   `json:"cgroup"`
	Devices    []netdev.Device `json:"netDevices,omitempty"`
	Resctrl    *intelrdt.Plan  `json:"resctrl,omitempty"`
	Rootfs     *rootfs.Plan    `json:"rootfs"`
	Process    *process.Plan   `json:"process"`
	Hooks      *specs.Hooks    `json:"hooks,omitempty"`
	Notes      []*fault.Error  `json:"-"` // what is worth saying but no failure

	fifo  bool
	entry groupEntry
}

// NewPlan decides what to do for a bundle on a machine. It reads and touches
// nothing. All complaints about the configuration come at once, as a
// fault.List.
func NewPlan(b *bundle.Bundle, facts host.Facts, opt PlanOptions) (*Plan, error) {
	spec := b.Spec
	complaints := b.Check()
	p := &Plan{
		ID: opt.ID, Hooks: spec.Hooks, Devices: netdev.NewPlan(spec),
		fifo: opt.Fifo,
	}

	// The rooms know what bundle cannot; what it has said already stands.
	more := fault.List(nil)
	add := func() { complaints = complaints.Add(more) }
	p.Namespaces, more = planNamespaces(spec, facts)
	add()

	p.Cgroup, more = cgroups.NewPlan(spec, opt.ID, facts, cgroups.Options{Manager: opt.CgroupManager, Rootless: opt.Rootless})
	add()
	p.entry = p.planEntry()

	p.Resctrl, more = intelrdt.NewPlan(spec, opt.ID, facts)
	add()

	p.Rootfs, more = rootfs.NewPlan(spec, facts, p.rootfsOptions(b, opt))
	add()
	// The process may come with start at the latest (config.md#process).
	if spec.Process != nil {
		p.Process, p.Notes, more = process.NewPlan(spec, facts, process.Options{
			ID: opt.ID, UserNS: p.Namespaces.has("user"), NoSetgroups: p.Namespaces.DenySetgroups,
			NoNewKeyring: opt.NoNewKeyring, Preserve: opt.Preserve, ExtraEnv: opt.Env,
		})
		add()
	}
	p.Notes = append(p.Notes, p.Cgroup.Warnings...)
	p.Notes = p.Notes[:min(len(p.Notes), fault.Most)]
	return p, complaints.Err()
}

func (p *Plan) rootfsOptions(b *bundle.Bundle, opt PlanOptions) rootfs.Options {
	o := p.Namespaces.rootfsOptions(b.Dir)
	o.NoPivot = opt.NoPivot
	o.Console = b.Spec.Process != nil && b.Spec.Process.Terminal
	for _, m := range opt.Mounts {
		o.Extra = append(o.Extra, rootfs.ExtraMount{Mount: m})
	}
	for _, m := range p.Cgroup.Mounts() {
		o.Cgroup = append(o.Cgroup, rootfs.CgroupMount{Name: m.Name, Dir: m.Dir, Controllers: m.Controllers, V2: m.V2, Symlinks: m.Symlinks, Shared: m.Shared})
	}
	return o
}

// rootfsOptions is what mounts need to know of the namespaces.
func (n Namespaces) rootfsOptions(bundle string) rootfs.Options {
	return rootfs.Options{
		Bundle:        bundle,
		MountNS:       n.has("mnt"),
		UserNS:        n.has("user"),
		PIDNS:         n.has("pid"),
		NetNS:         n.has("net"),
		CgroupNS:      n.has("cgroup"),
		JoinedMountNS: n.joins("mnt"),
		UIDMappings:   n.UIDs,
		GIDMappings:   n.GIDs,
	}
}

// Lines is the plan for people: one action a line, with the config.json entry
// that asked for it behind '#'.
func (p *Plan) Lines() []string {
	var out []string
	section := func(title string, lines []string) {
		if len(lines) == 0 {
			return
		}
		out = append(out, title+":")
		for _, l := range lines {
			out = append(out, "  "+fault.OneLine(l))
		}
	}
	section("cgroup", p.Cgroup.Lines())
	section("resctrl", p.Resctrl.Lines())
	section("namespaces", p.Namespaces.Lines())
	section("network devices", deviceLines(p.Devices))
	section("root file system", p.Rootfs.Lines())
	section("hooks", hookLines(p.Hooks))
	if p.Process != nil {
		section("process", p.Process.Lines())
	}
	return out
}

// String is Lines as one text.
func (p *Plan) String() string { return strings.Join(p.Lines(), "\n") + "\n" }

// CompileSeccomp compiles the seccomp filter, once before Compile. cache is a
// directory of compiled filters, made where it is missing; "" is none.
func (p *Plan) CompileSeccomp(cache string) error { return compileSeccomp(p.Process, cache) }

func compileSeccomp(p *process.Plan, cache string) error {
	if p == nil || p.Seccomp() == nil {
		return nil
	}
	filter, complaints := seccomp.Cache{Dir: cache}.Compile(p.Seccomp())
	p.Filter = &filter
	return complaints.Err()
}

// Compile turns the plan into the program that the walker executes. The
// descriptors it expects are those of received.
func (p *Plan) Compile() (*nsenter.Program, error) {
	in := p.received()
	b := nsenter.NewBuilder(in.count)
	b.Keep(in.fifo)
	if p.Process != nil {
		p.Process.CompileEarly(b)
	}
	p.Namespaces.compile(b, in.joins, entering{fork: in.group, procs: in.procs, sync: p.entry == entersBySync})
	regs := p.Rootfs.CompileMounts(b, in.sources)
	switch {
	case p.hooksBeforePivot():
		b.For(nsenter.Origin{Field: "/hooks", Op: "hooks", Phase: fault.PhaseHooks})
		if p.Namespaces.Dumpable && len(p.Hooks.CreateContainer) > 0 {
			// Else the hook could not join. The user namespace is new: nothing
			// that could trace init is in it yet.
			setDumpable(b, 1)
			b.Sync(nsenter.SyncHooks)
			setDumpable(b, 0)
			break
		}
		b.Sync(nsenter.SyncHooks)
	case len(p.Devices) > 0:
		b.For(nsenter.Origin{Field: "/linux/netDevices", Op: "move network devices", Phase: fault.PhaseNamespaces})
		b.Sync(nsenter.SyncHooks)
	}
	var exec nsenter.Reg
	if p.Process != nil {
		p.Process.CompileSetup(b, regs.Proc)
	}
	p.Rootfs.CompilePivot(b, regs)
	b.For(nsenter.Origin{Op: "close", Phase: fault.PhaseProcess})
	b.Close(regs.Proc)
	if p.Process == nil {
		b.Close(regs.Root)
	}
	b.For(nsenter.Origin{Op: "limit", Phase: fault.PhaseProcess})
	b.Sync(nsenter.SyncLimits)
	if p.Process != nil {
		exec = p.Process.CompileFinish(b, regs.Root, regs.Console)
	}
	listens := p.Process != nil && p.Process.Listener() != nil
	if listens {
		p.Process.CompileListener(b)
	}
	b.For(nsenter.Origin{Op: "hand over", Phase: fault.PhaseProcess})
	b.Sync(nsenter.SyncReady)
	if p.fifo {
		b.For(nsenter.Origin{Op: "open", Path: fifoFile, Phase: fault.PhaseExec})
		if !listens { // else the filter is there, which need not allow it
			b.DropCode()
		}
		b.ReportTo(b.OpenAt(b.Kept(), fifoFile, unix.O_WRONLY|unix.O_NOFOLLOW))
		b.Close(b.Kept())
	}
	if p.Process != nil {
		p.Process.CompileExec(b, exec)
	} else {
		b.Exit(1) // start has refused before it comes to this
	}
	program, err := b.Program()
	if err != nil {
		return nil, fault.From(err, "compile the program", "").For("/mounts").In(fault.PhasePlan)
	}
	return program, nil
}

// planEntry decides how init comes into its groups. A unit of systemd's starts with a process that is there; init can
// be that one if nothing of the program but its cgroup namespace needs the unit's group. The user's systemd may not move
// what has another's ids.
func (p *Plan) planEntry() groupEntry {
	n := p.Namespaces
	unit := p.Cgroup.Unit
	switch {
	case unit == nil:
		entry := planEntry(p.Cgroup.State(), n.forks(), n.has("user") || n.joins("cgroup"))
		if entry == entersByFork && p.Cgroup.Tight() {
			return entersItself // the fork itself takes some of the memory
		}
		return entry
	case n.forks() && n.isNew("cgroup") && !unit.User:
		return entersBySync
	}
	return entersByMove
}

// received says which registers hold what the runtime hands over: the
// namespaces to join, the group to fork into or the files of groups to enter,
// the state directory, the sources of the root file system.
type received struct {
	joins   []nsenter.Reg
	group   nsenter.Reg
	procs   []nsenter.Reg
	fifo    nsenter.Reg
	sources []nsenter.Reg
	count   int
}

func (p *Plan) received() received {
	var in received
	next := func() nsenter.Reg {
		in.count++
		return nsenter.Reg(in.count)
	}
	for range p.Namespaces.Join {
		in.joins = append(in.joins, next())
	}
	switch p.entry {
	case entersByFork:
		in.group = next()
	case entersItself:
		for range p.Cgroup.Dirs {
			in.procs = append(in.procs, next())
		}
	}
	if p.fifo {
		in.fifo = next()
	}
	for range p.Rootfs.Sources() {
		in.sources = append(in.sources, next())
	}
	return in
}

func (p *Plan) hooksBeforePivot() bool {
	h := p.Hooks
	//lint:ignore SA1019 deprecated, and still used by managers
	return h != nil && len(h.Prestart)+len(h.CreateRuntime)+len(h.CreateContainer) > 0
}

func deviceLines(devices []netdev.Device) []string {
	var out []string
	for _, d := range devices {
		out = append(out, fmt.Sprintf("%s   # %s", d, d.Field))
	}
	return out
}

func hookLines(h *specs.Hooks) []string {
	if h == nil {
		return nil
	}
	var out []string
	for _, k := range hookKinds(h) {
		for i, hook := range k.hooks {
			out = append(out, fmt.Sprintf("%s %s   # /hooks/%s/%d", k.name, hook.Path, k.name, i))
		}
	}
	return out
}

// rootfsPath is the host's path of the container's root.
func rootfsPath(b *bundle.Bundle) string {
	if b.Spec.Root == nil {
		return ""
	}
	if filepath.IsAbs(b.Spec.Root.Path) {
		return filepath.Clean(b.Spec.Root.Path)
	}
	return filepath.Join(b.Dir, b.Spec.Root.Path)
}
