package erofs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/rootfs/layer/member"
)

// instead is the way out where images cannot be mounted.
const instead = "; directories work everywhere (--backend=dir)"

// maxParam is the longest string that fsconfig(2) takes.
const maxParam = 255

// Mount returns a descriptor, for the caller to close, of a mount of the image over its tar: detached, read-only,
// nosuid and nodev (neither of which an overlay over it inherits). It may be given an ID map, attached with
// move_mount(2), or be a lower layer of an overlay as it is (Linux 6.15), and closed then. A hundred mounts take some
// 4 ms; closing that many takes 20 ms, for the kernel waits for a grace period each time, and 8 ms by several goroutines.
//
// It needs CAP_SYS_ADMIN over the user namespace of the initial mounts (EROFS is not for user namespaces), Linux 6.12
// with CONFIG_EROFS_FS_BACKED_BY_FILE, and a file system with page cache of its own below the image: not tmpfs, not
// overlayfs, where the error is ENOTBLK. No loop device is made. The files may be unlinked while they are mounted and
// must not be written. A path of more than 255 bytes goes through /proc/self/fd; the mount's source then reads like
// that.
func Mount(image, tar string) (*os.File, error) {
	fd, err := mount(image, tar)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), image), nil
}

func mount(image, tar string) (int, error) {
	fs, err := unix.Fsopen("erofs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, mountFault(err, image, "")
	}
	defer unix.Close(fs)
	for _, p := range [][2]string{{"source", image}, {"device", tar}} {
		name, done, err := param(p[1])
		if err != nil {
			return -1, mountFault(err, p[1], "")
		}
		defer done()
		if err := unix.FsconfigSetString(fs, p[0], name); err != nil {
			return -1, mountFault(err, p[1], p[0])
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		if err == unix.ENOENT && unix.Access(tar, unix.F_OK) == err {
			image = tar
		}
		return -1, mountFault(err, image, complaints(fs))
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV)
	if err != nil {
		return -1, mountFault(err, image, "fsmount")
	}
	return fd, nil
}

func mountFault(err error, path, msg string) error {
	e := fault.From(err, "mount", path).In(fault.PhaseMounts)
	e.Msg = msg
	switch e.Errno {
	case unix.ENODEV:
		e.Hint = "the kernel has no EROFS (modprobe erofs)" + instead
	case unix.ENOTBLK:
		e.Hint = "EROFS on a file needs Linux 6.12 with CONFIG_EROFS_FS_BACKED_BY_FILE and a file system like ext4, " +
			"XFS or btrfs" + instead
	case unix.EPERM:
		e.Hint = "only root of the host may mount EROFS" + instead
	case unix.EINVAL, unix.EBADMSG, unix.EUCLEAN:
		e.Hint = "the image is damaged, and the kernel's log says more; fsck --repair makes it again from the layer's tar"
	}
	return e
}

// param returns a name of path that fsconfig takes, good until done is called.
func param(path string) (name string, done func(), err error) {
	if len(path) <= maxParam {
		return path, func() {}, nil
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d", fd), func() { unix.Close(fd) }, nil
}

// complaints is what the kernel says about a file system that it does not create: lines with a letter in front, each
// read by a call of its own (fsopen(2)).
func complaints(fs int) string {
	var all []string
	line := make([]byte, 1024)
	for len(all) < 8 {
		n, err := unix.Read(fs, line)
		if err != nil || n < 2 {
			break
		}
		all = append(all, strings.TrimSpace(string(line[2:n])))
	}
	return strings.Join(all, "; ")
}

// Probe says whether Mount works for images in dir: it mounts a tiny one that it makes there, and reads a file of it. The
// error says why not.
func Probe(dir string) error {
	work, err := os.MkdirTemp(dir, "probe")
	if err != nil {
		return fault.From(err, "create", dir)
	}
	defer os.RemoveAll(work)
	image, tar := filepath.Join(work, "layer.erofs"), filepath.Join(work, "layer.tar")
	if err := probeFiles(image, tar); err != nil {
		return fault.From(err, "write", work)
	}
	m, err := Mount(image, tar)
	if err != nil {
		return err
	}
	defer m.Close()
	got, err := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d/%s", m.Fd(), probeContent))
	if err == nil && string(got) != probeContent {
		err = errors.New("it reads as something else")
	}
	if err != nil {
		return &fault.Error{Op: "read", Path: image, Err: err, Phase: fault.PhaseMounts,
			Msg: "the kernel mounts EROFS on a file", Hint: strings.TrimPrefix(instead, "; ")}
	}
	return nil
}

// probeContent is a file in the second block of the tar that Probe makes, and its name.
const probeContent = "probe"

func probeFiles(image, tar string) error {
	data := make([]byte, pageSize)
	copy(data[blockSize:], probeContent)
	if err := os.WriteFile(tar, data, 0o600); err != nil {
		return err
	}
	b := NewBuilder(Options{})
	err := b.Add(&member.Member{Path: probeContent, Size: int64(len(probeContent)),
		Data: []member.Segment{{Offset: blockSize, Length: int64(len(probeContent))}}})
	if err != nil {
		return err
	}
	f, err := os.OpenFile(image, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = b.Write(f, Tar{Size: pageSize, DiffID: probeContent})
	return errors.Join(err, f.Close())
}

// Pad makes a kept tar as long as the kernel wants it, a multiple of 4 KiB: it reads pages, and complains of a file
// that ends in one. The layer is the first Tar.Size bytes.
func Pad(tar *os.File) error {
	st, err := tar.Stat()
	if err != nil {
		return err
	}
	return tar.Truncate(roundUp(st.Size(), pageSize))
}
