package erofs

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// arena is memory outside of the collector's heap, for what has no pointers and lives until the image is written. In
// the heap it would count twice: the collector lets as much garbage come together as there is live.
type arena struct{ pieces [][]byte }

// pieceSize is how much is taken at once. What is not touched costs nothing.
const pieceSize = 1 << 20

// piece returns pieceSize bytes of zeros, good until free.
func (a *arena) piece() []byte {
	p, err := unix.Mmap(-1, 0, pieceSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return make([]byte, pieceSize)
	}
	a.pieces = append(a.pieces, p)
	return p
}

func (a *arena) size() int64 { return int64(len(a.pieces)) * pieceSize }

func (a *arena) free() {
	for _, p := range a.pieces {
		_ = unix.Munmap(p)
	}
	a.pieces = nil
}

// nodes returns room for nodesInPiece nodes.
func (a *arena) nodes() []node {
	return unsafe.Slice((*node)(unsafe.Pointer(unsafe.SliceData(a.piece()))), nodesInPiece)
}

const nodesInPiece = pieceSize / int(unsafe.Sizeof(node{}))

// text keeps strings of up to a piece's length one behind the other; what it holds is never moved.
type text struct {
	arena  *arena
	pieces [][]byte
	used   uint32
}

func (x *text) put(s []byte) uint32 {
	if left := pieceSize - x.used%pieceSize; x.pieces == nil || left == pieceSize || int(left) < len(s) {
		x.used = uint32(len(x.pieces)) * pieceSize
		x.pieces = append(x.pieces, x.arena.piece())
	}
	at := x.used
	x.used += uint32(copy(x.pieces[len(x.pieces)-1][at%pieceSize:], s))
	return at
}

// full says whether there is no room for another string; places have 32 bits.
func (x *text) full() bool { return len(x.pieces) >= 1<<32/pieceSize-1 }

func (x *text) get(at uint32, length int) []byte {
	return x.pieces[at/pieceSize][at%pieceSize:][:length]
}
