package rootfs

import (
	"golang.org/x/sys/unix"

	"berth/nsenter"
)

// dir opens a directory that devices are made in, once.
func (c *compiler) dir(path string) nsenter.Reg {
	r, ok := c.dirs[path]
	if !ok {
		r = c.b.MakeDir(c.r.Root, path, 0o755)
		c.dirs[path] = r
	}
	return r
}

func (d *Device) compile(c *compiler) {
	c.at(d.Field, d.Op, d.Path)
	if d.bind {
		d.compileBind(c)
		return
	}
	dir, name := c.dir(d.dir()), d.name()
	there, done := c.b.Label(), c.b.Label()
	c.b.Mknodat(dir, name, d.fileType()|d.Mode, d.rdev()).Accepts(unix.EEXIST).Else(there).Then(done)
	c.b.Place(there)
	// One that is there has to be the device itself, and no link to it.
	r := c.b.OpenIn(dir, name, unix.O_PATH|unix.O_NOFOLLOW)
	c.b.Check(r, nsenter.Identity{Type: d.fileType(), Rdev: d.rdev()})
	c.b.Close(r)
	c.b.Place(done)
	if d.UID != 0 || d.GID != 0 {
		c.b.Fchownat(dir, name, int(d.UID), int(d.GID))
	}
}

func (d *Device) compileBind(c *compiler) {
	r := c.sources[d.source]
	c.b.Check(r, nsenter.Identity{Type: d.fileType(), Rdev: d.rdev()})
	t := c.b.MakeFile(c.r.Root, d.Path, 0o666)
	c.b.MoveMount(r, t)
	c.b.Close(t)
	c.b.Close(r)
}

func (l *Link) compile(c *compiler) {
	c.at(l.Field, "symlink", "/dev/"+l.Name)
	dir, done := c.dir("/dev"), c.b.Label()
	if l.IfProc != "" {
		r := c.b.ProcOpen(c.r.Proc, l.IfProc, unix.O_PATH)
		c.b.Last().Accepts(unix.ENOENT).Else(done)
		c.b.Close(r)
	}
	step := c.b.Symlinkat(l.To, dir, l.Name).Accepts(unix.EEXIST)
	if l.Replace {
		there := c.b.Label()
		step.Else(there).Then(done)
		c.b.Place(there)
		c.b.Unlinkat(dir, l.Name)
		c.b.Symlinkat(l.To, dir, l.Name)
	}
	c.b.Place(done)
}

// ptmxInode is the inode of ptmx in every devpts (fs/devpts/inode.c).
const ptmxInode = 2

// compile never opens what the image could have put in place of ptmx: it is
// checked by an O_PATH descriptor first (CVE-2025-52565). /dev/console is made
// without following a link (CVE-2026-88264).
func (*Console) compile(c *compiler) {
	const field = "/process/terminal"
	c.at(field, "open", "/dev/pts/ptmx")
	path := c.b.OpenIn(c.r.Root, "dev/pts/ptmx", unix.O_PATH|unix.O_NOFOLLOW)
	c.b.Check(path, nsenter.Identity{
		Type: unix.S_IFCHR, Rdev: unix.Mkdev(5, 2), Magic: unix.DEVPTS_SUPER_MAGIC, Inode: ptmxInode,
	})
	ptmx := c.b.ProcOpen(c.r.Proc, c.reopen(path), unix.O_RDWR|unix.O_NOCTTY)
	c.b.Close(path)

	c.at(field, "open a terminal", "/dev/pts/ptmx")
	c.b.Append(unix.SYS_IOCTL, nsenter.FD(ptmx), nsenter.Const(unix.TIOCSPTLCK, "TIOCSPTLCK"), c.b.Bytes(make([]byte, 8), "[0]"))
	c.r.Console = c.b.Ioctl(ptmx, unix.TIOCGPTPEER, "TIOCGPTPEER",
		nsenter.Const(unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, "O_RDWR|O_NOCTTY|O_CLOEXEC"))
	c.b.SendFD(nsenter.SyncConsole, ptmx)
	c.b.Close(ptmx)

	c.at(field, "bind", "/dev/console")
	dev := c.dir("/dev")
	c.b.Mknodat(dev, "console", unix.S_IFREG|0o600, 0).Accepts(unix.EEXIST)
	t := c.b.OpenIn(dev, "console", unix.O_PATH|unix.O_NOFOLLOW)
	r := c.b.OpenTree(c.r.Console, false)
	c.b.MoveMount(r, t)
	c.b.Close(r)
	c.b.Close(t)
}

func (w *Workdir) compile(c *compiler) {
	c.at(w.Field, "mkdir", w.Path)
	skip := c.b.Label()
	r := c.b.MakeDir(c.r.Root, w.Path, 0o755)
	// Whatever is wrong with it, chdir(2) says it better.
	c.b.Last().Accepts(unix.EACCES, unix.EROFS, unix.ELOOP, unix.ENOTDIR).Else(skip)
	c.b.Close(r)
	c.b.Place(skip)
}
