package tests

import (
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// runManager reads as a service manager does: the descriptor that comes with a barrier is closed when what was said before
// has been read.
func runManager(args []string) error {
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: args[0], Net: "unixgram"})
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	text, oob := make([]byte, 8192), make([]byte, unix.CmsgSpace(4))
	for {
		n, oobn, _, _, err := conn.ReadMsgUnix(text, oob)
		if err != nil {
			return err
		}
		fmt.Print(strings.TrimSuffix(string(text[:n]), "\n") + "\n")
		messages, _ := unix.ParseSocketControlMessage(oob[:oobn])
		for i := range messages {
			fds, _ := unix.ParseUnixRights(&messages[i])
			for _, fd := range fds {
				os.NewFile(uintptr(fd), "barrier").Close()
			}
		}
		if strings.Contains(string(text[:n]), args[1]) {
			return nil
		}
	}
}
