/* SPDX-License-Identifier: MIT */
/* Between the files of the race test. */
#ifndef RACE_H
#define RACE_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A generator for each thread. */
static inline uint32_t draw(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(*seed >> 33);
}

/* Something isn't as it must be: say so, and end all of the process at once. */
#define WRONG(...)                            \
	do {                                  \
		fprintf(stderr, "WRONG: ");   \
		fprintf(stderr, __VA_ARGS__); \
		fputc('\n', stderr);          \
		_exit(9);                     \
	} while (0)

/* memory.c: threads and processes race over one address space for so long; 0: all was right. */
int race_memory(unsigned seconds, uint64_t seed);
/* tracers.c: so many tracers, each killed or not while its tracees fork, exec and end. */
int race_tracers(unsigned seconds, uint64_t seed);

#endif
