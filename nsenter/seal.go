package nsenter

// #include "birth.h"
import "C"

import (
	"os"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

// Seal opens this very executable in a form that a container cannot write to
// through /proc/PID/exe (CVE-2019-5736): on a read-only overlay of its own
// directory where the runtime may mount, else as a sealed copy in memory. The
// descriptor is the caller's.
func Seal(mayMount bool) (*os.File, error) {
	var may C.int
	if mayMount {
		may = 1
	}
	fd := int(C.nsenter_seal(may))
	if fd < 0 {
		return nil, &fault.Error{Op: "seal", Path: "/proc/self/exe", Errno: unix.Errno(-fd), Phase: fault.PhaseNamespaces}
	}
	return os.NewFile(uintptr(fd), "/proc/self/exe"), nil
}

// adopt returns the preamble that was born before the Go runtime started, or
// nil where there is none, or none such as c wants.
func adopt(c Config) *Child {
	early := C.nsenter_early()
	if early.pid < 0 {
		return nil
	}
	child := &Child{PID: int(early.pid), sock: int(early.socket)}
	plain := c.Stdio == [3]int{0, 1, 2} && len(c.Preserve) == 0 && c.Cgroup == nil
	// One that could not be sealed has ended.
	if ended, err := unix.Wait4(child.PID, nil, unix.WNOHANG, nil); plain && ended == 0 && err == nil {
		return child
	}
	child.Close()
	child.Wait()
	return nil
}
