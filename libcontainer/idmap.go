package libcontainer

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

// writeMaps gives the user namespace of process pid its ids
// (user_namespaces(7)).
func (n Namespaces) writeMaps(pid int) error {
	if n.DenySetgroups {
		if err := writeProc(pid, "setgroups", "deny", gids.field()); err != nil {
			return err
		}
	}
	if err := n.writeIDs(uids, pid, n.UIDs); err != nil {
		return err
	}
	return n.writeIDs(gids, pid, n.GIDs)
}

func (n Namespaces) writeIDs(k idKind, pid int, mappings []specs.LinuxIDMapping) error {
	if slices.Contains(n.Helpers, k.name) {
		return k.runHelper(pid, mappings)
	}
	return k.writeMap(pid, mappings)
}

// writeOffsets sets the clocks of the time namespace that the children of pid
// will be born in (time_namespaces(7)).
func (n Namespaces) writeOffsets(pid int) error {
	var b strings.Builder
	for _, clock := range []string{"monotonic", "boottime"} {
		if o, ok := n.Offsets[clock]; ok {
			fmt.Fprintf(&b, "%s %d %d\n", clock, o.Secs, o.Nanosecs)
		}
	}
	return writeProc(pid, "timens_offsets", b.String(), "/linux/timeOffsets")
}

func writeProc(pid int, name, text string, field fault.Pointer) error {
	path := fmt.Sprintf("/proc/%d/%s", pid, name)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(text)
		f.Close()
	}
	if err == nil {
		return nil
	}
	e := &fault.Error{Op: "write", Path: name, Field: field, Phase: fault.PhaseNamespaces}
	if !errors.As(err, &e.Errno) {
		e.Err = err
	}
	e.Hint = mapHint(name, e.Errno)
	return e
}

// writeMap writes the map of one kind of ids itself.
func (k idKind) writeMap(pid int, mappings []specs.LinuxIDMapping) error {
	err := writeProc(pid, k.name+"_map", mapText(mappings), k.field())
	var e *fault.Error
	if errors.As(err, &e) && e.Errno == unix.EPERM {
		k.blameNamespace(e, mappings)
	}
	return err
}

func mapHint(name string, errno unix.Errno) string {
	switch {
	case name == "timens_offsets" && errno == unix.ERANGE:
		return "the offset moves the clock below zero or too far ahead"
	case errno == unix.EPERM:
		return "the runtime must own these ids: see /etc/subuid and /etc/subgid, and whether the user namespace it runs in maps them"
	case errno == unix.EINVAL:
		return "ranges must not overlap, and a kernel takes at most 340 of them"
	}
	return ""
}

func mapText(mappings []specs.LinuxIDMapping) string {
	var b strings.Builder
	for _, m := range mappings {
		fmt.Fprintf(&b, "%d %d %d\n", m.ContainerID, m.HostID, m.Size)
	}
	return b.String()
}

// runHelper lets newuidmap(1) or newgidmap(1) write a map that this user may
// not write himself.
func (k idKind) runHelper(pid int, mappings []specs.LinuxIDMapping) error {
	args := []string{strconv.Itoa(pid)}
	for _, m := range mappings {
		for _, n := range []uint32{m.ContainerID, m.HostID, m.Size} {
			args = append(args, strconv.FormatUint(uint64(n), 10))
		}
	}
	out, err := exec.Command(k.tool(), args...).CombinedOutput()
	if err == nil {
		return nil
	}
	e := &fault.Error{Op: k.tool(), Field: k.field(), Phase: fault.PhaseNamespaces, Err: err, Msg: strings.TrimSpace(string(out))}
	k.blameGrants(e, mappings)
	return e
}
