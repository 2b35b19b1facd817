/* SPDX-License-Identifier: MIT */
/*
 * Where the data and the holes of a file without a store are: what is in the
 * cache and filled is data, all else is a hole (SEEK_DATA, SEEK_HOLE).  Pages that
 * only fallocate() has asked for are holes until somebody maps or writes them.
 *
 * Locking: none; the answer is of a moment, as for any file system.
 */
#include "cache.h"

static bool has_data(struct quire_mapping *m, u64 pgoff)
{
	struct page *p = cache_find(m, pgoff);
	bool filled = p && page_test(p, PG_UPTODATE);

	if (p)
		quire_page_put(p);
	return filled;
}

/* The first page in [at, last] that has data (or hasn't); ~0: none. */
static u64 seek_page(struct quire_mapping *m, u64 at, u64 last, bool data)
{
	for (; at <= last; at++) {
		if (data)
			at = cache_next(m, at, last);
		if (at == ~0UL || has_data(m, at) == data)
			return at;
	}
	return ~0UL;
}

u64 quire_cache_seek(struct quire_mapping *m, u64 pos, bool data)
{
	u64 size = m->ops->size(m), found;

	if (pos >= size)
		return ~0UL;
	found = seek_page(m, pos >> QUIRE_PAGE_SHIFT, (size - 1) >> QUIRE_PAGE_SHIFT, data);
	if (found == ~0UL)
		return data ? ~0UL : size; /* the end of the file is a hole */
	found <<= QUIRE_PAGE_SHIFT;
	return quire_max(found, pos);
}
