/* SPDX-License-Identifier: MIT */
/*
 * The page that tells programs the time: written by the kernel, mapped read-only into
 * every program right before the code that reads it (user/vdso.c).
 *
 * All but wall_offset is written once, before the first program; wall_offset changes
 * as one word, so a reader sees the old or the new clock and needs no sequence count.
 */
#ifndef KERNEL_VVAR_H
#define KERNEL_VVAR_H

#include <quire/types.h>

#define VVAR_PAGES 4 /* as Linux 6.1 has them; only the first says anything */
#define VDSO_PAGES 2

/* A segment of the GDT whose limit is the CPU's number. */
#define CPU_NUMBER_SELECTOR 0x7b

struct vvar {
	u64 base_tsc;    /* the counter's value when the monotonic clock was 0 */
	u64 ns_per_tick; /* 32.32 fixed point; 0: ask the kernel */
	u64 wall_offset; /* ns; the wall clock is the monotonic one plus this.  Atomic */
};

#endif
