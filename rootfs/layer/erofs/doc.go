// Package erofs makes a layer mountable without unpacking it: the uncompressed tar is kept as it is, and a small EROFS
// image beside it holds the tree, each file an extent of the tar.
//
// The image has blocks of 512 bytes, as the tar has, so that a file's content is where the tar has it: in device 1, the
// tar; device 0 is the image itself. A Builder takes members in the order of the stream and keeps a tree of some hundred
// bytes an entry; Write lays it out and writes it from front to back:
//
//	1024  superblock, device slot
//	1536  the root's inode; then, for each directory from the root down, its entries and the inodes of its children
//	      shared extended attributes
//	      what of sparse files does not stand on a block of the tar
//	      zeros up to a multiple of 4 KiB, for the kernel reads pages; the tar needs them too (Pad)
//
// The same members give the same bytes. On-disk format: Linux, fs/erofs/erofs_fs.h and
// Documentation/filesystems/erofs.rst. What is used of it: extended inodes, the flat and inline layouts for directories
// and symbolic links, chunks with indexes for files, inline and shared attributes, the device table and the
// superblock's checksum. Not used: compression, long attribute prefixes (a name that repeats is in a shared attribute
// once already), 48-bit addresses (they would need Linux 6.15; a tar of 2 TiB and more is refused).
//
// Linux mounts such a pair of plain files since 6.12 (Mount); Image reads one without the kernel's help.
package erofs
