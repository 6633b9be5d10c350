package cgroups

import (
	"path"
	"slices"
	"strings"

	"berth/libcontainer/fault"
	"berth/libcontainer/host"
)

// Below is the state of groups below those of s that exist already, for a
// process that joins a container: each of args is a path below the container's
// own group, with "CONTROLLER[,CONTROLLER…]:" before it where it is meant for
// those of a v1 hierarchy only. It looks at nothing.
func (s State) Below(args []string) (State, error) {
	out := s
	out.Dirs = slices.Clone(s.Dirs)
	placed := map[int]bool{}
	for _, arg := range args {
		controllers, dir, only := strings.Cut(arg, ":")
		if !only {
			controllers, dir = "", arg
		}
		if bad := badBelow(arg, dir, only && controllers == ""); bad != nil {
			return State{}, bad
		}
		for _, i := range s.matching(controllers) {
			if i < 0 {
				return State{}, noController(arg)
			}
			if placed[i] && out.Dirs[i].Path != path.Join(s.Dirs[i].Path, dir) {
				return State{}, badArgument(arg, "says twice where the process belongs", "name every hierarchy once")
			}
			placed[i] = true
			out.Dirs[i].Path = path.Join(s.Dirs[i].Path, dir)
		}
	}
	return out, nil
}

// matching are the indexes of the directories that a list of controllers
// names, -1 for one that is nowhere; "" is all.
func (s State) matching(controllers string) (at []int) {
	if controllers == "" {
		for i := range s.Dirs {
			at = append(at, i)
		}
		return at
	}
	for name := range strings.SplitSeq(controllers, ",") {
		at = append(at, slices.IndexFunc(s.Dirs, func(d Dir) bool { return !d.V2 && d.Has(name) }))
	}
	return at
}

func badBelow(arg, dir string, noName bool) *fault.Error {
	switch {
	case noName:
		return badArgument(arg, "names no controller before the colon", "leave the colon out for all hierarchies")
	case dir == "" || strings.ContainsAny(dir, "\x00\n"):
		return badArgument(arg, "is no path of a group", "give one below the container's own, such as /workers")
	case slices.Contains(strings.Split(dir, "/"), ".."):
		return badArgument(arg, `leads out of the container's group by ".."`, "give a path below it, such as /workers")
	}
	return nil
}

func noController(arg string) *fault.Error {
	return badArgument(arg, "names a controller that the container has no v1 group of",
		"cgroup v2 takes a path alone; /proc/self/cgroup lists the controllers of v1")
}

func badArgument(arg, msg, help string) *fault.Error {
	return &fault.Error{Op: "option", Path: "--cgroup " + arg, Msg: msg, Hint: help, Phase: fault.PhaseCgroup, Code: "usage"}
}

// Where is s with the v2 group that process pid of the container is in right
// now. A container that manages groups of its own has moved its processes to
// leaves, and its own group takes none any more (cgroup-v2.rst, "No Internal
// Process Constraint").
func (s State) Where(pid int) State {
	out := s
	out.Dirs = slices.Clone(s.Dirs)
	for i := range out.Dirs {
		if d := &out.Dirs[i]; d.V2 {
			walk(d.Path, func(dir string) error {
				if pids, err := readPids(dir); err == nil && slices.Contains(pids, pid) {
					d.Path = dir
				}
				return nil
			})
		}
	}
	return out
}

// HandsDown tells whether the v2 group hands controllers down to groups below
// it: then it takes no processes itself.
func (g *Group) HandsDown() bool {
	d, ok := g.State().v2()
	if !ok {
		return false
	}
	raw, err := host.ReadFile(d.Path + "/cgroup.subtree_control")
	return err == nil && len(strings.TrimSpace(string(raw))) > 0
}
