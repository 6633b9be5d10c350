package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// What is measured, in the order of the table.
const (
	runTrue    = "run /bin/true"
	runSeccomp = "run /bin/true with the manager's seccomp profile"
	runCold    = "  the same, nothing in the cache of compiled filters"
	execTrue   = "exec /bin/true"
	lifecycle  = "create + start + end of the process + delete"
	createOnly = "  of that, create"
	startOnly  = "  of that, start"
	deleteOnly = "  of that, delete"
)

// A series is one contender's samples of one thing.
type series struct {
	samples []sample
	failed  int
	err     error // the first
}

func (s *series) add(one sample, err error) {
	if err == nil {
		s.samples = append(s.samples, one)
		return
	}
	s.failed++
	if s.err == nil {
		s.err = err
	}
}

// A bench measures contenders in one view.
type bench struct {
	*invoker
	ctx        context.Context
	view       view
	dir        string // for bundles, states and pid files
	rootfs     string
	profile    []byte // seccomp profile, nil if there is none
	arch       string
	prefix     string // of container IDs and cgroup names
	pause      time.Duration
	contenders []contender
	joined     map[string]bool               // contenders whose container for exec runs
	results    map[string]map[string]*series // by what is measured and by contender
}

func (b *bench) series(what string, d contender) *series {
	if b.results[what] == nil {
		b.results[what] = map[string]*series{}
	}
	if b.results[what][d.name] == nil {
		b.results[what][d.name] = &series{}
	}
	return b.results[what][d.name]
}

// container describes the contender's container; kind names its bundle.
func (b *bench) container(d contender, kind string) container {
	root := filepath.Join(b.dir, "state", d.name)
	c := container{
		id:      b.prefix + d.name,
		bundle:  filepath.Join(b.dir, "bundles", d.name, kind),
		rootfs:  b.rootfs,
		args:    []string{"/bin/true"},
		root:    root,
		pidFile: root + ".pid",
		view:    b.view,
	}
	switch kind {
	case "sleep":
		c.args = []string{"/bin/sleep", "1000"}
	case "joined":
		c.args = []string{"/bin/sleep", "100000"}
		c.id += "-joined"
	}
	return c
}

// prepare makes the contender's state directory and its bundles: plain, sleep, seccomp and joined,
// which is the one of exec.
func (b *bench) prepare(d contender) error {
	for _, kind := range []string{"plain", "sleep", "seccomp", "joined"} {
		c := b.container(d, kind)
		config := defaultConfig(b.view, c.rootfs, "/"+c.id, c.args...)
		if kind == "seccomp" && b.profile != nil {
			if err := addSeccomp(config, b.profile, b.arch); err != nil {
				return err
			}
		}
		if err := writeBundle(c.bundle, config); err != nil {
			return err
		}
		if err := os.MkdirAll(c.root, 0o700); err != nil {
			return err
		}
	}
	return nil
}

// measureRun takes the time of one foreground container.
func (b *bench) measureRun(what, kind string, d contender) error {
	s, err := b.invoke(d.command("run", b.container(d, kind)))
	b.series(what, d).add(s, err)
	return err
}

// measureExec takes the time of one foreground process in a container that is there for all of them.
func (b *bench) measureExec(d contender) error {
	if d.name == "floor" { // makes containers and does not join any
		return nil
	}
	c := b.container(d, "joined")
	if !b.joined[d.name] {
		for _, verb := range []string{"create", "start"} {
			if _, err := b.invoke(d.command(verb, c)); err != nil {
				return fmt.Errorf("%s: %w", verb, err)
			}
		}
		b.joined[d.name] = true
	}
	c.args = []string{"/bin/true"}
	s, err := b.invoke(d.command("exec", c))
	b.series(execTrue, d).add(s, err)
	return err
}

// measureLifecycle takes the time of create, start and delete as a manager calls them: it is the container's
// subreaper, waits for the end of the process and deletes the container then.
func (b *bench) measureLifecycle(d contender) error {
	c := b.container(d, "plain")
	began := time.Now()
	created, err := b.invoke(d.command("create", c))
	b.series(createOnly, d).add(created, err)
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	pid, pidfd, err := openInit(c)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(pidfd) }()
	started, err := b.invoke(d.command("start", c))
	b.series(startOnly, d).add(started, err)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	if !waitPidfd(pidfd) {
		return fmt.Errorf("the container did not end within %v", patience)
	}
	_, usage, _ := reap(pid) // not our child if a contender reparents it elsewhere
	deleted, err := b.invoke(d.command("delete", c))
	b.series(deleteOnly, d).add(deleted, err)
	if err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	total := sample{wall: time.Since(began)}.plus(created.usage).plus(started.usage).plus(deleted.usage).plus(usage)
	b.series(lifecycle, d).add(total, nil)
	return nil
}

// openInit returns the container's first process by the pid file; the caller closes the descriptor.
func openInit(c container) (pid, pidfd int, err error) {
	text, err := os.ReadFile(c.pidFile)
	if err != nil {
		return 0, -1, err
	}
	if pid, err = strconv.Atoi(strings.TrimSpace(string(text))); err != nil {
		return 0, -1, err
	}
	pidfd, err = unix.PidfdOpen(pid, 0)
	return pid, pidfd, os.NewSyscallError("pidfd_open", err)
}

// A measurement is made for each contender in each round.
type measurement struct {
	what string
	once func(contender) error
}

func (b *bench) measurements() []measurement {
	list := []measurement{{runTrue, func(d contender) error { return b.measureRun(runTrue, "plain", d) }}}
	if b.profile != nil {
		list = append(list, measurement{runSeccomp, func(d contender) error {
			if d.name == "floor" { // has no filter; its plain run stays what others are compared with
				return nil
			}
			return b.measureRun(runSeccomp, "seccomp", d)
		}}, measurement{runCold, func(d contender) error {
			if d.name == "floor" {
				return nil
			}
			if err := forgetFilters(b.container(d, "seccomp").root); err != nil {
				return err
			}
			return b.measureRun(runCold, "seccomp", d)
		}})
	}
	return append(list, measurement{execTrue, b.measureExec}, measurement{lifecycle, b.measureLifecycle})
}

// forgetFilters removes the compiled filters that a contender has kept below
// its state root: berth's, crun's; runc keeps none.
func forgetFilters(root string) error {
	for _, dir := range []string{"@seccomp", ".cache/seccomp"} {
		if err := os.RemoveAll(filepath.Join(root, dir)); err != nil {
			return err
		}
	}
	return nil
}

// measureAll tries everything once, then makes n rounds in which the contenders take turns, each round in another order,
// so that none always follows the same one. What fails in the trial is reported and not measured.
func (b *bench) measureAll(n int) {
	list := b.measurements()
	usable := make([][]contender, len(list))
	for i, m := range list {
		usable[i] = b.try(m)
	}
	b.dropTrials()
	for range n {
		for i, m := range list {
			for _, j := range rand.Perm(len(usable[i])) {
				if b.ctx.Err() != nil {
					return
				}
				d := usable[i][j]
				if err := m.once(d); err != nil {
					b.noteLifecycle(m, d, err)
					b.sweep(d)
				}
				b.settle()
			}
		}
	}
}

// noteLifecycle counts a failed part as a failure of the whole.
func (b *bench) noteLifecycle(m measurement, d contender, err error) {
	if m.what == lifecycle {
		b.series(lifecycle, d).add(sample{}, err)
	}
}

// try makes the measurement twice for each contender (the first warms caches) and returns those for which it worked.
func (b *bench) try(m measurement) (usable []contender) {
	for _, d := range b.contenders {
		if b.ctx.Err() != nil {
			return nil
		}
		err := b.captured(func() error { return m.once(d) })
		if err == nil {
			err = m.once(d)
		}
		if err != nil {
			b.sweep(d)
			b.series(m.what, d).err = err
			continue
		}
		usable = append(usable, d)
	}
	return usable
}

// dropTrials forgets the samples of the trial but keeps its errors.
func (b *bench) dropTrials() {
	for _, byContender := range b.results {
		for _, s := range byContender {
			s.samples, s.failed = nil, 0
		}
	}
}

// settle lets the kernel finish what it does in the background after a container's end (network namespaces above all).
func (b *bench) settle() {
	reapLeftovers()
	select {
	case <-time.After(b.pause):
	case <-b.ctx.Done():
	}
}

// usageOf is the median of one number of the samples' resource usage.
func usageOf(s *series, number func(syscall.Rusage) int64) int64 {
	var all []int64
	for _, one := range s.samples {
		all = append(all, number(one.usage))
	}
	return median(all)
}
