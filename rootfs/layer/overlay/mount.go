package overlay

import (
	"bytes"
	"cmp"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
	"berth/rootfs/overlayfs"
)

// Options is an overlay of layers.
type Options struct {
	// Lower is the layers, the topmost first. One whose root is opaque has to be
	// the last: the kernel takes no notice of that mark there.
	Lower       []overlayfs.Layer
	Upper, Work string   // both empty: the overlay is read-only
	Volatile    bool     // nothing of Upper is synced
	UserXattr   bool     // marks are user.overlay.*: for ordinary users
	Name        string   // in mountinfo, by which Mount and Unmount know it
	Userns      *os.File // layers are mapped to this user namespace (Linux 5.19)
	// Empty is an empty directory, which is put below where there is one layer
	// only and no upper directory: the kernel wants two.
	Empty string
}

// Spec is the overlay as it is mounted: it shows what its layers say and keeps
// what is changed in Upper alone, whatever the kernel's defaults are.
func (o Options) Spec() *overlayfs.Mount {
	m := &overlayfs.Mount{
		Lower: o.Lower, Upper: o.Upper, Work: o.Work, Volatile: o.Volatile, UserXattr: o.UserXattr,
		Params: overlayfs.Pinned(), Source: o.Name, Userns: o.Userns,
	}
	if len(m.Lower) == 1 && m.Upper == "" && o.Empty != "" {
		m.Lower = append(m.Lower[:1:1], overlayfs.Layer{Path: o.Empty})
	}
	return m
}

// ConfigMount is the overlay as the first mount of config.json, by which the
// runtime mounts the root file system itself. Layers have to have paths. For a
// user namespace the option "idmap" is to be added instead of Userns.
func (o Options) ConfigMount() specs.Mount {
	return specs.Mount{Destination: "/", Type: "overlay", Source: cmp.Or(o.Name, "overlay"), Options: o.Spec().Options()}
}

// View is the overlay to look at only: all that it shows, read-only, without a
// trace in its upper and work directories.
func (o Options) View() Options {
	if o.Upper != "" {
		o.Lower = slices.Concat([]overlayfs.Layer{{Path: o.Upper}}, o.Lower)
	}
	o.Upper, o.Work, o.Volatile = "", "", false
	return o
}

// Open mounts the overlay, attached nowhere. The descriptor is the caller's;
// closing it unmounts what is not attached by then. A volatile one is mounted
// again only by the boot of the machine that mounted it before: what was not
// synced is still in its memory then.
func Open(o Options) (*os.File, error) {
	if !o.Volatile {
		return overlayfs.Open(o.Spec(), overlayfs.Running())
	}
	if err := trustVolatile(o.Work); err != nil {
		return nil, err
	}
	f, err := overlayfs.Open(o.Spec(), overlayfs.Running())
	if err == nil {
		if err = markVolatile(o.Work); err != nil {
			f.Close()
			return nil, err
		}
	}
	return f, err
}

// bootOf is the file beside a work directory with the boot that has mounted it
// volatile last.
func bootOf(work string) string { return filepath.Clean(work) + ".boot" }

func bootID() ([]byte, error) {
	const file = "/proc/sys/kernel/random/boot_id"
	id, err := os.ReadFile(file)
	if err != nil {
		return nil, fault.From(err, "read", file)
	}
	return id, nil
}

// trustVolatile takes away the kernel's mark that keeps a volatile upper
// directory from being mounted again, where this boot has mounted it.
func trustVolatile(work string) error {
	id, err := bootID()
	if err != nil {
		return err
	}
	if last, err := os.ReadFile(bootOf(work)); err != nil || !bytes.Equal(last, id) {
		return nil // if there is a mark, the kernel refuses it
	}
	mark := filepath.Join(work, "work/incompat/volatile")
	if err := os.RemoveAll(mark); err != nil {
		return fault.From(err, "remove", mark)
	}
	return nil
}

func markVolatile(work string) error {
	id, err := bootID()
	if err != nil {
		return err
	}
	if err := os.WriteFile(bootOf(work), id, 0o600); err != nil {
		return fault.From(err, "write", bootOf(work))
	}
	return nil
}

// Mount mounts the overlay on the directory target; nothing else becomes
// visible on the host, also where it fails. An overlay of o.Name that is there
// already is left as it is. Of two at once on one target both may mount: callers
// hold the bundle's lock.
func Mount(o Options, target string) error {
	if there, err := Mounted(target, o.Name); err != nil || there {
		return err
	}
	f, err := Open(o)
	if err != nil {
		return err
	}
	defer f.Close()
	return Attach(f, target)
}

// Attach attaches a detached mount to the directory target.
func Attach(mount *os.File, target string) error {
	err := unix.MoveMount(int(mount.Fd()), "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_SYMLINKS)
	if err == nil {
		return nil
	}
	e := fault.From(err, "mount", target)
	switch e.Errno {
	case unix.ENOENT:
		e.Hint = "make the directory first"
	case unix.ENOTDIR:
		e.Hint = "an overlay is mounted on a directory"
	case unix.EPERM:
		e.Hint = "it needs CAP_SYS_ADMIN: as an ordinary user, in a user namespace with a mount namespace of its own"
	}
	return e
}

// Mounted tells whether an overlay of that name is the topmost mount on target.
func Mounted(target, name string) (bool, error) {
	path, err := resolved(target)
	if err != nil || path == "" {
		return false, err
	}
	list, err := mountsAt(path)
	if err != nil {
		return false, err
	}
	if len(list) == 0 {
		return false, nil
	}
	top := list[len(list)-1]
	return top.kind == "overlay" && top.source == name, nil
}

// Unmount unmounts all overlays of that name from target, those of a crashed
// run too. Where there is none nothing is done, and anything else that is
// mounted there stays. With detach processes may go on using it; without, one
// that does is an error.
func Unmount(target, name string, detach bool) error {
	flags := unix.UMOUNT_NOFOLLOW
	if detach {
		flags |= unix.MNT_DETACH
	}
	for {
		there, err := Mounted(target, name)
		if err != nil || !there {
			return err
		}
		if err = unix.Unmount(target, flags); err == nil {
			continue
		}
		if there, _ := Mounted(target, name); !there { // somebody else was faster
			return nil
		}
		e := fault.From(err, "unmount", target)
		if e.Errno == unix.EBUSY {
			e.Hint = "something still uses it (fuser -vm " + target + "): stop it, or detach"
		}
		return e
	}
}

// resolved is target without links, as mountinfo has it; "" where it does not
// exist.
func resolved(target string) (string, error) {
	fd, err := unix.Open(target, unix.O_PATH|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return "", nil
	}
	if err != nil {
		return "", fault.From(err, "open", target)
	}
	defer unix.Close(fd)
	path, err := os.Readlink(procFD(fd))
	if err != nil {
		return "", fault.From(err, "readlink", procFD(fd))
	}
	return path, nil
}
