package rootfs

import (
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
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

const consoleField = "/process/terminal"

// CompileTerminal makes a terminal on the devpts of the container with this
// root, sends its master to the runtime and returns the register of its slave.
// proc is a trusted procfs; spare a number that no register's descriptor has.
//
// It never opens what the image could have put in place of ptmx: that is
// checked by an O_PATH descriptor first (CVE-2025-52565).
func CompileTerminal(b *nsenter.Builder, root, proc nsenter.Reg, spare int) nsenter.Reg {
	at := func(op string) {
		b.For(nsenter.Origin{Field: consoleField, Op: op, Path: "/dev/pts/ptmx", Phase: fault.PhaseMounts})
	}
	at("open")
	path := b.OpenIn(root, "dev/pts/ptmx", unix.O_PATH|unix.O_NOFOLLOW)
	b.Check(path, nsenter.Identity{
		Type: unix.S_IFCHR, Rdev: unix.Mkdev(5, 2), Magic: unix.DEVPTS_SUPER_MAGIC, Inode: ptmxInode,
	})
	ptmx := b.ProcOpen(proc, reopen(b, path, spare), unix.O_RDWR|unix.O_NOCTTY)
	b.Close(path)

	at("open a terminal")
	b.Append(unix.SYS_IOCTL, nsenter.FD(ptmx), nsenter.Const(unix.TIOCSPTLCK, "TIOCSPTLCK"), b.Bytes(make([]byte, 8), "[0]"))
	slave := b.Ioctl(ptmx, unix.TIOCGPTPEER, "TIOCGPTPEER",
		nsenter.Const(unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, "O_RDWR|O_NOCTTY|O_CLOEXEC"))
	b.SendFD(nsenter.SyncConsole, ptmx)
	b.Close(ptmx)
	return slave
}

// compile makes /dev/console without following a link (CVE-2026-88264).
func (*Console) compile(c *compiler) {
	c.r.Console = CompileTerminal(c.b, c.r.Root, c.r.Proc, c.plan.spare())
	c.at(consoleField, "bind", "/dev/console")
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
