// Package disk is a disk that remembers what was written to it, and in which order, so that tests see it as it is after a
// power cut.
//
// It is a file of a FUSE file system without caches. A loop device on it passes every write on when it is issued, and a
// flush as fsync(2).
package disk

import (
	"context"
	"math/rand/v2"
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// sector is what a disk writes whole or not at all, as far as file systems hope: a page.
const sector = 4096

// write is one write, or a flush where data is nil.
type write struct {
	at   int64
	data []byte
}

// Disk is a recording disk.
type Disk struct {
	mu     sync.Mutex
	base   []byte // when it began
	now    []byte
	log    []write
	server *fuse.Server
}

// Serve mounts a file system on dir with one file, "disk", which has the content of base.
func Serve(dir string, base []byte) (*Disk, error) {
	d := &Disk{base: base, now: append([]byte{}, base...)}
	o := &fs.Options{MountOptions: fuse.MountOptions{DirectMountStrict: true, FsName: "disk", Name: "disk"}}
	server, err := fs.Mount(dir, &root{disk: d}, o)
	if err != nil {
		return nil, err
	}
	d.server = server
	return d, nil
}

// Close unmounts the file system.
func (d *Disk) Close() error { return d.server.Unmount() }

// Now is how much has been written; later cuts keep at least what was flushed until now.
func (d *Disk) Now() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.log)
}

// Cut returns the disk as it may be where the power went at some time of its record: all that was written before the last
// flush then, and any pages of what was written after it.
func (d *Disk) Cut(when int, random *rand.Rand) []byte {
	out := append([]byte{}, d.base...)
	flushed := 0
	for n, w := range d.log[:when] {
		if w.data == nil {
			flushed = n
		}
	}
	for n, w := range d.log[:when] {
		for from := 0; from < len(w.data); from += sector {
			if n < flushed || random.IntN(2) == 0 {
				copy(out[w.at+int64(from):], w.data[from:min(from+sector, len(w.data))])
			}
		}
	}
	return out
}

// root is the directory that the disk is in.
type root struct {
	fs.Inode
	disk *Disk
}

func (r *root) OnAdd(ctx context.Context) {
	r.AddChild("disk", r.NewPersistentInode(ctx, &file{disk: r.disk}, fs.StableAttr{Mode: syscall.S_IFREG}), false)
}

type file struct {
	fs.Inode
	disk *Disk
}

func (f *file) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Size = 0o600, uint64(len(f.disk.base))
	return 0
}

func (f *file) Setattr(ctx context.Context, h fs.FileHandle, _ *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	return f.Getattr(ctx, h, out)
}

func (f *file) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, 0
}

func (f *file) Read(_ context.Context, _ fs.FileHandle, to []byte, at int64) (fuse.ReadResult, syscall.Errno) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	n := copy(to, f.disk.now[min(at, int64(len(f.disk.now))):])
	return fuse.ReadResultData(to[:n]), 0
}

func (f *file) Write(_ context.Context, _ fs.FileHandle, data []byte, at int64) (uint32, syscall.Errno) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	if at+int64(len(data)) > int64(len(f.disk.now)) {
		return 0, syscall.ENOSPC
	}
	copy(f.disk.now[at:], data)
	f.disk.log = append(f.disk.log, write{at, append([]byte{}, data...)})
	return uint32(len(data)), 0
}

func (f *file) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	f.disk.log = append(f.disk.log, write{})
	return 0
}
