package process

import "golang.org/x/sys/unix"

// hint is one sentence on what to try after op failed with errno, or "".
func hint(op string, errno unix.Errno) string {
	for _, h := range hints {
		if h.op == op && h.errno == errno {
			return h.text
		}
	}
	return ""
}

var hints = []struct {
	op    string
	errno unix.Errno
	text  string
}{
	{opFind, unix.ENOENT, "the image has no such file; is the root file system complete?"},
	{opFind, unix.ENOTDIR, "something in the path is a file, not a directory"},
	{opFind, unix.EACCES, "it lacks the execute permission for the user, or its mount is noexec"},
	{opFind, unix.EISDIR, "permission denied: process.args/0 names a directory"},
	{opFind, unix.ELOOP, "its symbolic links go in a circle"},
	{opExec, unix.ENOEXEC, "it is no program for this architecture, or a script without #!"},
	{opExec, unix.ENOENT, "the file exists, but its interpreter (#! or ELF) is not in the image"},
	{opExec, unix.EACCES, "the file or its interpreter may not be executed by the user"},
	{opExec, unix.E2BIG, "process.args and process.env are too long together"},
	{opExec, unix.ENOMEM, "the memory limit leaves no room for the program"},
	{opExec, unix.EPERM, "the seccomp profile does not allow execve"},
	{opExec, unix.ETXTBSY, "somebody has the file open for writing"},
	{"setresuid", unix.EINVAL, "the uid is not mapped: see /linux/uidMappings"},
	{"setresgid", unix.EINVAL, "the gid is not mapped: see /linux/gidMappings"},
	{"setgroups", unix.EINVAL, "a gid is not mapped: see /linux/gidMappings"},
	{"setgroups", unix.EPERM, "the user namespace denies setgroups(2): map more groups with newgidmap"},
	{"setresuid", unix.EAGAIN, "the user's limit on processes (RLIMIT_NPROC) is reached"},
	{"capset", unix.EPERM, "the runtime does not have all of these capabilities itself"},
	{"drop from the bounding set", unix.EPERM, "it needs CAP_SETPCAP"},
	{"seccomp", unix.EACCES, "without noNewPrivileges a filter needs CAP_SYS_ADMIN"},
	{"seccomp", unix.EINVAL, "the kernel refuses the filter; is it longer than 4096 instructions?"},
	{"seccomp", unix.ENOMEM, "the filters of this process are too long together"},
	{"keyring", unix.EDQUOT, "the user has too many keys: raise /proc/sys/kernel/keys/maxkeys, or use --no-new-keyring"},
	{"chdir", unix.EACCES, "neither root nor the user may enter the directory"},
	{"chdir", unix.ENOTDIR, "process.cwd is not a directory in the image"},
	{"chdir", unix.ELOOP, "process.cwd leads through a magic link of procfs, or in a circle"},
	{"chdir", unix.EXDEV, "process.cwd is outside the container's root"},
	{"chdir", unix.EROFS, "process.cwd is missing and the file system is read-only: make it in the image"},
	{"sysctl", unix.ENOENT, "this kernel does not have the parameter, or not in this namespace"},
	{"sysctl", unix.EINVAL, "the parameter does not take this value"},
	{"sysctl", unix.EACCES, "the parameter cannot be written from the container's user namespace"},
	{"sysctl", unix.EPERM, "the parameter cannot be written from the container's user namespace"},
	{"sethostname", unix.EPERM, "the UTS namespace is not the container's own"},
	{"setdomainname", unix.EPERM, "the UTS namespace is not the container's own"},
	{"sethostname", unix.EINVAL, "a host name has at most 64 bytes"},
	{"setdomainname", unix.EINVAL, "a domain name has at most 64 bytes"},
	{"apparmor", unix.ENOENT, "no profile of this name is loaded: load it with apparmor_parser -r"},
	{"apparmor", unix.EACCES, "the runtime is confined itself, and its profile does not allow the change"},
	{"apparmor", unix.EPERM, "the runtime is confined itself, and its profile does not allow the change"},
	{"apparmor", unix.EINVAL, "AppArmor cannot read the name"},
	{"selinux", unix.EINVAL, "the policy that is loaded has no such label"},
	{"selinux", unix.EACCES, "the policy does not let the runtime's domain run programs under this label"},
	{"selinux", unix.EPERM, "the policy does not let the runtime's domain run programs under this label"},
	{"set_mempolicy", unix.EINVAL, "the mode does not go with these nodes or flags, or this machine lacks a node"},
	{"set_mempolicy", unix.ENOSYS, "this kernel is built without CONFIG_NUMA"},
	{"console", unix.EPERM, "the terminal is another session's"},
	{"prlimit", unix.EPERM, "raising a hard limit needs CAP_SYS_RESOURCE, which the runtime does not have"},
	{"prlimit", unix.EINVAL, "the soft limit is above the hard one"},
	{"oom_score_adj", unix.EACCES, "lowering the value needs CAP_SYS_RESOURCE, which the runtime does not have"},
	{"oom_score_adj", unix.EINVAL, "the value is between -1000 and 1000"},
	{"sched_setattr", unix.EPERM, "the policy needs CAP_SYS_NICE, and on cgroup v1 a cpu.rt_runtime_us above 0"},
	{"sched_setattr", unix.EINVAL, "the policy does not go with these parameters"},
	{"sched_setattr", unix.EBUSY, "there is not enough real-time bandwidth left"},
	{opAffinity, unix.EINVAL, "this machine, or the cpuset of the group, has none of these CPUs"},
	{"ioprio_set", unix.EPERM, "the class needs CAP_SYS_NICE or CAP_SYS_ADMIN"},
}
