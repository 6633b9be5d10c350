#ifndef BERTH_SIGNALS_H
#define BERTH_SIGNALS_H

#include <stdint.h>

#define SIGNALS 64

/* Bit n-1 of a set is signal n. */
int signals_collect(int fd, uint64_t set); /* 0, or an errno and nothing is changed */
void signals_restore(uint64_t set); /* from then on nothing writes to fd */

#endif
