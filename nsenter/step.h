/* The program format: what Go compiles (encode.go) and the walker executes
 * (nsenter.c). Layout of a program: header, steps, relocations, data. All
 * numbers are in host byte order; both ends are the same binary. */
#ifndef BERTH_STEP_H
#define BERTH_STEP_H

#include <stdint.h>

#define PROGRAM_MAGIC 0x42525448u
#define REGISTERS 4096 /* register 0 is never written: "no result" */
#define ARGS 6
#define ACCEPTS 4
#define FDS_PER_MESSAGE 250 /* SCM_MAX_FD is 253 */
#define TEXT_MAX 256
#define REFUSED 0xffffffffu /* in place of a step: the program itself is bad */

enum arg_kind { ARG_NUMBER, ARG_DATA, ARG_REGISTER };

/* Composite steps: where one system call is not enough. */
enum composite {
	COMPOSITE = 0x10000,
	STEP_SYNC = COMPOSITE, /* (id): tell the parent, wait for its go */
	STEP_FORK,             /* (group): the child goes on, in that cgroup unless 0; the parent reports its pid and exits */
	STEP_SEND_FD,          /* (id, fd): hand a descriptor to the parent */
	STEP_MAKE,             /* (root, path, mode, type, like) -> O_PATH fd; makes what is missing */
	STEP_CHECK,            /* (fd, type, rdev, fs magic, inode): 0 stands for "any" */
	STEP_INSIDE,           /* (): the working directory is inside the root */
	STEP_FIND,             /* (candidates, count) -> address of the executable one */
	STEP_STORE,            /* (data, register): 32 bits of a register into data */
	STEP_REPORT,           /* (fd): failures go there from now on, the conversation ends */
	STEP_LIKE_MODE,        /* (mount, like): the mount's root gets the mode of like */
	COMPOSITE_END,
};

struct step {
	uint32_t call; /* system call number or enum composite */
	uint16_t result;
	uint16_t skip_success;     /* steps to skip after success */
	uint16_t skip_accepted;    /* steps to skip after an accepted errno */
	uint16_t accept[ACCEPTS];  /* errnos that are no failure; 0 is unused */
	uint8_t kind[ARGS];        /* enum arg_kind */
	uint64_t arg[ARGS];        /* number, offset into data, or register */
};

struct relocation {
	uint32_t at; /* offset in data of a pointer, 8-aligned */
	uint32_t to; /* offset in data it points to */
};

struct header {
	uint32_t magic;
	uint32_t steps;
	uint32_t relocations;
	uint32_t data; /* bytes */
	uint32_t fds;  /* registers 1..fds are descriptors that come with the program */
	uint32_t timed; /* 1: behind the program comes a descriptor of memory for one time a step, before the others */
};

_Static_assert(sizeof(struct header) % 8 == 0, "steps follow the header");
_Static_assert(sizeof(struct step) % 8 == 0, "relocations follow the steps");

enum message_kind {
	MESSAGE_PROGRAM = 1, /* parent: memfd and descriptors attached */
	MESSAGE_FDS,         /* parent: more descriptors attached */
	MESSAGE_GO,          /* parent: answer to sync, same id */
	MESSAGE_SYNC,        /* walker: id */
	MESSAGE_CHILD,       /* walker: value is init's pid */
	MESSAGE_FD,          /* walker: id, descriptor attached */
	MESSAGE_FAILED,      /* walker: id is the step, value the errno; the last word */
};

struct message {
	uint32_t kind;
	uint32_t id;
	int32_t value;
	uint32_t length; /* of text */
	char text[TEXT_MAX];
};

#endif
