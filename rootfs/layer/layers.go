package layer

import (
	"context"
	"encoding/json"
	"io"
	"os"
	"slices"

	"github.com/opencontainers/go-digest"

	"berth/libcontainer/fault"
)

// Backend is the form in which layers are kept unpacked.
type Backend string

const (
	Auto      Backend = "auto"  // what this machine does best
	Directory Backend = "dir"   // a tree of files in fs/
	EROFS     Backend = "erofs" // the tar, and a metadata image beside it: a file system of the kernel's
)

// Meta is what the store knows of a layer besides its content: meta.json in its directory.
type Meta struct {
	Backend Backend `json:"backend"`
	Entries int64   `json:"entries"`
	Size    int64   `json:"size"`          // bytes of the files' contents
	Disk    int64   `json:"disk"`          // bytes that the unpacked layer takes
	Tar     int64   `json:"tar,omitempty"` // bytes of the layer in layer.tar; padding follows
	// Parents are directories that the layer has something in but never lists. Their metadata is that of the layers
	// below, so it is looked up when layers are put together.
	Parents []string `json:"parents,omitempty"`
	// Opaque layers show nothing of those below them.
	Opaque   bool     `json:"opaque,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

// layer is where the layer of a diffID is, or would be. What is there is complete.
func (s *Store) layer(diffID digest.Digest) string { return s.path(layersDir, diffID.Encoded()) }

func (s *Store) hasLayer(diffID digest.Digest) bool {
	ok, err := exists(s.layer(diffID) + "/meta.json")
	return ok && err == nil
}

func (s *Store) meta(diffID digest.Digest) (*Meta, error) {
	path := s.layer(diffID) + "/meta.json"
	data, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil, &fault.Error{Op: "find the layer", Path: diffID.String(), Msg: "it is not unpacked here", Hint: "berth-layer fsck --repair unpacks it again from its blob"}
	}
	if err != nil {
		return nil, err
	}
	m := &Meta{}
	if err := json.Unmarshal(data, m); err != nil {
		return nil, &fault.Error{Op: "read", Path: path, Err: err, Hint: "berth-layer fsck --repair unpacks the layer again"}
	}
	return m, nil
}

// unpackInto makes a complete layer in dir: content and meta.json. It is not synced.
func unpackInto(ctx context.Context, u unpacker, dir string, diffID func() digest.Digest, r io.Reader) (*Meta, error) {
	m, err := u.unpack(ctx, dir, diffID, r)
	if err != nil {
		return nil, err
	}
	m.Backend, m.Disk = u.backend(), sizeOf(dir)
	slices.Sort(m.Parents)
	data, err := encode(m)
	if err != nil {
		return nil, err
	}
	return m, os.WriteFile(dir+"/meta.json", data, 0o644)
}

// known is a diffID that somebody has told.
func known(diffID digest.Digest) func() digest.Digest {
	return func() digest.Digest { return diffID }
}
