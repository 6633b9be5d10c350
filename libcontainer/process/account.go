package process

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/fault"
)

// LookupUser is base with what "USER" or "USER:GROUP" changes of it, each a
// number or a name of the image at rootfs (passwd(5), group(5)). A user's name
// brings his group and the groups he is a member of; a number brings nothing
// else. Whatever is neither is an error: a text that is taken for another user
// than was meant may be root (CVE-2026-30892).
func LookupUser(rootfs, text string, base specs.User) (specs.User, error) {
	u := base
	user, group, hasGroup := strings.Cut(text, ":")
	uid, number, ok := parseAccount(user)
	switch {
	case !ok:
		return u, badUser(text, "is no user: neither a number up to 4294967294 nor a name")
	case number:
		u.UID = uid
	default:
		if err := named(rootfs, user, &u); err != nil {
			return base, badUser(text, err.Error())
		}
	}
	if !hasGroup {
		return u, nil
	}
	gid, number, ok := parseAccount(group)
	switch {
	case !ok:
		return base, badUser(text, "has no group behind the colon: neither a number up to 4294967294 nor a name")
	case number:
		u.GID = gid
		return u, nil
	}
	if u.GID, ok = groupID(accounts(rootfs, "etc/group"), group); !ok {
		return base, badUser(text, "names a group that the container's /etc/group does not have")
	}
	return u, nil
}

func badUser(text, msg string) error {
	return &fault.Error{Op: "option", Path: "--user " + strconv.Quote(text), Msg: msg, Phase: fault.PhaseConfig, Code: "usage",
		Hint: "write it as UID, UID:GID, NAME or NAME:GROUP"}
}

// noID is what the kernel takes for "leave as it is" (setresuid(2)).
const noID = 1<<32 - 1

// parseAccount reads a number in plain decimal, or checks a name to be one
// that useradd(8) would allow.
func parseAccount(s string) (id uint32, number, ok bool) {
	if s == "" {
		return 0, false, false
	}
	if s[0] >= '0' && s[0] <= '9' {
		n, err := strconv.ParseUint(s, 10, 32)
		return uint32(n), true, err == nil && n != noID && (s == "0" || s[0] != '0')
	}
	for i, r := range strings.TrimSuffix(s, "$") {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r == '_':
		case i > 0 && (r >= '0' && r <= '9' || r == '-' || r == '.'):
		default:
			return 0, false, false
		}
	}
	return 0, false, s != "$"
}

func accounts(rootfs, name string) string {
	text, _ := readAccounts(rootfs, name)
	return text
}

// named fills in what the image knows of a user's name.
func named(rootfs, name string, u *specs.User) error {
	for line := range strings.Lines(accounts(rootfs, "etc/passwd")) {
		f := strings.Split(strings.TrimRight(line, "\r\n"), ":")
		if len(f) < 4 || f[0] != name {
			continue
		}
		uid, uidOK := accountID(f[2])
		gid, gidOK := accountID(f[3])
		if !uidOK || !gidOK {
			return errors.New("has a line without valid numbers in the container's /etc/passwd")
		}
		u.UID, u.GID, u.Username = uid, gid, name
		u.AdditionalGids = memberships(accounts(rootfs, "etc/group"), name)
		return nil
	}
	return errors.New("names a user that the container's /etc/passwd does not have")
}

func accountID(s string) (uint32, bool) {
	id, number, ok := parseAccount(s)
	return id, number && ok
}

// groupID is the number of a group's name.
func groupID(group, name string) (uint32, bool) {
	for line := range strings.Lines(group) {
		if f := strings.Split(line, ":"); len(f) >= 3 && f[0] == name {
			return accountID(strings.TrimSpace(f[2]))
		}
	}
	return 0, false
}

// memberships are the groups that list the user as a member.
func memberships(group, user string) (gids []uint32) {
	for line := range strings.Lines(group) {
		f := strings.Split(strings.TrimRight(line, "\r\n"), ":")
		if len(f) < 4 || !slices.Contains(strings.Split(f[3], ","), user) {
			continue
		}
		if gid, ok := accountID(f[2]); ok && !slices.Contains(gids, gid) {
			gids = append(gids, gid)
		}
	}
	return gids
}
