package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long one program may take before it counts as hanging and is killed.
const patience = 30 * time.Second

// A sample is what one measurement saw. usage covers the process and the children that it waited for.
type sample struct {
	wall  time.Duration
	usage syscall.Rusage
}

func (s sample) cpu() time.Duration {
	return time.Duration(s.usage.Utime.Nano() + s.usage.Stime.Nano())
}

// plus adds what another process used, not its wall time.
func (s sample) plus(usage syscall.Rusage) sample {
	s.usage.Utime = syscall.NsecToTimeval(s.usage.Utime.Nano() + usage.Utime.Nano())
	s.usage.Stime = syscall.NsecToTimeval(s.usage.Stime.Nano() + usage.Stime.Nano())
	s.usage.Minflt += usage.Minflt
	s.usage.Majflt += usage.Majflt
	s.usage.Nvcsw += usage.Nvcsw
	s.usage.Nivcsw += usage.Nivcsw
	return s
}

// An invoker starts programs with /dev/null as standard streams.
type invoker struct {
	null   *os.File
	stderr *os.File // where standard error goes instead while a contender is being tried
}

// A running program. pidfd is closed by wait.
type running struct {
	pid, pidfd int
	began      time.Time
}

// begin starts argv in a process group of its own, so that a Ctrl-C on the terminal does not stop it half-way.
func (in *invoker) begin(argv []string) (running, error) {
	r := running{pidfd: -1}
	stderr := in.null
	if in.stderr != nil {
		stderr = in.stderr
	}
	attr := &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{in.null.Fd(), in.null.Fd(), stderr.Fd()},
		Sys:   &syscall.SysProcAttr{Setpgid: true, PidFD: &r.pidfd},
	}
	r.began = time.Now() // Go's clock for differences is CLOCK_MONOTONIC
	var err error
	r.pid, err = syscall.ForkExec(argv[0], argv, attr)
	if err != nil {
		return r, fmt.Errorf("%s: %w", argv[0], err)
	}
	return r, nil
}

// wait waits for the program's end and fails unless it exits with the wanted status.
func (r running) wait(wantStatus int) (sample, error) {
	defer func() { _ = unix.Close(r.pidfd) }()
	inTime := waitPidfd(r.pidfd)
	if !inTime {
		_ = unix.PidfdSendSignal(r.pidfd, unix.SIGKILL, nil, 0)
	}
	status, usage, err := reap(r.pid)
	s := sample{time.Since(r.began), usage}
	switch {
	case err != nil:
		return s, err
	case !inTime:
		return s, fmt.Errorf("did not end within %v", patience)
	case status.Signaled():
		return s, fmt.Errorf("killed by %v", status.Signal())
	case status.ExitStatus() != wantStatus:
		return s, fmt.Errorf("exit status %d", status.ExitStatus())
	}
	return s, nil
}

// invoke runs argv and waits for it.
func (in *invoker) invoke(argv []string) (sample, error) {
	r, err := in.begin(argv)
	if err != nil {
		return sample{}, err
	}
	return r.wait(0)
}

// waitPidfd waits until the process ends; false after patience.
func waitPidfd(pidfd int) bool {
	deadline := time.Now().Add(patience)
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, int(max(0, time.Until(deadline).Milliseconds())))
		if err != unix.EINTR {
			return err == nil && n > 0
		}
	}
}

func reap(pid int) (status syscall.WaitStatus, usage syscall.Rusage, err error) {
	for {
		_, err = syscall.Wait4(pid, &status, 0, &usage)
		if !errors.Is(err, syscall.EINTR) {
			return status, usage, os.NewSyscallError("wait4", err)
		}
	}
}

// reapLeftovers collects ended processes that fell to this one as the subreaper.
func reapLeftovers() {
	for {
		pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
		if pid <= 0 && !errors.Is(err, syscall.EINTR) {
			return
		}
	}
}

// captured runs try with standard error going to a file and adds what was written there to try's error.
func (in *invoker) captured(try func() error) error {
	file, err := os.CreateTemp("", "berth-bench-stderr")
	if err != nil {
		return err
	}
	defer func() { _ = file.Close(); _ = os.Remove(file.Name()) }()
	in.stderr = file
	defer func() { in.stderr = nil }()
	err = try()
	text, _ := os.ReadFile(file.Name())
	if words := strings.Join(strings.Fields(string(text)), " "); err != nil && words != "" {
		return fmt.Errorf("%w: %.400s", err, words)
	}
	return err
}
