package cgroups

import (
	"strconv"

	"berth/libcontainer/fault"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// maxSwappiness is the specification's; the kernel would take 200.
const maxSwappiness = 100

// memory plans linux.resources.memory. 0 means not set and -1 no limit, as
// for every manager.
func (p *planner) memory(m *specs.LinuxMemory, field fault.Pointer) {
	if !p.memoryRanges(m, field) {
		return
	}
	t := p.on("memory", "memory")
	if t.v2 {
		t.memoryV2(m, field)
	} else {
		t.memoryV1(m, field)
	}
}

// memoryRanges complains about numbers that no kernel takes.
func (p *planner) memoryRanges(m *specs.LinuxMemory, field fault.Pointer) bool {
	before := len(p.complaints)
	for _, f := range []struct {
		name string
		n    *int64
	}{
		{"limit", m.Limit}, {"reservation", m.Reservation}, {"swap", m.Swap}, {"kernel", kernelLimit(m)}, {"kernelTCP", m.KernelTCP},
	} {
		if f.n != nil && *f.n < -1 {
			p.complain(field.At(f.name), "must be a number of bytes, or -1 for no limit", "")
		}
	}
	limit, swap := value(m.Limit), value(m.Swap)
	if limit > 0 && swap > 0 && swap < limit {
		p.complain(field.At("swap"), "memory+swap limit must be >= memory limit", "swap counts memory and swap together")
	}
	if s := swappiness(m); s != nil && *s > maxSwappiness {
		p.complain(field.At("swappiness"), "must be from 0 to 100", "")
	}
	return len(p.complaints) == before
}

func value(n *int64) int64 {
	if n == nil {
		return 0
	}
	return *n
}

// kernelLimit is the deprecated field, which old managers still send.
func kernelLimit(m *specs.LinuxMemory) *int64 {
	//lint:ignore SA1019 a runtime still reads what the specification still has
	return m.Kernel
}

// swappiness is nil also for -1 in 64 bits, with which managers say "not set".
func swappiness(m *specs.LinuxMemory) *uint64 {
	if m.Swappiness == nil || int64(*m.Swappiness) == -1 {
		return nil
	}
	return m.Swappiness
}

// memoryV1 follows Documentation/admin-guide/cgroup-v1/memory.rst.
func (t target) memoryV1(m *specs.LinuxMemory, field fault.Pointer) {
	if m.UseHierarchy != nil {
		t.useHierarchy(*m.UseHierarchy, field.At("useHierarchy"))
	}
	t.memorySwapV1(m, field)
	if n := value(m.Reservation); n != 0 {
		t.limit("memory.soft_limit_in_bytes", n, field.At("reservation"), Write{})
	}
	if n := value(kernelLimit(m)); n != 0 {
		t.limit("memory.kmem.limit_in_bytes", n, field.At("kernel"), Write{Optional: true})
		t.p.ignored(field.At("kernel"), "kernel memory limits are deprecated and may have no effect")
	}
	if n := value(m.KernelTCP); n != 0 {
		t.limit("memory.kmem.tcp.limit_in_bytes", n, field.At("kernelTCP"), Write{Optional: true})
	}
	if s := swappiness(m); s != nil {
		t.put("memory.swappiness", strconv.FormatUint(*s, 10), field.At("swappiness"), Write{})
	}
	switch {
	case m.DisableOOMKiller == nil:
	case *m.DisableOOMKiller:
		t.put("memory.oom_control", "1", field.At("disableOOMKiller"), Write{})
	default: // a new group inherits its parent's
		t.loosen("memory.oom_control", "0", field.At("disableOOMKiller"), Write{})
	}
}

// useHierarchy: since Linux 5.11 every group is accounted hierarchically, and
// the file takes nothing but 1.
func (t target) useHierarchy(on bool, field fault.Pointer) {
	switch {
	case on:
		t.loosen("memory.use_hierarchy", "1", field, Write{Optional: true})
	case t.p.facts.Kernel.AtLeast(5, 11):
		t.p.ignored(field, "this kernel always accounts memory hierarchically; ignored")
	default:
		t.loosen("memory.use_hierarchy", "0", field, Write{Optional: true})
	}
}

// memorySwapV1 orders the two limits. The kernel holds memory <= memory+swap
// at every moment: to lift both, memory+swap goes first; to lower both, memory.
// Which of the two it is depends on the old values, so a refused memory limit
// is written again after the other.
func (t target) memorySwapV1(m *specs.LinuxMemory, field fault.Pointer) {
	const memsw = "memory.memsw.limit_in_bytes"
	limit, swap := value(m.Limit), value(m.Swap)
	if swap == -1 {
		t.limit(memsw, -1, field.At("swap"), Write{Optional: true})
	} else if swap == 0 && limit == -1 {
		t.limit(memsw, -1, field.At("limit"), Write{Optional: true})
	}
	if limit != 0 {
		t.limit("memory.limit_in_bytes", limit, field.At("limit"), Write{Again: swap > 0})
	}
	if swap > 0 {
		t.limit(memsw, swap, field.At("swap"), Write{})
	}
}

// memoryV2 follows Documentation/admin-guide/cgroup-v2.rst, "Memory Interface
// Files".
func (t target) memoryV2(m *specs.LinuxMemory, field fault.Pointer) {
	limit := value(m.Limit)
	t.swapV2(limit, value(m.Swap), field)
	if limit != 0 {
		how := Write{}
		if m.CheckBeforeUpdate != nil && *m.CheckBeforeUpdate && limit > 0 {
			how.Below = "memory.current"
		}
		t.limit("memory.max", limit, field.At("limit"), how)
	}
	if n := value(m.Reservation); n != 0 {
		t.limit("memory.low", n, field.At("reservation"), Write{})
	}
	t.memoryIgnoredV2(m, field)
}

// swapV2 splits memory+swap, which is how the config counts, into the swap
// alone, which is how cgroup v2 does.
func (t target) swapV2(limit, swap int64, field fault.Pointer) {
	const file = "memory.swap.max"
	switch {
	case swap == 0 && limit == -1:
		t.limit(file, -1, field.At("limit"), Write{Optional: true})
	case swap == 0:
	case swap == -1:
		t.limit(file, -1, field.At("swap"), Write{Optional: true})
	case limit <= 0:
		t.p.complain(field.At("swap"), "cannot limit swap without a memory limit", "set /linux/resources/memory/limit, too")
	default:
		// A kernel without swap accounting has no swap to give.
		t.limit(file, swap-limit, field.At("swap"), Write{Optional: swap == limit})
	}
}

func (t target) memoryIgnoredV2(m *specs.LinuxMemory, field fault.Pointer) {
	no := func(name string, set bool) {
		if set {
			t.p.ignored(field.At(name), "cgroup v2 has no such setting; ignored")
		}
	}
	no("kernel", value(kernelLimit(m)) != 0)
	no("kernelTCP", value(m.KernelTCP) != 0)
	no("swappiness", swappiness(m) != nil)
	no("disableOOMKiller", m.DisableOOMKiller != nil && *m.DisableOOMKiller)
	no("useHierarchy", m.UseHierarchy != nil && !*m.UseHierarchy)
}
