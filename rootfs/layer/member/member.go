// Package member reads a layer's tar stream as the image specification means it: whiteouts are a kind of member, names
// are clean paths below the root, extended attributes and sparse files come in one form whatever dialect wrote them.
package member

import "time"

// Kind is what a member makes.
type Kind uint8

const (
	File     Kind = iota
	Dir           // may be the root itself, Path ""
	Symlink       // Target as it stands in the layer
	Link          // a hard link: Target is the Path of an earlier member
	Char          // Major, Minor
	Block         // Major, Minor
	Fifo          //
	Whiteout      // Path is hidden in the layers below (image-spec, layer.md, Whiteouts)
	Opaque        // the directory Path hides all that the layers below have in it
)

// Member is one entry of a layer.
type Member struct {
	Path   string // clean and relative, without "."; the root is ""
	Kind   Kind
	Mode   uint32 // the twelve permission bits, as in st_mode
	UID    uint32
	GID    uint32
	Size   int64 // of a File, holes included
	MTime  time.Time
	Target string
	Major  uint32
	Minor  uint32
	Xattrs []Xattr // sorted by name, only such as Linux can have on this Kind; POSIX ACLs are system.posix_acl_access and _default in the kernel's form
	// Data says where a File's content stands in the uncompressed stream; nil unless the Reader was made with Offsets.
	// What lies between segments is a hole.
	Data []Segment
}

// Xattr is an extended attribute by its full name, as in setxattr(2).
type Xattr struct {
	Name  string
	Value []byte
}

// Segment is a run of a file's content: Length bytes at At in the file stand at Offset in the uncompressed stream.
type Segment struct {
	At, Offset, Length int64
}
