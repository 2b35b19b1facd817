/* SPDX-License-Identifier: MIT */
/*
 * Races of what programs do to memory and to each other, with what must hold all the while;
 * and at the end no frame, no object of the kernel and no charge may be left over.
 *
 *	race memory|tracers SECONDS [SEED]
 */
#include <string.h>

#include "../fuzz/count.h"
#include "race.h"

static long committed_kb(void)
{
	static char text[16384];

	read_file("/proc/meminfo", text, sizeof(text));
	const char *p = strstr(text, "Committed_AS:");
	return p ? atol(p + strlen("Committed_AS:")) : 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "nothing")) /* what the racers exec */
		return 7;
	if (argc < 3)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	int (*race)(unsigned, uint64_t) = strcmp(argv[1], "memory") ? race_tracers : race_memory;
	uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 0) : 1;

	/* What is made once and stays. */
	if (race(1, seed))
		return 1;
	struct count before = count_settled();
	long charged = committed_kb();
	if (race((unsigned)atoi(argv[2]), seed + 1))
		return 1;
	struct count after = count_settled();
	long more = committed_kb() - charged;
	if (more)
		printf("LEAK: %ld kB more are committed\n", more);
	return !count_judge(&before, &after, 0) || more;
}
