package libcontainer

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/libcontainer/host"
)

// idKind is user or group ids: what is called alike for both.
type idKind struct{ name string }

var uids, gids = idKind{"uid"}, idKind{"gid"}

// own is the id that this user may always map.
func (k idKind) own() int {
	if k == gids {
		return os.Getegid()
	}
	return os.Geteuid()
}

func (k idKind) field() fault.Pointer { return fault.Pointer("/linux/" + k.name + "Mappings") }
func (k idKind) tool() string         { return "new" + k.name + "map" }
func (k idKind) grants() string       { return "/etc/sub" + k.name }

// idRange is ids from first to end-1.
type idRange struct{ first, end uint64 }

func rangeOf(m specs.LinuxIDMapping) idRange {
	return idRange{uint64(m.HostID), uint64(m.HostID) + uint64(m.Size)}
}

func (r idRange) String() string {
	if r.end == r.first+1 {
		return "id " + strconv.FormatUint(r.first, 10)
	}
	return fmt.Sprintf("ids %d to %d", r.first, r.end-1)
}

// coveredBy tells whether every id is in one of the ranges. As newuidmap(1)
// and the kernel have it, one range has to hold them all.
func (r idRange) coveredBy(ranges []idRange) bool {
	for _, g := range ranges {
		if g.first <= r.first && r.end <= g.end {
			return true
		}
	}
	return false
}

// parseGrants reads the text of /etc/subuid or /etc/subgid: NAME-OR-UID:FIRST:COUNT
// (subuid(5)), and returns what is granted to a user.
func parseGrants(text, user string, uid int) []idRange {
	var out []idRange
	for line := range strings.Lines(text) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) == 3 && (f[0] == user || f[0] == strconv.Itoa(uid)) {
			out = appendRange(out, f[1], f[2])
		}
	}
	return out
}

// appendRange appends a range that two numbers describe, unless they are none.
func appendRange(out []idRange, first, count string) []idRange {
	a, err := strconv.ParseUint(first, 10, 32)
	n, err2 := strconv.ParseUint(count, 10, 32)
	if err != nil || err2 != nil {
		return out
	}
	return append(out, idRange{a, a + n})
}

// parseMap reads the text of /proc/PID/uid_map: INSIDE OUTSIDE COUNT a line. It
// returns the ids inside.
func parseMap(text string) []idRange {
	var out []idRange
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) == 3 {
			out = appendRange(out, f[0], f[2])
		}
	}
	return out
}

// missing is the first mapping with ids that are not in ranges; -1 is none.
func missing(mappings []specs.LinuxIDMapping, ranges []idRange) int {
	for i, m := range mappings {
		if !rangeOf(m).coveredBy(ranges) {
			return i
		}
	}
	return -1
}

// blameGrants says of a helper's failure which mapping asks for too much and
// what would grant it.
func (k idKind) blameGrants(e *fault.Error, mappings []specs.LinuxIDMapping) {
	raw, _ := host.ReadFile(k.grants())
	uid := os.Geteuid()
	user := userName(uid)
	granted := append(parseGrants(string(raw), user, uid), idRange{uint64(k.own()), uint64(k.own()) + 1})
	at := missing(mappings, granted)
	switch {
	case errors.Is(e, exec.ErrNotFound):
		e.Field = k.field().Index(max(at, 0))
		e.Hint = fmt.Sprintf("install it (Debian: package uidmap), or map one id of this user's own, %d, with size 1", k.own())
	case at >= 0:
		m := mappings[at]
		e.Field = k.field().Index(at)
		e.Hint = fmt.Sprintf("%s are not this user's to map: %s needs a line like %s:%d:%d, or another hostID (%s)",
			rangeOf(m), k.grants(), strings.TrimPrefix(user, "#"), m.HostID, m.Size, listRanges(granted))
	case noNewPrivs():
		e.Hint = k.tool() + " is set-user-ID, which does not work under no_new_privs: start the runtime without it"
	default:
		e.Hint = k.tool() + " has to be set-user-ID root or to have file capabilities, on a file system without nosuid"
	}
}

// listRanges lists what may be mapped.
func listRanges(granted []idRange) string {
	parts := make([]string, len(granted))
	for i, g := range granted {
		parts[i] = g.String()
	}
	return "granted: " + strings.Join(parts, ", ")
}

func noNewPrivs() bool {
	on, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	return err == nil && on == 1
}

// blameNamespace says of a refused map which mapping has ids that the user
// namespace of the runtime has not itself.
func (k idKind) blameNamespace(e *fault.Error, mappings []specs.LinuxIDMapping) {
	raw, err := host.ReadFile("/proc/self/" + k.name + "_map")
	if err != nil {
		return
	}
	own := parseMap(string(raw))
	for i, m := range mappings {
		if k == uids && m.HostID == 0 && !host.ProbeProcess().Has(unix.CAP_SETFCAP) {
			e.Field = k.field().Index(i)
			e.Hint = "to map user 0 of the user namespace that the runtime is in takes CAP_SETFCAP there: add it to process.capabilities of the container around, or be another user in it"
			return
		}
	}
	if at := missing(mappings, own); at >= 0 {
		e.Field = k.field().Index(at)
		e.Hint = fmt.Sprintf("%s are not in the user namespace that the runtime is in, which has %s: choose a hostID among them, or map more ids into that one",
			rangeOf(mappings[at]), strings.TrimPrefix(listRanges(own), "granted: "))
	}
}
