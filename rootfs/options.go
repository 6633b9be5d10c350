package rootfs

import (
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Attr is a change of mount attributes: MOUNT_ATTR_* bits to set and to clear,
// as in struct mount_attr of mount_setattr(2).
type Attr struct{ Set, Clear uint64 }

func (a Attr) empty() bool { return a.Set|a.Clear == 0 }

// with applies another change after a; the later one wins.
func (a Attr) with(set, clear uint64) Attr {
	return Attr{Set: a.Set&^clear | set, Clear: a.Clear&^set | clear}
}

// Param is one parameter of a file system, such as "size=64m" or "newinstance".
type Param struct {
	Key, Value string
	HasValue   bool
	At         int // index among the entry's options
}

func (p Param) String() string {
	if p.HasValue {
		return p.Key + "=" + p.Value
	}
	return p.Key
}

// Propagation is one change of propagation: MS_SHARED, MS_SLAVE, MS_PRIVATE or
// MS_UNBINDABLE, perhaps with MS_REC.
type Propagation struct {
	Flag uint64
	At   int
}

// IDMapKind says whether a mount is to be id-mapped.
type IDMapKind uint8

// The kinds: not at all, this mount ("idmap"), all below it too ("ridmap").
const (
	IDMapNone IDMapKind = iota
	IDMapOne
	IDMapRecursive
)

// Flags is what a list of mount options means.
type Flags struct {
	Attr        Attr          // of this mount
	Rec         Attr          // of this mount and all below it
	SB          uint64        // of the superblock: MS_* bits
	Propagation []Propagation // in the order given
	Params      []Param       // for the file system, in the order given

	Bind, Recursive bool // bind or rbind
	Remount         bool
	CopyUp          bool // tmpcopyup
	IDMap           IDMapKind
	IDMapText       string // of "idmap=TEXT"

	// Of a bind mount, where its ends are symbolic links: the link is copied, or is itself what is mounted, or mounted on.
	CopyLink, SourceLink, TargetLink bool

	// Where the option that asked for it stands; -1 where there is none.
	AttrAt, RecAt, IDMapAt, CopyUpAt, RemountAt, LinkAt int
}

type effect uint8

const (
	ignored   effect = iota
	attr             // MOUNT_ATTR_* bits on or off
	recursive        // the same for the whole tree
	super            // MS_* bits of the superblock
	propagate
	bind
	remount
	copyUp
	idmap
	copyLink
	sourceLink
	targetLink
)

type option struct {
	name       string
	effect     effect
	set, clear uint64
}

// atime values replace each other: they are one field, not bits
// (mount_setattr(2)), and 0 in it is relatime.
const atime = unix.MOUNT_ATTR__ATIME

// options is sorted by name. The meanings are those of mount(8) and of
// config.md, "Linux mount options"; copy-symlink, dest-nofollow and src-nofollow
// are crun's.
var options = [...]option{
	{"_netdev", ignored, 0, 0},
	{"async", super, 0, unix.MS_SYNCHRONOUS},
	{"atime", attr, 0, atime},
	{"auto", ignored, 0, 0},
	{"bind", bind, 0, 0},
	{"copy-symlink", copyLink, 0, 0},
	{"defaults", ignored, 0, 0},
	{"dest-nofollow", targetLink, 0, 0},
	{"dev", attr, 0, unix.MOUNT_ATTR_NODEV},
	{"diratime", attr, 0, unix.MOUNT_ATTR_NODIRATIME},
	{"dirsync", super, unix.MS_DIRSYNC, 0},
	{"exec", attr, 0, unix.MOUNT_ATTR_NOEXEC},
	{"idmap", idmap, uint64(IDMapOne), 0},
	{"iversion", super, unix.MS_I_VERSION, 0},
	{"lazytime", super, unix.MS_LAZYTIME, 0},
	{"loud", super, 0, unix.MS_SILENT},
	{"mand", super, unix.MS_MANDLOCK, 0},
	{"noatime", attr, unix.MOUNT_ATTR_NOATIME, atime},
	{"noauto", ignored, 0, 0},
	{"nodev", attr, unix.MOUNT_ATTR_NODEV, 0},
	{"nodiratime", attr, unix.MOUNT_ATTR_NODIRATIME, 0},
	{"noexec", attr, unix.MOUNT_ATTR_NOEXEC, 0},
	{"nofail", ignored, 0, 0},
	{"noiversion", super, 0, unix.MS_I_VERSION},
	{"nolazytime", super, 0, unix.MS_LAZYTIME},
	{"nomand", super, 0, unix.MS_MANDLOCK},
	// The kernel's default is relatime, whatever is said against it.
	{"norelatime", ignored, 0, 0},
	{"nostrictatime", attr, 0, atime},
	{"nosuid", attr, unix.MOUNT_ATTR_NOSUID, 0},
	{"nosymfollow", attr, unix.MOUNT_ATTR_NOSYMFOLLOW, 0},
	{"nouser", ignored, 0, 0},
	{"private", propagate, unix.MS_PRIVATE, 0},
	{"ratime", recursive, 0, atime},
	{"rbind", bind, 1, 0},
	{"rdev", recursive, 0, unix.MOUNT_ATTR_NODEV},
	{"rdiratime", recursive, 0, unix.MOUNT_ATTR_NODIRATIME},
	{"relatime", attr, 0, atime},
	{"remount", remount, 0, 0},
	{"rexec", recursive, 0, unix.MOUNT_ATTR_NOEXEC},
	{"ridmap", idmap, uint64(IDMapRecursive), 0},
	{"rnoatime", recursive, unix.MOUNT_ATTR_NOATIME, atime},
	{"rnodev", recursive, unix.MOUNT_ATTR_NODEV, 0},
	{"rnodiratime", recursive, unix.MOUNT_ATTR_NODIRATIME, 0},
	{"rnoexec", recursive, unix.MOUNT_ATTR_NOEXEC, 0},
	{"rnorelatime", ignored, 0, 0},
	{"rnostrictatime", recursive, 0, atime},
	{"rnosuid", recursive, unix.MOUNT_ATTR_NOSUID, 0},
	{"rnosymfollow", recursive, unix.MOUNT_ATTR_NOSYMFOLLOW, 0},
	{"ro", attr, unix.MOUNT_ATTR_RDONLY, 0},
	{"rprivate", propagate, unix.MS_PRIVATE | unix.MS_REC, 0},
	{"rrelatime", recursive, 0, atime},
	{"rro", recursive, unix.MOUNT_ATTR_RDONLY, 0},
	{"rrw", recursive, 0, unix.MOUNT_ATTR_RDONLY},
	{"rshared", propagate, unix.MS_SHARED | unix.MS_REC, 0},
	{"rslave", propagate, unix.MS_SLAVE | unix.MS_REC, 0},
	{"rstrictatime", recursive, unix.MOUNT_ATTR_STRICTATIME, atime},
	{"rsuid", recursive, 0, unix.MOUNT_ATTR_NOSUID},
	{"rsymfollow", recursive, 0, unix.MOUNT_ATTR_NOSYMFOLLOW},
	{"runbindable", propagate, unix.MS_UNBINDABLE | unix.MS_REC, 0},
	{"rw", attr, 0, unix.MOUNT_ATTR_RDONLY},
	{"shared", propagate, unix.MS_SHARED, 0},
	{"silent", super, unix.MS_SILENT, 0},
	{"slave", propagate, unix.MS_SLAVE, 0},
	{"src-nofollow", sourceLink, 0, 0},
	{"strictatime", attr, unix.MOUNT_ATTR_STRICTATIME, atime},
	{"suid", attr, 0, unix.MOUNT_ATTR_NOSUID},
	{"symfollow", attr, 0, unix.MOUNT_ATTR_NOSYMFOLLOW},
	{"sync", super, unix.MS_SYNCHRONOUS, 0},
	{"tmpcopyup", copyUp, 0, 0},
	{"unbindable", propagate, unix.MS_UNBINDABLE, 0},
}

// KnownOptions are the mount options that have a meaning of their own, sorted;
// all others go to the file system. It is what the features document lists.
func KnownOptions() []string {
	names := make([]string, 0, len(options))
	for _, o := range options {
		names = append(names, o.name)
	}
	return names
}

func findOption(name string) (option, bool) {
	i, found := slices.BinarySearchFunc(options[:], name, func(o option, n string) int {
		return strings.Compare(o.name, n)
	})
	if !found {
		return option{}, false
	}
	return options[i], true
}

// ParseOptions reads a mount's options. Of contradicting ones the last wins,
// as with mount(8); what has no meaning here is a parameter of the file
// system. It cannot fail.
func ParseOptions(list []string) Flags {
	f := Flags{AttrAt: -1, RecAt: -1, IDMapAt: -1, CopyUpAt: -1, RemountAt: -1, LinkAt: -1}
	for i, name := range list {
		o, known := findOption(name)
		key, value, _ := strings.Cut(name, "=")
		switch {
		case known:
			f.apply(o, i)
			if o.effect == idmap {
				f.IDMapText = ""
			}
		case key == "idmap" || key == "ridmap":
			o, _ = findOption(key)
			f.apply(o, i)
			f.IDMapText = value
		case !forUserSpace(name):
			f.Params = append(f.Params, param(name, i))
		}
	}
	return f
}

// forUserSpace tells whether an option is a note to programs and never meant
// for the kernel (mount(8), "x-*", "X-*", "comment=").
func forUserSpace(name string) bool {
	return name == "" || strings.HasPrefix(name, "x-") || strings.HasPrefix(name, "X-") ||
		strings.HasPrefix(name, "comment=")
}

func param(s string, at int) Param {
	key, value, has := strings.Cut(s, "=")
	return Param{Key: key, Value: value, HasValue: has, At: at}
}

func (f *Flags) apply(o option, at int) {
	switch o.effect {
	case attr:
		f.Attr, f.AttrAt = f.Attr.with(o.set, o.clear), at
	case recursive:
		f.Rec, f.RecAt = f.Rec.with(o.set, o.clear), at
	case super:
		f.SB = f.SB&^o.clear | o.set
	case propagate:
		f.Propagation = append(f.Propagation, Propagation{Flag: o.set, At: at})
	case bind:
		f.Bind, f.Recursive = true, o.set != 0
	case remount:
		f.Remount, f.RemountAt = true, at
	case copyUp:
		f.CopyUp, f.CopyUpAt = true, at
	case idmap:
		f.IDMap, f.IDMapAt = IDMapKind(o.set), at
	case copyLink:
		f.CopyLink, f.LinkAt = true, at
	case sourceLink:
		f.SourceLink, f.LinkAt = true, at
	case targetLink:
		f.TargetLink, f.LinkAt = true, at
	}
}

// Strings is the options in a fixed order, for people to read.
func (f Flags) Strings() []string {
	var out []string
	out = append(out, attrNames(f.Attr, "")...)
	out = append(out, attrNames(f.Rec, "r")...)
	out = append(out, superNames(f.SB)...)
	for _, p := range f.Propagation {
		out = append(out, propagationName(p.Flag))
	}
	if f.IDMap != IDMapNone {
		out = append(out, Param{Key: [...]string{"", "idmap", "ridmap"}[f.IDMap], Value: f.IDMapText, HasValue: f.IDMapText != ""}.String())
	}
	for _, o := range [...]struct {
		set  bool
		name string
	}{
		{f.CopyUp, "tmpcopyup"}, {f.CopyLink, "copy-symlink"}, {f.SourceLink, "src-nofollow"}, {f.TargetLink, "dest-nofollow"},
	} {
		if o.set {
			out = append(out, o.name)
		}
	}
	for _, p := range f.Params {
		out = append(out, p.String())
	}
	return out
}

var attrBits = [...]struct {
	bit     uint64
	on, off string
}{
	{unix.MOUNT_ATTR_RDONLY, "ro", "rw"},
	{unix.MOUNT_ATTR_NOSUID, "nosuid", "suid"},
	{unix.MOUNT_ATTR_NODEV, "nodev", "dev"},
	{unix.MOUNT_ATTR_NOEXEC, "noexec", "exec"},
	{unix.MOUNT_ATTR_NODIRATIME, "nodiratime", "diratime"},
	{unix.MOUNT_ATTR_NOSYMFOLLOW, "nosymfollow", "symfollow"},
}

func attrNames(a Attr, prefix string) []string {
	var out []string
	for _, n := range attrBits {
		if a.Set&n.bit != 0 {
			out = append(out, prefix+n.on)
		} else if a.Clear&n.bit != 0 {
			out = append(out, prefix+n.off)
		}
	}
	switch {
	case a.Set&unix.MOUNT_ATTR_NOATIME != 0:
		out = append(out, prefix+"noatime")
	case a.Set&unix.MOUNT_ATTR_STRICTATIME != 0:
		out = append(out, prefix+"strictatime")
	case a.Clear&atime != 0:
		out = append(out, prefix+"relatime")
	}
	return out
}

var superBits = [...]struct {
	bit  uint64
	name string
}{
	{unix.MS_SYNCHRONOUS, "sync"}, {unix.MS_DIRSYNC, "dirsync"}, {unix.MS_LAZYTIME, "lazytime"},
	{unix.MS_MANDLOCK, "mand"}, {unix.MS_SILENT, "silent"}, {unix.MS_I_VERSION, "iversion"},
}

func superNames(bits uint64) []string {
	var out []string
	for _, n := range superBits {
		if bits&n.bit != 0 {
			out = append(out, n.name)
		}
	}
	return out
}

func propagationName(flag uint64) string {
	name := ""
	if flag&unix.MS_REC != 0 {
		name = "r"
	}
	switch flag &^ unix.MS_REC {
	case unix.MS_SHARED:
		return name + "shared"
	case unix.MS_SLAVE:
		return name + "slave"
	case unix.MS_PRIVATE:
		return name + "private"
	}
	return name + "unbindable"
}

// classicFlags are the MS_* flags of mount(2) for attributes that are set.
func classicFlags(set uint64) uint64 {
	var ms uint64
	for _, n := range [...]struct{ attr, ms uint64 }{
		{unix.MOUNT_ATTR_RDONLY, unix.MS_RDONLY}, {unix.MOUNT_ATTR_NOSUID, unix.MS_NOSUID},
		{unix.MOUNT_ATTR_NODEV, unix.MS_NODEV}, {unix.MOUNT_ATTR_NOEXEC, unix.MS_NOEXEC},
		{unix.MOUNT_ATTR_NODIRATIME, unix.MS_NODIRATIME}, {unix.MOUNT_ATTR_NOSYMFOLLOW, unix.MS_NOSYMFOLLOW},
		{unix.MOUNT_ATTR_NOATIME, unix.MS_NOATIME}, {unix.MOUNT_ATTR_STRICTATIME, unix.MS_STRICTATIME},
	} {
		if set&n.attr != 0 {
			ms |= n.ms
		}
	}
	return ms
}
