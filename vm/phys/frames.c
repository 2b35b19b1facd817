/* SPDX-License-Identifier: MIT */
/*
 * The array of struct page, one for each frame below max_pfn, and its beginning.
 *
 * The array comes zeroed, which is the state of a free frame; so only the heads
 * of free blocks and the frames that aren't the allocator's are written here, and
 * a machine starts in a time that doesn't grow with its memory.
 * No locking: one CPU.
 */
#include <quire/assert.h>
#include <quire/string.h>

#include "../base/init.h"
#include "phys.h"

struct page *quire_pages;
u64 quire_nr_pages;
char *quire_frame_base;

static void reserve(u64 start, u64 end)
{
	for (u64 pfn = start; pfn < end; pfn++)
		quire_pages[pfn].flags = 1UL << PG_RESERVED;
}

static void zone_init(void)
{
	memset(&zone, 0, sizeof(zone));
	spin_init(&zone.lock, RANK_ZONE);
	for (unsigned order = 0; order <= MAX_ORDER; order++)
		list_init(&zone.area[order]);
}

void frames_init(void)
{
	const struct quire_config *c = &core_config;
	quire_frame_base = c->frame_base;
	quire_nr_pages = c->max_pfn;
	quire_pages = quire_host_alloc(c->max_pfn * sizeof(struct page), 64);
	if (!quire_pages)
		quire_host_panic("no memory for the table of %lu frames",
				 (unsigned long)c->max_pfn);
	zone_init();
	pcp_init();
	/* The host may have shortened its free ranges while it served the above. */
	u64 at = 0;
	for (unsigned i = 0; i < c->nr_free; i++) {
		u64 start = quire_round_up(c->free[i].start, QUIRE_PAGE_SIZE) >> QUIRE_PAGE_SHIFT;
		u64 end = c->free[i].end >> QUIRE_PAGE_SHIFT;
		if (start >= end)
			continue;
		reserve(at, start);
		mem_unpoison(quire_frame_base + (start << QUIRE_PAGE_SHIFT),
			     (end - start) << QUIRE_PAGE_SHIFT);
		buddy_add(start, end);
		at = end;
	}
	reserve(at, c->max_pfn);
	zone.total = zone.free;
	u64 reserved = zone.total / 128;
	zone.reserve = quire_max(16UL, quire_min(reserved, 512UL));
}
