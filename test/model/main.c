/* SPDX-License-Identifier: MIT */
/*
 * Runs the model from seeds: `model [--runs N] [--seconds N] [--seed N] [--steps N]`.
 * A failing seed is printed and runs the same again.
 */
#include <time.h>
#include <unistd.h>

#include "model.h"

static u64 option(int argc, char **argv, const char *name, u64 otherwise)
{
	for (int i = 1; i + 1 < argc; i++)
		if (!strcmp(argv[i], name))
			return strtoull(argv[i + 1], NULL, 0);
	return otherwise;
}

int main(int argc, char **argv)
{
	u64 runs = option(argc, argv, "--runs", 40), seed = option(argc, argv, "--seed", 1);
	u64 seconds = option(argc, argv, "--seconds", 0),
	    steps = option(argc, argv, "--steps", 400);
	u64 operations = 0, n;
	time_t end = time(NULL) + (time_t)seconds;

	model_boot();
	printf("[==========] the model, from seed %lu.\n", seed);
	for (n = 0; seconds ? time(NULL) < end : n < runs; n++) {
		/* Distinct states for neighbouring seeds. */
		struct model_source s = {.seed = (seed + n) * 0x9e3779b97f4a7c15u};

		if (isatty(2))
			fprintf(stderr, "\rseed %lu ", seed + n);
		model_seed = seed + n;
		operations += model_run(&s, (unsigned)steps);
	}
	printf("\n%lu runs, %lu operations\n[  PASSED  ] 1 test(s).\n", n, operations);
	return 0;
}
