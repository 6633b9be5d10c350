package netdev

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

// Moved is devices that are in a container's namespace, as long as they can be
// given back. It keeps both namespaces alive until Close. The zero Moved has
// none.
type Moved struct {
	host, container *conn
	devices         []moved
}

// moved is one of them, and what it was on the host.
type moved struct {
	Device
	before    link
	addresses []address
	index     uint32 // in the container
}

// Move moves devices from the calling thread's network namespace to that of
// process pid, names them, sets their permanent addresses of global scope again
// and brings them up. That needs CAP_NET_ADMIN and CAP_SYS_ADMIN over both
// namespaces. After an error, GiveBack returns what was moved.
func (m *Moved) Move(devices []Device, pid int) error {
	if err := m.dial(pid); err != nil {
		return devices[0].fail(err)
	}
	// What would fail is found before anything is done to a device.
	for _, d := range devices {
		if err := m.check(d); err != nil {
			return d.fail(err)
		}
	}
	for _, d := range devices {
		if err := m.move(d); err != nil {
			return d.fail(err)
		}
	}
	return nil
}

func (m *Moved) dial(pid int) (err error) {
	if m.host, err = dial(); err != nil {
		return err
	}
	if m.container, err = m.host.dialIn(fmt.Sprintf("/proc/%d/ns/net", pid)); err != nil {
		return err
	}
	if m.host.same(m.container) {
		return &failure{unix.EINVAL, "the container is in the runtime's own network namespace"}
	}
	return nil
}

// fail is err about d.
func (d Device) fail(err error) *fault.Error {
	var refused *failure
	e := fault.From(err, "move network device", d.Host).For(d.Field).In(fault.PhaseNamespaces)
	if errors.As(err, &refused) {
		e.Msg = refused.text
	}
	if e.Hint == "" {
		e.Hint = explain(e.Errno)
	}
	return e
}

func (m *Moved) check(d Device) error {
	l, err := m.host.link(d.Host)
	if err != nil {
		return err
	}
	if l.flags&unix.IFF_LOOPBACK != 0 {
		return &failure{unix.EINVAL, "every namespace has a loopback device of its own"}
	}
	if d.template() {
		return nil
	}
	_, err = m.container.link(d.Name)
	switch {
	case errors.Is(err, unix.ENODEV):
		return nil
	case err == nil:
		return &failure{unix.EEXIST, "the name " + d.Name + " is taken"}
	}
	return err
}

func (m *Moved) move(d Device) (err error) {
	on := moved{Device: d}
	if on.before, err = m.host.link(d.Host); err != nil {
		return err
	}
	if on.addresses, err = m.host.addresses(on.before.index); err != nil {
		return err
	}
	if on.index, err = relocate(m.host, m.container, on.before.index); err != nil {
		return err // it has not left the host
	}
	m.devices = append(m.devices, on)
	if err := m.container.rename(on.index, d.Name); err != nil {
		return err
	}
	return m.container.configure(on.index, on.addresses, true)
}

// relocate moves a device, for the time being under a name that nobody else
// has: its index may be another one over there, and the kernel tells neither
// that nor what it made of a template.
func relocate(from, to *conn, index uint32) (uint32, error) {
	name := fmt.Sprintf("berth%d", os.Getpid())
	if err := from.send(index, to, name); err != nil {
		return 0, err
	}
	l, err := to.link(name)
	return l.index, err
}

func (c *conn) configure(index uint32, addresses []address, up bool) error {
	for _, a := range addresses {
		if err := c.add(index, a); err != nil {
			return err
		}
	}
	if !up {
		return nil
	}
	return c.up(index)
}

// GiveBack returns the devices to the host as they were, last first, and
// closes m. Routes that the host had through them are gone.
func (m *Moved) GiveBack() error {
	var errs []error
	for _, d := range slices.Backward(m.devices) {
		if err := m.giveBack(d); err != nil {
			e := d.fail(err)
			e.Op = strings.Replace(e.Op, "move", "give back", 1)
			errs = append(errs, e)
		}
	}
	m.devices = nil
	m.Close()
	return errors.Join(errs...)
}

func (m *Moved) giveBack(d moved) error {
	index, err := relocate(m.container, m.host, d.index)
	if err != nil {
		return err
	}
	if err := m.host.rename(index, d.Host); err != nil {
		return err
	}
	return m.host.configure(index, d.addresses, d.before.flags&unix.IFF_UP != 0)
}

// Close leaves the devices where they are.
func (m *Moved) Close() {
	for _, c := range []**conn{&m.host, &m.container} {
		if *c != nil {
			(*c).close()
			*c = nil
		}
	}
}
