// Bench compares how long runtimes take for a container, and how much memory, with each other and with a floor: a C
// program that makes the same container with about the fewest system calls.
//
//	go run ./tests/bench -berth bin/berth [-runc PATH] [-crun PATH] [-n ROUNDS] [-phases]
//
// It needs root, gcc with the static C library, and a static busybox. It prints one table for each cgroup view that
// the machine can show, "v1" (hierarchies of version 1 only) and "v2" (cgroup2 only), each in a mount namespace of its own.
// Nothing stays behind, neither after an error nor after Ctrl-C. docs/BENCHMARKS.md explains the method.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// options are the command line's. inView, dir and floor are for the process that measures one view.
type options struct {
	berth, runc, crun, busybox, seccomp, views string
	n                                          int
	pause                                      time.Duration
	phases                                     bool
	inView, dir, floor                         string
}

func parseOptions() (o options) {
	flag.StringVar(&o.berth, "berth", "bin/berth", "berth's `path`")
	flag.StringVar(&o.runc, "runc", "", "runc's `path` (default: from PATH)")
	flag.StringVar(&o.crun, "crun", "", "crun's `path` (default: from PATH)")
	flag.StringVar(&o.busybox, "busybox", "/bin/busybox", "a static busybox's `path`")
	flag.StringVar(&o.seccomp, "seccomp", "/usr/share/containers/seccomp.json", "a manager's seccomp profile, `path`")
	flag.StringVar(&o.views, "views", "v1,v2", "cgroup `views` to measure in, as far as the machine has them")
	flag.IntVar(&o.n, "n", 100, "rounds to measure")
	flag.DurationVar(&o.pause, "pause", 5*time.Millisecond, "rest between two measurements")
	flag.BoolVar(&o.phases, "phases", false, "also show where the time of run goes")
	flag.StringVar(&o.inView, "in-view", "", "internal: measure in this view")
	flag.StringVar(&o.dir, "dir", "", "internal: directory to work in")
	flag.StringVar(&o.floor, "floor", "", "internal: the built floor")
	flag.Parse()
	return o
}

func main() {
	o := parseOptions()
	work := measureViews
	if o.inView != "" {
		work = measureView
	}
	if err := work(o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// measureViews prepares what the views share and starts a process for each.
func measureViews(o options) error {
	if os.Geteuid() != 0 {
		return errors.New("needs root")
	}
	mounts, err := readCgroupMounts()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "berth-bench")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	floor, err := buildFloor(dir)
	if err != nil {
		return err
	}
	if err := makeRootfs(filepath.Join(dir, "rootfs"), o.busybox); err != nil {
		return err
	}
	for _, name := range viewsHere(mounts) {
		if !slices.Contains(strings.Split(o.views, ","), name) || ctx.Err() != nil {
			continue
		}
		if err := startView(ctx, name, dir, floor); err != nil {
			return fmt.Errorf("%s view: %w", name, err)
		}
	}
	return ctx.Err()
}

// startView runs this program again in a mount namespace of its own. When it is to stop, or this process dies, it gets
// SIGTERM, cleans up and ends.
func startView(ctx context.Context, name, dir, floor string) error {
	runtime.LockOSThread() // Pdeathsig is about the thread that starts the process
	defer runtime.UnlockOSThread()
	self := exec.CommandContext(ctx, "/proc/self/exe", append(os.Args[1:], "-in-view", name, "-dir", dir, "-floor", floor)...)
	self.Stdout, self.Stderr = os.Stdout, os.Stderr
	self.Cancel = func() error { return self.Process.Signal(unix.SIGTERM) }
	self.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: unix.SIGTERM}
	return self.Run()
}

// measureView measures in one view and prints its tables.
func measureView(o options) error {
	debug.SetGCPercent(-1) // a collection would fall into somebody's measurement
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	b, notes, err := newBench(ctx, o)
	if err != nil {
		return err
	}
	defer b.leave(o.dir)
	b.printHead(o, notes)
	b.measureAll(o.n)
	footprints, calls := map[string]footprint{}, map[string]string{}
	for _, d := range b.contenders {
		footprints[d.name] = b.measureMemory(d)
		if o.phases && ctx.Err() == nil {
			calls[d.name] = b.countSyscalls(d)
		}
	}
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	b.printTimes(os.Stdout)
	b.printMemory(os.Stdout, footprints)
	if o.phases {
		b.printPhases(os.Stdout, calls)
	}
	fmt.Println()
	return nil
}

// newBench enters the view and prepares every contender's directories there. State lives on a tmpfs, as below /run.
func newBench(ctx context.Context, o options) (*bench, []string, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, nil, os.NewSyscallError("prctl", err)
	}
	v, err := enterView(o.inView)
	if err != nil {
		return nil, nil, err
	}
	var notes []string
	if v.name == "v2" {
		note, err := allowMemlock()
		if err != nil {
			return nil, nil, err
		}
		notes = append(notes, note)
	}
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	contenders, missing := findContenders(o.floor, map[string]string{"berth": o.berth, "runc": o.runc, "crun": o.crun})
	notes = append(notes, missing...)
	profile, err := os.ReadFile(o.seccomp)
	if err != nil {
		notes = append(notes, "no run under a seccomp profile: "+err.Error())
	}
	b := &bench{
		invoker: &invoker{null: null}, ctx: ctx, view: v, dir: filepath.Join(o.dir, v.name), pause: o.pause,
		rootfs: filepath.Join(o.dir, "rootfs"), profile: profile, arch: runtime.GOARCH,
		prefix: fmt.Sprintf("berth-bench-%d-", os.Getpid()), contenders: contenders,
		joined: map[string]bool{}, results: map[string]map[string]*series{},
	}
	return b, notes, b.prepareAll()
}

// leave removes what the contenders may have left, and all of dir if the measurement was interrupted: the process that
// made it may have been killed.
func (b *bench) leave(dir string) {
	for _, d := range b.contenders {
		b.sweep(d)
	}
	if b.ctx.Err() != nil {
		_ = unix.Unmount(filepath.Join(b.dir, "state"), unix.MNT_DETACH)
		_ = os.RemoveAll(dir)
	}
}

func (b *bench) prepareAll() error {
	state := filepath.Join(b.dir, "state")
	if err := os.MkdirAll(state, 0o700); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", state, "tmpfs", 0, "mode=700"); err != nil {
		return fmt.Errorf("mount a tmpfs for states: %w", err)
	}
	for _, d := range b.contenders {
		if err := b.prepare(d); err != nil {
			return err
		}
	}
	return nil
}

// printHead says what is being measured.
func (b *bench) printHead(o options, notes []string) {
	var uname unix.Utsname
	_ = unix.Uname(&uname)
	fmt.Printf("cgroup %s view, %d rounds, Linux %s, %s, %d processors\n", b.view.name, o.n,
		unix.ByteSliceToString(uname.Release[:]), runtime.GOARCH, runtime.NumCPU())
	for _, d := range b.contenders {
		fmt.Println("  " + d.version())
	}
	for _, note := range notes {
		if note != "" {
			fmt.Println("  note: " + note)
		}
	}
}
