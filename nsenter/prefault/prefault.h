#ifndef BERTH_PREFAULT_H
#define BERTH_PREFAULT_H

/* Gives the calling thread the processors back that the process was started
 * with. Returns -1 where it cannot. */
int prefault_unpin(void);

#endif
