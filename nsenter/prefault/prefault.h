#ifndef BERTH_PREFAULT_H
#define BERTH_PREFAULT_H

/* Gives the calling thread the processors and the timer slack back that the
 * process was started with. Returns -1 where it cannot. */
int prefault_undo(void);

#endif
