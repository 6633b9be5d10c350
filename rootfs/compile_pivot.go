package rootfs

import (
	"golang.org/x/sys/unix"

	"berth/nsenter"
)

func (p *Pivot) compile(c *compiler) {
	c.at(p.Field, p.Op, c.plan.Root)
	switch p.Op {
	case "pivot_root":
		c.b.Fchdir(c.r.Root)
		c.b.PivotRoot()
		c.b.DetachHere()
	case "move":
		c.move()
	default:
		c.b.Fchdir(c.r.Root)
		c.b.ChrootHere()
	}
	if !c.m.mountNS {
		return
	}
	switch c.m.propagation &^ unix.MS_REC {
	case unix.MS_SHARED, unix.MS_UNBINDABLE:
		c.at("/linux/rootfsPropagation", "propagation", "/")
		c.propagate(c.r.Root, c.m.propagation)
		c.home()
	}
}

// move is for a root that pivot_root(2) cannot leave, such as an initramfs.
// The host's procfs and sysfs go: the kernel allows new ones in a user
// namespace only as far as such unmasked ones are visible to it.
func (c *compiler) move() {
	for _, r := range []nsenter.Reg{c.r.hostProc, c.r.hostSys} {
		c.b.Fchdir(r)
		c.b.DetachHere().Accepts(unix.EINVAL, unix.EPERM)
		c.b.Close(r)
	}
	if !c.m.userNS {
		c.b.MoveMount(c.r.Root, c.r.hostRoot)
	}
	c.b.Close(c.r.hostRoot)
	c.b.Fchdir(c.r.Root)
	c.b.ChrootHere()
}

// home goes back to the root where mount(2) needed the working directory.
func (c *compiler) home() {
	if !c.m.setattr {
		c.b.Fchdir(c.r.Root)
	}
}

func (r *RootReadonly) compile(c *compiler) {
	c.at(r.Field, "remount", "/")
	c.setattr(c.r.Root, false, Attr{Set: unix.MOUNT_ATTR_RDONLY}, 0)
	c.home()
}
