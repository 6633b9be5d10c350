// Package dbustest is the other end of a conversation, for tests.
package dbustest

import (
	"bufio"
	"encoding/hex"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"berth/cgroups/dbus"
)

// Conn is what a server says.
type Conn struct {
	net.Conn
	serial uint32
}

// Send sends a message of any type.
func (c *Conn) Send(m dbus.Message) {
	c.serial++
	m.Serial = c.serial
	c.Write(m.Encode())
}

// Reply answers a call.
func (c *Conn) Reply(call dbus.Message, body ...dbus.Value) {
	c.Send(dbus.Message{Type: dbus.TypeReply, ReplySerial: call.Serial, Body: body})
}

// Refuse answers a call with an error.
func (c *Conn) Refuse(call dbus.Message, name, text string) {
	c.Send(dbus.Message{Type: dbus.TypeError, ReplySerial: call.Serial, ErrorName: name, Body: []dbus.Value{dbus.String(text)}})
}

// Serve answers every call on a socket of its own by handle, one after the other, until the test ends. It returns the
// socket's path.
func Serve(t testing.TB, handle func(c *Conn, call dbus.Message)) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "bus") // short: a socket's path has at most 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		listener.Close()
		os.RemoveAll(dir)
	})
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go serve(&Conn{Conn: conn}, handle)
		}
	}()
	return path
}

func serve(c *Conn, handle func(*Conn, dbus.Message)) {
	defer c.Close()
	in := bufio.NewReader(c)
	line, err := in.ReadString('\n')
	uid := hex.EncodeToString([]byte(strconv.Itoa(os.Geteuid())))
	if err != nil || strings.TrimSpace(line) != "\x00AUTH EXTERNAL "+uid {
		io.WriteString(c, "REJECTED EXTERNAL\r\n")
		return
	}
	io.WriteString(c, "OK 0123456789abcdef\r\n")
	if line, err = in.ReadString('\n'); err != nil || strings.TrimSpace(line) != "BEGIN" {
		return
	}
	for {
		head := make([]byte, dbus.HeadSize)
		if _, err := io.ReadFull(in, head); err != nil {
			return
		}
		n, err := dbus.Size(head)
		if err != nil {
			return
		}
		raw := append(head, make([]byte, n-len(head))...)
		if _, err := io.ReadFull(in, raw[dbus.HeadSize:]); err != nil {
			return
		}
		m, err := dbus.Decode(raw)
		if err != nil {
			return
		}
		handle(c, m)
	}
}
