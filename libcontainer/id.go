package libcontainer

import (
	"errors"

	"berth/libcontainer/fault"
)

// checkID holds an ID to what is safe as a directory name: one component of
// letters, digits and "_+-.", no path of its own.
func checkID(id string) error {
	bad := &fault.Error{Op: "container", Path: id, Msg: "invalid container ID format", Phase: fault.PhaseState, Code: "invalid-id",
		Hint: "use letters, digits, and any of _ + - . (1 to 1024 of them)"}
	if id == "" || id == "." || id == ".." || len(id) > 1024 {
		return bad
	}
	for _, r := range id {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		case r == '_', r == '+', r == '-', r == '.':
		default:
			return bad
		}
	}
	return nil
}

// The errors below keep the wording that managers match on.

// ErrNotExist is what errors.Is finds in the error about a container that is
// not there.
var ErrNotExist = errors.New("container does not exist")

func errNotExist(id string) error {
	return &fault.Error{Op: "container", Path: id, Err: ErrNotExist, Phase: fault.PhaseState, Code: "no-container"}
}

func errExists(id string) error {
	return &fault.Error{Op: "container", Path: id, Msg: "container with given ID already exists", Phase: fault.PhaseState, Code: "container-exists",
		Hint: "choose another ID, or delete that container first"}
}

func errNotRunning(id string) error {
	return &fault.Error{Op: "container", Path: id, Msg: "container not running", Phase: fault.PhaseSignal, Code: "not-running"}
}

// errNoGroup is for a verb that needs the container's own group.
func errNoGroup(op, id string) error {
	return &fault.Error{Op: op, Path: id, Msg: "the container has no control group of its own", Phase: fault.PhaseCgroup, Code: "no-cgroup",
		Hint: "it was created by an ordinary user, or with --cgroup-manager disabled, and is in the group of whoever created it"}
}
