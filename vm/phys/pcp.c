/* SPDX-License-Identifier: MIT */
/*
 * Per-CPU lists of single free frames, so that most allocations and frees touch
 * no shared memory.  Last in, first out: what was freed last is in the cache.
 *
 * Locking: none; a list is its CPU's own, with interrupts off.  Its length is
 * read by others (relaxed) for the count of free frames.
 */
#include <quire/assert.h>

#include "../base/init.h"
#include "phys.h"

#define PCP_MAX 60 /* with the words before it the struct is 512 bytes */
struct pcp {
	u32 n;
	u32 high;  /* at most so many */
	u32 batch; /* moved at once from and to the buddy allocator */
	u32 pad;
	u64 taken, given; /* since the start */
	struct page *pages[PCP_MAX];
};
static struct pcp *pcps;

void pcp_init(void)
{
	pcps = percpu_alloc(sizeof(*pcps));
	u64 frames = 0;
	for (unsigned i = 0; i < core_config.nr_free; i++)
		frames += (core_config.free[i].end - core_config.free[i].start) >> QUIRE_PAGE_SHIFT;
	/* All lists together hold at most a 64th of memory. */
	u64 high = frames / 64 / core_config.cpus;
	high = quire_max(4UL, quire_min(high, (u64)PCP_MAX));
	for (unsigned cpu = 0; cpu < core_config.cpus; cpu++) {
		percpu_at(pcps, cpu)->high = (u32)high;
		percpu_at(pcps, cpu)->batch = (u32)quire_min(high / 2, 32UL);
	}
}

static inline void set_count(struct pcp *l, u32 n)
{
	__atomic_store_n(&l->n, n, __ATOMIC_RELAXED);
}

/* Out of line: a list that is empty, a frame that was retired while it was free. */
static __attribute__((noinline)) struct page *take_slow(struct pcp *l)
{
	for (;;) {
		if (l->n == 0)
			set_count(l, buddy_alloc_batch(l->pages, l->batch, zone.reserve));
		if (l->n == 0)
			return NULL;
		set_count(l, l->n - 1);
		struct page *p = l->pages[l->n];
		if (!page_test(p, PG_HWPOISON)) {
			l->taken++;
			return p;
		}
	}
}

struct page *pcp_take(void)
{
	unsigned long irq = quire_host_irq_save();
	struct pcp *l = percpu_at(pcps, quire_host_cpu());
	struct page *p;
	u32 n = l->n;
	if (quire_likely(n)) {
		p = l->pages[--n];
		set_count(l, n);
		l->taken++;
		if (quire_unlikely(__atomic_load_n(&p->flags, __ATOMIC_RELAXED)))
			p = take_slow(l);
	} else {
		p = take_slow(l);
	}
	quire_host_irq_restore(irq);
	return p;
}

static __attribute__((noinline)) void give_back(struct pcp *l)
{
	u32 batch = l->batch;
	buddy_free_batch(l->pages, batch);
	u32 left = l->n - batch;
	for (u32 i = 0; i < left; i++)
		l->pages[i] = l->pages[i + batch];
	set_count(l, left);
}

void pcp_give(struct page *p)
{
	unsigned long irq = quire_host_irq_save();
	struct pcp *l = percpu_at(pcps, quire_host_cpu());
	if (quire_unlikely(l->n >= l->high))
		give_back(l);
	l->pages[l->n] = p;
	l->given++;
	set_count(l, l->n + 1);
	quire_host_irq_restore(irq);
}

void pcp_give_batch(struct page *const *pages, unsigned n)
{
	unsigned long irq = quire_host_irq_save();
	struct pcp *l = percpu_at(pcps, quire_host_cpu());
	u32 kept = quire_min(n, l->high - quire_min(l->n, l->high));
	for (u32 i = 0; i < kept; i++)
		l->pages[l->n + i] = pages[i];
	l->given += n;
	set_count(l, l->n + kept);
	if (kept < n)
		buddy_free_batch(pages + kept, n - kept);
	quire_host_irq_restore(irq);
}

void pcp_drain(void)
{
	unsigned long irq = quire_host_irq_save();
	struct pcp *l = percpu_at(pcps, quire_host_cpu());
	u32 n = l->n;
	set_count(l, 0);
	buddy_free_batch(l->pages, n);
	quire_host_irq_restore(irq);
}

u64 pcp_count(void)
{
	u64 sum = 0;
	for (unsigned cpu = 0; cpu < core_config.cpus; cpu++)
		sum += __atomic_load_n(&percpu_at(pcps, cpu)->n, __ATOMIC_RELAXED);
	return sum;
}

u64 pcp_taken(void)
{
	u64 sum = 0;
	for (unsigned cpu = 0; cpu < core_config.cpus; cpu++)
		sum += __atomic_load_n(&percpu_at(pcps, cpu)->taken, __ATOMIC_RELAXED);
	return sum;
}

u64 pcp_given(void)
{
	u64 sum = 0;
	for (unsigned cpu = 0; cpu < core_config.cpus; cpu++)
		sum += __atomic_load_n(&percpu_at(pcps, cpu)->given, __ATOMIC_RELAXED);
	return sum;
}
