/* SPDX-License-Identifier: MIT */
/*
 * Getting frames back when memory is short: clean file pages that nobody used
 * lately, empty slab pages, and what the host's own caches can spare.
 *
 * Two lists for file pages.  New pages start on the inactive list; one that is
 * used again while it is there (a second time, or through an executable mapping)
 * becomes active; the active list's old end refills the inactive one while that
 * is the shorter.  This is the split that 4.3BSD's and Linux's page daemons make
 * with two hands of a clock; the aim is that one pass over a large file doesn't
 * push out what is in use.
 *
 * Locking.  Reclaim runs inside any allocation that may sleep: the caller may hold
 * mmap_lock, VMA locks, page locks, rmap locks.  So it only tries for page locks
 * and rmap locks, and doesn't write: dirty pages are kept few by those who make
 * them (cache_balance_dirty), since the store's driver could need the very lock
 * that the caller holds.  Hence, too, it ends soon whatever others do, and who finds all
 * turns taken can wait for one.
 *
 * What it doesn't do: anonymous and shmem pages (there is no swap to put them in).
 */
#include <quire/assert.h>
#include <quire/cache.h>
#include <quire/mm.h>

#include "../base/init.h"
#include "../cache/cache.h"
#include "../rmap/internal.h"
#include "lru.h"

#define BATCH 32

static u64 (*host_shrink)(u64 pages);

/* ---- whose turn it is -------------------------------------------------------------------- */

/* The threads that reclaim: one for each CPU at most, since more would only take the time
 * from each other, and from a process that is ending.  A slot holds quire_host_self(). */
#define RECLAIMERS 16
static u64 reclaimers[RECLAIMERS];
static u32 rounds; /* that are over; others sleep on it */

bool reclaim_inside(void)
{
	u64 self = quire_host_self();

	for (unsigned i = 0; i < RECLAIMERS; i++)
		if (__atomic_load_n(&reclaimers[i], __ATOMIC_RELAXED) == self)
			return true;
	return false;
}

static u64 *take_turn(void)
{
	unsigned n = quire_min((unsigned)RECLAIMERS, core_config.cpus);

	for (unsigned i = 0; i < n; i++) {
		u64 none = 0;
		if (__atomic_compare_exchange_n(&reclaimers[i], &none, quire_host_self(), false,
						__ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return &reclaimers[i];
	}
	return NULL;
}

/* ---- one page ---------------------------------------------------------------------------- */

void quire_set_shrinker(u64 (*shrink)(u64 pages))
{
	__atomic_store_n(&host_shrink, shrink, __ATOMIC_RELEASE);
}

/* Should a locked page of the inactive list stay?  Takes note of its use. */
static bool in_use(struct page *p)
{
	bool exec = false, before;
	unsigned refs;

	if (page_test(p, PG_MLOCKED))
		return true;
	refs = rmap_referenced_try(p, &exec);
	if (refs == ~0u || page_test(p, PG_MLOCKED))
		return true;
	if (!refs)
		return false;
	before = page_set(p, PG_REFERENCED);
	if (before || refs > 1 || exec) {
		page_set(p, PG_ACTIVE); /* which list putback links it to */
		quire_count(QUIRE_EV_PGACTIVATE, 1);
	}
	return true;
}

/* Free one isolated page, or put it back.  True: it is free. */
static bool reclaim_page(struct page *p, bool hard)
{
	struct quire_mapping *m;
	bool freed = false, keep_off;

	if (!quire_page_trylock(p)) {
		lru_putback(p);
		return false;
	}
	m = p->mapping;
	if (!m) {
		/* Truncated meanwhile: whoever still refers to it frees it. */
		quire_page_unlock(p);
		lru_putback(p);
		return false;
	}
	if (!page_test(p, PG_DIRTY) && !page_test(p, PG_WRITEBACK) && (hard || !in_use(p)) &&
	    !page_test(p, PG_MLOCKED) && rmap_unmap_try(p))
		freed = cache_remove_unused(m, p);
	keep_off = !freed && page_test(p, PG_DIRTY) && p->mapping && !m->ops->write_pages;
	quire_page_unlock(p);
	if (freed || keep_off)
		lru_forget(p);
	else
		lru_putback(p);
	return freed;
}

/* ---- the lists --------------------------------------------------------------------------- */

static u64 shrink_inactive(unsigned cpu, u64 want, bool hard)
{
	struct page *batch[BATCH];
	u64 freed = 0;
	unsigned n =
	    lru_isolate(cpu, LRU_INACTIVE_FILE, batch, (unsigned)quire_min(want, (u64)BATCH));

	for (unsigned i = 0; i < n; i++)
		freed += reclaim_page(batch[i], hard);
	quire_count(QUIRE_EV_PGSCAN, n);
	quire_count(QUIRE_EV_PGSTEAL, freed);
	return freed;
}

/* Move pages from the old end of the active list to the inactive one; those that an
 * executable mapping used go round once more. */
static unsigned age_active(unsigned cpu)
{
	struct page *batch[BATCH];
	unsigned n = lru_isolate(cpu, LRU_ACTIVE_FILE, batch, BATCH), moved = 0;

	for (unsigned i = 0; i < n; i++) {
		struct page *p = batch[i];
		bool exec = false, locked = !page_test(p, PG_MLOCKED) && quire_page_trylock(p);
		unsigned refs = locked ? rmap_referenced_try(p, &exec) : ~0u;

		if (locked)
			quire_page_unlock(p);
		if (refs == ~0u || !(refs && exec)) {
			page_clear(p, PG_ACTIVE);
			page_clear(p, PG_REFERENCED);
			moved++;
		}
		lru_putback(p);
	}
	quire_count(QUIRE_EV_PGDEACTIVATE, moved);
	return moved;
}

/* One look at every inactive page there is, at most.  Starts with a different CPU's
 * list each time. */
static u64 scan(u64 want, bool hard)
{
	static u32 turn;
	unsigned first = __atomic_fetch_add(&turn, 1, __ATOMIC_RELAXED);
	u64 freed = 0, looks = lru_size(LRU_INACTIVE_FILE) / BATCH + core_config.cpus;

	for (u64 i = 0; i < looks && freed < want && !quire_host_killed(); i++) {
		unsigned cpu = (unsigned)((first + i) % core_config.cpus);

		if (lru_size(LRU_INACTIVE_FILE) < lru_size(LRU_ACTIVE_FILE))
			age_active(cpu);
		freed += shrink_inactive(cpu, BATCH, hard);
	}
	return freed;
}

static u64 reclaim(u64 n)
{
	u64 (*shrink)(u64) = __atomic_load_n(&host_shrink, __ATOMIC_ACQUIRE);
	u64 freed = scan(n, false);

	if (freed < n)
		freed += quire_kmem_shrink();
	if (freed < n && shrink)
		freed += shrink(n - freed);
	if (freed < n && !quire_host_killed()) {
		/* All that was used a moment ago is back on the lists with its accessed
		 * bits cleared: try again, at last without regard for use. */
		for (unsigned cpu = 0; cpu < core_config.cpus; cpu++)
			age_active(cpu);
		freed += scan(n - freed, false);
		if (!freed) {
			for (unsigned cpu = 0; cpu < core_config.cpus; cpu++)
				while (!quire_host_killed() && age_active(cpu))
					;
			freed += scan(n, true);
		}
	}
	return freed;
}

bool reclaim_round(u64 n, u64 *freed)
{
	u32 seen = __atomic_load_n(&rounds, __ATOMIC_ACQUIRE);
	u64 *turn = take_turn();

	if (!turn) {
		quire_host_wait(&rounds, seen);
		return false;
	}
	*freed = reclaim(n);
	__atomic_store_n(turn, 0, __ATOMIC_RELEASE);
	__atomic_add_fetch(&rounds, 1, __ATOMIC_RELEASE);
	quire_host_wake(&rounds, ~0u);
	return true;
}

u64 quire_reclaim(u64 n)
{
	u64 freed;

	while (!reclaim_round(n, &freed))
		;
	return freed;
}
