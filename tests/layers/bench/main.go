// Bench compares how long tools take to bring an image of about 1 GB from an OCI layout to unpacked layers on the disk,
// and measures what berth-layer does besides.
//
//	go run ./tests/layers/bench [-n ROUNDS] [-tool REGEXP] [-on tmpfs|DIR]
//
// It needs root, loop devices, apt-get and e2fsprogs; a tool that is not installed is left out. The image is made once
// from Debian packages and kept in -cache. Every measurement has an ext4 of its own: creating files where many
// have just been deleted takes ext4 ten times as long. docs/BENCHMARKS.md explains the method.
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
	"regexp"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

type options struct {
	berth, cache, tool, on string
	n, verbs               int
}

func parseOptions() (o options) {
	flag.StringVar(&o.berth, "berth-layer", "bin/berth-layer", "berth-layer's `path`")
	flag.StringVar(&o.cache, "cache", ".cache/layers-bench", "`directory` that the images are kept in")
	flag.StringVar(&o.tool, "tool", "", "measure tools that match `REGEXP`")
	flag.StringVar(&o.on, "on", "tmpfs", "`where` the file of the ext4 is: a tmpfs, so that no disk is measured, or a directory")
	flag.IntVar(&o.n, "n", 5, "rounds of pulls")
	flag.IntVar(&o.verbs, "verbs", 20, "rounds of create and commit")
	flag.Parse()
	return o
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	if err := run(ctx, parseOptions()); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("needs root")
	}
	for _, path := range []*string{&o.berth, &o.cache} {
		if *path, err = filepath.Abs(*path); err != nil {
			return err
		}
	}
	wanted, err := regexp.Compile(o.tool)
	if err != nil {
		return err
	}
	// What it mounts is for nobody else, and goes with it.
	runtime.LockOSThread()
	if err := errors.Join(unix.Unshare(unix.CLONE_NEWNS), unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	image, err := debianImage(o.cache)
	if err != nil {
		return fmt.Errorf("make the image: %w", err)
	}
	deep, err := deepImage(o.cache, 100)
	if err != nil {
		return fmt.Errorf("make the image of 100 layers: %w", err)
	}
	v, err := newVolume(o.on)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.remove()) }()
	b := &bench{ctx: ctx, o: o, image: image, deep: deep, volume: v, results: map[string]*series{}}
	b.contenders, b.notes = contenders(o.berth, wanted)
	b.printHead()
	for round := range o.n {
		b.round(round)
	}
	b.printPulls()
	for _, d := range b.contenders {
		if d.backend != "" && ctx.Err() == nil {
			b.verbs(d.backend)
		}
	}
	b.printVerbs()
	return context.Cause(ctx)
}

func (b *bench) printHead() {
	var uname unix.Utsname
	_ = unix.Uname(&uname)
	load, _ := os.ReadFile("/proc/loadavg")
	fmt.Printf("%d layers, %d MB of gzip, %d MB and %d entries unpacked; ext4 on %s; %d rounds, Linux %s, %s, %d processors, load %s\n",
		len(b.image.blobs), b.image.stored/1e6, b.image.plain/1e6, b.image.entries, b.o.on, b.o.n,
		unix.ByteSliceToString(uname.Release[:]), runtime.GOARCH, runtime.NumCPU(), strings.Fields(string(load))[0])
	for _, d := range b.contenders {
		out, _ := exec.Command(d.needs[0], "--version").Output()
		line, _, _ := strings.Cut(string(out), "\n")
		fmt.Printf("  %s: %s\n", d.name, strings.TrimSpace(line))
	}
	for _, note := range b.notes {
		fmt.Println("  note: " + note)
	}
}
