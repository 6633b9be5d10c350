package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// of returns one property of all samples.
func of[T cmp.Ordered](s *series, property func(sample) T) []T {
	var all []T
	for _, one := range s.samples {
		all = append(all, property(one))
	}
	return all
}

// median returns the middle of the values, 0 of none.
func median[T cmp.Ordered](values []T) T {
	var zero T
	if len(values) == 0 {
		return zero
	}
	return slices.Sorted(slices.Values(values))[len(values)/2]
}

func wall(s sample) time.Duration   { return s.wall }
func synced(s sample) time.Duration { return s.synced }
func cpu(s sample) time.Duration    { return s.cpu }
func memory(s sample) int64         { return s.memory }

// failures says what went wrong, if anything did.
func (s *series) failures() string {
	if s.failed == 0 {
		return ""
	}
	return fmt.Sprintf("  %d of %d failed: %v", s.failed, s.failed+len(s.samples), s.err)
}

func (b *bench) printPulls() { printPulls(os.Stdout, b.contenders, b.results) }

// printPulls shows times in seconds, and how many times as long as the first contender the others take.
func printPulls(out io.Writer, contenders []contender, results map[string]*series) {
	fmt.Fprintf(out, "%-18s %8s %8s %8s %8s %8s %8s %8s\n", "seconds", "minimum", "median", "sync", "ratio", "cpu", "ratio", "memory")
	var first *series
	for _, d := range contenders {
		s := results[d.name]
		if s == nil {
			continue
		}
		if len(s.samples) == 0 {
			fmt.Fprintf(out, "%-18s%s\n", d.name, s.failures())
			continue
		}
		if first == nil {
			first = s
		}
		fmt.Fprintf(out, "%-18s %8.2f %8.2f %8.2f %8s %8.2f %8s %5d MB%s\n", d.name,
			slices.Min(of(s, wall)).Seconds(), median(of(s, wall)).Seconds(), median(of(s, synced)).Seconds(), ratio(median(of(s, wall)), median(of(first, wall))),
			median(of(s, cpu)).Seconds(), ratio(median(of(s, cpu)), median(of(first, cpu))), median(of(s, memory))/1e6, s.failures())
	}
}

func ratio(a, b time.Duration) string {
	if b == 0 {
		return "-"
	}
	return fmt.Sprintf("%.2f", float64(a)/float64(b))
}

func (b *bench) printVerbs() {
	fmt.Printf("\n%-42s %10s %10s %10s %10s\n", "milliseconds", "minimum", "median", "cpu min", "cpu median")
	for _, name := range b.order {
		s := b.results[name]
		if slices.ContainsFunc(b.contenders, func(d contender) bool { return d.name == name }) {
			continue
		}
		if len(s.samples) == 0 {
			fmt.Printf("%-42s%s\n", name, s.failures())
			continue
		}
		ms := func(d time.Duration) float64 { return d.Seconds() * 1000 }
		fmt.Printf("%-42s %10.1f %10.1f %10.1f %10.1f%s\n", name, ms(slices.Min(of(s, wall))), ms(median(of(s, wall))),
			ms(slices.Min(of(s, cpu))), ms(median(of(s, cpu))), s.failures())
	}
}
