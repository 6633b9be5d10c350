/* Random programs for the walker, under AddressSanitizer and UBSan.
 *
 *	main SEED COUNT PROGRAM...
 *
 * Each round takes one of the encoded programs or makes one up, damages it and
 * walks it. The walker's own code is the real one; what it asks of the world is
 * not: system calls that a program names return made-up results, the program
 * lies in a heap block of exactly its size instead of a mapping, fork only
 * pretends, and _exit comes back here. Files are only ever made below the
 * working directory, which has to be an empty one.
 *
 * A finding ends the run and prints its seed; SEED 1 then repeats it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

void __sanitizer_set_death_callback(void (*callback)(void));
void __sanitizer_set_report_fd(void *fd);

#define VOICE 1000 /* a copy of standard error out of the programs' reach */

static uint64_t seed, state;
static jmp_buf out;
static void *block;   /* the program of this round */
static void *shared;  /* its times */
static long exits[2]; /* rounds by exit status */
static long walked;   /* steps in all */

static uint32_t any(void) /* xorshift64* */
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (uint32_t)((state * 2685821657736338717u) >> 32);
}

static uint32_t below(uint32_t n)
{
	return n ? any() % n : 0;
}

static _Noreturn void leave(int status)
{
	exits[status != 0]++;
	longjmp(out, 1);
}

static pid_t pretend_fork(void)
{
	switch (below(8)) {
	case 0:
		errno = EAGAIN;
		return -1;
	case 1:
		return 4711;
	}
	return 0;
}

/* heap_map puts the program where the sanitizer sees both of its ends. */
static void *heap_map(void *at, size_t size, int prot, int flags, int fd, off_t offset)
{
	(void)at, (void)prot;
	if (flags & MAP_SHARED)
		return shared = malloc(size);
	block = malloc(size);
	if (block == NULL || pread(fd, block, size, offset) != (ssize_t)size)
		abort();
	return block;
}

/* No program may change the mode of what it did not make. */
static int pretend_fchmod(int fd, mode_t mode)
{
	(void)fd, (void)mode;
	errno = EPERM;
	return below(4) ? 0 : -1;
}

/* The runtime of a round is this process, which closes nothing. */
static int pretend_poll(struct pollfd *list, nfds_t count, int milliseconds)
{
	(void)list, (void)count, (void)milliseconds;
	errno = EINTR;
	return below(2) ? 0 : -1;
}

static long pretend(long number, ...);

#define NSENTER_NO_CONSTRUCTOR
#define mmap heap_map
#define fork pretend_fork
#define poll pretend_poll
#define fchmod pretend_fchmod
#define _exit leave
#define syscall pretend
#include "../nsenter.c"
#undef mmap
#undef syscall

/* on_stack tells a pointer of the walker's own from one out of a program. */
static int on_stack(long pointer)
{
	char here;
	long distance = pointer - (long)(uintptr_t)&here;

	return distance > 0 && distance < 1 << 16;
}

/* pretend makes the calls that the composites need and invents the result of
 * every other one. */
static long pretend(long number, ...)
{
	va_list list;

	walked++;
	va_start(list, number);
	long a = va_arg(list, long), b = va_arg(list, long), c = 0, d = 0;
	if (number == SYS_openat2) {
		c = va_arg(list, long);
		d = va_arg(list, long);
	}
	va_end(list);
	if ((number == SYS_openat2 && on_stack(c)) || (number == SYS_getcwd && on_stack(a)))
		return syscall(number, a, b, c, d);
	switch (below(4)) {
	case 0:
		errno = below(4) ? ENOENT : 1 + (int)below(133);
		return -1;
	case 1:
		return (long)below(16);
	}
	return 0;
}

/* feed puts what the runtime would say into the socket: mostly the right
 * answers to the program's synchronisation steps. */
static void feed(int fd)
{
	for (uint32_t at = 0; at < program->steps && at < 64; at++) {
		struct message m = { .kind = MESSAGE_GO, .id = (uint32_t)steps[at].arg[0] };
		if (steps[at].call != STEP_SYNC)
			continue;
		if (below(16) == 0)
			m.id = any();
		size_t size = below(16) ? sizeof(m) : below(sizeof(m));
		if (send(fd, &m, size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			return;
	}
}

/* hand_over sends the program as the runtime does, with as many descriptors as
 * the header says, one more or one fewer. */
static void hand_over(int fd, int memfd, uint32_t fds)
{
	struct message m = { .kind = below(32) ? MESSAGE_PROGRAM : any() };
	uint32_t count = fds + 1 + below(3) - 1;
	int list[FDS_PER_MESSAGE + 3];

	for (uint32_t done = 0; done == 0 || (done < count && done < 600);) {
		uint32_t n = count - done;
		if (n > FDS_PER_MESSAGE - below(2))
			n = FDS_PER_MESSAGE + (below(8) == 0);
		for (uint32_t i = 0; i < n; i++)
			list[i] = memfd;
		union {
			char buf[CMSG_SPACE(sizeof(list))];
			struct cmsghdr align;
		} control = { 0 };
		struct iovec iov = { .iov_base = &m, .iov_len = sizeof(m) };
		struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };
		if (n > 0) {
			h.msg_control = control.buf;
			h.msg_controllen = CMSG_SPACE(n * sizeof(int));
			struct cmsghdr *c = CMSG_FIRSTHDR(&h);
			c->cmsg_level = SOL_SOCKET;
			c->cmsg_type = SCM_RIGHTS;
			c->cmsg_len = CMSG_LEN(n * sizeof(int));
			memcpy(CMSG_DATA(c), list, n * sizeof(int));
		}
		if (sendmsg(fd, &h, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
			return;
		done += n ? n : 1;
		m.kind = below(32) ? MESSAGE_FDS : any();
	}
}

static uint64_t interesting(const struct header *h)
{
	static const uint64_t values[] = { 0, 1, 2, 3, 7, 8, 63, 255, 256, 4095, 4096, 0xffff, 0x7fffffff,
		0x80000000u, 0xffffffffu, UINT64_MAX, (uint64_t)-100, 1ull << 63, S_IFDIR, S_IFREG };

	switch (below(5)) {
	case 0:
		return h->data + below(10) - 5;
	case 1:
		return below(h->data);
	case 2:
		return below(16);
	case 3:
		return ((uint64_t)any() << 32) | any();
	}
	return values[below(sizeof(values) / sizeof(values[0]))];
}

static void damage_step(struct step *s, const struct header *h)
{
	switch (below(7)) {
	case 0:
		s->call = below(8) ? COMPOSITE + below(COMPOSITE_END - COMPOSITE) : any();
		break;
	case 1:
		s->result = (uint16_t)interesting(h);
		break;
	case 2:
		s->skip_success = (uint16_t)(below(2) ? below(4) : any());
		s->skip_accepted = (uint16_t)(below(2) ? below(4) : any());
		break;
	case 3:
		s->accept[below(ACCEPTS)] = (uint16_t)below(134);
		break;
	case 4:
		s->kind[below(ARGS)] = (uint8_t)(below(16) ? below(3) : any());
		break;
	default:
		s->arg[below(ARGS)] = interesting(h);
	}
}

static void damage(char *raw, size_t size)
{
	struct header *h = (struct header *)raw;
	struct step *s = (struct step *)(raw + sizeof(*h));
	struct relocation *r = (struct relocation *)(s + h->steps);
	struct header as_it_was = *h;

	for (uint32_t n = below(12); n > 0; n--) {
		switch (below(10)) {
		case 0:
			raw[below((uint32_t)size)] = (char)any();
			break;
		case 1:
			if (as_it_was.relocations && below(2))
				r[below(as_it_was.relocations)].at = (uint32_t)interesting(&as_it_was) & ~7u;
			else if (as_it_was.relocations)
				r[below(as_it_was.relocations)].to = (uint32_t)interesting(&as_it_was);
			break;
		case 2:
			if (below(4) == 0)
				((uint32_t *)raw)[below(sizeof(*h) / 4)] = (uint32_t)interesting(&as_it_was);
			break;
		default:
			if (as_it_was.steps)
				damage_step(&s[below(as_it_was.steps)], &as_it_was);
		}
	}
}

/* invent makes a program that passes the walker's checks: composites over
 * hostile strings, with plain calls between them. */
static size_t invent(char *raw)
{
	static const uint16_t usual[] = { ENOENT, EBADF, ENOTDIR, EEXIST, EXDEV, EISDIR, ELOOP, EACCES };
	enum { USUAL = sizeof(usual) / sizeof(usual[0]) };
	static const char text[] = "a/./..//bb/../link/dangling/x\0/\0..\0\0loop/\0.\0deep/deep/deep/deep\0abs/x\0file/x\0rel";
	struct header *h = (struct header *)raw;
	struct step *s = (struct step *)(raw + sizeof(*h));

	*h = (struct header){ .magic = PROGRAM_MAGIC, .steps = 1 + below(40), .data = 16 + below(6000),
		.fds = below(4), .timed = below(4) == 0 };
	memset(s, 0, h->steps * sizeof(*s));
	char *d = (char *)(s + h->steps);
	for (uint32_t i = 0, from = any(); i < h->data; i++) {
		from += below(16) ? 1 : any() % sizeof(text);
		d[i] = below(128) ? text[from % sizeof(text)] : (char)any();
	}
	d[h->data - 1] = 0;
	for (uint32_t i = 0; i < h->steps; i++) {
		s[i].call = below(6) ? COMPOSITE + below(COMPOSITE_END - COMPOSITE) : below(450);
		s[i].result = (uint16_t)below(8);
		/* What composites and made-up calls fail with, so that programs go on. */
		for (int j = 0; j < ACCEPTS; j++)
			s[i].accept[j] = (uint16_t)(below(8) ? usual[(i + (uint32_t)j) % USUAL] : 1 + below(133));
		for (int j = 0; j < ARGS; j++) {
			s[i].kind[j] = (uint8_t)below(3);
			s[i].arg[j] = below(s[i].kind[j] == ARG_DATA ? h->data - 4 : 8);
		}
		if (s[i].call == STEP_MAKE) {
			s[i].kind[0] = ARG_NUMBER;
			s[i].arg[0] = (uint64_t)AT_FDCWD;
			s[i].kind[1] = ARG_DATA;
			s[i].arg[1] = below(h->data);
			s[i].kind[3] = ARG_NUMBER;
			s[i].arg[3] = below(2) ? S_IFDIR : S_IFREG;
		}
		if (s[i].call == STEP_FIND || s[i].call == STEP_STORE) {
			s[i].kind[0] = ARG_DATA;
			s[i].arg[0] = below(h->data - 4);
		}
		if (s[i].call == STEP_REPORT && below(8))
			s[i].call = STEP_INSIDE;
	}
	return sizeof(*h) + h->steps * sizeof(*s) + h->data;
}

/* scenery is what paths of invented programs run into. Rounds make files too,
 * so it is cleared by the caller who made the directory. */
static void scenery(void)
{
	mkdir("a", 0755);
	close(open("file", O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
	if (symlink("nowhere/at/all", "link") || symlink("loop", "loop") || symlink("/deep/er", "abs") ||
	    symlink("../../../../etc", "rel"))
		return;
}

/* choose fills raw with the program of this round and returns its size. */
static size_t choose(char *raw, size_t max, const char *given, size_t size)
{
	if (given == NULL || size > max || below(3) == 0)
		return invent(raw);
	memcpy(raw, given, size);
	damage(raw, size);
	return below(64) ? size : below((uint32_t)size + 1);
}

static _Noreturn void run(int memfd, int parent, uint32_t fds)
{
	if (below(4) == 0) { /* the whole way for some rounds */
		hand_over(parent, memfd, fds);
		shutdown(parent, SHUT_WR);
		receive();
	} else if (!load(memfd)) {
		leave(1);
	} else {
		feed(parent);
		shutdown(parent, SHUT_WR);
	}
	walk();
}

static void round_of(const char *given, size_t given_size)
{
	static _Alignas(16) char raw[1 << 20];
	int pair[2], memfd = memfd_create("program", MFD_CLOEXEC);
	size_t size = choose(raw, sizeof(raw), given, given_size);
	struct header *h = (struct header *)raw;
	uint32_t fds = size >= sizeof(*h) ? h->fds % 600 + (h->timed != 0) : 0;

	if (memfd < 0 || write(memfd, raw, size) != (ssize_t)size ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		abort();
	channel = report = pair[0];
	if (setjmp(out) == 0)
		run(memfd, pair[1], fds);
	free(block);
	free(shared);
	block = shared = NULL;
	times = NULL;
	memset(reg, 0, sizeof(reg));
	close_range(3, VOICE - 1, 0);
}

static void tell(void)
{
	dprintf(VOICE, "seed %llu\n", (unsigned long long)seed);
}

static char *slurp(const char *name, size_t *size)
{
	FILE *f = fopen(name, "re");
	char *raw = malloc(1 << 20);

	if (f == NULL || raw == NULL)
		abort();
	*size = fread(raw, 1, 1 << 20, f);
	fclose(f);
	return raw;
}

int main(int argc, char **argv)
{
	static char *given[64];
	static size_t sizes[64];
	int n = 0;

	if (argc < 3)
		return 2;
	for (; n < argc - 3 && n < 64; n++)
		given[n] = slurp(argv[3 + n], &sizes[n]);
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (dup3(2, VOICE, O_CLOEXEC) < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0)
		return 2;
	__sanitizer_set_report_fd((void *)VOICE);
	__sanitizer_set_death_callback(tell);
	scenery();
	seed = strtoull(argv[1], NULL, 10);
	for (long rounds = strtol(argv[2], NULL, 10); rounds > 0; rounds--, seed++) {
		state = seed * 0x9E3779B97F4A7C15u + 1;
		int i = n ? (int)below((uint32_t)n) : 0;
		round_of(n ? given[i] : NULL, n ? sizes[i] : 0);
	}
	dprintf(VOICE, "%ld ended well, %ld failed, %ld calls\n", exits[0], exits[1], walked);
	return 0;
}
