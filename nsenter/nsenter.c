/* The preamble and the walker: what Berth runs inside a container.
 *
 * enter() is a constructor, so it runs before the Go runtime starts. It does
 * nothing unless the environment says that this process is a container's; then
 * it receives a program (step.h) over a SOCK_SEQPACKET socket and executes it
 * step by step. It never returns to Go. No allocation, no parser, no loop but
 * over the steps. */
#define _GNU_SOURCE
#include "step.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define ENVIRONMENT "_BERTH_NSENTER"
#define LINK_LIMIT 40 /* as in the kernel's path walk */
/* A path with ".." in it is given up with EAGAIN where anything on the machine
 * is renamed or mounted during the walk (openat2(2)). A container that does
 * nothing else must not keep others from starting: of a path of forty ".." one
 * try in some thousands succeeds then, of which each takes microseconds. */
#define WALK_TRIES 1000000

/* What is looked at takes milliseconds. */
#define LINGER_MS 10000

static int channel = -1; /* the socket, until STEP_REPORT */
static int report = -1;  /* where failures go: the socket, then exec.fifo */

static uint64_t reg[REGISTERS];

static const struct header *program;
static struct step *steps;
static char *data;
static const char *data_end; /* its last byte, which is 0 */

/* When each step began, in nanoseconds since 1970: memory that the runtime sees,
 * too. NULL unless the command is traced. */
static int64_t *times;

static _Noreturn void quit(void)
{
	_exit(1);
}

static void retry_write(int fd, const void *buf, size_t len)
{
	while (write(fd, buf, len) < 0 && errno == EINTR)
		;
}

/* linger keeps this process's root for a runtime that looks into it for why the
 * program was not executed, until that closes its end. A runtime that dies does,
 * too; a filter may forbid poll, and then nothing is looked at. */
static void linger(void)
{
	struct pollfd end = { .fd = report };

	while (report >= 0 && poll(&end, 1, LINGER_MS) < 0 && errno == EINTR)
		;
}

/* say_failed reports a failure. */
static void say_failed(uint32_t step, int err, const char *text, size_t length)
{
	struct message m = { .kind = MESSAGE_FAILED, .id = step, .value = err };

	if (length > sizeof(m.text))
		length = sizeof(m.text);
	if (length > 0)
		memcpy(m.text, text, length);
	m.length = (uint32_t)length;
	retry_write(report, &m, sizeof(m));
}

static _Noreturn void fail(uint32_t step, int err)
{
	say_failed(step, err, NULL, 0);
	quit();
}

/* say sends one message, with fd attached unless it is -1. */
static void say(uint32_t kind, uint32_t id, int32_t value, int fd)
{
	struct message m = { .kind = kind, .id = id, .value = value };
	struct iovec iov = { .iov_base = &m, .iov_len = sizeof(m) };
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { 0 };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (fd >= 0) {
		h.msg_control = control.buf;
		h.msg_controllen = sizeof(control.buf);
		struct cmsghdr *c = CMSG_FIRSTHDR(&h);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &fd, sizeof(int));
	}
	while (sendmsg(channel, &h, MSG_NOSIGNAL) < 0)
		if (errno != EINTR)
			quit(); /* the runtime is gone: nobody wants this container */
}

/* hear waits for one message of the parent and returns how many descriptors
 * came with it. A closed socket means that the runtime gave up or died. */
static size_t hear(struct message *m, int *fds, size_t max)
{
	struct iovec iov = { .iov_base = m, .iov_len = sizeof(*m) };
	static union {
		char buf[CMSG_SPACE(sizeof(int) * (FDS_PER_MESSAGE + 1))];
		struct cmsghdr align;
	} control;
	struct msghdr h = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buf,
		.msg_controllen = sizeof(control.buf),
	};
	ssize_t n;

	while ((n = recvmsg(channel, &h, MSG_CMSG_CLOEXEC)) < 0)
		if (errno != EINTR)
			quit();
	/* The limit on descriptors is inherited, and so the runtime's mistake. */
	if (h.msg_flags & MSG_CTRUNC)
		fail(REFUSED, EMFILE);
	if (n != sizeof(*m) || (h.msg_flags & MSG_TRUNC))
		quit();

	size_t got = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&h); c; c = CMSG_NXTHDR(&h, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		size_t here = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		if (here == 0 || here > max - got)
			quit();
		memcpy(fds + got, CMSG_DATA(c), here * sizeof(int));
		got += here;
	}
	return got;
}

static long step_sync(uint32_t id)
{
	struct message m;

	say(MESSAGE_SYNC, id, 0, -1);
	if (hear(&m, NULL, 0) != 0 || m.kind != MESSAGE_GO || m.id != id)
		quit();
	return 0;
}

/* fork_into has the child be born in the cgroup2 directory. glibc's cached
 * thread id is not renewed then, which nothing here asks for. */
static pid_t fork_into(int group)
{
	struct clone_args args = {
		.flags = CLONE_INTO_CGROUP,
		.exit_signal = SIGCHLD,
		.cgroup = (uint64_t)group,
	};

	return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
}

/* enter_group moves this process into the group. */
static int enter_group(int group)
{
	int fd = openat(group, "cgroup.procs", O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	int result = fd < 0 || write(fd, "0", 1) < 0 ? -1 : 0;

	if (fd >= 0)
		close(fd);
	return result;
}

/* group is 0 where the child stays in its parent's groups. */
static long step_fork(int group)
{
	pid_t pid = group > 0 ? fork_into(group) : fork();

	/* Container engines' filters answer clone3 so (berth in a container). */
	if (pid < 0 && group > 0 && errno == ENOSYS) {
		if (enter_group(group) < 0)
			return -errno;
		pid = fork();
	}
	if (pid < 0)
		return -errno;
	if (pid > 0) {
		say(MESSAGE_CHILD, 0, pid, -1);
		_exit(0);
	}
	/* fork keeps PR_SET_DUMPABLE; a signal mask or handler was never set. */
	return 0;
}

static long in_root(int dir, const char *path, uint64_t flags, uint64_t resolve)
{
	struct open_how how = {
		.flags = flags | O_CLOEXEC,
		.resolve = resolve | RESOLVE_NO_MAGICLINKS,
	};
	long fd;

	for (int tries = 0; tries < WALK_TRIES; tries++) {
		fd = syscall(SYS_openat2, dir, path, &how, sizeof(how));
		if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
			break;
	}
	return fd < 0 ? -errno : fd;
}

/* create makes one missing component below parent, without following it. */
static long create(int parent, const char *name, mode_t mode, int file)
{
	if (!file)
		return mkdirat(parent, name, mode) < 0 ? -errno : 0;
	int fd = openat(parent, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_WRONLY, mode);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

/* splice_link replaces path[start..end) by the target of the dangling link
 * name in parent, so that what it points to is made inside the root. */
static long splice_link(char *path, size_t start, size_t end, int parent, const char *name)
{
	char out[PATH_MAX];
	size_t rest = strlen(path + end) + 1;
	ssize_t n = readlinkat(parent, name, out, sizeof(out));

	/* No link, or gone: somebody else made or removed it meanwhile. */
	if (n < 0 && (errno == EINVAL || errno == ENOENT))
		return 0;
	if (n <= 0)
		return n < 0 ? -errno : -ENOENT;
	size_t prefix = out[0] == '/' ? 0 : start;
	if (prefix + (size_t)n + rest > PATH_MAX)
		return -ENAMETOOLONG;
	memmove(path + prefix + n, path + end, rest);
	memcpy(path + prefix, out, (size_t)n);
	return 0;
}

/* step_make opens path inside root and makes what is missing: directories, and
 * a file at the end where type (or what like is) is not a directory. Every
 * prefix is resolved by the kernel inside the root, so a component that an
 * image or a racing process made a symlink never leads outside
 * (CVE-2021-30465, CVE-2024-45310). */
static long step_make(int root, const char *given, mode_t mode, uint64_t type, int like)
{
	char path[PATH_MAX], name[NAME_MAX + 1];
	size_t length = strnlen(given, PATH_MAX);
	struct stat st;

	if (type == 0) {
		if (fstat(like, &st) < 0)
			return -errno;
		type = st.st_mode & S_IFMT;
	}
	long fd = in_root(root, given, O_PATH, RESOLVE_IN_ROOT);
	if (fd != -ENOENT)
		return fd;
	if (length >= PATH_MAX)
		return -ENAMETOOLONG;
	memcpy(path, given, length + 1);

	int links = 0;
	size_t end = 0;
	int parent = (int)in_root(root, ".", O_PATH | O_DIRECTORY, RESOLVE_IN_ROOT);
	if (parent < 0)
		return parent;
	for (;;) {
		size_t start = end + strspn(path + end, "/");
		if (path[start] == 0)
			return parent;
		end = start + strcspn(path + start, "/");
		int last = path[end + strspn(path + end, "/")] == 0;
		int file = last && type != S_IFDIR;

		char kept = path[end];
		path[end] = 0;
		fd = in_root(root, path, last ? O_PATH : O_PATH | O_DIRECTORY, RESOLVE_IN_ROOT);
		if (fd == -ENOENT && end - start <= NAME_MAX) {
			memcpy(name, path + start, end - start + 1);
			fd = create(parent, name, last ? mode : 0755, file);
			if (fd == 0)
				fd = in_root(parent, name, O_PATH, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
			path[end] = kept;
			if (fd == -EEXIST && ++links <= LINK_LIMIT) {
				fd = splice_link(path, start, end, parent, name);
				close(parent);
				if (fd < 0)
					return fd;
				end = 0;
				parent = (int)in_root(root, ".", O_PATH | O_DIRECTORY, RESOLVE_IN_ROOT);
				if (parent < 0)
					return parent;
				continue;
			}
		}
		path[end] = kept;
		close(parent);
		if (fd < 0)
			return fd;
		parent = (int)fd;
	}
}

/* step_check holds an inode to what it must be, so that an image cannot pass
 * off another file as /dev/null, ptmx or procfs (CVE-2025-31133, -52565). */
static long step_check(int fd, uint64_t type, uint64_t rdev, uint64_t magic, uint64_t ino)
{
	struct stat st;
	struct statfs fs;

	if (fstat(fd, &st) < 0 || fstatfs(fd, &fs) < 0)
		return -errno;
	if ((type && (st.st_mode & S_IFMT) != type) ||
	    (rdev && st.st_rdev != rdev) ||
	    (magic && (uint64_t)fs.f_type != magic) ||
	    (ino && st.st_ino != ino))
		return -EXDEV;
	return 0;
}

/* getcwd(2) starts with "(unreachable)" where the directory is not below the
 * root (CVE-2024-21626). */
static long step_inside(void)
{
	char path[PATH_MAX];

	if (syscall(SYS_getcwd, path, sizeof(path)) < 0)
		return -errno;
	return path[0] == '/' ? 0 : -EXDEV;
}

/* step_find picks the first candidate that the process may execute, as
 * execvp(3) does; EACCES where there is one that it may not. */
static long step_find(const char *candidate, uint64_t count, uint64_t *address)
{
	long err = -ENOENT;
	struct stat st;

	for (; count > 0 && candidate <= data_end; count--, candidate += strlen(candidate) + 1) {
		if (fstatat(AT_FDCWD, candidate, &st, 0) < 0) {
			if (errno != ENOENT && (errno != ENOTDIR || err == -ENOENT))
				err = -errno;
			continue;
		}
		if (S_ISDIR(st.st_mode)) {
			err = -EISDIR;
			continue;
		}
		if (faccessat(AT_FDCWD, candidate, X_OK, AT_EACCESS) == 0) {
			*address = (uintptr_t)candidate;
			return 0;
		}
		err = -errno;
	}
	return err;
}

/* step_like_mode opens the mount's root for fchmod(2): a descriptor of
 * fsmount(2) is an O_PATH one. */
static long step_like_mode(int mount, int like)
{
	struct stat st;
	long result = 0;

	if (fstat(like, &st) < 0)
		return -errno;
	int fd = openat(mount, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fchmod(fd, st.st_mode & 07777) < 0)
		result = -errno;
	close(fd);
	return result;
}

static long step_report(int fd)
{
	close(channel);
	channel = -1;
	report = fd;
	return 0;
}

static long composite(const struct step *s, const uint64_t *a, uint64_t *value)
{
	int fd = (int)a[0];

	switch (s->call) {
	case STEP_SYNC:
		return step_sync((uint32_t)a[0]);
	case STEP_FORK:
		return step_fork(fd);
	case STEP_SEND_FD:
		say(MESSAGE_FD, (uint32_t)a[0], 0, (int)a[1]);
		return 0;
	case STEP_MAKE:
		return step_make(fd, (const char *)a[1], (mode_t)a[2], a[3], (int)a[4]);
	case STEP_CHECK:
		return step_check(fd, a[1], a[2], a[3], a[4]);
	case STEP_INSIDE:
		return step_inside();
	case STEP_FIND:
		return step_find((const char *)a[0], a[1], value);
	case STEP_STORE:
		memcpy((void *)a[0], &(uint32_t){ (uint32_t)a[1] }, sizeof(uint32_t));
		return 0;
	case STEP_REPORT:
		return step_report(fd);
	case STEP_LIKE_MODE:
		return step_like_mode(fd, (int)a[1]);
	}
	return -ENOSYS;
}

static int accepted(const struct step *s, long err)
{
	for (int i = 0; i < ACCEPTS; i++)
		if (s->accept[i] && s->accept[i] == err)
			return 1;
	return 0;
}

/* complaint reads what the kernel itself says about a mount context: its last
 * error. A message that does not fit is dropped by the kernel, so there is room
 * for more than is passed on. The context keeps eight of them (fs/fs_context.c). */
static size_t complaint(int context, char *text, size_t size)
{
	size_t length = 0;

	for (int i = 0; i < 8; i++) {
		char one[2 * PATH_MAX];
		struct pollfd ready = { .fd = context, .events = POLLIN };
		/* A context always is; a step with another file must not wait. */
		if (poll(&ready, 1, 0) != 1 || !(ready.revents & POLLIN))
			break;
		ssize_t n = read(context, one, sizeof(one));
		if (n < 0)
			break;
		if (n == 0 || (length > 0 && one[0] != 'e'))
			continue;
		length = (size_t)n < size ? (size_t)n : size;
		memcpy(text, one, length);
	}
	return length;
}

static _Noreturn void fail_step(uint32_t at, const struct step *s, const uint64_t *a, int err)
{
	char text[TEXT_MAX];
	size_t length = 0;

	if (s->call == SYS_fsconfig || s->call == SYS_fsmount)
		length = complaint((int)a[0], text, sizeof(text));
	say_failed(at, err, text, length);
	if (s->call == STEP_FIND || s->call == SYS_execve)
		linger();
	quit();
}

static void resolve(const struct step *s, uint64_t *a)
{
	for (int i = 0; i < ARGS; i++) {
		a[i] = s->arg[i];
		if (s->kind[i] == ARG_DATA)
			a[i] += (uintptr_t)data;
		else if (s->kind[i] == ARG_REGISTER)
			a[i] = reg[s->arg[i]];
	}
}

static long system_call(const struct step *s, const uint64_t *a)
{
	long result;

	for (int tries = 0; tries < WALK_TRIES; tries++) {
		result = syscall((long)s->call, a[0], a[1], a[2], a[3], a[4], a[5]);
		if (result >= 0)
			return result;
		if (s->call != SYS_openat2 || errno != EAGAIN)
			break;
	}
	return -errno;
}

/* note_time: of this clock no time namespace has an offset. */
static void note_time(uint32_t at)
{
	struct timespec now;

	if (times && clock_gettime(CLOCK_REALTIME, &now) == 0)
		times[at] = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* walk executes the steps. It only ever moves forward, so it ends. */
static _Noreturn void walk(void)
{
	uint64_t a[ARGS];

	for (uint32_t at = 0; at < program->steps; at++) {
		const struct step *s = &steps[at];
		uint64_t value = 0;
		long result;

		note_time(at);
		resolve(s, a);
		if (s->call >= COMPOSITE) {
			result = composite(s, a, &value);
		} else {
			result = system_call(s, a);
		}
		/* A profile need not allow to ask for the time. */
		if (s->call == SYS_seccomp)
			times = NULL;
		if (result < 0) {
			if (!accepted(s, -result))
				fail_step(at, s, a, (int)-result);
			at += s->skip_accepted;
			continue;
		}
		if (s->result)
			reg[s->result] = s->call == STEP_FIND ? value : (uint64_t)result;
		at += s->skip_success;
	}
	/* A program ends in execve or exit_group. */
	fail(program->steps, ENOEXEC);
}

/* in_data tells whether argument i is a place in data with size bytes before
 * the final zero byte. */
static int in_data(const struct step *s, int i, uint64_t size)
{
	return s->kind[i] == ARG_DATA && s->arg[i] + size < program->data;
}

/* valid_composite checks what the walker itself dereferences. */
static int valid_composite(const struct step *s)
{
	switch (s->call) {
	case STEP_MAKE:
		return in_data(s, 1, 0);
	case STEP_FIND:
		return in_data(s, 0, 0);
	case STEP_STORE:
		return in_data(s, 0, sizeof(uint32_t));
	}
	return 1;
}

/* valid checks every offset and register once, before the first step. */
static int valid(size_t size)
{
	uint64_t need = sizeof(struct header) + (uint64_t)program->steps * sizeof(struct step) +
			(uint64_t)program->relocations * sizeof(struct relocation) + program->data;

	if (program->magic != PROGRAM_MAGIC || need != size || program->fds >= REGISTERS)
		return 0;
	/* Every string in data ends before this byte. */
	if (program->data == 0 || ((const char *)program)[size - 1] != 0)
		return 0;
	for (uint32_t i = 0; i < program->steps; i++) {
		const struct step *s = &steps[i];
		if (s->call >= COMPOSITE_END || s->result >= REGISTERS)
			return 0;
		for (int j = 0; j < ARGS; j++) {
			if (s->kind[j] > ARG_REGISTER)
				return 0;
			if (s->kind[j] == ARG_DATA && s->arg[j] >= program->data)
				return 0;
			if (s->kind[j] == ARG_REGISTER && s->arg[j] >= REGISTERS)
				return 0;
		}
		if (!valid_composite(s))
			return 0;
	}
	return 1;
}

static int relocate(const struct relocation *r)
{
	for (uint32_t i = 0; i < program->relocations; i++) {
		if (r[i].at % 8 || (uint64_t)r[i].at + 8 >= program->data || r[i].to >= program->data)
			return 0;
		uint64_t address = (uintptr_t)(data + r[i].to);
		memcpy(data + r[i].at, &address, sizeof(address));
	}
	return 1;
}

/* load maps the program privately, so that relocations stay ours. */
static int load(int fd)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || st.st_size < (off_t)sizeof(struct header))
		return 0;
	size_t size = (size_t)st.st_size;
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	if (at == MAP_FAILED)
		return 0;
	close(fd);
	program = at;
	steps = (struct step *)((char *)at + sizeof(struct header));
	if (program->steps > size / sizeof(struct step) ||
	    program->relocations > size / sizeof(struct relocation))
		return 0;
	struct relocation *r = (struct relocation *)(steps + program->steps);
	data = (char *)(r + program->relocations);
	data_end = (char *)at + size - 1;
	return valid(size) && relocate(r);
}

/* share maps the memory for the times. */
static int share(int fd)
{
	size_t size = program->steps * sizeof(*times);
	struct stat st;

	if (fstat(fd, &st) < 0 || st.st_size < (off_t)size || size == 0)
		return 0;
	void *at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (at == MAP_FAILED)
		return 0;
	times = at;
	return 1;
}

static void receive(void)
{
	int fds[FDS_PER_MESSAGE + 1];
	struct message m;
	size_t have = hear(&m, fds, FDS_PER_MESSAGE + 1);

	if (m.kind != MESSAGE_PROGRAM || have == 0 || !load(fds[0]))
		fail(REFUSED, EBADMSG);
	size_t stored = 0, from = 1;
	if (program->timed && (have == from || !share(fds[from++])))
		fail(REFUSED, EBADMSG);
	for (;;) {
		for (; from < have && stored < program->fds; from++)
			reg[++stored] = (uint64_t)fds[from];
		if (stored >= program->fds)
			return;
		have = hear(&m, fds, FDS_PER_MESSAGE);
		from = 0;
		if (m.kind != MESSAGE_FDS || have == 0)
			fail(REFUSED, EBADMSG);
	}
}

#ifndef NSENTER_NO_CONSTRUCTOR /* sanitize/main.c calls what it tests itself */
__attribute__((constructor)) static void enter(void)
{
	const char *given = getenv(ENVIRONMENT);

	if (given == NULL)
		return;
	channel = report = (int)strtol(given, NULL, 10);
	/* Nobody else may look into this process while it holds host
	 * descriptors, and it keeps only stdio, preserved ones and its socket:
	 * before the first foreign byte is read (CVE-2016-9962, CVE-2024-21626). */
	if (prctl(PR_SET_DUMPABLE, 0) < 0 || channel < 3 ||
	    fcntl(channel, F_SETFD, FD_CLOEXEC) < 0)
		quit();
	if (syscall(SYS_close_range, channel + 1, ~0U, 0) < 0)
		fail(REFUSED, errno); /* a filter around the runtime */
	receive();
	walk();
}
#endif
