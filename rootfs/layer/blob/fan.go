package blob

import (
	"crypto/sha256"
	"hash"
	"io"
	"sync/atomic"
)

// fan hands the pieces of a stream to a hash and to the next step, without copying. A piece is free again when both
// have done with it. The channels hold all pieces that there are, so only taking a free one ever waits.
type fan struct {
	free, next, toHash chan *piece
	stop               <-chan struct{} // closed: give up
	sum                hash.Hash
	size               int64         // valid after hashed
	hashed             chan struct{} // closed: sum is complete
	err                error         // why the stream ended, io.EOF for its end; valid once next is closed
}

type piece struct {
	buf   []byte // as long as what was read into it
	users atomic.Int32
}

func newFan(stop <-chan struct{}, pieces, size int) *fan {
	f := &fan{
		free: make(chan *piece, pieces), next: make(chan *piece, pieces), toHash: make(chan *piece, pieces),
		stop: stop, sum: sha256.New(), hashed: make(chan struct{}),
	}
	for range pieces {
		f.free <- &piece{buf: make([]byte, 0, size)}
	}
	go f.hash()
	return f
}

func (f *fan) hash() {
	defer close(f.hashed)
	for p := range f.toHash {
		f.sum.Write(p.buf)
		f.size += int64(len(p.buf))
		f.release(p)
	}
}

func (f *fan) release(p *piece) {
	if p.users.Add(-1) == 0 {
		f.free <- p
	}
}

// acquire waits for a free piece; nil once stopped.
func (f *fan) acquire() *piece {
	select {
	case p := <-f.free:
		p.buf = p.buf[:0]
		return p
	case <-f.stop:
		return nil
	}
}

func (f *fan) hand(p *piece) {
	p.users.Store(2)
	f.toHash <- p
	f.next <- p
}

// end says that there are no more pieces.
func (f *fan) end(err error) {
	f.err = err
	close(f.toHash)
	close(f.next)
}

// from hands on all of r, then ends.
func (f *fan) from(r io.Reader) {
	for {
		p := f.acquire()
		if p == nil {
			f.end(errStopped)
			return
		}
		var err error
		for err == nil && len(p.buf) < cap(p.buf) { // not io.ReadFull, which hides an io.ErrUnexpectedEOF of r
			var n int
			n, err = r.Read(p.buf[len(p.buf):cap(p.buf)])
			p.buf = p.buf[:len(p.buf)+n]
		}
		f.hand(p)
		if err != nil {
			f.end(err)
			return
		}
	}
}

// fanReader reads what a fan hands on.
type fanReader struct {
	fan  *fan
	have *piece
	rest []byte                // of have
	size atomic.Int64          // read so far
	err  atomic.Pointer[error] // why the stream ended, if not at its end
}

func (r *fanReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(r.rest) == 0 {
		if r.have != nil {
			r.fan.release(r.have)
			r.have = nil
		}
		select {
		case next, ok := <-r.fan.next:
			if !ok {
				return 0, r.fail(r.fan.err)
			}
			r.have, r.rest = next, next.buf
			r.size.Add(int64(len(next.buf)))
		case <-r.fan.stop:
			return 0, r.fail(errStopped)
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *fanReader) fail(err error) error {
	if err != io.EOF {
		r.err.Store(&err)
	}
	return err
}
