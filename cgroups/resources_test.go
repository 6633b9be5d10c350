package cgroups

import (
	"encoding/json"
	"strings"
	"testing"

	"berth/libcontainer/fault"
	"berth/libcontainer/host"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// The machines that plans are made for. hier makes a v1 hierarchy of these
// controllers at its usual place.
func hier(controllers, self string) host.V1Hierarchy {
	return host.V1Hierarchy{
		Controllers: strings.Split(controllers, ","),
		Mountpoint:  "/sys/fs/cgroup/" + strings.TrimPrefix(controllers, "name="),
		Root:        "/",
		Self:        self,
	}
}

func v1Facts() host.Facts {
	return host.Facts{Kernel: host.Version{Major: 5, Minor: 10}, Cgroup: host.Cgroup{V1: []host.V1Hierarchy{
		hier("cpu,cpuacct", "/"), hier("cpuset", "/"), hier("memory", "/"), hier("devices", "/"), hier("freezer", "/"),
		hier("blkio", "/"), hier("pids", "/"), hier("hugetlb", "/"), hier("net_cls,net_prio", "/"), hier("rdma", "/"),
		hier("name=systemd", "/"),
	}}}
}

func v2Facts() host.Facts {
	return host.Facts{Kernel: host.Version{Major: 6, Minor: 18}, Cgroup: host.Cgroup{
		V2: "/sys/fs/cgroup", V2Root: "/", V2Self: "/",
		V2Controllers: []string{"cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"},
	}}
}

// hybridFacts is a machine whose v2 hierarchy has hugetlb only.
func hybridFacts() host.Facts {
	f := v1Facts()
	f.Kernel = host.Version{Major: 6, Minor: 18}
	f.Cgroup.V1 = []host.V1Hierarchy{
		hier("cpu", "/"), hier("cpuset", "/"), hier("memory", "/"), hier("devices", "/"), hier("freezer", "/"),
		hier("blkio", "/"), hier("pids", "/"), hier("name=systemd", "/"),
	}
	f.Cgroup.V2, f.Cgroup.V2Root, f.Cgroup.V2Self = "/sys/fs/cgroup/unified", "/", "/"
	f.Cgroup.V2Controllers = []string{"hugetlb"}
	return f
}

// bareFacts is cgroup v2 without any controller.
func bareFacts() host.Facts {
	f := v2Facts()
	f.Cgroup.V2Controllers = nil
	return f
}

func machine(name string) host.Facts {
	switch name {
	case "v1":
		return v1Facts()
	case "v2":
		return v2Facts()
	case "hybrid":
		return hybridFacts()
	case "bare":
		return bareFacts()
	}
	panic(name)
}

// explainPlan prints what PlanResources makes of a fragment of
// linux.resources for the group /x: writes without "/sys/fs/cgroup/" and
// "/linux/resources", "late" ones marked, then warnings and complaints.
func explainPlan(t *testing.T, facts host.Facts, fragment string) string {
	t.Helper()
	var r specs.LinuxResources
	if err := json.Unmarshal([]byte(fragment), &r); err != nil {
		t.Fatalf("%s: %v", fragment, err)
	}
	res, complaints := PlanResources(&r, State{Dirs: dirs(facts.Cgroup, "/x", true)}, facts)
	var b strings.Builder
	short := func(s string) string {
		s = strings.ReplaceAll(s, "/sys/fs/cgroup/", "")
		return strings.ReplaceAll(s, "/linux/resources", "")
	}
	for _, w := range res.Writes {
		b.WriteString(short(strings.TrimPrefix(w.String(), "write ")) + "\n")
	}
	for _, w := range res.Late {
		b.WriteString("late " + short(strings.TrimPrefix(w.String(), "write ")) + "\n")
	}
	for _, e := range res.Warnings {
		b.WriteString("warn " + short(string(e.Field)) + ": " + e.Msg + "\n")
	}
	for _, e := range complaints {
		b.WriteString("! " + strings.ReplaceAll(short(string(e.Field)), "\n", "?") + ": " + e.Msg + "\n")
	}
	return b.String()
}

//spec:50,51,52,53,54,55,56,57,58,59,60,61,62,63,64,65,66,67,68,69
func TestPlanResources(t *testing.T) {
	tests := []struct{ on, fragment, want string }{
		// Nothing asks for nothing.
		{"v1", `{}`, ""},
		{"v2", `{}`, ""},
		{"v1", `{"memory":{},"cpu":{},"pids":{},"blockIO":{},"network":{},"hugepageLimits":[],"rdma":{},"unified":{}}`, ""},
		{"bare", `{"memory":{},"cpu":{},"pids":{},"blockIO":{},"network":{}}`, ""},

		// Memory on v1.
		{"v1", `{"memory":{"limit":100000}}`, "memory/x/memory.limit_in_bytes 100000   # /memory/limit\n"},
		{"v1", `{"memory":{"limit":0,"swap":0,"reservation":0,"kernel":0}}`, ""},
		{"v1", `{"memory":{"limit":100,"swap":200}}`, `memory/x/memory.limit_in_bytes 100   # /memory/limit
memory/x/memory.memsw.limit_in_bytes 200   # /memory/swap
`},
		{"v1", `{"memory":{"limit":100,"swap":-1}}`, `memory/x/memory.memsw.limit_in_bytes -1   # /memory/swap, where the kernel has it
memory/x/memory.limit_in_bytes 100   # /memory/limit
`},
		{"v1", `{"memory":{"limit":-1}}`, `memory/x/memory.memsw.limit_in_bytes -1   # /memory/limit, where the kernel has it
memory/x/memory.limit_in_bytes -1   # /memory/limit
`},
		{"v1", `{"memory":{"limit":-1,"swap":-1}}`, `memory/x/memory.memsw.limit_in_bytes -1   # /memory/swap, where the kernel has it
memory/x/memory.limit_in_bytes -1   # /memory/limit
`},
		{"v1", `{"memory":{"swap":200}}`, "memory/x/memory.memsw.limit_in_bytes 200   # /memory/swap\n"},
		{"v1", `{"memory":{"limit":200,"swap":100}}`, "! /memory/swap: memory+swap limit must be >= memory limit\n"},
		{"v1", `{"memory":{"limit":-2}}`, "! /memory/limit: must be a number of bytes, or -1 for no limit\n"},
		{"v1", `{"memory":{"reservation":50}}`, "memory/x/memory.soft_limit_in_bytes 50   # /memory/reservation\n"},
		{"v1", `{"memory":{"reservation":-1}}`, "memory/x/memory.soft_limit_in_bytes -1   # /memory/reservation\n"},
		{"v1", `{"memory":{"kernel":50,"kernelTCP":60}}`, `memory/x/memory.kmem.limit_in_bytes 50   # /memory/kernel, where the kernel has it
memory/x/memory.kmem.tcp.limit_in_bytes 60   # /memory/kernelTCP, where the kernel has it
warn /memory/kernel: kernel memory limits are deprecated and may have no effect
`},
		{"v1", `{"memory":{"swappiness":0}}`, "memory/x/memory.swappiness 0   # /memory/swappiness\n"},
		{"v1", `{"memory":{"swappiness":100}}`, "memory/x/memory.swappiness 100   # /memory/swappiness\n"},
		{"v1", `{"memory":{"swappiness":101}}`, "! /memory/swappiness: must be from 0 to 100\n"},
		{"v1", `{"memory":{"swappiness":18446744073709551615}}`, ""},
		{"v1", `{"memory":{"disableOOMKiller":true}}`, "memory/x/memory.oom_control 1   # /memory/disableOOMKiller\n"},
		{"v1", `{"memory":{"disableOOMKiller":false}}`, "memory/x/memory.oom_control 0   # /memory/disableOOMKiller\n"},
		{"v1", `{"memory":{"useHierarchy":true}}`, "memory/x/memory.use_hierarchy 1   # /memory/useHierarchy, where the kernel has it\n"},
		{"v1", `{"memory":{"useHierarchy":false}}`, "memory/x/memory.use_hierarchy 0   # /memory/useHierarchy, where the kernel has it\n"},
		{"hybrid", `{"memory":{"useHierarchy":false}}`, "warn /memory/useHierarchy: this kernel always accounts memory hierarchically; ignored\n"},
		{"v1", `{"memory":{"limit":100,"checkBeforeUpdate":true}}`, "memory/x/memory.limit_in_bytes 100   # /memory/limit\n"},

		// Memory on v2.
		{"v2", `{"memory":{"limit":100000}}`, "x/memory.max 100000   # /memory/limit\n"},
		{"v2", `{"memory":{"limit":0}}`, ""},
		{"v2", `{"memory":{"limit":-1}}`, `x/memory.swap.max max   # /memory/limit, where the kernel has it
x/memory.max max   # /memory/limit
`},
		{"v2", `{"memory":{"limit":100,"swap":300}}`, `x/memory.swap.max 200   # /memory/swap
x/memory.max 100   # /memory/limit
`},
		{"v2", `{"memory":{"limit":100,"swap":100}}`, `x/memory.swap.max 0   # /memory/swap, where the kernel has it
x/memory.max 100   # /memory/limit
`},
		{"v2", `{"memory":{"limit":100,"swap":-1}}`, `x/memory.swap.max max   # /memory/swap, where the kernel has it
x/memory.max 100   # /memory/limit
`},
		{"v2", `{"memory":{"limit":100,"swap":99}}`, "! /memory/swap: memory+swap limit must be >= memory limit\n"},
		{"v2", `{"memory":{"swap":99}}`, "! /memory/swap: cannot limit swap without a memory limit\n"},
		{"v2", `{"memory":{"limit":-1,"swap":99}}`, `x/memory.max max   # /memory/limit
! /memory/swap: cannot limit swap without a memory limit
`},
		{"v2", `{"memory":{"reservation":5}}`, "x/memory.low 5   # /memory/reservation\n"},
		{"v2", `{"memory":{"reservation":-1}}`, "x/memory.low max   # /memory/reservation\n"},
		{"v2", `{"memory":{"limit":100,"checkBeforeUpdate":true}}`, "x/memory.max 100   # /memory/limit, if above memory.current\n"},
		{"v2", `{"memory":{"limit":-1,"checkBeforeUpdate":true}}`, `x/memory.swap.max max   # /memory/limit, where the kernel has it
x/memory.max max   # /memory/limit
`},
		{"v2", `{"memory":{"kernel":1,"kernelTCP":2,"swappiness":3,"disableOOMKiller":true,"useHierarchy":false}}`,
			`warn /memory/kernel: cgroup v2 has no such setting; ignored
warn /memory/kernelTCP: cgroup v2 has no such setting; ignored
warn /memory/swappiness: cgroup v2 has no such setting; ignored
warn /memory/disableOOMKiller: cgroup v2 has no such setting; ignored
warn /memory/useHierarchy: cgroup v2 has no such setting; ignored
`},
		{"v2", `{"memory":{"disableOOMKiller":false,"useHierarchy":true,"kernel":0}}`, ""},
		{"bare", `{"memory":{"limit":1,"reservation":2,"swap":3}}`, "! /memory/swap: no memory controller on this machine\n"},
		{"bare", `{"memory":{"limit":-1,"swap":-1,"disableOOMKiller":false}}`, ""},

		// CPU on v1.
		{"v1", `{"cpu":{"shares":1024}}`, "cpu,cpuacct/x/cpu.shares 1024   # /cpu/shares\n"},
		{"v1", `{"cpu":{"shares":0,"quota":0,"period":0}}`, ""},
		{"v1", `{"cpu":{"quota":50000,"period":100000}}`, `cpu,cpuacct/x/cpu.cfs_period_us 100000   # /cpu/period
cpu,cpuacct/x/cpu.cfs_quota_us 50000   # /cpu/quota
`},
		{"v1", `{"cpu":{"quota":-1}}`, "cpu,cpuacct/x/cpu.cfs_quota_us -1   # /cpu/quota\n"},
		{"v1", `{"cpu":{"quota":50000,"burst":20000}}`, `cpu,cpuacct/x/cpu.cfs_quota_us 50000   # /cpu/quota
cpu,cpuacct/x/cpu.cfs_burst_us 20000   # /cpu/burst
`},
		{"v1", `{"cpu":{"quota":50000,"burst":50001}}`, "! /cpu/burst: must be no larger than the quota\n"},
		{"v1", `{"cpu":{"quota":-1,"burst":50001}}`, `cpu,cpuacct/x/cpu.cfs_quota_us -1   # /cpu/quota
cpu,cpuacct/x/cpu.cfs_burst_us 50001   # /cpu/burst
`},
		{"v1", `{"cpu":{"burst":0}}`, "cpu,cpuacct/x/cpu.cfs_burst_us 0   # /cpu/burst, where the kernel has it\n"},
		{"v1", `{"cpu":{"realtimeRuntime":950000,"realtimePeriod":1000000}}`, `cpu,cpuacct/x/cpu.rt_period_us 1000000   # /cpu/realtimePeriod
cpu,cpuacct/x/cpu.rt_runtime_us 950000   # /cpu/realtimeRuntime
`},
		{"v1", `{"cpu":{"idle":1}}`, "cpu,cpuacct/x/cpu.idle 1   # /cpu/idle\n"},
		{"v1", `{"cpu":{"idle":0}}`, "cpu,cpuacct/x/cpu.idle 0   # /cpu/idle, where the kernel has it\n"},
		{"v1", `{"cpu":{"idle":2}}`, "! /cpu/idle: must be 0 or 1\n"},
		{"v1", `{"cpu":{"cpus":"0-3,7","mems":"0"}}`, `cpuset/x/cpuset.cpus 0-3,7   # /cpu/cpus
cpuset/x/cpuset.mems 0   # /cpu/mems
`},
		{"v1", `{"cpu":{"cpus":"0\n1"}}`, `cpuset/x/cpuset.cpus "0\n1"   # /cpu/cpus` + "\n"},
		{"hybrid", `{"cpu":{"shares":2}}`, "cpu/x/cpu.shares 2   # /cpu/shares\n"},

		// CPU on v2.
		{"v2", `{"cpu":{"shares":1024}}`, "x/cpu.weight 100   # /cpu/shares\n"},
		{"v2", `{"cpu":{"shares":2}}`, "x/cpu.weight 1   # /cpu/shares\n"},
		{"v2", `{"cpu":{"shares":1}}`, "x/cpu.weight 1   # /cpu/shares\n"},
		{"v2", `{"cpu":{"shares":262144}}`, "x/cpu.weight 10000   # /cpu/shares\n"},
		{"v2", `{"cpu":{"shares":0}}`, ""},
		{"v2", `{"cpu":{"quota":50000,"period":200000}}`, "x/cpu.max 50000 200000   # /cpu/quota\n"},
		{"v2", `{"cpu":{"quota":50000}}`, "x/cpu.max 50000 100000   # /cpu/quota\n"},
		{"v2", `{"cpu":{"quota":-1}}`, "x/cpu.max max 100000   # /cpu/quota\n"},
		{"v2", `{"cpu":{"period":50000}}`, "x/cpu.max max 50000   # /cpu/period\n"},
		{"v2", `{"cpu":{"quota":50000,"burst":10000}}`, `x/cpu.max 50000 100000   # /cpu/quota
x/cpu.max.burst 10000   # /cpu/burst
`},
		{"v2", `{"cpu":{"idle":1,"shares":5}}`, `x/cpu.weight 2   # /cpu/shares
x/cpu.idle 1   # /cpu/idle
`},
		{"v2", `{"cpu":{"realtimeRuntime":1,"realtimePeriod":2}}`, `warn /cpu/realtimePeriod: cgroup v2 has no such setting; ignored
warn /cpu/realtimeRuntime: cgroup v2 has no such setting; ignored
`},
		{"v2", `{"cpu":{"realtimeRuntime":0,"realtimePeriod":0}}`, ""},
		{"v2", `{"cpu":{"cpus":"0","mems":"0-1"}}`, `x/cpuset.cpus 0   # /cpu/cpus
x/cpuset.mems 0-1   # /cpu/mems
`},
		{"bare", `{"cpu":{"shares":5,"quota":10,"cpus":"0"}}`, `! /cpu/shares: no cpu controller on this machine
! /cpu/cpus: no cpuset controller on this machine
`},
		{"bare", `{"cpu":{"quota":-1,"burst":0,"idle":0}}`, ""},

		// Processes.
		{"v1", `{"pids":{"limit":100}}`, "late pids/x/pids.max 100   # /pids/limit\n"},
		{"v1", `{"pids":{"limit":0}}`, "late pids/x/pids.max 1   # /pids/limit\n"},
		{"v1", `{"pids":{"limit":-1}}`, "late pids/x/pids.max max   # /pids/limit\n"},
		{"v1", `{"pids":{}}`, ""},
		{"v2", `{"pids":{"limit":1}}`, "late x/pids.max 1   # /pids/limit\n"},
		{"v2", `{"pids":{"limit":-1}}`, "late x/pids.max max   # /pids/limit\n"},
		{"bare", `{"pids":{"limit":7}}`, "! /pids/limit: no pids controller on this machine\n"},
		{"bare", `{"pids":{"limit":-1}}`, ""},

		// Block I/O on v1.
		{"v1", `{"blockIO":{"weight":500}}`, "blkio/x/blkio.bfq.weight 500 or blkio/x/blkio.weight 500   # /blockIO/weight\n"},
		{"v1", `{"blockIO":{"weight":0,"leafWeight":0}}`, ""},
		{"v1", `{"blockIO":{"leafWeight":300}}`, "blkio/x/blkio.leaf_weight 300   # /blockIO/leafWeight\n"},
		{"v1", `{"blockIO":{"weightDevice":[{"major":8,"minor":0,"weight":500,"leafWeight":300}]}}`,
			`blkio/x/blkio.bfq.weight_device 8:0 500 or blkio/x/blkio.weight_device 8:0 500   # /blockIO/weightDevice/0/weight
blkio/x/blkio.leaf_weight_device 8:0 300   # /blockIO/weightDevice/0/leafWeight
`},
		{"v1", `{"blockIO":{"weightDevice":[{"major":8,"minor":0}]}}`, "! /blockIO/weightDevice/0: sets neither weight nor leafWeight\n"},
		{"v1", `{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":600}],"throttleWriteBpsDevice":[{"major":8,"minor":0,"rate":601}],
			"throttleReadIOPSDevice":[{"major":8,"minor":0,"rate":602}],"throttleWriteIOPSDevice":[{"major":8,"minor":16,"rate":0}]}}`,
			`blkio/x/blkio.throttle.read_bps_device 8:0 600   # /blockIO/throttleReadBpsDevice/0/rate
blkio/x/blkio.throttle.write_bps_device 8:0 601   # /blockIO/throttleWriteBpsDevice/0/rate
blkio/x/blkio.throttle.read_iops_device 8:0 602   # /blockIO/throttleReadIOPSDevice/0/rate
blkio/x/blkio.throttle.write_iops_device 8:16 0   # /blockIO/throttleWriteIOPSDevice/0/rate
`},

		// Block I/O on v2.
		{"v2", `{"blockIO":{"weight":1000}}`, "x/io.bfq.weight 1000 or x/io.weight 10000   # /blockIO/weight\n"},
		{"v2", `{"blockIO":{"weight":10}}`, "x/io.bfq.weight 10 or x/io.weight 1   # /blockIO/weight\n"},
		{"v2", `{"blockIO":{"weight":1}}`, "x/io.bfq.weight 1 or x/io.weight 1   # /blockIO/weight\n"},
		{"v2", `{"blockIO":{"leafWeight":10}}`, "warn /blockIO/leafWeight: cgroup v2 has no leaf weights; ignored\n"},
		{"v2", `{"blockIO":{"weightDevice":[{"major":8,"minor":16,"weight":100,"leafWeight":2}]}}`,
			`x/io.bfq.weight 8:16 100 or x/io.weight 8:16 910   # /blockIO/weightDevice/0/weight
warn /blockIO/weightDevice/0/leafWeight: cgroup v2 has no leaf weights; ignored
`},
		{"v2", `{"blockIO":{"throttleReadBpsDevice":[{"major":8,"minor":0,"rate":600}],"throttleWriteBpsDevice":[{"major":8,"minor":0,"rate":601}],
			"throttleReadIOPSDevice":[{"major":8,"minor":0,"rate":602},{"major":9,"minor":1,"rate":0}],"throttleWriteIOPSDevice":[{"major":8,"minor":16,"rate":603}]}}`,
			`x/io.max 8:0 rbps=600   # /blockIO/throttleReadBpsDevice/0/rate
x/io.max 8:0 wbps=601   # /blockIO/throttleWriteBpsDevice/0/rate
x/io.max 8:0 riops=602   # /blockIO/throttleReadIOPSDevice/0/rate
x/io.max 9:1 riops=max   # /blockIO/throttleReadIOPSDevice/1/rate
x/io.max 8:16 wiops=603   # /blockIO/throttleWriteIOPSDevice/0/rate
`},
		{"bare", `{"blockIO":{"weight":100}}`, "! /blockIO/weight: no io controller on this machine\n"},

		// Huge pages.
		{"v1", `{"hugepageLimits":[{"pageSize":"2MB","limit":209715200},{"pageSize":"64KB","limit":0}]}`,
			`hugetlb/x/hugetlb.2MB.limit_in_bytes 209715200   # /hugepageLimits/0/limit
hugetlb/x/hugetlb.2MB.rsvd.limit_in_bytes 209715200   # /hugepageLimits/0/limit, where the kernel has it
hugetlb/x/hugetlb.64KB.limit_in_bytes 0   # /hugepageLimits/1/limit
hugetlb/x/hugetlb.64KB.rsvd.limit_in_bytes 0   # /hugepageLimits/1/limit, where the kernel has it
`},
		{"v2", `{"hugepageLimits":[{"pageSize":"1GB","limit":7}]}`,
			`x/hugetlb.1GB.max 7   # /hugepageLimits/0/limit
x/hugetlb.1GB.rsvd.max 7   # /hugepageLimits/0/limit, where the kernel has it
`},
		{"hybrid", `{"hugepageLimits":[{"pageSize":"2MB","limit":7}]}`,
			`unified/x/hugetlb.2MB.max 7   # /hugepageLimits/0/limit
unified/x/hugetlb.2MB.rsvd.max 7   # /hugepageLimits/0/limit, where the kernel has it
`},
		{"v1", `{"hugepageLimits":[{"pageSize":"../2MB","limit":7}]}`, "! /hugepageLimits/0/pageSize: is not a page size\n"},
		{"v1", `{"hugepageLimits":[{"pageSize":"2M","limit":7},{"pageSize":"","limit":1},{"pageSize":"MB","limit":1},{"pageSize":"2MBKB","limit":1}]}`,
			`! /hugepageLimits/0/pageSize: is not a page size
! /hugepageLimits/1/pageSize: is not a page size
! /hugepageLimits/2/pageSize: is not a page size
! /hugepageLimits/3/pageSize: is not a page size
`},
		{"bare", `{"hugepageLimits":[{"pageSize":"2MB","limit":7}]}`, "! /hugepageLimits/0/limit: no hugetlb controller on this machine\n"},

		// Network.
		{"v1", `{"network":{"classID":1048577,"priorities":[{"name":"eth0","priority":500},{"name":"lo","priority":0}]}}`,
			`net_cls,net_prio/x/net_cls.classid 1048577   # /network/classID
net_cls,net_prio/x/net_prio.ifpriomap eth0 500   # /network/priorities/0/priority
net_cls,net_prio/x/net_prio.ifpriomap lo 0   # /network/priorities/1/priority
`},
		{"v1", `{"network":{"priorities":[{"name":"a b","priority":5}]}}`, "! /network/priorities/0/name: is not an interface's name\n"},
		{"v2", `{"network":{"classID":1,"priorities":[{"name":"eth0","priority":5}]}}`,
			`warn /network/classID: cgroup v2 has no net_cls controller; ignored
warn /network/priorities/0/priority: cgroup v2 has no net_prio controller; ignored
`},
		{"hybrid", `{"network":{"classID":1}}`, "! /network/classID: no net_cls controller on this machine\n"},

		// RDMA.
		{"v1", `{"rdma":{"mlx5_1":{"hcaHandles":3,"hcaObjects":10000},"mlx4_0":{"hcaObjects":1000}}}`,
			`rdma/x/rdma.max mlx4_0 hca_object=1000   # /rdma/mlx4_0
rdma/x/rdma.max mlx5_1 hca_handle=3 hca_object=10000   # /rdma/mlx5_1
`},
		{"v2", `{"rdma":{"rxe3":{"hcaHandles":0}}}`, "x/rdma.max rxe3 hca_handle=0   # /rdma/rxe3\n"},
		{"v2", `{"rdma":{"rxe3":{}}}`, "! /rdma/rxe3: sets neither hcaHandles nor hcaObjects\n"},
		{"v2", `{"rdma":{"a b":{"hcaHandles":1}}}`, "! /rdma/a b: is not an adapter's name\n"},
		{"bare", `{"rdma":{"rxe3":{"hcaHandles":0}}}`, "! /rdma/rxe3: no rdma controller on this machine\n"},

		// Unified.
		{"v2", `{"unified":{"memory.high":"5","io.max":"8:0 rbps=1\n8:16 rbps=2\n","cgroup.max.depth":"3"}}`,
			`x/cgroup.max.depth 3   # /unified/cgroup.max.depth
x/io.max 8:0 rbps=1   # /unified/io.max
x/io.max 8:16 rbps=2   # /unified/io.max
x/memory.high 5   # /unified/memory.high
`},
		{"v2", `{"unified":{"pids.max":"9"}}`, "late x/pids.max 9   # /unified/pids.max\n"},
		{"v2", `{"unified":{"../memory.max":"1"}}`, "! /unified/..~1memory.max: must be a file name (no slashes)\n"},
		{"v2", `{"unified":{"memory":"1",".x":"2","..":"3","a.\n":"4"}}`,
			`! /unified/..: must be in the form CONTROLLER.PARAMETER
! /unified/.x: must be in the form CONTROLLER.PARAMETER
! /unified/a.?: must be a file name (no slashes)
! /unified/memory: must be in the form CONTROLLER.PARAMETER
`},
		{"v2", `{"unified":{"foo.bar":"1"}}`, "! /unified/foo.bar: no foo controller on this machine\n"},
		{"v2", `{"memory":{"limit":5},"unified":{"memory.max":"7"}}`, `x/memory.max 5   # /memory/limit
x/memory.max 7   # /unified/memory.max
`},
		{"v1", `{"unified":{"memory.high":"5"}}`, "! /unified/memory.high: needs cgroup v2\n"},
		{"hybrid", `{"unified":{"hugetlb.2MB.max":"5","memory.high":"1"}}`, `unified/x/hugetlb.2MB.max 5   # /unified/hugetlb.2MB.max
! /unified/memory.high: no memory controller on this machine
`},
		{"v2", `{"unified":{"memory.high":""}}`, `x/memory.high ""   # /unified/memory.high` + "\n"},

		// Everything at once keeps its order.
		{"v2", `{"pids":{"limit":5},"memory":{"limit":1},"cpu":{"shares":2,"cpus":"0"},"blockIO":{"weight":10}}`,
			`x/memory.max 1   # /memory/limit
x/cpu.weight 1   # /cpu/shares
x/cpuset.cpus 0   # /cpu/cpus
x/io.bfq.weight 10 or x/io.weight 1   # /blockIO/weight
late x/pids.max 5   # /pids/limit
`},
	}
	for _, tt := range tests {
		if got := explainPlan(t, machine(tt.on), tt.fragment); got != tt.want {
			t.Errorf("%s %s\ngot:\n%swant:\n%s", tt.on, tt.fragment, got, tt.want)
		}
	}
}

func TestPlanResourcesNil(t *testing.T) {
	res, complaints := PlanResources(nil, State{}, v2Facts())
	if len(res.Writes)+len(res.Late)+len(res.Warnings)+len(complaints) != 0 || res.Filter != nil {
		t.Errorf("%+v %v", res, complaints)
	}
}

//spec:56
func TestSharesToWeight(t *testing.T) {
	for shares, want := range map[uint64]uint64{
		0: 1, 1: 1, 2: 1, 3: 2, 5: 2, 102: 17, 512: 59, 1024: 100, 2048: 174, 10240: 639, 65536: 3023, 262143: 10000, 262144: 10000, 1 << 40: 10000,
	} {
		if got := sharesToWeight(shares); got != want {
			t.Errorf("%d: %d, want %d", shares, got, want)
		}
	}
	last := uint64(0)
	for s := uint64(2); s <= 262144; s += 13 {
		w := sharesToWeight(s)
		if w < last || w < minWeight || w > maxWeight {
			t.Fatalf("%d: %d after %d", s, w, last)
		}
		last = w
	}
}

// Only memory's limits may be refused beside an old value, in either order.
func TestWritesThatAreTriedAgain(t *testing.T) {
	var r specs.LinuxResources
	_ = json.Unmarshal([]byte(`{"memory":{"limit":5,"swap":6},"cpu":{"quota":1000,"period":1000,"burst":1}}`), &r)
	res, _ := PlanResources(&r, State{Dirs: dirs(v1Facts().Cgroup, "/x", true)}, v1Facts())
	var again []string
	for _, w := range res.Writes {
		if w.Again {
			again = append(again, w.File)
		}
	}
	want := "memory.limit_in_bytes cpu.cfs_period_us cpu.cfs_quota_us cpu.cfs_burst_us"
	if got := strings.Join(again, " "); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// pointersResolve checks that every pointer leads to an entry of the config.
func pointersResolve(t *testing.T, spec *specs.Spec, pointers []fault.Pointer) {
	t.Helper()
	raw, err := json.Marshal(spec)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pointers {
		var at any
		_ = json.Unmarshal(raw, &at)
		for _, token := range p.Tokens() {
			switch v := at.(type) {
			case map[string]any:
				at = v[token]
			case []any:
				i := 0
				for _, c := range token {
					i = i*10 + int(c-'0')
				}
				if i >= len(v) {
					at = nil
				} else {
					at = v[i]
				}
			default:
				at = nil
			}
		}
		if at == nil {
			t.Errorf("pointer %s leads nowhere in %s", p, raw)
		}
	}
}

func planPointers(p *Plan, complaints fault.List) []fault.Pointer {
	var out []fault.Pointer
	add := func(f fault.Pointer) {
		if f != "" {
			out = append(out, f)
		}
	}
	for _, w := range append(p.Writes, p.Late...) {
		add(w.Field)
	}
	for _, e := range append(p.Warnings, complaints...) {
		add(e.Field)
	}
	if p.Filter != nil {
		for _, r := range p.Filter.Rules {
			add(r.Field)
		}
	}
	return out
}

func FuzzNewPlan(f *testing.F) {
	f.Add(`{"cgroupsPath":"/a/../b","resources":{"memory":{"limit":5},"devices":[{"allow":true,"access":"rwm"}]}}`, byte(0))
	f.Add(`{"cgroupsPath":"a:b:c","resources":{"pids":{"limit":0},"unified":{"a/b":"c"}}}`, byte(1))
	f.Add(`{"resources":{"hugepageLimits":[{"pageSize":"2MB","limit":3}],"rdma":{"a":{"hcaHandles":1}}}}`, byte(2))
	f.Add(`{"resources":{"devices":[{"allow":true,"type":"c","major":-1,"access":"rw"},{"type":"c","major":1,"access":"m"}]}}`, byte(3))
	f.Fuzz(func(t *testing.T, linux string, which byte) {
		spec := &specs.Spec{}
		if json.Unmarshal([]byte(linux), &spec.Linux) != nil {
			return
		}
		facts := machine([]string{"v1", "v2", "hybrid", "bare"}[which%4])
		p, complaints := NewPlan(spec, "id", facts, Options{})
		pointersResolve(t, spec, planPointers(p, complaints))
		again, _ := NewPlan(spec, "id", facts, Options{})
		if p.String() != again.String() {
			t.Error("planning twice gives two plans")
		}
		for _, d := range p.Dirs {
			if !below(d.Path, d.Mountpoint) || strings.Contains(d.Path, "/../") || strings.HasSuffix(d.Path, "/..") {
				t.Errorf("%s is not below %s", d.Path, d.Mountpoint)
			}
		}
		for _, w := range p.Writes {
			if strings.Contains(w.File, "/") || strings.Contains(w.File, "\x00") {
				t.Errorf("%q is no file name", w.File)
			}
		}
		if strings.Count(p.String(), "\n") != len(p.Lines()) {
			t.Errorf("a line is broken in two:\n%s", p)
		}
	})
}
