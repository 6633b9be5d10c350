package seccomp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	libseccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

// Cache is a directory of compiled filters. Managers start every container
// with the same few profiles, and compiling one takes as long as a good part of a
// start.
//
// A filter from the cache confines containers, so what is read is held to be
// the runtime's own: a regular file of its user that nobody else may write,
// undamaged, and made from the very profile that is asked for, which stands in
// it. Whatever is wrong with the cache, Compile compiles.
type Cache struct {
	Dir string // made where it is missing; "": no cache
}

// maxEntries bounds the cache; above it the oldest entries go.
const maxEntries = 64

// Compile is the package's Compile with the result kept.
func (c Cache) Compile(s *specs.LinuxSeccomp) (Filter, fault.List) {
	dir, err := c.open()
	if err != nil {
		return Compile(s)
	}
	defer dir.Close()
	key := key(s)
	if f, err := fetch(dir, key); err == nil {
		return f, nil
	}
	f, complaints := Compile(s)
	if len(complaints) == 0 && store(dir, key, f) == nil {
		prune(dir)
	}
	return f, complaints
}

var errNoCache = errors.New("no usable cache")

// open returns the directory, which must be the runtime's own.
func (c Cache) open() (*os.File, error) {
	if c.Dir == "" {
		return nil, errNoCache
	}
	dir, err := openDir(c.Dir)
	if errors.Is(err, unix.ENOENT) {
		if err = os.MkdirAll(c.Dir, 0o700); err == nil {
			dir, err = openDir(c.Dir)
		}
	}
	if err != nil {
		return nil, err
	}
	if _, err := ours(dir, unix.S_IFDIR); err != nil {
		dir.Close()
		return nil, err
	}
	return dir, nil
}

func openDir(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

// ours holds f to its kind, and to be writable by the runtime's user only. It
// returns the size in bytes.
func ours(f *os.File, kind uint32) (int64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return 0, err
	}
	if st.Mode&unix.S_IFMT != kind || st.Mode&0o022 != 0 || int(st.Uid) != os.Geteuid() {
		return 0, errNoCache
	}
	return st.Size, nil
}

// An entry is magic, checksum, flags, length of the key, key, BPF program. The
// key is everything that the program depends on, so that no collision of a
// hash ever hands out another profile's filter; the entry's name is a hash of
// it. (No crypto here: its packages make every start of the runtime slower.)
const (
	magic      = "berthbpf"
	headerSize = len(magic) + 3*8
	maxKey     = 1 << 20
	maxSize    = headerSize + maxKey + maxInstructions*instruction
)

// formatVersion changes with what Compile makes of a profile.
const formatVersion = "2"

// key is the profile and what else the program depends on, each part with its
// length before it, so that no two profiles read the same.
func key(s *specs.LinuxSeccomp) []byte {
	h := serial{buf: make([]byte, 0, 16<<10)}
	major, minor, micro := libseccomp.GetLibraryVersion()
	h.text(formatVersion, runtime.GOARCH)
	h.number(uint64(major), uint64(minor), uint64(micro))
	h.text(string(s.DefaultAction))
	h.optional(s.DefaultErrnoRet)
	h.number(uint64(len(s.Architectures)))
	for _, a := range s.Architectures {
		h.text(string(a))
	}
	if s.Flags == nil {
		h.text("no flags entry")
	}
	h.number(uint64(len(s.Flags)))
	for _, f := range s.Flags {
		h.text(string(f))
	}
	h.number(uint64(len(s.Syscalls)))
	for i := range s.Syscalls {
		h.rule(&s.Syscalls[i])
	}
	return h.buf
}

// fileName is where the entry of a key is.
func fileName(key []byte) string { return strconv.FormatUint(checksum(key), 16) }

// checksum finds damage, not malice: nobody else can write to the cache. (hash/crc32 would make its tables at every start.)
func checksum(raw []byte) uint64 {
	h := fnv.New64a()
	h.Write(raw)
	return h.Sum64()
}

// serial is a byte string under construction.
type serial struct{ buf []byte }

func (h *serial) number(list ...uint64) {
	for _, n := range list {
		h.buf = binary.LittleEndian.AppendUint64(h.buf, n)
	}
}

func (h *serial) text(list ...string) {
	for _, s := range list {
		h.number(uint64(len(s)))
		h.buf = append(h.buf, s...)
	}
}

func (h *serial) optional(n *uint) {
	if n == nil {
		h.number(0)
		return
	}
	h.number(1, uint64(*n))
}

func (h *serial) rule(s *specs.LinuxSyscall) {
	h.number(uint64(len(s.Names)))
	h.text(s.Names...)
	h.text(string(s.Action))
	h.optional(s.ErrnoRet)
	h.number(uint64(len(s.Args)))
	for _, a := range s.Args {
		h.number(uint64(a.Index), a.Value, a.ValueTwo)
		h.text(string(a.Op))
	}
}

// encode and decode are an entry's two directions.
func encode(key []byte, f Filter) []byte {
	out := make([]byte, headerSize, headerSize+len(key)+len(f.BPF))
	copy(out, magic)
	binary.LittleEndian.PutUint64(out[16:], f.Flags)
	binary.LittleEndian.PutUint64(out[24:], uint64(len(key)))
	out = append(append(out, key...), f.BPF...)
	binary.LittleEndian.PutUint64(out[8:], checksum(out[16:]))
	return out
}

func decode(key, raw []byte) (Filter, error) {
	if len(raw) < headerSize || string(raw[:len(magic)]) != magic ||
		binary.LittleEndian.Uint64(raw[8:]) != checksum(raw[16:]) ||
		binary.LittleEndian.Uint64(raw[24:]) != uint64(len(key)) ||
		!bytes.HasPrefix(raw[headerSize:], key) {
		return Filter{}, errNoCache
	}
	bpf := raw[headerSize+len(key):]
	if len(bpf) == 0 || len(bpf)%instruction != 0 || len(bpf) > maxInstructions*instruction {
		return Filter{}, errNoCache
	}
	return Filter{BPF: bpf, Flags: binary.LittleEndian.Uint64(raw[16:])}, nil
}

func fetch(dir *os.File, key []byte) (Filter, error) {
	name := fileName(key)
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return Filter{}, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	size, err := ours(f, unix.S_IFREG)
	if err != nil || size > int64(maxSize) {
		return Filter{}, errNoCache
	}
	raw := make([]byte, size)
	if _, err := io.ReadFull(f, raw); err != nil {
		return Filter{}, err
	}
	return decode(key, raw)
}

// store writes beside the name and renames, so that no reader sees a part.
func store(dir *os.File, key []byte, f Filter) error {
	if len(key) > maxKey {
		return errNoCache
	}
	at, name := int(dir.Fd()), fileName(key)
	temp := "." + name + "." + strconv.Itoa(os.Getpid())
	fd, err := unix.Openat(at, temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	out := os.NewFile(uintptr(fd), temp)
	_, err = out.Write(encode(key, f))
	if err = errors.Join(err, out.Close()); err == nil {
		err = unix.Renameat(at, temp, at, name)
	}
	if err != nil {
		_ = unix.Unlinkat(at, temp, 0)
	}
	return err
}

// prune removes the oldest entries above the bound, and with them what a
// killed runtime left unfinished.
func prune(dir *os.File) {
	entries, err := dir.ReadDir(-1)
	if err != nil || len(entries) <= maxEntries {
		return
	}
	type aged struct {
		name string
		sec  int64
		nsec int64
	}
	var all []aged
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			all = append(all, aged{e.Name(), int64(st.Mtim.Sec), int64(st.Mtim.Nsec)})
		}
	}
	slices.SortFunc(all, func(a, b aged) int {
		if a.sec != b.sec {
			return int(a.sec - b.sec)
		}
		return int(a.nsec - b.nsec)
	})
	for _, a := range all[:max(0, len(all)-maxEntries)] {
		_ = unix.Unlinkat(int(dir.Fd()), a.name, 0)
	}
}
