package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Memory is measured this many times.
const memoryRounds = 5

// A footprint is the proportional set size, in KiB, of a created container's init and of a runtime that waits in the
// foreground for its container.
type footprint struct {
	init, run []int64
	err       error
}

func (b *bench) measureMemory(d contender) (f footprint) {
	for range memoryRounds {
		if b.ctx.Err() != nil {
			return f
		}
		f.err = b.captured(func() error {
			size, err := b.pssOfInit(d)
			if err != nil {
				return err
			}
			f.init = append(f.init, size)
			size, err = b.pssOfRun(d)
			if err != nil {
				return err
			}
			f.run = append(f.run, size)
			return nil
		})
		reapLeftovers()
		if f.err != nil {
			b.sweep(d)
			return f
		}
	}
	return f
}

// pssOfInit creates a container, measures its init, kills it and deletes the container.
func (b *bench) pssOfInit(d contender) (int64, error) {
	c := b.container(d, "plain")
	if _, err := b.invoke(d.command("create", c)); err != nil {
		return 0, fmt.Errorf("create: %w", err)
	}
	pid, pidfd, err := openInit(c)
	if err != nil {
		return 0, err
	}
	defer func() { _ = unix.Close(pidfd) }()
	time.Sleep(20 * time.Millisecond) // it may still be on its way to where it blocks
	size, err := pss(pid)
	_ = unix.PidfdSendSignal(pidfd, unix.SIGKILL, nil, 0)
	if !waitPidfd(pidfd) {
		return 0, errors.New("init does not die")
	}
	_, _, _ = reap(pid)
	if _, deleted := b.invoke(d.command("delete", c)); deleted != nil {
		return 0, fmt.Errorf("delete: %w", deleted)
	}
	return size, err
}

// pssOfRun measures the runtime beside a sleeping container, then kills the container's process.
func (b *bench) pssOfRun(d contender) (int64, error) {
	c := b.container(d, "sleep")
	r, err := b.begin(d.command("run", c))
	if err != nil {
		return 0, err
	}
	sleeper := waitForSleep(c)
	if sleeper == 0 {
		_ = unix.PidfdSendSignal(r.pidfd, unix.SIGKILL, nil, 0)
		_, err := r.wait(0)
		return 0, fmt.Errorf("run: the container's process does not appear: %w", err)
	}
	time.Sleep(20 * time.Millisecond)
	size, err := pss(r.pid)
	_ = unix.Kill(sleeper, unix.SIGKILL)
	if _, ended := r.wait(128 + int(unix.SIGKILL)); ended != nil {
		return 0, fmt.Errorf("run: %w", ended)
	}
	return size, err
}

// waitForSleep returns the pid of the container's sleep, 0 if it does not appear.
func waitForSleep(c container) int {
	for deadline := time.Now().Add(patience / 6); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		for _, pid := range groupPids(c.view, c.id) {
			comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
			if string(comm) == "sleep\n" {
				return pid
			}
		}
	}
	return 0
}

// groupPids lists the processes of the cgroup.
func groupPids(v view, name string) (pids []int) {
	for _, dir := range v.groupDirs(name) {
		text, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		for word := range strings.FieldsSeq(string(text)) {
			if pid, err := strconv.Atoi(word); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// pss reads a process's proportional set size in KiB (proc_pid_smaps(5)).
func pss(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); len(fields) == 3 && fields[0] == "Pss:" {
			return strconv.ParseInt(fields[1], 10, 64)
		}
	}
	return 0, fmt.Errorf("no Pss line for process %d", pid)
}
