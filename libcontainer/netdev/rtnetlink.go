package netdev

import (
	"encoding/binary"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// conn is a socket of rtnetlink(7) in one network namespace, which lives as
// long as the socket.
type conn struct {
	ns  *os.File // the namespace
	fd  int
	seq uint32
}

// dial opens a socket in the calling thread's network namespace.
func dial() (*conn, error) {
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	c := &conn{ns: ns}
	if c.fd, err = socket(); err != nil {
		ns.Close()
		return nil, err
	}
	return c, nil
}

// same tells whether both sockets are in one namespace.
func (c *conn) same(o *conn) bool {
	left, err := c.ns.Stat()
	right, err2 := o.ns.Stat()
	return err == nil && err2 == nil && os.SameFile(left, right)
}

// dialIn opens a socket in the network namespace at path. The runtime does it,
// and not the container's process, because moving a device back needs a socket
// that was opened with rights over the host's namespace too (netlink(7)).
func (c *conn) dialIn(path string) (*conn, error) {
	ns, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	there := &conn{ns: ns, fd: -1}
	runtime.LockOSThread()
	if err = setns(ns); err == nil {
		there.fd, err = socket()
		if back := setns(c.ns); back != nil {
			// The thread stays locked, so that nothing else runs in the wrong namespace.
			there.close()
			return nil, back
		}
	}
	runtime.UnlockOSThread()
	if err != nil {
		ns.Close()
		return nil, err
	}
	return there, nil
}

func setns(ns *os.File) error { return unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET) }

func socket() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return -1, err
	}
	// Failures come with a text, and without a copy of the request.
	unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, 1)
	unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	return fd, nil
}

func (c *conn) close() {
	if c.fd >= 0 {
		unix.Close(c.fd)
	}
	c.ns.Close()
}

// failure is the kernel's refusal, with its own words where it has some.
type failure struct {
	errno syscall.Errno
	text  string
}

func (f *failure) Error() string {
	if f.text != "" {
		return f.text + ": " + f.errno.Error()
	}
	return f.errno.Error()
}

func (f *failure) Unwrap() error { return f.errno }

// message is one answer: a fixed part and attributes (netlink(7)).
type message struct {
	kind uint16
	body []byte
}

// request sends one message and returns the answers to it. dump asks for all
// objects of a kind.
func (c *conn) request(kind uint16, flags int, body []byte) ([]message, error) {
	c.seq++
	raw := make([]byte, unix.NLMSG_HDRLEN, unix.NLMSG_HDRLEN+len(body))
	binary.NativeEndian.PutUint32(raw[0:], uint32(unix.NLMSG_HDRLEN+len(body)))
	binary.NativeEndian.PutUint16(raw[4:], kind)
	binary.NativeEndian.PutUint16(raw[6:], uint16(unix.NLM_F_REQUEST|unix.NLM_F_ACK|flags))
	binary.NativeEndian.PutUint32(raw[8:], c.seq)
	raw = append(raw, body...)
	if err := unix.Sendto(c.fd, raw, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, err
	}
	return c.answers()
}

// The kernel fills at most 32 KiB with a dump; one link with many virtual
// functions may need more.
const bufferSize = 128 << 10

// answers reads until the acknowledgement of the last request.
func (c *conn) answers() ([]message, error) {
	var out []message
	buf := make([]byte, bufferSize)
	for {
		n, _, flags, _, err := unix.Recvmsg(c.fd, buf, nil, 0)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return nil, err
		case flags&unix.MSG_TRUNC != 0:
			return nil, unix.EMSGSIZE
		}
		got, done, err := parse(buf[:n], c.seq)
		out = append(out, got...)
		if done || err != nil {
			return out, err
		}
	}
}

// parse takes a datagram apart. done tells that it holds the acknowledgement
// of request seq, err that this is a refusal.
func parse(raw []byte, seq uint32) (out []message, done bool, err error) {
	for len(raw) >= unix.NLMSG_HDRLEN {
		size := int(binary.NativeEndian.Uint32(raw))
		if size < unix.NLMSG_HDRLEN || size > len(raw) {
			return out, false, unix.EBADMSG
		}
		kind, body := binary.NativeEndian.Uint16(raw[4:]), raw[unix.NLMSG_HDRLEN:size]
		mine := binary.NativeEndian.Uint32(raw[8:]) == seq
		raw = raw[min(align(size), len(raw)):]
		switch {
		case !mine:
		case kind == unix.NLMSG_ERROR || kind == unix.NLMSG_DONE:
			return out, true, refusal(body)
		default:
			out = append(out, message{kind, append([]byte(nil), body...)})
		}
	}
	return out, false, nil
}

// refusal reads struct nlmsgerr, or the number that ends a dump; 0 is success.
func refusal(body []byte) error {
	if len(body) < 4 {
		return unix.EBADMSG
	}
	errno := -int32(binary.NativeEndian.Uint32(body))
	if errno == 0 {
		return nil
	}
	f := &failure{errno: syscall.Errno(errno)}
	if len(body) > 4+unix.NLMSG_HDRLEN {
		text := attributes(body[4+unix.NLMSG_HDRLEN:])[unix.NLMSGERR_ATTR_MSG]
		f.text = unix.ByteSliceToString(text)
	}
	return f
}

// attributes reads struct nlattr one after the other (rtnetlink(7)).
func attributes(raw []byte) map[uint16][]byte {
	out := map[uint16][]byte{}
	for len(raw) >= 4 {
		size := int(binary.NativeEndian.Uint16(raw))
		if size < 4 || size > len(raw) {
			break
		}
		const flags = unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER
		out[binary.NativeEndian.Uint16(raw[2:])&^flags] = raw[4:size]
		raw = raw[min(align(size), len(raw)):]
	}
	return out
}

// withAttribute appends a struct nlattr.
func withAttribute(raw []byte, kind uint16, value []byte) []byte {
	raw = binary.NativeEndian.AppendUint16(raw, uint16(4+len(value)))
	raw = binary.NativeEndian.AppendUint16(raw, kind)
	raw = append(raw, value...)
	return append(raw, make([]byte, align(len(raw))-len(raw))...)
}

func withText(raw []byte, kind uint16, text string) []byte {
	return withAttribute(raw, kind, append([]byte(text), 0))
}

func withNumber(raw []byte, kind uint16, n uint32) []byte {
	return withAttribute(raw, kind, binary.NativeEndian.AppendUint32(nil, n))
}

func align(n int) int { return (n + 3) &^ 3 }
