/* SPDX-License-Identifier: MIT */
/*
 * The host functions on the core's fast paths, inline for this kernel.
 *
 * quire/host.h includes this in place of its declarations, so it stands alone: the
 * offsets into struct percpu (arch/cpu.h) are asserted in mem/host.c.
 */
#ifndef KERNEL_MEM_HOST_INLINE_H
#define KERNEL_MEM_HOST_INLINE_H

#include <quire/types.h>

/* mem/host.c: a reschedule is wanted and preemption just came back on. */
void quire_host_preempt_slow(void);

static inline unsigned quire_host_cpu(void)
{
	u32 cpu;
	__asm__ volatile("movl %%gs:36, %0" : "=r"(cpu));
	return cpu;
}

static inline void quire_host_preempt_disable(void)
{
	__asm__ volatile("incl %%gs:32" : : : "memory", "cc");
}

static inline void quire_host_preempt_enable(void)
{
	bool zero;
	u32 resched;
	__asm__ volatile("decl %%gs:32" : "=@ccz"(zero) : : "memory");
	if (!zero)
		return;
	__asm__ volatile("movl %%gs:40, %0" : "=r"(resched));
	if (quire_unlikely(resched))
		quire_host_preempt_slow();
}

static inline unsigned long quire_host_irq_save(void)
{
	unsigned long flags;
	__asm__ volatile("pushfq\n\tpopq %0\n\tcli" : "=r"(flags) : : "memory");
	return flags;
}

static inline void quire_host_irq_restore(unsigned long flags)
{
	if (flags & 1UL << 9)
		__asm__ volatile("sti" : : : "memory");
}

static inline void quire_host_relax(void)
{
	__asm__ volatile("pause" : : : "memory");
}

#endif
