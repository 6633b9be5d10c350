package rootfs

import (
	"github.com/opencontainers/runtime-spec/specs-go"

	"berth/libcontainer/fault"
	"berth/rootfs/overlayfs"
)

// opener says who clones a source, and when.
type opener uint8

const (
	// The runtime does, with its own rights, and hands the clone over.
	byRuntime opener = iota
	// The walker does, before it attaches the root.
	early
	// The walker opens it before it attaches the root and clones it when its
	// turn comes, so that mountinfo has the order of the config: it lists mounts
	// by their creation (Linux 6.8).
	inTurn
)

// Source is something that is attached: a mount of the host that is cloned, or
// a file system that the runtime makes.
type Source struct {
	Path      string // on the host, absolute
	Recursive bool   // with what is mounted below it
	NoFollow  bool   // a symbolic link is meant itself
	Attr, Rec Attr   // of the mount; of the whole tree
	IDMap     *IDMap
	Fresh     *Fresh  // a new file system instead of a clone
	CopyUp    *CopyUp // what it starts with

	Field fault.Pointer // the config.json entry that asked for it
	Op    string        // for messages

	base   uint64 // propagation of the whole tree, MS_*; 0: as it is
	opener opener
	alone  bool // the mount itself is private, whatever base is
}

// IDMap is the mapping of an id-mapped mount: ContainerID is the id in the
// file system, HostID the one that the mount shows.
type IDMap struct {
	UID, GID  []specs.LinuxIDMapping
	Userns    string // or the user namespace at this path
	Recursive bool
}

// Fresh is a new file system.
type Fresh struct {
	Type   string
	Params []Param
	Attrs  uint64 // MOUNT_ATTR_*

	Overlay *overlayfs.Mount // in place of Params and Attrs
	Kernel  overlayfs.Kernel // that mounts it
}

// CopyUp is the directory that a tmpfs covers, and starts with a copy of.
type CopyUp struct {
	Root   string // of the container, on the host
	Target string // the directory inside Root

	Layers *Source // in place of Root: an overlay of all layers of the container's root, read-only
}
