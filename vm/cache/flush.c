/* SPDX-License-Identifier: MIT */
/*
 * Storing dirty pages.
 *
 * A dirty page is marked in the index (index.c), whether write(2) or a shared
 * mapping dirtied it: the first write through a mapping faults, for clean pages
 * are mapped read-only.  To store a page: lock it, clear its mark, write-protect
 * its mappings so that the next write faults and marks again, and only then give
 * it to write_pages.  What is written meanwhile is in this copy or marked for the
 * next.  Consecutive dirty pages go out in one call.
 *
 * Locking: waits for the page lock of the first page of a run only; the rest of
 * the run is try-locked, so two flushes can't wait for each other.
 *
 * What it doesn't do: run in the background.  Who makes pages dirty stores some
 * when there are too many (cache_balance_dirty).
 */
#include <quire/assert.h>
#include <quire/errno.h>
#include <quire/mm.h>

#include "../reclaim/lru.h"
#include "../rmap/internal.h"
#include "cache.h"

/* Of all memory, the part that may be dirty before writers are made to store: 1/8. */
#define DIRTY_SHARE 8
#define BALANCE_PAGES (2 * CACHE_BATCH)

/* The dirty page at pgoff, locked, clean now and write-protected, with a reference; null
 * when it isn't dirty any more or (wait false) is locked by another. */
static struct page *take_dirty(struct quire_mapping *m, u64 pgoff, bool wait)
{
	struct page *p = cache_find(m, pgoff);

	if (!p)
		return NULL;
	if (wait) {
		quire_page_lock(p);
	} else if (!quire_page_trylock(p)) {
		quire_page_put(p);
		return NULL;
	}
	if (cache_clear_dirty(m, p)) {
		rmap_mkclean(p);
		page_set(p, PG_WRITEBACK);
		return p;
	}
	quire_page_unlock(p);
	quire_page_put(p);
	return NULL;
}

static int store(struct quire_mapping *m, struct page **pages, unsigned n)
{
	int r;

	page_count_add(COUNT_WRITEBACK, n);
	r = m->ops->write_pages(m, pages, n);
	page_count_add(COUNT_WRITEBACK, -(s64)n);
	if (!r)
		quire_count(QUIRE_EV_PGPGOUT, n * (QUIRE_PAGE_SIZE >> 10));
	for (unsigned i = 0; i < n; i++) {
		page_clear(pages[i], PG_WRITEBACK);
		if (r)
			cache_mark_dirty(pages[i]);
		quire_page_unlock(pages[i]);
		quire_page_put(pages[i]);
	}
	return r;
}

/* Store dirty pages of [first, last], at most max.  0 or the first error, where it ends:
 * trying the rest on a store that fails would only take longer. */
static int flush(struct quire_mapping *m, u64 first, u64 last, u64 max, bool wait)
{
	struct page *run[CACHE_BATCH];
	u64 at;
	int r = 0;

	while (!r && max && first <= last && (at = cache_next_dirty(m, first, last)) != ~0UL) {
		unsigned n = 0, limit = (unsigned)quire_min(max, (u64)CACHE_BATCH);

		__atomic_add_fetch(&m->writing, 1, __ATOMIC_ACQ_REL);
		while (n < limit && at + n <= last) {
			run[n] = take_dirty(m, at + n, wait && n == 0);
			if (!run[n])
				break;
			n++;
		}
		if (n)
			r = store(m, run, n);
		__atomic_sub_fetch(&m->writing, 1, __ATOMIC_ACQ_REL);
		quire_host_wake(&m->writing, ~0u);
		max -= n;
		first = at + quire_max(n, 1u);
	}
	return r;
}

int quire_cache_flush(struct quire_mapping *m, u64 start, u64 end)
{
	u64 last;
	u32 others;
	int r;

	if (!m->ops->write_pages || start >= end)
		return 0;
	last = (end - 1) >> QUIRE_PAGE_SHIFT;
	r = flush(m, start >> QUIRE_PAGE_SHIFT, last, ~0UL, true);
	/* Pages that another thread took before we came aren't stored yet. */
	while ((others = __atomic_load_n(&m->writing, __ATOMIC_ACQUIRE)) != 0)
		quire_host_wait(&m->writing, others);
	/* Runs that it couldn't store are dirty again. */
	if (!r && cache_next_dirty(m, start >> QUIRE_PAGE_SHIFT, last) != ~0UL)
		r = flush(m, start >> QUIRE_PAGE_SHIFT, last, ~0UL, true);
	return r;
}

void cache_balance_dirty(struct quire_mapping *m)
{
	u64 whole;

	if (!m->ops->write_pages || !__atomic_load_n(&m->nr_dirty, __ATOMIC_RELAXED))
		return;
	if (page_count(COUNT_DIRTY) <= (s64)(quire_total_pages() / DIRTY_SHARE))
		return;
	/* Only pages that the size covers as a whole: a write that extends the file sets
	 * the size after its bytes are in the cache. */
	whole = m->ops->size(m) >> QUIRE_PAGE_SHIFT;
	if (whole)
		flush(m, 0, whole - 1, BALANCE_PAGES, false);
}
