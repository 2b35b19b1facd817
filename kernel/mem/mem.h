/* SPDX-License-Identifier: MIT */
/* Between the files of mem/, and to boot/ and proc/. */
#ifndef KERNEL_MEM_H
#define KERNEL_MEM_H

#include "../proc/proc.h"

/* random.c: mix n bytes into the generator's state.  Any context. */
void random_add(const void *bytes, size_t n);

/* oom.c: log what memory is used for, at this level. */
void oom_show_memory(int level);
/* oom.c: start its thread. */
void oom_init(void);

#endif
