package fuzz

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"berth/rootfs/layer/erofs"
	"berth/rootfs/layer/member"
	"berth/rootfs/layer/overlay"
	"berth/rootfs/layer/unpack"
	"berth/rootfs/overlayfs"
)

// Directory is the directory backend.
func Directory(raw []byte, dir string) (*layer, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	result, err := unpack.Unpack(f, member.NewReader(bytes.NewReader(raw), member.Options{}), unpack.Options{})
	if err != nil {
		return nil, err
	}
	open, err := overlay.OpenDir(dir, false)
	if err != nil {
		return nil, err
	}
	return &layer{overlayfs.Layer{Path: dir}, open, result.Parents, result.Opaque, func() { open.Close() }}, nil
}

// pageSize is what both files of an EROFS layer are padded to.
const pageSize = 4096

// EROFS is the tar-index backend. It does not work on tmpfs.
func EROFS(raw []byte, dir string) (*layer, error) {
	image, tar := filepath.Join(dir, "layer.erofs"), filepath.Join(dir, "layer.tar")
	result, err := writeImage(raw, image)
	if err != nil {
		return nil, err
	}
	padded := append(raw[:len(raw):len(raw)], make([]byte, pageSize-1-(len(raw)+pageSize-1)%pageSize)...)
	if err := os.WriteFile(tar, padded, 0o600); err != nil {
		return nil, err
	}
	mount, err := erofs.Mount(image, tar)
	if err != nil {
		return nil, err
	}
	open, err := overlay.OpenDir(fmt.Sprintf("/proc/self/fd/%d", mount.Fd()), false)
	if err != nil {
		mount.Close()
		return nil, err
	}
	return &layer{overlayfs.Layer{Path: image, Dir: mount}, open, result.Parents, result.Opaque,
		func() { open.Close(); mount.Close() }}, nil
}

func writeImage(raw []byte, name string) (erofs.Result, error) {
	b := erofs.NewBuilder(erofs.Options{})
	r := member.NewReader(bytes.NewReader(raw), member.Options{Offsets: true})
	for {
		m, err := r.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = b.Add(m)
		}
		if err != nil {
			return erofs.Result{}, err
		}
	}
	f, err := os.Create(name)
	if err != nil {
		return erofs.Result{}, err
	}
	defer f.Close()
	sum := sha256.Sum256(raw)
	return b.Write(f, erofs.Tar{ReaderAt: bytes.NewReader(raw), Size: int64(len(raw)), DiffID: "sha256:" + hex.EncodeToString(sum[:])})
}
