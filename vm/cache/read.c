/* SPDX-License-Identifier: MIT */
/*
 * Bringing pages of a file into the cache, and read(2) from it.
 *
 * Pages are inserted locked and not up to date, filled by the mapping's
 * read_pages in one call for each run of absent ones, and unlocked.  Whoever
 * finds a page that isn't up to date waits for its lock.  A page that couldn't be
 * read is taken out again, so that the next user tries afresh and gets the error
 * himself.
 *
 * Locking: page locks are only taken by insertion of new pages here, so they are
 * never waited for while others are held.  Bytes go to the user with a reference
 * and no lock: the user's buffer may be a mapping of this very page.
 *
 * What it doesn't do: keep a read atomic against a write of the same bytes.
 */
#include <quire/assert.h>
#include <quire/errno.h>
#include <quire/mm.h>
#include <quire/string.h>

#include "../base/init.h"
#include "../reclaim/lru.h"
#include "cache.h"

struct page *zero_page;

void cache_init(void)
{
	cache_index_init();
	zero_page = quire_page_alloc(0, GFP_KERNEL | GFP_ZERO);
	REQUIRE(zero_page);
	page_set(zero_page, PG_RESERVED);
}

void quire_mapping_init(struct quire_mapping *m, const struct quire_mapping_ops *ops,
			bool swapbacked)
{
	memset(m, 0, sizeof(*m));
	m->ops = ops;
	m->swapbacked = swapbacked;
	spin_init(&m->lock, RANK_MAPPING);
	rwsem_init(&m->i_mmap_lock, RANK_I_MMAP);
}

void cache_mark_accessed(struct page *p)
{
	u64 flags = __atomic_load_n(&p->flags, __ATOMIC_RELAXED);

	if (!(flags & (1UL << PG_REFERENCED)))
		page_set(p, PG_REFERENCED);
	else if (!(flags & (1UL << PG_ACTIVE)))
		lru_activate(p);
}

int cache_wait_uptodate(struct quire_mapping *m, struct page *p)
{
	int r = 0;

	if (quire_likely(page_test(p, PG_UPTODATE)))
		return 0;
	quire_page_lock(p);
	if (p->mapping != m)
		r = -EAGAIN;
	else if (page_test(p, PG_HWPOISON))
		r = -EHWPOISON;
	else if (!m->ops->read_pages)
		page_set(p, PG_UPTODATE); /* quire_cache_fill() made it, zeroed */
	else if (!page_test(p, PG_UPTODATE))
		r = -EAGAIN;
	quire_page_unlock(p);
	return r;
}

/* ---- filling --------------------------------------------------------------------------- */

/* A new, locked page in the index at pgoff, with a reference.  -EEXIST, -ENOMEM, -ENOSPC. */
static int new_page(struct quire_mapping *m, u64 pgoff, bool must, struct page **out)
{
	unsigned gfp = must ? GFP_KERNEL : GFP_NOFAIL_OOM;
	bool zero = !m->ops->read_pages;
	struct page *p = quire_page_alloc(0, gfp | GFP_ACCOUNT | (zero ? GFP_ZERO : 0));
	bool locked;
	int r;

	if (!p)
		return -ENOMEM;
	locked = quire_page_trylock(p);
	REQUIRE(locked);
	r = cache_insert(m, p, pgoff, gfp);
	if (r) {
		quire_page_unlock(p);
		quire_page_put(p);
		return r;
	}
	*out = p;
	return 0;
}

/* Fill n locked new pages and let them go. */
static int fill(struct quire_mapping *m, struct page **pages, unsigned n)
{
	int r = 0;

	if (m->ops->read_pages) {
		r = m->ops->read_pages(m, pages, n);
		if (!r)
			quire_count(QUIRE_EV_PGPGIN, n * (QUIRE_PAGE_SIZE >> 10));
	}
	for (unsigned i = 0; i < n; i++) {
		struct page *p = pages[i];

		if (r) {
			if (p->mapping == m)
				cache_remove(m, p);
		} else {
			page_set(p, PG_UPTODATE);
			/* Without a store, the cache is the only place where it is; zeroes of
			 * memory can be made again. */
			if (!m->ops->read_pages && !m->swapbacked)
				cache_mark_dirty(p);
		}
		quire_page_unlock(p);
		quire_page_put(p);
	}
	return r;
}

/* Insert new pages from `at` on, up to the first that is present; *r says why it stopped
 * before end: 0 or -EEXIST there is one, -ENOMEM, -ENOSPC.  How many. */
static unsigned new_run(struct quire_mapping *m, u64 at, u64 end, u64 must, struct page **pages,
			int *r)
{
	unsigned k = 0;

	*r = 0;
	while (k < CACHE_BATCH && at + k < end && !cache_present(m, at + k)) {
		*r = new_page(m, at + k, at + k == must, &pages[k]);
		if (*r)
			break;
		k++;
	}
	return k;
}

int cache_fill_range(struct quire_mapping *m, u64 pgoff, u64 n, u64 must, unsigned *brought)
{
	struct page *pages[CACHE_BATCH];
	u64 at = pgoff, end = quire_min(pgoff + n, cache_size_pages(m));

	/* With a page that is waited for, one run is all: the rest is not worth a second
	 * trip to the store. */
	while (at < end && at <= must) {
		int stop, r = 0;
		unsigned k = new_run(m, at, end, must, pages, &stop);

		if (k)
			r = fill(m, pages, k);
		if (!r)
			*brought += k;
		else if (must == ~0UL)
			return r;
		else if (must >= at && must < at + k) /* perhaps a neighbour's fault: alone */
			return k == 1 ? r : cache_fill_range(m, must, 1, must, brought);
		at += k;
		if (stop == -ENOMEM || stop == -ENOSPC) {
			if (must == ~0UL || must == at)
				return stop;
			if (must < at || must >= end)
				return 0;
			at = must; /* pages that are only wished for can wait */
			end = must + 1;
		} else if (stop == -EEXIST || k == 0) {
			at++;
		}
	}
	return 0;
}

int cache_read_in(struct quire_mapping *m, struct quire_file *ra, u64 pgoff, u64 want,
		  enum cache_why why, struct page **page, unsigned *brought)
{
	u64 start, n;
	int r;

	for (;;) {
		if (pgoff >= cache_size_pages(m))
			return -ERANGE;
		*page = cache_find(m, pgoff);
		if (!*page) {
			cache_window(m, ra, pgoff, want, why, &start, &n);
			r = cache_fill_range(m, start, n, pgoff, brought);
			if (r)
				return r;
			*page = cache_find(m, pgoff);
		}
		if (*page) {
			r = cache_wait_uptodate(m, *page);
			if (r == 0)
				return 0;
			quire_page_put(*page);
			if (r == -EHWPOISON)
				return why == CACHE_FAULT ? r : -EIO;
		}
		if (quire_host_killed())
			return -EINTR;
	}
}

struct page *quire_cache_get(struct quire_mapping *m, u64 pgoff, int *err)
{
	struct page *p;
	unsigned brought = 0;
	int r = cache_read_in(m, NULL, pgoff, 1, CACHE_READ, &p, &brought);

	if (!r)
		return p;
	*err = r == -ERANGE ? -ENXIO : r;
	return NULL;
}

/* Make pages present from *at on, up to end; *at moves on. */
static int fill_from(struct quire_mapping *m, u64 *at, u64 end)
{
	struct page *p;
	int r;

	for (; *at < end; ++*at) {
		p = cache_find(m, *at);
		if (p) {
			/* Asked for a second time it is up to date; gone again: the next will do.
			 */
			if (!m->ops->read_pages) {
				(void)cache_wait_uptodate(m, p);
				cache_mark_dirty(p);
			}
			quire_page_put(p);
			continue;
		}
		if (quire_host_killed())
			return -EINTR;
		/* Beyond the size, too: fallocate keeps it, or sets it afterwards. */
		r = new_page(m, *at, true, &p);
		if (r == -EEXIST)
			continue;
		if (r)
			return r;
		if (m->ops->read_pages) {
			r = fill(m, &p, 1);
			if (r)
				return r;
			continue;
		}
		/* Not up to date before its first use: mincore() tells, as on Linux. */
		cache_mark_dirty(p);
		quire_page_unlock(p);
		quire_page_put(p);
	}
	return 0;
}

int quire_cache_fill(struct quire_mapping *m, u64 start, u64 end)
{
	u64 first = start >> QUIRE_PAGE_SHIFT, at = first;
	int r = fill_from(m, &at, (end + QUIRE_PAGE_SIZE - 1) >> QUIRE_PAGE_SHIFT);

	if (r && at > first)
		quire_cache_unfill(m, start, at << QUIRE_PAGE_SHIFT);
	return r;
}

void quire_cache_unfill(struct quire_mapping *m, u64 start, u64 end)
{
	u64 last = (end - 1) >> QUIRE_PAGE_SHIFT, at = start >> QUIRE_PAGE_SHIFT;

	while ((at = cache_next(m, at, last)) != ~0UL) {
		struct page *p = cache_find(m, at++);

		if (!p)
			continue;
		if (!page_test(p, PG_UPTODATE)) {
			quire_page_lock(p);
			if (p->mapping == m && !page_test(p, PG_UPTODATE))
				cache_remove(m, p);
			quire_page_unlock(p);
		}
		quire_page_put(p);
	}
}

/* ---- read(2) --------------------------------------------------------------------------- */

/* The page to copy from, with a reference; a hole of a file without a store is the zero
 * page.  -ERANGE at the end. */
static int page_to_read(struct quire_mapping *m, struct quire_file *ra, u64 pgoff, u64 want,
			struct page **out)
{
	struct page *p = cache_find(m, pgoff);
	unsigned brought = 0;

	if (p && !m->ops->read_pages && !page_test(p, PG_UPTODATE) && !page_test(p, PG_HWPOISON)) {
		quire_page_put(p);
		p = NULL;
	}
	if (quire_likely(p != NULL)) {
		*out = p;
		if (quire_likely(cache_wait_uptodate(m, p) == 0))
			return 0;
		quire_page_put(p);
	} else if (!m->ops->read_pages) {
		quire_page_get(zero_page);
		*out = zero_page;
		return 0;
	}
	return cache_read_in(m, ra, pgoff, want, CACHE_READ, out, &brought);
}

s64 quire_cache_read(struct quire_mapping *m, struct quire_file *ra, u64 pos, size_t len,
		     quire_copy_fn *copy_out, void *arg)
{
	size_t done = 0;
	int r = 0;

	while (done < len) {
		u64 size = m->ops->size(m), pgoff = pos >> QUIRE_PAGE_SHIFT;
		size_t off = pos & (QUIRE_PAGE_SIZE - 1), n, moved;
		struct page *p;

		if (pos >= size)
			break;
		n = quire_min(len - done, QUIRE_PAGE_SIZE - off);
		n = quire_min(n, size - pos);
		r = page_to_read(m, ra, pgoff,
				 (off + quire_min(len - done, size - pos) + QUIRE_PAGE_SIZE - 1) >>
				     QUIRE_PAGE_SHIFT,
				 &p);
		if (r) {
			if (r == -ERANGE)
				r = 0;
			break;
		}
		moved = copy_out(arg, (char *)page_view(p) + off, n);
		if (p != zero_page)
			cache_mark_accessed(p);
		quire_page_put(p);
		if (ra)
			__atomic_store_n(&ra->ra_prev, pgoff, __ATOMIC_RELAXED);
		pos += moved;
		done += moved;
		if (moved < n) {
			r = -EFAULT;
			break;
		}
	}
	return done ? (s64)done : r;
}
