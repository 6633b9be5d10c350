package cgroups

import (
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestHints(t *testing.T) {
	const dir = "/sys/fs/cgroup/x/"
	tests := []struct {
		op, path string
		errno    syscall.Errno
		want     string // a part of the hint; "" for none
	}{
		{"mkdir", dir, unix.EACCES, "delegated"},
		{"mkdir", dir, unix.EPERM, "delegated"},
		{"mkdir", dir, unix.EROFS, "read-only"},
		{"mkdir", dir, unix.EAGAIN, "cgroup.max.descendants"},
		{"mkdir", dir, unix.ENAMETOOLONG, "name"},
		{"mkdir", dir, unix.EIO, ""},
		{"rmdir", dir, unix.EBUSY, "processes"},
		{"rmdir", dir, unix.EPERM, ""},
		{"read", dir + "cgroup.procs", unix.EIO, ""},

		{"write", dir + "cgroup.procs", unix.ENOSPC, "cpuset"},
		{"write", dir + "cgroup.procs", unix.EBUSY, "hands controllers down"},
		{"write", dir + "cgroup.procs", unix.EOPNOTSUPP, "threaded"},
		{"write", dir + "cgroup.procs", unix.EACCES, "common parent"},
		{"write", dir + "cgroup.procs", unix.EINVAL, "realtime"},
		{"write", dir + "cgroup.procs", unix.ESRCH, ""},

		{"write", dir + "memory.limit_in_bytes", unix.EBUSY, "reclaimed"},
		{"write", dir + "memory.limit_in_bytes", unix.EINVAL, "memory+swap"},
		{"write", dir + "memory.memsw.limit_in_bytes", unix.ENOENT, "swapaccount=1"},
		{"write", dir + "memory.swap.max", unix.ENOENT, "swapaccount=1"},
		{"write", dir + "memory.kmem.limit_in_bytes", errnoNotSupported, "given up"},
		{"write", dir + "memory.max", unix.ENOENT, "memory controller is not handed down"},
		{"write", dir + "memory.max", unix.EACCES, "delegated"},
		{"write", dir + "memory.max", unix.EROFS, "read-only"},

		{"write", dir + "cpu.cfs_burst_us", unix.EINVAL, "quota"},
		{"write", dir + "cpu.max.burst", unix.EINVAL, "quota"},
		{"write", dir + "cpu.max.burst", unix.ENOENT, "5.14"},
		{"write", dir + "cpu.idle", unix.ENOENT, "5.15"},
		{"write", dir + "cpu.rt_runtime_us", unix.EINVAL, "realtimeRuntime"},
		{"write", dir + "cpu.rt_runtime_us", unix.ENOENT, "CONFIG_RT_GROUP_SCHED"},
		{"write", dir + "cpu.shares", unix.EINVAL, "idle"},
		{"write", dir + "cpu.weight", unix.ERANGE, "range"},
		{"write", dir + "cpu.weight", unix.ENOENT, "cpu controller"},
		{"write", dir + "cpu.max", unix.EINVAL, "1000 and 1000000"},

		{"write", dir + "cpuset.cpus", unix.EINVAL, "0-3,7"},
		{"write", dir + "cpuset.cpus", unix.ENOSPC, "group above"},
		{"write", dir + "cpuset.cpus", unix.EACCES, "among those of the group above"},

		{"write", dir + "blkio.weight", unix.ENOENT, "BFQ"},
		{"write", dir + "io.weight", unix.ENOENT, "BFQ"},
		{"write", dir + "blkio.leaf_weight", unix.ENOENT, "5.0"},
		{"write", dir + "io.max", unix.ENODEV, "block device"},
		{"write", dir + "io.bfq.weight", unix.ERANGE, "1 to 1000"},
		{"write", dir + "io.bfq.weight", unix.EOPNOTSUPP, "BFQ"},

		{"write", dir + "hugetlb.3MB.max", unix.ENOENT, "huge pages"},
		{"write", dir + "rdma.max", unix.EINVAL, "no such device"},
		{"write", dir + "net_prio.ifpriomap", unix.ENODEV, "interface"},
		{"write", dir + "devices.allow", unix.EPERM, "denies"},
		{"write", dir + "devices.deny", unix.EINVAL, "groups below"},
		{"write", dir + "pids.max", unix.EINVAL, ""},
		{"write", dir + "cgroup.freeze", unix.ENOENT, "gone"},

		{"bpf program load", dir, unix.EPERM, "CAP_BPF"},
		{"bpf program load", dir, unix.EINVAL, "CONFIG_CGROUP_BPF"},
		{"bpf program load", dir, unix.E2BIG, "too many"},
		{"bpf program attach", dir, unix.EPERM, "group above"},
		{"bpf program query", dir, unix.EBADF, ""},
	}
	for _, tt := range tests {
		got := hint(tt.op, tt.path, tt.errno)
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s %s %v: %q, want %q", tt.op, tt.path, tt.errno, got, tt.want)
		}
	}
}
