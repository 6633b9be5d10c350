package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// volumeSize is what any contender needs, and more.
const volumeSize = 6 << 30

// volume is an ext4 in a file, which is made anew for each measurement.
type volume struct {
	dir   string
	tmpfs bool
}

func newVolume(on string) (*volume, error) {
	v := &volume{tmpfs: on == "tmpfs"}
	parent := on
	if v.tmpfs {
		parent = ""
	}
	var err error
	if v.dir, err = os.MkdirTemp(parent, "berth-bench-layers"); err != nil {
		return nil, err
	}
	if v.tmpfs {
		err = os.NewSyscallError("mount", unix.Mount("tmpfs", v.dir, "tmpfs", 0, fmt.Sprint("mode=700,size=", volumeSize+1<<20)))
	}
	if err == nil {
		err = os.Mkdir(v.mountpoint(), 0o700)
	}
	return v, err
}

func (v *volume) mountpoint() string { return filepath.Join(v.dir, "mnt") }

// use makes a fresh file system, has work done in it, and removes it.
func (v *volume) use(work func(dir string) error) (err error) {
	file := filepath.Join(v.dir, "ext4")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		return err
	}
	defer os.Remove(file)
	if err := os.Truncate(file, volumeSize); err != nil {
		return err
	}
	for _, argv := range [][]string{
		{"mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,nodiscard", file},
		{"mount", "-o", "loop,noinit_itable", file, v.mountpoint()},
	} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", argv[0], err, out)
		}
	}
	defer func() { err = errors.Join(err, v.unmount()) }()
	return work(v.mountpoint())
}

// unmount unmounts what is mounted in it, too (containers-storage leaves a mount), and waits for who is still on the way out.
func (v *volume) unmount() error {
	for try := 0; ; try++ {
		out, err := exec.Command("umount", "-R", v.mountpoint()).CombinedOutput()
		if err == nil {
			return nil
		}
		if try == 50 {
			return fmt.Errorf("umount: %s", out)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// sync has everything on the disk.
func (v *volume) sync() error {
	dir, err := os.Open(v.mountpoint())
	if err != nil {
		return err
	}
	defer dir.Close()
	return os.NewSyscallError("syncfs", unix.Syncfs(int(dir.Fd())))
}

func (v *volume) remove() error {
	if v.tmpfs {
		_ = os.Remove(v.mountpoint())
		if err := unix.Unmount(v.dir, unix.MNT_DETACH); err != nil {
			return os.NewSyscallError("umount", err)
		}
	}
	return os.RemoveAll(v.dir)
}
