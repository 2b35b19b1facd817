/* SPDX-License-Identifier: MIT */
/* What runs in user mode on the kernel's behalf: the vdso, and the vsyscall page. */
#ifndef KERNEL_VDSO_H
#define KERNEL_VDSO_H

#include <quire/mm.h>

#include "../arch/cpu.h"

/* At boot, when frames can be had: make the pages. */
void vdso_init(void);
/* Map vvar and vdso of a new program, above its stack (which ends at stack_top) or
 * where there is room.  The vdso's address or -errno.  Sleeps. */
s64 vdso_map(struct quire_mm *mm, u64 stack_top, bool randomize);

/* The wall clock was set: tell the programs. */
void vdso_wall_changed(void);

/* Where Linux has its oldest way of asking for the time.  Nothing is mapped there. */
#define VSYSCALL_START 0xffffffffff600000UL
#define VSYSCALL_END (VSYSCALL_START + QUIRE_PAGE_SIZE)

/* A page fault in user mode at addr: true when it was a call of one of the three entries,
 * which has been done, or has given a signal. */
bool vsyscall_emulate(struct regs *r, u64 addr);

#endif
