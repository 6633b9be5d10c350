package cgroups

import (
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"berth/libcontainer/fault"
	"berth/libcontainer/host"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Delegation gives the container's cgroup v2 group to the user that its process will be, so that it can make groups
// below (config-linux.md, "Cgroup ownership").
type Delegation struct {
	Dir   string        `json:"dir"`
	UID   int           `json:"uid"` // on the host
	Field fault.Pointer `json:"field"`
}

func (d *Delegation) String() string {
	return fmt.Sprintf("delegate %s to user %d   # %s", oneLine(d.Dir), d.UID, d.Field)
}

// planDelegation follows the specification's conditions: cgroup v2 and nothing else, a cgroup namespace of the container's
// own, and the group mounted there for writing. Root of the host has the group anyway.
func (p *Plan) planDelegation(spec *specs.Spec, facts host.Facts) {
	if !p.State().Unified() || !newCgroupNamespace(spec.Linux.Namespaces) {
		return
	}
	at := slices.IndexFunc(spec.Mounts, writableCgroup)
	if at < 0 {
		return
	}
	var user uint32
	if spec.Process != nil {
		user = spec.Process.User.UID
	}
	if uid, ok := hostUID(spec.Linux, user); ok && uid != facts.EUID {
		p.Delegation = &Delegation{Dir: p.Dirs[0].Path, UID: uid, Field: fault.Pointer("/mounts").Index(at)}
	}
}

func newCgroupNamespace(list []specs.LinuxNamespace) bool {
	return slices.ContainsFunc(list, func(n specs.LinuxNamespace) bool {
		return n.Type == specs.CgroupNamespace && n.Path == ""
	})
}

func writableCgroup(m specs.Mount) bool {
	return m.Source == "cgroup" && path.Clean("/"+m.Destination) == "/sys/fs/cgroup" && !slices.Contains(m.Options, "ro")
}

// hostUID returns what a user of the container is on the host; false where the config does not say.
func hostUID(linux *specs.Linux, uid uint32) (int, bool) {
	mapped := slices.ContainsFunc(linux.Namespaces, func(n specs.LinuxNamespace) bool { return n.Type == specs.UserNamespace })
	if !mapped {
		return int(uid), true
	}
	for _, m := range linux.UIDMappings {
		if uid >= m.ContainerID && uint64(uid) < uint64(m.ContainerID)+uint64(m.Size) {
			return int(uid - m.ContainerID + m.HostID), true
		}
	}
	return 0, false
}

// delegatedFiles is the kernel's list of what may be given away (/sys/kernel/cgroup/delegate), or the specification's for a
// kernel without one.
func delegatedFiles() []string {
	raw, err := os.ReadFile("/sys/kernel/cgroup/delegate")
	if err != nil {
		return []string{procsFile, subtreeFile, "cgroup.threads"}
	}
	return strings.Fields(string(raw))
}

// apply changes the owner of the group's directory and of the kernel's files in it.
func (d *Delegation) apply() error {
	if d == nil {
		return nil
	}
	for _, file := range append([]string{"."}, delegatedFiles()...) {
		full := path.Join(d.Dir, file)
		err := unix.Fchownat(unix.AT_FDCWD, full, d.UID, -1, unix.AT_SYMLINK_NOFOLLOW)
		if err == nil || file != "." && errors.Is(err, unix.ENOENT) {
			continue // a controller that the group does not have
		}
		e := failed("chown", full, err)
		e.Field = d.Field
		return e
	}
	return nil
}
