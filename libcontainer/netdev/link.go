package netdev

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// link is what has to be known of a device.
type link struct {
	index uint32
	flags uint32 // IFF_*
}

// linkMessage is struct ifinfomsg of rtnetlink(7); only IFF_* bits of change
// are set to those of flags.
func linkMessage(index, flags, change uint32) []byte {
	raw := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(raw[4:], index)
	binary.NativeEndian.PutUint32(raw[8:], flags)
	binary.NativeEndian.PutUint32(raw[12:], change)
	return raw
}

// link finds a device by its name; ENODEV: there is none.
func (c *conn) link(name string) (link, error) {
	answers, err := c.request(unix.RTM_GETLINK, 0, withText(linkMessage(0, 0, 0), unix.IFLA_IFNAME, name))
	if err != nil {
		return link{}, err
	}
	for _, m := range answers {
		if m.kind == unix.RTM_NEWLINK && len(m.body) >= unix.SizeofIfInfomsg {
			return link{index: binary.NativeEndian.Uint32(m.body[4:]), flags: binary.NativeEndian.Uint32(m.body[8:])}, nil
		}
	}
	return link{}, unix.ENODEV
}

func (c *conn) change(body []byte) error {
	_, err := c.request(unix.RTM_NEWLINK, 0, body)
	return err
}

// rename names a device that is down. Of a template the kernel makes a name.
func (c *conn) rename(index uint32, name string) error {
	return c.change(withText(linkMessage(index, 0, 0), unix.IFLA_IFNAME, name))
}

func (c *conn) up(index uint32) error { return c.change(linkMessage(index, unix.IFF_UP, unix.IFF_UP)) }

// send moves a device to the namespace of to, under another name. The kernel
// takes it down, and with that its addresses.
func (c *conn) send(index uint32, to *conn, name string) error {
	body := withNumber(linkMessage(index, 0, 0), unix.IFLA_NET_NS_FD, uint32(to.ns.Fd()))
	return c.change(withText(body, unix.IFLA_IFNAME, name))
}

// address is one address of a device: struct ifaddrmsg without the device, and
// the attributes that make the address what it is.
type address struct {
	family, prefix byte
	attrs          []byte
}

// Of an address these go along. IFA_LABEL, which begins with the old name, and
// IFA_CACHEINFO, which a permanent address has none of, do not.
var keptAttributes = [...]uint16{
	unix.IFA_ADDRESS, unix.IFA_LOCAL, unix.IFA_BROADCAST, unix.IFA_RT_PRIORITY, ifaProto,
}

const ifaProto = 11 // IFA_PROTO of linux/if_addr.h (Linux 5.18)

// What somebody asked for when the address was set; other flags tell its state.
const keptFlags = unix.IFA_F_NODAD | unix.IFA_F_OPTIMISTIC | unix.IFA_F_HOMEADDRESS | unix.IFA_F_MANAGETEMPADDR |
	unix.IFA_F_NOPREFIXROUTE | unix.IFA_F_MCAUTOJOIN

// addresses lists the device's permanent addresses of global scope, in the
// order in which they have to be set again.
func (c *conn) addresses(index uint32) ([]address, error) {
	answers, err := c.request(unix.RTM_GETADDR, unix.NLM_F_DUMP, make([]byte, unix.SizeofIfAddrmsg))
	if err != nil {
		return nil, err
	}
	var out []address
	for _, m := range answers {
		if m.kind != unix.RTM_NEWADDR || len(m.body) < unix.SizeofIfAddrmsg {
			continue
		}
		if a, ok := parseAddress(m.body, index); ok {
			out = append(out, a)
		}
	}
	return out, nil
}

// parseAddress reads struct ifaddrmsg: family, prefix, flags, scope, index.
func parseAddress(body []byte, index uint32) (address, bool) {
	attrs := attributes(body[unix.SizeofIfAddrmsg:])
	flags := uint32(body[2]) // all that fit into a byte
	if raw := attrs[unix.IFA_FLAGS]; len(raw) == 4 {
		flags = binary.NativeEndian.Uint32(raw)
	}
	if binary.NativeEndian.Uint32(body[4:]) != index || body[3] != unix.RT_SCOPE_UNIVERSE || flags&unix.IFA_F_PERMANENT == 0 {
		return address{}, false
	}
	a := address{family: body[0], prefix: body[1]}
	for _, kind := range keptAttributes {
		if value, ok := attrs[kind]; ok {
			a.attrs = withAttribute(a.attrs, kind, value)
		}
	}
	a.attrs = withNumber(a.attrs, unix.IFA_FLAGS, flags&keptFlags)
	return a, true
}

// add gives a device an address; one that it has already stays.
func (c *conn) add(index uint32, a address) error {
	body := make([]byte, unix.SizeofIfAddrmsg)
	body[0], body[1], body[3] = a.family, a.prefix, unix.RT_SCOPE_UNIVERSE
	binary.NativeEndian.PutUint32(body[4:], index)
	_, err := c.request(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, append(body, a.attrs...))
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}
