/* Signal handlers that write the signal's number to a pipe. Go's own
 * signal.Notify hands every signal to a goroutine and back, which is two
 * thread switches for each of 60 signals on every container start. */
#include "signals.h"

#include <errno.h>
#include <signal.h>
#include <unistd.h>

static volatile int pipe_fd = -1;
static struct sigaction before[SIGNALS + 1];

static void collect(int number)
{
	int saved = errno;
	unsigned char byte = (unsigned char)number;

	/* Nonblocking: a full pipe loses signals, as the kernel merges them. */
	if (write(pipe_fd, &byte, 1) < 0)
		errno = saved;
	errno = saved;
}

int signals_collect(int fd, uint64_t set)
{
	/* SA_ONSTACK: Go's threads have small stacks (os/signal). */
	struct sigaction action = { .sa_handler = collect, .sa_flags = SA_RESTART | SA_ONSTACK };

	sigfillset(&action.sa_mask);
	pipe_fd = fd;
	for (int number = 1; number <= SIGNALS; number++)
		if (set >> (number - 1) & 1 && sigaction(number, &action, &before[number]) < 0)
			return errno;
	return 0;
}

void signals_restore(uint64_t set)
{
	for (int number = 1; number <= SIGNALS; number++)
		if (set >> (number - 1) & 1)
			sigaction(number, &before[number], NULL);
}
