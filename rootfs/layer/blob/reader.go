package blob

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/blob/inflate"
)

// Memory of one Reader, besides the decompressor's own window: 0.5 MiB of stored bytes and 2 MiB of the tar stream.
const (
	storedPieces, storedPiece = 8, 64 << 10
	plainPieces, plainPiece   = 8, 256 << 10
)

// ratioFloor is the size of the tar stream from which on Limits.Ratio counts: a few zeros may be packed tightly.
const ratioFloor = 16 << 20

// zstdWindowMax is what zstd itself decompresses without being asked (zstd(1), --memory).
const zstdWindowMax = 128 << 20

var errStopped = errors.New("the reader was closed")

// Limits protect against streams that grow without end; 0 means no limit.
type Limits struct {
	Size  int64 // bytes of the tar stream
	Ratio int64 // bytes of the tar stream to one stored byte
}

// Options say what is read.
type Options struct {
	Name      string // of the layer, for errors: its digest
	MediaType string // as the manifest says; empty if unknown
	Limits    Limits
}

// Reader reads the tar stream of a stored layer. It is not safe for concurrent use.
type Reader struct {
	name        string
	compression Compression
	stored      *fan
	plain       *fan // stored where nothing is compressed
	out         io.Reader
	stop        func()
	err         error // what Read said last; it stays
	inflating   sync.WaitGroup
}

// NewReader reads the stored layer r to its end, in goroutines of its own, until Close. The first bytes tell how it is
// compressed and the media type does not: images name gzip where they hold plain tar and the other way round, the
// digests say whether the bytes are the right ones, and containers/storage looks at the bytes too. An error is a
// fault.Error or that of r.
func NewReader(r io.Reader, o Options) (*Reader, error) {
	head := make([]byte, magicMax)
	n, err := io.ReadFull(r, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return nil, err
	}
	head = head[:n]
	compression := detect(head)
	if err := supported(o.Name, o.MediaType, compression); err != nil {
		return nil, err
	}
	stop := make(chan struct{})
	b := &Reader{name: o.Name, compression: compression, stop: sync.OnceFunc(func() { close(stop) })}
	b.stored = newFan(stop, storedPieces, storedPiece)
	go b.stored.from(io.MultiReader(bytes.NewReader(head), r))
	in := &fanReader{fan: b.stored}
	l := &limited{name: o.Name, limits: o.Limits, stored: in, r: in}
	if compression == Plain {
		b.plain, b.out = b.stored, l
		return b, nil
	}
	b.plain = newFan(stop, plainPieces, plainPiece)
	b.out = &fanReader{fan: b.plain}
	b.inflating.Go(func() {
		if compression == Gzip {
			l.r = inflate.NewReader(in)
			b.plain.from(l)
			return
		}
		z, err := zstd.NewReader(in, zstd.WithDecoderMaxWindow(zstdWindowMax))
		if err != nil {
			b.plain.end(l.explain(err))
			return
		}
		defer z.Close()
		l.r = z
		b.plain.from(l)
	})
	return b, nil
}

// Compression says how the layer is stored.
func (b *Reader) Compression() Compression { return b.compression }

// Read reads the tar stream. io.EOF means that the stored layer was read to its end and decompressed without error.
// Errors about the layer are fault.Errors that name it; others are those of the stream below.
func (b *Reader) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.out.Read(p)
	b.err = err
	return n, err
}

// Sums returns digests and sizes after Read has returned io.EOF, and an error before: it never speaks of a part.
func (b *Reader) Sums() (Sums, error) {
	switch b.err {
	case io.EOF:
	case nil:
		return Sums{}, errors.New("the layer was not read to its end")
	default:
		return Sums{}, b.err
	}
	<-b.stored.hashed
	<-b.plain.hashed
	return Sums{Digest: digest(b.stored.sum), Size: b.stored.size, DiffID: digest(b.plain.sum), PlainSize: b.plain.size}, nil
}

// Close gives up what is still to be read. It does not wait for a Read of the stream below: closing that is up to the
// caller.
func (b *Reader) Close() error {
	b.stop()
	b.inflating.Wait()
	if b.err == nil {
		b.err = errStopped
	}
	return nil
}

// limited is a tar stream held to the limits.
type limited struct {
	name   string
	limits Limits
	stored *fanReader
	r      io.Reader // decompresses stored
	n      int64
}

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	l.n += int64(n)
	if most := l.limits.Size; most > 0 && l.n > most {
		return n, &fault.Error{Op: "read layer", Path: l.name, Msg: fmt.Sprintf("it unpacks to more than %d bytes", most),
			Hint: "raise --max-size if you trust it"}
	}
	if most := l.limits.Ratio; most > 0 && l.n > ratioFloor && l.n/most > l.stored.size.Load() {
		return n, &fault.Error{Op: "read layer", Path: l.name,
			Msg:  fmt.Sprintf("it unpacks to more than %d times its size, as a decompression bomb does", most),
			Hint: "raise --max-ratio if you trust it"}
	}
	if err != nil {
		err = l.explain(err)
	}
	return n, err
}

// explain names the layer where the error is about its bytes and not about reading them, which decompressors may hide.
func (l *limited) explain(err error) error {
	if failed := l.stored.err.Load(); failed != nil {
		return *failed
	}
	if err == io.EOF {
		return err
	}
	return &fault.Error{Op: "decompress layer", Path: l.name, Err: err, Hint: "fetch the layer again"}
}
