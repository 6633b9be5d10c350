package process

import (
	"path"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/libcontainer/host"
)

// setgroups says what becomes of the supplementary groups.
type setgroups int

const (
	groupsSet    setgroups = iota // setgroups(2) with additionalGids
	groupsTry                     // the same, but a user namespace may deny it
	groupsDenied                  // no call: the user namespace denies it
)

// groups decides on setgroups(2). A user namespace with a single mapping made
// without privileges denies it; then the process keeps the groups of whoever
// runs the runtime, all of them unmapped.
func (m *planner) groups(u specs.User) setgroups {
	switch {
	case m.opt.NoSetgroups && len(u.AdditionalGids) > 0:
		m.complain("/process/user/additionalGids", "", "the user namespace denies setgroups(2)",
			"map more than one group with newgidmap (/etc/subgid), or leave additionalGids out")
		return groupsDenied
	case m.opt.NoSetgroups:
		return groupsDenied
	case (m.opt.UserNS || m.facts.UserNS) && len(u.AdditionalGids) == 0:
		return groupsTry
	}
	return groupsSet
}

// umask is 022 where the config has none. The specification would keep the
// runtime's; managers rely on what runc does.
func umask(u specs.User) uint32 {
	if u.Umask == nil {
		return 0o022
	}
	return *u.Umask & 0o777
}

// cleanCwd is the working directory without "..", which cannot lead out of
// the root anyway.
func cleanCwd(cwd string) string { return path.Clean("/" + cwd) }

// userText is "1000:1000 +10,20 umask 0022".
func (p *Plan) userText() string {
	s := strconv.FormatUint(uint64(p.user.UID), 10) + ":" + strconv.FormatUint(uint64(p.user.GID), 10)
	for i, g := range p.user.AdditionalGids {
		sep := ","
		if i == 0 {
			sep = " +"
		}
		s += sep + strconv.FormatUint(uint64(g), 10)
	}
	return s + " umask " + octal(p.umask)
}

func octal(mode uint32) string {
	s := strconv.FormatUint(uint64(mode), 8)
	return strings.Repeat("0", max(0, 3-len(s))) + s
}

// stdio is what is done to one of the descriptors 0, 1 and 2.
type stdio struct {
	reopen bool // it is the host's /dev/null: use the container's
	chown  bool // give it to the user
}

// planStdio decides on the standard descriptors. The user must be able to
// reopen them by /dev/stdout, so they become his, except /dev/null, which
// belongs to everybody. The host's /dev/null is replaced by the container's:
// whoever is root in the container could change the mode of the host's.
func planStdio(f host.Facts, opt Options, c *specs.Process) [3]stdio {
	var out [3]stdio
	if c.Terminal {
		out[0].chown = c.User.UID != 0 // one terminal behind all three
		return out
	}
	for i, s := range f.Stdio {
		null := s.Mode&unix.S_IFMT == unix.S_IFCHR && s.Rdev == devNull
		out[i].reopen = s.Open && null
		out[i].chown = s.Open && !null && (opt.UserNS || s.UID != c.User.UID)
	}
	return out
}

const devNull = 1<<8 | 3 // makedev(1, 3)

// consoleSize is nil without a terminal: then consoleSize must be ignored.
func consoleSize(c *specs.Process) *specs.Box {
	if !c.Terminal || c.ConsoleSize == nil || c.ConsoleSize.Height == 0 && c.ConsoleSize.Width == 0 {
		return nil
	}
	return c.ConsoleSize
}
