package cgroups

import (
	"math"
	"strconv"

	"berth/libcontainer/fault"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// cpu plans linux.resources.cpu without the cpuset. 0 means not set, except
// for burst and idle; a negative quota means no limit.
func (p *planner) cpu(c *specs.LinuxCPU, field fault.Pointer) {
	if c.Burst != nil && value(c.Quota) > 0 && *c.Burst > uint64(*c.Quota) {
		p.complain(field.At("burst"), "must be no larger than the quota", "")
		return
	}
	if c.Idle != nil && *c.Idle != 0 && *c.Idle != 1 {
		p.complain(field.At("idle"), "must be 0 or 1", "")
		return
	}
	t := p.on("cpu", "cpu")
	if t.v2 {
		t.cpuV2(c, field)
	} else {
		t.cpuV1(c, field)
	}
}

// cpuV1 orders the files so that a second round (Again) always ends well: an
// old burst may stand above the new quota, an old quota above what the parent
// allows for the new period, and an idle group takes no shares.
func (t target) cpuV1(c *specs.LinuxCPU, field fault.Pointer) {
	again := Write{Again: true}
	if n := unsigned(c.Shares); n != 0 {
		t.put("cpu.shares", strconv.FormatUint(n, 10), field.At("shares"), again)
	}
	if n := unsigned(c.Period); n != 0 {
		t.put("cpu.cfs_period_us", strconv.FormatUint(n, 10), field.At("period"), again)
	}
	if n := value(c.Quota); n > 0 {
		t.put("cpu.cfs_quota_us", strconv.FormatInt(n, 10), field.At("quota"), again)
	} else if n < 0 {
		t.loosen("cpu.cfs_quota_us", "-1", field.At("quota"), again)
	}
	t.burst("cpu.cfs_burst_us", c, field)
	if n := unsigned(c.RealtimePeriod); n != 0 {
		t.put("cpu.rt_period_us", strconv.FormatUint(n, 10), field.At("realtimePeriod"), again)
	}
	if n := value(c.RealtimeRuntime); n != 0 {
		t.put("cpu.rt_runtime_us", strconv.FormatInt(n, 10), field.At("realtimeRuntime"), Write{})
	}
	t.idle(c, field)
}

// cpuV2 follows Documentation/admin-guide/cgroup-v2.rst, "CPU Interface Files".
func (t target) cpuV2(c *specs.LinuxCPU, field fault.Pointer) {
	if n := unsigned(c.Shares); n != 0 {
		t.put("cpu.weight", strconv.FormatUint(sharesToWeight(n), 10), field.At("shares"), Write{Again: true})
	}
	t.cpuMax(c, field)
	t.burst("cpu.max.burst", c, field)
	t.idle(c, field)
	if unsigned(c.RealtimePeriod) != 0 {
		t.p.ignored(field.At("realtimePeriod"), "cgroup v2 has no such setting; ignored")
	}
	if value(c.RealtimeRuntime) != 0 {
		t.p.ignored(field.At("realtimeRuntime"), "cgroup v2 has no such setting; ignored")
	}
}

// defaultPeriod is the kernel's, in microseconds.
const defaultPeriod = 100000

func (t target) cpuMax(c *specs.LinuxCPU, field fault.Pointer) {
	quota, period := value(c.Quota), unsigned(c.Period)
	if quota == 0 && period == 0 {
		return
	}
	at, text := field.At("quota"), "max"
	if quota == 0 {
		at = field.At("period")
	}
	if quota > 0 {
		text = strconv.FormatInt(quota, 10)
	}
	if period == 0 {
		period = defaultPeriod
	}
	text += " " + strconv.FormatUint(period, 10)
	if quota <= 0 && period == defaultPeriod {
		t.loosen("cpu.max", text, at, Write{Again: true})
		return
	}
	t.put("cpu.max", text, at, Write{Again: true})
}

func (t target) burst(file string, c *specs.LinuxCPU, field fault.Pointer) {
	switch {
	case c.Burst == nil:
	case *c.Burst == 0:
		t.loosen(file, "0", field.At("burst"), Write{Again: true, Optional: true})
	default:
		t.put(file, strconv.FormatUint(*c.Burst, 10), field.At("burst"), Write{Again: true})
	}
}

func (t target) idle(c *specs.LinuxCPU, field fault.Pointer) {
	switch {
	case c.Idle == nil:
	case *c.Idle == 0:
		t.loosen("cpu.idle", "0", field.At("idle"), Write{Optional: true})
	default:
		t.put("cpu.idle", "1", field.At("idle"), Write{})
	}
}

func unsigned(n *uint64) uint64 {
	if n == nil {
		return 0
	}
	return *n
}

// The ranges of cpu.shares (v1) and cpu.weight (v2).
const (
	minShares, maxShares = 2, 262144
	minWeight, maxWeight = 1, 10000
)

// sharesToWeight converts v1 shares (2 to 262144, default 1024) to a v2
// weight (1 to 10000, default 100). Both ends and the default meet; between
// them the logarithm of the weight is a parabola in that of the shares. The
// linear conversion that runtimes used before gave the default of 1024 a
// weight of 39.
func sharesToWeight(shares uint64) uint64 {
	switch {
	case shares <= minShares:
		return minWeight
	case shares >= maxShares:
		return maxWeight
	}
	l := math.Log2(float64(shares))
	return uint64(math.Ceil(math.Pow(10, (l*l+125*l)/612-7.0/34)))
}
