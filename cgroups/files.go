package cgroups

import (
	"errors"
	"strconv"
	"strings"
	"syscall"

	"berth/libcontainer/fault"

	"golang.org/x/sys/unix"
)

// The files that every group has.
const (
	procsFile   = "cgroup.procs"
	subtreeFile = "cgroup.subtree_control"
)

// writeAll does the writes in order, and those that were refused beside an
// old value (Write.Again) once more at the end.
func writeAll(writes []Write) error {
	var again []Write
	for _, w := range writes {
		err := perform(w)
		if w.Again && mayHelp(w, err) {
			again = append(again, w)
			continue
		}
		if err != nil {
			return err
		}
	}
	for _, w := range again {
		if err := perform(w); err != nil {
			return err
		}
	}
	return nil
}

// mayHelp tells whether the writes behind w can make the kernel take it. A
// memory limit below what is in use (EBUSY) is refused whatever comes.
func mayHelp(w Write, err error) bool {
	return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EBUSY) && !strings.HasPrefix(w.File, "memory.")
}

// perform does one write. The error says which file of which group did not
// take what value, and which config entry asked for it.
func perform(w Write) error {
	if w.Below != "" {
		if err := checkBelow(w); err != nil {
			return err
		}
	}
	err := writeFile(w.Dir, w.File, w.Value)
	if err == nil {
		return nil
	}
	if err == unix.ENOENT && w.Else != nil {
		return perform(*w.Else)
	}
	if w.Optional && tolerable(err) {
		return nil
	}
	e := failed("write", w.Dir+"/"+w.File, err)
	e.Field, e.Msg = w.Field, strconv.Quote(w.Value)
	if err == unix.EBUSY {
		e.Msg += memoryInUse(w)
	}
	return e
}

// memoryInUse says what stands above a v1 limit that is refused; "" where
// that is not known.
func memoryInUse(w Write) string {
	counter, ok := strings.CutSuffix(w.File, "limit_in_bytes")
	if !ok || !strings.HasPrefix(counter, "memory.") {
		return ""
	}
	usage, err1 := readFile(w.Dir, counter+"usage_in_bytes")
	peak, err2 := readFile(w.Dir, counter+"max_usage_in_bytes")
	if err1 != nil || err2 != nil {
		return ""
	}
	return " (current usage: " + strings.TrimSpace(usage) + ", peak usage: " + strings.TrimSpace(peak) + ")"
}

// errnoNotSupported is ENOTSUPP, which is the kernel's own and leaks from
// memory.kmem.limit_in_bytes on Linux 5.16 and newer.
const errnoNotSupported syscall.Errno = 524

// tolerable tells whether the kernel merely lacks the file or keeps it for
// show.
func tolerable(err error) bool {
	return err == unix.ENOENT || err == unix.EOPNOTSUPP || err == errnoNotSupported
}

// checkBelow refuses a limit that is below what is in use already, for which
// cgroup v2 would kill. A kernel without the number lets it pass.
func checkBelow(w Write) error {
	text, err := readFile(w.Dir, w.Below)
	if err != nil {
		return nil
	}
	used, err1 := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
	limit, err2 := strconv.ParseUint(w.Value, 10, 64)
	if err1 != nil || err2 != nil || used < limit {
		return nil
	}
	return &fault.Error{
		Op: "write", Path: w.Dir + "/" + w.File, Field: w.Field, Phase: fault.PhaseCgroup,
		Msg:  "limit " + w.Value + " is not above the current usage " + strconv.FormatUint(used, 10),
		Hint: "raise the limit, or unset checkBeforeUpdate to let the kernel reclaim and kill",
	}
}

// failed makes the error of one system call on a group's file or directory.
func failed(op, path string, err error) *fault.Error {
	e := fault.From(err, op, path).In(fault.PhaseCgroup)
	e.Hint = hint(op, path, e.Errno)
	return e
}

// writeFile writes value with one open and one write: the files of a cgroup
// act on each write(2) as a whole, exist or do not, and know no truncation.
// The error is a bare errno.
func writeFile(dir, file, value string) error {
	fd, err := openat(dir+"/"+file, unix.O_WRONLY)
	if err != nil {
		return err
	}
	for {
		_, err = unix.Write(fd, []byte(value))
		if err != unix.EINTR {
			break
		}
	}
	_ = unix.Close(fd)
	return err
}

// readFile reads a whole file. The error is a bare errno.
func readFile(dir, file string) (string, error) {
	fd, err := openat(dir+"/"+file, unix.O_RDONLY)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var text []byte
	buf := make([]byte, 4096)
	for {
		n, err := unix.Read(fd, buf)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return "", err
		case n == 0:
			return string(text), nil
		}
		text = append(text, buf[:n]...)
	}
}

func openat(path string, flags int) (int, error) {
	for {
		fd, err := unix.Open(path, flags|unix.O_CLOEXEC, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

// readPids reads one group's cgroup.procs.
func readPids(dir string) ([]int, error) {
	text, err := readFile(dir, procsFile)
	if err != nil {
		return nil, err
	}
	var out []int
	for _, f := range strings.Fields(text) {
		// 0 is a process of a pid namespace that cannot be seen from here.
		if pid, err := strconv.Atoi(f); err == nil && pid > 0 {
			out = append(out, pid)
		}
	}
	return out, nil
}
