/* What Go uses of birth.c. */
#ifndef BERTH_BIRTH_H
#define BERTH_BIRTH_H

#include <stdint.h>
#include <sys/types.h>

/* nsenter_seal opens this very executable in a form that a container cannot
 * write to through /proc/PID/exe (CVE-2019-5736): on a read-only overlay if the
 * process may mount, else as a sealed copy in memory. It returns a descriptor, or
 * an errno as a negative number. */
int nsenter_seal(int may_mount);

/* early_child is a preamble that waits for its program. */
struct early_child {
	pid_t pid; /* -1: there is none */
	int socket;
};

/* nsenter_early hands over the preamble that was born before the Go runtime
 * started, once. */
struct early_child nsenter_early(void);

/* start is how this process began, where the command line has --trace: else all
 * is 0. Times are nanoseconds since 1970. */
struct start {
	int64_t begun; /* the first of our instructions */
	int64_t used;  /* processor time until then: execve, and since fork */
	int64_t born;  /* the early preamble is there; begun where there is none */
};

extern struct start nsenter_start;

#endif
