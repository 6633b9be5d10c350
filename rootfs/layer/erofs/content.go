package erofs

import (
	"io"

	"berth/rootfs/layer/member"
)

// Content reads a file's content; for what is no file it is empty.
func (i *Image) Content(n Node) *io.SectionReader {
	if n.Kind != member.File {
		n.Size = 0
	}
	return io.NewSectionReader(content{i, n}, 0, n.Size)
}

type content struct {
	image *Image
	node  Node
}

func (c content) ReadAt(p []byte, at int64) (int, error) {
	short := at >= c.node.Size
	if short {
		p = nil
	} else if left := c.node.Size - at; int64(len(p)) > left {
		p, short = p[:left], true
	}
	if err := c.image.readData(c.node, p, at); err != nil {
		return 0, err
	}
	if short {
		return len(p), io.EOF
	}
	return len(p), nil
}

// readData fills p with the data of an inode from the place at on; all of it must be within the size.
func (i *Image) readData(n Node, p []byte, at int64) error {
	for len(p) > 0 {
		e, err := i.extent(n, at)
		if err != nil {
			return err
		}
		part := p[:min(int64(len(p)), e.length)]
		if e.place == inHole {
			clear(part)
		} else if got, err := i.file(e.place).ReadAt(part, e.offset); got < len(part) {
			if err == io.EOF {
				return i.damaged(n.Path, "the content ends too soon")
			}
			return err
		}
		p, at = p[len(part):], at+int64(len(part))
	}
	return nil
}

// place is a device, or none.
type place uint8

const (
	inHole place = iota
	inImage
	inTar
)

func (i *Image) file(p place) io.ReaderAt {
	if p == inTar {
		return i.tar
	}
	return i.meta
}

// extent is where some bytes of an inode's data are.
type extent struct {
	place          place
	offset, length int64
}

// extent returns where the data from the place at on is; it is never of length 0.
func (i *Image) extent(n Node, at int64) (extent, error) {
	switch n.layout {
	case layoutPlain:
		return extent{inImage, int64(n.union)*blockSize + at, n.Size - at}, nil
	case layoutInline:
		if blocks := n.Size / blockSize * blockSize; at < blocks {
			return extent{inImage, int64(n.union)*blockSize + at, blocks - at}, nil
		}
		return extent{inImage, n.inline + at%blockSize, n.Size - at}, nil
	case layoutChunks:
		return i.chunk(n, at)
	}
	return extent{}, i.damaged(n.Path, "its layout")
}

func (i *Image) chunk(n Node, at int64) (extent, error) {
	if n.union&^(chunkIndexes|maxChunkBits) != 0 || n.union&chunkIndexes == 0 {
		return extent{}, i.damaged(n.Path, "the form of its chunks")
	}
	shift := blockBits + n.union&maxChunkBits
	b, err := i.read(roundUp(n.inline, indexSize)+at>>shift*indexSize, indexSize)
	if err != nil {
		return extent{}, err
	}
	within := at & (1<<shift - 1)
	e := extent{length: min(1<<shift-within, n.Size-at), offset: int64(le.Uint32(b[4:]))*blockSize + within}
	switch {
	case le.Uint32(b[4:]) == nullBlock:
	case le.Uint16(b[2:]) == 1:
		e.place = inTar
	case le.Uint16(b[2:]) == 0:
		e.place = inImage
	default:
		return extent{}, i.damaged(n.Path, "a chunk on no device")
	}
	return e, nil
}
