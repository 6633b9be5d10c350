package rootfs

import (
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/nsenter"
	"berth/rootfs/overlayfs"
)

// An overlay as the first mount, on "/", is the root file system itself:
// root.path is only the place that it is mounted on. Any other mount on "/"
// would hide the root.

// isRoot tells whether entry i is the root file system. One that is added to a
// running container is not.
func (p *planner) isRoot(e *entry, i int) bool {
	return i == 0 && !p.addition && e.target == "/" && e.Type == "overlay" && !e.flags.Bind && !e.flags.Remount
}

// RootLayers is the directories that a root file system is made of, the topmost
// first: those of an overlay, or root.path. Relative ones are below bundle.
func RootLayers(spec *specs.Spec, bundle string) []string {
	p := planner{Plan: &Plan{}, spec: spec, opt: Options{Bundle: bundle}}
	if len(spec.Mounts) > 0 {
		e := newEntry(spec.Mounts[0], "")
		if p.isRoot(e, 0) {
			return layerPaths(p.overlay(e))
		}
	}
	if spec.Root == nil || spec.Root.Path == "" {
		return nil
	}
	return []string{p.inBundle(spec.Root.Path)}
}

func layerPaths(o *overlayfs.Mount) []string {
	var out []string
	if o.Upper != "" {
		out = append(out, o.Upper)
	}
	for _, l := range o.Lower {
		out = append(out, l.Path)
	}
	return out
}

// overlay is the entry's options as an overlay, with absolute paths.
func (p *planner) overlay(e *entry) *overlayfs.Mount {
	m := &overlayfs.Mount{Source: e.Source}
	for _, q := range e.flags.Params {
		for _, one := range splitParam(q) {
			m.Set(overlayfs.Param{Key: one.Key, Value: one.Value, HasValue: one.HasValue})
		}
	}
	for _, list := range [...][]overlayfs.Layer{m.Lower, m.Data} {
		for i := range list {
			list[i].Path = p.inBundle(list[i].Path)
		}
	}
	if m.Upper != "" {
		m.Upper = p.inBundle(m.Upper)
	}
	if m.Work != "" {
		m.Work = p.inBundle(m.Work)
	}
	return m
}

// overlayParams is o for fsconfig(2), each with the option that it is from, or
// for mount(2) before Linux 6.8.
func (p *planner) overlayParams(e *entry, o *overlayfs.Mount) []Param {
	at := map[string]int{}
	for _, q := range e.flags.Params {
		for _, one := range splitParam(q) {
			at[one.Key] = one.At
		}
	}
	var out []Param
	add := func(key, value string, from ...string) {
		q := Param{Key: key, Value: value, HasValue: true, At: -1}
		for _, name := range append(from, key) {
			if i, ok := at[name]; ok {
				q.At = i
			}
		}
		out = append(out, q)
	}
	if p.m.lowerdir {
		for _, l := range o.Lower {
			add("lowerdir+", l.Path, "lowerdir")
		}
		for _, l := range o.Data {
			add("datadir+", l.Path, "lowerdir")
		}
	} else {
		_, value, _ := strings.Cut(o.Options()[0], "=")
		add("lowerdir", value, "lowerdir+")
	}
	if o.Upper != "" {
		add("upperdir", overlayfs.EscapeDir(o.Upper))
		add("workdir", overlayfs.EscapeDir(o.Work))
	}
	for _, q := range e.flags.Params {
		for _, one := range splitParam(q) {
			if !namesDirectory(one.Key) {
				out = append(out, one)
			}
		}
	}
	return out
}

func namesDirectory(key string) bool {
	return slices.Contains([]string{"lowerdir", "lowerdir+", "datadir+", "upperdir", "workdir"}, key)
}

// planOverlay decides what only an overlay has: its limits, and who mounts it.
// false is a complaint.
func (p *planner) planOverlay(e *entry, m *Mount, id *IDMap) bool {
	o := p.overlay(e)
	kernel := overlayfs.Kernel(p.facts.Kernel)
	if id != nil && !kernel.AtLeast(5, 19) {
		p.complain(e.option(e.flags.IDMapAt), "mount overlay", e.target, "an overlay of id-mapped layers needs Linux 5.19", "")
		return false
	}
	if bad := o.Check(kernel); bad != nil {
		p.complain(e.field.At("options"), bad.Op, e.target, about(bad.Path, bad.Msg), bad.Hint)
		return false
	}
	m.overlay = o
	m.Flags.Params = p.labelled(m.Type, p.overlayParams(e, o))
	m.classic = p.classic(m)
	long := m.classic && len(joinParams(m.Flags.Params)) > dataMax
	switch {
	case m.root:
		p.planRootOverlay(m, id, m.classic)
	case id != nil || long && p.m.privileged:
		p.overlayInRuntime(m, id)
	case long:
		p.complain(e.field.At("options"), "mount overlay", e.target, "this kernel takes no more than 4095 bytes of options",
			"use fewer layers or shorter names, or Linux 6.8, which takes each layer by itself (up to 255 bytes)")
		return false
	}
	return true
}

func about(path, msg string) string {
	if path == "" {
		return msg
	}
	return path + ": " + msg
}

// overlayInRuntime lets the runtime make the overlay: of id-mapped layers,
// which are the host's, or where only descriptors are short enough as names.
func (p *planner) overlayInRuntime(m *Mount, id *IDMap) {
	s := p.overlaySource(m, id)
	m.source, m.classic = len(p.sources), false
	p.sources = append(p.sources, s)
}

// overlaySource is an overlay that the runtime makes.
func (p *planner) overlaySource(m *Mount, id *IDMap) Source {
	o := *m.overlay
	o.Attrs = m.Flags.Attr.Set
	for _, q := range superParams(m.Flags.SB) {
		o.Params = append(o.Params, overlayfs.Param{Key: q.Key})
	}
	if last := len(m.Flags.Params) - 1; last >= 0 && m.Flags.Params[last].At == labelAt {
		q := m.Flags.Params[last]
		o.Params = append(o.Params, overlayfs.Param{Key: q.Key, Value: q.Value, HasValue: true})
	}
	return Source{
		Path: m.Target, Field: m.Field, Op: "mount overlay", IDMap: id,
		Fresh: &Fresh{Type: "overlay", Overlay: &o, Kernel: overlayfs.Kernel(p.facts.Kernel)},
	}
}

// planRootOverlay makes m the root. The walker mounts it where it has the
// rights to: trusted.overlay.* is only for a mount of the initial user
// namespace.
func (p *planner) planRootOverlay(m *Mount, id *IDMap, classic bool) {
	if m.Flags.Attr.Set&unix.MOUNT_ATTR_RDONLY != 0 {
		m.Flags.Attr.Set &^= unix.MOUNT_ATTR_RDONLY
		p.readonlyAt = optionField(m.Field, m.Flags.AttrAt)
	}
	m.late, m.likeMode = false, false
	s := p.overlaySource(m, id)
	s.opener = p.opener(Source{Path: p.Root, IDMap: id})
	if classic && p.m.privileged {
		s.opener = byRuntime
	}
	m.classic = classic && s.opener != byRuntime
	p.rootMount, p.rootSource = m, &s
}

// rootSource is what the container's root is: a clone of root.path with all
// that is mounted below it, or an overlay.
func (p *planner) planRootSource() {
	root := Source{
		Path: p.Root, Recursive: true, Field: "/root/path", Op: "open the root file system",
	}
	root.opener = p.opener(root)
	if p.rootSource != nil {
		root = *p.rootSource
	}
	root.base, root.alone = p.m.base, p.m.rootAlone()
	p.sources = append(p.sources, root)
}

// openOverlay makes the overlay that is the root, detached, before anything
// covers a path of the host.
func (c *compiler) openOverlay(m *Mount) nsenter.Reg {
	c.at(m.Field, "mount overlay", m.Target)
	if !m.classic {
		return m.create(c)
	}
	flags := m.Flags.SB | classicFlags(m.Flags.Attr.Set)
	c.b.Mount(m.Source, c.plan.Root, m.Type, flags, joinParams(m.Flags.Params))
	return c.b.OpenTreeHost(c.plan.Root, false, false)
}

// RootOverlay is the entry of the overlay that is the root, empty where
// root.path is the root.
func (p *Plan) RootOverlay() fault.Pointer {
	if p.rootMount == nil {
		return ""
	}
	return p.rootMount.Field
}

// diagnoseOverlay says which directory of an overlay is at fault.
func (p *Plan) diagnoseOverlay(e *fault.Error) {
	for _, op := range p.Ops {
		m, ok := op.(*Mount)
		if ok && m.overlay != nil && (e.Field.Related(m.Field)) {
			e.Hint = ""
			m.overlay.Explain(e)
			return
		}
	}
}

// copyUp is where the content of a tmpfs with tmpcopyup comes from. The root
// does not exist yet where it is an overlay: its layers are looked at through
// one that changes nothing.
func (p *planner) copyUp(target string) *CopyUp {
	c := &CopyUp{Root: p.Root, Target: target}
	if p.rootMount == nil {
		return c
	}
	o := *p.rootMount.overlay
	if o.Upper != "" {
		o.Lower = slices.Concat([]overlayfs.Layer{{Path: o.Upper}}, o.Lower)
	}
	o.Upper, o.Work, o.Volatile = "", "", false
	layers := *p.rootSource
	layers.Fresh = &Fresh{Type: "overlay", Overlay: &o, Kernel: overlayfs.Kernel(p.facts.Kernel)}
	c.Layers = &layers
	return c
}
