/* SPDX-License-Identifier: MIT */
/*
 * Taking pages out of a file: truncate, hole punching, dropping, the end.
 *
 * For each page: lock it, take it out of the index (which clears page->mapping),
 * and unmap it if anything still maps it.  A fault that found it before raises
 * mapcount and then looks at page->mapping, so one of the two sees the other
 * (cache.h).  The page lock waits for reads and writes of the page in progress.
 *
 * Locking: the host's inode lock, where there is one, is the caller's.  One page
 * lock at a time, in no order.
 */
#include <quire/assert.h>
#include <quire/errno.h>
#include <quire/string.h>

#include "../mm/mm.h"
#include "cache.h"

/* Take a page with a reference out of m, mapped or not. */
static void drop_page(struct quire_mapping *m, struct page *p, bool even_cows)
{
	u64 pgoff;

	quire_page_lock(p);
	if (p->mapping == m) {
		pgoff = p->index;
		cache_remove(m, p);
		/* A VMA may be out of the tree for a moment while its bounds change: its
		 * entry keeps the page's frame, but must not stay. */
		for (unsigned tries = 0;
		     __atomic_load_n(&p->mapcount, __ATOMIC_SEQ_CST) > 0 && tries < 1000; tries++) {
			unmap_mapping_range(m, pgoff, pgoff, even_cows);
			quire_host_relax();
		}
	}
	quire_page_unlock(p);
}

static void drop_pages(struct quire_mapping *m, u64 first, u64 last, bool even_cows)
{
	struct page *p;
	u64 at;

	while (first <= last && (at = cache_next(m, first, last)) != ~0UL) {
		p = cache_find(m, at);
		if (p) {
			drop_page(m, p, even_cows);
			quire_page_put(p);
		}
		first = at + 1;
	}
}

/* Clear bytes [from, to) of the page at pgoff.  absent: whether it must be read for that
 * when it isn't in the cache. */
static int clear_part(struct quire_mapping *m, u64 pgoff, size_t from, size_t to, bool absent)
{
	struct page *p = cache_find(m, pgoff);
	int err = 0;

	if (!p) {
		if (!absent || !m->ops->read_pages || pgoff >= cache_size_pages(m))
			return 0;
		p = quire_cache_get(m, pgoff, &err);
		if (!p)
			return err;
	}
	quire_page_lock(p);
	if (p->mapping == m && page_test(p, PG_UPTODATE)) {
		memset((char *)page_view(p) + from, 0, to - from);
		cache_mark_dirty(p);
	}
	quire_page_unlock(p);
	quire_page_put(p);
	return 0;
}

void quire_cache_truncate(struct quire_mapping *m, u64 new_size)
{
	u64 first = (new_size + QUIRE_PAGE_SIZE - 1) >> QUIRE_PAGE_SHIFT;
	size_t rest = new_size & (QUIRE_PAGE_SIZE - 1);

	unmap_mapping_range(m, first, ~0UL, true);
	drop_pages(m, first, ~0UL - 1, true);
	if (rest)
		clear_part(m, new_size >> QUIRE_PAGE_SHIFT, rest, QUIRE_PAGE_SIZE, false);
}

int quire_cache_punch(struct quire_mapping *m, u64 start, u64 end)
{
	u64 first = (start + QUIRE_PAGE_SIZE - 1) >> QUIRE_PAGE_SHIFT;
	u64 after = end >> QUIRE_PAGE_SHIFT;
	size_t head = start & (QUIRE_PAGE_SIZE - 1), tail = end & (QUIRE_PAGE_SIZE - 1);
	int r = 0;

	if (start >= end)
		return 0;
	/* Within the first page Linux's tmpfs reckons the end of the whole pages as -1, and
	 * unmaps all from their start on. */
	if (!after && !m->ops->read_pages)
		unmap_mapping_range(m, first, ~0UL, false);
	if (first > after) /* inside one page */
		return clear_part(m, after, head, tail, true);
	if (head)
		r = clear_part(m, start >> QUIRE_PAGE_SHIFT, head, QUIRE_PAGE_SIZE, true);
	if (!r && tail)
		r = clear_part(m, after, 0, tail, true);
	if (!r && first < after) {
		unmap_mapping_range(m, first, after - 1, false);
		drop_pages(m, first, after - 1, false);
	}
	return r;
}

u64 quire_cache_drop(struct quire_mapping *m, u64 start, u64 end)
{
	u64 first = (start + QUIRE_PAGE_SIZE - 1) >> QUIRE_PAGE_SHIFT, last, at, dropped = 0;
	struct page *p;

	last = end == ~0UL ? ~0UL - 1 : (end >> QUIRE_PAGE_SHIFT) - 1;
	if (end < QUIRE_PAGE_SIZE)
		return 0;
	while (first <= last && (at = cache_next(m, first, last)) != ~0UL) {
		p = cache_find(m, at);
		if (p) {
			if (quire_page_trylock(p)) {
				dropped += cache_remove_unused(m, p);
				quire_page_unlock(p);
			}
			quire_page_put(p);
		}
		first = at + 1;
	}
	quire_count(QUIRE_EV_DROP_PAGECACHE, dropped);
	return dropped;
}

void quire_mapping_destroy(struct quire_mapping *m)
{
	drop_pages(m, 0, ~0UL - 1, true);
	/* Reclaim may have taken the last page out and not have left the lock yet. */
	spin_lock(&m->lock);
	REQUIRE(m->nr_pages == 0 && m->nr_dirty == 0 && !m->root);
	spin_unlock(&m->lock);
	REQUIRE(!m->i_mmap);
}
