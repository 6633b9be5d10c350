package erofs

import (
	"encoding/binary"
	"hash/crc32"
)

// Sizes and places in an image.
const (
	blockBits = 9
	blockSize = 1 << blockBits
	pageSize  = 4096 // both files end on such a boundary

	superOffset  = 1024 // fs/erofs/erofs_fs.h, EROFS_SUPER_OFFSET
	superSize    = 128
	slotSize     = 128 // of the device table; one slot follows the superblock
	metaStart    = superOffset + blockSize
	inodeSize    = 64 // extended
	inodeAlign   = 32 // a nid counts these
	direntSize   = 12
	indexSize    = 8
	xattrHeader  = 12
	xattrEntry   = 4
	maxChunkBits = 31 // above blockBits
	nullBlock    = 1<<32 - 1
	maxBlocks    = 1<<32 - 1 // of either device: block numbers have 32 bits, all ones means none
)

const (
	magic = 0xE0F5E1E2

	compatChecksum    = 0x1
	compatMTime       = 0x2
	incompatChunked   = 0x4
	incompatDevices   = 0x8
	supportedIncompat = incompatChunked | incompatDevices
)

// Layouts of an inode's data, and the bit of an extended inode, in i_format.
const (
	layoutPlain  = 0
	layoutInline = 2
	layoutChunks = 4
	extended     = 1
	chunkIndexes = 0x20
)

// Types of a directory entry.
const (
	typeFile = 1 + iota
	typeDir
	typeChar
	typeBlock
	typeFifo
	typeSocket
	typeSymlink
)

// Types of an inode, as in st_mode.
const (
	modeType    = 0o170000
	modeFile    = 0o100000
	modeDir     = 0o040000
	modeChar    = 0o020000
	modeBlock   = 0o060000
	modeFifo    = 0o010000
	modeSymlink = 0o120000
)

// Limits of the format and of the kernel that reads it.
const (
	maxName   = 255
	maxTarget = 4095 // PATH_MAX without the NUL: readlink(2) gives no more
	maxValue  = 1<<16 - 1
)

var le = binary.LittleEndian

// super is what the superblock says.
type super struct {
	root, inodes                  uint64
	blocks, xattrBlock, tarBlocks uint32
	uuid                          [16]byte
	tag                           [64]byte // of the device slot
}

// block returns the block that holds the superblock and the device slot.
func (s *super) block() []byte {
	b := make([]byte, blockSize)
	le.PutUint32(b[0:], magic)
	le.PutUint32(b[8:], compatChecksum|compatMTime)
	b[12] = blockBits
	le.PutUint16(b[14:], uint16(s.root))
	le.PutUint64(b[16:], s.inodes)
	le.PutUint32(b[36:], s.blocks)
	le.PutUint32(b[44:], s.xattrBlock)
	copy(b[48:64], s.uuid[:])
	le.PutUint32(b[80:], supportedIncompat)
	le.PutUint16(b[86:], 1)
	le.PutUint16(b[88:], (superOffset+superSize)/slotSize)
	slot := b[superSize:]
	copy(slot[:64], s.tag[:])
	le.PutUint32(slot[64:], s.tarBlocks)
	le.PutUint32(b[4:], checksum(b))
	return b
}

// checksum is the one of a superblock's block whose own place is zero: crc32c without the inversion at the end.
func checksum(block []byte) uint32 {
	return ^crc32.Checksum(block, crc32.MakeTable(crc32.Castagnoli))
}

// inode is an extended inode without what follows it.
type inode struct {
	layout      uint16
	xattrCount  uint16
	mode        uint16
	size        uint64
	union       uint32 // first block, device number or chunk format
	number      uint32
	uid, gid    uint32
	mtime       int64
	nsec, nlink uint32
}

func (i *inode) put(b []byte) {
	le.PutUint16(b[0:], i.layout<<1|extended)
	le.PutUint16(b[2:], i.xattrCount)
	le.PutUint16(b[4:], i.mode)
	le.PutUint64(b[8:], i.size)
	le.PutUint32(b[16:], i.union)
	le.PutUint32(b[20:], i.number)
	le.PutUint32(b[24:], i.uid)
	le.PutUint32(b[28:], i.gid)
	le.PutUint64(b[32:], uint64(i.mtime))
	le.PutUint32(b[40:], i.nsec)
	le.PutUint32(b[44:], i.nlink)
}

func (i *inode) get(b []byte) {
	i.layout = le.Uint16(b[0:]) >> 1 & 7
	i.xattrCount = le.Uint16(b[2:])
	i.mode = le.Uint16(b[4:])
	i.size = le.Uint64(b[8:])
	i.union = le.Uint32(b[16:])
	i.number = le.Uint32(b[20:])
	i.uid = le.Uint32(b[24:])
	i.gid = le.Uint32(b[28:])
	i.mtime = int64(le.Uint64(b[32:]))
	i.nsec = le.Uint32(b[40:])
	i.nlink = le.Uint32(b[44:])
}

// device is the kernel's 32-bit form of a device number (new_encode_dev).
func device(major, minor uint32) uint32 {
	return minor&0xff | major<<8 | minor&^0xff<<12
}

func deviceNumbers(d uint32) (major, minor uint32) {
	return d >> 8 & 0xfff, d&0xff | d>>12&0xfff00
}

func roundUp[T int64 | int | uint64](n, to T) T { return (n + to - 1) &^ (to - 1) }
