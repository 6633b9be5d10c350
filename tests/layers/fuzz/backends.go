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

// Directory is the directory backend. DirectoryUser is the same for overlays of ordinary users.
func Directory(raw []byte, dir string) (*layer, error) { return directory(raw, dir, unpack.Options{}) }

func DirectoryUser(raw []byte, dir string) (*layer, error) {
	return directory(raw, dir, unpack.Options{UserXattr: true})
}

func directory(raw []byte, dir string, o unpack.Options) (*layer, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	result, err := unpack.Unpack(f, member.NewReader(bytes.NewReader(raw), member.Options{}), o)
	if err != nil {
		return nil, err
	}
	open, err := overlay.OpenDir(dir, o.UserXattr)
	if err != nil {
		return nil, err
	}
	return &layer{overlayfs.Layer{Path: dir}, o.UserXattr, open, result.Parents, result.Opaque, func() { open.Close() }}, nil
}

// pageSize is what both files of an EROFS layer are padded to.
const pageSize = 4096

// EROFS is the tar-index backend. It does not work on tmpfs. EROFSUser is the same for overlays with userxattr.
func EROFS(raw []byte, dir string) (*layer, error) { return image(raw, dir, erofs.Options{}) }

func EROFSUser(raw []byte, dir string) (*layer, error) {
	return image(raw, dir, erofs.Options{UserXattr: true})
}

func image(raw []byte, dir string, o erofs.Options) (*layer, error) {
	image, tar := filepath.Join(dir, "layer.erofs"), filepath.Join(dir, "layer.tar")
	result, err := writeImage(raw, image, o)
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
	open, err := overlay.OpenDir(fmt.Sprintf("/proc/self/fd/%d", mount.Fd()), o.UserXattr)
	if err != nil {
		mount.Close()
		return nil, err
	}
	return &layer{overlayfs.Layer{Path: image, Dir: mount}, o.UserXattr, open, result.Parents, result.Opaque,
		func() { open.Close(); mount.Close() }}, nil
}

func writeImage(raw []byte, name string, o erofs.Options) (erofs.Result, error) {
	b := erofs.NewBuilder(o)
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
