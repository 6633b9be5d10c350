package supervise

import (
	"fmt"
	"math"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"berth/libcontainer/fault"
)

// firstExtra is the first descriptor after the standard ones: SD_LISTEN_FDS_START.
const firstExtra = 3

// Preserved is what a container's process inherits besides its standard
// descriptors: those of socket activation (LISTEN_FDS in sd_listen_fds(3),
// where LISTEN_PID is the runtime), then n more (--preserve-fds). They stand
// at 3, 4, … in the runtime and, in the order of files, in the container. env
// is what the process needs to find the first ones.
//
// Call it before anything else opens descriptors, and once: it ends with
// SealDescriptors. The files are the caller's and must be kept until the
// container has been created.
func Preserved(n int, getenv func(string) string) (files []*os.File, env []string, err error) {
	listen := activated(getenv)
	for fd := firstExtra; fd < firstExtra+listen+n; fd++ {
		if err := inherited(fd); err != nil {
			return nil, nil, notOpen(fd-firstExtra, listen, n, err)
		}
	}
	if err := SealDescriptors(); err != nil {
		return nil, nil, err
	}
	for fd := firstExtra; fd < firstExtra+listen+n; fd++ {
		files = append(files, os.NewFile(uintptr(fd), "descriptor "+strconv.Itoa(fd)))
	}
	return files, listenEnv(listen, getenv), nil
}

// activated is the number of descriptors passed by socket activation.
func activated(getenv func(string) string) int {
	if getenv("LISTEN_PID") != strconv.Itoa(os.Getpid()) {
		return 0
	}
	n, err := strconv.Atoi(getenv("LISTEN_FDS"))
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// listenEnv is for the container's process, which is pid 1 in its namespace.
func listenEnv(n int, getenv func(string) string) []string {
	if n == 0 {
		return nil
	}
	env := []string{"LISTEN_FDS=" + strconv.Itoa(n), "LISTEN_PID=1"}
	if names := getenv("LISTEN_FDNAMES"); names != "" {
		env = append(env, "LISTEN_FDNAMES="+names)
	}
	return env
}

// inherited checks that the runtime was called with fd open. One that is
// close-on-exec is the runtime's own (the Go runtime opens some): nothing that
// came through execve(2) can be that.
func inherited(fd int) error {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if err == nil && flags&unix.FD_CLOEXEC != 0 {
		return unix.EBADF
	}
	return err
}

// SealDescriptors makes every descriptor from 3 on close-on-exec, so that
// nothing a careless manager has left open gets into a hook, a helper or the
// container (CVE-2024-21626). Call it first in every command that starts any.
func SealDescriptors() error {
	err := unix.CloseRange(firstExtra, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	if err == unix.EINVAL || err == unix.ENOSYS { // the flag is of Linux 5.11
		err = sealEach()
	}
	if err != nil {
		return fail(err, "make close-on-exec", "the runtime's descriptors")
	}
	return nil
}

func sealEach() error {
	list, err := os.ReadDir("/proc/self/fd")
	for _, entry := range list {
		if fd, _ := strconv.Atoi(entry.Name()); fd >= firstExtra {
			unix.CloseOnExec(fd)
		}
	}
	return err
}

// notOpen keeps the words that managers know.
func notOpen(i, listen, n int, err error) *fault.Error {
	if i < listen {
		return fail(err, fmt.Sprintf("unable to stat descriptor %d (of %d) of LISTEN_FDS", i, listen), "")
	}
	return fail(err, fmt.Sprintf("unable to stat preserved-fd %d (of %d)", i-listen, n), "")
}
