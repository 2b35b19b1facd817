/* SPDX-License-Identifier: MIT */
/* What the kernel has in use, for the fuzzers: count before, count after. */
#ifndef FUZZ_COUNT_H
#define FUZZ_COUNT_H

#include <stdbool.h>
#include <stddef.h>

struct count {
	long free_kb, slab_kb, objects, poisoned_kb;
};

void read_file(const char *name, char *buf, size_t size);
struct count count(void);
/* With the caches dropped first. */
struct count count_settled(void);
/* Print what is used more than before; false when that grows with `steps`. */
bool count_judge(const struct count *before, const struct count *after, unsigned long steps);

#endif
