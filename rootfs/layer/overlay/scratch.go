package overlay

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

// Scratch is a file system of limited size for an upper and a work directory,
// mounted on Dir. Upper and Work are made in it where they are missing. The
// mount is visible on the host, because what the container has changed is read
// from there.
type Scratch struct {
	Dir  string // an existing directory
	Size int64  // bytes
	// File is the image of the file system (ext4); empty: it is a tmpfs, whose
	// content goes when it is unmounted.
	File string
}

// Upper is the upper directory.
func (s Scratch) Upper() string { return filepath.Join(s.Dir, "upper") }

// Work is the work directory.
func (s Scratch) Work() string { return filepath.Join(s.Dir, "work") }

// scratchName is how mountinfo tells a tmpfs of ours from others.
const scratchName = "berth-layer-scratch"

// Mount makes the file system where it does not exist and mounts it where it is
// not mounted. Where it fails, what it has made is gone again.
func (s Scratch) Mount() (err error) {
	if s.Size <= 0 {
		return &fault.Error{Op: "mount", Path: s.Dir, Msg: "the size of an upper directory is a number of bytes above 0"}
	}
	there, err := s.mounted()
	if err != nil {
		return err
	}
	if !there {
		if err := s.mount(); err != nil {
			return err
		}
		defer func() {
			if err != nil {
				unix.Unmount(s.Dir, unix.MNT_DETACH)
			}
		}()
	}
	for _, dir := range []string{s.Upper(), s.Work()} {
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return fault.From(err, "mkdir", dir)
		}
	}
	return nil
}

func (s Scratch) mount() error {
	if s.File == "" {
		fs, err := newTmpfs(s.Size)
		if err != nil {
			return fault.From(err, "mount tmpfs", s.Dir)
		}
		defer fs.Close()
		return Attach(fs, s.Dir)
	}
	made, err := s.format()
	if err != nil {
		return err
	}
	if err := s.mountFile(); err != nil {
		if made {
			os.Remove(s.File)
		}
		return err
	}
	return nil
}

// newTmpfs is a tmpfs that is attached nowhere.
func newTmpfs(size int64) (*os.File, error) {
	fs, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fs)
	for _, p := range [][2]string{{"source", scratchName}, {"size", strconv.FormatInt(size, 10)}, {"mode", "755"}} {
		if err := unix.FsconfigSetString(fs, p[0], p[1]); err != nil {
			return nil, err
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return nil, err
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "tmpfs"), nil
}

// format makes the image where there is none; it appears under its name only
// when it is complete.
func (s Scratch) format() (made bool, err error) {
	if _, err := os.Stat(s.File); err == nil {
		return false, nil
	}
	temp := s.File + ".new"
	defer os.Remove(temp)
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return false, fault.From(err, "make", temp)
	}
	err = f.Truncate(s.Size)
	f.Close()
	if err != nil {
		return false, fault.From(err, "make", temp)
	}
	mkfs, err := exec.LookPath("mkfs.ext4")
	if err != nil {
		mkfs = "/sbin/mkfs.ext4" // not in the PATH of ordinary users
	}
	var said bytes.Buffer
	// Tables are zeroed now: the kernel would do it behind the container's back.
	cmd := exec.Command(mkfs, "-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", temp)
	cmd.Stderr = &said
	if err := cmd.Run(); err != nil {
		e := &fault.Error{Op: "mkfs.ext4", Path: s.File, Msg: firstLine(said.String()), Err: err}
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
			e.Hint = "install e2fsprogs, or use a tmpfs"
		}
		return false, e
	}
	if err := os.Rename(temp, s.File); err != nil {
		return false, fault.From(err, "rename", s.File)
	}
	return true, nil
}

func firstLine(s string) string {
	line, _, _ := bytes.Cut([]byte(s), []byte("\n"))
	return string(line)
}

// mountFile mounts the image through a loop device, which goes with the mount.
func (s Scratch) mountFile() error {
	file, err := os.OpenFile(s.File, os.O_RDWR, 0)
	if err != nil {
		return fault.From(err, "open", s.File)
	}
	defer file.Close()
	loop, err := attachLoop(file)
	if err != nil {
		return err
	}
	defer loop.Close()
	err = unix.Mount(loop.Name(), s.Dir, "ext4", 0, "")
	if err != nil {
		e := fault.From(err, "mount", s.File)
		if e.Errno == unix.EINVAL || e.Errno == unix.EUCLEAN {
			e.Hint = "the image is damaged: e2fsck -f " + s.File
		}
		return e
	}
	return nil
}

// attachLoop gives a file a loop device that is freed with its last use. Others
// may take a free one first.
func attachLoop(file *os.File) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		e := fault.From(err, "open", "/dev/loop-control")
		e.Hint = "loop devices are the host's root's (modprobe loop): use a tmpfs elsewhere"
		return nil, e
	}
	defer control.Close()
	for {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fault.From(err, "find a free loop device", "/dev/loop-control")
		}
		loop, err := os.OpenFile("/dev/loop"+strconv.Itoa(n), os.O_RDWR, 0)
		if err != nil {
			return nil, fault.From(err, "open", "/dev/loop"+strconv.Itoa(n))
		}
		config := unix.LoopConfig{Fd: uint32(file.Fd())}
		config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
		copy(config.Info.File_name[:], file.Name())
		err = unix.IoctlLoopConfigure(int(loop.Fd()), &config)
		if err == nil {
			return loop, nil
		}
		loop.Close()
		if !errors.Is(err, unix.EBUSY) {
			return nil, fault.From(err, "set up a loop device", file.Name())
		}
	}
}

// mounted tells whether the file system is mounted on Dir.
func (s Scratch) mounted() (bool, error) {
	path, err := resolved(s.Dir)
	if err != nil || path == "" {
		return false, err
	}
	list, err := mountsAt(path)
	if err != nil {
		return false, err
	}
	for _, m := range list {
		if m.kind == "tmpfs" && m.source == scratchName || m.kind == "ext4" && s.File != "" {
			return true, nil
		}
	}
	return false, nil
}

// Unmount unmounts the file system, which is nothing to do where it is not
// mounted; what was in a tmpfs is lost. The image stays.
func (s Scratch) Unmount(detach bool) error {
	flags := unix.UMOUNT_NOFOLLOW
	if detach {
		flags |= unix.MNT_DETACH
	}
	there, err := s.mounted()
	if err != nil || !there {
		return err
	}
	if err := unix.Unmount(s.Dir, flags); err != nil {
		e := fault.From(err, "unmount", s.Dir)
		if e.Errno == unix.EBUSY {
			e.Hint = "unmount the overlay first, or stop what uses it (fuser -vm " + s.Dir + ")"
		}
		return e
	}
	return nil
}
