package blob

import (
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"runtime"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/klauspost/pgzip"

	"berth/libcontainer/fault"
)

// gzipBlock is what one processor deflates at a time. It decides what the output is; how many processors there are
// does not.
const gzipBlock = 256 << 10

// Writer stores a tar stream. The same stream gives the same bytes, on whatever machine. It is not safe for concurrent
// use.
type Writer struct {
	plain   *fan
	piece   *piece // being filled
	stored  counted
	stop    func()
	storing sync.WaitGroup
	err     error // of storing; valid after it
	closed  bool
}

// NewWriter writes to w what is compressed as c. The level is gzip's (1 to 9) or zstd's (1 to 22), 0 for the usual one.
func NewWriter(w io.Writer, c Compression, level int) (*Writer, error) {
	stop := make(chan struct{})
	b := &Writer{stored: counted{w: w, sum: sha256.New()}, stop: sync.OnceFunc(func() { close(stop) })}
	packed, err := compressor(&b.stored, c, level)
	if err != nil {
		return nil, &fault.Error{Op: "compress layer", Msg: string(c), Err: err}
	}
	b.plain = newFan(stop, plainPieces, plainPiece)
	b.storing.Go(func() {
		_, err := io.Copy(packed, &fanReader{fan: b.plain})
		if b.err = errors.Join(err, packed.Close()); b.err != nil {
			b.stop()
		}
	})
	return b, nil
}

func compressor(w io.Writer, c Compression, level int) (io.WriteCloser, error) {
	switch c {
	case Plain:
		return nopCloser{w}, nil
	case Gzip:
		if level == 0 {
			level = pgzip.DefaultCompression
		}
		z, err := pgzip.NewWriterLevel(w, level)
		if err != nil {
			return nil, err
		}
		return z, z.SetConcurrency(gzipBlock, runtime.GOMAXPROCS(0))
	case Zstd:
		if level == 0 {
			level = 3
		}
		return zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)))
	}
	return nil, errors.New("unknown compression")
}

// Write takes more of the tar stream. It returns early with an error of the stream below, which may come from an
// earlier Write.
func (b *Writer) Write(p []byte) (int, error) {
	if b.closed {
		return 0, errors.New("write after close")
	}
	for rest := p; len(rest) > 0; {
		if b.piece == nil {
			if b.piece = b.plain.acquire(); b.piece == nil {
				b.storing.Wait()
				return len(p) - len(rest), b.err
			}
		}
		buf := b.piece.buf
		n := copy(buf[len(buf):cap(buf)], rest)
		b.piece.buf = buf[:len(buf)+n]
		if rest = rest[n:]; len(b.piece.buf) == cap(buf) {
			b.plain.hand(b.piece)
			b.piece = nil
		}
	}
	return len(p), nil
}

// Close stores the rest and ends the stream; the stream below stays open. It returns what Write may not have returned
// yet. It must be called in any case, and may be called again.
func (b *Writer) Close() error {
	if !b.closed {
		b.closed = true
		if b.piece != nil {
			b.plain.hand(b.piece)
		}
		b.plain.end(io.EOF)
	}
	b.storing.Wait()
	b.stop()
	return b.err
}

// Sums returns digests and sizes after Close has returned nil, and an error otherwise.
func (b *Writer) Sums() (Sums, error) {
	switch {
	case !b.closed:
		return Sums{}, errors.New("the layer was not closed")
	case b.err != nil:
		return Sums{}, b.err
	}
	<-b.plain.hashed
	return Sums{Digest: digest(b.stored.sum), Size: b.stored.n, DiffID: digest(b.plain.sum), PlainSize: b.plain.size}, nil
}

// counted hashes and counts what is written to w.
type counted struct {
	w   io.Writer
	sum hash.Hash
	n   int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.sum.Write(p[:n])
	c.n += int64(n)
	return n, err
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
