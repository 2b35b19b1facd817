// SPDX-License-Identifier: MIT
/*
 * The segment registers that are the program's: DS, ES, FS and GS, the bases of FS and GS,
 * and the LDT.  In 64-bit mode the kernel uses none of them but GS, whose selector SWAPGS
 * leaves alone; so they stay loaded in the kernel and are exchanged when tasks are.
 *
 * Base and selector are a task's independently of each other, as on Linux with FSGSBASE: the
 * selectors are loaded first, which writes the bases, and then the bases.
 *
 * A selector is looked up in the tables before it is loaded, since it may have become
 * invalid meanwhile (null is loaded instead), and the instruction would fault.  No lock: a
 * CPU's tables only change on that CPU, and those who look have interrupts off.
 *
 * Sources: Intel SDM volume 2, MOV and IRET; volume 3, 3.4 and 5.
 */
#include <quire/assert.h>

#include "../boot/boot.h"
#include "../lib/string.h"
#include "../sched/sched.h"
#include "arch.h"

/* Bits of a descriptor. */
#define DESC_TYPE_W (1UL << 41) /* data: writable; code: readable */
#define DESC_TYPE_C (1UL << 42) /* code: conforming */
#define DESC_CODE (1UL << 43)
#define DESC_S (1UL << 44) /* code or data */
#define DESC_DPL(d) ((u32)((d) >> 45) & 3)
#define DESC_P (1UL << 47)
#define DESC_L (1UL << 53) /* code: 64-bit */
#define DESC_D (1UL << 54) /* 32-bit */
#define DESC_LDT 0x82UL    /* type and present, of the LDT's own descriptor */

#define STACK16_SLOT 64 /* bytes of stack16_page for each CPU */
_Static_assert(STACK16_SLOT *QUIRE_MAX_CPUS <= QUIRE_PAGE_SIZE, "stack16_page");

u64 stack16_frame(const struct regs *r);

/* ---- the tables --------------------------------------------------------------------------- */

static bool descriptor(u64 sel, u64 *d)
{
	const struct arch_cpu *a = this_arch();
	const u64 *table = a->gdt;
	u32 count = quire_array_size(a->gdt), index = (u32)(sel & 0xffff) >> 3;

	if (sel & SELECTOR_LDT) {
		table = a->ldt ? a->ldt->entry : NULL;
		count = a->ldt ? a->ldt->count : 0;
	}
	if (index >= count)
		return false;
	*d = table[index];
	return true;
}

void ldt_load(const struct ldt *l)
{
	struct arch_cpu *a = this_arch();

	if (a->ldt == l)
		return;
	a->ldt = l;
	if (l) {
		u64 base = (u64)l->entry, limit = l->count * sizeof(u64) - 1;
		u64 *d = &a->gdt[LDT_SELECTOR / 8];
		d[0] = limit | (base & 0xffffff) << 16 | DESC_LDT << 40 | (base >> 24 & 0xff) << 56;
		d[1] = base >> 32;
	}
	__asm__ volatile("lldt %w0" : : "r"(l ? LDT_SELECTOR : 0) : "memory");
}

/* ---- loading ------------------------------------------------------------------------------ */

/* Would a data segment register take this selector? */
static bool loadable(u16 sel)
{
	u64 d;

	if (!(sel & ~3))
		return true; /* null */
	if (!descriptor(sel, &d) || !(d & DESC_S) || !(d & DESC_P))
		return false;
	if ((d & DESC_CODE) && !(d & DESC_TYPE_W))
		return false;
	return (d & DESC_CODE && d & DESC_TYPE_C) || DESC_DPL(d) >= (sel & 3);
}

static void load(unsigned seg, u16 sel)
{
	u32 v = loadable(sel) ? sel : 0;

	switch (seg) {
	case SEG_DS:
		__asm__ volatile("movl %0, %%ds" : : "r"(v) : "memory");
		break;
	case SEG_ES:
		__asm__ volatile("movl %0, %%es" : : "r"(v) : "memory");
		break;
	case SEG_FS:
		__asm__ volatile("movl %0, %%fs" : : "r"(v) : "memory");
		break;
	case SEG_GS: /* it writes the base that is in use, which is to be the user's */
		__asm__ volatile("swapgs; movl %0, %%gs; swapgs" : : "r"(v) : "memory");
		break;
	}
}

static inline void read_loaded(union selectors *s)
{
	__asm__ volatile("mov %%ds, %0" : "=m"(s->sel[SEG_DS]));
	__asm__ volatile("mov %%es, %0" : "=m"(s->sel[SEG_ES]));
	__asm__ volatile("mov %%fs, %0" : "=m"(s->sel[SEG_FS]));
	__asm__ volatile("mov %%gs, %0" : "=m"(s->sel[SEG_GS]));
}

u64 segment_base(unsigned seg)
{
	u64 v;

	if (seg == SEG_GS)
		return rdmsr(MSR_KERNEL_GS_BASE);
	if (!cpu_features.fsgsbase)
		return rdmsr(MSR_FS_BASE);
	__asm__ volatile("rdfsbase %0" : "=r"(v));
	return v;
}

static void set_base(unsigned seg, u64 v)
{
	if (seg == SEG_GS)
		wrmsr(MSR_KERNEL_GS_BASE, v);
	else if (!cpu_features.fsgsbase)
		wrmsr(MSR_FS_BASE, v);
	else
		__asm__ volatile("wrfsbase %0" : : "r"(v));
}

void segment_base_set(unsigned seg, u64 base)
{
	unsigned long irq = quire_host_irq_save();

	load(seg, 0);
	set_base(seg, base);
	quire_host_irq_restore(irq);
}

void segments_reset(void)
{
	unsigned long irq = quire_host_irq_save();

	for (unsigned i = 0; i < SEG_COUNT; i++)
		load(i, 0);
	set_base(SEG_FS, 0);
	set_base(SEG_GS, 0);
	quire_host_irq_restore(irq);
}

/* FS and GS wait for the next switch, with the bases they had: as on Linux. */
void segments_refresh(void)
{
	union selectors s;

	read_loaded(&s);
	for (unsigned i = SEG_DS; i <= SEG_ES; i++)
		if (s.sel[i] & SELECTOR_LDT)
			load(i, s.sel[i]);
}

/* ---- switching ---------------------------------------------------------------------------- */

static inline void save(struct task *t)
{
	read_loaded(&t->selectors);
	t->fs_base = segment_base(SEG_FS);
	t->gs_base = segment_base(SEG_GS);
}

void segments_save(struct task *t)
{
	save(t);
}

/* A kernel thread leaves what it finds. */
void segments_switch(struct task *from, struct task *to)
{
	union selectors now;

	if (!from->kernel_thread)
		save(from);
	if (to->kernel_thread)
		return;
	if (from->kernel_thread)
		read_loaded(&now);
	else
		now = from->selectors;
	if (quire_unlikely(now.all | to->selectors.all))
		for (unsigned i = 0; i < SEG_COUNT; i++)
			load(i, to->selectors.sel[i]);
	set_base(SEG_FS, to->fs_base);
	set_base(SEG_GS, to->gs_base);
}

/* ---- stack segments ----------------------------------------------------------------------- */

bool selector_fits_ss(u16 sel)
{
	u64 d;
	unsigned long irq = quire_host_irq_save();
	bool known = descriptor(sel, &d);

	quire_host_irq_restore(irq);
	return known && (d & DESC_S) && (d & DESC_P) && !(d & DESC_CODE) && (d & DESC_TYPE_W) &&
	       DESC_DPL(d) == 3;
}

/*
 * IRET to a 16-bit stack segment restores 16 bits of the stack pointer: the program would
 * find the kernel's bits 31..16 in its ESP, and not its own.  So it is executed on a stack
 * whose address has the program's bits there: this makes the frame on it, and returns its
 * address.  It can't be written there, or a fault of the IRET be handled, so this is only
 * done when there won't be one.  0: IRET is to be executed where it is.
 */
u64 stack16_frame(const struct regs *r)
{
	u64 code, stack;

	if (!selector_fits_ss((u16)r->ss) || !descriptor(r->ss, &stack) || (stack & DESC_D))
		return 0;
	if (!descriptor(r->cs, &code) || !(code & DESC_S) || !(code & DESC_P) ||
	    !(code & DESC_CODE) || (code & DESC_L) || DESC_DPL(code) != 3 ||
	    r->rip > descriptor_limit(code))
		return 0;
	u64 offset = (u64)this_cpu()->cpu * STACK16_SLOT;
	memcpy(stack16_page + offset, &r->rip, 5 * sizeof(u64));
	return STACK16_BASE | (r->rsp & 0xffff0000) | offset;
}
