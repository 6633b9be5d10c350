package cgroups

import (
	"fmt"
	"path"
	"strings"

	"berth/libcontainer/fault"
	"berth/libcontainer/host"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// Rootless says whether the runtime is content with the groups that it has
// rights over, and with none where no limit needs one.
type Rootless int

const (
	RootlessAuto Rootless = iota // where it is not root of the initial user namespace
	RootlessYes
	RootlessNo // what it has no right to is an error
)

// Holds tells what it comes to on a machine like facts.
func (r Rootless) Holds(facts host.Facts) bool {
	return r == RootlessYes || r == RootlessAuto && facts.Rootless()
}

// planRootless makes the container's groups where the runtime has been given
// the right to, and leaves the container in the runtime's own elsewhere. What
// config.json asks for and cannot be had is a complaint: a limit, or a path.
func (p *Plan) planRootless(spec *specs.Spec, id string, facts host.Facts) fault.List {
	linux := spec.Linux
	if linux == nil {
		linux = &specs.Linux{}
	}
	rel, absolute, bad := groupPath(linux.CgroupsPath, id)
	if bad != nil {
		return fault.List{bad}
	}
	all := facts.Cgroup
	facts.Cgroup = all.Permitted()
	p.Dirs = dirs(facts.Cgroup, rel, absolute)
	reason, hint := lackingRights(all, facts)
	if len(p.Dirs) == 0 {
		p.view = sharedView(nil, all, true)
		complaints := p.withoutGroups(linux, reason, hint)
		p.Warnings[len(p.Warnings)-1].Hint = hint
		if linux.CgroupsPath != "" && len(ownDirs(all)) > 0 {
			complaints = append(fault.List{refuse(cgroupsPathField, "cannot be made: "+reason, hint)}, complaints...)
		}
		return complaints
	}
	if d, ok := p.State().v2(); ok && !within(d.Path, all.V2Delegated) {
		return fault.List{refuse(cgroupsPathField, fmt.Sprintf("is not below %s, the group that is delegated to %s", all.V2Delegated, whose(facts)),
			"give a path below it, a relative one, or none")}
	}
	complaints := p.planGroups(spec, linux, facts)
	p.view = sharedView(p.Dirs, all, true)
	for _, c := range complaints {
		if c.Code == codeNoController {
			c.Msg = strings.TrimSuffix(c.Msg, " on this machine") + " in the groups that " + whose(facts) + " may make"
			c.Hint = notHandedDown(all, facts)
		}
	}
	if p.Delegation != nil && !facts.Has(unix.CAP_CHOWN) {
		p.Warnings = append(p.Warnings, refuse(p.Delegation.Field, "the container's user gets no rights over its group: only root may give them", ""))
		p.Delegation = nil
	}
	return complaints
}

// whose is who the runtime is, for messages.
func whose(facts host.Facts) string {
	switch {
	case facts.EUID == 0 && facts.UserNS:
		return "root of this user namespace"
	case facts.EUID == 0:
		return "root"
	}
	return fmt.Sprintf("user %d", facts.EUID)
}

// lackingRights says why there is no group to be had, and how to get one.
func lackingRights(c host.Cgroup, facts host.Facts) (reason, hint string) {
	switch c.Mode() {
	case "none":
		return "no control groups are mounted", "mount cgroup v2 on /sys/fs/cgroup"
	case "unified":
	default:
		return whose(facts) + " may not make control groups here",
			"cgroup v1 knows no delegation to users: boot with systemd.unified_cgroup_hierarchy=1, or run as root"
	}
	reason = whose(facts) + " may not make control groups in " + c.OwnV2()
	if facts.EUID == 0 {
		return reason, "give the container around it a cgroup namespace and /sys/fs/cgroup without ro, or chown the group to this user"
	}
	return reason, "start it in a group of this user's own, such as by systemd-run --user --scope -p Delegate=yes"
}

// notHandedDown is the way out where groups can be made, but a controller is
// missing in them.
func notHandedDown(c host.Cgroup, facts host.Facts) string {
	switch {
	case c.V2Delegated != "" && c.V2Delegated == c.OwnV2():
		return "remove the limit, or move the processes of " + c.V2Delegated + ", the runtime's among them, into a group below it: it hands no controllers down while any are in it"
	case facts.EUID == 0:
		return "remove the limit, or have the container around it given the controller"
	}
	return "remove the limit, or have root delegate the controller: Delegate= in user@.service (systemctl edit user@.service)"
}

// sharedView is what a mount of type "cgroup" shows where only some hierarchies
// have a group of the container's; mark says that the others are to be shown
// read-only, as those of an ordinary user are, who may write to his own.
func sharedView(groups []Dir, c host.Cgroup, mark bool) []Mount {
	shown := ownDirs(c)
	shared := make([]bool, len(shown))
	for i, own := range shown {
		shared[i] = mark
		for _, d := range groups {
			if d.Mountpoint == own.Mountpoint {
				shown[i], shared[i] = d, false
			}
		}
	}
	out := mounts(shown, c)
	for i := range out {
		out[i].Shared = shared[i]
	}
	return out
}

// within tells whether a clean absolute path is dir or below it.
func within(name, dir string) bool {
	return name == dir || below(name, path.Clean(dir))
}

// Joinable tells whether a runtime with these rights may move its processes
// into the groups of s: on cgroup v2 everything up to the group that both are
// in has to be the user's (cgroups(7), "Cgroups delegation containment").
func (s State) Joinable(c host.Cgroup) bool {
	for _, d := range s.Dirs {
		if d.V2 && (c.V2Delegated == "" || !within(d.Path, c.V2Delegated)) {
			return false
		}
	}
	return true
}
