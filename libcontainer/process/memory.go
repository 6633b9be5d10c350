package process

import (
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// memoryPolicy is what set_mempolicy(2) is called with.
type memoryPolicy struct {
	mode uint64
	name string
	mask []uint64 // bit n for node n
	text string
}

// MPOL_* of linux/mempolicy.h.
func memoryModes() []constant {
	return []constant{
		{"MPOL_DEFAULT", 0}, {"MPOL_PREFERRED", 1}, {"MPOL_BIND", 2}, {"MPOL_INTERLEAVE", 3},
		{"MPOL_LOCAL", 4}, {"MPOL_PREFERRED_MANY", 5}, {"MPOL_WEIGHTED_INTERLEAVE", 6},
	}
}

func memoryFlags() []constant {
	return []constant{
		{"MPOL_F_STATIC_NODES", 1 << 15}, {"MPOL_F_RELATIVE_NODES", 1 << 14}, {"MPOL_F_NUMA_BALANCING", 1 << 13},
	}
}

// MemoryModes are the modes that /linux/memoryPolicy takes.
func MemoryModes() []string { return constantNames(memoryModes()) }

// MemoryFlags are the flags of a mode.
func MemoryFlags() []string { return constantNames(memoryFlags()) }

func planMemoryPolicy(c *specs.LinuxMemoryPolicy) *memoryPolicy {
	if c == nil {
		return nil
	}
	out := &memoryPolicy{mode: valueOf(memoryModes(), string(c.Mode)), name: string(c.Mode), mask: parseList(c.Nodes, maxNode)}
	for _, f := range c.Flags {
		out.mode |= valueOf(memoryFlags(), string(f))
		out.name += "|" + string(f)
	}
	out.text = strings.TrimSpace(out.name + " " + c.Nodes)
	return out
}

const maxNode = 1023 // the kernel has at most 1024 (CONFIG_NODES_SHIFT)

// parseList reads "0-3,7" into a bit mask; numbers above most are left out.
func parseList(list string, most uint64) (mask []uint64) {
	for part := range strings.SplitSeq(list, ",") {
		first, last, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			last = first
		}
		from, err1 := strconv.ParseUint(first, 10, 16)
		to, err2 := strconv.ParseUint(last, 10, 16)
		if err1 != nil || err2 != nil {
			continue
		}
		for n := from; n <= min(to, most); n++ {
			for uint64(len(mask)) <= n/64 {
				mask = append(mask, 0)
			}
			mask[n/64] |= 1 << (n % 64)
		}
	}
	return mask
}
