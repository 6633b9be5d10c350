// Package userns makes the user namespaces of the layer tool: one in which an ordinary user is root and has the
// subordinate ids that he was granted, and those by which layers are mapped.
package userns

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/user"
	"github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/fault"
)

// Mapping is the ids of a user namespace, as config.json has them: HostID is one of the namespace around.
type Mapping struct {
	UIDs, GIDs []specs.LinuxIDMapping
}

// kernelMax is how many ranges a user namespace takes (user_namespaces(7), since Linux 4.15).
const kernelMax = 340

// Single tells whether there is one user or one group only: owners of files cannot be kept.
func (m Mapping) Single() bool { return count(m.UIDs) <= 1 || count(m.GIDs) <= 1 }

func count(ids []specs.LinuxIDMapping) (n uint64) {
	for _, r := range ids {
		n += uint64(r.Size)
	}
	return n
}

// Root returns which ids of the namespace around root has; false where it has none.
func (m Mapping) Root() (uid, gid uint32, ok bool) {
	uid, okU := outside(m.UIDs)
	gid, okG := outside(m.GIDs)
	return uid, gid, okU && okG
}

func outside(ids []specs.LinuxIDMapping) (uint32, bool) {
	for _, r := range ids {
		if r.ContainerID == 0 && r.Size > 0 {
			return r.HostID, true
		}
	}
	return 0, false
}

// Current is the mapping of the user namespace that this process is in.
func Current() (Mapping, error) {
	uids, err := readMap("/proc/self/uid_map")
	if err != nil {
		return Mapping{}, err
	}
	gids, err := readMap("/proc/self/gid_map")
	return Mapping{uids, gids}, err
}

func readMap(path string) ([]specs.LinuxIDMapping, error) {
	lines, err := user.ParseIDMapFile(path)
	if err != nil {
		return nil, fault.From(err, "read", path)
	}
	var out []specs.LinuxIDMapping
	for _, l := range lines {
		out = append(out, specs.LinuxIDMapping{ContainerID: uint32(l.ID), HostID: uint32(l.ParentID), Size: uint32(l.Count)})
	}
	return out, nil
}

// kind is user or group ids: what is called alike for both.
type kind string

const (
	uid kind = "uid"
	gid kind = "gid"
)

func (k kind) grants() string { return "/etc/sub" + string(k) }
func (k kind) tool() string   { return "new" + string(k) + "map" }

// granted reads the text of /etc/subuid or /etc/subgid, which name users by name or number in both (subuid(5), subgid(5)).
func granted(text io.Reader, name string, number int) ([]user.SubID, error) {
	return user.ParseSubIDFilter(text, func(s user.SubID) bool {
		return s.Count > 0 && (s.Name == strconv.Itoa(number) || name != "" && s.Name == name)
	})
}

// plan gives an own id to root, and those granted, in their order, to 1 and up. What cannot be mapped beside it is left
// out: a range that has the own id in it or one of an earlier range.
func plan(own int, ranges []user.SubID) []specs.LinuxIDMapping {
	out := []specs.LinuxIDMapping{{HostID: uint32(own), Size: 1}}
	return appendRanges(out, ranges)
}

func appendRanges(out []specs.LinuxIDMapping, ranges []user.SubID) []specs.LinuxIDMapping {
	next := count(out)
	for _, r := range ranges {
		if len(out) == kernelMax || r.SubID < 0 || r.SubID+r.Count > 1<<32-1 || next+uint64(r.Count) > 1<<32-1 || overlaps(out, r) {
			continue
		}
		out = append(out, specs.LinuxIDMapping{ContainerID: uint32(next), HostID: uint32(r.SubID), Size: uint32(r.Count)})
		next += uint64(r.Count)
	}
	return out
}

func overlaps(ids []specs.LinuxIDMapping, r user.SubID) bool {
	return slices.ContainsFunc(ids, func(m specs.LinuxIDMapping) bool {
		return r.SubID < int64(m.HostID)+int64(m.Size) && int64(m.HostID) < r.SubID+r.Count
	})
}

// Own is the mapping of the ordinary user that this process is: himself as root, and his subordinate ids. Where he has
// none of one kind he is alone, and warning says what that means.
func Own() (m Mapping, warning string, err error) {
	name := userName(os.Geteuid())
	ranges := map[kind][]user.SubID{}
	for _, k := range []kind{uid, gid} {
		if ranges[k], err = grantedTo(k, name, os.Geteuid()); err != nil {
			return Mapping{}, "", err
		}
		if len(ranges[k]) == 0 && warning == "" {
			warning = lonely(k, name)
		}
	}
	if warning != "" {
		ranges = nil
	}
	return Mapping{plan(os.Geteuid(), ranges[uid]), plan(os.Getegid(), ranges[gid])}, warning, nil
}

// lonely says what a user without subordinate ids loses, and how to get some.
func lonely(k kind, name string) string {
	return fmt.Sprintf("%s grants %s no subordinate ids: all files of images belong to one user, and their owners are lost; "+
		"`usermod --add-subuids 100000-165535 --add-subgids 100000-165535 %s` as root grants some, for images that are pulled after it",
		k.grants(), name, name)
}

// userName is a user's name, or his number where he has none.
func userName(number int) string {
	if u, err := user.LookupUid(number); err == nil {
		return u.Name
	}
	return strconv.Itoa(number)
}

// grantedTo reads the machine's file; where there is none nothing is granted.
func grantedTo(k kind, name string, number int) ([]user.SubID, error) {
	f, err := os.Open(k.grants())
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.From(err, "read", k.grants())
	}
	defer f.Close()
	ranges, err := granted(f, name, number)
	if err != nil {
		return nil, &fault.Error{Op: "read", Path: k.grants(), Err: err, Hint: "lines are NAME:FIRST:COUNT (subuid(5))"}
	}
	return ranges, nil
}

// Remapped is the mapping for containers of root that text names: a user of /etc/subuid and /etc/subgid, whose ids are
// root and up, or UID:GID:SIZE.
func Remapped(text string) (Mapping, error) {
	if parts, err := numbers(text); err == nil {
		return Mapping{
			UIDs: []specs.LinuxIDMapping{{HostID: parts[0], Size: parts[2]}},
			GIDs: []specs.LinuxIDMapping{{HostID: parts[1], Size: parts[2]}},
		}, nil
	}
	number := -1
	if u, err := user.LookupUser(text); err == nil {
		number = u.Uid
	}
	var m Mapping
	var err error
	if m.UIDs, err = pool(uid, text, number); err == nil {
		m.GIDs, err = pool(gid, text, number)
	}
	return m, err
}

// pool is what a user is granted, from 0 up.
func pool(k kind, name string, number int) ([]specs.LinuxIDMapping, error) {
	ranges, err := grantedTo(k, name, number)
	if err != nil {
		return nil, err
	}
	ids := appendRanges(nil, ranges)
	if len(ids) == 0 {
		return nil, &fault.Error{Op: "map ids", Path: k.grants(), Msg: "it grants " + strconv.Quote(name) + " none",
			Hint: fmt.Sprintf("add a line %s:100000:65536, or give UID:GID:SIZE", name)}
	}
	return ids, nil
}

// Parse reads mappings CONTAINER:HOST:SIZE, one each; without groups they are those of users.
func Parse(uids, gids []string) (m Mapping, err error) {
	if len(gids) == 0 {
		gids = uids
	}
	if m.UIDs, err = parse(uids); err == nil {
		m.GIDs, err = parse(gids)
	}
	return m, err
}

func parse(lines []string) ([]specs.LinuxIDMapping, error) {
	var out []specs.LinuxIDMapping
	for _, text := range lines {
		n, err := numbers(text)
		if err != nil {
			return nil, err
		}
		out = append(out, specs.LinuxIDMapping{ContainerID: n[0], HostID: n[1], Size: n[2]})
	}
	return out, nil
}

// numbers are three numbers with colons between, the last one not 0.
func numbers(text string) (out [3]uint32, err error) {
	bad := &fault.Error{Op: "map ids", Path: text, Msg: "it is not three numbers with colons between, the last one above 0", Hint: "for example 0:100000:65536"}
	fields := strings.Split(text, ":")
	if len(fields) != len(out) {
		return out, bad
	}
	for i, f := range fields {
		n, err := strconv.ParseUint(f, 10, 32)
		if err != nil {
			return out, bad
		}
		out[i] = uint32(n)
	}
	if out[2] == 0 {
		return out, bad
	}
	return out, nil
}
