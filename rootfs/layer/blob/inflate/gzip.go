package inflate

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
)

var (
	errHeader   = errors.New("not a gzip header")
	errChecksum = errors.New("the gzip checksum does not fit the content")
	errGarbage  = errors.New("something that is not gzip follows the gzip stream")
)

// Reader reads gzip members one behind the other (RFC 1952, 2.2), and zeros behind the last, which tools that write in
// blocks leave there. It is not safe for concurrent use.
type Reader struct {
	d     decoder
	crc   uint32
	size  uint32
	begun bool // a member
	err   error
}

// NewReader decompresses r, which it reads to its end in pieces of some kilobytes; it may read ahead. A Reader holds
// about 400 KiB.
func NewReader(r io.Reader) *Reader { return &Reader{d: decoder{r: r}} }

// Read returns io.EOF at the end of r, io.ErrUnexpectedEOF if that is not the end of a member, errors of r as they are.
func (z *Reader) Read(p []byte) (int, error) {
	for z.d.given == z.d.write && z.err == nil {
		z.err = z.step()
	}
	n := copy(p, z.d.out[z.d.given:z.d.write])
	z.d.given += n
	if n > 0 || len(p) == 0 {
		return n, nil
	}
	return 0, z.err
}

// step goes on until there is output or something ended.
func (z *Reader) step() error {
	if !z.begun {
		return z.member()
	}
	err := z.d.decode()
	content := z.d.out[z.d.given:z.d.write]
	z.crc = crc32.Update(z.crc, crc32.IEEETable, content)
	z.size += uint32(len(content))
	if err == nil && z.d.state == atEnd {
		z.begun = false
		err = z.footer()
	}
	return err
}

func (z *Reader) footer() error {
	z.d.align()
	var f [8]byte
	if err := z.full(f[:]); err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(f[:]) != z.crc || binary.LittleEndian.Uint32(f[4:]) != z.size {
		return errChecksum
	}
	return nil
}

// member reads the header of a member, or the end.
func (z *Reader) member() error {
	another := z.d.state == atEnd
	first, err := z.d.byte()
	switch {
	case err == errCut && another:
		return io.EOF
	case err != nil:
		return err
	case first == 0 && another:
		return z.zeros()
	}
	err = z.header(first)
	if err == errHeader && another {
		return errGarbage
	}
	z.begun, z.crc, z.size = err == nil, 0, 0
	z.d.begin()
	return err
}

// Flags of a header (RFC 1952, 2.3.1). Others are ignored, as everybody does.
const (
	hasChecksum = 1 << (iota + 1)
	hasExtra
	hasName
	hasComment
)

func (z *Reader) header(first byte) error {
	h := [10]byte{first}
	for i := 1; i < len(h); i++ {
		c, err := z.d.byte()
		if err != nil {
			return err
		}
		if h[i] = c; i == 1 && (h[0] != 0x1f || h[1] != 0x8b) {
			return errHeader
		}
	}
	flags := h[3]
	if h[2] != 8 {
		return errHeader
	}
	sum := crc32.ChecksumIEEE(h[:])
	if flags&hasExtra != 0 {
		var n [2]byte
		if err := z.skip(n[:], &sum); err != nil {
			return err
		}
		if err := z.skip(make([]byte, binary.LittleEndian.Uint16(n[:])), &sum); err != nil {
			return err
		}
	}
	for _, text := range []byte{hasName, hasComment} {
		for c := []byte{1}; flags&text != 0 && c[0] != 0; {
			if err := z.skip(c, &sum); err != nil {
				return err
			}
		}
	}
	if flags&hasChecksum == 0 {
		return nil
	}
	want, have := uint16(sum), [2]byte{}
	if err := z.skip(have[:], &sum); err != nil {
		return err
	}
	if binary.LittleEndian.Uint16(have[:]) != want {
		return errHeader
	}
	return nil
}

// skip reads a part of the header.
func (z *Reader) skip(p []byte, sum *uint32) error {
	err := z.full(p)
	*sum = crc32.Update(*sum, crc32.IEEETable, p)
	return err
}

func (z *Reader) full(p []byte) error {
	for i := range p {
		c, err := z.d.byte()
		if err != nil {
			return err
		}
		p[i] = c
	}
	return nil
}

func (z *Reader) zeros() error {
	for {
		c, err := z.d.byte()
		switch {
		case err == errCut:
			return io.EOF
		case err != nil:
			return err
		case c != 0:
			return errGarbage
		}
	}
}
