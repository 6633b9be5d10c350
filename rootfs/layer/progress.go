package layer

import (
	"io"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Progress is told how far a verb is. It is called from several goroutines. A nil Progress is told nothing.
type Progress func(d ocispec.Descriptor) Track

// Track follows one blob.
type Track interface {
	Add(bytes int64) // of the blob have been read or written
	End(Outcome)     // not called where it failed
}

func (p Progress) start(d ocispec.Descriptor) Track {
	if p == nil {
		return untold{}
	}
	return p(d)
}

type untold struct{}

func (untold) Add(int64)   {}
func (untold) End(Outcome) {}

// counted tells a track what is read.
type counted struct {
	io.Reader
	track Track
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.track.Add(int64(n))
	return n, err
}
