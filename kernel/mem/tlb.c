/* SPDX-License-Identifier: MIT */
/*
 * Which address space each CPU has loaded, with its local descriptor table, and making
 * CPUs forget translations.
 *
 * A kernel thread runs on whatever tables are loaded ("lazily": it won't touch
 * user memory).  A CPU that has an address space lazily isn't interrupted for a
 * flush unless page tables are freed; it compares generations when it comes back
 * to user work: every flush of an address space gives it a new tlb_gen, and a CPU
 * remembers up to which one its TLB is clean.
 *
 * With PCIDs a CPU keeps the translations of the last few address spaces, in
 * slots; the same generations say whether a slot is still clean.
 *
 * Locking: a CPU's record is its own, with interrupts off; `lazy` is read by
 * others.  The order that makes it right: a CPU announces itself (cpu_mask, lazy)
 * before it reads tlb_gen; a flush raises tlb_gen before it looks who is there.
 *
 * Source: Intel SDM volume 3, 4.10 (caching of translation information).
 */
#include <quire/assert.h>
#include <quire/host.h>
#include <quire/mm.h>

#include "../boot/boot.h"
#include "mem.h"

#define SLOTS 6             /* PCIDs 1 .. SLOTS; 0 is the kernel's own root */
#define NOFLUSH (1UL << 63) /* in CR3: keep what the PCID has */
#define FLUSH_PAGES 33      /* more than so many: everything is cheaper */
#define CR4_PGE (1UL << 7)

struct tlb_cpu {
	struct uspace *loaded; /* null: the kernel's root */
	u64 gen;               /* up to which tlb_gen of it the TLB is clean */
	u32 lazy;              /* a kernel thread runs on it; atomic */
	u32 slot, next_slot;
	struct {
		u64 id; /* of the address space; 0: free */
		u64 gen;
	} slots[SLOTS];
} __attribute__((aligned(64)));

static struct tlb_cpu cpus[QUIRE_MAX_CPUS];
static u64 last_id;

static struct tlb_cpu *my_tlb(void)
{
	return &cpus[quire_host_cpu()];
}

/* An address space's identity, for slots: uspace structs are used again. */
static u64 uspace_id(struct uspace *u)
{
	u64 id = __atomic_load_n(&u->context[0], __ATOMIC_RELAXED);
	if (quire_likely(id))
		return id;
	u64 new = __atomic_add_fetch(&last_id, 1, __ATOMIC_RELAXED);
	return __atomic_compare_exchange_n(&u->context[0], &id, new, false, __ATOMIC_RELAXED,
					   __ATOMIC_RELAXED)
		   ? new
		   : id;
}

/* ---- loading: interrupts off -------------------------------------------------------------- */

static void load_root(struct tlb_cpu *t, struct uspace *u)
{
	u64 cr3 = quire_mm_root(u->mm).n << QUIRE_PAGE_SHIFT;
	u64 gen = __atomic_load_n(&u->tlb_gen, __ATOMIC_SEQ_CST);
	t->gen = gen;
	if (!cpu_features.pcid) {
		write_cr3(cr3);
		return;
	}
	u64 id = uspace_id(u);
	u32 slot;
	for (slot = 0; slot < SLOTS; slot++)
		if (t->slots[slot].id == id)
			break;
	u64 keep = 0;
	if (slot == SLOTS) {
		slot = t->next_slot;
		t->next_slot = (slot + 1) % SLOTS;
		t->slots[slot].id = id;
	} else if (t->slots[slot].gen == gen) {
		keep = NOFLUSH;
	}
	t->slots[slot].gen = gen;
	t->slot = slot;
	write_cr3(cr3 | (slot + 1) | keep);
}

/* What the slot's translations are clean up to, before it is left. */
static void leave_slot(struct tlb_cpu *t)
{
	if (t->loaded && cpu_features.pcid)
		t->slots[t->slot].gen = t->gen;
}

static void mask_set(struct uspace *u, unsigned cpu)
{
	__atomic_or_fetch(&u->cpu_mask, 1UL << cpu, __ATOMIC_SEQ_CST);
}

static void mask_clear(struct uspace *u, unsigned cpu)
{
	__atomic_and_fetch(&u->cpu_mask, ~(1UL << cpu), __ATOMIC_SEQ_CST);
}

/* Load the kernel's root: nobody's translations are used any more. */
static void leave(struct tlb_cpu *t)
{
	struct uspace *u = t->loaded;
	if (!u)
		return;
	leave_slot(t);
	write_cr3(boot_kernel_root.n << QUIRE_PAGE_SHIFT);
	ldt_load(NULL);
	t->loaded = NULL;
	mask_clear(u, quire_host_cpu());
}

void uspace_switch(struct uspace *from, struct uspace *to)
{
	(void)from; /* the record knows what is loaded, which may be older */
	unsigned long irq = quire_host_irq_save();
	struct tlb_cpu *t = my_tlb();
	struct uspace *old = t->loaded;
	if (!to) {
		if (old)
			__atomic_store_n(&t->lazy, 1, __ATOMIC_RELEASE);
	} else if (to == old) {
		if (t->lazy) {
			__atomic_store_n(&t->lazy, 0, __ATOMIC_SEQ_CST);
			if (t->gen != __atomic_load_n(&to->tlb_gen, __ATOMIC_SEQ_CST)) {
				leave_slot(t);
				load_root(t, to);
			}
		}
	} else {
		leave_slot(t);
		__atomic_store_n(&t->lazy, 0, __ATOMIC_RELAXED);
		mask_set(to, quire_host_cpu());
		load_root(t, to);
		ldt_load(__atomic_load_n(&to->ldt, __ATOMIC_SEQ_CST));
		t->loaded = to;
		if (old)
			mask_clear(old, quire_host_cpu());
	}
	quire_host_irq_restore(irq);
}

static void unload_here(void *arg)
{
	unsigned long irq = quire_host_irq_save();
	struct tlb_cpu *t = my_tlb();
	if (t->loaded == arg)
		leave(t);
	quire_host_irq_restore(irq);
}

void uspace_unload(struct uspace *u)
{
	quire_host_preempt_disable();
	unload_here(u);
	u64 others = __atomic_load_n(&u->cpu_mask, __ATOMIC_SEQ_CST);
	if (others)
		smp_call(others, unload_here, u);
	quire_host_preempt_enable();
}

static void load_ldt_here(void *arg)
{
	struct uspace *u = arg;
	unsigned long irq = quire_host_irq_save();
	if (my_tlb()->loaded == u) {
		ldt_load(__atomic_load_n(&u->ldt, __ATOMIC_SEQ_CST));
		segments_refresh();
	}
	quire_host_irq_restore(irq);
}

/* As with flushes: who announces itself in cpu_mask later than this sees the new one. */
void uspace_ldt_changed(struct uspace *u)
{
	quire_host_preempt_disable();
	u64 mask = __atomic_load_n(&u->cpu_mask, __ATOMIC_SEQ_CST);
	u64 self = 1UL << quire_host_cpu();
	if (mask & self)
		load_ldt_here(u);
	if (mask & ~self)
		smp_call(mask & ~self, load_ldt_here, u);
	quire_host_preempt_enable();
}

/* ---- flushing ------------------------------------------------------------------------------- */

struct flush {
	struct uspace *u; /* null: the kernel's half */
	u64 start, end, gen;
	bool tables;
};

static inline void invlpg(u64 addr)
{
	__asm__ volatile("invlpg (%0)" : : "r"(addr) : "memory");
}

static void flush_global(void)
{
	u64 cr4;
	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	if (cr4 & CR4_PGE) {
		__asm__ volatile("mov %0, %%cr4" : : "r"(cr4 & ~CR4_PGE) : "memory");
		__asm__ volatile("mov %0, %%cr4" : : "r"(cr4) : "memory");
	} else {
		write_cr3(read_cr3());
	}
}

static bool is_small(const struct flush *f)
{
	return f->end > f->start && (f->end - f->start) >> QUIRE_PAGE_SHIFT <= FLUSH_PAGES;
}

/* Forget what f says, of what this CPU has loaded.  Interrupts off. */
static void flush_loaded(const struct flush *f, bool user)
{
	if (is_small(f)) {
		/* This drops paging-structure entries of the current PCID as well. */
		for (u64 a = f->start; a < f->end; a += QUIRE_PAGE_SIZE)
			invlpg(a);
		quire_count(QUIRE_EV_TLB_FLUSH, (f->end - f->start) >> QUIRE_PAGE_SHIFT);
		return;
	}
	if (user)
		write_cr3(read_cr3() & ~NOFLUSH);
	else
		flush_global();
	quire_count(QUIRE_EV_TLB_FLUSH_ALL, 1);
}

static void flush_here(void *arg)
{
	const struct flush *f = arg;
	unsigned long irq = quire_host_irq_save();
	struct tlb_cpu *t = my_tlb();
	if (!f->u) {
		flush_loaded(f, false);
	} else if (t->loaded == f->u) {
		if (t->lazy) {
			leave(t);
		} else {
			flush_loaded(f, true);
			/* Only in sequence: what came between may still be under way. */
			if (t->gen + 1 == f->gen || !is_small(f))
				t->gen = quire_max(t->gen, f->gen);
		}
	}
	quire_host_irq_restore(irq);
}

static u64 busy_cpus(u64 mask)
{
	for (u64 left = mask; left; left &= left - 1) {
		unsigned cpu = (unsigned)__builtin_ctzl(left);
		if (__atomic_load_n(&cpus[cpu].lazy, __ATOMIC_SEQ_CST))
			mask &= ~(1UL << cpu);
	}
	return mask;
}

void quire_host_tlb_flush(struct quire_mm *mm, u64 start, u64 end, bool tables)
{
	struct flush f = {.start = start, .end = end, .tables = tables};
	u64 mask;

	quire_host_preempt_disable();
	u64 self = 1UL << quire_host_cpu();
	if (mm) {
		f.u = quire_mm_host(mm);
		f.gen = __atomic_add_fetch(&f.u->tlb_gen, 1, __ATOMIC_SEQ_CST);
		mask = __atomic_load_n(&f.u->cpu_mask, __ATOMIC_SEQ_CST);
	} else {
		mask = (1UL << ncpus) - 1;
	}
	if (mask & self)
		flush_here(&f);
	mask &= ~self;
	/* A lazy CPU uses no user translation, but may walk tables that go. */
	if (mm && !tables)
		mask = busy_cpus(mask);
	if (quire_unlikely(mask)) {
		quire_count(QUIRE_EV_TLB_SHOOTDOWN, 1);
		smp_call(mask, flush_here, &f);
	}
	quire_host_preempt_enable();
}
