//go:build ignore

/*
 * floor: the container that `runc spec` describes, made with about the fewest
 * system calls, as a lower bound to compare runtimes with.
 *
 * Nothing is parsed and nothing is checked: the container is written down here
 * as calls. It trusts the root file system completely, keeps no state and is
 * no runtime; it only answers how long the kernel takes.
 *
 *   floor run    GROUPS ROOTFS GROUP CMD [ARG...]
 *   floor create GROUPS ROOTFS GROUP FIFO PIDFILE CMD [ARG...]
 *   floor start  FIFO
 *   floor delete GROUPS GROUP FIFO PIDFILE
 *
 * GROUPS is "v2", or "v1:" and the names of the hierarchies below
 * /sys/fs/cgroup with colons between them ("v1:cpu,cpuacct:devices:systemd").
 * GROUP is the name of the cgroup to make, one path component.
 * "run" exits with the command's status (128+signal), 125 for its own errors.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/if.h>
#include <linux/keyctl.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

/* glibc's <sys/mount.h> and <linux/mount.h> cannot be included together everywhere. */
int mount(const char *, const char *, const char *, unsigned long, const void *);
int umount2(const char *, int);
enum {
	F_RDONLY = 1, F_NOSUID = 2, F_NODEV = 4, F_NOEXEC = 8, F_BIND = 4096, F_REC = 16384,
	F_SLAVE = 1 << 19, F_RELATIME = 1 << 21, F_STRICTATIME = 1 << 24, F_DETACH = 2,
};
#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif

#define CGROUP_ROOT "/sys/fs/cgroup/"
#define MAX_HIERARCHIES 32

static const char *hierarchies[MAX_HIERARCHIES];
static int hierarchy_count; /* 0 means v2 */

static void die(const char *what)
{
	dprintf(2, "floor: %s: %s\n", what, strerror(errno));
	_exit(125);
}

static void must(long result, const char *what)
{
	if (result < 0)
		die(what);
}

/* path joins strings in a buffer of its own, which the next call overwrites. */
#define path(...) join((const char *const[]){ __VA_ARGS__, NULL })
static const char *join(const char *const *parts)
{
	static char buf[4096];
	size_t n = 0;
	for (; *parts; parts++) {
		size_t len = strlen(*parts);
		if (n + len >= sizeof buf) {
			errno = ENAMETOOLONG;
			die(*parts);
		}
		memcpy(buf + n, *parts, len);
		n += len;
	}
	buf[n] = 0;
	return buf;
}

static void write_file(const char *name, const char *text, size_t len)
{
	int fd = open(name, O_WRONLY | O_CLOEXEC);
	must(fd, name);
	must(write(fd, text, len), name);
	close(fd);
}

static void parse_groups(char *arg)
{
	if (strcmp(arg, "v2") == 0)
		return;
	for (char *s = strtok(arg + 3, ":"); s && hierarchy_count < MAX_HIERARCHIES; s = strtok(NULL, ":"))
		hierarchies[hierarchy_count++] = s;
}

/* The devices that runtimes allow by default, in the words of devices.allow. */
static const char *const device_rules[] = {
	"c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm",
	"c 1:9 rwm", "c 5:0 rwm", "c 5:2 rwm", "c 136:* rwm",
};

/* The same as a program: the context is {access << 16 | type, major, minor}. */
#define LOAD(reg, off) { BPF_LDX | BPF_W | BPF_MEM, reg, 1, off, 0 }
#define JEQ(reg, value, skip) { BPF_JMP | BPF_JEQ | BPF_K, reg, 0, skip, value }
#define JNE(reg, value, skip) { BPF_JMP | BPF_JNE | BPF_K, reg, 0, skip, value }
#define RETURN(value) { BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, value }, { BPF_JMP | BPF_EXIT, 0, 0, 0, 0 }
static const struct bpf_insn device_program[] = {
	/*  0 */ LOAD(2, 0), LOAD(3, 4), LOAD(4, 8),
	/*  3 */ { BPF_ALU64 | BPF_MOV | BPF_X, 5, 2, 0, 0 },
	/*  4 */ { BPF_ALU64 | BPF_RSH | BPF_K, 5, 0, 0, 16 },
	/*  5 */ { BPF_ALU64 | BPF_AND | BPF_K, 2, 0, 0, 0xffff },
	/*  6 */ JEQ(5, BPF_DEVCG_ACC_MKNOD, 13),
	/*  7 */ JNE(2, BPF_DEVCG_DEV_CHAR, 10),
	/*  8 */ JEQ(3, 136, 11),
	/*  9 */ JNE(3, 5, 2),
	/* 10 */ JEQ(4, 0, 9), JEQ(4, 2, 8),
	/* 12 */ JNE(3, 1, 5),
	/* 13 */ JEQ(4, 3, 6), JEQ(4, 5, 5), JEQ(4, 7, 4), JEQ(4, 8, 3), JEQ(4, 9, 2),
	/* 18 */ RETURN(0),
	/* 20 */ RETURN(1),
};

static void attach_device_program(int group)
{
	union bpf_attr load = {
		.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
		.insns = (uintptr_t)device_program,
		.insn_cnt = sizeof device_program / sizeof device_program[0],
		.license = (uintptr_t)"Apache-2.0",
	};
	int prog = syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof load);
	must(prog, "load the device program");
	union bpf_attr attach = {
		.target_fd = group,
		.attach_bpf_fd = prog,
		.attach_type = BPF_CGROUP_DEVICE,
		.attach_flags = BPF_F_ALLOW_MULTI,
	};
	must(syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof attach), "attach the device program");
	close(prog);
}

/* An empty cpuset takes no process, so a new one gets what its parent has. */
static void inherit_cpuset(const char *group, const char *file)
{
	char text[256];
	const char *from = path(CGROUP_ROOT "cpuset/", file);
	int fd = open(from, O_RDONLY | O_CLOEXEC);
	must(fd, from);
	ssize_t n = read(fd, text, sizeof text);
	must(n, from);
	close(fd);
	write_file(path(CGROUP_ROOT "cpuset/", group, "/", file), text, n);
}

static void limit_devices_v1(const char *group)
{
	write_file(path(CGROUP_ROOT "devices/", group, "/devices.deny"), "a", 1);
	const char *name = path(CGROUP_ROOT "devices/", group, "/devices.allow");
	int fd = open(name, O_WRONLY | O_CLOEXEC);
	must(fd, name);
	for (size_t i = 0; i < sizeof device_rules / sizeof device_rules[0]; i++)
		must(write(fd, device_rules[i], strlen(device_rules[i])), device_rules[i]);
	close(fd);
}

static void make_groups_v1(const char *group)
{
	for (int i = 0; i < hierarchy_count; i++) {
		const char *name = path(CGROUP_ROOT, hierarchies[i], "/", group);
		must(mkdir(name, 0755), name);
		if (strcmp(hierarchies[i], "cpuset") == 0) {
			inherit_cpuset(group, "cpuset.cpus");
			inherit_cpuset(group, "cpuset.mems");
		} else if (strcmp(hierarchies[i], "devices") == 0) {
			limit_devices_v1(group);
		}
	}
}

/* make_groups returns a descriptor of the v2 group, -1 with v1. */
static int make_groups(const char *group)
{
	if (hierarchy_count > 0) {
		make_groups_v1(group);
		return -1;
	}
	const char *name = path(CGROUP_ROOT, group);
	must(mkdir(name, 0755), name);
	int fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	must(fd, name);
	attach_device_program(fd);
	return fd;
}

static void join_groups_v1(const char *group)
{
	for (int i = 0; i < hierarchy_count; i++)
		write_file(path(CGROUP_ROOT, hierarchies[i], "/", group, "/cgroup.procs"), "0", 1);
}

/* A group may be busy for a moment after its last process was waited for. */
static void remove_group(const char *name)
{
	for (int tries = 0; rmdir(name) < 0; tries++) {
		if (errno != EBUSY || tries > 1000)
			die(name);
		usleep(1000);
	}
}

static void remove_groups(const char *group)
{
	if (hierarchy_count == 0)
		remove_group(path(CGROUP_ROOT, group));
	for (int i = 0; i < hierarchy_count; i++)
		remove_group(path(CGROUP_ROOT, hierarchies[i], "/", group));
}

static void make_mount(const char *source, const char *target, const char *type, unsigned long flags, const char *data)
{
	must(mount(source, target, type, flags, data), target);
}

/* The v1 hierarchies appear as a tmpfs with one bind mount each, all read-only. */
static void mount_groups_v1(const char *group)
{
	make_mount("tmpfs", "sys/fs/cgroup", "tmpfs", F_NOSUID | F_NOEXEC | F_NODEV, "mode=755");
	for (int i = 0; i < hierarchy_count; i++) {
		char target[256] = "sys/fs/cgroup/";
		strncat(target, hierarchies[i], sizeof target - 32);
		must(mkdir(target, 0755), target);
		make_mount(path(CGROUP_ROOT, hierarchies[i], "/", group), target, NULL, F_BIND, NULL);
	}
	struct mount_attr attr = {
		.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC,
	};
	must(syscall(SYS_mount_setattr, AT_FDCWD, "sys/fs/cgroup", AT_RECURSIVE, &attr, sizeof attr), "sys/fs/cgroup");
}

static void mount_groups_v2(void)
{
	make_mount("cgroup", "sys/fs/cgroup", "cgroup2",
		   F_NOSUID | F_NOEXEC | F_NODEV | F_RELATIME | F_RDONLY, NULL);
}

static void make_devices(void)
{
	static const struct { const char *name; unsigned major, minor; } devices[] = {
		{ "dev/null", 1, 3 }, { "dev/random", 1, 8 }, { "dev/full", 1, 7 },
		{ "dev/tty", 5, 0 }, { "dev/zero", 1, 5 }, { "dev/urandom", 1, 9 },
	};
	static const char *const links[][2] = {
		{ "/proc/self/fd", "dev/fd" }, { "/proc/self/fd/0", "dev/stdin" },
		{ "/proc/self/fd/1", "dev/stdout" }, { "/proc/self/fd/2", "dev/stderr" },
		{ "pts/ptmx", "dev/ptmx" }, { "/proc/kcore", "dev/core" },
	};
	for (size_t i = 0; i < sizeof devices / sizeof devices[0]; i++)
		must(mknod(devices[i].name, S_IFCHR | 0666, makedev(devices[i].major, devices[i].minor)), devices[i].name);
	size_t count = sizeof links / sizeof links[0];
	if (access("proc/kcore", F_OK) < 0)
		count--; /* some kernels have none */
	for (size_t i = 0; i < count; i++)
		must(symlink(links[i][0], links[i][1]), links[i][1]);
}

static void make_dev(void)
{
	make_mount("tmpfs", "dev", "tmpfs", F_NOSUID | F_STRICTATIME, "mode=755,size=65536k");
	must(mkdir("dev/pts", 0755), "dev/pts");
	must(mkdir("dev/shm", 0755), "dev/shm");
	must(mkdir("dev/mqueue", 0755), "dev/mqueue");
	make_mount("devpts", "dev/pts", "devpts", F_NOSUID | F_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5");
	make_mount("shm", "dev/shm", "tmpfs", F_NOSUID | F_NOEXEC | F_NODEV, "mode=1777,size=65536k");
	make_mount("mqueue", "dev/mqueue", "mqueue", F_NOSUID | F_NOEXEC | F_NODEV, NULL);
	umask(0);
	make_devices();
	umask(022);
}

static void mask_paths(void)
{
	static const char *const files[] = {
		"proc/kcore", "proc/keys", "proc/latency_stats", "proc/timer_list",
		"proc/timer_stats", "proc/sched_debug",
	};
	static const char *const dirs[] = { "proc/acpi", "proc/asound", "sys/firmware", "proc/scsi" };
	for (size_t i = 0; i < sizeof files / sizeof files[0]; i++)
		if (mount("dev/null", files[i], NULL, F_BIND, NULL) < 0 && errno != ENOENT)
			die(files[i]);
	for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++)
		if (mount("tmpfs", dirs[i], "tmpfs", F_RDONLY, NULL) < 0 && errno != ENOENT)
			die(dirs[i]);
}

static void set_read_only(const char *name)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };
	must(syscall(SYS_mount_setattr, AT_FDCWD, name, 0, &attr, sizeof attr), name);
}

static void protect_paths(void)
{
	static const char *const names[] = { "proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger" };
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		if (mount(names[i], names[i], NULL, F_BIND | F_REC, NULL) < 0) {
			if (errno != ENOENT)
				die(names[i]);
			continue;
		}
		set_read_only(names[i]);
	}
}

static void make_root(const char *rootfs, const char *group)
{
	make_mount(NULL, "/", NULL, F_REC | F_SLAVE, NULL);
	make_mount(rootfs, rootfs, NULL, F_BIND | F_REC, NULL);
	must(chdir(rootfs), rootfs);
	make_mount("proc", "proc", "proc", 0, NULL);
	make_dev();
	make_mount("sysfs", "sys", "sysfs", F_NOSUID | F_NOEXEC | F_NODEV | F_RDONLY, NULL);
	if (hierarchy_count > 0)
		mount_groups_v1(group);
	else
		mount_groups_v2();
	must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
	must(umount2(".", F_DETACH), "unmount the old root");
	mask_paths();
	protect_paths();
	set_read_only("/");
}

static void raise_loopback(void)
{
	struct ifreq req = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	must(fd, "socket");
	must(ioctl(fd, 0x8914 /* SIOCSIFFLAGS */, &req), "raise lo");
	close(fd);
}

static void set_capabilities(void)
{
	const uint64_t keep = 1ULL << CAP_AUDIT_WRITE | 1ULL << CAP_KILL | 1ULL << CAP_NET_BIND_SERVICE;
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = {
		{ .permitted = (uint32_t)keep, .effective = (uint32_t)keep },
		{ .permitted = keep >> 32, .effective = keep >> 32 },
	};
	for (int cap = 0; cap <= CAP_LAST_CAP; cap++)
		if (!(keep >> cap & 1) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 && errno != EINVAL)
			die("drop a bounding capability");
	must(syscall(SYS_capset, &header, data), "capset");
}

static void become_process(void)
{
	const struct rlimit files = { 1024, 1024 };
	must(syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL), "join a session keyring");
	must(sethostname("berth-bench", 11), "sethostname");
	must(setrlimit(RLIMIT_NOFILE, &files), "setrlimit");
	must(setgroups(0, NULL), "setgroups");
	must(syscall(SYS_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC), "close_range");
	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
	set_capabilities();
}

/* wait_for_start tells the parent that all is ready, then blocks in opening the fifo. */
static void wait_for_start(int ready, int fifo)
{
	char name[32];
	snprintf(name, sizeof name, "/proc/self/fd/%d", fifo);
	must(write(ready, "r", 1), "tell that the container is ready");
	close(ready);
	must(open(name, O_WRONLY | O_CLOEXEC), "open the fifo");
}

static void child(const char *rootfs, const char *group, int ready, int fifo, char **argv)
{
	static char *const env[] = {
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm", "HOME=/", NULL,
	};
	join_groups_v1(group);
	must(setsid(), "setsid");
	raise_loopback();
	make_root(rootfs, group);
	become_process();
	if (fifo >= 0)
		wait_for_start(ready, fifo);
	execve(argv[0], argv, env);
	die(argv[0]);
}

/* `runc spec` asks for a cgroup namespace where cgroup2 is the only hierarchy. */
static pid_t make_container(const char *rootfs, const char *group, int ready, int fifo, char **argv)
{
	int fd = make_groups(group);
	struct clone_args args = {
		.flags = CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNS,
		.exit_signal = SIGCHLD,
	};
	if (fd >= 0) {
		args.flags |= CLONE_NEWCGROUP | CLONE_INTO_CGROUP;
		args.cgroup = fd;
	}
	pid_t pid = syscall(SYS_clone3, &args, sizeof args);
	if (pid == 0)
		child(rootfs, group, ready, fifo, argv);
	must(pid, "clone3");
	return pid;
}

static int run(char **argv)
{
	int status;
	parse_groups(argv[0]);
	pid_t pid = make_container(argv[1], argv[2], -1, -1, argv + 3);
	must(waitpid(pid, &status, 0), "wait");
	remove_groups(argv[2]);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int create(char **argv)
{
	int ready[2];
	char byte, text[16];
	parse_groups(argv[0]);
	must(mkfifo(argv[3], 0600), argv[3]);
	int fifo = open(argv[3], O_PATH | O_CLOEXEC);
	must(fifo, argv[3]);
	must(pipe2(ready, O_CLOEXEC), "pipe");
	pid_t pid = make_container(argv[1], argv[2], ready[1], fifo, argv + 5);
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		die("the container died");
	int fd = open(argv[4], O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	must(fd, argv[4]);
	must(write(fd, text, snprintf(text, sizeof text, "%d", pid)), argv[4]);
	return 0;
}

/* start ends when the fifo's other end is closed, which execve does. */
static int start(char **argv)
{
	char byte;
	int fd = open(argv[0], O_RDONLY | O_CLOEXEC);
	must(fd, argv[0]);
	must(read(fd, &byte, 1), argv[0]);
	return 0;
}

static int delete(char **argv)
{
	parse_groups(argv[0]);
	remove_groups(argv[1]);
	must(unlink(argv[2]), argv[2]);
	must(unlink(argv[3]), argv[3]);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc >= 6 && strcmp(argv[1], "run") == 0)
		return run(argv + 2);
	if (argc >= 8 && strcmp(argv[1], "create") == 0)
		return create(argv + 2);
	if (argc == 3 && strcmp(argv[1], "start") == 0)
		return start(argv + 2);
	if (argc == 6 && strcmp(argv[1], "delete") == 0)
		return delete(argv + 2);
	dprintf(2, "usage: floor run|create|start|delete ...\n");
	return 125;
}
