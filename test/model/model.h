/* SPDX-License-Identifier: MIT */
/*
 * The core against a model that keeps, for each page of a few address spaces, what
 * it is and which word it holds.  Operations come from a stream of bytes: random,
 * or a fuzzer's.
 */
#ifndef MODEL_H
#define MODEL_H

#include "posix.h"

struct model_source {
	const u8 *data; /* null: random bytes from the seed, without end */
	size_t size, at;
	u64 seed;
};

/* Run at most `steps` operations (fewer when the source ends) in a new world, holding
 * the core against the model and checking its whole state after each; then tear the
 * world down and count the frames.  Aborts with the last operations at the first
 * disagreement.  How many operations were made. */
unsigned model_run(struct model_source *s, unsigned steps);
/* The seed of the run under way, told when it fails. */
extern u64 model_seed;
/* Boot the machine and arrange for the last operations to be shown at an abort. */
void model_boot(void);

#endif
