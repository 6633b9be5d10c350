package netdev

import (
	"encoding/binary"
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// reply is one message as the kernel sends it.
func reply(kind uint16, seq uint32, body []byte) []byte {
	raw := make([]byte, unix.NLMSG_HDRLEN)
	binary.NativeEndian.PutUint32(raw, uint32(unix.NLMSG_HDRLEN+len(body)))
	binary.NativeEndian.PutUint16(raw[4:], kind)
	binary.NativeEndian.PutUint32(raw[8:], seq)
	raw = append(raw, body...)
	return append(raw, make([]byte, align(len(raw))-len(raw))...)
}

// nack is struct nlmsgerr with a text (NLM_F_ACK_TLVS).
func nack(errno unix.Errno, text string) []byte {
	body := binary.NativeEndian.AppendUint32(nil, uint32(-int32(errno)))
	body = append(body, make([]byte, unix.NLMSG_HDRLEN)...)
	return withText(body, unix.NLMSGERR_ATTR_MSG, text)
}

func TestParse(t *testing.T) {
	link := withText(linkMessage(7, unix.IFF_UP, 0), unix.IFLA_IFNAME, "eth0")
	raw := append(reply(unix.RTM_NEWLINK, 5, link), reply(unix.RTM_NEWLINK, 4, []byte("another's"))...)
	out, done, err := parse(raw, 5)
	if done || err != nil || len(out) != 1 || string(out[0].body) != string(link) {
		t.Errorf("answer: %v %v %v", out, done, err)
	}
	if _, done, err = parse(reply(unix.NLMSG_ERROR, 5, make([]byte, 20)), 5); !done || err != nil {
		t.Errorf("acknowledgement: %v %v", done, err)
	}
	_, done, err = parse(reply(unix.NLMSG_ERROR, 5, nack(unix.EINVAL, "The interface netns is immutable")), 5)
	var f *failure
	if !done || !errors.As(err, &f) || f.errno != unix.EINVAL || f.text != "The interface netns is immutable" {
		t.Errorf("refusal: %v %v", done, err)
	}
	if _, done, err = parse(reply(unix.NLMSG_ERROR, 4, nack(unix.EINVAL, "")), 5); done || err != nil {
		t.Errorf("another's refusal: %v %v", done, err)
	}
	// Whatever comes is no reason to panic.
	for n := range raw {
		parse(raw[:n], 5)
		attributes(raw[n:])
	}
	if _, _, err = parse([]byte{1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 5); !errors.Is(err, unix.EBADMSG) {
		t.Errorf("a message shorter than its head: %v", err)
	}
}

// TestParseAddress keeps what an address is, and drops what it was on the host.
//
//spec:44
func TestParseAddress(t *testing.T) {
	sent := func(scope byte, flags uint32) []byte {
		body := []byte{unix.AF_INET, 24, byte(flags), scope, 7, 0, 0, 0}
		body = withAttribute(body, unix.IFA_ADDRESS, []byte{192, 0, 2, 1})
		body = withAttribute(body, unix.IFA_LOCAL, []byte{192, 0, 2, 1})
		body = withText(body, unix.IFA_LABEL, "eth0:1")
		body = withNumber(body, unix.IFA_FLAGS, flags)
		return withAttribute(body, unix.IFA_CACHEINFO, []byte("sixteen bytes  !"))
	}
	global := sent(unix.RT_SCOPE_UNIVERSE, unix.IFA_F_PERMANENT|unix.IFA_F_SECONDARY|unix.IFA_F_NOPREFIXROUTE)
	a, ok := parseAddress(global, 7)
	attrs := attributes(a.attrs)
	if !ok || a.family != unix.AF_INET || a.prefix != 24 || len(attrs) != 3 ||
		binary.NativeEndian.Uint32(attrs[unix.IFA_FLAGS]) != unix.IFA_F_NOPREFIXROUTE {
		t.Errorf("global: %v %+v", ok, a)
	}
	for what, body := range map[string][]byte{
		"link": sent(unix.RT_SCOPE_LINK, unix.IFA_F_PERMANENT), "host": sent(unix.RT_SCOPE_HOST, unix.IFA_F_PERMANENT),
		"dynamic": sent(unix.RT_SCOPE_UNIVERSE, 0),
	} {
		if _, ok := parseAddress(body, 7); ok {
			t.Errorf("%s is taken along", what)
		}
	}
	if _, ok := parseAddress(global, 8); ok {
		t.Error("another device's address is taken along")
	}
}
