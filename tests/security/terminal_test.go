package security

import (
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// consoleSocket listens for terminals. stop ends that; nothing comes from the channel where no terminal came.
func consoleSocket(t *testing.T, path string) (ptmx <-chan *os.File, stop func()) {
	t.Helper()
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	c := make(chan *os.File, 1)
	go func() {
		defer close(c)
		conn, err := listener.AcceptUnix()
		if err != nil {
			return
		}
		defer conn.Close()
		payload, oob := make([]byte, 4096), make([]byte, unix.CmsgSpace(4))
		_, n, _, _, err := conn.ReadMsgUnix(payload, oob)
		if err != nil {
			return
		}
		messages, err := unix.ParseSocketControlMessage(oob[:n])
		if err != nil || len(messages) != 1 {
			return
		}
		if fds, err := unix.ParseUnixRights(&messages[0]); err == nil {
			unix.SetNonblock(fds[0], true)
			c <- os.NewFile(uintptr(fds[0]), "ptmx")
		}
	}()
	return c, func() { listener.Close() }
}

// readTerminal is what is printed until the terminal has no other end any more.
func readTerminal(ptmx *os.File) string {
	var out strings.Builder
	buffer := make([]byte, 4096)
	ptmx.SetReadDeadline(time.Now().Add(patience))
	for {
		n, err := ptmx.Read(buffer)
		out.Write(buffer[:n])
		if err != nil {
			return out.String()
		}
	}
}
