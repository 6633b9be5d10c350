#ifndef BERTH_PREFAULT_H
#define BERTH_PREFAULT_H

#include <stddef.h>

void prefault_heap(void *first, size_t length);

#endif
