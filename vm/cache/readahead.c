/* SPDX-License-Identifier: MIT */
/*
 * What to read when a page is missing: the readahead window.
 *
 * Sequential readers get a window that starts at 128 KiB and doubles up to
 * 512 KiB, since a round trip to the store costs far more than a page more in it.
 * A miss that doesn't continue the last window reads just what is wanted for
 * read(2), and a piece around it for a mapping, as programs and libraries touch
 * their pages in no order.  Windows shrink as memory gets short.
 *
 * Locking: none.  The window in struct quire_file is a hint; two threads that
 * share an open file can spoil each other's, no more.
 *
 * What it doesn't do: read in the background.  Reading is the caller's work, so
 * the next window isn't begun before it is reached.
 */
#include "cache.h"

#define WINDOW_FIRST 32
#define WINDOW_MAX CACHE_BATCH
#define AROUND_BEFORE 8
#define AROUND 32

/* The largest window that memory allows: at most an eighth of what is free. */
static u64 window_limit(void)
{
	u64 limit = quire_free_pages() / 8;

	return limit > WINDOW_MAX ? WINDOW_MAX : quire_max(limit, 1UL);
}

static void put_window(struct quire_file *ra, u64 start, u64 n)
{
	__atomic_store_n(&ra->ra_start, start, __ATOMIC_RELAXED);
	__atomic_store_n(&ra->ra_size, n, __ATOMIC_RELAXED);
}

/* Does a miss at pgoff go on where the last window or read ended? */
static bool continues(const struct quire_file *ra, u64 pgoff)
{
	u64 start = __atomic_load_n(&ra->ra_start, __ATOMIC_RELAXED);
	u64 size = __atomic_load_n(&ra->ra_size, __ATOMIC_RELAXED);
	u64 prev = __atomic_load_n(&ra->ra_prev, __ATOMIC_RELAXED);

	return (size && pgoff == start + size) || pgoff == prev + 1 || (pgoff && pgoff == prev);
}

void cache_window(struct quire_mapping *m, struct quire_file *ra, u64 pgoff, u64 want,
		  enum cache_why why, u64 *start, u64 *n)
{
	u64 limit = window_limit(), size = want, from = pgoff;
	u32 mode = ra ? __atomic_load_n(&ra->ra_mode, __ATOMIC_RELAXED) : 1;

	if (!m->ops->read_pages) {
		size = 1;
	} else if (mode == 2 || (mode == 0 && (pgoff == 0 || continues(ra, pgoff)))) {
		u64 last = __atomic_load_n(&ra->ra_size, __ATOMIC_RELAXED);

		size = pgoff == 0 || last < WINDOW_FIRST ? WINDOW_FIRST : last * 2;
		size = quire_max(size, want);
	} else if (mode == 0 && why == CACHE_FAULT) {
		/* Down to the first page that is there already, so that it is one run. */
		while (from && pgoff - from < AROUND_BEFORE && !cache_present(m, from - 1))
			from--;
		size = AROUND;
	}
	if (size > limit) {
		size = limit;
		from = pgoff; /* the page that is wanted is in it in any case */
	}
	if (ra && mode != 1)
		put_window(ra, from, size);
	*start = from;
	*n = size;
}

void quire_cache_readahead(struct quire_mapping *m, u64 pgoff, u64 pages)
{
	u64 end = cache_size_pages(m), n;
	unsigned brought = 0;

	if (!m->ops->read_pages || pgoff >= end)
		return;
	pages = quire_min(pages, end - pgoff);
	/* Never more than half of what is free: beyond that it would push itself out. */
	pages = quire_min(pages, quire_free_pages() / 2);
	for (; pages && !quire_host_killed(); pgoff += n, pages -= n) {
		n = quire_min(pages, window_limit());
		if (cache_fill_range(m, pgoff, n, ~0UL, &brought))
			break;
	}
}
