package host

import (
	"bytes"
	"fmt"
	"io"
	"slices"
	"strings"
)

// cgroupRoot is where managers look for control groups; a hierarchy that is
// mounted there and elsewhere is used there.
const cgroupRoot = "/sys/fs/cgroup"

// probeCgroup reads the layout of the control groups that the calling process
// sees, whose mountinfo it is given. A machine without them gives the zero
// Cgroup.
func probeCgroup(mountinfo []byte) Cgroup {
	self, err := ReadFile("/proc/self/cgroup")
	if err != nil {
		return Cgroup{}
	}
	c, err := parseCgroup(bytes.NewReader(mountinfo), bytes.NewReader(self))
	if err != nil {
		return Cgroup{}
	}
	if c.V2 != "" {
		if names, err := ReadFile(c.V2 + "/cgroup.controllers"); err == nil {
			c.V2Controllers = strings.Fields(string(names))
		}
	}
	return c
}

// parseCgroup reads the texts of /proc/self/mountinfo and /proc/self/cgroup
// (proc_pid_mountinfo(5), cgroups(7)). Everything but V2Controllers is filled
// in. Of several mounts of one hierarchy it takes the first that is not
// hidden below a later mount, and one at or below /sys/fs/cgroup before any
// other. An error names the line that is not of the documented form.
func parseCgroup(mountinfo, procSelfCgroup io.Reader) (Cgroup, error) {
	var c Cgroup
	own, err := parseSelf(procSelfCgroup)
	if err != nil {
		return c, err
	}
	mounts, err := parseMounts(mountinfo)
	if err != nil {
		return c, err
	}
	for _, standard := range []bool{true, false} {
		for i := range mounts {
			m := &mounts[i]
			if m.cgroup && isBelow(m.point, cgroupRoot) == standard && visible(mounts, m) {
				c.add(m, own)
			}
		}
	}
	return c, nil
}

// add enters the mount into c, unless its hierarchy is there already.
func (c *Cgroup) add(m *mount, own []membership) {
	if m.v2 {
		if c.V2 == "" {
			c.V2, c.V2Root, c.V2Self = m.point, m.root, pathIn(own, nil)
		}
		return
	}
	for _, o := range own {
		if !m.has(o.controllers) {
			continue
		}
		if _, known := c.Hierarchy(o.controllers[0]); !known {
			c.V1 = append(c.V1, V1Hierarchy{
				Controllers: o.controllers,
				Mountpoint:  m.point,
				Root:        m.root,
				Self:        o.path,
			})
		}
		return
	}
}

// parseResctrl returns where the first file system of type resctrl is mounted,
// "" where none is.
func parseResctrl(mountinfo []byte) string {
	if !bytes.Contains(mountinfo, []byte(" - resctrl ")) {
		return ""
	}
	mounts, err := parseMounts(bytes.NewReader(mountinfo))
	if err != nil {
		return ""
	}
	for i := range mounts {
		if m := &mounts[i]; m.resctrl && visible(mounts, m) {
			return m.point
		}
	}
	return ""
}

// MountsBelow lists the mount points that /proc/self/mountinfo has below dir,
// as a user sees them.
func MountsBelow(mountinfo []byte, dir string) []string {
	mounts, err := parseMounts(bytes.NewReader(mountinfo))
	if err != nil {
		return nil
	}
	var out []string
	for i := range mounts {
		if m := &mounts[i]; m.point != dir && isBelow(m.point, dir) && visible(mounts, m) {
			out = append(out, m.point)
		}
	}
	return out
}

// membership is one line of /proc/self/cgroup: the group the process is in,
// of the hierarchy with these controllers. None means cgroup v2.
type membership struct {
	controllers []string
	path        string
}

func parseSelf(r io.Reader) ([]membership, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	var out []membership
	for line := range strings.Lines(string(text)) {
		// Only the first two colons separate; a group's name may hold more.
		f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(f) != 3 {
			return nil, fmt.Errorf("/proc/self/cgroup: line %q has no three fields", line)
		}
		m := membership{path: f[2]}
		if f[1] != "" {
			m.controllers = strings.Split(f[1], ",")
		} else if f[0] != "0" {
			continue // a v1 hierarchy that has lost its controllers
		}
		out = append(out, m)
	}
	return out, nil
}

// pathIn returns the group of the hierarchy with these controllers, "/" where
// the process is in none.
func pathIn(own []membership, controllers []string) string {
	for _, o := range own {
		if slices.Equal(o.controllers, controllers) {
			return o.path
		}
	}
	return "/"
}

// mount is what one line of mountinfo says that matters here.
type mount struct {
	id, parent  string
	root, point string
	cgroup, v2  bool
	resctrl     bool
	super       string // the super block's options
}

func parseMounts(r io.Reader) ([]mount, error) {
	text, err := io.ReadAll(r)
	if err != nil {
		return nil, err
	}
	out := make([]mount, 0, 64)
	for line := range strings.Lines(string(text)) {
		m, ok := parseMount(strings.TrimSuffix(line, "\n"))
		if !ok {
			return nil, fmt.Errorf("/proc/self/mountinfo: cannot read line %q", line)
		}
		out = append(out, m)
	}
	return out, nil
}

// parseMount reads "ID PARENT MAJ:MIN ROOT POINT OPTIONS [TAG…] - TYPE SOURCE SUPER".
func parseMount(line string) (m mount, ok bool) {
	head, tail, ok := strings.Cut(line, " - ")
	if !ok {
		return m, false
	}
	m.id, head, _ = strings.Cut(head, " ")
	m.parent, head, _ = strings.Cut(head, " ")
	_, head, _ = strings.Cut(head, " ") // the device number
	m.root, head, _ = strings.Cut(head, " ")
	m.point, _, ok = strings.Cut(head, " ")
	fstype, tail, _ := strings.Cut(tail, " ")
	m.v2 = fstype == "cgroup2"
	m.cgroup = m.v2 || fstype == "cgroup"
	m.resctrl = fstype == "resctrl"
	m.point = unescape(m.point)
	if m.cgroup {
		m.root = unescape(m.root)
		_, m.super, _ = strings.Cut(tail, " ")
	}
	return m, ok && m.point != ""
}

// unescape undoes the kernel's octal escapes: \040 is a space (seq_path).
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		if c, ok := octal(s[i:]); ok {
			b = append(b, c)
			i += 3
			continue
		}
		b = append(b, s[i])
	}
	return string(b)
}

// octal reads a leading \ooo.
func octal(s string) (byte, bool) {
	if len(s) < 4 || s[0] != '\\' {
		return 0, false
	}
	n := 0
	for _, c := range []byte(s[1:4]) {
		if c < '0' || c > '7' {
			return 0, false
		}
		n = n*8 + int(c-'0')
	}
	return byte(n), n < 256
}

// has tells whether the v1 mount is of the hierarchy with these controllers.
// The super options mix controllers with options such as "xattr", so only
// the names of /proc/self/cgroup count.
func (m *mount) has(controllers []string) bool {
	if len(controllers) == 0 {
		return false
	}
	for option := range strings.SplitSeq(m.super, ",") {
		if option == controllers[0] {
			return true
		}
	}
	return false
}

// visible tells whether a path lookup of m's mount point ends in m. A mount
// is hidden by one on top of it, and by a mount on its parent that covers one
// of the directories on the way.
func visible(mounts []mount, m *mount) bool {
	for i := range mounts {
		if y := &mounts[i]; y.parent == m.id && y.point == m.point && y != m {
			return false
		}
	}
	x := m
	for range mounts { // not for ever, whatever the parents say
		parent := byID(mounts, x.parent)
		if parent == nil || parent == x {
			return true
		}
		for i := range mounts {
			y := &mounts[i]
			if y != x && y.parent == parent.id && y.id != parent.id && y.point != x.point && isBelow(x.point, y.point) {
				return false
			}
		}
		x = parent
	}
	return true
}

func byID(mounts []mount, id string) *mount {
	for i := range mounts {
		if mounts[i].id == id {
			return &mounts[i]
		}
	}
	return nil
}

// isBelow tells whether the clean absolute path is dir or below it.
func isBelow(path, dir string) bool {
	if dir == "/" {
		return true
	}
	return strings.HasPrefix(path, dir) && (len(path) == len(dir) || path[len(dir)] == '/')
}
