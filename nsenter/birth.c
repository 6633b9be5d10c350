/* The birth of a preamble: the executable is sealed, and for a command that is
 * certain to need one the preamble is born before the Go runtime starts, so
 * that both start at once. */
#define _GNU_SOURCE
#include "birth.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/mount.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef MFD_EXEC
#define MFD_EXEC 0x10U /* without it, vm.memfd_noexec makes it not executable */
#endif

#define ENVIRONMENT "_BERTH_NSENTER"
#define CHANNEL 3 /* of an early preamble: it preserves no descriptor but stdio */

/* overlay opens path on a read-only overlay of its directory. That has no upper
 * directory, so nobody can ever make it writable. */
static int overlay(const char *path)
{
	char lower[PATH_MAX + sizeof(":/sys")], directory[PATH_MAX], name[PATH_MAX];

	strcpy(directory, path);
	strcpy(name, path);
	/* Without an upper directory overlayfs asks for two lower ones; nothing of
	 * the second is ever opened. */
	strcpy(lower, dirname(directory));
	strcat(lower, ":/sys");
	int fs = (int)syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC);
	if (fs < 0)
		return -errno;
	int fd = -1, mount = -1;
	if (syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "lowerdir", lower, 0) == 0 &&
	    syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		mount = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC,
				     MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOSUID);
	if (mount >= 0)
		fd = openat(mount, basename(name), O_PATH | O_CLOEXEC | O_NOFOLLOW);
	int err = errno;
	if (mount >= 0)
		close(mount);
	close(fs);
	return fd < 0 ? -err : fd;
}

/* in_memory is a copy that nobody can change. */
static int in_memory(void)
{
	int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), err;
	int fd = (int)syscall(SYS_memfd_create, "berth", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
	if (fd < 0 && errno == EINVAL) /* before Linux 6.3, when all were executable */
		fd = (int)syscall(SYS_memfd_create, "berth", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct stat st;

	if (self < 0 || fd < 0 || fstat(self, &st) < 0)
		goto failed;
	while (lseek(self, 0, SEEK_CUR) < st.st_size) {
		ssize_t n = sendfile(fd, self, NULL, (size_t)st.st_size);
		if (n == 0)
			errno = EIO; /* it was cut short meanwhile */
		if (n <= 0 && errno != EINTR)
			goto failed;
	}
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) < 0)
		goto failed;
	close(self);
	return fd;
failed:
	err = errno;
	if (self >= 0)
		close(self);
	if (fd >= 0)
		close(fd);
	return -err;
}

int nsenter_seal(int may_mount)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (n < 0)
		return -errno;
	path[n] = 0;
	if (may_mount && strpbrk(path, ":\\,") == NULL) {
		int fd = overlay(path);
		if (fd >= 0)
			return fd;
	}
	return in_memory();
}

static struct early_child early = { .pid = -1, .socket = -1 };

struct early_child nsenter_early(void)
{
	struct early_child child = early;

	early.pid = early.socket = -1;
	return child;
}

/* become_preamble is what the child does; whatever fails, the runtime sees the
 * end of the conversation. */
static _Noreturn void become_preamble(int channel)
{
	char *argv[] = { "berth", "init", NULL }, *env[] = { ENVIRONMENT "=3", NULL };

	if (channel == CHANNEL ? fcntl(channel, F_SETFD, 0) < 0 : dup2(channel, CHANNEL) < 0)
		_exit(1);
	int exe = nsenter_seal(1);
	if (exe >= 0)
		syscall(SYS_execveat, exe, "", argv, env, AT_EMPTY_PATH);
	_exit(1);
}

enum { PREAMBLE = 1, TRACE = 2 };

/* is_trace tells the option --trace, as the command line may have it. */
static int is_trace(const char *arg)
{
	size_t dashes = strspn(arg, "-");

	if (dashes < 1 || dashes > 2 || strncmp(arg + dashes, "trace", 5) != 0)
		return 0;
	return arg[dashes + 5] == 0 || arg[dashes + 5] == '=';
}

/* wanted tells whether the command line is one that starts a process in a
 * container, and whether it is to be traced. One that only looks like the first
 * costs a process that ends with the command, one like the second a look at the
 * clock. musl gives constructors no arguments. */
static int wanted(void)
{
	char line[4096];
	int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC), what = 0;
	ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return 0;
	line[n] = 0;
	for (char *arg = line; arg < line + n; arg += strlen(arg) + 1) {
		if (!strcmp(arg, "exec") || !strcmp(arg, "run") || !strcmp(arg, "create"))
			what |= PREAMBLE;
		if (is_trace(arg))
			what |= TRACE;
	}
	return what;
}

static void bear(void)
{
	int pair[2], on = 1;

	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			return; /* the Go runtime opens /dev/null there */
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return;
	if (setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) == 0)
		early.pid = fork();
	if (early.pid == 0)
		become_preamble(pair[1]);
	close(pair[1]);
	early.socket = pair[0];
	if (early.pid < 0)
		close(pair[0]);
}

struct start nsenter_start;

static int64_t time_of(clockid_t clock)
{
	struct timespec now;

	return clock_gettime(clock, &now) < 0 ? 0 : (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* begin comes before prefault's constructor, which binds the process to one
 * processor. */
__attribute__((constructor(101))) static void begin(void)
{
	int what = getenv(ENVIRONMENT) == NULL ? wanted() : 0;

	if (what & TRACE) {
		nsenter_start.begun = time_of(CLOCK_REALTIME);
		nsenter_start.used = time_of(CLOCK_PROCESS_CPUTIME_ID);
	}
	nsenter_start.born = nsenter_start.begun;
	if (what & PREAMBLE) {
		bear();
		if (what & TRACE)
			nsenter_start.born = time_of(CLOCK_REALTIME);
	}
}
