package nsenter

import (
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

// Seal opens this very executable in a form that a container cannot write to
// through /proc/PID/exe (CVE-2019-5736): on a read-only overlay of its own
// directory where the runtime may mount, else as a sealed copy in memory. The
// descriptor is the caller's.
func Seal(mayMount bool) (*os.File, error) {
	path, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil, fault.From(err, "readlink", "/proc/self/exe")
	}
	if mayMount && !strings.ContainsAny(path, `:\\`) {
		if f, err := overlay(path); err == nil {
			return f, nil
		}
	}
	return copyToMemory()
}

// overlay has no upper directory, so nobody can ever make it writable.
func overlay(path string) (*os.File, error) {
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fs)
	// Without an upper directory overlayfs asks for two lower ones; nothing of
	// the second is ever opened.
	if err := unix.FsconfigSetString(fs, "lowerdir", filepath.Dir(path)+":/sys"); err != nil {
		return nil, err
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return nil, err
	}
	mount, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOSUID)
	if err != nil {
		return nil, err
	}
	defer unix.Close(mount)
	fd, err := unix.Openat(mount, filepath.Base(path), unix.O_PATH|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

func copyToMemory() (*os.File, error) {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, fault.From(err, "open", "/proc/self/exe")
	}
	defer self.Close()
	fd, err := unix.MemfdCreate("berth", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fault.From(err, "memfd_create", "berth")
	}
	f := os.NewFile(uintptr(fd), "berth")
	if _, err = io.Copy(f, self); err == nil {
		err = seal(f)
	}
	if err != nil {
		f.Close()
		return nil, fault.From(err, "copy", "/proc/self/exe")
	}
	return f, nil
}
