package dbus

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrTimeout is the error of what has not come in time.
var ErrTimeout = errors.New("no answer in time")

// ErrHungUp is the error of a conversation that the other end has ended.
var ErrHungUp = errors.New("the bus has hung up")

// CallError is a reply that says what is wrong.
type CallError struct {
	Name string // such as org.freedesktop.DBus.Error.AccessDenied
	Text string
}

func (e *CallError) Error() string {
	if e.Text == "" {
		return e.Name
	}
	return e.Text
}

// Conn is one conversation, which one goroutine holds.
type Conn struct {
	fd       int
	deadline time.Time
	serial   uint32
	in       []byte    // received and not read yet
	signals  []Message // that came while a reply was awaited
}

// Dial connects to a Unix socket and says who it is (EXTERNAL: the kernel's word for the user, "Authentication Protocol").
// All that is said on the connection has to be over in time. The caller closes it.
func Dial(path string, patience time.Duration) (*Conn, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	c := &Conn{fd: fd, deadline: time.Now().Add(patience)}
	if err := c.connect(path); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *Conn) connect(path string) error {
	for {
		err := unix.Connect(c.fd, &unix.SockaddrUnix{Name: path})
		switch {
		case err == nil:
			return c.authenticate()
		case err == unix.EAGAIN && time.Now().Before(c.deadline): // the queue of those who wait to be accepted is full
			time.Sleep(time.Millisecond)
		case err != unix.EINTR:
			return err
		}
	}
}

// authenticate says BEGIN in one go with AUTH, as systemd's own clients do. systemd would not notice a message that it
// happens to read together with BEGIN until more comes; so the first waits for the OK, which comes after both.
//
// In a user namespace the uid is another one than the server's kernel tells it, and there may be several namespaces
// between the two. There nothing is claimed, with an empty answer to the server's question for it.
func (c *Conn) authenticate() error {
	auth := "AUTH EXTERNAL " + hex.EncodeToString([]byte(strconv.Itoa(os.Geteuid())))
	if mapped() {
		auth = "AUTH EXTERNAL\r\nDATA"
	}
	if err := c.write([]byte("\x00" + auth + "\r\nBEGIN\r\n")); err != nil {
		return err
	}
	line, err := c.line()
	if err == nil && strings.HasSuffix(auth, "DATA") {
		line, err = c.line() // the first is the question
	}
	if err != nil {
		return err
	}
	if !strings.HasPrefix(line, "OK ") {
		return &CallError{Name: "org.freedesktop.DBus.Error.AuthFailed", Text: "the bus does not take this user: " + line}
	}
	return nil
}

// mapped tells whether users have other numbers outside the user namespace that this process is in
// (user_namespaces(7)).
func mapped() bool {
	raw, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && !slices.Equal(strings.Fields(string(raw)), []string{"0", "0", "4294967295"})
}

func (c *Conn) line() (string, error) {
	for {
		if before, after, ok := strings.Cut(string(c.in), "\r\n"); ok {
			c.in = []byte(after)
			return before, nil
		}
		if len(c.in) > maxMessage {
			return "", errDamaged
		}
		if err := c.read(); err != nil {
			return "", err
		}
	}
}

// Close ends the conversation.
func (c *Conn) Close() { unix.Close(c.fd) }

// Hello registers with a message bus, as its clients have to before all else; a socket that leads to a service itself
// has none.
func (c *Conn) Hello() error {
	_, err := c.Call(Message{Destination: "org.freedesktop.DBus", Path: "/org/freedesktop/DBus",
		Interface: "org.freedesktop.DBus", Member: "Hello"})
	return err
}

// Match has a message bus pass on the signals that the rule is for.
func (c *Conn) Match(rule string) error {
	_, err := c.Call(Message{Destination: "org.freedesktop.DBus", Path: "/org/freedesktop/DBus",
		Interface: "org.freedesktop.DBus", Member: "AddMatch", Body: []Value{String(rule)}})
	return err
}

// Call calls a method and returns what it answers. A *CallError is the answer of who was called.
func (c *Conn) Call(m Message) ([]Value, error) {
	c.serial++
	m.Type, m.Serial = TypeCall, c.serial
	if err := c.write(m.Encode()); err != nil {
		return nil, err
	}
	for {
		got, err := c.receive()
		switch {
		case err != nil:
			return nil, err
		case got.Type == TypeSignal:
			c.signals = append(c.signals, got)
		case got.ReplySerial != m.Serial:
		case got.Type == TypeReply:
			return got.Body, nil
		case got.Type == TypeError:
			return nil, callError(got)
		}
	}
}

func callError(m Message) error {
	e := &CallError{Name: m.ErrorName}
	if len(m.Body) > 0 {
		e.Text = m.Body[0].Text
	}
	return e
}

// Signal waits for the signal that wanted returns true for. Those that have come during calls are asked for first.
func (c *Conn) Signal(wanted func(Message) bool) (Message, error) {
	if i := slices.IndexFunc(c.signals, wanted); i >= 0 {
		return c.signals[i], nil
	}
	for {
		got, err := c.receive()
		if err != nil {
			return Message{}, err
		}
		if got.Type == TypeSignal && wanted(got) {
			return got, nil
		}
	}
}

func (c *Conn) receive() (Message, error) {
	if err := c.fill(HeadSize); err != nil {
		return Message{}, err
	}
	n, err := Size(c.in)
	if err != nil {
		return Message{}, err
	}
	if err := c.fill(n); err != nil {
		return Message{}, err
	}
	m, err := Decode(c.in[:n])
	c.in = slices.Clone(c.in[n:])
	return m, err
}

// fill reads until n bytes are there.
func (c *Conn) fill(n int) error {
	for len(c.in) < n {
		if err := c.read(); err != nil {
			return err
		}
	}
	return nil
}

func (c *Conn) read() error {
	var buf [8192]byte
	for {
		n, err := unix.Read(c.fd, buf[:])
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			if err := c.wait(unix.POLLIN); err != nil {
				return err
			}
		case err == unix.ECONNRESET, err == nil && n == 0:
			return ErrHungUp
		case err != nil:
			return os.NewSyscallError("read", err)
		default:
			c.in = append(c.in, buf[:n]...)
			return nil
		}
	}
}

func (c *Conn) write(raw []byte) error {
	for len(raw) > 0 {
		n, err := unix.SendmsgN(c.fd, raw, nil, nil, unix.MSG_NOSIGNAL)
		switch {
		case err == unix.EINTR:
		case err == unix.EAGAIN:
			if err := c.wait(unix.POLLOUT); err != nil {
				return err
			}
		case err == unix.EPIPE, err == unix.ECONNRESET:
			return ErrHungUp
		case err != nil:
			return os.NewSyscallError("write", err)
		default:
			raw = raw[n:]
		}
	}
	return nil
}

// wait waits until the socket can be read or written, or the time is over.
func (c *Conn) wait(events int16) error {
	left := time.Until(c.deadline)
	if left <= 0 {
		return ErrTimeout
	}
	fds := []unix.PollFd{{Fd: int32(c.fd), Events: events}}
	n, err := unix.Poll(fds, int(left.Milliseconds())+1)
	switch {
	case err != nil && err != unix.EINTR:
		return fmt.Errorf("poll: %w", err)
	case n == 0 && err == nil:
		return ErrTimeout
	}
	return nil
}
