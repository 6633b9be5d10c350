// Package blob turns a layer's stored bytes into its tar stream and back, and computes both digests on the way.
//
// Each step has its own goroutine, so that a layer takes as long as its slowest step:
//
//	Reader: stored bytes ─┬▶ sha256            Writer: tar stream ─┬▶ sha256
//	                      └▶ inflate ─┬▶ sha256                    └▶ deflate ─▶ sha256, stored bytes
//	                                  └▶ Read
//
// Buffers are few and used again, so memory does not grow with the layer.
package blob

import (
	"encoding/hex"
	"hash"
	"strings"

	"berth/libcontainer/fault"
)

// Compression is how a layer is stored.
type Compression string

// What OCI layers may be stored as (image-spec, layer.md).
const (
	Plain Compression = ""
	Gzip  Compression = "gzip"
	Zstd  Compression = "zstd"
)

// Sums are what a complete stream came to.
type Sums struct {
	Digest    string // of the stored bytes, "sha256:…"
	Size      int64  // of the stored bytes
	DiffID    string // digest of the tar stream
	PlainSize int64  // of the tar stream
}

func digest(h hash.Hash) string { return "sha256:" + hex.EncodeToString(h.Sum(nil)) }

// magics are how stored bytes begin. A zstd stream may begin with any of 16 skippable frames (RFC 8878, 3.1.2).
var magics = []struct {
	bytes string
	is    Compression
}{
	{"\x1f\x8b\x08", Gzip},
	{"\x28\xb5\x2f\xfd", Zstd},
	{"BZh", "bzip2"},
	{"\xfd7zXZ\x00", "xz"},
}

const magicMax = 6

// detect tells the compression by the first bytes, of which there are up to magicMax.
func detect(head []byte) Compression {
	if len(head) >= 4 && head[0]&0xf0 == 0x50 && string(head[1:4]) == "\x2a\x4d\x18" {
		return Zstd
	}
	for _, m := range magics {
		if strings.HasPrefix(string(head), m.bytes) {
			return m.is
		}
	}
	return Plain
}

// supported refuses what no OCI layer is stored as.
func supported(name, mediaType string, c Compression) error {
	switch {
	case strings.HasSuffix(mediaType, "+encrypted"):
		return &fault.Error{Op: "open layer", Path: name, Msg: "the layer is encrypted (" + mediaType + ")",
			Hint: "decrypt the image first, with skopeo copy --decryption-key"}
	case c != Plain && c != Gzip && c != Zstd:
		return &fault.Error{Op: "open layer", Path: name, Msg: "the layer is compressed with " + string(c) + ", which OCI images do not have",
			Hint: "convert the image with skopeo copy"}
	}
	return nil
}
