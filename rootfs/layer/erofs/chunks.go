package erofs

import (
	"errors"
	"fmt"
	"math/bits"

	"berth/rootfs/layer/member"
)

// chunkMap is the content of a file that is not one extent of the tar: pieces of 512<<bits bytes, each of them a hole,
// an extent of the tar, or copied into the image because what it holds does not begin on a block or has a hole in it.
type chunkMap struct {
	data   []member.Segment
	size   int64
	bits   uint8
	copied int64  // how many chunks are copied
	first  uint32 // the block of the first one
	live   bool   // the file has not been replaced
}

var (
	errSegments = errors.New("the parts of the sparse file are not in order or exceed its size")
	errTooFar   = fmt.Errorf("the tar has 2 TiB or more%s", elsewhere)
)

// content says where a file's bytes are.
func (b *Builder) content(n *node, m *member.Member) error {
	n.size = m.Size
	end := int64(0)
	for _, s := range m.Data {
		if s.At < end || s.Length < 0 || s.Offset < 0 || s.At > m.Size || s.Length > m.Size-s.At {
			return errSegments
		}
		end = s.At + s.Length
		if s.Offset > maxBlocks*blockSize-s.Length {
			return errTooFar
		}
		b.tarEnd = max(b.tarEnd, s.Offset+s.Length)
	}
	if m.Size < 0 {
		return errSegments
	}
	data := joined(m.Data)
	if m.Size == 0 {
		return nil
	}
	if len(data) == 1 && data[0].Length == m.Size && data[0].Offset%blockSize == 0 && m.Size <= blockSize<<maxChunkBits {
		n.data = uint32(data[0].Offset / blockSize)
		return nil
	}
	c := planChunks(data, m.Size)
	if cost := c.copied<<(blockBits+c.bits) + c.count()*indexSize; cost > b.opts.MaxCopy {
		return fmt.Errorf("a sparse file in so many or so unaligned pieces that %d MiB of the image would be its own%s",
			cost>>20, elsewhere)
	}
	n.marks |= mapped
	n.data = uint32(len(b.maps))
	b.maps = append(b.maps, c)
	b.segments += int64(len(data)) + 4
	return nil
}

// joined is segments with empty ones left out and those that follow each other made one.
func joined(data []member.Segment) []member.Segment {
	var out []member.Segment
	for _, s := range data {
		if s.Length == 0 {
			continue
		}
		if n := len(out) - 1; n >= 0 && out[n].At+out[n].Length == s.At && out[n].Offset+out[n].Length == s.Offset {
			out[n].Length += s.Length
			continue
		}
		out = append(out, s)
	}
	return out
}

// planChunks chooses the size of chunks that makes the image smallest.
func planChunks(data []member.Segment, size int64) chunkMap {
	var best chunkMap
	least := int64(-1)
	for b := range uint8(maxChunkBits + 1) {
		c := chunkMap{data: data, size: size, bits: b}
		c.copied = c.countCopied()
		if c.copied > 1<<(62-blockBits-b) || c.count() > 1<<58 {
			continue
		}
		if cost := c.copied<<(blockBits+b) + c.count()*indexSize; least < 0 || cost < least {
			best, least = c, cost
		}
		if blockSize<<b >= size {
			break
		}
	}
	return best
}

func (c *chunkMap) shift() uint8 { return blockBits + c.bits }

func (c *chunkMap) count() int64 { return (c.size-1)>>c.shift() + 1 }

// direct says whether the chunk whose bytes are [from, to) can be read from the tar: all of it is in s, from a block on.
func (c *chunkMap) direct(s member.Segment, from, to int64) bool {
	return s.At <= from && min(to, c.size) <= s.At+s.Length && (s.Offset+from-s.At)%blockSize == 0
}

// countCopied counts the chunks that hold data and are not direct. A segment has at most two chunks that it fills
// partly; those between them are all direct or all copied.
func (c *chunkMap) countCopied() int64 {
	var copied int64
	last := int64(-1) // the last chunk that was counted
	for _, s := range c.data {
		lo, hi := s.At>>c.shift(), (s.At+s.Length-1)>>c.shift()
		for _, r := range [][2]int64{{lo, lo}, {lo + 1, hi - 1}, {hi, hi}} {
			from, to := max(r[0], last+1), r[1]
			if from <= to && !c.direct(s, from<<c.shift(), (from+1)<<c.shift()) {
				copied += to - from + 1
			}
			last = max(last, to)
		}
	}
	return copied
}

// each calls do for every chunk: with its first block in the tar, or nullBlock and the segments that it has bytes of.
// A chunk with no segments is a hole.
func (c *chunkMap) each(do func(number int64, block uint32, parts []member.Segment) error) error {
	i := 0
	for n := range c.count() {
		from, to := n<<c.shift(), (n+1)<<c.shift()
		for i < len(c.data) && c.data[i].At+c.data[i].Length <= from {
			i++
		}
		j := i
		for j < len(c.data) && c.data[j].At < to {
			j++
		}
		block := uint32(nullBlock)
		if j == i+1 && c.direct(c.data[i], from, to) {
			block = uint32((c.data[i].Offset + from - c.data[i].At) / blockSize)
		}
		if err := do(n, block, c.data[i:j]); err != nil {
			return err
		}
	}
	return nil
}

// chunkBits is how many bits above those of a block one chunk needs to hold a file of size bytes.
func chunkBits(size int64) uint8 {
	return uint8(max(0, bits.Len64(uint64(size-1))-blockBits))
}
