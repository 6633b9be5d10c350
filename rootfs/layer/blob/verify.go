package blob

import (
	"fmt"

	"berth/libcontainer/fault"
)

// Mismatch says that a layer is not the one that was asked for.
type Mismatch struct{ fault *fault.Error }

func (m *Mismatch) Error() string { return m.fault.Error() }

// Unwrap returns the fault.Error.
func (m *Mismatch) Unwrap() error { return m.fault }

// Verify holds the stream, which Read has read to its end, to what the manifest (digest and size of the stored bytes)
// and the image's configuration (diffID) say of it. Empty strings and a negative size are not compared. The error is a
// *Mismatch, or that of Sums.
func (b *Reader) Verify(digest string, size int64, diffID string) error {
	s, err := b.Sums()
	if err != nil {
		return err
	}
	differs := func(what, got, want, hint string) error {
		return &Mismatch{&fault.Error{Op: "verify layer", Path: b.name, Msg: fmt.Sprintf("%s is %s, and should be %s", what, got, want), Hint: hint}}
	}
	const fetch = "what was fetched is damaged or was tampered with: fetch it again"
	switch {
	case size >= 0 && s.Size != size:
		return differs("its size", fmt.Sprint(s.Size), fmt.Sprint(size), fetch)
	case digest != "" && s.Digest != digest:
		return differs("its digest", s.Digest, digest, fetch)
	case diffID != "" && s.DiffID != diffID:
		return differs("the digest of its tar stream", s.DiffID, diffID, "the image's configuration does not belong to its layers: have it made again")
	}
	return nil
}
