package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// timeout is how long a program may take. The longest wait built into one is 30 seconds.
const timeout = 2 * time.Minute

// errand is what a keeper is told to do, on its standard input.
type errand struct {
	Runtime, Program, View string
	Dir                    string // where the program runs
	Temp                   string // where it may leave bundles
}

// result is what a keeper reports, on its standard output.
type result struct {
	Stdout, Stderr string
	Exit           int      // the program's exit status, -1 if it had to be killed
	Failed         string   // why there is no run to report on
	Seconds        float64  // wall-clock time
	Left           []string // processes, containers, mounts and bundles that were there when the program had ended
}

const keeperMark = "BERTH_VALIDATION_KEEPER"

func isKeeper() bool { return os.Getenv(keeperMark) != "" }

// start runs a job under a keeper: this very binary, in a mount namespace of its own.
func start(s *suite, j job) result {
	self, err := os.Executable()
	if err != nil {
		return result{Failed: err.Error()}
	}
	temp, err := os.MkdirTemp("", "validation")
	if err != nil {
		return result{Failed: err.Error()}
	}
	defer os.RemoveAll(temp)
	// A container's root in a user namespace has to pass through here.
	if err := os.Chmod(temp, 0o755); err != nil {
		return result{Failed: err.Error()}
	}
	order, err := json.Marshal(errand{s.runtime, filepath.Join(s.dir, "programs", j.program), j.view, s.dir, temp})
	if err != nil {
		return result{Failed: err.Error()}
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), keeperMark+"=1")
	cmd.Stdin = bytes.NewReader(order)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	out, err := cmd.Output()
	var r result
	if jsonErr := json.Unmarshal(out, &r); jsonErr != nil {
		return result{Failed: errors.Join(err, jsonErr).Error()}
	}
	return r
}

// keep is the keeper's whole life: the errand from standard input, the result to standard output.
func keep() {
	var e errand
	r := result{}
	if err := json.NewDecoder(os.Stdin).Decode(&e); err != nil {
		r.Failed = err.Error()
	} else if err := e.setUp(); err != nil {
		r.Failed = err.Error()
	} else {
		r = e.run()
	}
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

// setUp makes the keeper the reaper of all that the program starts, shows the view, and gives the runtime a state
// directory of its own.
func (e errand) setUp() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	if err := machineLayout().show(e.View); err != nil {
		return fmt.Errorf("show %s: %w", e.View, err)
	}
	if e.View == "systemd" {
		if err := e.wrap(); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(e.state(), 0o700); err != nil {
		return err
	}
	return unix.Mount("tmpfs", e.state(), "tmpfs", 0, "mode=700")
}

// command is what the program takes for the runtime.
func (e errand) command() string {
	if e.View == "systemd" {
		return filepath.Join(e.Temp, "systemd", filepath.Base(e.Runtime))
	}
	return e.Runtime
}

// wrap makes a command of the runtime that always has systemd manage the groups.
func (e errand) wrap() error {
	script := fmt.Sprintf("#!/bin/sh\nexec '%s' --systemd-cgroup \"$@\"\n", e.Runtime)
	return errors.Join(os.MkdirAll(filepath.Dir(e.command()), 0o755), os.WriteFile(e.command(), []byte(script), 0o755))
}

// state is where the runtime keeps its containers when it is not told another place.
func (e errand) state() string { return filepath.Join("/run", filepath.Base(e.Runtime)) }

// run runs the program and undoes what it leaves behind.
func (e errand) run() result {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, e.Program)
	cmd.Dir = e.Dir
	cmd.Env = append(os.Environ(), "RUNTIME="+e.command(), "TMPDIR="+e.Temp)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second // containers may hold the pipes
	mounts := mountPoints()
	began := time.Now()
	err := cmd.Run()
	r := result{Stdout: stdout.String(), Stderr: stderr.String(), Exit: -1, Seconds: time.Since(began).Seconds()}
	if cmd.ProcessState == nil {
		r.Failed = err.Error()
		return r
	}
	r.Exit = cmd.ProcessState.ExitCode()
	r.Left = append(r.Left, e.containers()...)
	r.Left = append(r.Left, endProcesses()...)
	r.Left = append(r.Left, newMounts(mounts)...)
	r.Left = append(r.Left, e.bundles()...)
	return r
}

// containers deletes the containers that the runtime still knows. All IDs that the programs give are UUIDs.
func (e errand) containers() []string {
	var left []string
	entries, _ := os.ReadDir(e.state())
	for _, entry := range entries {
		if !uuidGroup.MatchString(entry.Name()) {
			continue // a cache or a lock of the runtime's own
		}
		out, err := exec.Command(e.Runtime, "delete", "--force", entry.Name()).CombinedOutput()
		if err != nil {
			out = fmt.Appendf(out, " (%v)", err)
		}
		left = append(left, strings.TrimSpace("container "+string(out)))
	}
	return left
}

// endProcesses kills every descendant of this process and returns their names. It needs no process group: orphans
// become children of the keeper.
func endProcesses() []string {
	var left []string
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		alive := descendants(os.Getpid())
		if len(alive) == 0 {
			break
		}
		for pid, name := range alive {
			if unix.Kill(pid, unix.SIGKILL) == nil {
				left = append(left, "process "+name)
			}
		}
		for {
			if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); pid <= 0 || err != nil {
				break
			}
		}
	}
	return left
}

// descendants returns pid and name of what runs below a process; zombies do not count.
func descendants(root int) map[int]string {
	type process struct {
		parent int
		name   string
	}
	all := map[int]process{}
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		if pid, parent, name, ok := parseStat(string(text)); ok {
			all[pid] = process{parent, name}
		}
	}
	below := map[int]string{}
	for pid, p := range all {
		for up := p.parent; up > 1; up = all[up].parent {
			if up == root {
				below[pid] = p.name
				break
			}
		}
	}
	return below
}

// parseStat reads /proc/PID/stat, see proc_pid_stat(5). It is not ok for a zombie.
func parseStat(text string) (pid, parent int, name string, ok bool) {
	open, end := strings.IndexByte(text, '('), strings.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return 0, 0, "", false
	}
	fields := strings.Fields(text[end+1:])
	if len(fields) < 2 || fields[0] == "Z" || fields[0] == "X" {
		return 0, 0, "", false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(text[:open]))
	if err != nil {
		return 0, 0, "", false
	}
	parent, err = strconv.Atoi(fields[1])
	return pid, parent, text[open+1 : end], err == nil
}

func mountPoints() []string {
	text, _ := os.ReadFile("/proc/self/mountinfo")
	var points []string
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > 4 {
			points = append(points, fields[4])
		}
	}
	return points
}

// newMounts returns, as one line, the mounts that were not there before; they end with this namespace.
func newMounts(before []string) []string {
	now := mountPoints()
	if len(now) <= len(before) {
		return nil
	}
	return []string{fmt.Sprintf("%d mounts", len(now)-len(before))}
}

func (e errand) bundles() []string {
	entries, _ := os.ReadDir(e.Temp)
	if len(entries) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("%d bundles", len(entries))}
}
