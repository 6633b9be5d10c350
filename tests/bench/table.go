package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"syscall"
	"time"
)

// median returns the middle of the values, 0 of none. It does not change the slice.
func median[T cmp.Ordered](values []T) T {
	var zero T
	if len(values) == 0 {
		return zero
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

func walls(s *series) []time.Duration {
	var all []time.Duration
	for _, one := range s.samples {
		all = append(all, one.wall)
	}
	return all
}

func cpus(s *series) []time.Duration {
	var all []time.Duration
	for _, one := range s.samples {
		all = append(all, one.cpu())
	}
	return all
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%.2f ms", d.Seconds()*1000) }

func megabytes(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }

// ratio is a/b with two digits, "-" where one of them was not measured.
func ratio[T ~int64](a, b T) string {
	if a == 0 || b == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", float64(a)/float64(b))
}

// printTimes prints one block per thing measured, one line per contender.
func (b *bench) printTimes(out io.Writer) {
	fmt.Fprintf(out, "%-8s %11s %11s %8s %8s %11s\n", "", "minimum", "median", "/crun", "/floor", "cpu")
	for _, what := range []string{runTrue, runSeccomp, runCold, execTrue, lifecycle, createOnly, startOnly, deleteOnly} {
		if b.results[what] == nil {
			continue
		}
		fmt.Fprintln(out, what)
		for _, d := range b.contenders {
			if s := b.results[what][d.name]; s != nil {
				fmt.Fprintln(out, b.timeLine(what, d.name, s))
			}
		}
	}
}

// timeLine shows a contender's times, or why there are none.
func (b *bench) timeLine(what, name string, s *series) string {
	if len(s.samples) == 0 {
		return fmt.Sprintf("  %-6s failed: %v", name, s.err)
	}
	middle := median(walls(s))
	line := fmt.Sprintf("  %-6s %11s %11s %8s %8s %11s", name, milliseconds(slices.Min(walls(s))), milliseconds(middle),
		ratio(middle, b.medianOf(what, "crun")), ratio(middle, b.medianOf(what, "floor")), milliseconds(median(cpus(s))))
	if s.failed > 0 {
		line += fmt.Sprintf("  %d of %d failed: %v", s.failed, s.failed+len(s.samples), s.err)
	}
	return line
}

// medianOf is 0 where nothing was measured. The floor has no seccomp filter; its plain run stands for it.
func (b *bench) medianOf(what, name string) time.Duration {
	if name == "floor" && (what == runSeccomp || what == runCold) {
		what = runTrue
	}
	if s := b.results[what][name]; s != nil {
		return median(walls(s))
	}
	return 0
}

// printMemory prints the median footprint of each contender.
func (b *bench) printMemory(out io.Writer, footprints map[string]footprint) {
	fmt.Fprintf(out, "\n%-8s %16s %16s\n", "", "created init", "waiting run")
	fmt.Fprintln(out, "memory (proportional set size, median)")
	for _, d := range b.contenders {
		f, there := footprints[d.name]
		switch {
		case !there:
		case f.err != nil:
			fmt.Fprintf(out, "  %-6s failed: %v\n", d.name, f.err)
		default:
			fmt.Fprintf(out, "  %-6s %12d KiB %12d KiB\n", d.name, median(f.init), median(f.run))
		}
	}
}

// printPhases prints where the time of `run /bin/true` goes, as far as the kernel counts it.
func (b *bench) printPhases(out io.Writer, calls map[string]string) {
	fmt.Fprintf(out, "\n%-8s %11s %11s %8s %8s %8s %8s\n", "", "user", "system", "faults", "waits", "preempt", "syscalls")
	fmt.Fprintln(out, runTrue+", the container's process included (medians; system calls: one run under strace -f)")
	for _, d := range b.contenders {
		s := b.results[runTrue][d.name]
		if s == nil || len(s.samples) == 0 {
			continue
		}
		fmt.Fprintf(out, "  %-6s %11s %11s %8d %8d %8d %8s\n", d.name,
			milliseconds(time.Duration(usageOf(s, func(u syscall.Rusage) int64 { return u.Utime.Nano() }))),
			milliseconds(time.Duration(usageOf(s, func(u syscall.Rusage) int64 { return u.Stime.Nano() }))),
			usageOf(s, func(u syscall.Rusage) int64 { return u.Minflt }),
			usageOf(s, func(u syscall.Rusage) int64 { return u.Nvcsw }),
			usageOf(s, func(u syscall.Rusage) int64 { return u.Nivcsw }),
			calls[d.name])
	}
}
