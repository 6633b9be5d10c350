package main

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// allowMemlock lets crun load its device program where CAP_SYS_RESOURCE is missing: crun raises RLIMIT_MEMLOCK first and
// gives up if it may not, although the kernel does not count BPF memory against that limit since 5.11.
//
// Where the limit cannot be raised, this process and all it starts get a filter that answers such a call with success
// and does nothing. It applies to every contender alike and costs all of them the same few nanoseconds a call; the
// note returned says so.
func allowMemlock() (note string, err error) {
	all := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	err = unix.Setrlimit(unix.RLIMIT_MEMLOCK, &all)
	if !errors.Is(err, unix.EPERM) {
		return "", err
	}
	if err := ignoreMemlock(); err != nil {
		return "", fmt.Errorf("filter for RLIMIT_MEMLOCK: %w", err)
	}
	return "CAP_SYS_RESOURCE is missing: under a filter, all of them, that ignores changes of RLIMIT_MEMLOCK", nil
}

// ignoreMemlock installs the filter on every thread. It reads struct seccomp_data: nr at 0, args from 16, low word first.
// Foreign architectures are not told apart: no contender makes their calls.
func ignoreMemlock() error {
	const (
		load   = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
		equal  = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
		answer = unix.BPF_RET | unix.BPF_K
	)
	filter := []unix.SockFilter{
		{Code: load, K: 0},
		{Code: equal, K: unix.SYS_PRLIMIT64, Jf: 6},
		{Code: load, K: 16 + 8}, // resource
		{Code: equal, K: unix.RLIMIT_MEMLOCK, Jf: 4},
		{Code: load, K: 16 + 2*8}, // the new limit's address
		{Code: equal, K: 0, Jf: 1},
		{Code: answer, K: unix.SECCOMP_RET_ALLOW},
		{Code: answer, K: unix.SECCOMP_RET_ERRNO}, // errno 0
		{Code: answer, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC,
		uintptr(unsafe.Pointer(&program)))
	runtime.KeepAlive(filter)
	if errno != 0 {
		return errno
	}
	return nil
}
