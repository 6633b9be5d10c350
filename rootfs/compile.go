package rootfs

import (
	"strconv"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/nsenter"
)

// Regs is the registers that CompileMounts leaves open for the steps that
// follow.
type Regs struct {
	Root    nsenter.Reg // the container's root, attached
	Proc    nsenter.Reg // the trusted procfs
	Console nsenter.Reg // the slave of the console, 0 where there is none

	hostRoot, hostProc, hostSys nsenter.Reg // for --no-pivot
}

// compiler turns the Ops of one plan into steps.
type compiler struct {
	b       *nsenter.Builder
	m       machine
	plan    *Plan
	r       Regs
	sources []nsenter.Reg          // of Plan.sources
	dirs    map[string]nsenter.Reg // directories that devices are made in
	late    map[string]nsenter.Reg // mounts to be sealed, by target
	kernel  map[string]nsenter.Reg // what is mounted on /proc and /sys, for what is masked there
	null    nsenter.Reg            // the host's /dev/null, for masks
	empty   nsenter.Reg            // an empty read-only tmpfs, for masks
	adds    bool                   // to a running container: what is attached is told
}

// CompileMounts appends everything that happens before the hooks: the mount
// namespace's propagation, the trusted procfs, the root attached, and all ops
// up to the pivot. sources is the registers of Plan.Sources, in their order;
// they are closed when done with. The walker is in the container's namespaces
// and, where it has a pid namespace, forked.
func (p *Plan) CompileMounts(b *nsenter.Builder, sources []nsenter.Reg) Regs {
	c := &compiler{b: b, m: p.m, plan: p, dirs: map[string]nsenter.Reg{}, late: map[string]nsenter.Reg{},
		kernel: map[string]nsenter.Reg{}}
	c.at("/root/path", "prepare the root file system", p.Root)
	b.Append(unix.SYS_UMASK, nsenter.Octal(0)) // modes are what they are said to be
	c.isolate()
	c.openSources(sources)
	c.trustedProc()
	c.maskSources()
	c.hostPlaces()
	c.attachRoot()
	for _, op := range p.Ops {
		if !afterHooks(op) {
			op.compile(c)
		}
	}
	c.finish()
	return c.r
}

// CompilePivot appends what happens after the hooks: the root becomes "/", gets
// its propagation, and becomes read-only. r is from CompileMounts; r.Root and
// r.Proc stay open.
func (p *Plan) CompilePivot(b *nsenter.Builder, r Regs) {
	c := &compiler{b: b, m: p.m, plan: p, r: r}
	for _, op := range p.Ops {
		if afterHooks(op) {
			op.compile(c)
		}
	}
}

func afterHooks(op Op) bool {
	switch op.(type) {
	case *Pivot, *RootReadonly:
		return true
	}
	return false
}

// at says who asks for the steps that follow.
func (c *compiler) at(field fault.Pointer, op, path string) {
	c.b.For(nsenter.Origin{Field: field, Op: op, Path: path, Phase: fault.PhaseMounts})
}

// isolate keeps what is mounted from here on from reaching the host.
func (c *compiler) isolate() {
	if !c.m.mountNS {
		return
	}
	flag := c.m.base
	if flag == 0 {
		flag = unix.MS_SLAVE | unix.MS_REC
	}
	c.at(c.m.propagationField(), "propagation", "/")
	if c.m.setattr {
		c.b.MountSetattrHost("/", true, nsenter.MountAttr{Propagation: flag &^ unix.MS_REC})
	} else {
		c.b.Mount("", "/", "", flag, "")
	}
}

// propagationField is the entry that asked for a propagation, if any.
func (m machine) propagationField() fault.Pointer {
	if m.propagation == 0 {
		return ""
	}
	return "/linux/rootfsPropagation"
}

const procAttrs = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC

// procRoot is the root of any procfs (PROC_ROOT_INO in the kernel's fs/proc).
var procRoot = nsenter.Identity{Type: unix.S_IFDIR, Magic: unix.PROC_SUPER_MAGIC, Inode: 1}

// trustedProc opens a procfs that nothing can be mounted over, for every later
// access to /proc (CVE-2025-52881). Where the kernel does not let this user
// namespace have a new one, it is the host's, held to be a procfs's root.
func (c *compiler) trustedProc() {
	c.at("", "open a procfs", "/proc")
	if c.m.userNS && !c.m.nested && !c.m.pidNS {
		c.r.Proc = c.b.Reserve()
		c.hostProc()
		return
	}
	fs := c.b.Fsopen("proc")
	done := c.b.Label()
	if !c.mayLackRights() {
		c.b.FsconfigCreate(fs)
		c.r.Proc = c.b.Fsmount(fs, procAttrs)
		c.park(c.r.Proc, done)
		c.b.Place(done)
		c.b.Close(fs)
		return
	}
	host := c.b.Label()
	c.b.FsconfigCreate(fs).Accepts(unix.EPERM).Else(host)
	c.r.Proc = c.b.Fsmount(fs, procAttrs)
	c.b.Last().Accepts(unix.EPERM).Else(host)
	c.park(c.r.Proc, done)
	c.b.Last().Then(done)
	c.b.Place(host)
	c.hostProc()
	c.b.Place(done)
	c.b.Close(fs)
}

// CompileHostProc opens the host's procfs, to be trusted, and returns its
// register.
func CompileHostProc(b *nsenter.Builder) nsenter.Reg {
	r := b.OpenHost("/proc", unix.O_PATH|unix.O_DIRECTORY)
	b.Check(r, procRoot)
	return r
}

// hostProc makes the host's procfs the trusted one.
func (c *compiler) hostProc() {
	c.b.OpenHost("/proc", unix.O_PATH|unix.O_DIRECTORY)
	c.b.Into(c.r.Proc)
	c.b.Check(c.r.Proc, procRoot)
}

// park attaches a mount of our own where the root comes to be mounted over it,
// and goes to done where that cannot be. The mount then goes with the old root,
// which saves the RCU grace period (0.2 ms) that the kernel waits for when the
// last descriptor of a mount that is nowhere attached is closed; and before
// Linux 6.15 only an attached mount can be cloned.
//
// No link may be on the way there: it could lead to "/", and what is over "/"
// keeps DetachHere from the old root.
func (c *compiler) park(r nsenter.Reg, done *nsenter.Label) {
	if !c.parks() {
		return
	}
	place := c.b.OpenHostPlain(c.plan.Root, unix.O_PATH|unix.O_DIRECTORY)
	c.b.Last().Accepts(unix.ELOOP, unix.EACCES).Else(done)
	c.b.MoveMount(r, place)
	c.b.Close(place)
}

func (c *compiler) parks() bool { return c.m.mountNS && c.plan.Root != "/" }

// mayLackRights tells whether the walker is not root of the host.
func (c *compiler) mayLackRights() bool { return c.m.userNS || c.m.nested || !c.m.privileged }

// hostPlaces opens what Pivot needs of the old root without pivot_root(2).
func (c *compiler) hostPlaces() {
	if !c.m.mountNS || !c.m.noPivot {
		return
	}
	const flags = unix.O_PATH | unix.O_DIRECTORY
	c.at("/root/path", "open", "/")
	c.r.hostRoot = c.b.OpenHost("/", flags)
	c.at("/root/path", "open", "/proc")
	c.r.hostProc = c.b.OpenHost("/proc", flags)
	c.b.Check(c.r.hostProc, nsenter.Identity{Type: unix.S_IFDIR, Magic: unix.PROC_SUPER_MAGIC})
	c.at("/root/path", "open", "/sys")
	c.r.hostSys = c.b.OpenHost("/sys", flags)
}

// openSources takes the runtime's descriptors and opens the others, the root
// last. It comes before anything covers a path of the host.
func (c *compiler) openSources(given []nsenter.Reg) {
	c.sources = make([]nsenter.Reg, len(c.plan.sources))
	for i, s := range c.plan.sources {
		c.at(s.Field, s.Op, s.Path)
		switch {
		case s.opener == byRuntime:
			c.sources[i], given = given[0], given[1:]
		case s.Fresh != nil:
			c.sources[i] = c.openOverlay(c.plan.rootMount)
		case s.opener == early:
			c.sources[i] = c.b.OpenTreeHost(s.Path, s.Recursive, s.NoFollow)
		default:
			c.sources[i] = c.b.OpenPathHost(s.Path, s.NoFollow)
		}
	}
	c.r.Root = c.sources[len(c.sources)-1]
}

// clone is source i as a detached mount, with the attributes that Open would
// have given it. Its propagation it has from isolate.
func (c *compiler) clone(i int) nsenter.Reg {
	s, r := c.plan.sources[i], c.sources[i]
	if s.opener != inTurn {
		return r
	}
	clone := c.b.OpenTree(r, s.Recursive)
	c.b.Close(r)
	own, all := s.Attr, s.Rec
	if !s.Recursive { // a tree of one mount
		own, all = own.with(all.Set, all.Clear), Attr{}
	}
	c.setattr(clone, false, own, 0)
	c.setattr(clone, true, all, 0)
	return clone
}

// attachRoot puts the root where the host has it, so that hooks in the mount
// namespace find it there, or over "/" where its user may not go there.
func (c *compiler) attachRoot() {
	root := c.plan.sources[len(c.plan.sources)-1]
	c.at("/root/path", "attach the root file system", c.plan.Root)
	switch {
	case c.m.noPivot && c.m.userNS: // it cannot be moved there later
		c.b.MoveMountHost(c.r.Root, "/")
	case c.mayLackRights() && c.m.mountNS:
		covered, done := c.b.Label(), c.b.Label()
		c.b.MoveMountHost(c.r.Root, c.plan.Root).Accepts(unix.EACCES).Else(covered).Then(done)
		c.b.Place(covered)
		c.b.MoveMountHost(c.r.Root, "/")
		c.b.Place(done)
	default:
		c.b.MoveMountHost(c.r.Root, c.plan.Root)
	}
	c.b.RootOpen()
	c.rootPropagation(root)
}

// rootPropagation leaves the new root without peers: pivot_root(2) refuses a
// shared one, and nothing mounted in it may reach the host.
func (c *compiler) rootPropagation(root Source) {
	if root.opener == byRuntime {
		if c.m.setattr {
			return // Open did
		}
		c.propagate(c.r.Root, c.m.base)
	}
	if c.m.rootAlone() && c.m.base != unix.MS_PRIVATE|unix.MS_REC {
		c.propagate(c.r.Root, unix.MS_PRIVATE)
	}
}

// rootAlone tells whether the root's own mount is to be private; only an
// explicit slave is not.
func (m machine) rootAlone() bool { return m.propagation&^unix.MS_REC != unix.MS_SLAVE }

func (c *compiler) finish() {
	for _, kept := range []map[string]nsenter.Reg{c.dirs, c.kernel} {
		for _, name := range sortedKeys(kept) {
			c.b.Close(kept[name])
		}
	}
	if c.null != 0 {
		c.at("/linux/maskedPaths", "close", "")
		c.b.Close(c.null)
		c.b.Close(c.empty)
	}
}

// --- attributes and propagation, on every kernel

// spare is the descriptor number that a mount gets for mount(2), which takes
// nothing but paths. No register may have it, and the usual limit is 1024.
func (p *Plan) spare() int { return max(1000, len(p.sources)+200) }

// reopen gives r the number spare and returns its name in a trusted procfs.
func reopen(b *nsenter.Builder, r nsenter.Reg, spare int) string {
	b.Dup3(r, spare)
	return "self/fd/" + strconv.Itoa(spare)
}

// classic calls mount(2) on what r refers to, by its name in the trusted
// procfs.
func (c *compiler) classic(r nsenter.Reg, source, fstype string, flags uint64, data string) *nsenter.Step {
	name := reopen(c.b, r, c.plan.spare())
	c.b.Fchdir(c.r.Proc)
	return c.b.Mount(source, name, fstype, flags, data)
}

// setattr changes attributes of mount r. Without
// mount_setattr(2) it is a remount: had is then what is set already.
func (c *compiler) setattr(r nsenter.Reg, all bool, a Attr, had uint64) {
	if a.empty() {
		return
	}
	if c.m.can(a) {
		c.b.MountSetattr(r, all, nsenter.MountAttr{Set: a.Set, Clear: a.Clear})
		return
	}
	flags := unix.MS_REMOUNT | unix.MS_BIND | classicFlags(had&^a.Clear|a.Set)
	step := c.classic(r, "", "", flags, "")
	if !c.mayLackRights() {
		return
	}
	// A remount sets all flags, and those of a host mount are locked in a user
	// namespace (mount_namespaces(7)): keep the usual ones then.
	locked, done := c.b.Label(), c.b.Label()
	step.Accepts(unix.EPERM).Else(locked).Then(done)
	c.b.Place(locked)
	c.classic(r, "", "", flags|unix.MS_NOSUID|unix.MS_NODEV, "")
	c.b.Place(done)
}

// propagate changes the propagation of mount r, which is attached.
func (c *compiler) propagate(r nsenter.Reg, flag uint64) {
	if flag == 0 {
		return
	}
	if c.m.setattr {
		c.b.MountSetattr(r, flag&unix.MS_REC != 0, nsenter.MountAttr{Propagation: flag &^ unix.MS_REC})
		return
	}
	c.classic(r, "", "", flag, "")
}

// entryPropagation applies the propagation options of an entry.
func (c *compiler) entryPropagation(r nsenter.Reg, base *Base, target string, f Flags) {
	for _, p := range f.Propagation {
		c.at(optionField(base.Field, p.At), "propagation", target)
		c.propagate(r, p.Flag)
	}
}
