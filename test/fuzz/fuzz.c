/* SPDX-License-Identifier: MIT */
/* libFuzzer's entry to the model: its bytes choose the operations. */
#include "model.h"

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct model_source s = {.seed = 1};

	(void)argc, (void)argv;
	model_boot();
	/* Warm the caches, so that each input can count frames. */
	model_run(&s, 300);
	return 0;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct model_source s = {.data = data, .size = size};

	model_run(&s, 400);
	return 0;
}
