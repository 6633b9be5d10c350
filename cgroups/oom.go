package cgroups

import (
	"encoding/binary"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

// OOM tells when the kernel kills for want of memory in a container's group.
type OOM struct {
	dir    Dir
	fd     int    // v1: an eventfd; v2: memory.events
	killed uint64 // v2: as often as was told of
}

// WatchOOM begins to watch. It is nil where no group counts memory; Close it
// otherwise.
func (g *Group) WatchOOM() (*OOM, error) {
	d, ok := g.State().find("memory")
	if !ok {
		return nil, nil
	}
	if d.V2 {
		return watchV2(d)
	}
	return watchV1(d)
}

// watchV1 registers an eventfd
// (Documentation/admin-guide/cgroup-v1/memory.rst, "OOM Control").
func watchV1(d Dir) (*OOM, error) {
	const file = "memory.oom_control"
	control, err := openat(d.Path+"/"+file, unix.O_RDONLY)
	if err != nil {
		return nil, failed("open", d.Path+"/"+file, err)
	}
	defer unix.Close(control)
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fault.From(err, "eventfd", "").In(fault.PhaseCgroup)
	}
	err = perform(Write{Dir: d.Path, File: "cgroup.event_control", Value: strconv.Itoa(fd) + " " + strconv.Itoa(control)})
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return &OOM{dir: d, fd: fd}, nil
}

// watchV2 opens the counters, which are notified as cgroup.events is.
func watchV2(d Dir) (*OOM, error) {
	fd, err := openat(d.Path+"/memory.events", unix.O_RDONLY)
	if err != nil {
		return nil, failed("open", d.Path+"/memory.events", err)
	}
	o := &OOM{dir: d, fd: fd}
	o.New()
	return o, nil
}

// PollFd is what to poll for; where it is ready New has to be called.
func (o *OOM) PollFd() unix.PollFd {
	events := int16(unix.POLLIN)
	if o.dir.V2 {
		events = unix.POLLPRI
	}
	return unix.PollFd{Fd: int32(o.fd), Events: events}
}

// New is how often the kernel has killed, or on v1 seen that it has to, since
// it was asked last. gone says that the group is.
func (o *OOM) New() (times uint64, gone bool) {
	if o.dir.V2 {
		return o.newV2()
	}
	var buf [8]byte
	if _, err := unix.Read(o.fd, buf[:]); err == nil {
		times = binary.NativeEndian.Uint64(buf[:])
	}
	// The end of the group is told in the same way.
	if unix.Access(o.dir.Path, unix.F_OK) != nil {
		return min(max(times, 1)-1, 1), true
	}
	// Until a killed process has gone, others run into the limit many times.
	return min(times, 1), false
}

func (o *OOM) newV2() (times uint64, gone bool) {
	buf := make([]byte, 1024)
	n, err := unix.Pread(o.fd, buf, 0)
	if err != nil {
		return 0, err != unix.EINTR
	}
	killed := toAmount(valueOf(string(buf[:n]), "oom_kill"))
	times, o.killed = killed-min(o.killed, killed), killed
	return times, false
}

// Close ends it; nil is fine.
func (o *OOM) Close() {
	if o != nil {
		unix.Close(o.fd)
	}
}

// Kills is how many processes of the group, and of those below, the kernel has
// killed for want of memory, and where the want was: the group whose limit was
// reached. That is the container's own or one below it, else the nearest above
// that has run into its limit, by whatever container; "" is the machine. On v1,
// which counts no such thing, a group has when its peak came to its limit.
func (g *Group) Kills() (times uint64, where string) {
	d, ok := g.State().find("memory")
	if !ok {
		return 0, ""
	}
	killed, short := killsOf(d)
	found := ""
	_ = walk(d.Path, func(dir string) error {
		if !d.V2 || dir == d.Path { // v2 counts those below, too
			times += killed(dir)
		}
		if found == "" && short(dir) {
			found = dir
		}
		return nil
	})
	switch {
	case times == 0:
		return 0, ""
	case found != "":
		return times, found
	}
	for dir := path.Dir(d.Path); below(dir, d.Mountpoint); dir = path.Dir(dir) {
		if short(dir) {
			return times, dir
		}
	}
	return times, ""
}

// killsOf tells how to read a group's kills, and whether it has run into its
// own limit (Documentation/admin-guide/cgroup-v2.rst, memory.events.local;
// cgroup-v1/memory.rst).
func killsOf(d Dir) (killed func(dir string) uint64, short func(dir string) bool) {
	value := func(dir, file, key string) uint64 {
		text, _ := readFile(dir, file)
		return toAmount(valueOf(text, key))
	}
	if d.V2 {
		return func(dir string) uint64 { return value(dir, "memory.events", "oom_kill") },
			func(dir string) bool { return value(dir, "memory.events.local", "oom") > 0 }
	}
	return func(dir string) uint64 { return value(dir, "memory.oom_control", "oom_kill") },
		func(dir string) bool { return reached(dir, "memory.") || reached(dir, "memory.memsw.") }
}

// peakSlack is what may be missing to a limit when a charge fails: the kernel
// charges 64 pages at once where there is room.
const peakSlack = 256 << 10

// reached tells whether a v1 counter has come to its limit.
func reached(dir, counter string) bool {
	amount := func(file string) uint64 {
		text, _ := readFile(dir, counter+file)
		return toAmount(strings.TrimSpace(text))
	}
	limit := amount("limit_in_bytes")
	return limit > 0 && amount("max_usage_in_bytes")+peakSlack >= limit
}
