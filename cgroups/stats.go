package cgroups

import (
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Stats are what a container's groups have counted, in the form that managers
// read from `events` (the JSON names are runc's). What the machine does not
// count is zero or left out. Times are nanoseconds, amounts bytes.
type Stats struct {
	CPU     CPUStats                `json:"cpu"`
	CPUSet  CPUSetStats             `json:"cpuset"`
	Memory  MemoryStats             `json:"memory"`
	Pids    PidsStats               `json:"pids"`
	Blkio   BlkioStats              `json:"blkio"`
	Hugetlb map[string]HugetlbStats `json:"hugetlb"`
}

// CPUStats is time used and held back.
type CPUStats struct {
	Usage      CPUUsage   `json:"usage"`
	Throttling Throttling `json:"throttling"`
	PSI        *PSI       `json:"psi,omitempty"`
}

// CPUUsage is time used.
type CPUUsage struct {
	Total        uint64   `json:"total,omitempty"`
	Percpu       []uint64 `json:"percpu,omitempty"`
	PercpuKernel []uint64 `json:"percpu_kernel,omitempty"`
	PercpuUser   []uint64 `json:"percpu_user,omitempty"`
	Kernel       uint64   `json:"kernel"`
	User         uint64   `json:"user"`
}

// Throttling is what a quota has held back.
type Throttling struct {
	Periods          uint64 `json:"periods,omitempty"`
	ThrottledPeriods uint64 `json:"throttledPeriods,omitempty"`
	ThrottledTime    uint64 `json:"throttledTime,omitempty"`
}

// PSI is pressure: the share of time in which some or all of the processes
// waited (Documentation/accounting/psi.rst).
type PSI struct {
	Some PSIData `json:"some"`
	Full PSIData `json:"full"`
}

// PSIData are per cents of the last seconds, and microseconds in all.
type PSIData struct {
	Avg10  float64 `json:"avg10"`
	Avg60  float64 `json:"avg60"`
	Avg300 float64 `json:"avg300"`
	Total  uint64  `json:"total"`
}

// CPUSetStats are the files of a v1 cpuset.
type CPUSetStats struct {
	CPUs                  []uint16 `json:"cpus,omitempty"`
	CPUExclusive          uint64   `json:"cpu_exclusive"`
	Mems                  []uint16 `json:"mems,omitempty"`
	MemHardwall           uint64   `json:"mem_hardwall"`
	MemExclusive          uint64   `json:"mem_exclusive"`
	MemoryMigrate         uint64   `json:"memory_migrate"`
	MemorySpreadPage      uint64   `json:"memory_spread_page"`
	MemorySpreadSlab      uint64   `json:"memory_spread_slab"`
	MemoryPressure        uint64   `json:"memory_pressure"`
	SchedLoadBalance      uint64   `json:"sched_load_balance"`
	SchedRelaxDomainLevel int64    `json:"sched_relax_domain_level"`
}

// MemoryStats is memory in use; Swap counts memory and swap together, also on
// v2, as everybody who reads this expects.
type MemoryStats struct {
	Cache     uint64            `json:"cache,omitempty"`
	Usage     MemoryEntry       `json:"usage"`
	Swap      MemoryEntry       `json:"swap"`
	Kernel    MemoryEntry       `json:"kernel"`
	KernelTCP MemoryEntry       `json:"kernelTCP"`
	Raw       map[string]uint64 `json:"raw,omitempty"` // memory.stat
	PSI       *PSI              `json:"psi,omitempty"`
}

// MemoryEntry is one counter.
type MemoryEntry struct {
	Limit   uint64 `json:"limit"`
	Usage   uint64 `json:"usage,omitempty"`
	Max     uint64 `json:"max,omitempty"`
	Failcnt uint64 `json:"failcnt"`
}

// PidsStats counts tasks; a limit of 0 is none.
type PidsStats struct {
	Current uint64 `json:"current,omitempty"`
	Limit   uint64 `json:"limit,omitempty"`
}

// BlkioStats is what went to and from block devices, by device and operation.
type BlkioStats struct {
	ServiceBytes []BlkioEntry `json:"ioServiceBytesRecursive,omitempty"`
	Serviced     []BlkioEntry `json:"ioServicedRecursive,omitempty"`
	Queued       []BlkioEntry `json:"ioQueueRecursive,omitempty"`
	ServiceTime  []BlkioEntry `json:"ioServiceTimeRecursive,omitempty"`
	WaitTime     []BlkioEntry `json:"ioWaitTimeRecursive,omitempty"`
	Merged       []BlkioEntry `json:"ioMergedRecursive,omitempty"`
	Time         []BlkioEntry `json:"ioTimeRecursive,omitempty"`
	Sectors      []BlkioEntry `json:"sectorsRecursive,omitempty"`
	PSI          *PSI         `json:"psi,omitempty"`
}

// BlkioEntry is one number of one device.
type BlkioEntry struct {
	Major uint64 `json:"major,omitempty"`
	Minor uint64 `json:"minor,omitempty"`
	Op    string `json:"op,omitempty"`
	Value uint64 `json:"value,omitempty"`
}

// HugetlbStats are huge pages of one size.
type HugetlbStats struct {
	Usage   uint64 `json:"usage,omitempty"`
	Max     uint64 `json:"max,omitempty"`
	Failcnt uint64 `json:"failcnt"`
}

// Stats reads the groups. Files that are missing count nothing.
func (g *Group) Stats() Stats {
	return stats(g.State(), sources{
		read: func(d Dir, file string) string {
			text, _ := readFile(d.Path, file)
			return text
		},
		list: func(d Dir) []string {
			entries, _ := os.ReadDir(d.Path)
			names := make([]string, len(entries))
			for i, e := range entries {
				names[i] = e.Name()
			}
			return names
		},
	})
}

// sources are the files of the groups: a text, "" where there is no such file,
// and the names of a group's files.
type sources struct {
	read func(d Dir, file string) string
	list func(d Dir) []string
}

// stats is Stats with what the files hold.
func stats(s State, from sources) Stats {
	out := Stats{Hugetlb: map[string]HugetlbStats{}}
	for _, c := range []struct {
		v1, v2 string
		old    func(files, *Stats)
		new    func(files, *Stats)
	}{
		{"cpuacct", "", cpuacctV1, nil},
		{"cpu", "cpu", cpuStatsV1, cpuStatsV2},
		{"cpuset", "", cpusetStats, nil},
		{"memory", "memory", memoryStatsV1, memoryStatsV2},
		{"pids", "pids", pidsStats, pidsStats},
		{"blkio", "io", blkioStatsV1, ioStatsV2},
		{"hugetlb", "hugetlb", hugetlbStats("usage_in_bytes", "max_usage_in_bytes"), hugetlbStats("current", "")},
	} {
		if d, ok := s.find(c.v1); ok && !d.V2 {
			c.old(files{d, from}, &out)
		} else if d, ok := s.v2(); ok && c.new != nil && (d.Has(c.v2) || c.v2 == "cpu" && s.Unified()) {
			c.new(files{d, from}, &out) // cpu.stat is there without the controller, too
		}
	}
	return out
}

// files are those of one group.
type files struct {
	Dir
	sources
}

func (f files) text(name string) string { return f.read(f.Dir, name) }

// amount reads one number; "max" is the largest, and nothing 0.
func (f files) amount(name string) uint64 { return toAmount(strings.TrimSpace(f.text(name))) }

func toAmount(text string) uint64 {
	n, _ := parseAmount(text)
	return n
}

// table reads "KEY NUMBER" lines.
func (f files) table(name string) map[string]uint64 {
	out := map[string]uint64{}
	for line := range strings.Lines(f.text(name)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			out[key] = toAmount(value)
		}
	}
	return out
}

// Units of the files, in nanoseconds. cpuacct.stat counts in USER_HZ, which is
// 100 on all architectures that are built for.
const (
	tick     = 10000000
	perMicro = 1000
)

func cpuacctV1(f files, s *Stats) {
	u := &s.CPU.Usage
	u.Total = f.amount("cpuacct.usage")
	total := f.table("cpuacct.stat")
	u.User, u.Kernel = total["user"]*tick, total["system"]*tick
	for word := range strings.FieldsSeq(f.text("cpuacct.usage_percpu")) {
		u.Percpu = append(u.Percpu, toAmount(word))
	}
	// "cpu user system", then one line for each CPU
	for line := range strings.Lines(f.text("cpuacct.usage_all")) {
		if row := strings.Fields(line); len(row) == 3 && row[0] != "cpu" {
			u.PercpuUser = append(u.PercpuUser, toAmount(row[1]))
			u.PercpuKernel = append(u.PercpuKernel, toAmount(row[2]))
		}
	}
}

func cpuStatsV1(f files, s *Stats) {
	t := f.table("cpu.stat")
	s.CPU.Throttling = Throttling{t["nr_periods"], t["nr_throttled"], t["throttled_time"]}
}

func cpuStatsV2(f files, s *Stats) {
	t := f.table("cpu.stat")
	s.CPU.Usage.Total, s.CPU.Usage.User, s.CPU.Usage.Kernel = t["usage_usec"]*perMicro, t["user_usec"]*perMicro, t["system_usec"]*perMicro
	s.CPU.Throttling = Throttling{t["nr_periods"], t["nr_throttled"], t["throttled_usec"] * perMicro}
	s.CPU.PSI = f.pressure("cpu.pressure")
}

// pressure is nil where the kernel does not account it.
func (f files) pressure(name string) *PSI {
	var out PSI
	known := false
	for line := range strings.Lines(f.text(name)) {
		kind, rest, _ := strings.Cut(line, " ")
		to := &out.Some
		if kind == "full" {
			to = &out.Full
		}
		for word := range strings.FieldsSeq(rest) {
			key, value, _ := strings.Cut(word, "=")
			share, _ := strconv.ParseFloat(value, 64)
			switch key {
			case "avg10":
				to.Avg10 = share
			case "avg60":
				to.Avg60 = share
			case "avg300":
				to.Avg300 = share
			case "total":
				to.Total, known = toAmount(value), true
			}
		}
	}
	if !known {
		return nil
	}
	return &out
}

func cpusetStats(f files, s *Stats) {
	c := &s.CPUSet
	c.CPUs, c.Mems = members(f.text("cpuset.cpus")), members(f.text("cpuset.mems"))
	for _, n := range []struct {
		file string
		to   *uint64
	}{
		{"cpu_exclusive", &c.CPUExclusive}, {"mem_hardwall", &c.MemHardwall}, {"mem_exclusive", &c.MemExclusive},
		{"memory_migrate", &c.MemoryMigrate}, {"memory_spread_page", &c.MemorySpreadPage}, {"memory_spread_slab", &c.MemorySpreadSlab},
		{"memory_pressure", &c.MemoryPressure}, {"sched_load_balance", &c.SchedLoadBalance},
	} {
		*n.to = f.amount("cpuset." + n.file)
	}
	c.SchedRelaxDomainLevel, _ = strconv.ParseInt(strings.TrimSpace(f.text("cpuset.sched_relax_domain_level")), 10, 64)
}

// members are the numbers of "0-3,7".
func members(list string) (out []uint16) {
	raw, _ := parseList(list)
	for i, b := range raw {
		for bit := range 8 {
			if b&(1<<bit) != 0 {
				out = append(out, uint16(i*8+bit))
			}
		}
	}
	return out
}

func memoryStatsV1(f files, s *Stats) {
	m := &s.Memory
	m.Raw = f.table("memory.stat")
	m.Cache = m.Raw["cache"]
	entry := func(counter string) MemoryEntry {
		return MemoryEntry{
			Limit: f.amount(counter + "limit_in_bytes"), Usage: f.amount(counter + "usage_in_bytes"),
			Max: f.amount(counter + "max_usage_in_bytes"), Failcnt: f.amount(counter + "failcnt"),
		}
	}
	m.Usage, m.Swap = entry("memory."), entry("memory.memsw.")
	m.Kernel, m.KernelTCP = entry("memory.kmem."), entry("memory.kmem.tcp.")
}

func memoryStatsV2(f files, s *Stats) {
	m := &s.Memory
	m.Raw = f.table("memory.stat")
	m.Cache = m.Raw["file"]
	m.Usage = MemoryEntry{
		Limit: f.amount("memory.max"), Usage: f.amount("memory.current"), Max: f.amount("memory.peak"),
		Failcnt: f.table("memory.events")["max"],
	}
	m.Swap = MemoryEntry{Limit: f.amount("memory.swap.max"), Usage: f.amount("memory.swap.current"), Failcnt: f.table("memory.swap.events")["max"]}
	m.Swap.Usage += m.Usage.Usage
	if m.Swap.Limit > math.MaxUint64-m.Usage.Limit {
		m.Swap.Limit = math.MaxUint64
	} else {
		m.Swap.Limit += m.Usage.Limit
	}
	m.PSI = f.pressure("memory.pressure")
}

func pidsStats(f files, s *Stats) {
	s.Pids.Current = f.amount("pids.current")
	if n := f.amount("pids.max"); n != math.MaxUint64 {
		s.Pids.Limit = n
	}
}

// blkioStatsV1 takes the first source that counts anything: the files of BFQ,
// of CFQ (up to Linux 5.0), or of throttling, which each come as a family.
func blkioStatsV1(f files, s *Stats) {
	b := &s.Blkio
	all := func(prefix string) []blkioFile {
		return []blkioFile{
			{prefix + "io_serviced_recursive", &b.Serviced}, {prefix + "io_service_bytes_recursive", &b.ServiceBytes},
			{prefix + "sectors_recursive", &b.Sectors}, {prefix + "io_service_time_recursive", &b.ServiceTime},
			{prefix + "io_wait_time_recursive", &b.WaitTime}, {prefix + "io_merged_recursive", &b.Merged},
			{prefix + "io_queued_recursive", &b.Queued}, {prefix + "time_recursive", &b.Time},
		}
	}
	for _, family := range [][]blkioFile{
		all("blkio.bfq."), all("blkio."),
		{{"blkio.throttle.io_serviced_recursive", &b.Serviced}, {"blkio.throttle.io_service_bytes_recursive", &b.ServiceBytes}},
		{{"blkio.throttle.io_serviced", &b.Serviced}, {"blkio.throttle.io_service_bytes", &b.ServiceBytes}},
	} {
		if len(blkioEntries(f.text(family[0].name))) == 0 {
			continue
		}
		for _, file := range family {
			*file.to = blkioEntries(f.text(file.name))
		}
		return
	}
}

type blkioFile struct {
	name string
	to   *[]BlkioEntry
}

// blkioEntries reads "MAJ:MIN OP NUMBER" and "MAJ:MIN NUMBER" lines; the
// total of all devices has none of these forms.
func blkioEntries(text string) (out []BlkioEntry) {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 2 || !strings.Contains(words[0], ":") {
			continue
		}
		e := blkioEntry(words[0])
		e.Value = toAmount(words[len(words)-1])
		if len(words) == 3 {
			e.Op = words[1]
		}
		out = append(out, e)
	}
	return out
}

func blkioEntry(dev string) BlkioEntry {
	major, minor, _ := strings.Cut(dev, ":")
	return BlkioEntry{Major: toAmount(major), Minor: toAmount(minor)}
}

// ioStatsV2 reads "MAJ:MIN rbytes=1 wbytes=2 rios=3 …" lines.
func ioStatsV2(f files, s *Stats) {
	b := &s.Blkio
	for line := range strings.Lines(f.text("io.stat")) {
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		for _, word := range words[1:] {
			key, value, _ := strings.Cut(word, "=")
			e := blkioEntry(words[0])
			e.Value = toAmount(value)
			switch key {
			case "rbytes", "rios":
				e.Op = "Read"
			case "wbytes", "wios":
				e.Op = "Write"
			default:
				continue
			}
			to := &b.ServiceBytes
			if strings.HasSuffix(key, "ios") {
				to = &b.Serviced
			}
			*to = append(*to, e)
		}
	}
	b.PSI = f.pressure("io.pressure")
}

// hugetlbStats reads the counters of each page size; where the kernel counts
// reserved pages (Linux 5.7), these are what its limits are about.
func hugetlbStats(usage, peak string) func(files, *Stats) {
	return func(f files, s *Stats) {
		names := f.list(f.Dir)
		for _, name := range names {
			parts := strings.SplitN(name, ".", 3)
			if len(parts) != 3 || parts[0] != "hugetlb" || parts[2] != usage {
				continue
			}
			size := parts[1]
			prefix := "hugetlb." + size + "."
			if slices.Contains(names, prefix+"rsvd."+usage) {
				prefix += "rsvd."
			}
			e := HugetlbStats{Usage: f.amount(prefix + usage)}
			if peak != "" {
				e.Max, e.Failcnt = f.amount(prefix+peak), f.amount(prefix+"failcnt")
			} else {
				e.Failcnt = f.table("hugetlb." + size + ".events")["max"]
			}
			s.Hugetlb[size] = e
		}
	}
}
