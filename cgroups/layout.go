package cgroups

import (
	"path"
	"slices"
	"strings"

	"berth/libcontainer/fault"
	"berth/libcontainer/host"
)

const cgroupsPathField fault.Pointer = "/linux/cgroupsPath"

// groupPath cleans linux.cgroupsPath; an empty one means the container's id,
// relative. The result begins with "/", has no "..", and names at least one
// directory; absolute says what it is relative to (see dirs).
func groupPath(cgroupsPath, id string) (rel string, absolute bool, bad *fault.Error) {
	p, field := cgroupsPath, cgroupsPathField
	if p == "" {
		p, field = id, ""
	}
	switch {
	case strings.ContainsAny(p, "\x00\n"):
		return "", false, refuse(field, "a cgroup's name holds neither NUL nor newline", "")
	case isSystemdPath(p):
		return "", false, refuse(field, "slice:prefix:name is understood by the systemd cgroup manager only",
			"give a path such as /machine/"+id+", or call the runtime with --systemd-cgroup")
	}
	// Rooted before it is cleaned, so that no ".." leads out of the hierarchy.
	rel = path.Clean("/" + p)
	if rel == "/" {
		return "", false, refuse(field, "names no group below the top one", "give the container a group of its own, such as /"+id)
	}
	return rel, strings.HasPrefix(p, "/"), nil
}

// isSystemdPath recognises "slice:prefix:name".
func isSystemdPath(p string) bool {
	return strings.Count(p, ":") == 2 && !strings.Contains(p, "/")
}

// dirs places the group rel into every hierarchy. An absolute path is below
// each mount point. A relative one is below the runtime's own group on v1,
// and beside it on v2, because there a group that holds processes cannot hand
// controllers down to groups below it (Documentation/admin-guide/cgroup-v2.rst,
// "No Internal Process Constraint"). A user to whom nothing above the own group
// is delegated makes it below that anyway: limits then have to wait until
// nothing runs in the own group.
func dirs(c host.Cgroup, rel string, absolute bool) []Dir {
	out := ownDirs(c)
	for i := range out {
		d := &out[i]
		base := d.Path
		switch {
		case absolute:
			base = d.Mountpoint
		case d.V2 && base != d.Mountpoint && base != c.V2Delegated:
			base = path.Dir(base)
		}
		d.Path = path.Join(base, rel)
	}
	return out
}

// ownDirs are the groups that the runtime itself is in, v1 before v2.
func ownDirs(c host.Cgroup) []Dir {
	out := make([]Dir, 0, len(c.V1)+1)
	for _, h := range c.V1 {
		out = append(out, Dir{
			Path:        h.Own(),
			Mountpoint:  h.Mountpoint,
			Controllers: h.Controllers,
		})
	}
	if c.V2 != "" {
		out = append(out, Dir{
			Path:        c.OwnV2(),
			Mountpoint:  c.V2,
			Controllers: c.V2Controllers,
			V2:          true,
		})
	}
	return out
}

// mounts describes the groups for a mount of type "cgroup".
func mounts(groups []Dir, c host.Cgroup) []Mount {
	out := make([]Mount, 0, len(groups))
	for _, d := range groups {
		m := Mount{Controllers: d.Controllers, Dir: d.Path, V2: d.V2}
		if !d.V2 || len(c.V1) > 0 {
			m.Name = path.Base(d.Mountpoint)
		}
		if !d.V2 {
			m.Symlinks = otherNames(m.Name, d.Controllers)
		}
		out = append(out, m)
	}
	return out
}

// otherNames are the controllers that a v1 hierarchy has besides the one it
// may be named after.
func otherNames(name string, controllers []string) []string {
	var out []string
	for _, c := range controllers {
		if c != name && !strings.HasPrefix(c, "name=") {
			out = append(out, c)
		}
	}
	return out
}

// find returns the group whose hierarchy has the controller, v1 first as the
// kernel lets a controller be in one of them only.
func (s State) find(controller string) (Dir, bool) {
	i := slices.IndexFunc(s.Dirs, func(d Dir) bool { return d.Has(controller) })
	if i < 0 {
		return Dir{}, false
	}
	return s.Dirs[i], true
}

// v2 returns the cgroup2 group.
func (s State) v2() (Dir, bool) {
	i := slices.IndexFunc(s.Dirs, func(d Dir) bool { return d.V2 })
	if i < 0 {
		return Dir{}, false
	}
	return s.Dirs[i], true
}

// Unified tells whether cgroup2 is the only hierarchy: then a process can be
// born in the group (Group.FD).
func (s State) Unified() bool { return len(s.Dirs) == 1 && s.Dirs[0].V2 }

// refuse is a complaint about a config entry.
func refuse(field fault.Pointer, msg, hint string) *fault.Error {
	return &fault.Error{Op: "cgroup", Field: field, Msg: msg, Hint: hint, Phase: fault.PhasePlan}
}
