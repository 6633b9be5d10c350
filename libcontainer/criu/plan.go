// Package criu checkpoints and restores containers with CRIU.
//
// Dump and Restore are what is to be done, as values; Request turns them into
// the message that CRIU gets, and is pure. Serve starts `criu swrk` and has the
// conversation with it.
package criu

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

// Options are what checkpoint and restore are asked for alike.
type Options struct {
	Images string // directory of the images
	Work   string // directory of logs and other files; "" is CRIU's default, Images

	TCPEstablished bool
	TCPClose       bool
	ExtUnixSockets bool // connected to what is outside
	ShellJob       bool // with a terminal of the caller's
	FileLocks      bool
	LazyPages      bool
	AutoDedup      bool
	Cgroups        CgroupMode
	EmptyNS        int // CLONE_NEW* of the namespaces whose content is left out
	NetworkLock    NetworkLock

	// ConfigFile is of CRIU's own format; what it says wins. "" is none.
	ConfigFile string
}

// Dump is one checkpoint.
type Dump struct {
	Options
	Parent       string // images that this dump builds on, relative to Images
	PreDump      bool   // memory only, nothing is stopped
	LeaveRunning bool

	TCPSkipInFlight bool
	LinkRemap       bool
	PageServer      PageServer

	PID     int    // of the container's init
	Root    string // host path of its root file system
	Freezer string // directory of the group to freeze it by; "" is by ptrace(2)

	Mounts     []Mount     // those that come from outside, which CRIU must not look into
	Namespaces []Namespace // those that are not the container's
	Files      []string    // open files from outside: "file[MOUNT:INODE]"
}

// Restore is one restore.
type Restore struct {
	Options
	Root string // a mount point

	LSMProfile      string // TYPE:NAME
	LSMMountContext string

	Mounts     []Mount
	Namespaces []Namespace
	// Inherit are CRIU's own descriptors that take the place of open files and
	// namespaces in the images.
	Inherit []Inherit
	CgRoots []CgRoot // where the groups in the images are moved to
}

// Mount is a mount whose source is not the container's. Only the key is
// written to the images, and it is our own: what stands in images is the
// container's choice (CVE-2026-119101).
type Mount struct {
	Key   string
	Place string // dump: where it is in the container; restore: what is mounted
	Field fault.Pointer
}

// Namespace is one that a container shares. Restoring, Path is set for kinds
// that CRIU joins by path; the others come with Inherit.
type Namespace struct {
	Kind  string // net, pid, ipc, uts
	Inode uint64
	Path  string
}

// Inherit replaces what has Key in the images by CRIU's descriptor FD.
type Inherit struct {
	Key string
	FD  int
}

// CgRoot is the new place of a hierarchy's groups. Controller is "" for all.
type CgRoot struct{ Controller, Path string }

// PageServer takes the memory over the network; the zero value is none.
type PageServer struct {
	Address string
	Port    int
}

// ParsePageServer reads ADDRESS:PORT, where an IPv6 address is in brackets.
func ParsePageServer(s string) (PageServer, error) {
	if s == "" {
		return PageServer{}, nil
	}
	at := strings.LastIndexByte(s, ':')
	port, err := strconv.ParseUint(s[at+1:], 10, 16)
	if at < 1 || err != nil || port == 0 {
		return PageServer{}, badOption("--page-server", s, "takes ADDRESS:PORT")
	}
	address := strings.TrimSuffix(strings.TrimPrefix(s[:at], "["), "]")
	return PageServer{Address: address, Port: int(port)}, nil
}

// CgroupMode is what CRIU does about control groups (criu_cg_mode).
type CgroupMode int

// ParseCgroupMode reads the names that criu has for them; "" is soft.
func ParseCgroupMode(s string) (CgroupMode, error) {
	switch s {
	case "", "soft":
		return 3, nil
	case "ignore":
		return 0, nil
	case "full":
		return 4, nil
	case "strict":
		return 5, nil
	}
	return 0, badOption("--manage-cgroups-mode", s, "takes soft, full, strict or ignore")
}

// NetworkLock is how the network is held while TCP connections are dumped
// (criu_network_lock_method); 0 is CRIU's default.
type NetworkLock int

// ParseNetworkLock reads the names that criu has for them.
func ParseNetworkLock(s string) (NetworkLock, error) {
	switch s {
	case "":
		return 0, nil
	case "iptables":
		return 1, nil
	case "nftables":
		return 2, nil
	case "skip":
		return 3, nil
	}
	return 0, badOption("--network-lock", s, "takes iptables, nftables or skip")
}

// ParseEmptyNS reads --empty-ns: CRIU can leave out the content of network
// namespaces only.
func ParseEmptyNS(names []string) (flags int, err error) {
	for _, name := range names {
		if name != "network" {
			return 0, badOption("--empty-ns", name, "takes network and nothing else")
		}
		flags |= unix.CLONE_NEWNET
	}
	return flags, nil
}

func badOption(name, value, what string) error {
	return &fault.Error{Op: "option " + name, Path: value, Msg: what, Code: "usage"}
}

// Check complains about what CRIU would not understand, or understand as
// something else.
func (d Dump) Check() error {
	var bad fault.List
	for _, m := range d.Mounts {
		if e := m.check(); e != nil {
			bad = append(bad, e)
		}
	}
	if filepath.IsAbs(d.Parent) {
		bad = append(bad, &fault.Error{Op: "option --parent-path", Path: d.Parent, Msg: "must be relative to --image-path", Code: "usage",
			Hint: "CRIU finds the parent again by this path, wherever the images are by then"})
	}
	return bad.Err()
}

// check refuses a place that would read as key and place of another mount:
// CRIU keeps them as one string, mnt[PLACE]:KEY.
func (m Mount) check() *fault.Error {
	if !strings.Contains(m.Place, "]:") {
		return nil
	}
	return &fault.Error{Op: "checkpoint", Path: m.Place, Field: m.Field, Code: "criu-mount-key",
		Msg: `CRIU cannot have "]:" in the path of a mount from outside`, Hint: "mount it elsewhere"}
}

// Keys of joined namespaces in the images; runc's, so that either restores
// what the other has dumped.
var namespaceKeys = map[string]string{"net": "extRootNetNS", "pid": "extRootPidNS"}

// NamespaceKey is the key of a namespace that CRIU takes as a descriptor; ""
// for a kind that it does not.
func NamespaceKey(kind string) string { return namespaceKeys[kind] }

// Request is what CRIU is sent. images and work are this process's descriptors
// of the directories; work is -1 for none.
func (d Dump) Request(images, work int) Request {
	kind := typeDump
	if d.PreDump {
		kind = typePreDump
	}
	return newRequest(kind, func(m *message) {
		d.Options.fill(m, DumpLog, d.Root, images, work)
		m.number(optPID, d.PID)
		m.flag(optLeaveRunning, d.LeaveRunning)
		m.flag(optTCPSkipInFlight, d.TCPSkipInFlight)
		m.flag(optLinkRemap, d.LinkRemap)
		m.text(optFreezeCgroup, d.Freezer)
		m.text(optParentImg, d.Parent)
		m.flag(optTrackMem, d.PreDump || d.Parent != "")
		if d.PageServer != (PageServer{}) {
			m.group(optPageServer, func(m *message) {
				m.text(psAddress, d.PageServer.Address)
				m.number(psPort, d.PageServer.Port)
			})
		}
		for _, n := range d.Namespaces {
			m.text(optExternal, n.Kind+"["+strconv.FormatUint(n.Inode, 10)+"]:"+NamespaceKey(n.Kind))
		}
		for _, mount := range d.Mounts {
			m.text(optExternal, "mnt["+mount.Place+"]:"+mount.Key)
		}
		for _, f := range d.Files {
			m.text(optExternal, f)
		}
	})
}

// Request is what CRIU is sent.
func (r Restore) Request(images, work int) Request {
	return newRequest(typeRestore, func(m *message) {
		r.Options.fill(m, RestoreLog, r.Root, images, work)
		m.flag(optEvasiveDevices, true)
		m.flag(optRstSibling, true)
		m.text(optLSMProfile, r.LSMProfile)
		m.text(optLSMMountContext, r.LSMMountContext)
		for _, root := range r.CgRoots {
			m.group(optCgRoot, func(m *message) {
				m.text(cgRootCtrl, root.Controller)
				m.text(cgRootPath, root.Path)
			})
		}
		for _, n := range r.Namespaces {
			if n.Path != "" {
				m.group(optJoinNS, func(m *message) {
					m.text(joinKind, n.Kind)
					m.text(joinFile, n.Path)
				})
			}
		}
		for _, mount := range r.Mounts {
			m.text(optExternal, "mnt["+mount.Key+"]:"+mount.Place)
		}
		for _, i := range r.Inherit {
			m.group(optInheritFD, func(m *message) {
				m.text(inheritKey, i.Key)
				m.number(inheritFD, i.FD)
			})
		}
	})
}

// Names of CRIU's logs.
const (
	DumpLog    = "dump.log"
	RestoreLog = "restore.log"
)

// logLevel has everything in the log that a report to CRIU's people needs.
const logLevel = 4

func (o Options) fill(m *message, log, root string, images, work int) {
	m.number(optImagesDir, images)
	if work >= 0 {
		m.number(optWorkDir, work)
	}
	m.number(optLogLevel, logLevel)
	m.text(optLogFile, log)
	m.text(optRoot, root)
	m.flag(optNotifyScripts, true)
	m.flag(optOrphanPts, true)
	m.flag(optTCPEstablished, o.TCPEstablished)
	m.flag(optTCPClose, o.TCPClose)
	m.flag(optExtUnixSk, o.ExtUnixSockets)
	m.flag(optShellJob, o.ShellJob)
	m.flag(optFileLocks, o.FileLocks)
	m.flag(optLazyPages, o.LazyPages)
	m.flag(optAutoDedup, o.AutoDedup)
	m.flag(optManageCgroups, true)
	m.number(optCgroupsMode, int(o.Cgroups))
	if o.EmptyNS != 0 {
		m.number(optEmptyNS, o.EmptyNS)
	}
	if o.NetworkLock != 0 {
		m.number(optNetworkLock, int(o.NetworkLock))
	}
	m.text(optConfigFile, o.ConfigFile)
}

// Request is a message to CRIU.
type Request struct {
	kind    int
	message message
}

func newRequest(kind int, fill func(*message)) Request {
	r := Request{kind: kind}
	r.message.number(reqType, kind)
	r.message.group(reqOpts, fill)
	return r
}

// Lines is the request for people: one option a line, by CRIU's names.
func (r Request) Lines() []string {
	out := slices.Clone(r.message.lines)
	for i, line := range out {
		out[i] = strings.TrimPrefix(line, reqOpts.name+".")
	}
	return out
}

// String is Lines as one text.
func (r Request) String() string { return strings.Join(r.Lines(), "\n") + "\n" }
