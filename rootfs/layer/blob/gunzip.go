package blob

import (
	"bufio"
	"errors"
	"io"

	"github.com/klauspost/compress/gzip"
)

// zstdWindowMax is what zstd itself decompresses without being asked (zstd(1), --memory).
const zstdWindowMax = 128 << 20

var errGarbage = errors.New("something that is not gzip follows the gzip stream")

// gunzip reads gzip members one behind the other (RFC 1952, 2.2), and zeros behind the last, which tools that write
// in blocks leave there.
type gunzip struct {
	in *bufio.Reader
	z  *gzip.Reader
}

func newGunzip(r io.Reader) (*gunzip, error) {
	in := bufio.NewReaderSize(r, 32<<10) // inflate is written for a bufio.Reader
	z, err := gzip.NewReader(in)
	if err != nil {
		return nil, noEOF(err)
	}
	z.Multistream(false)
	return &gunzip{in, z}, nil
}

func (g *gunzip) Read(p []byte) (int, error) {
	for {
		n, err := g.z.Read(p)
		if err != io.EOF || n > 0 {
			if err == io.EOF {
				err = nil // the next Read tells what follows
			}
			return n, err
		}
		if err := g.nextMember(); err != nil {
			return 0, err
		}
	}
}

// nextMember returns io.EOF at the end of the stream.
func (g *gunzip) nextMember() error {
	switch head, err := g.in.Peek(2); {
	case len(head) == 0:
		return err
	case head[0] == 0:
		return g.onlyZeros()
	case head[0] != 0x1f || len(head) == 2 && head[1] != 0x8b:
		return errGarbage
	}
	if err := g.z.Reset(g.in); err != nil {
		return noEOF(err)
	}
	g.z.Multistream(false)
	return nil
}

func (g *gunzip) onlyZeros() error {
	for {
		c, err := g.in.ReadByte()
		if err != nil {
			return err
		}
		if c != 0 {
			return errGarbage
		}
	}
}

// noEOF is err for a place where the end of the stream is too early.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
