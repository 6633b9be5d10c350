package rootfs

import (
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/libcontainer/host"
	"berth/nsenter"
)

// NewAddition decides how spec.Mounts are added to a container that runs; the
// rest of spec is the container's, with the root where the runtime can reach it
// now. It is pure like NewPlan, and complains as that does.
func NewAddition(spec *specs.Spec, facts host.Facts, opt Options) (*Plan, fault.List) {
	opt.JoinedMountNS = true // so that sources are opened before anything is joined
	p := newPlanner(spec, facts, opt)
	p.addition = true
	p.planRoot()
	p.planLabel()
	p.planPropagation()
	p.planMounts()
	p.planLate()
	for _, op := range p.Ops {
		p.checkAddition(op)
	}
	return p.Plan, p.bad
}

// checkAddition complains about what cannot be done from outside, or not be
// taken back.
func (p *planner) checkAddition(op Op) {
	field := op.base().Field
	switch m := op.(type) {
	case *Mount:
		switch {
		case m.Type == "proc" || strings.HasPrefix(m.Type, "cgroup"):
			p.complain(field.At("type"), "mount "+m.Type, m.Target, "it would not show what is the container's own", "give it to the container at create")
		case m.classic:
			p.complain(field.At("options"), "mount "+m.Type, m.Target, "an option is too long, or only mount(2) has it", "")
		}
		p.checkCovered(field, m.Target)
	case *Bind:
		switch {
		case !p.m.privileged:
			p.complain(field.At("source"), "bind", m.Target, "only a runtime that is root brings mounts of the host into a running container",
				"give it to the container at create")
		case m.Flags.CopyLink:
			p.complain(optionField(field, m.Flags.LinkAt), "bind", m.Target, "a link is copied by create only", "")
		}
		p.checkCovered(field, m.Target)
	case *Remount:
		p.complain(field.At("options"), "remount", m.Target, "the mounts of a running container are not changed",
			"remove it and add it with other options")
	case *CgroupTree:
		p.complain(field.At("type"), "mount cgroup", m.Target, "it would not show what is the container's own", "give it to the container at create")
	}
}

// checkCovered keeps what config.json masks or makes read-only as it is, also
// where it would only be covered or uncovered.
func (p *planner) checkCovered(field fault.Pointer, target string) bool {
	l := p.spec.Linux
	if l == nil {
		return true
	}
	for _, path := range slices.Concat(l.MaskedPaths, l.ReadonlyPaths) {
		if path = inside(path); within(path, target) || within(target, path) {
			p.complain(field.At("destination"), "mount", target, "config.json masks "+path+" or makes it read-only", "choose another place")
			return false
		}
	}
	return true
}

// CompileAddition appends the steps of a plan from NewAddition. The walker has
// joined the container; root is its root, proc a trusted procfs, sources the
// registers of Plan.Sources. Each mount is handed over when it is attached
// (nsenter.SyncMount).
func (p *Plan) CompileAddition(b *nsenter.Builder, root, proc nsenter.Reg, sources []nsenter.Reg) {
	c := &compiler{b: b, m: p.m, plan: p, sources: sources, adds: true,
		late: map[string]nsenter.Reg{}, kernel: map[string]nsenter.Reg{}}
	c.r.Root, c.r.Proc = root, proc
	c.at("", "prepare the mounts", "")
	b.Append(unix.SYS_UMASK, nsenter.Octal(0))
	for _, op := range p.Ops {
		op.compile(c)
	}
}

// Place is a mount to be removed.
type Place struct {
	Target string
	Field  fault.Pointer
}

// NewRemoval finds where spec.Mounts are to be removed, the last one first. The
// rest of spec is the container's.
func NewRemoval(spec *specs.Spec, facts host.Facts, opt Options) ([]Place, fault.List) {
	p := newPlanner(spec, facts, opt)
	var out []Place
	for i, m := range slices.Backward(spec.Mounts) {
		e := &entry{Mount: m, field: fault.Pointer("/mounts").Index(i), target: inside(m.Destination), flags: Flags{Remount: true}}
		field := e.field.At("destination")
		switch {
		case !p.checkText(e) || !p.checkTarget(e) || !p.checkCovered(e.field, e.target):
		case within(e.target, "/proc") && !slices.Contains(lxcfs[:], e.target):
			p.complain(field, "unmount", e.target, "what is mounted on /proc or in it stays", "")
		case slices.ContainsFunc(out, func(o Place) bool { return o.Target == e.target }):
			p.complain(field, "unmount", e.target, "is listed twice", "remove one, and call the runtime twice where two mounts are there")
		default:
			out = append(out, Place{e.target, field})
		}
	}
	return out, p.bad
}

// CompileRemoval appends the steps that remove mounts: all places are looked at
// before the first is unmounted. The registers are as for CompileAddition.
func CompileRemoval(b *nsenter.Builder, root, proc nsenter.Reg, places []Place) {
	at := func(p Place) {
		b.For(nsenter.Origin{Field: p.Field, Op: "unmount", Path: p.Target, Phase: fault.PhaseMounts})
	}
	mounts := make([]nsenter.Reg, len(places))
	for i, p := range places {
		at(p)
		mounts[i] = b.OpenIn(root, p.Target, unix.O_PATH|unix.O_NOFOLLOW)
		b.CheckMounted(mounts[i])
	}
	for i, p := range places {
		at(p)
		detach(b, proc, mounts[i])
	}
}

// CompileDetach appends the steps that take back mounts that were handed over,
// the last one first. One that is not there any more is no failure.
func CompileDetach(b *nsenter.Builder, proc nsenter.Reg, mounts []nsenter.Reg) {
	b.For(nsenter.Origin{Op: "unmount", Phase: fault.PhaseMounts})
	for _, r := range slices.Backward(mounts) {
		detach(b, proc, r).Accepts(unix.EINVAL)
	}
}

func detach(b *nsenter.Builder, proc, mount nsenter.Reg) *nsenter.Step {
	const spare = 1000 // as Plan.spare
	name := reopen(b, mount, spare)
	b.Fchdir(proc)
	return b.Detach(name)
}
