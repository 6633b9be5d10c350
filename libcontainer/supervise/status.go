package supervise

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// ExitStatus is how a process ended, as wait4(2) tells it.
type ExitStatus unix.WaitStatus

// Code is what the runtime exits with for it: the process's own code, or
// 128 + the number of the signal that ended it.
func (s ExitStatus) Code() int {
	w := unix.WaitStatus(s)
	if w.Signaled() {
		return 128 + int(w.Signal())
	}
	return w.ExitStatus()
}

// String is "exit status 3" or "killed by SIGKILL".
func (s ExitStatus) String() string {
	w := unix.WaitStatus(s)
	if !w.Signaled() {
		return fmt.Sprintf("exit status %d", w.ExitStatus())
	}
	if name := unix.SignalName(w.Signal()); name != "" {
		return "killed by " + name
	}
	return fmt.Sprintf("killed by signal %d", int(w.Signal()))
}
