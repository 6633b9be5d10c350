package host

import (
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Rootless tells whether the runtime is anybody but root of the initial user
// namespace: then it has rights over those control groups only that were
// given to it.
func (f Facts) Rootless() bool { return f.EUID != 0 || f.UserNS }

// OwnV2 is the runtime's own cgroup2 group as a path of the host.
func (c Cgroup) OwnV2() string { return path.Join(c.V2, InMount(c.V2Root, c.V2Self)) }

// Own is the runtime's own group in the hierarchy as a path of the host.
func (h V1Hierarchy) Own() string { return path.Join(h.Mountpoint, InMount(h.Root, h.Self)) }

// InMount is where the group self is below a mount point that shows the group
// root. A container without a cgroup namespace sees the host's names in
// /proc/self/cgroup, of which its mounts show the tail only. A group that the
// mount does not show is taken for its top.
func InMount(root, self string) string {
	if strings.HasPrefix(self, "/..") || strings.HasPrefix(root, "/..") {
		return "/"
	}
	if root == "/" || root == "" {
		return self
	}
	if tail, ok := strings.CutPrefix(self, root); ok && strings.HasPrefix(tail, "/") {
		return tail
	}
	return "/"
}

// ProbeRights finds out in which groups the calling process may make others:
// V2Delegated, V2DelegatedControllers and V1Hierarchy.Writable.
func (c *Cgroup) ProbeRights() {
	for i := range c.V1 {
		c.V1[i].Writable = mayManage(c.V1[i].Own())
	}
	if c.V2 == "" {
		return
	}
	c.V2Delegated = delegated(c.V2, c.OwnV2(), mayManage)
	if c.V2Delegated == "" {
		return
	}
	if names, err := ReadFile(c.V2Delegated + "/" + handsDown(c.V2Delegated, c.OwnV2())); err == nil {
		c.V2DelegatedControllers = strings.Fields(string(names))
	}
}

// handsDown names the file with the controllers that groups below can have: no
// more than they have already where the runtime itself is in the group, unless
// that is the top one of the machine (cgroup-v2.rst, "No Internal Process
// Constraint").
func handsDown(group, own string) string {
	if group == own && unix.Access(group+"/cgroup.type", unix.F_OK) == nil {
		return "cgroup.subtree_control"
	}
	return "cgroup.controllers"
}

// delegated is the highest of the groups from own up to the mount point that
// are all the user's to manage.
func delegated(mountpoint, own string, manages func(dir string) bool) string {
	highest := ""
	for dir := own; isBelow(dir, mountpoint) && manages(dir); dir = path.Dir(dir) {
		highest = dir
		if dir == mountpoint {
			break
		}
	}
	return highest
}

// mayManage tells whether this process may make groups in dir, and move
// processes between them.
func mayManage(dir string) bool {
	may := func(name string, mode uint32) bool {
		return unix.Faccessat(unix.AT_FDCWD, name, mode, unix.AT_EACCESS) == nil
	}
	return may(dir, unix.W_OK|unix.X_OK) && may(dir+"/cgroup.procs", unix.W_OK)
}

// Permitted is the part of the layout in which the runtime may make groups, as
// ProbeRights has found it.
func (c Cgroup) Permitted() Cgroup {
	c.V1 = slices.DeleteFunc(slices.Clone(c.V1), func(h V1Hierarchy) bool { return !h.Writable })
	if c.V2Delegated == "" {
		c.V2, c.V2Root, c.V2Self, c.V2Controllers = "", "", "", nil
	} else {
		c.V2Controllers = c.V2DelegatedControllers
	}
	return c
}
