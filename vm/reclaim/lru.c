/* SPDX-License-Identifier: MIT */
/*
 * The LRU lists (lru.h says how they are split over CPUs) and the counts of pages
 * by kind, which are per-CPU sums.
 *
 * Locking: each CPU's lists have a spinlock.  PG_LRU, PG_ACTIVE and the CPU bits
 * of a page on a list change under the lock of the lists it is on.
 */
#include <quire/assert.h>
#include <quire/mm.h>

#include "../base/init.h"
#include "../rmap/internal.h"
#include "lru.h"

struct page_counts {
	s64 n[COUNTS];
};

static struct lru *lrus;
static struct page_counts *counts;

void reclaim_init(void)
{
	lrus = percpu_alloc(sizeof(*lrus));
	counts = percpu_alloc(sizeof(*counts));
	for (unsigned cpu = 0; cpu < core_config.cpus; cpu++) {
		struct lru *l = percpu_at(lrus, cpu);

		spin_init(&l->lock, RANK_LRU);
		for (unsigned i = 0; i < LRU_LISTS; i++) {
			list_init(&l->list[i]);
			l->size[i] = 0;
		}
	}
	rmap_init();
}

/* ---- counts ------------------------------------------------------------------------- */

void page_count_add(enum page_count c, s64 n)
{
	s64 *at;

	quire_host_preempt_disable();
	at = &percpu_at(counts, quire_host_cpu())->n[c];
	__atomic_store_n(at, __atomic_load_n(at, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
	quire_host_preempt_enable();
}

s64 page_count(enum page_count c)
{
	s64 sum = 0;

	for (unsigned cpu = 0; cpu < core_config.cpus; cpu++)
		sum += __atomic_load_n(&percpu_at(counts, cpu)->n[c], __ATOMIC_RELAXED);
	/* One CPU may have subtracted what another has yet to be seen adding. */
	return quire_max(sum, 0L);
}

/* ---- lists ---------------------------------------------------------------------------- */

static inline struct lru *lru_of_flags(u64 flags)
{
	return percpu_at(lrus, (unsigned)(flags >> PAGE_LRU_CPU_SHIFT));
}

static inline enum lru_list list_of_flags(u64 flags)
{
	unsigned active = flags >> PG_ACTIVE & 1;

	return (flags >> PG_SWAPBACKED & 1 ? LRU_INACTIVE_ANON : LRU_INACTIVE_FILE) + active;
}

static inline void link_locked(struct lru *l, struct page *p, enum lru_list i)
{
	list_add(&l->list[i], &p->lru);
	__atomic_store_n(&l->size[i], l->size[i] + 1, __ATOMIC_RELAXED);
}

static inline void unlink_locked(struct lru *l, struct page *p, enum lru_list i)
{
	list_del(&p->lru);
	__atomic_store_n(&l->size[i], l->size[i] - 1, __ATOMIC_RELAXED);
}

void lru_add(struct page *p)
{
	struct lru *l;
	u64 flags, bits;

	quire_host_preempt_disable();
	bits = (u64)quire_host_cpu() << PAGE_LRU_CPU_SHIFT | 1UL << PG_LRU;
	l = lru_of_flags(bits);
	spin_lock(&l->lock);
	flags = __atomic_or_fetch(&p->flags, bits, __ATOMIC_ACQ_REL);
	link_locked(l, p, list_of_flags(flags));
	spin_unlock(&l->lock);
	quire_host_preempt_enable();
}

void lru_add_fresh(struct page *p)
{
	struct lru *l;
	unsigned cpu;

	quire_host_preempt_disable();
	cpu = quire_host_cpu();
	l = percpu_at(lrus, cpu);
	spin_lock(&l->lock);
	__atomic_store_n(&p->flags, p->flags | (u64)cpu << PAGE_LRU_CPU_SHIFT | 1UL << PG_LRU,
			 __ATOMIC_RELAXED);
	link_locked(l, p, list_of_flags(p->flags));
	spin_unlock(&l->lock);
	quire_host_preempt_enable();
}

/* Lock the lists p is on; null when it is on none. */
static NO_TSA struct lru *lock_lists_of(struct page *p)
{
	for (;;) {
		u64 flags = __atomic_load_n(&p->flags, __ATOMIC_ACQUIRE);
		struct lru *l = lru_of_flags(flags);

		if (!(flags >> PG_LRU & 1))
			return NULL;
		spin_lock(&l->lock);
		u64 now = __atomic_load_n(&p->flags, __ATOMIC_RELAXED);
		if (quire_likely((now >> PG_LRU & 1) && lru_of_flags(now) == l))
			return l;
		spin_unlock(&l->lock);
	}
}

NO_TSA void lru_remove(struct page *p)
{
	struct lru *l = lock_lists_of(p);

	if (!l)
		return;
	u64 flags = __atomic_fetch_and(
	    &p->flags, ~(PAGE_LRU_CPU_MASK | 1UL << PG_LRU | 1UL << PG_ACTIVE), __ATOMIC_ACQ_REL);
	unlink_locked(l, p, list_of_flags(flags));
	spin_unlock(&l->lock);
}

/* With the last reference gone nobody else takes them off, or moves them. */
NO_TSA void lru_remove_batch(struct page *const *pages, unsigned n)
{
	struct lru *l = NULL;

	for (unsigned i = 0; i < n; i++) {
		u64 flags = __atomic_load_n(&pages[i]->flags, __ATOMIC_RELAXED);

		if (!(flags >> PG_LRU & 1))
			continue;
		if (quire_unlikely(lru_of_flags(flags) != l)) {
			if (l)
				spin_unlock(&l->lock);
			l = lru_of_flags(flags);
			spin_lock(&l->lock);
		}
		unlink_locked(l, pages[i], list_of_flags(flags));
	}
	if (l)
		spin_unlock(&l->lock);
}

NO_TSA void lru_activate(struct page *p)
{
	struct lru *l = lock_lists_of(p);

	if (!l)
		return;
	u64 flags = __atomic_fetch_or(&p->flags, 1UL << PG_ACTIVE, __ATOMIC_ACQ_REL);
	if (!(flags >> PG_ACTIVE & 1)) {
		unlink_locked(l, p, list_of_flags(flags));
		link_locked(l, p, list_of_flags(flags) + 1);
		quire_count(QUIRE_EV_PGACTIVATE, 1);
	}
	spin_unlock(&l->lock);
}

u64 lru_size(enum lru_list i)
{
	u64 sum = 0;

	for (unsigned cpu = 0; cpu < core_config.cpus; cpu++)
		sum += __atomic_load_n(&percpu_at(lrus, cpu)->size[i], __ATOMIC_RELAXED);
	return sum;
}

/* ---- reclaim's hands -------------------------------------------------------------------- */

unsigned lru_isolate(unsigned cpu, enum lru_list i, struct page **out, unsigned n)
{
	struct lru *l = percpu_at(lrus, cpu);
	struct list *at, *prev;
	unsigned taken = 0;

	spin_lock(&l->lock);
	for (at = l->list[i].prev; taken < n && at != &l->list[i]; at = prev) {
		struct page *p = list_entry(at, struct page, lru);

		prev = at->prev;
		if (!quire_page_try_get(p))
			continue; /* its last reference just went; the freeing takes it off */
		page_clear(p, PG_LRU);
		unlink_locked(l, p, i);
		out[taken++] = p;
	}
	spin_unlock(&l->lock);
	return taken;
}

void lru_putback(struct page *p)
{
	struct lru *l = lru_of_flags(__atomic_load_n(&p->flags, __ATOMIC_RELAXED));
	u64 flags;

	spin_lock(&l->lock);
	flags = __atomic_or_fetch(&p->flags, 1UL << PG_LRU, __ATOMIC_ACQ_REL);
	link_locked(l, p, list_of_flags(flags));
	spin_unlock(&l->lock);
	quire_page_put(p);
}

void lru_forget(struct page *p)
{
	__atomic_fetch_and(&p->flags, ~(PAGE_LRU_CPU_MASK | 1UL << PG_ACTIVE), __ATOMIC_ACQ_REL);
	quire_page_put(p);
}
