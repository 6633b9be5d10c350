package unpack

import (
	"fmt"
	"os"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/member"
)

// Options say how a layer is made a directory. They must be the same when it is compared with its layer.
type Options struct {
	// UserXattr keeps overlayfs's marks in user.overlay.*, for mounts with the option userxattr, in the place of
	// trusted.overlay.*.
	UserXattr bool
	// XattrWhiteouts makes whiteouts of files with an attribute (Linux 6.8 and later), where devices cannot be made.
	XattrWhiteouts bool
	// Unprivileged leaves out, with a warning, what only root on the host may make: devices, and attributes but user.*.
	Unprivileged bool
	// KeepOwner leaves everything to whoever runs this, for users with a single ID.
	KeepOwner bool
	// UIDs and GIDs map owners; nil leaves them as they are.
	UIDs, GIDs []IDRange
	// MaxEntries limits members and directories made up together; 0 means no limit.
	MaxEntries int64
}

// IDRange maps Size IDs of the layer from Layer on to those of the host from Host on.
type IDRange struct{ Layer, Host, Size uint32 }

// Result is what a layer came to.
type Result struct {
	Entries int64 // names in the directory, whiteouts too, without the directory itself
	Size    int64 // bytes of content written: no holes, hard links once
	// Parents are directories that the layer never lists, "" for the root, and that may show through from below: their
	// metadata is that of the topmost layer below that has a directory there. Made-up directories below which nothing
	// shows are not among them. Sorted; links followed.
	Parents []string
	// Opaque says that nothing shows through from the layers below: a mount must leave them out, since overlayfs does
	// not look for the mark of an opaque directory on the root of a layer.
	Opaque   bool
	Warnings fault.List // one for each thing left out, up to fault.Most
}

// Damage is one path that is not as its layer says; "" is the root. Only Verify makes what Repair can use.
type Damage struct {
	Path string
	What string // is wrong: "is missing", "has other content"

	should should
	member int64 // number in the stream, from 1, of the member that makes it; 0 for none
	marks  map[string]string
	meta   *member.Member
}

// should says what a damaged path should be.
type should uint8

const (
	beAbsent should = iota + 1
	beWhiteout
	beDir
	beOther
)

func (d Damage) String() string { return fmt.Sprintf("%q: %s", d.Path, d.What) }

// mapID returns the host's ID for one of the layer's.
func mapID(ranges []IDRange, id uint32, what string) (int, error) {
	if ranges == nil {
		return int(id), nil
	}
	for _, r := range ranges {
		if id >= r.Layer && id-r.Layer < r.Size {
			return int(r.Host + (id - r.Layer)), nil
		}
	}
	return 0, fmt.Errorf("owner: no %s of the host is mapped to %d", what, id)
}

// owner returns who owns a member on the host.
func (o *Options) owner(uid, gid uint32) (u, g int, err error) {
	if o.KeepOwner {
		return os.Geteuid(), os.Getegid(), nil
	}
	if u, err = mapID(o.UIDs, uid, "user"); err == nil {
		g, err = mapID(o.GIDs, gid, "group")
	}
	return u, g, err
}
