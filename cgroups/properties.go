package cgroups

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"berth/cgroups/dbus"
	"berth/libcontainer/fault"
)

// unlimited is how systemd's properties say that there is no limit, and unset how its weights say that there is none.
const (
	unlimited = math.MaxUint64
	unset     = math.MaxUint64
)

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

// microseconds converts a number of seconds; false for what is none or below 0.
func microseconds(v dbus.Value) (dbus.Value, bool) {
	const perSecond = 1000000
	switch v.Sig {
	case "d":
		f := math.Float64frombits(v.Bits) * perSecond
		if !(f >= 0 && f < 1<<63) {
			return dbus.Value{}, false
		}
		return dbus.Uint64(uint64(f)), true
	case "n", "i", "x":
		if int64(v.Bits) < 0 {
			return dbus.Value{}, false
		}
	case "y", "q", "u", "t":
	default:
		return dbus.Value{}, false
	}
	if v.Bits > math.MaxUint64/perSecond {
		return dbus.Value{}, false
	}
	return dbus.Uint64(v.Bits * perSecond), true
}

// limits are writes that a unit's properties are made from.
type limits struct {
	State
	writes []Write
	// now is what a file of a group holds that is written no more, "" where that is a new group's own.
	now func(dir, file string) string
}

// resourceProperties are the properties of what is written into the group's files, as far as systemd has any: made from
// the writes, so that both say the same and systemd's do when it writes its own again (daemon-reload).
func (p *Plan) resourceProperties() []Property {
	l := limits{State: p.State(), writes: slices.Concat(p.Writes, p.Late), now: func(string, string) string { return "" }}
	return append(l.properties(), p.deviceProperties()...)
}

// changedProperties are those of writes into groups that exist; now reads their files.
func (r Resources) changedProperties(s State, now func(dir, file string) string) []Property {
	return limits{State: s, writes: slices.Concat(r.Writes, r.Late), now: now}.properties()
}

// properties are those of all writes. Where two are for one property the last one counts, as in the file; lists keep all.
func (l limits) properties() []Property {
	var out []Property
	for _, w := range l.writes {
		for _, made := range l.of(w) {
			made.Field = w.Field
			made.Since = newer.of(made)
			at := slices.IndexFunc(out, func(have Property) bool { return have.Name == made.Name })
			switch {
			case at < 0:
				out = append(out, made)
			case strings.HasPrefix(made.Value.Sig, "a("):
				out[at].Value.List = append(out[at].Value.List, made.Value.List...)
			default:
				out[at] = made
			}
		}
	}
	return out
}

// versions are the releases of systemd that brought properties which not every system in use has
// (org.freedesktop.systemd1(5), "History"; systemd's NEWS).
type versions []struct {
	name  string
	since int
}

var newer = versions{
	{"CPUQuotaPeriodUSec", 242}, {"AllowedCPUs", 244}, {"AllowedMemoryNodes", 244}, {"MemoryMin", 240},
	{"MemoryZSwapMax", 253}, {"MemoryZSwapWriteback", 256},
}

// idleSince is the release that takes a CPUWeight of 0, which is an idle group.
const idleSince = 252

func (t versions) of(p Property) int {
	if p.Name == "CPUWeight" && p.Value.Bits == 0 {
		return idleSince
	}
	for _, v := range t {
		if v.name == p.Name {
			return v.since
		}
	}
	return 0
}

// named is the property that stands for a file, or for a key of io.max. Tables in order need nothing at start-up.
type named [][2]string

func (t named) of(key string) string {
	for _, pair := range t {
		if pair[0] == key {
			return pair[1]
		}
	}
	return ""
}

// amounts are the properties that are one number, of the files of both versions.
var amounts = named{
	{"memory.max", "MemoryMax"}, {"memory.low", "MemoryLow"}, {"memory.high", "MemoryHigh"}, {"memory.min", "MemoryMin"},
	{"memory.swap.max", "MemorySwapMax"}, {"memory.zswap.max", "MemoryZSwapMax"}, {"cpu.weight", "CPUWeight"}, {"pids.max", "TasksMax"},

	{"memory.limit_in_bytes", "MemoryLimit"}, {"cpu.shares", "CPUShares"},
	{"blkio.bfq.weight", "BlockIOWeight"}, {"blkio.weight", "BlockIOWeight"},
}

// rates are the properties of one device each.
var rates = named{
	{"rbps", "IOReadBandwidthMax"}, {"wbps", "IOWriteBandwidthMax"}, {"riops", "IOReadIOPSMax"}, {"wiops", "IOWriteIOPSMax"},

	{"blkio.throttle.read_bps_device", "BlockIOReadBandwidth"}, {"blkio.throttle.write_bps_device", "BlockIOWriteBandwidth"},
	{"blkio.bfq.weight_device", "BlockIODeviceWeight"}, {"blkio.weight_device", "BlockIODeviceWeight"},
}

// of are the properties of one write; none where systemd has no word for it, or the value is one that only the kernel
// may understand (linux.resources.unified).
func (l limits) of(w Write) []Property {
	if name := amounts.of(w.File); name != "" {
		return amount(name, w.Value)
	}
	switch w.File {
	case "cpu.max":
		quota, period, both := strings.Cut(w.Value, " ")
		if !both {
			_, period, _ = strings.Cut(l.now(w.Dir, w.File), " ")
		}
		return cpuQuota(quota, period)
	case "cpu.cfs_quota_us":
		return cpuQuota(w.Value, l.value(w.Dir, "cpu.cfs_period_us"))
	case "cpu.cfs_period_us":
		return cpuQuota(l.value(w.Dir, "cpu.cfs_quota_us"), w.Value)
	case "cpu.idle":
		return l.idle(w)
	case "cpuset.cpus":
		return bitmap("AllowedCPUs", w, l.Unified())
	case "cpuset.mems":
		return bitmap("AllowedMemoryNodes", w, l.Unified())
	case "memory.zswap.writeback":
		return []Property{{Name: "MemoryZSwapWriteback", Value: dbus.Bool(w.Value == "1")}}
	case "io.bfq.weight":
		if w.Else == nil { // from unified: on a scale of its own
			return nil
		}
		return ioWeightProperty(w.Else.Value)
	case "io.weight":
		return ioWeightProperty(w.Value)
	case "io.max":
		return ioMax(w.Value)
	}
	if name := rates.of(w.File); name != "" {
		dev, value, _ := strings.Cut(w.Value, " ")
		return perDevice(name, dev, value)
	}
	return nil
}

// value is the last one that is written into a file of the group, else what it holds.
func (l limits) value(dir, file string) string {
	for _, w := range slices.Backward(l.writes) {
		if w.Dir == dir && w.File == file {
			return w.Value
		}
	}
	return l.now(dir, file)
}

// idle is a weight of 0 for systemd, on cgroup v2. A group that is idle no more has the weight that is written with it, or
// that of a new group.
func (l limits) idle(w Write) []Property {
	weight := dbus.Uint64(0)
	if w.Value != "1" {
		weight = dbus.Uint64(unset)
	}
	written := slices.ContainsFunc(l.writes, func(other Write) bool { return other.Dir == w.Dir && other.File == "cpu.weight" })
	if !l.Unified() || written && w.Value != "1" {
		return nil
	}
	return []Property{{Name: "CPUWeight", Value: weight}}
}

func parseAmount(text string) (uint64, bool) {
	if text == "max" || text == "-1" {
		return unlimited, true
	}
	n, err := strconv.ParseUint(text, 10, 64)
	return n, err == nil
}

func amount(name, text string) []Property {
	n, ok := parseAmount(text)
	if !ok {
		return nil
	}
	return []Property{{Name: name, Value: dbus.Uint64(n)}}
}

// cpuQuota is the time on all CPUs together in each second, and the period. systemd keeps whole per cents of the time, so
// that it is rounded up. A quota that is not said is left as it is.
func cpuQuota(quota, period string) []Property {
	n, err := strconv.ParseUint(strings.TrimSpace(period), 10, 64)
	if err != nil || n == 0 {
		n = defaultPeriod
	}
	out := []Property{{Name: "CPUQuotaPeriodUSec", Value: dbus.Uint64(n)}}
	switch per, ok := perSecond(quota, n); {
	case ok:
		return append([]Property{{Name: "CPUQuotaPerSecUSec", Value: dbus.Uint64(per)}}, out...)
	case quota == "":
		return out
	}
	return nil
}

func perSecond(quota string, period uint64) (uint64, bool) {
	const second, percent = 1000000, 10000
	q, ok := parseAmount(strings.TrimSpace(quota))
	switch {
	case !ok || q != unlimited && q > math.MaxUint64/second-percent:
		return 0, false
	case q == unlimited:
		return unlimited, true
	}
	return (q*second/period + percent - 1) / percent * percent, true
}

// bitmap is a list of CPUs or nodes, which systemd can limit on cgroup v2 only.
func bitmap(name string, w Write, unified bool) []Property {
	raw, ok := parseList(w.Value)
	if !ok || !unified {
		return nil
	}
	return []Property{{Name: name, Value: dbus.Bytes(raw)}}
}

// maxCPUs bounds what a list may name; the kernel's own bound is 8192.
const maxCPUs = 1 << 14

// parseList reads "0-3,7" (cpuset(7), "List format") into a bitmap, the lowest bit of the first byte first. An empty one
// is what a group has that is not limited.
func parseList(text string) (raw []byte, ok bool) {
	if text == "" {
		return nil, true
	}
	for part := range strings.SplitSeq(strings.TrimSpace(text), ",") {
		first, last, isRange := strings.Cut(part, "-")
		if !isRange {
			last = first
		}
		from, err1 := strconv.ParseUint(first, 10, 32)
		to, err2 := strconv.ParseUint(last, 10, 32)
		if err1 != nil || err2 != nil || from > to || to >= maxCPUs {
			return nil, false
		}
		for n := from; n <= to; n++ {
			for uint64(len(raw)) <= n/8 {
				raw = append(raw, 0)
			}
			raw[n/8] |= 1 << (n % 8)
		}
	}
	return raw, true
}

// ioWeightProperty is "500", "default 500" or "8:0 500".
func ioWeightProperty(text string) []Property {
	first, weight, two := strings.Cut(text, " ")
	switch {
	case !two:
		return amount("IOWeight", first)
	case first == "default":
		return amount("IOWeight", weight)
	}
	return perDevice("IODeviceWeight", first, weight)
}

// ioMax is "8:0 rbps=1 wiops=max".
func ioMax(text string) (out []Property) {
	words := strings.Fields(text)
	for _, word := range words[min(1, len(words)):] {
		key, value, _ := strings.Cut(word, "=")
		if name := rates.of(key); name != "" {
			out = append(out, perDevice(name, words[0], value)...)
		}
	}
	return out
}

func perDevice(name, dev, value string) []Property {
	n, ok := parseAmount(value)
	if !ok {
		return nil
	}
	return []Property{{Name: name, Value: dbus.Array("(st)", dbus.Struct(dbus.String("/dev/block/"+dev), dbus.Uint64(n)))}}
}

// deviceProperties tell systemd which devices are allowed, so that what it enforces itself lets through all that the
// runtime's own rules do. systemd knows allowed devices only, and no hole in a wider rule: there it is told more, and the
// runtime's rules, which hold besides, are the narrower ones.
func (p *Plan) deviceProperties() []Property {
	if p.rules == nil {
		return nil
	}
	lines, _ := v1Rules(p.rules)
	if lines[0].Allow {
		return []Property{{Name: "DevicePolicy", Value: dbus.String("auto")}}
	}
	list := dbus.Array("(ss)")
	for _, r := range lines[1:] {
		list.List = append(list.List, dbus.Struct(dbus.String(r.systemdName()), dbus.String(r.Access.String())))
	}
	field := fault.Pointer("")
	if i := slices.IndexFunc(p.rules, func(d Device) bool { return d.Field != "" }); i >= 0 {
		field = resourcesField.At("devices")
	}
	return []Property{
		{Name: "DevicePolicy", Value: dbus.String("strict"), Field: field},
		{Name: "DeviceAllow", Value: list, Field: field},
	}
}

// systemdName is a device as DeviceAllow= has it (systemd.resource-control(5)): a node by its numbers, whether there is
// one or not, or all of a major number.
func (d Device) systemdName() string {
	kind := map[byte]string{'b': "block", 'c': "char"}[d.Type]
	switch {
	case d.Major == Any:
		return kind + "-*"
	case d.Minor == Any:
		return kind + "-" + number(d.Major)
	}
	return "/dev/" + kind + "/" + number(d.Major) + ":" + number(d.Minor)
}
