package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// bench is one run.
type bench struct {
	ctx         context.Context
	o           options
	image, deep *layout
	volume      *volume
	contenders  []contender
	notes       []string
	results     map[string]*series
	order       []string // of the verbs in results
}

// sample is one measurement. The wall-clock time goes on until everything is on the disk.
type sample struct {
	wall, synced time.Duration // synced is what the last syncfs(2) took of it
	cpu          time.Duration // user and system, of all processes; writing back is the kernel's own
	memory       int64         // bytes, the largest process at its largest
}

// series is what came of one thing measured several times.
type series struct {
	samples []sample
	failed  int
	err     error // the last failure
}

func (b *bench) add(name string, s sample, err error) {
	r := b.results[name]
	if r == nil {
		r = &series{}
		b.results[name] = r
		b.order = append(b.order, name)
	}
	if err != nil {
		r.failed, r.err = r.failed+1, err
		return
	}
	r.samples = append(r.samples, s)
}

// round measures everybody once, in random order.
func (b *bench) round(n int) {
	for _, i := range rand.Perm(len(b.contenders)) {
		if b.ctx.Err() != nil {
			return
		}
		d := b.contenders[i]
		var s sample
		err := b.volume.use(func(dir string) (err error) {
			s, err = b.pull(d, dir)
			return err
		})
		b.add(d.name, s, err)
		fmt.Fprintf(os.Stderr, "round %d: %s %.2f s, cpu %.2f s\n", n+1, d.name, s.wall.Seconds(), s.cpu.Seconds())
	}
}

// pull has a contender unpack the image in the empty directory dir.
func (b *bench) pull(d contender, dir string) (s sample, err error) {
	commands, err := d.commands(b.image, dir)
	if err != nil {
		return s, err
	}
	var daemon *exec.Cmd
	if d.daemon != nil {
		if daemon, err = d.daemon(dir); err != nil {
			return s, err
		}
		defer daemon.Wait()
		defer daemon.Process.Signal(syscall.SIGTERM)
	}
	if err := b.volume.sync(); err != nil {
		return s, err
	}
	before := usageOf(daemon)
	start := time.Now()
	for _, argv := range commands {
		one, err := b.run(argv)
		if err != nil {
			return s, err
		}
		s.cpu, s.memory = s.cpu+one.cpu, max(s.memory, one.memory)
	}
	done := time.Now()
	if err := b.volume.sync(); err != nil {
		return s, err
	}
	s.wall, s.synced = time.Since(start), time.Since(done)
	after := usageOf(daemon)
	s.cpu, s.memory = s.cpu+after.cpu-before.cpu, max(s.memory, after.memory)
	return s, nil
}

// run runs a command to its end.
func (b *bench) run(argv []string) (s sample, err error) {
	cmd := exec.CommandContext(b.ctx, argv[0], argv[1:]...)
	var said bytes.Buffer
	cmd.Stderr = &said
	start := time.Now()
	err = cmd.Run()
	s.wall = time.Since(start)
	if err != nil {
		return s, fmt.Errorf("%s: %w: %s", argv[0], err, lastLine(said.String()))
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	s.cpu, s.memory = time.Duration(usage.Utime.Nano()+usage.Stime.Nano()), usage.Maxrss<<10
	return s, nil
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// usageOf is what a running daemon, and the children that it has waited for, have used so far (proc_pid_stat(5)).
func usageOf(daemon *exec.Cmd) (s sample) {
	if daemon == nil {
		return s
	}
	const tick = time.Second / 100 // USER_HZ
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", daemon.Process.Pid))
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(fields) > 14 {
		for _, field := range fields[11:15] { // utime, stime, cutime, cstime
			var ticks int64
			_, _ = fmt.Sscan(field, &ticks)
			s.cpu += time.Duration(ticks) * tick
		}
	}
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", daemon.Process.Pid))
	if _, rest, ok := strings.Cut(string(status), "VmHWM:"); ok {
		var kib int64
		_, _ = fmt.Sscan(rest, &kib)
		s.memory = kib << 10
	}
	return s
}
