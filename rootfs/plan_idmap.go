package rootfs

import (
	"math"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// planIDMap decides the mapping of an id-mapped mount (config.md, "idmap");
// nil is no mapping. What the mount says itself comes before the container's
// user namespace.
func (p *planner) planIDMap(e *entry) (*IDMap, bool) {
	own := len(e.UIDMappings) > 0
	at := e.option(e.flags.IDMapAt)
	if own != (len(e.GIDMappings) > 0) {
		p.complain(e.field, "idmap", e.target, "uidMappings and gidMappings belong together", "")
		return nil, false
	}
	if e.flags.IDMap == IDMapNone && !own {
		return nil, true
	}
	if !p.m.privileged {
		p.complain(at, "idmap", e.target, "an id-mapped mount needs CAP_SYS_ADMIN on the host", "")
		return nil, false
	}
	if !p.m.setattr {
		p.complain(e.field.At("uidMappings"), "idmap", e.target, "an id-mapped mount needs Linux 5.12", "")
		return nil, false
	}
	id := &IDMap{UID: e.UIDMappings, GID: e.GIDMappings, Recursive: e.flags.IDMap == IDMapRecursive}
	switch inline := e.flags.IDMapText; {
	case inline != "" && own:
		p.complain(at, "idmap", e.target, "the mount has uidMappings and gidMappings already", "leave one of them out")
		return nil, false
	case inline != "":
		var msg string
		if id.UID, id.GID, msg = p.inlineMaps(inline); msg != "" {
			p.complain(at, "idmap", e.target, msg, "write idmap=uids=FROM-TO-COUNT#FROM-TO-COUNT;gids=FROM-TO-COUNT, "+
				"where FROM is the id in the file system and TO what the mount shows")
			return nil, false
		}
	case !own:
		id.UID, id.GID, id.Userns = p.opt.UIDMappings, p.opt.GIDMappings, p.usernsPath()
	}
	if len(id.UID) == 0 && id.Userns == "" {
		p.complain(at, "idmap", e.target, "there is no mapping for it",
			"give the mount uidMappings and gidMappings, or the container a user namespace")
		return nil, false
	}
	return id, true
}

func (p *planner) usernsPath() string {
	if p.spec.Linux == nil {
		return ""
	}
	for _, n := range p.spec.Linux.Namespaces {
		if n.Type == specs.UserNamespace {
			return n.Path
		}
	}
	return ""
}

// inlineMaps reads "uids=0-1000-10#10-2000-5;gids=@0-0-10", which managers
// write since crun has it (crun(1), IDMAP MOUNT OPTIONS). Behind an '@', what
// the mount shows are ids of the container's user namespace. msg says what is
// wrong.
func (p *planner) inlineMaps(text string) (uids, gids []specs.LinuxIDMapping, msg string) {
	for part := range strings.SplitSeq(text, ";") {
		key, list, _ := strings.Cut(part, "=")
		switch key {
		case "uids":
			uids, msg = inlineMap(list, p.opt.UIDMappings)
		case "gids":
			gids, msg = inlineMap(list, p.opt.GIDMappings)
		default:
			msg = strconv.Quote(key) + " is neither uids nor gids"
		}
		if msg != "" {
			return nil, nil, msg
		}
	}
	if len(uids) == 0 || len(gids) == 0 {
		return nil, nil, "uids and gids belong together"
	}
	return uids, gids, ""
}

func inlineMap(list string, container []specs.LinuxIDMapping) (out []specs.LinuxIDMapping, msg string) {
	list, relative := strings.CutPrefix(list, "@")
	for triple := range strings.SplitSeq(list, "#") {
		m, ok := inlineTriple(triple)
		if !ok {
			return nil, strconv.Quote(triple) + " is not three numbers, FROM-TO-COUNT, of a range of ids"
		}
		if relative {
			if m.HostID, ok = hostRange(m.HostID, m.Size, container); !ok {
				return nil, strconv.Quote(triple) + " is not within one range of the container's user namespace"
			}
		}
		out = append(out, m)
	}
	return out, ""
}

func inlineTriple(text string) (m specs.LinuxIDMapping, ok bool) {
	numbers := strings.Split(text, "-")
	if len(numbers) != 3 {
		return m, false
	}
	for i, to := range [...]*uint32{&m.ContainerID, &m.HostID, &m.Size} {
		n, err := strconv.ParseUint(numbers[i], 10, 32)
		if err != nil {
			return m, false
		}
		*to = uint32(n)
	}
	fits := func(first uint32) bool { return uint64(first)+uint64(m.Size) <= math.MaxUint32 }
	return m, m.Size > 0 && fits(m.ContainerID) && fits(m.HostID)
}

// hostRange is the host's first id of n ids of a user namespace, which have to
// be within one of its mappings.
func hostRange(id, n uint32, mappings []specs.LinuxIDMapping) (uint32, bool) {
	for _, m := range mappings {
		if id >= m.ContainerID && uint64(id)+uint64(n) <= uint64(m.ContainerID)+uint64(m.Size) {
			return id - m.ContainerID + m.HostID, true
		}
	}
	return 0, false
}
