package cgroups

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// recorded are the files of one machine's groups, by their paths.
type recorded map[string]string

func (r recorded) sources() sources {
	return sources{
		read: func(d Dir, file string) string { return r[d.Path+"/"+file] },
		list: func(d Dir) (names []string) {
			for path := range r {
				if name, ok := strings.CutPrefix(path, d.Path+"/"); ok {
					names = append(names, name)
				}
			}
			slices.Sort(names)
			return names
		},
	}
}

func (r recorded) stats(t *testing.T, on string) string {
	t.Helper()
	s := State{Dirs: dirs(machine(on).Cgroup, "/x", true)}
	raw, err := json.Marshal(stats(s, r.sources()))
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

const pressure = "some avg10=0.22 avg60=1.50 avg300=0.00 total=4711\nfull avg10=0.00 avg60=0.10 avg300=0.00 total=42\n"

// TestStatsV1: the files of Linux 6.18 with one hierarchy for each controller.
func TestStatsV1(t *testing.T) {
	got := recorded{
		"/sys/fs/cgroup/cpu,cpuacct/x/cpuacct.usage":                       "15257715\n",
		"/sys/fs/cgroup/cpu,cpuacct/x/cpuacct.usage_percpu":                "6372795 8884920 \n",
		"/sys/fs/cgroup/cpu,cpuacct/x/cpuacct.usage_all":                   "cpu user system\n0 1000000 4000000\n1 8000000 3000000\n",
		"/sys/fs/cgroup/cpu,cpuacct/x/cpuacct.stat":                        "user 2\nsystem 1\n",
		"/sys/fs/cgroup/cpu,cpuacct/x/cpu.stat":                            "nr_periods 9\nnr_throttled 8\nthrottled_time 700\nnr_bursts 0\nburst_time 0\n",
		"/sys/fs/cgroup/cpuset/x/cpuset.cpus":                              "0-1,9\n",
		"/sys/fs/cgroup/cpuset/x/cpuset.mems":                              "0\n",
		"/sys/fs/cgroup/cpuset/x/cpuset.sched_load_balance":                "1\n",
		"/sys/fs/cgroup/cpuset/x/cpuset.sched_relax_domain_level":          "-1\n",
		"/sys/fs/cgroup/memory/x/memory.stat":                              "cache 4096\nrss 8192\ntotal_cache 4096\n",
		"/sys/fs/cgroup/memory/x/memory.limit_in_bytes":                    "67108864\n",
		"/sys/fs/cgroup/memory/x/memory.usage_in_bytes":                    "761856\n",
		"/sys/fs/cgroup/memory/x/memory.max_usage_in_bytes":                "2777088\n",
		"/sys/fs/cgroup/memory/x/memory.failcnt":                           "3\n",
		"/sys/fs/cgroup/memory/x/memory.memsw.limit_in_bytes":              "9223372036854771712\n",
		"/sys/fs/cgroup/memory/x/memory.kmem.usage_in_bytes":               "282624\n",
		"/sys/fs/cgroup/memory/x/memory.kmem.tcp.failcnt":                  "1\n",
		"/sys/fs/cgroup/pids/x/pids.current":                               "5\n",
		"/sys/fs/cgroup/pids/x/pids.max":                                   "100\n",
		"/sys/fs/cgroup/blkio/x/blkio.throttle.io_serviced_recursive":      "8:0 Read 7\n8:0 Write 8\n8:0 Sync 15\nTotal 15\n",
		"/sys/fs/cgroup/blkio/x/blkio.throttle.io_service_bytes_recursive": "8:0 Read 4096\nTotal 4096\n",
		"/sys/fs/cgroup/hugetlb/x/hugetlb.2MB.usage_in_bytes":              "1\n",
		"/sys/fs/cgroup/hugetlb/x/hugetlb.2MB.rsvd.usage_in_bytes":         "2097152\n",
		"/sys/fs/cgroup/hugetlb/x/hugetlb.2MB.rsvd.max_usage_in_bytes":     "4194304\n",
		"/sys/fs/cgroup/hugetlb/x/hugetlb.2MB.rsvd.failcnt":                "6\n",
		"/sys/fs/cgroup/hugetlb/x/hugetlb.1GB.usage_in_bytes":              "0\n",
	}.stats(t, "v1")
	want := `{"cpu":{"usage":{"total":15257715,"percpu":[6372795,8884920],"percpu_kernel":[4000000,3000000],"percpu_user":[1000000,8000000],` +
		`"kernel":10000000,"user":20000000},"throttling":{"periods":9,"throttledPeriods":8,"throttledTime":700}},` +
		`"cpuset":{"cpus":[0,1,9],"cpu_exclusive":0,"mems":[0],"mem_hardwall":0,"mem_exclusive":0,"memory_migrate":0,"memory_spread_page":0,` +
		`"memory_spread_slab":0,"memory_pressure":0,"sched_load_balance":1,"sched_relax_domain_level":-1},` +
		`"memory":{"cache":4096,"usage":{"limit":67108864,"usage":761856,"max":2777088,"failcnt":3},"swap":{"limit":9223372036854771712,"failcnt":0},` +
		`"kernel":{"limit":0,"usage":282624,"failcnt":0},"kernelTCP":{"limit":0,"failcnt":1},"raw":{"cache":4096,"rss":8192,"total_cache":4096}},` +
		`"pids":{"current":5,"limit":100},"blkio":{"ioServiceBytesRecursive":[{"major":8,"op":"Read","value":4096}],` +
		`"ioServicedRecursive":[{"major":8,"op":"Read","value":7},{"major":8,"op":"Write","value":8},{"major":8,"op":"Sync","value":15}]},` +
		`"hugetlb":{"1GB":{"failcnt":0},"2MB":{"usage":2097152,"max":4194304,"failcnt":6}}}`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestStatsBlkio: the family of files that counts something is taken whole.
func TestStatsBlkio(t *testing.T) {
	const dir = "/sys/fs/cgroup/blkio/x/"
	got := recorded{
		dir + "blkio.bfq.io_serviced_recursive":  "Total 0\n",
		dir + "blkio.io_serviced_recursive":      "8:16 Read 7\nTotal 7\n",
		dir + "blkio.io_service_bytes_recursive": "8:16 Read 4096\nTotal 4096\n",
		dir + "blkio.sectors_recursive":          "8:16 8\n",
		dir + "blkio.io_queued_recursive":        "8:16 Total 1\nTotal 1\n",
		dir + "blkio.throttle.io_serviced":       "8:16 Read 1\n",
		dir + "blkio.throttle.io_service_bytes":  "8:16 Read 1\n",
	}.stats(t, "v1")
	want := `"blkio":{"ioServiceBytesRecursive":[{"major":8,"minor":16,"op":"Read","value":4096}],"ioServicedRecursive":[{"major":8,"minor":16,"op":"Read","value":7}],` +
		`"ioQueueRecursive":[{"major":8,"minor":16,"op":"Total","value":1}],"sectorsRecursive":[{"major":8,"minor":16,"value":8}]}`
	if !strings.Contains(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestStatsV2: the files of Linux 6.1 and newer; what v1 says otherwise is
// converted.
func TestStatsV2(t *testing.T) {
	const dir = "/sys/fs/cgroup/x/"
	files := recorded{
		dir + "cpu.stat":            "usage_usec 15\nuser_usec 5\nsystem_usec 10\nnr_periods 9\nnr_throttled 8\nthrottled_usec 7\nnr_bursts 0\nburst_usec 0\n",
		dir + "cpu.pressure":        pressure,
		dir + "memory.pressure":     pressure,
		dir + "io.pressure":         pressure,
		dir + "memory.stat":         "anon 4096\nfile 8192\npgfault 7\n",
		dir + "memory.current":      "20480\n",
		dir + "memory.max":          "67108864\n",
		dir + "memory.peak":         "30000\n",
		dir + "memory.events":       "low 0\nhigh 0\nmax 4\noom 0\noom_kill 0\n",
		dir + "memory.swap.current": "100\n",
		dir + "memory.swap.max":     "1000\n",
		dir + "memory.swap.events":  "high 0\nmax 2\nfail 0\n",
		dir + "pids.current":        "5\n",
		dir + "pids.max":            "max\n",
		dir + "io.stat": "8:0 rbytes=4096 wbytes=512 rios=1 wios=2 dbytes=0 dios=0\n254:1 \n" +
			"259:5 rbytes=8 wbytes=0 rios=1 wios=0 dbytes=0 dios=0\n",
		dir + "hugetlb.2MB.current": "2097152\n",
		dir + "hugetlb.2MB.events":  "max 3\n",
		dir + "hugetlb.2MB.max":     "max\n",
	}
	const psi = `"psi":{"some":{"avg10":0.22,"avg60":1.5,"avg300":0,"total":4711},"full":{"avg10":0,"avg60":0.1,"avg300":0,"total":42}}`
	want := `{"cpu":{"usage":{"total":15000,"kernel":10000,"user":5000},"throttling":{"periods":9,"throttledPeriods":8,"throttledTime":7000},` + psi + `},` +
		`"cpuset":{"cpu_exclusive":0,"mem_hardwall":0,"mem_exclusive":0,"memory_migrate":0,"memory_spread_page":0,"memory_spread_slab":0,` +
		`"memory_pressure":0,"sched_load_balance":0,"sched_relax_domain_level":0},` +
		`"memory":{"cache":8192,"usage":{"limit":67108864,"usage":20480,"max":30000,"failcnt":4},"swap":{"limit":67109864,"usage":20580,"failcnt":2},` +
		`"kernel":{"limit":0,"failcnt":0},"kernelTCP":{"limit":0,"failcnt":0},"raw":{"anon":4096,"file":8192,"pgfault":7},` + psi + `},` +
		`"pids":{"current":5},"blkio":{"ioServiceBytesRecursive":[{"major":8,"op":"Read","value":4096},{"major":8,"op":"Write","value":512},` +
		`{"major":259,"minor":5,"op":"Read","value":8},{"major":259,"minor":5,"op":"Write"}],` +
		`"ioServicedRecursive":[{"major":8,"op":"Read","value":1},{"major":8,"op":"Write","value":2},` +
		`{"major":259,"minor":5,"op":"Read","value":1},{"major":259,"minor":5,"op":"Write"}],` + psi + `},` +
		`"hugetlb":{"2MB":{"usage":2097152,"failcnt":3}}}`
	if got := files.stats(t, "v2"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}

	// No limit on memory is none on both together, and not a little number.
	files[dir+"memory.max"] = "max\n"
	if got := files.stats(t, "v2"); strings.Count(got, `"limit":18446744073709551615`) != 2 {
		t.Error(got)
	}
	// Without controllers cpu.stat is there all the same.
	if got := files.stats(t, "bare"); !strings.Contains(got, `"total":15000`) || strings.Contains(got, "67108864") {
		t.Error(got)
	}
}

// TestStatsOfNothing: a group that is gone counts nothing.
func TestStatsOfNothing(t *testing.T) {
	for _, on := range []string{"v1", "v2", "hybrid", "bare"} {
		got := recorded{}.stats(t, on)
		if !strings.Contains(got, `"hugetlb":{}`) || strings.Contains(got, "psi") {
			t.Errorf("%s: %s", on, got)
		}
	}
}
