#ifndef KEELSON_ALLOCATION_COUNT_H
#define KEELSON_ALLOCATION_COUNT_H

#include <stdint.h>

/// How often this process has asked the heap for memory, the Swift runtime included.
uint64_t keelson_allocation_count(void);

#endif
