/* Signal handlers that write the signal's number to a pipe. Go's own
 * signal.Notify hands every signal to a goroutine and back, which is two
 * thread switches for each of 60 signals on every container start. */
#include "signals.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

static atomic_int pipe_fd = -1;
static atomic_int inside; /* handlers that may still write to it */
static struct sigaction before[SIGNALS + 1];

static void collect(int number)
{
	int saved = errno;
	unsigned char byte = (unsigned char)number;

	atomic_fetch_add(&inside, 1);
	int fd = atomic_load(&pipe_fd);
	/* Nonblocking: a full pipe loses signals, as the kernel merges them. */
	if (fd >= 0 && write(fd, &byte, 1) < 0)
		errno = saved;
	atomic_fetch_sub(&inside, 1);
	errno = saved;
}

static void restore(uint64_t set, int below)
{
	for (int number = 1; number < below; number++)
		if (set >> (number - 1) & 1)
			sigaction(number, &before[number], NULL);
	/* Another thread may be in the handler: the descriptor's number must not
	 * become somebody else's before it has left. */
	atomic_store(&pipe_fd, -1);
	while (atomic_load(&inside) > 0)
		sched_yield();
}

int signals_collect(int fd, uint64_t set)
{
	/* SA_ONSTACK: Go's threads have small stacks (os/signal). */
	struct sigaction action = { .sa_handler = collect, .sa_flags = SA_RESTART | SA_ONSTACK };

	sigfillset(&action.sa_mask);
	atomic_store(&pipe_fd, fd);
	for (int number = 1; number <= SIGNALS; number++) {
		if (set >> (number - 1) & 1 && sigaction(number, &action, &before[number]) < 0) {
			int err = errno;
			restore(set, number);
			return err;
		}
	}
	return 0;
}

void signals_restore(uint64_t set)
{
	restore(set, SIGNALS + 1);
}
