package rootfs

import (
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"berth/nsenter"
)

// target opens the mount point dest and makes what is missing; a file where
// like is one. /proc and /sys have to be directories of the image itself: a
// link would let it choose where they are (CVE-2019-19921, CVE-2023-27561).
func (c *compiler) target(dest string, like nsenter.Reg) nsenter.Reg {
	if dest == "/proc" || dest == "/sys" {
		return c.ownDir(strings.TrimPrefix(dest, "/"))
	}
	if like != 0 {
		return c.b.MakeLike(c.r.Root, dest, 0o755, like)
	}
	return c.b.MakeDir(c.r.Root, dest, 0o755)
}

// ownDir opens the directory name of the root itself, not following a link.
func (c *compiler) ownDir(name string) nsenter.Reg {
	const flags = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW
	missing, done := c.b.Label(), c.b.Label()
	r := c.b.OpenIn(c.r.Root, name, flags)
	c.b.Last().Accepts(unix.ENOENT).Else(missing).Then(done)
	c.b.Place(missing)
	c.b.Mkdirat(c.r.Root, name, 0o755)
	c.b.OpenIn(c.r.Root, name, flags)
	c.b.Into(r)
	c.b.Place(done)
	return r
}

func (m *Mount) compile(c *compiler) {
	if m.root {
		return
	}
	c.at(m.Field, "mount "+m.Type, m.Target)
	switch {
	case m.classic:
		m.compileClassic(c)
	case m.source >= 0:
		m.attach(c, c.sources[m.source])
	default:
		m.attach(c, m.create(c))
	}
}

// create makes the file system, detached.
func (m *Mount) create(c *compiler) nsenter.Reg {
	fs := c.b.Fsopen(m.Type)
	if m.Source != "" {
		c.b.FsconfigString(fs, "source", m.Source)
	}
	attrs := m.Flags.Attr.Set
	if m.late {
		attrs &^= unix.MOUNT_ATTR_RDONLY
	} else if attrs&unix.MOUNT_ATTR_RDONLY != 0 {
		// "ro" is both the mount's and the superblock's, as with mount(2).
		c.b.FsconfigFlag(fs, "ro")
	}
	for _, name := range superNames(m.Flags.SB) {
		c.b.FsconfigFlag(fs, name)
	}
	m.parameters(c, fs)
	c.at(m.Field, "mount "+m.Type, m.Target)
	c.b.FsconfigCreate(fs)
	r := c.b.Fsmount(fs, attrs)
	c.b.Close(fs)
	return r
}

func (m *Mount) parameters(c *compiler, fs nsenter.Reg) {
	for _, q := range m.Flags.Params {
		c.at(q.field(m.Field), "mount "+m.Type, m.Target)
		if q.HasValue {
			c.b.FsconfigString(fs, q.Key, q.Value)
		} else {
			c.b.FsconfigFlag(fs, q.Key)
		}
	}
}

func (m *Mount) attach(c *compiler, r nsenter.Reg) {
	m.labelQueues(c, r)
	t := m.place(c, r)
	c.moveMount(r, t)
	c.b.Close(t)
	m.settle(c, r)
}

// moveMount attaches r at t.
func (c *compiler) moveMount(r, t nsenter.Reg) {
	c.b.MoveMount(r, t)
	if c.adds {
		c.b.SendFD(nsenter.SyncMount, r)
	}
}

// place opens the mount point. A tmpfs without a mode of its own gets that of
// the directory it covers: /run of an image stays 0755. One that is made for it
// has none to give, and leaves the file system's default of 1777.
func (m *Mount) place(c *compiler, r nsenter.Reg) nsenter.Reg {
	if !m.likeMode {
		return c.target(m.Target, 0)
	}
	missing, done := c.b.Label(), c.b.Label()
	t := c.b.OpenIn(c.r.Root, m.Target, unix.O_PATH)
	c.b.Last().Accepts(unix.ENOENT).Else(missing)
	c.b.LikeMode(r, t).Then(done)
	c.b.Place(missing)
	c.b.MakeDir(c.r.Root, m.Target, 0o755)
	c.b.Into(t)
	c.b.Place(done)
	return t
}

// settle does what comes after the mount is attached.
func (m *Mount) settle(c *compiler, r nsenter.Reg) {
	c.entryPropagation(r, &m.Base, m.Target, m.Flags)
	if m.late {
		c.late[m.Target] = r
		return
	}
	c.release(m.Target, r)
}

// release closes an attached mount, unless it is on /proc or /sys and something is masked below: by then the path may
// lead to something else, where another container has this root too (CVE-2023-27561).
func (c *compiler) release(target string, r nsenter.Reg) {
	if target != "/proc" && target != "/sys" || !c.plan.masksBelow(target) {
		c.b.Close(r)
		return
	}
	if covered := c.kernel[target]; covered != 0 {
		c.b.Close(covered)
	}
	c.kernel[target] = r
}

func (m *Mount) compileClassic(c *compiler) {
	flags := m.Flags.SB | classicFlags(m.Flags.Attr.Set)
	if m.late {
		flags &^= unix.MS_RDONLY
	}
	t := c.target(m.Target, 0)
	c.classic(t, m.Source, m.Type, flags, joinParams(m.Flags.Params))
	c.b.Close(t)
	if m.late || len(m.Flags.Propagation) > 0 {
		m.settle(c, c.b.OpenIn(c.r.Root, m.Target, unix.O_PATH))
	}
}

func (m *Bind) compile(c *compiler) {
	c.at(m.Field, "bind", m.Target)
	if m.link != "" {
		m.copyLink(c)
		return
	}
	r := c.clone(m.source)
	if m.procfs {
		c.b.Check(r, nsenter.Identity{Magic: unix.PROC_SUPER_MAGIC})
	}
	t := m.place(c, r)
	c.moveMount(r, t)
	c.b.Close(t)
	c.settleBind(r, m.source, &m.Base, m.Target, m.Flags)
	c.release(m.Target, r)
}

// place opens the mount point; with dest-nofollow a symbolic link itself.
func (m *Bind) place(c *compiler, like nsenter.Reg) nsenter.Reg {
	if !m.Flags.TargetLink {
		return c.target(m.Target, like)
	}
	missing, done := c.b.Label(), c.b.Label()
	t := c.b.OpenIn(c.r.Root, m.Target, unix.O_PATH|unix.O_NOFOLLOW)
	c.b.Last().Accepts(unix.ENOENT).Else(missing).Then(done)
	c.b.Place(missing)
	c.target(m.Target, like)
	c.b.Into(t)
	c.b.Place(done)
	return t
}

// copyLink makes a symbolic link like the source instead of a mount. It takes
// the place of another link, and of nothing else.
func (m *Bind) copyLink(c *compiler) {
	c.b.Close(c.sources[m.source])
	name := path.Base(m.Target)
	there, done := c.b.Label(), c.b.Label()
	dir := c.b.MakeDir(c.r.Root, path.Dir(m.Target), 0o755)
	c.b.Symlinkat(m.link, dir, name).Accepts(unix.EEXIST).Else(there).Then(done)
	c.b.Place(there)
	old := c.b.OpenIn(dir, name, unix.O_PATH|unix.O_NOFOLLOW)
	c.b.Check(old, nsenter.Identity{Type: unix.S_IFLNK})
	c.b.Close(old)
	c.b.Unlinkat(dir, name)
	c.b.Symlinkat(m.link, dir, name)
	c.b.Place(done)
	c.b.Close(dir)
}

// settleBind does what could not be done before a clone of a host mount was
// attached, and then what the entry says about propagation.
func (c *compiler) settleBind(r nsenter.Reg, source int, base *Base, target string, f Flags) {
	s := c.plan.sources[source]
	if s.base == 0 && s.opener == byRuntime {
		c.propagate(r, c.m.base)
	}
	if s.Attr != f.Attr {
		c.at(optionField(base.Field, f.AttrAt), "remount", target)
		c.setattr(r, false, f.Attr, 0)
	}
	if s.Rec != f.Rec {
		c.at(optionField(base.Field, f.RecAt), "remount", target)
		c.setattr(r, true, f.Rec, 0)
	}
	c.entryPropagation(r, base, target, f)
}

func (m *Remount) compile(c *compiler) {
	c.at(m.Field, "remount", m.Target)
	t := c.b.OpenIn(c.r.Root, m.Target, unix.O_PATH)
	switch {
	case !m.Flags.Bind:
		flags := unix.MS_REMOUNT | m.Flags.SB | classicFlags(m.Flags.Attr.Set)
		c.classic(t, m.Source, m.Type, flags, joinParams(m.Flags.Params))
	default:
		c.setattr(t, false, m.Flags.Attr, 0)
	}
	c.at(optionField(m.Field, m.Flags.RecAt), "remount", m.Target)
	c.setattr(t, true, m.Flags.Rec, 0)
	c.entryPropagation(t, &m.Base, m.Target, m.Flags)
	c.b.Close(t)
}

func (m *CgroupTree) compile(c *compiler) {
	c.at(m.Field, "mount cgroup", m.Target)
	attrs := m.Flags.Attr.Set
	tmpfs := &Mount{Base: m.Base, Type: "tmpfs", Source: "cgroup", Target: m.Target}
	tmpfs.Flags.Attr.Set = attrs &^ unix.MOUNT_ATTR_RDONLY
	tmpfs.Flags.Params = []Param{{Key: "mode", Value: "755", HasValue: true, At: -1}}
	if c.plan.label != "" {
		tmpfs.Flags.Params = append(tmpfs.Flags.Params, context(c.plan.label))
	}
	r := tmpfs.create(c)
	t := c.target(m.Target, 0)
	c.b.MoveMount(r, t)
	c.b.Close(t)
	for i, g := range m.Groups {
		m.compileGroup(c, r, i, g)
	}
	c.at(m.Field, "mount cgroup", m.Target)
	c.setattr(r, false, Attr{Set: attrs & unix.MOUNT_ATTR_RDONLY}, attrs)
	c.entryPropagation(r, &m.Base, m.Target, m.Flags)
	c.b.Close(r)
}

// compileGroup mounts one hierarchy below the tmpfs.
func (m *CgroupTree) compileGroup(c *compiler, tmpfs nsenter.Reg, i int, g CgroupMount) {
	path := m.Target + "/" + g.Name
	c.at(m.Field, "mount cgroup", path)
	c.b.Mkdirat(tmpfs, g.Name, 0o755)
	t := c.b.OpenIn(tmpfs, g.Name, unix.O_PATH|unix.O_DIRECTORY)
	if m.namespace {
		r := g.mount(m).create(c)
		c.b.MoveMount(r, t)
		c.b.Close(r)
	} else {
		r := c.clone(m.sources[i])
		c.b.MoveMount(r, t)
		c.settleBind(r, m.sources[i], &m.Base, path, Flags{Attr: m.Flags.Attr, AttrAt: m.Flags.AttrAt})
		c.b.Close(r)
	}
	c.b.Close(t)
	for _, name := range g.Symlinks {
		c.b.Symlinkat(g.Name, tmpfs, name)
	}
}

// mount is the group's hierarchy, of which a cgroup namespace shows just the
// group.
func (g CgroupMount) mount(m *CgroupTree) *Mount {
	out := &Mount{Base: m.Base, Type: "cgroup", Source: "cgroup", Target: m.Target + "/" + g.Name}
	out.Flags.Attr = m.Flags.Attr
	if g.V2 {
		out.Type = "cgroup2"
		return out
	}
	for _, name := range g.Controllers {
		if strings.HasPrefix(name, "name=") {
			out.Flags.Params = append(out.Flags.Params, Param{Key: "none", At: -1})
		}
		out.Flags.Params = append(out.Flags.Params, param(name, -1))
	}
	return out
}

func (s *Seal) compile(c *compiler) {
	r, ok := c.late[s.Target]
	if !ok {
		return
	}
	c.at(s.Field, "remount", s.Target)
	c.setattr(r, false, Attr{Set: unix.MOUNT_ATTR_RDONLY}, c.plan.attributes(s.Target))
	c.b.Close(r)
	delete(c.late, s.Target)
}

// attributes is what the plan sets on the mount that a path is on.
func (p *Plan) attributes(path string) uint64 {
	best, set := -1, uint64(0)
	for _, op := range p.Ops {
		m, ok := op.(*Mount)
		if ok && len(m.Target) >= best && (path == m.Target || strings.HasPrefix(path, m.Target+"/")) {
			best, set = len(m.Target), m.Flags.Attr.Set
		}
	}
	return set
}

func sortedKeys(m map[string]nsenter.Reg) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
