package cli

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v2"

	"berth/libcontainer"
	"berth/libcontainer/bundle"
	"berth/libcontainer/fault"
)

// limitFlag is one limit on the command line.
type limitFlag struct {
	name, usage string
	entry       fault.Pointer // of config.json, below /linux
	set         func(r *limits, text string) error
}

// limits are what the flags say.
type limits struct {
	memory specs.LinuxMemory
	cpu    specs.LinuxCPU
	pids   specs.LinuxPids
	io     specs.LinuxBlockIO
	rdt    specs.LinuxIntelRdt
}

var limitFlags = []limitFlag{
	{"memory", "memory limit, such as 512m; -1 is none", "/resources/memory/limit",
		func(l *limits, s string) error { return readSize(&l.memory.Limit, s) }},
	{"memory-reservation", "memory that is kept from being reclaimed (soft limit)", "/resources/memory/reservation",
		func(l *limits, s string) error { return readSize(&l.memory.Reservation, s) }},
	{"memory-swap", "limit of memory and swap together; -1 is none", "/resources/memory/swap",
		func(l *limits, s string) error { return readSize(&l.memory.Swap, s) }},
	{"cpu-period", "microseconds in which --cpu-quota may be used up", "/resources/cpu/period",
		func(l *limits, s string) error { return readUint(&l.cpu.Period, s) }},
	{"cpu-quota", "microseconds of CPU time in each period; -1 is no limit", "/resources/cpu/quota",
		func(l *limits, s string) error { return readInt(&l.cpu.Quota, s) }},
	{"cpu-burst", "microseconds that may be saved up for later periods", "/resources/cpu/burst",
		func(l *limits, s string) error { return readUint(&l.cpu.Burst, s) }},
	{"cpu-share", "weight against other groups, from 2; 1024 is usual", "/resources/cpu/shares",
		func(l *limits, s string) error { return readUint(&l.cpu.Shares, s) }},
	{"cpu-rt-period", "microseconds in which --cpu-rt-runtime may be used up", "/resources/cpu/realtimePeriod",
		func(l *limits, s string) error { return readUint(&l.cpu.RealtimePeriod, s) }},
	{"cpu-rt-runtime", "microseconds of realtime CPU time in each period", "/resources/cpu/realtimeRuntime",
		func(l *limits, s string) error { return readInt(&l.cpu.RealtimeRuntime, s) }},
	{"cpu-idle", "1 runs the container only when nobody else wants to (SCHED_IDLE), 0 as usual", "/resources/cpu/idle",
		func(l *limits, s string) error { return readInt(&l.cpu.Idle, s) }},
	{"cpuset-cpus", "CPUs to run on, such as 0-3,7", "/resources/cpu/cpus",
		func(l *limits, s string) error { l.cpu.Cpus = s; return nil }},
	{"cpuset-mems", "memory nodes to use", "/resources/cpu/mems",
		func(l *limits, s string) error { l.cpu.Mems = s; return nil }},
	{"pids-limit", "number of processes and threads; -1 is no limit", "/resources/pids/limit",
		func(l *limits, s string) error { return readInt(&l.pids.Limit, s) }},
	{"blkio-weight", "weight of block I/O against other groups, from 10 to 1000", "/resources/blockIO/weight",
		func(l *limits, s string) error { return readWeight(&l.io.Weight, s) }},
	{"l3-cache-schema", "share of the L3 cache, as a line of resctrl's schemata", "/intelRdt/l3CacheSchema",
		func(l *limits, s string) error { l.rdt.L3CacheSchema = s; return nil }},
	{"mem-bw-schema", "share of the memory bandwidth, as a line of resctrl's schemata", "/intelRdt/memBwSchema",
		func(l *limits, s string) error { l.rdt.MemBwSchema = s; return nil }},
}

// Flags that once set something, and are still given.
var deadFlags = []string{"kernel-memory", "kernel-memory-tcp"}

func (r *runner) updateCommand() *cli.Command {
	flags := []cli.Flag{
		&cli.StringFlag{Name: "resources", Aliases: []string{"r"},
			Usage: "`file` with linux.resources as config.json has it, or - for standard input; flags for its limits are ignored then"},
	}
	for _, f := range limitFlags {
		flags = append(flags, &cli.StringFlag{Name: f.name, Usage: f.usage})
	}
	for _, name := range deadFlags {
		flags = append(flags, &cli.StringFlag{Name: name, Hidden: true})
	}
	return &cli.Command{
		Name:        "update",
		Usage:       "change the limits of a container",
		ArgsUsage:   "ID",
		Description: "What is not given, or given as 0, stays as it is. Where one limit is refused all stay as they were.",
		Flags:       flags,
		Action:      r.update,
	}
}

func (r *runner) update(c *cli.Context) error {
	change, named, err := r.changeOf(c)
	if err != nil {
		return err
	}
	return r.with(c, func(container *libcontainer.Container) error {
		container.Warn = func(e *fault.Error) { r.log.warn(named(e)) }
		err := container.Update(change)
		fault.Each(err, func(e *fault.Error) { named(e) })
		return err
	})
}

// changeOf reads the command line. named makes an error about an entry of
// config.json one about what the user has given.
func (r *runner) changeOf(c *cli.Context) (change libcontainer.Change, named func(*fault.Error) *fault.Error, err error) {
	var l limits
	path := c.String("resources")
	for _, f := range limitFlags {
		text := c.String(f.name)
		if text == "" || path != "" && strings.HasPrefix(string(f.entry), "/resources") {
			continue
		}
		if err := f.set(&l, text); err != nil {
			return change, nil, usage("--"+f.name, fmt.Sprintf("invalid value for %s: %v", f.name, err))
		}
	}
	for _, name := range deadFlags {
		if c.String(name) != "" {
			r.log.warn(&fault.Error{Op: "option", Path: "--" + name, Msg: "has no effect any more"})
		}
	}
	change.Rdt = &l.rdt
	if path == "" {
		change.Resources = &specs.LinuxResources{Memory: &l.memory, CPU: &l.cpu, Pids: &l.pids, BlockIO: &l.io}
		return change, ofFlags, nil
	}
	var doc string
	change.Resources, doc, err = bundle.LoadResources(path)
	named = func(e *fault.Error) *fault.Error { return ofDocument(e, doc) }
	fault.Each(err, func(e *fault.Error) { named(e) })
	return change, named, err
}

// ofDocument points into the document of --resources.
func ofDocument(e *fault.Error, doc string) *fault.Error {
	entry, ok := strings.CutPrefix(string(e.Field), string(bundle.ResourcesField))
	if !ok {
		return ofFlags(e)
	}
	e.Field, e.Doc = fault.Pointer(entry), doc
	return e
}

// ofFlags points to the flag.
func ofFlags(e *fault.Error) *fault.Error {
	i := slices.IndexFunc(limitFlags, func(f limitFlag) bool { return "/linux"+f.entry == e.Field })
	if i >= 0 {
		e.Field, e.Doc = fault.Pointer("--"+limitFlags[i].name), "option"
	}
	return e
}

func readUint(to **uint64, s string) error {
	n, err := strconv.ParseUint(s, 10, 64)
	*to = &n
	return brief(err)
}

func readInt(to **int64, s string) error {
	n, err := strconv.ParseInt(s, 10, 64)
	*to = &n
	return brief(err)
}

func readWeight(to **uint16, s string) error {
	n, err := strconv.ParseUint(s, 10, 16)
	weight := uint16(n)
	*to = &weight
	return brief(err)
}

func readSize(to **int64, s string) error {
	n, err := parseSize(s)
	*to = &n
	return err
}

// brief is a number's error without the name of the function.
func brief(err error) error {
	if e, ok := err.(*strconv.NumError); ok {
		return fmt.Errorf("%q: %w", e.Num, e.Err)
	}
	return err
}

// parseSize reads bytes as people write memory: "512m", "1.5 GiB", "4096"; all
// units are powers of 1024. -1 is no limit.
func parseSize(s string) (int64, error) {
	if s == "-1" {
		return -1, nil
	}
	invalid := fmt.Errorf("invalid size: '%s'", s)
	digits := strings.TrimRight(s, "bBiIkKmMgGtTpP")
	unit := strings.ToLower(s[len(digits):])
	n, err := strconv.ParseFloat(strings.TrimSuffix(digits, " "), 64)
	if err != nil || strings.Trim(digits, "0123456789. ") != "" || n < 0 {
		return 0, invalid
	}
	if unit != "" && unit != "b" {
		power := strings.IndexByte("kmgtp", unit[0])
		if power < 0 || !slices.Contains([]string{"", "b", "ib"}, unit[1:]) {
			return 0, invalid
		}
		n *= float64(int64(1) << (10 * (power + 1)))
	}
	if n >= math.MaxInt64 {
		return 0, invalid
	}
	return int64(n), nil
}
