/* SPDX-License-Identifier: MIT */
/*
 * Where the data and the holes of a file without a store are: what is in the
 * cache is data, all else is a hole (SEEK_DATA, SEEK_HOLE).
 *
 * Locking: none; the answer is of a moment, as for any file system.
 */
#include "cache.h"

u64 quire_cache_seek(struct quire_mapping *m, u64 pos, bool data)
{
	u64 size = m->ops->size(m), from = pos >> QUIRE_PAGE_SHIFT, found;

	if (pos >= size)
		return ~0UL;
	if (data)
		found = cache_next(m, from, (size - 1) >> QUIRE_PAGE_SHIFT);
	else
		found = cache_next_hole(m, from, (size - 1) >> QUIRE_PAGE_SHIFT);
	if (found == ~0UL)
		return data ? ~0UL : size; /* the end of the file is a hole */
	found <<= QUIRE_PAGE_SHIFT;
	return quire_max(found, pos);
}
