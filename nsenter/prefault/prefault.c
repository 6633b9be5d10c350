#define _GNU_SOURCE
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include "prefault.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14; older kernels refuse it, and nothing is lost */
#endif

#define PAGE ((uintptr_t)4096)
#define ARENA ((size_t)4 << 20) /* what the Go heap grows by */

#define CHUNK ((size_t)256 << 10) /* what its other data grows by; larger mappings are sparse */

/* What commands touch of them; `run` some more. */
#define HEAP ((size_t)1000 << 10)
#define OTHER ((size_t)64 << 10)

/* By how many nanoseconds the runtime's threads may sleep longer. Its monitor asks for 20 microseconds at a time; each time it
 * would interrupt the one processor that there is work on, up to fifty times in a command of a few milliseconds. */
#define SLACK 1000000UL

static int wanted;

static void populate(void *at, size_t length)
{
	uintptr_t from = (uintptr_t)at & ~(PAGE - 1);

	madvise((void *)from, (uintptr_t)at + length - from, MADV_POPULATE_WRITE);
}

#ifdef __GLIBC__
extern char __data_start[];
#define DATA __data_start
#else
extern char __bss_start[]; /* ld itself has no name for where .data begins */
#define DATA __bss_start
#endif
extern char _end[];

static cpu_set_t processors;
static int pinned;
static int slack; /* that the process was started with, in nanoseconds */

/* One processor until main: the Go runtime starts threads for the others, and
 * waking those costs more than they could do in the time. */
static void pin(void)
{
	cpu_set_t one;
	int here = sched_getcpu();

	if (here < 0 || here >= CPU_SETSIZE || sched_getaffinity(0, sizeof(processors), &processors) < 0)
		return; /* more processors than the set can hold */
	CPU_ZERO(&one);
	CPU_SET(here, &one);
	pinned = sched_setaffinity(0, sizeof(one), &one) == 0;
}

int prefault_undo(void)
{
	if (slack > 0)
		prctl(PR_SET_TIMERSLACK, (unsigned long)slack);
	return pinned ? sched_setaffinity(0, sizeof(processors), &processors) : 0;
}

/* Not in a container's process: there memory counts for more. */
__attribute__((constructor)) static void prefault_data(void)
{
	if (getenv("_BERTH_NSENTER") != NULL)
		return;
	wanted = 1;
	pin();
	slack = prctl(PR_GET_TIMERSLACK);
	if (slack > 0)
		prctl(PR_SET_TIMERSLACK, SLACK);
	populate(DATA, (size_t)(_end - DATA));
#ifdef __GLIBC__
	mallopt(M_ARENA_MAX, 1); /* threads need no heap of 64 MiB each */
#endif
}

void *__real_mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset);

/* The linker leads the Go runtime's mmap here (cgo calls the C library's). */
void *__wrap_mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset)
{
	void *got = __real_mmap(at, length, protection, flags, fd, offset);

	if (!wanted || got == MAP_FAILED || !(flags & MAP_ANONYMOUS) || protection != (PROT_READ | PROT_WRITE))
		return got;
	if (flags & MAP_FIXED && length >= ARENA) {
		populate(got, HEAP);
		wanted = 0; /* the runtime has set up all else by now but its threads */
	} else if (length <= CHUNK) {
		populate(got, length < OTHER ? length : OTHER);
	}
	return got;
}
