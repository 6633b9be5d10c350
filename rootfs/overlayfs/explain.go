package overlayfs

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

// explain adds to an error of Open what Explain finds.
func (m *Mount) explain(err error) error {
	e := fault.From(err, "mount overlay", "")
	m.Explain(e)
	return e
}

// Explain says what the kernel does not about a mount of m that failed with
// e.Errno: it sets path, message and hint. It looks at the host's directories:
// for use after the failure only.
func (m *Mount) Explain(e *fault.Error) {
	if e.Hint != "" || e.Errno == 0 {
		return
	}
	for _, look := range [...]func(*Mount) *finding{missing, unsuitable, otherMount, wasVolatile} {
		if f := look(m); f != nil {
			e.Path, e.Msg, e.Hint = f.path, f.msg, f.hint
			return
		}
	}
	for _, h := range hints {
		if h.errno == e.Errno {
			e.Hint = h.text
			return
		}
	}
}

var hints = [...]struct {
	errno unix.Errno
	text  string
}{
	{unix.ENODEV, "this kernel does not know overlayfs: modprobe overlay"},
	{unix.EPERM, "an overlay in a user namespace needs Linux 5.11 and the option userxattr"},
	{unix.EBUSY, "another overlay uses upperdir or workdir, or one of them is a lower layer of this one"},
	{unix.ELOOP, "a layer is listed twice, or lies inside another"},
	{unix.ESTALE, "the upper directory was used with other layers; the option index=off allows it"},
	{unix.EINVAL, "the kernel does not know an option or does not take it with another one, such as userxattr with redirect_dir=on; its log says more (dmesg)"},
}

type finding struct{ path, msg, hint string }

// missing is a directory that is not there, or cannot be reached.
func missing(m *Mount) *finding {
	for _, d := range m.dirs() {
		if d.fd >= 0 {
			continue
		}
		what := d.what()
		st, err := os.Stat(d.path)
		switch {
		case os.IsNotExist(err):
			hint := "make the directory, or correct the option"
			if d.Key == "lowerdir+" {
				hint = "a layer that is not unpacked here, or was removed: pull the image again"
			}
			return &finding{d.path, "the " + what + " does not exist", hint}
		case os.IsPermission(err):
			return &finding{d.path, "the " + what + " cannot be reached", "all directories on the way need the permission x for who mounts"}
		case err == nil && !st.IsDir():
			return &finding{d.path, "the " + what + " is not a directory", ""}
		}
	}
	return nil
}

func (s setting) what() string {
	switch s.Key {
	case "upperdir":
		return "upper directory"
	case "workdir":
		return "work directory"
	case "datadir+":
		return "data-only layer"
	}
	return "lower layer"
}

// unsuitable is an upper directory on a file system that cannot be one.
func unsuitable(m *Mount) *finding {
	var st unix.Statfs_t
	if m.Upper == "" || unix.Statfs(m.Upper, &st) != nil {
		return nil
	}
	const hint = "use a directory on ext4, xfs, btrfs or tmpfs"
	for _, f := range [...]struct {
		magic int64
		name  string
	}{
		{unix.OVERLAYFS_SUPER_MAGIC, "an overlay itself"}, {unix.NFS_SUPER_MAGIC, "on NFS"}, {unix.FUSE_SUPER_MAGIC, "on FUSE"},
		{unix.MSDOS_SUPER_MAGIC, "on FAT"}, {unix.SQUASHFS_MAGIC, "on squashfs"}, {unix.EROFS_SUPER_MAGIC_V1, "on EROFS"},
		{unix.V9FS_MAGIC, "on 9p"},
	} {
		if int64(st.Type) == f.magic {
			return &finding{m.Upper, "the upper directory is " + f.name + ", which the kernel does not take", hint}
		}
	}
	if st.Flags&unix.ST_RDONLY != 0 {
		return &finding{m.Upper, "the upper directory is read-only", "leave upperdir and workdir out for a read-only overlay"}
	}
	return nil
}

// otherMount is a work directory that renames cannot lead from.
func otherMount(m *Mount) *finding {
	if m.Upper == "" {
		return nil
	}
	upper, err1 := mountOf(m.Upper)
	work, err2 := mountOf(m.Work)
	if err1 != nil || err2 != nil || upper == work {
		return nil
	}
	return &finding{m.Work, "the work directory is on another mount than upperdir " + m.Upper, "put it beside the upper directory"}
}

// wasVolatile is a volatile upper directory of before: the kernel keeps it from
// being trusted after what may have been a crash.
func wasVolatile(m *Mount) *finding {
	mark := filepath.Join(m.Work, "work/incompat/volatile")
	if m.Upper == "" {
		return nil
	}
	if _, err := os.Lstat(mark); err != nil {
		return nil
	}
	return &finding{m.Upper, "the upper directory was mounted volatile before, and may lack what was not synced",
		"remove it and the work directory and begin again; where the machine has not crashed since, remove only " + mark}
}
