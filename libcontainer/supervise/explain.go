package supervise

import (
	"syscall"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

// fail is an error about op on path with what is known to help.
func fail(err error, op, path string) *fault.Error {
	e := fault.From(err, op, path)
	if e.Hint == "" {
		e.Hint = explain(e.Op, e.Errno)
	}
	return e
}

// explain turns an operation and its errno into a sentence of advice, "" where
// there is none.
func explain(op string, errno syscall.Errno) string {
	switch op {
	case "hook":
		return explainHook(errno)
	case "connect to":
		return explainConnect(errno)
	case "wait for":
		if errno == unix.ECHILD {
			return "the process is no child of the runtime; something else has waited for it"
		}
	case "write pid file":
		if errno == unix.ENOENT {
			return "the directory of the pid file must exist"
		}
	}
	return ""
}

func explainHook(errno syscall.Errno) string {
	switch errno {
	case unix.ENOENT:
		return "the path of a hook, and the interpreter it names, are looked up in the namespaces in which it runs"
	case unix.EACCES:
		return "a hook must be an executable file on a file system mounted without noexec"
	case unix.ENOEXEC:
		return "a script needs a first line that names its interpreter, such as #!/bin/sh"
	}
	return ""
}

func explainConnect(errno syscall.Errno) string {
	switch errno {
	case unix.ECONNREFUSED:
		return "the socket exists but nobody listens on it"
	case unix.ENOENT:
		return "whoever receives the descriptor must listen before the runtime is called"
	case unix.EPROTOTYPE:
		return "the socket must be of type SOCK_STREAM"
	}
	return ""
}
