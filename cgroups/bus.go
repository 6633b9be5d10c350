package cgroups

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"berth/cgroups/dbus"
	"berth/libcontainer/fault"
	"berth/libcontainer/host"
	"berth/libcontainer/trace"

	"golang.org/x/sys/unix"
)

// bus is where one of systemd's managers is spoken to: on its own socket, which is its user's and needs no message bus,
// else on the message bus.
type bus struct {
	user     bool   // the user's own manager, not the system's
	private  string // systemd's own socket
	socket   string // of the message bus
	variable string // of the environment, that names another message bus
}

const busVariable = "DBUS_SYSTEM_BUS_ADDRESS"

// busOf is the system's or, for user, the user's own.
func busOf(user bool) bus {
	if !user {
		return bus{private: "/run/systemd/private", socket: "/run/dbus/system_bus_socket", variable: busVariable}
	}
	dir := cmp.Or(os.Getenv("XDG_RUNTIME_DIR"), "/run/user/"+strconv.Itoa(outerUID()))
	return bus{user: true, private: dir + "/systemd/private", socket: dir + "/bus", variable: "DBUS_SESSION_BUS_ADDRESS"}
}

// named is the socket that the environment names; "" where it names none but the usual one.
func (b bus) named() (string, error) {
	address := os.Getenv(b.variable)
	if address == "" {
		return "", nil
	}
	path, ok := busPath(address)
	switch {
	case !ok:
		return "", &fault.Error{Op: "connect to systemd", Path: b.variable, Phase: fault.PhaseCgroup,
			Msg: fmt.Sprintf("%q names no Unix socket", address), Hint: "unset it, or give unix:path=" + b.socket}
	case path == b.socket:
		return "", nil
	}
	return path, nil
}

// busPath is the first Unix socket among a bus's addresses (D-Bus specification, "Server Addresses"); one without a file
// begins with '@'.
func busPath(addresses string) (string, bool) {
	for one := range strings.SplitSeq(addresses, ";") {
		options, ok := strings.CutPrefix(one, "unix:")
		for option := range strings.SplitSeq(options, ",") {
			key, value, _ := strings.Cut(option, "=")
			switch value = unescape(value); {
			case !ok || value == "":
			case key == "path":
				return value, true
			case key == "abstract":
				return "@" + value, true
			}
		}
	}
	return "", false
}

// unescape reads "%2d" as '-'.
func unescape(s string) string {
	var out strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				out.WriteByte(byte(n))
				i += 2
				continue
			}
		}
		out.WriteByte(s[i])
	}
	return out.String()
}

// dial begins a conversation with the manager. The caller closes the connection.
func (b bus) dial() (*systemd, error) {
	path, err := b.named()
	if err != nil {
		return nil, err
	}
	if path == "" {
		conn, err := dbus.Dial(b.private, busPatience)
		switch {
		case err == nil:
			return &systemd{conn, b}, nil
		case errors.Is(err, dbus.ErrTimeout): // it is there, and stuck
			return nil, b.failed("connect to systemd", b.private, err)
		}
		path = b.socket
	}
	conn, err := dbus.Dial(path, busPatience)
	if err != nil {
		return nil, b.failed("connect to systemd", path, err)
	}
	s := &systemd{conn, b}
	if err := s.register(); err != nil {
		conn.Close()
		return nil, b.failed("connect to systemd", path, err)
	}
	return s, nil
}

// converse has a conversation with the manager, and begins it anew where that goes away: it does for a moment when it
// executes itself anew (daemon-reexec), and what has been asked for may be done or not.
func (b bus) converse(talk func(*systemd) error) (err error) {
	span := trace.Begin("systemd", "conversation", "")
	defer func() { span.End(err) }()
	for pause := 10 * time.Millisecond; ; pause *= 2 {
		s, err := b.dial()
		if err == nil {
			err = talk(s)
			s.conn.Close()
		}
		if !isAway(err) || pause > 2*time.Second {
			return err
		}
		time.Sleep(pause)
	}
}

// isAway tells whether the one who was spoken to has gone, and may come back.
func isAway(err error) bool {
	return errors.Is(err, dbus.ErrHungUp) || errors.Is(err, unix.ECONNREFUSED) ||
		isError(err, "org.freedesktop.DBus.Error.NoReply") || isError(err, "org.freedesktop.DBus.Error.Disconnected")
}

// failed is what went wrong on the bus.
func (b bus) failed(op, path string, err error) *fault.Error {
	e := &fault.Error{Op: op, Path: path, Err: err, Phase: fault.PhaseCgroup, Hint: busHint(err, b.user)}
	var errno unix.Errno
	if errors.As(err, &errno) {
		e = fault.From(errno, op, path).In(fault.PhaseCgroup)
		e.Hint = busHint(err, b.user)
	}
	return e
}

// ProbeSystemd finds out which manager this process may ask, and where the user's own one is. It says nothing to any: the
// kernel knows who listens on a socket, and in which group that is.
func ProbeSystemd(facts *host.Facts) {
	var st unix.Stat_t
	facts.Systemd.Foreign = facts.EUID != 0 ||
		facts.UserNS && (unix.Stat(busOf(false).private, &st) != nil || st.Uid != 0)
	facts.Systemd.UID = outerUID()
	b := busOf(true)
	for _, socket := range []string{b.private, b.socket} {
		group, ok := listener(socket)
		if !ok {
			continue
		}
		facts.Systemd.UserGroup = group
		if names, err := os.ReadFile(facts.Cgroup.V2 + host.InMount(facts.Cgroup.V2Root, group) + "/cgroup.controllers"); err == nil {
			facts.Systemd.UserControllers = strings.Fields(string(names))
		}
		return
	}
}

// listener is the cgroup v2 group of the service manager that listens on a Unix socket. It is in the group init.scope
// below its own where it manages groups.
func listener(socket string) (group string, ok bool) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return "", false
	}
	defer unix.Close(fd)
	if unix.Connect(fd, &unix.SockaddrUnix{Name: socket}) != nil {
		return "", false
	}
	peer, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil || peer.Pid == 0 {
		return "", false
	}
	raw, _ := os.ReadFile("/proc/" + strconv.Itoa(int(peer.Pid)) + "/cgroup")
	for line := range strings.Lines(string(raw)) {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return strings.CutSuffix(strings.TrimSuffix(path, "\n"), "/init.scope")
		}
	}
	return "", false
}

// outerUID is what the runtime's user is outside the user namespace that it is in (user_namespaces(7)).
func outerUID() int {
	raw, _ := os.ReadFile("/proc/self/uid_map")
	return mappedUID(string(raw), os.Geteuid())
}

func mappedUID(uidMap string, uid int) int {
	for line := range strings.Lines(uidMap) {
		var n [3]int // inside, outside, how many
		for i, field := range strings.Fields(line) {
			n[min(i, 2)], _ = strconv.Atoi(field)
		}
		if uid >= n[0] && uid-n[0] < n[2] {
			return uid - n[0] + n[1]
		}
	}
	return uid
}

// busPatience is how long one conversation may take, with the job that it waits for.
var busPatience = 30 * time.Second
