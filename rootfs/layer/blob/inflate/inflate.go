// Package inflate decompresses gzip about twice as fast as the Go libraries do, which is most of what unpacking a layer
// costs.
//
// It does what libdeflate does, but for streams: the bits are kept in a 64-bit word that is refilled eight bytes at a
// time without a test, one look into a table gives a symbol with the number of its extra bits, and matches are copied by
// words that may reach beyond their end. The loop runs only where the input has that many bytes left (behind the end of
// the stream come zeros that do not count) and the output that much room.
package inflate

import (
	"encoding/binary"
	"errors"
	"io"
)

const (
	window  = 32 << 10 // how far back a match may reach
	chunk   = 256 << 10
	inSize  = 64 << 10
	inSlack = 32       // what one turn of the loop may read
	slack   = 258 + 48 // what one turn may write, copies reaching too far included
)

var (
	errCorrupt = errors.New("the deflate stream is damaged")
	errCut     = io.ErrUnexpectedEOF
)

// decoder decompresses one deflate stream after the other (RFC 1951).
type decoder struct {
	r      io.Reader
	in     [inSize + inSlack]byte
	pos    int // in in
	end    int // of what was read
	srcErr error
	bits   uint64
	nbits  uint // below 64

	out   [window + chunk + slack]byte
	given int // of out, up to where the caller has it
	write int
	start int // where the present stream begins in out, 0 if further back

	state  state
	last   bool
	stored int // bytes left of a stored block
	litLen [litLenSize]uint32
	dist   [distSize]uint32
}

// byte returns the next byte of the input.
func (d *decoder) byte() (byte, error) {
	if d.pos >= d.end {
		if err := d.more(); err != nil {
			return 0, err
		}
		if d.pos >= d.end {
			return 0, errCut
		}
	}
	d.pos++
	return d.in[d.pos-1], nil
}

type state uint8

const (
	atHeader state = iota
	inStored
	inCodes
	atEnd
)

// more reads until the loop may run, or to the end of the input, behind which it puts zeros.
func (d *decoder) more() error {
	if d.srcErr != nil && d.srcErr != io.EOF {
		return d.srcErr
	}
	if d.end-d.pos >= inSlack || d.srcErr != nil {
		return nil
	}
	kept := min(d.pos, 8) // the bytes that are in bits: align may give them back
	d.end = copy(d.in[:], d.in[d.pos-kept:d.end])
	d.pos = kept
	for d.end-d.pos < inSlack && d.srcErr == nil {
		var n int
		n, d.srcErr = d.r.Read(d.in[d.end:inSize])
		d.end += n
	}
	if d.srcErr != nil && d.srcErr != io.EOF {
		return d.srcErr
	}
	if d.srcErr == io.EOF {
		clear(d.in[d.end : d.end+inSlack])
	}
	return nil
}

// overrun says whether more was used than there was.
func (d *decoder) overrun() bool { return d.pos-int(d.nbits/8) > d.end }

// need makes n bits available, n ≤ 32.
func (d *decoder) need(n uint) error {
	for d.nbits < n {
		c, err := d.byte()
		if err != nil {
			return err
		}
		d.bits |= uint64(c) << d.nbits
		d.nbits += 8
	}
	return nil
}

// take returns the next n bits, which are there.
func (d *decoder) take(n uint) int {
	v := d.bits & (1<<n - 1)
	d.bits >>= n
	d.nbits -= n
	return int(v)
}

// align drops the bits up to the next byte and gives whole bytes back to the input.
func (d *decoder) align() {
	d.take(d.nbits & 7)
	d.pos -= int(d.nbits / 8)
	d.bits, d.nbits = 0, 0
}

// begin starts a stream at the present place.
func (d *decoder) begin() { d.state, d.last, d.start = atHeader, false, d.write }

// room makes space for a chunk of output; all that is there was given to the caller.
func (d *decoder) room() {
	if d.write < window+chunk {
		return
	}
	kept := copy(d.out[:], d.out[d.write-window:d.write])
	d.start = max(0, d.start-(d.write-kept))
	d.write, d.given = kept, kept
}

// decode goes on until there is output, or the end of the stream.
func (d *decoder) decode() error {
	d.room()
	for d.write == d.given && d.state != atEnd {
		var err error
		switch d.state {
		case atHeader:
			err = d.header()
		case inStored:
			err = d.copyStored()
		case inCodes:
			err = d.codes()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *decoder) blockDone() {
	d.state = atHeader
	if d.last {
		d.state = atEnd
	}
}

func (d *decoder) header() error {
	if err := d.need(3); err != nil {
		return err
	}
	d.last = d.take(1) == 1
	switch d.take(2) {
	case 0:
		return d.beginStored()
	case 1:
		d.fixed()
	case 2:
		if err := d.dynamic(); err != nil {
			return err
		}
	default:
		return errCorrupt
	}
	d.state = inCodes
	return nil
}

func (d *decoder) beginStored() error {
	d.align()
	if err := d.need(32); err != nil {
		return err
	}
	n, complement := d.take(16), d.take(16)
	if n != ^complement&0xffff {
		return errCorrupt
	}
	d.align()
	d.stored, d.state = n, inStored
	return nil
}

func (d *decoder) copyStored() error {
	for d.stored > 0 && d.write < window+chunk {
		if d.pos >= d.end {
			if err := d.more(); err != nil {
				return err
			}
			if d.pos >= d.end {
				return errCut
			}
		}
		n := copy(d.out[d.write:window+chunk], d.in[d.pos:min(d.end, d.pos+d.stored)])
		d.pos, d.write, d.stored = d.pos+n, d.write+n, d.stored-n
	}
	if d.stored == 0 {
		d.blockDone()
	}
	return nil
}

// fixed takes the codes of RFC 1951, 3.2.6.
func (d *decoder) fixed() {
	var lengths [288]uint8
	for i := range lengths {
		switch {
		case i < 144, i >= 280:
			lengths[i] = 8
		case i < 256:
			lengths[i] = 9
		default:
			lengths[i] = 7
		}
	}
	build(d.litLen[:], litLenBits, lengths[:], &litLens)
	for i := range 32 {
		lengths[i] = 5
	}
	build(d.dist[:], distBits, lengths[:32], &dists)
}

// order is that in which lengths of codes for lengths stand (RFC 1951, 3.2.7).
var order = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// dynamic reads the codes of RFC 1951, 3.2.7.
func (d *decoder) dynamic() error {
	if err := d.need(14); err != nil {
		return err
	}
	nlit, ndist, npre := d.take(5)+257, d.take(5)+1, d.take(4)+4
	if nlit > 286 || ndist > 30 {
		return errCorrupt
	}
	var pre [19]uint8
	for _, i := range order[:npre] {
		if err := d.need(3); err != nil {
			return err
		}
		pre[i] = uint8(d.take(3))
	}
	var table [1 << preBits]uint32
	if !build(table[:], preBits, pre[:], &plain) {
		return errCorrupt
	}
	var lengths [286 + 30]uint8
	if err := d.lengths(lengths[:nlit+ndist], &table); err != nil {
		return err
	}
	if lengths[256] == 0 || !build(d.litLen[:], litLenBits, lengths[:nlit], &litLens) ||
		!build(d.dist[:], distBits, lengths[nlit:nlit+ndist], &dists) {
		return errCorrupt
	}
	return nil
}

// lengths reads the lengths of codes, run-length coded.
func (d *decoder) lengths(lengths []uint8, table *[1 << preBits]uint32) error {
	for i := 0; i < len(lengths); {
		// As many bits as there are: fewer than a code and its extra bits only at the end of the input.
		if err := d.need(14); err != nil && err != errCut {
			return err
		}
		entry := table[d.bits&(1<<preBits-1)]
		if entry&isInvalid != 0 {
			return errCorrupt
		}
		symbol := int(entry >> 16)
		extra := [3]uint{2, 3, 7}[max(0, symbol-16)]
		if symbol < 16 {
			extra = 0
		}
		if d.nbits < uint(entry&0xff)+extra {
			return errCut
		}
		d.take(uint(entry & 0xff))
		if symbol < 16 {
			lengths[i] = uint8(symbol)
			i++
			continue
		}
		value, n := uint8(0), 3+d.take(extra)
		switch symbol {
		case 16:
			if i == 0 {
				return errCorrupt
			}
			value = lengths[i-1]
		case 18:
			n += 8
		}
		if n > len(lengths)-i {
			return errCorrupt
		}
		for ; n > 0; n-- {
			lengths[i] = value
			i++
		}
	}
	return nil
}

// codes decodes a block until its end or that of the output.
func (d *decoder) codes() error {
	for d.write < window+chunk {
		if err := d.more(); err != nil {
			return err
		}
		done, ok := d.turns()
		if d.overrun() {
			return errCut
		}
		if !ok {
			return errCorrupt
		}
		if done {
			d.blockDone()
			return nil
		}
	}
	return nil
}

// turns decodes as long as it need not look where the input or the output end; done at the end of the block.
func (d *decoder) turns() (done, ok bool) {
	in, out := d.in[:], d.out[:]
	litLen, dist := &d.litLen, &d.dist
	pos, write := d.pos, d.write
	bits, nbits := d.bits, d.nbits
	// Behind the end of the input there are zeros for one turn that uses what is left and more.
	for limit := d.end - inSlack; write < window+chunk; {
		if pos > limit && (d.srcErr == nil || pos-int(nbits/8) > d.end) {
			break
		}
		bits |= binary.LittleEndian.Uint64(in[pos:]) << (nbits & 63)
		pos += int((63 - nbits) >> 3)
		nbits |= 56
		entry := litLen[bits&(1<<litLenBits-1)]
		if entry&isLiteral != 0 {
			// 56 bits are enough for two literals and a length.
			bits >>= entry & 63
			nbits -= uint(entry & 63)
			out[write] = byte(entry >> 16)
			write++
			entry = litLen[bits&(1<<litLenBits-1)]
			if entry&isLiteral != 0 {
				bits >>= entry & 63
				nbits -= uint(entry & 63)
				out[write] = byte(entry >> 16)
				write++
				entry = litLen[bits&(1<<litLenBits-1)]
			}
		}
		if entry&special != 0 {
			if entry&isSubtable != 0 {
				bits >>= litLenBits
				nbits -= litLenBits
				entry = litLen[(uint64(entry>>16)+bits&(1<<(entry>>8&15)-1))&(litLenSize-1)]
			}
			if entry&isInvalid != 0 {
				d.pos, d.write, d.bits, d.nbits = pos, write, bits, nbits
				return false, false
			}
			if entry&isEnd != 0 {
				bits >>= entry & 63
				nbits -= uint(entry & 63)
				d.pos, d.write, d.bits, d.nbits = pos, write, bits, nbits
				return true, true
			}
		}
		saved := bits
		bits >>= entry & 63
		nbits -= uint(entry & 63)
		if entry&isLiteral != 0 {
			out[write] = byte(entry >> 16)
			write++
			continue
		}
		length := int(entry>>16) + int(saved&(1<<(entry&63)-1)>>(entry>>8&15))

		bits |= binary.LittleEndian.Uint64(in[pos:]) << (nbits & 63)
		pos += int((63 - nbits) >> 3)
		nbits |= 56
		entry = dist[bits&(1<<distBits-1)]
		if entry&isSubtable != 0 {
			bits >>= distBits
			nbits -= distBits
			entry = dist[(uint64(entry>>16)+bits&(1<<(entry>>8&15)-1))&(distSize-1)]
		}
		saved = bits
		bits >>= entry & 63
		nbits -= uint(entry & 63)
		distance := int(entry>>16) + int(saved&(1<<(entry&63)-1)>>(entry>>8&15))
		if entry&isInvalid != 0 || distance > write-d.start {
			d.pos, d.write, d.bits, d.nbits = pos, write, bits, nbits
			return false, false
		}
		copyMatch(out, write, distance, length)
		write += length
	}
	d.pos, d.write, d.bits, d.nbits = pos, write, bits, nbits
	return false, true
}

// copyMatch copies length bytes from distance before write on, and up to 16 beyond.
func copyMatch(out []byte, write, distance, length int) {
	from := write - distance
	if distance >= 8 {
		// Most matches have up to 16 bytes.
		to, from := out[write:][:16], out[from:]
		binary.LittleEndian.PutUint64(to, binary.LittleEndian.Uint64(from))
		binary.LittleEndian.PutUint64(to[8:], binary.LittleEndian.Uint64(from[8:]))
		for done := 16; done < length; done += 8 {
			binary.LittleEndian.PutUint64(out[write+done:], binary.LittleEndian.Uint64(from[done:]))
		}
		return
	}
	if distance == 1 {
		pattern := uint64(out[from]) * 0x0101010101010101
		for end := write + length; write < end; write += 8 {
			binary.LittleEndian.PutUint64(out[write:], pattern)
		}
		return
	}
	for end := write + length; write < end; write++ {
		out[write] = out[from]
		from++
	}
}
