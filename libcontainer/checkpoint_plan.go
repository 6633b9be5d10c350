package libcontainer

import (
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/libcontainer/criu"
	"berth/libcontainer/fault"
	"berth/libcontainer/host"
	"berth/rootfs"
)

// dumpFacts is what the plan of a checkpoint needs to know of a container that
// runs.
type dumpFacts struct {
	PID        int
	Root       string
	Freezer    string
	External   []rootfs.External
	Mounts     []host.Mount      // init's
	HostMounts []host.Mount      // the runtime's
	Places     map[string]string // where a target leads to that nothing is mounted on
	Joined     []criu.Namespace
	Stdio      []string  // record.Stdio
	Links      [3]string // what init has there now
	Files      []outsideFile
}

// outsideFile is an open file of the host's: a regular one, or a terminal.
type outsideFile struct {
	Mount    int // the id of the mount that it was opened through
	Dev, Ino uint64
	TTY      uint64 // the device number of a terminal; 0 is a regular file
}

// name is CRIU's for it.
func (f outsideFile) name() string {
	if f.TTY != 0 {
		return "tty[" + strconv.FormatUint(f.TTY, 16) + ":" + strconv.FormatUint(f.Dev, 16) + "]"
	}
	return "file[" + strconv.FormatInt(int64(f.Mount), 16) + ":" + strconv.FormatUint(f.Ino, 16) + "]"
}

// canCRIU complains about containers that CRIU could not put together again:
// who has no mount namespace of his own, or joined a namespace of a kind that
// CRIU makes anew.
func (n Namespaces) canCRIU(op string, facts host.Facts) error {
	if facts.EUID != 0 || !facts.Privileged() {
		return &fault.Error{Op: op, Errno: unix.EPERM, Phase: fault.PhasePlan, Msg: "CRIU needs root's rights over the host"}
	}
	for _, j := range n.Join {
		if criu.NamespaceKey(j.Kind) == "" && !joinedByPath(j.Kind) {
			return &fault.Error{Op: op, Path: j.Path, Field: j.Field, Phase: fault.PhasePlan, Code: "criu-namespace",
				Msg: "CRIU cannot join a " + j.Kind + " namespace, only net, pid, ipc and uts"}
		}
	}
	if !n.isNew("mnt") {
		return &fault.Error{Op: op, Field: "/linux/namespaces", Phase: fault.PhasePlan, Code: "criu-namespace",
			Msg: "CRIU needs the container to have a mount namespace", Hint: `add {"type": "mount"}`}
	}
	return nil
}

// canCRIURoot complains about a root that only the container has: CRIU binds
// one from the host.
func canCRIURoot(op string, plan *rootfs.Plan) error {
	field := plan.RootOverlay()
	if field == "" {
		return nil
	}
	return &fault.Error{Op: op, Path: "/", Field: field, Phase: fault.PhasePlan, Code: "criu-root",
		Msg:  "CRIU needs a root file system that is mounted on the host, and this one is an overlay of the container's own",
		Hint: "mount it at root.path and leave the entry out"}
}

// joinedByPath are the kinds that CRIU joins by path.
func joinedByPath(kind string) bool { return kind == "ipc" || kind == "uts" }

// stdioNames is record.Stdio of a process that gets the descriptors.
func stdioNames(p *specs.Process, given [3]host.Stdio) []string {
	if p == nil || p.Terminal {
		return nil
	}
	names := make([]string, len(given))
	for i, s := range given {
		switch {
		case s.Mode&unix.S_IFMT == unix.S_IFIFO:
			names[i] = "pipe:[" + strconv.FormatUint(s.Ino, 10) + "]"
		case s.Mode&unix.S_IFMT == unix.S_IFREG || isTTY(s.Mode, s.Rdev):
			names[i] = strconv.FormatUint(s.Dev, 10) + ":" + strconv.FormatUint(s.Ino, 10)
		}
	}
	if names[0]+names[1]+names[2] == "" {
		return nil
	}
	return names
}

// external is a mount from outside as a restore has to bring it along. Its
// place in the list of all is its key in the images.
type external struct {
	Destination string `json:"destination"`
	Readonly    bool   `json:"readonly,omitempty"`
}

// maskKey is the key of all masked files.
const maskKey = "null"

// dumpPlan is a checkpoint, and what is written beside the images.
type dumpPlan struct {
	criu.Dump
	table       []external
	descriptors []string
}

// planDump decides what of a container CRIU takes and what comes from outside.
func planDump(d criu.Dump, facts dumpFacts) (dumpPlan, error) {
	p := dumpPlan{Dump: d}
	p.PID, p.Root, p.Freezer, p.Namespaces = facts.PID, facts.Root, facts.Freezer, facts.Joined
	if p.PreDump {
		return p, p.Check() // which looks at memory only
	}
	bad := p.mounts(facts)
	p.stdio(facts)
	fault.Each(p.Check(), func(e *fault.Error) { bad = append(bad, e) })
	return p, bad.Err()
}

// mounts finds the mounts from outside where the container has them now: by
// their places CRIU finds them, too.
func (p *dumpPlan) mounts(facts dumpFacts) (bad fault.List) {
	taken := map[string]bool{}
	for _, x := range facts.External {
		i := slices.IndexFunc(facts.Mounts, func(m host.Mount) bool { return m.Point == x.Target })
		switch {
		case taken[x.Target]:
		case i < 0:
			if place := facts.Places[x.Target]; place != "" && place != x.Target && !x.Mask {
				bad = append(bad, &fault.Error{Op: "checkpoint", Path: x.Target, Field: x.Field, Code: "criu-symlink",
					Msg:  "a symbolic link leads to " + place + ", which is where CRIU sees the mount",
					Hint: "write the destination without symbolic links"})
			}
		case x.Mask:
			if facts.Mounts[i].Root == "/null" {
				taken[x.Target] = true
				p.Mounts = append(p.Mounts, criu.Mount{Key: maskKey, Place: x.Target, Field: x.Field})
			}
		case x.Readonly && !facts.Mounts[i].Readonly:
			bad = append(bad, &fault.Error{Op: "checkpoint", Path: x.Target, Field: x.Field, Code: "criu-readonly",
				Msg: "was made writable by the container, and would be when it is restored"})
		default:
			taken[x.Target] = true
			p.take(external{x.Target, facts.Mounts[i].Readonly}, x.Field)
			p.below(x, facts, taken)
		}
	}
	return bad
}

func (p *dumpPlan) take(x external, field fault.Pointer) {
	p.Mounts = append(p.Mounts, criu.Mount{Key: strconv.Itoa(len(p.table)), Place: x.Destination, Field: field})
	p.table = append(p.table, x)
}

// below takes what an rbind has brought along: mounts of the host's, where the
// host has them below the source.
func (p *dumpPlan) below(x rootfs.External, facts dumpFacts, taken map[string]bool) {
	for _, m := range facts.Mounts {
		rest, inside := strings.CutPrefix(m.Point, strings.TrimSuffix(x.Target, "/")+"/")
		if !inside || taken[m.Point] || slices.ContainsFunc(facts.External, func(o rootfs.External) bool { return o.Target == m.Point }) {
			continue
		}
		if slices.ContainsFunc(facts.HostMounts, func(h host.Mount) bool {
			return h.Point == path.Join(x.Source, rest) && h.Dev == m.Dev && h.Root == m.Root
		}) {
			taken[m.Point] = true
			p.take(external{m.Point, m.Readonly}, x.Field)
		}
	}
}

// stdio finds what the process was given for its standard descriptors. The list
// is that of other runtimes, who have nothing for files.
func (p *dumpPlan) stdio(facts dumpFacts) {
	for _, f := range facts.Files {
		if !slices.Contains(p.Files, f.name()) {
			p.Files = append(p.Files, f.name())
		}
	}
	for fd, name := range facts.Links {
		if fd < len(facts.Stdio) && facts.Stdio[fd] != "" {
			name = facts.Stdio[fd]
		}
		for _, f := range facts.Files {
			if name == strconv.FormatUint(f.Dev, 10)+":"+strconv.FormatUint(f.Ino, 10) {
				name = f.name()
			}
		}
		p.descriptors = append(p.descriptors, name)
	}
}

// isTTY tells whether it is a terminal of devpts (UNIX98_PTY_SLAVE_MAJOR and
// the seven behind it, linux/major.h).
func isTTY(mode uint32, rdev uint64) bool {
	return mode&unix.S_IFMT == unix.S_IFCHR && unix.Major(rdev) >= 136 && unix.Major(rdev) <= 143
}

// inheritable tells whether CRIU takes a descriptor for what has this name.
func inheritable(name string) bool {
	return strings.HasPrefix(name, "pipe:[") || strings.HasPrefix(name, "file[") || strings.HasPrefix(name, "tty[")
}

// planRestore decides where what comes from outside comes from now.
func planRestore(r criu.Restore, plan *Plan, table []external, descriptors []string, hostMounts []host.Mount) (criu.Restore, error) {
	var bad fault.List
	sources := plan.Rootfs.External()
	for i, x := range table {
		source, e := sourceOf(x, sources, hostMounts)
		if e != nil {
			bad = append(bad, e)
			continue
		}
		r.Mounts = append(r.Mounts, criu.Mount{Key: strconv.Itoa(i), Place: source})
	}
	r.Mounts = append(r.Mounts, criu.Mount{Key: maskKey, Place: "/dev/null"})
	for fd, name := range descriptors {
		if fd <= 2 && inheritable(name) {
			r.Inherit = append(r.Inherit, criu.Inherit{Key: name, FD: fd})
		}
	}
	next := criu.FirstFile
	for _, j := range plan.Namespaces.Join {
		switch key := criu.NamespaceKey(j.Kind); {
		case key != "":
			r.Inherit = append(r.Inherit, criu.Inherit{Key: key, FD: next})
			next++
		case joinedByPath(j.Kind):
			r.Namespaces = append(r.Namespaces, criu.Namespace{Kind: j.Kind, Path: j.Path})
		}
	}
	return r, bad.Err()
}

// sourceOf finds in the config that is restored what was mounted at a place.
func sourceOf(x external, sources []rootfs.External, hostMounts []host.Mount) (string, *fault.Error) {
	var best *rootfs.External
	for i, s := range sources {
		within := s.Target == x.Destination || strings.HasPrefix(x.Destination, strings.TrimSuffix(s.Target, "/")+"/")
		if within && !s.Mask && (best == nil || len(s.Target) >= len(best.Target)) {
			best = &sources[i]
		}
	}
	missing := &fault.Error{Op: "restore", Path: x.Destination, Field: "/mounts", Code: "criu-mount-missing",
		Msg: "something of the host's was mounted here at checkpoint, and this config.json has nothing for it"}
	if best == nil || path.Clean(x.Destination) != x.Destination {
		return "", missing
	}
	if best.Readonly && !x.Readonly {
		return "", &fault.Error{Op: "restore", Path: x.Destination, Field: best.Field, Code: "criu-readonly",
			Msg: "was writable at checkpoint, and CRIU would make it so again"}
	}
	if best.Target == x.Destination {
		return best.Source, nil
	}
	// Below a bind: only what the host itself has mounted there, which the
	// container cannot have replaced by a link.
	source := path.Join(best.Source, strings.TrimPrefix(x.Destination, best.Target))
	if !slices.ContainsFunc(hostMounts, func(m host.Mount) bool { return m.Point == source }) {
		return "", missing
	}
	return source, nil
}
