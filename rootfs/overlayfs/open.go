package overlayfs

import (
	"cmp"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

// Open mounts m, attached nowhere: the descriptor is an O_PATH one of the
// mount's root, and the caller's. Closing it unmounts what has not been
// attached by then. Nothing becomes visible on the host on the way. Errors name
// the layer where it is known, and say what Explain finds.
//
// It needs CAP_SYS_ADMIN in the user namespace that it runs in.
func Open(m *Mount, k Kernel) (*os.File, error) {
	if err := m.Check(k); err != nil {
		return nil, err
	}
	b := &builder{m: m}
	defer b.close()
	how := m.Way(k)
	build := b.build
	if how.Private || m.Userns != nil {
		build = b.apart
	}
	fd, err := build(how)
	if err != nil {
		return nil, m.explain(err)
	}
	return os.NewFile(uintptr(fd), "overlay"), nil
}

// builder holds what is open while an overlay is mounted.
type builder struct {
	m     *Mount
	open  []int
	loose []int // detached mounts, which layers are in
}

func (b *builder) keep(fd int) int {
	b.open = append(b.open, fd)
	return fd
}

func (b *builder) close() {
	for _, fd := range b.open {
		unix.Close(fd)
	}
}

// build mounts the overlay in the mount namespace of the thread.
func (b *builder) build(how Way) (int, error) {
	params, err := b.params(how)
	if err != nil {
		return -1, err
	}
	if b.m.Userns != nil && b.m.Upper != "" {
		if err := b.asOwner(params); err != nil {
			return -1, err
		}
	}
	if how.Classic {
		return b.mount2(params)
	}
	return b.fsmount(params)
}

// setting is one fsconfig(2): a string, or a descriptor where fd is not -1.
type setting struct {
	Param
	fd   int
	path string // for messages
}

// params is all options; layers are descriptors where a path cannot name them.
func (b *builder) params(how Way) ([]setting, error) {
	dirs := b.m.dirs()
	if b.m.Userns != nil {
		if err := b.mapped(dirs); err != nil {
			return nil, err
		}
	} else {
		for _, d := range dirs {
			if d.fd >= 0 {
				b.loose = append(b.loose, d.fd)
			}
		}
	}
	for i := range dirs {
		d := &dirs[i]
		if d.fd < 0 && (how.Private || len(d.Value) > ValueMax) {
			fd, err := openDir(unix.AT_FDCWD, d.path)
			if err != nil {
				return nil, b.m.failed(err, d.path)
			}
			d.fd = b.keep(fd)
		}
	}
	if how.Private {
		if err := b.attach(); err != nil {
			return nil, err
		}
	}
	for _, p := range b.m.rest() {
		dirs = append(dirs, setting{Param: p, fd: -1})
	}
	return dirs, nil
}

// dirs is the directories of the overlay in the order in which the kernel is
// told of them.
func (m *Mount) dirs() []setting {
	var out []setting
	add := func(key string, layers ...Layer) {
		for _, l := range layers {
			s := setting{Param: Param{key, l.Path, true}, fd: -1, path: l.Path}
			if l.Dir != nil {
				s.fd = int(l.Dir.Fd())
			}
			out = append(out, s)
		}
	}
	add("lowerdir+", m.Lower...)
	add("datadir+", m.Data...)
	if m.Upper != "" {
		add("upperdir", Layer{Path: m.Upper})
		add("workdir", Layer{Path: m.Work})
	}
	return out
}

func openDir(dir int, path string) (int, error) {
	return unix.Openat(dir, path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
}

// fsmount is the way of Linux 6.8 and later.
func (b *builder) fsmount(params []setting) (int, error) {
	fs, err := unix.Fsopen("overlay", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, b.m.failed(err, "")
	}
	defer unix.Close(fs)
	if err := unix.FsconfigSetString(fs, "source", cmp.Or(b.m.Source, "overlay")); err != nil {
		return -1, b.m.failed(err, "")
	}
	for _, s := range params {
		if err := s.apply(fs); err != nil {
			e := b.m.failed(err, s.path)
			e.Op += " -o " + s.Key
			if s.path == "" && s.HasValue {
				e.Op += "=" + s.Value
			}
			return -1, e
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, b.m.failed(err, "")
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, int(b.m.Attrs))
	if err != nil {
		return -1, b.m.failed(err, "")
	}
	return fd, nil
}

func (s setting) apply(fs int) error {
	switch {
	case s.fd >= 0:
		// As a path, because a descriptor of O_PATH is none for fsconfig(2) before Linux 6.14.
		return unix.FsconfigSetString(fs, s.Key, procFD(s.fd))
	case !s.HasValue:
		return unix.FsconfigSetFlag(fs, s.Key)
	case s.Key == "upperdir" || s.Key == "workdir":
		return unix.FsconfigSetString(fs, s.Key, escapes(s.Value, `\`))
	}
	return unix.FsconfigSetString(fs, s.Key, s.Value)
}

func procFD(fd int) string { return "/proc/self/fd/" + strconv.Itoa(fd) }

// mount2 mounts with mount(2), in a mount namespace of the thread's own, and
// takes the mount out of it. Every layer is a descriptor, and its number its
// name: 500 of them are less than the 4 kB that the options may be long.
func (b *builder) mount2(params []setting) (int, error) {
	if err := unix.Chdir("/proc/self/fd"); err != nil {
		return -1, b.m.failed(err, "/proc/self/fd")
	}
	var lower, rest []string
	for _, s := range params {
		switch {
		case s.fd < 0:
			rest = append(rest, s.String())
		case s.Key == "lowerdir+":
			lower = append(lower, strconv.Itoa(s.fd))
		default:
			rest = append(rest, s.Key+"="+strconv.Itoa(s.fd))
		}
	}
	data := strings.Join(append([]string{"lowerdir=" + strings.Join(lower, ":")}, rest...), ",")
	if len(data) > DataMax {
		return -1, complaint("", "the options are "+strconv.Itoa(len(data))+" bytes long, and may be "+strconv.Itoa(DataMax), "use fewer layers, or Linux 6.8")
	}
	if err := unix.Mount(cmp.Or(b.m.Source, "overlay"), scene(), "overlay", uintptr(0), data); err != nil {
		return -1, b.m.failed(err, "")
	}
	fd, err := unix.OpenTree(unix.AT_FDCWD, scene(), unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, b.m.failed(err, "")
	}
	if b.m.Attrs != 0 {
		err = unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &unix.MountAttr{Attr_set: b.m.Attrs})
	}
	if err != nil {
		unix.Close(fd)
		return -1, b.m.failed(err, "")
	}
	return fd, nil
}

// scene is a directory that a private mount namespace covers.
func scene() string { return "/" + strings.TrimPrefix(filepath.Clean(os.TempDir()), "/") }

// apart builds the overlay on a thread of its own, which ends with it, and so
// does what is changed for it: the mount namespace and the user.
func (b *builder) apart(how Way) (fd int, err error) {
	onThread(func() {
		if fd = -1; how.Private {
			err = b.unshare()
		}
		if err == nil {
			fd, err = b.build(how)
		}
	})
	return fd, err
}

// onThread runs do on a thread that ends with it. It is not the first one,
// which stays, and is what /proc/self shows.
func onThread(do func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			onThread(do) // on another, because this one is taken
			runtime.UnlockOSThread()
			return
		}
		do()
	}()
	<-done
}

func (b *builder) unshare() error {
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		return b.m.failed(err, "")
	}
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return b.m.failed(err, "/")
	}
	return nil
}

// attach gives detached mounts a place in the private mount namespace. A clone
// is a peer of what it was cloned from, and what comes to lie on it would be
// mounted there, too.
func (b *builder) attach() error {
	for _, fd := range b.loose {
		if err := unix.MoveMount(fd, "", unix.AT_FDCWD, scene(), unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return b.m.failed(err, "")
		}
		if err := unix.Mount("", scene(), "", unix.MS_PRIVATE, ""); err != nil {
			return b.m.failed(err, scene())
		}
	}
	return nil
}

// failed is err about a directory of the overlay, or about all of it.
func (m *Mount) failed(err error, path string) *fault.Error {
	return fault.From(err, "mount overlay", path)
}
