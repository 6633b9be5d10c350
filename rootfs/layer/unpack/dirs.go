package unpack

import (
	"container/list"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// openMax is how many directories are kept open.
const openMax = 64

// dirs keeps the directories used last open.
type dirs struct {
	root int      // into
	into *os.File // borrowed; its finalizer would close root
	used list.List
	// open opens a directory in its parent's.
	open func(parent int, d *dir) (int, error)
}

type opened struct {
	fd   int
	used *list.Element // its value is the *dir
}

// fd returns d, open until openMax/2 other directories were asked for at least.
func (c *dirs) fd(d *dir) (int, error) {
	if d.parent == nil {
		return c.root, nil
	}
	if d.open != nil {
		c.used.MoveToFront(d.open.used)
		return d.open.fd, nil
	}
	// From the nearest that is open down.
	way := []*dir{d}
	for top := d.parent; top.parent != nil && top.open == nil; top = top.parent {
		way = append(way, top)
	}
	at, borrowed := c.root, true
	if from := way[len(way)-1].parent; from.parent != nil {
		at = from.open.fd
	}
	for i := len(way) - 1; i >= 0; i-- {
		fd, err := c.open(at, way[i])
		if !borrowed {
			unix.Close(at)
		}
		if err != nil {
			return -1, err
		}
		at, borrowed = fd, false
		if i < openMax/2 { // not all the way: it can be longer than what is kept open
			c.keep(way[i], fd)
			borrowed = true
		}
	}
	return at, nil
}

// keep takes over fd, which is d.
func (c *dirs) keep(d *dir, fd int) {
	d.open = &opened{fd: fd, used: c.used.PushFront(d)}
	if c.used.Len() > openMax {
		c.forget(c.used.Back().Value.(*dir))
	}
}

// forget closes d if it is open.
func (c *dirs) forget(d *dir) {
	if d.open != nil {
		c.used.Remove(d.open.used)
		unix.Close(d.open.fd)
		d.open = nil
	}
}

func (c *dirs) close() {
	for c.used.Len() > 0 {
		c.forget(c.used.Front().Value.(*dir))
	}
	runtime.KeepAlive(c.into)
}
