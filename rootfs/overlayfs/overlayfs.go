// Package overlayfs knows how an overlay is mounted: its layers, the limits of
// each kernel, the way that a kernel takes, and what a failure means. Set,
// Check and Way are pure; Open acts.
//
// The facts are those of the kernel's Documentation/filesystems/overlayfs.rst.
package overlayfs

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

// MaxLayers is how many lower layers the kernel takes, data-only ones included
// (OVL_MAX_STACK).
const MaxLayers = 500

// ValueMax is the longest string that fsconfig(2) takes, without its final zero
// byte; DataMax the longest list of options of mount(2).
const (
	ValueMax = 255
	DataMax  = 4095
)

// Layer is a directory that is looked at through the overlay.
type Layer struct {
	Path string // of the host; for messages only where Dir is set
	// Dir is a detached mount (open_tree(2), fsmount(2)), whose root is the
	// layer. It stays the caller's; before Linux 6.15 it is attached, and is no
	// use afterwards.
	Dir *os.File
}

// Param is an option that Mount has no field for. HasValue tells "key=" from
// "key".
type Param struct {
	Key, Value string
	HasValue   bool
}

func (p Param) String() string {
	if p.HasValue {
		return p.Key + "=" + p.Value
	}
	return p.Key
}

// Mount is an overlay to be mounted.
type Mount struct {
	Lower       []Layer // the topmost first
	Data        []Layer // data-only layers, below all of Lower
	Upper, Work string  // paths of the host on one mount; both empty: the overlay is read-only
	Volatile    bool    // nothing is synced; the upper directory is lost with a crash
	UserXattr   bool    // user.overlay.* instead of trusted.overlay.*, for mounts of ordinary users
	Params      []Param // in the order given
	Source      string  // as mountinfo shows it; "overlay" where empty
	Attrs       uint64  // MOUNT_ATTR_* of the mount
	// Userns is a user namespace whose mapping all layers get, upper and work
	// too, so that all of them keep the ids of the image. It stays the caller's.
	Userns *os.File
}

// Pinned is what makes an overlay show what its layers say, and keep in the
// upper directory alone all that was changed, whatever the kernel was built or
// loaded with: directories are not renamed by reference, metadata is not copied
// up without its file, nothing is kept in the work directory's index. The
// numbers of inodes are unique where they fit (xino).
func Pinned() []Param {
	return []Param{
		{"redirect_dir", "nofollow", true}, {"metacopy", "off", true}, {"index", "off", true},
		{"nfs_export", "off", true}, {"xino", "auto", true},
	}
}

// Set applies one option as mount(2) means it; a later one replaces an earlier
// one, but lowerdir+ and datadir+, which append. It cannot fail.
func (m *Mount) Set(p Param) {
	switch p.Key {
	case "lowerdir":
		m.Lower, m.Data = splitLower(p.Value)
	case "lowerdir+":
		m.Lower = append(m.Lower, Layer{Path: p.Value})
	case "datadir+":
		m.Data = append(m.Data, Layer{Path: p.Value})
	case "upperdir":
		m.Upper = unescape(p.Value)
	case "workdir":
		m.Work = unescape(p.Value)
	case "volatile":
		m.Volatile = true
	case "userxattr":
		m.UserXattr = true
	default:
		m.Params = append(m.Params, p)
	}
}

// splitLower is "a:b::c" as layers a, b and data-only layer c; "\:" is a colon
// of the name.
func splitLower(value string) (lower, data []Layer) {
	var name strings.Builder
	to := &lower
	flush := func() {
		if name.Len() > 0 {
			*to = append(*to, Layer{Path: name.String()})
			name.Reset()
		} else {
			to = &data
		}
	}
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '\\' && i+1 < len(value):
			i++
			name.WriteByte(value[i])
		case c == ':':
			flush()
		default:
			name.WriteByte(c)
		}
	}
	if name.Len() > 0 {
		flush()
	}
	return lower, data
}

func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// EscapeLower is a path as lowerdir= takes it in a list of options, EscapeDir
// one as upperdir= and workdir= do.
func EscapeLower(path string) string { return escapes(path, `\:,`) }

// EscapeDir is EscapeLower without the colons.
func EscapeDir(path string) string { return escapes(path, `\,`) }

func escapes(path, special string) string {
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if strings.IndexByte(special, path[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(path[i])
	}
	return b.String()
}

// Options is the mount as a list of options, as config.json has them and
// mount(2) takes them joined by commas. Layers have to have paths.
func (m *Mount) Options() []string {
	var lower strings.Builder
	for i, l := range m.Lower {
		if i > 0 {
			lower.WriteByte(':')
		}
		lower.WriteString(EscapeLower(l.Path))
	}
	for _, l := range m.Data {
		lower.WriteString("::" + EscapeLower(l.Path))
	}
	out := []string{"lowerdir=" + lower.String()}
	if m.Upper != "" {
		out = append(out, "upperdir="+EscapeDir(m.Upper), "workdir="+EscapeDir(m.Work))
	}
	for _, p := range m.rest() {
		out = append(out, p.String())
	}
	return out
}

// rest is all options that name no directory.
func (m *Mount) rest() []Param {
	var out []Param
	if m.Volatile {
		out = append(out, Param{Key: "volatile"})
	}
	if m.UserXattr {
		out = append(out, Param{Key: "userxattr"})
	}
	return append(out, m.Params...)
}

// Kernel is a version of Linux.
type Kernel struct{ Major, Minor int }

// Running is the version of the kernel at hand, 0.0 where its name says none.
func Running() Kernel {
	var u unix.Utsname
	var k Kernel
	if unix.Uname(&u) == nil {
		fmt.Sscanf(unix.ByteSliceToString(u.Release[:]), "%d.%d", &k.Major, &k.Minor)
	}
	return k
}

// AtLeast tells whether the kernel has what came with major.minor.
func (k Kernel) AtLeast(major, minor int) bool {
	return k.Major > major || k.Major == major && k.Minor >= minor
}

// HasLowerdirPlus tells whether layers can be given one by one (Linux 6.8).
func (k Kernel) HasLowerdirPlus() bool { return k.AtLeast(6, 8) }

// Way is how a kernel is made to mount an overlay.
type Way struct {
	// Classic: mount(2) with a list of options, for kernels without lowerdir+.
	Classic bool
	// Private: in a mount namespace of its own, which ends with the mount taken
	// out of it: what mount(2) mounts is attached, and before Linux 6.15 a layer
	// has to be.
	Private bool
}

// Way decides how a kernel mounts m.
func (m *Mount) Way(k Kernel) Way {
	if !k.HasLowerdirPlus() {
		return Way{Classic: true, Private: true}
	}
	return Way{Private: !k.AtLeast(6, 15) && m.detached()}
}

// detached tells whether a layer is, or will be, a mount that is not attached.
func (m *Mount) detached() bool {
	for _, list := range [...][]Layer{m.Lower, m.Data} {
		for _, l := range list {
			if l.Dir != nil {
				return true
			}
		}
	}
	return m.Userns != nil
}

// Check says what keeps a kernel from mounting m, nil where nothing is known
// to. What only the directories tell, Explain finds after a failure.
func (m *Mount) Check(k Kernel) *fault.Error {
	layers := len(m.Lower) + len(m.Data)
	old := func(what, version string) *fault.Error {
		return complaint("", what+" needs Linux "+version, "")
	}
	switch {
	case len(m.Lower) == 0:
		return complaint("", "an overlay needs a lower layer", "add lowerdir=DIRECTORY")
	case layers > MaxLayers:
		return complaint("", fmt.Sprintf("%d layers, and the kernel takes %d", layers, MaxLayers), "put several layers into one")
	case m.Volatile && m.Upper == "":
		return complaint("", "volatile is about an upper directory, and there is none", "add upperdir and workdir, or leave it out")
	case (m.Upper == "") != (m.Work == ""):
		return complaint(m.Upper+m.Work, "upperdir and workdir belong together",
			"workdir is an empty directory on the file system of upperdir, such as one beside it")
	case len(m.Lower) == 1 && m.Upper == "" && len(m.Data) == 0:
		return complaint(m.Lower[0].Path, "an overlay without an upper directory needs two lower layers", "bind the one layer, or add an empty directory")
	case m.Upper != "" && (inside(m.Upper, m.Work) || inside(m.Work, m.Upper)):
		return complaint(m.Work, "upperdir and workdir are one inside the other", "use two directories side by side")
	case !k.AtLeast(5, 2):
		return old("mounting", "5.2")
	case m.Volatile && !k.AtLeast(5, 10):
		return old("volatile", "5.10")
	case m.UserXattr && !k.AtLeast(5, 11):
		return old("userxattr", "5.11")
	case m.Userns != nil && !k.AtLeast(5, 19):
		return old("an overlay of id-mapped layers", "5.19")
	case len(m.Data) > 0 && !k.AtLeast(6, 8):
		return old("a data-only layer", "6.8")
	}
	return nil
}

func complaint(path, msg, hint string) *fault.Error {
	return &fault.Error{Op: "mount overlay", Path: path, Msg: msg, Hint: hint}
}

// inside tells whether a clean path is dir or below it.
func inside(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}
