#define _GNU_SOURCE
#include "prefault.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14; older kernels refuse it, and nothing is lost */
#endif

#define PAGE ((uintptr_t)4096)

static void populate(uintptr_t from, uintptr_t to)
{
	from &= ~(PAGE - 1);
	madvise((void *)from, to - from, MADV_POPULATE_WRITE);
}

void prefault_heap(void *first, size_t length)
{
	populate((uintptr_t)first, (uintptr_t)first + length);
}

extern char __data_start[], _end[];

/* Not in a container's process: there memory counts for more. */
__attribute__((constructor)) static void prefault_data(void)
{
	if (getenv("_BERTH_NSENTER") == NULL)
		populate((uintptr_t)__data_start, (uintptr_t)_end);
}
