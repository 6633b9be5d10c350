package rootfs

import (
	"strings"

	"golang.org/x/sys/unix"

	"berth/nsenter"
)

// maskSources opens what masked paths are covered with: the host's /dev/null,
// held to be it (CVE-2025-31133), and one empty directory.
func (c *compiler) maskSources() {
	if !c.plan.masks() {
		return
	}
	c.at("/linux/maskedPaths", "open", "/dev/null")
	c.null = c.b.OpenHost("/dev/null", unix.O_PATH)
	c.b.Check(c.null, nsenter.Identity{Type: unix.S_IFCHR, Rdev: unix.Mkdev(1, 3)})
	c.at("/linux/maskedPaths", "mount tmpfs", "")
	fs := c.b.Fsopen("tmpfs")
	c.b.FsconfigFlag(fs, "ro")
	if c.plan.label != "" {
		c.at(mountLabel, "mount tmpfs", "")
		c.b.FsconfigString(fs, "context", c.plan.label)
		c.at("/linux/maskedPaths", "mount tmpfs", "")
	}
	c.b.FsconfigCreate(fs)
	c.empty = c.b.Fsmount(fs, unix.MOUNT_ATTR_RDONLY|procAttrs)
	c.b.Close(fs)
	done := c.b.Label()
	c.park(c.empty, done)
	c.b.Place(done)
}

// covered opens what is to be covered: below /proc and /sys from the mount that was made there, not from the path.
func (c *compiler) covered(path string) nsenter.Reg {
	for top, mount := range c.kernel {
		if rest, below := strings.CutPrefix(path, top+"/"); below {
			return c.b.OpenIn(mount, rest, unix.O_PATH)
		}
	}
	return c.b.OpenIn(c.r.Root, path, unix.O_PATH)
}

func (r *ReadonlyPath) compile(c *compiler) {
	c.at(r.Field, "readonly", r.Path)
	next := c.b.Label()
	t := c.covered(r.Path)
	c.b.Last().Accepts(unix.ENOENT, unix.ENOTDIR).Else(next)
	m := c.b.OpenTree(t, true)
	ro := Attr{Set: unix.MOUNT_ATTR_RDONLY}
	if c.m.setattr {
		c.setattr(m, false, ro, 0) // before anybody sees it writable
	}
	c.b.MoveMount(m, t)
	if !c.m.setattr {
		c.setattr(m, false, ro, c.plan.attributes(r.Path))
	}
	c.b.Close(m)
	c.b.Close(t)
	c.b.Place(next)
}

// cover is one masked path while its steps are compiled. r holds the clone
// that covers t. "attached" is where the clone is done with, "whole" where the
// empty directory itself was attached, so that there is no clone to close.
type cover struct {
	*compiler
	r, t            nsenter.Reg
	attached, whole *nsenter.Label
}

// compile covers a file with /dev/null and a directory with the empty one.
// Which it is, the kernel says: a file cannot be attached to a directory. The
// likely one comes first.
func (m *Mask) compile(c *compiler) {
	c.at(m.Field, "mask", m.Path)
	next := c.b.Label()
	t := c.covered(m.Path)
	c.b.Last().Accepts(unix.ENOENT, unix.ENOTDIR).Else(next)
	v := cover{c, c.b.Reserve(), t, c.b.Label(), c.b.Label()}
	if likelyDir(m.Path) {
		v.dirThenFile()
	} else {
		v.fileThenDir()
	}
	c.b.Place(v.attached)
	c.b.Close(v.r)
	c.b.Place(v.whole)
	c.b.Close(t)
	c.b.Place(next)
}

func (v cover) fileThenDir() {
	other, virgin := v.b.Label(), v.b.Label()
	v.clone(v.null)
	v.mismatch(v.b.MoveMount(v.r, v.t), other).Then(v.attached)
	v.b.Place(other)
	v.b.Close(v.r)
	v.cloneEmpty(virgin)
	last := v.b.MoveMount(v.r, v.t)
	if v.m.cloneDetached {
		return
	}
	last.Then(v.attached)
	v.b.Place(virgin)
	v.b.MoveMount(v.empty, v.t).Then(v.whole)
}

func (v cover) dirThenFile() {
	other, virgin, file := v.b.Label(), v.b.Label(), v.b.Label()
	v.cloneEmpty(virgin)
	v.mismatch(v.b.MoveMount(v.r, v.t), other).Then(v.attached)
	if !v.m.cloneDetached {
		v.b.Place(virgin)
		v.mismatch(v.b.MoveMount(v.empty, v.t), file).Then(v.whole)
	}
	v.b.Place(other)
	v.b.Close(v.r)
	v.b.Place(file)
	v.clone(v.null)
	v.b.MoveMount(v.r, v.t)
}

// mismatch is a file on a directory or the reverse; move_mount(2) says EINVAL,
// and ENOTDIR where it is documented.
func (v cover) mismatch(s *nsenter.Step, other *nsenter.Label) *nsenter.Step {
	return s.Accepts(unix.EINVAL, unix.ENOTDIR).Else(other)
}

func (v cover) clone(what nsenter.Reg) *nsenter.Step {
	v.b.OpenTree(what, false)
	return v.b.Into(v.r)
}

// cloneEmpty clones the empty directory. Before Linux 6.15 only an attached
// mount can be cloned: where it is not parked, the first masked directory gets
// the mount itself.
func (v cover) cloneEmpty(virgin *nsenter.Label) {
	step := v.clone(v.empty)
	if !v.m.cloneDetached {
		step.Accepts(unix.EINVAL).Else(virgin)
	}
}
