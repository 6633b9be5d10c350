package bundle

import (
	"syscall"

	"berth/libcontainer/fault"
)

// explain adds to an error about the file what to try.
func explain(e *fault.Error) *fault.Error {
	if e.Hint == "" {
		e.Hint = hint(e.Op, e.Errno)
	}
	return e
}

// hint returns one sentence for a failed operation on config.json. Hints
// about what config.json says stand beside the rule that complains.
func hint(op string, errno syscall.Errno) string {
	switch {
	case op == "open" && errno == syscall.ENOENT:
		return "a bundle is a directory that holds config.json and the container's root file system: " +
			"name it with --bundle, or make a config.json with `berth spec`"
	case op == "open" && errno == syscall.ENOTDIR:
		return "--bundle names the bundle's directory, not the file in it"
	case op == "open" && errno == syscall.ELOOP:
		return "config.json is a symbolic link that leads nowhere"
	case op == "read" && errno == 0:
		return "config.json must be a JSON document of at most 64 MiB"
	}
	return ""
}

// processHint is hint for the file of exec --process.
func processHint(op string, errno syscall.Errno) string {
	if op == "open" && errno == syscall.ENOENT || op == "read" && errno == 0 {
		return "--process names a JSON document of at most 64 MiB with what config.json has as its \"process\""
	}
	return ""
}

// mountsHint is hint for the file of mounts add and mounts remove.
func mountsHint(op string, errno syscall.Errno) string {
	if op == "open" && errno == syscall.ENOENT || op == "read" && errno == 0 {
		return "FILE names a JSON document of at most 64 MiB with an array of mounts, as config.json has it"
	}
	return ""
}
