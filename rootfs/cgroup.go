package rootfs

import (
	"slices"

	"golang.org/x/sys/unix"
)

// CgroupMount is one of the container's own groups, as a mount of type cgroup
// shows it.
type CgroupMount struct {
	Name        string   `json:"name"`                  // below the mount's target: "cpu,cpuacct"; "" for a pure cgroup2
	Dir         string   `json:"dir"`                   // the group's directory on the host
	V2          bool     `json:"v2,omitempty"`          // of the cgroup2 hierarchy
	Controllers []string `json:"controllers,omitempty"` // of a v1 hierarchy: {"cpu","cpuacct"}, {"name=systemd"}
	Symlinks    []string `json:"symlinks,omitempty"`    // further names of it beside Name: "cpu", "cpuacct"
	Shared      bool     `json:"shared,omitempty"`      // the runtime's own group: shown read-only
}

// planCgroup shows the container its own groups, as runc does: cgroup2 alone
// where there is nothing else, hierarchy by hierarchy otherwise.
func (p *planner) planCgroup(e *entry) {
	flags := e.flags
	flags.Attr = flags.Attr.with(flags.Rec.Set, flags.Rec.Clear)
	flags.Rec = Attr{}
	if slices.ContainsFunc(p.opt.Cgroup, func(g CgroupMount) bool { return g.Shared }) {
		flags.Attr = flags.Attr.with(unix.MOUNT_ATTR_RDONLY, 0) // CVE-2023-25809
	}
	pure := len(p.opt.Cgroup) == 1 && p.opt.Cgroup[0].V2 && p.opt.Cgroup[0].Name == ""
	switch {
	case pure && !p.opt.CgroupNS:
		p.planGroupBind(e, flags)
	case pure || e.Type == "cgroup2" || len(p.opt.Cgroup) == 0 && len(p.facts.Cgroup.V1) == 0:
		p.add(&Mount{
			Base: Base{"mount", e.field}, Type: "cgroup2", Source: e.Source, Target: e.target, Flags: flags, source: -1,
		})
	default:
		p.planCgroupTree(e, flags)
	}
}

// planGroupBind binds the container's group: without a cgroup namespace a new
// mount of cgroup2 would show the host's groups.
func (p *planner) planGroupBind(e *entry, flags Flags) {
	flags.Bind = true
	flags.Params = nil
	b := &Bind{Base: Base{"bind", e.field}, Source: p.opt.Cgroup[0].Dir, Target: e.target, Flags: flags}
	b.source = p.source(Source{Path: b.Source, Attr: flags.Attr, Field: e.field, Op: "bind"})
	p.add(b)
}

func (p *planner) planCgroupTree(e *entry, flags Flags) {
	t := &CgroupTree{
		Base: Base{"cgroup", e.field}, Target: e.target, Flags: flags,
		Groups: p.opt.Cgroup, namespace: p.opt.CgroupNS,
	}
	if !t.namespace {
		for _, g := range t.Groups {
			t.sources = append(t.sources, p.source(Source{Path: g.Dir, Attr: flags.Attr, Field: e.field, Op: "bind"}))
		}
	}
	p.add(t)
}
