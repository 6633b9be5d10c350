package fuzz

import (
	"slices"

	"berth/tests/layers/stack"
)

// Minimise returns a smaller stack that still fails: without layers, members, attributes and parts of names that are not
// needed for it. The result is one from which nothing more can be left out.
func Minimise(s stack.Stack, fails func(stack.Stack) bool) stack.Stack {
	for {
		smaller, ok := shrunk(s, fails)
		if !ok {
			return s
		}
		s = smaller
	}
}

// shrunk returns the first smaller stack that fails.
func shrunk(s stack.Stack, fails func(stack.Stack) bool) (stack.Stack, bool) {
	for i := range s {
		if less := slices.Delete(slices.Clone(s), i, i+1); len(less) > 0 && fails(less) {
			return less, true
		}
	}
	for i, layer := range s {
		for k, m := range layer.Members {
			without := slices.Delete(slices.Clone(layer.Members), k, k+1)
			if less := with(s, i, without); fails(less) {
				return less, true
			}
			for _, simpler := range simplified(m) {
				members := slices.Clone(layer.Members)
				members[k] = simpler
				if less := with(s, i, members); fails(less) {
					return less, true
				}
			}
		}
	}
	return s, false
}

func with(s stack.Stack, layer int, members []stack.Line) stack.Stack {
	s = slices.Clone(s)
	s[layer].Members = members
	return s
}

// simplified returns members that say less.
func simplified(m stack.Line) []stack.Line {
	var out []stack.Line
	for i := range m.Attrs {
		less := m
		less.Attrs = slices.Delete(slices.Clone(m.Attrs), i, i+1)
		out = append(out, less)
	}
	for i, arg := range m.Args {
		for _, shorter := range shortened(arg) {
			less := m
			less.Args = slices.Clone(m.Args)
			less.Args[i] = shorter
			out = append(out, less)
		}
	}
	return out
}

// shortened returns a path without one of its parts.
func shortened(name string) []string {
	var out []string
	start := 0
	for i := 0; i <= len(name); i++ {
		if i < len(name) && name[i] != '/' {
			continue
		}
		left := name[:start] + name[min(i+1, len(name)):]
		if left != "" && left != name {
			out = append(out, left)
		}
		start = i + 1
	}
	return out
}
