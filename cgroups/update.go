package cgroups

import (
	"cmp"
	"slices"
	"strings"

	"berth/libcontainer/fault"
	"berth/libcontainer/host"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// PlanUpdate turns a change of limits into writes for the groups of s. It is
// pure. now are the limits that hold, of config.json and earlier updates; they
// complete what the change says one half of only, such as a quota without its
// period, and are not written again. What the change leaves out, or sets to
// the 0 that means "not set", stays. Device rules are not for updates.
//
// merged are the limits that hold afterwards; it shares memory with now and
// change. The list holds the complaints about the change.
func PlanUpdate(now, change *specs.LinuxResources, s State, facts host.Facts) (r Resources, merged *specs.LinuxResources, complaints fault.List) {
	if now == nil {
		now = &specs.LinuxResources{}
	}
	whole, filled := complete(now, change)
	r, complaints = PlanResources(whole, s, facts)
	r.Writes = slices.DeleteFunc(r.Writes, func(w Write) bool { return filled[w.Field] != "" && w.File != "cpu.max" })
	for i, w := range r.Writes {
		r.Writes[i].Field = cmp.Or(filled[w.Field], w.Field) // cpu.max is both halves in one file
	}
	return r, merge(now, whole), complaints
}

// complete is the change with the other halves of what it sets. filled tells
// these apart: the entry that came from now, and the one that needs it.
func complete(now, change *specs.LinuxResources) (whole *specs.LinuxResources, filled map[fault.Pointer]fault.Pointer) {
	filled = map[fault.Pointer]fault.Pointer{}
	out := *change
	if m := out.Memory; m != nil {
		out.Memory = completeMemory(now.Memory, m, filled)
	}
	if c := out.CPU; c != nil {
		out.CPU = completeCPU(now.CPU, c, filled)
	}
	if p := out.Pids; p != nil && (p.Limit == nil || *p.Limit == 0) {
		out.Pids = nil // nobody asks for a container without a process
	}
	return &out, filled
}

func completeMemory(now, change *specs.LinuxMemory, filled map[fault.Pointer]fault.Pointer) *specs.LinuxMemory {
	if now == nil {
		return change
	}
	field, out := resourcesField.At("memory"), *change
	if value(out.Swap) > 0 && value(out.Limit) == 0 && value(now.Limit) != 0 {
		out.Limit, filled[field.At("limit")] = now.Limit, field.At("swap")
	}
	if out.CheckBeforeUpdate == nil {
		out.CheckBeforeUpdate = now.CheckBeforeUpdate
	}
	return &out
}

func completeCPU(now, change *specs.LinuxCPU, filled map[fault.Pointer]fault.Pointer) *specs.LinuxCPU {
	if now == nil {
		return change
	}
	field, out := resourcesField.At("cpu"), *change
	quota, period := field.At("quota"), field.At("period")
	switch {
	case value(out.Quota) != 0 && unsigned(out.Period) == 0 && unsigned(now.Period) != 0:
		out.Period, filled[period] = now.Period, quota
	case unsigned(out.Period) != 0 && value(out.Quota) == 0 && value(now.Quota) != 0:
		out.Quota, filled[quota] = now.Quota, period
	}
	return &out
}

// merge is now with what change sets.
func merge(now, change *specs.LinuxResources) *specs.LinuxResources {
	out := *now
	out.Memory = mergeMemory(now.Memory, change.Memory)
	out.CPU = mergeCPU(now.CPU, change.CPU)
	if change.Pids != nil {
		out.Pids = change.Pids
	}
	out.BlockIO = mergeBlockIO(now.BlockIO, change.BlockIO)
	out.HugepageLimits = replace(now.HugepageLimits, change.HugepageLimits, func(l specs.LinuxHugepageLimit) string { return l.Pagesize })
	if change.Network != nil {
		out.Network = mergeNetwork(now.Network, change.Network)
	}
	out.Rdma = overlay(now.Rdma, change.Rdma)
	out.Unified = overlay(now.Unified, change.Unified)
	return &out
}

func mergeMemory(now, change *specs.LinuxMemory) *specs.LinuxMemory {
	if now == nil || change == nil {
		return cmp.Or(change, now)
	}
	out := *now
	setNumber(&out.Limit, change.Limit)
	setNumber(&out.Reservation, change.Reservation)
	setNumber(&out.Swap, change.Swap)
	if value(change.Limit) == -1 && value(change.Swap) == 0 {
		out.Swap = change.Limit // no limit on memory is none on both together
	}
	//lint:ignore SA1019 a runtime still reads what the specification still has
	setNumber(&out.Kernel, kernelLimit(change))
	setNumber(&out.KernelTCP, change.KernelTCP)
	set(&out.Swappiness, swappiness(change))
	set(&out.DisableOOMKiller, change.DisableOOMKiller)
	set(&out.UseHierarchy, change.UseHierarchy)
	set(&out.CheckBeforeUpdate, change.CheckBeforeUpdate)
	return &out
}

func mergeCPU(now, change *specs.LinuxCPU) *specs.LinuxCPU {
	if now == nil || change == nil {
		return cmp.Or(change, now)
	}
	out := *now
	setNumber(&out.Shares, change.Shares)
	setNumber(&out.Quota, change.Quota)
	set(&out.Burst, change.Burst)
	setNumber(&out.Period, change.Period)
	setNumber(&out.RealtimeRuntime, change.RealtimeRuntime)
	setNumber(&out.RealtimePeriod, change.RealtimePeriod)
	out.Cpus, out.Mems = cmp.Or(change.Cpus, now.Cpus), cmp.Or(change.Mems, now.Mems)
	set(&out.Idle, change.Idle)
	return &out
}

func mergeBlockIO(now, change *specs.LinuxBlockIO) *specs.LinuxBlockIO {
	if now == nil || change == nil {
		return cmp.Or(change, now)
	}
	out := *now
	setNumber(&out.Weight, change.Weight)
	setNumber(&out.LeafWeight, change.LeafWeight)
	out.WeightDevice = replace(now.WeightDevice, change.WeightDevice,
		func(d specs.LinuxWeightDevice) string { return device(d.LinuxBlockIODevice) })
	throttle := func(now, change []specs.LinuxThrottleDevice) []specs.LinuxThrottleDevice {
		return replace(now, change, func(d specs.LinuxThrottleDevice) string { return device(d.LinuxBlockIODevice) })
	}
	out.ThrottleReadBpsDevice = throttle(now.ThrottleReadBpsDevice, change.ThrottleReadBpsDevice)
	out.ThrottleWriteBpsDevice = throttle(now.ThrottleWriteBpsDevice, change.ThrottleWriteBpsDevice)
	out.ThrottleReadIOPSDevice = throttle(now.ThrottleReadIOPSDevice, change.ThrottleReadIOPSDevice)
	out.ThrottleWriteIOPSDevice = throttle(now.ThrottleWriteIOPSDevice, change.ThrottleWriteIOPSDevice)
	return &out
}

func mergeNetwork(now, change *specs.LinuxNetwork) *specs.LinuxNetwork {
	if now == nil {
		return change
	}
	out := *now
	set(&out.ClassID, change.ClassID)
	out.Priorities = replace(now.Priorities, change.Priorities, func(p specs.LinuxInterfacePriority) string { return p.Name })
	return &out
}

// set overwrites where there is something to.
func set[T any](to **T, v *T) {
	if v != nil {
		*to = v
	}
}

// setNumber is set for numbers of which 0 means "not set".
func setNumber[N comparable](to **N, v *N) {
	var zero N
	if v != nil && *v != zero {
		*to = v
	}
}

// replace puts the changed elements in the places of those with the same key,
// new ones behind.
func replace[E any](now, change []E, key func(E) string) []E {
	out := slices.Clone(now)
	for _, e := range change {
		if i := slices.IndexFunc(out, func(have E) bool { return key(have) == key(e) }); i >= 0 {
			out[i] = e
		} else {
			out = append(out, e)
		}
	}
	return out
}

func overlay[V any](now, change map[string]V) map[string]V {
	if len(change) == 0 {
		return now
	}
	out := make(map[string]V, len(now)+len(change))
	for _, m := range []map[string]V{now, change} {
		for k, v := range m {
			out[k] = v
		}
	}
	return out
}

// Changes looks at the groups: todo are the writes of r that change something,
// and back those that set back what they change, whether they were done or
// not. What cannot be read (write-only files, missing ones) is done, and not
// taken back. Controllers that the writes need are handed down to the group
// first where it lacks them, as on a hybrid machine.
func (g *Group) Changes(r Resources) (todo, back Resources, err error) {
	for _, d := range g.dirs {
		if d.V2 {
			d.Enable = usedControllers(d, slices.Concat(r.Writes, r.Late))
			if err := enable(d); err != nil {
				return todo, back, err
			}
		}
	}
	todo, back = changes(r, readFile)
	return todo, back, nil
}

// changes is Changes with what the files hold.
func changes(r Resources, read func(dir, file string) (string, error)) (todo, back Resources) {
	todo = r
	todo.Writes, todo.Late = nil, nil
	for _, list := range []struct {
		from []Write
		to   *[]Write
	}{{r.Writes, &todo.Writes}, {r.Late, &todo.Late}} {
		for _, w := range list.from {
			before, err := read(w.Dir, w.File)
			for err != nil && w.Else != nil {
				w = *w.Else
				before, err = read(w.Dir, w.File)
			}
			old, known := valueBefore(w, before)
			known = known && err == nil
			if known && old == w.Value {
				continue
			}
			*list.to = append(*list.to, w)
			if known {
				back.Writes = append(back.Writes, Write{Dir: w.Dir, File: w.File, Value: old, Field: w.Field, Optional: w.Optional, Again: true})
			}
		}
	}
	slices.Reverse(back.Writes)
	return todo, back
}

// valueBefore is what to write to a file that holds the text for it to hold
// that again, as far as w changes it.
func valueBefore(w Write, text string) (value string, known bool) {
	key, rest, keyed := strings.Cut(w.Value, " ")
	switch {
	case w.File == "io.max":
		return ioMaxBefore(key, rest, text), true
	case w.File == "rdma.max", w.File == "net_prio.ifpriomap",
		keyed && (strings.HasPrefix(w.File, "blkio.") || strings.HasSuffix(w.File, "weight") && w.File != "cpu.weight"):
		return lineBefore(key, text)
	case w.File == "memory.oom_control":
		value = valueOf(text, "oom_kill_disable")
		return value, value != ""
	case strings.HasPrefix(w.File, "cpuset.") && strings.TrimSpace(text) == "":
		return "\n", true // a write of no bytes does nothing
	}
	// The devices' own weights come behind the default one.
	if strings.HasPrefix(text, "default ") {
		text = valueOf(text, "default")
	}
	value = strings.TrimSpace(text)
	return value, value != "" && !strings.Contains(value, "\n")
}

// lineBefore is the line of a device or interface; without one nothing was
// set, which is 0 for all these files but rdma.max.
func lineBefore(key, text string) (string, bool) {
	for line := range strings.Lines(text) {
		if k, rest, _ := strings.Cut(strings.TrimSpace(line), " "); k == key {
			return key + " " + strings.TrimSpace(rest), true
		}
	}
	return key + " 0", strings.Contains(key, ":")
}

// ioMaxBefore are the rates of a device that the write changes.
func ioMaxBefore(dev, rates, text string) string {
	line, _ := lineBefore(dev, text)
	out := dev
	for rate := range strings.FieldsSeq(rates) {
		name, _, _ := strings.Cut(rate, "=")
		old := "max"
		for have := range strings.FieldsSeq(line) {
			if v, ok := strings.CutPrefix(have, name+"="); ok {
				old = v
			}
		}
		out += " " + name + "=" + old
	}
	return out
}

// valueOf is the value of a "KEY VALUE" line; "" where there is none.
func valueOf(text, key string) string {
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(line, key+" "); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}
