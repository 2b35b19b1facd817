/* SPDX-License-Identifier: MIT */
/*
 * What /proc/kpageflags, kpagecount and buddyinfo show of frames.
 *
 * Locking: none.  A frame may change its use while it is looked at; what is said was
 * true of it at some moment, bit by bit.
 *
 * Source of the bits: Linux's admin guide, pagemap.
 */
#include "../cache/cache.h"
#include "phys.h"

enum kpf {
	KPF_LOCKED = 0,
	KPF_REFERENCED = 2,
	KPF_UPTODATE = 3,
	KPF_DIRTY = 4,
	KPF_LRU = 5,
	KPF_ACTIVE = 6,
	KPF_SLAB = 7,
	KPF_WRITEBACK = 8,
	KPF_BUDDY = 10,
	KPF_MMAP = 11,
	KPF_ANON = 12,
	KPF_SWAPBACKED = 14,
	KPF_COMPOUND_HEAD = 15,
	KPF_COMPOUND_TAIL = 16,
	KPF_HWPOISON = 19,
	KPF_NOPAGE = 20,
	KPF_ZERO_PAGE = 24,
	KPF_PGTABLE = 26,
	KPF_RESERVED = 32,
	KPF_MLOCKED = 33,
};

u64 quire_frame_flags(struct pfn f)
{
	static const struct {
		u8 page, kpf;
	} same[] = {
	    {PG_LOCKED, KPF_LOCKED},
	    {PG_REFERENCED, KPF_REFERENCED},
	    {PG_UPTODATE, KPF_UPTODATE},
	    {PG_DIRTY, KPF_DIRTY},
	    {PG_LRU, KPF_LRU},
	    {PG_ACTIVE, KPF_ACTIVE},
	    {PG_SLAB, KPF_SLAB},
	    {PG_WRITEBACK, KPF_WRITEBACK},
	    {PG_ANON, KPF_ANON},
	    {PG_SWAPBACKED, KPF_SWAPBACKED},
	    {PG_HEAD, KPF_COMPOUND_HEAD},
	    {PG_TAIL, KPF_COMPOUND_TAIL},
	    {PG_HWPOISON, KPF_HWPOISON},
	    {PG_TABLE, KPF_PGTABLE},
	    {PG_RESERVED, KPF_RESERVED},
	    {PG_MLOCKED, KPF_MLOCKED},
	};
	u64 out = 0;

	if (!pfn_valid(f))
		return 1UL << KPF_NOPAGE;
	const struct page *p = pfn_page(f);
	u64 flags = __atomic_load_n(&p->flags, __ATOMIC_ACQUIRE);

	if (page_is_free(p))
		return 1UL << KPF_BUDDY;
	for (unsigned i = 0; i < quire_array_size(same); i++)
		out |= (flags >> same[i].page & 1) << same[i].kpf;
	if (p == zero_page)
		out |= 1UL << KPF_ZERO_PAGE;
	/* What is anonymous has its content from the first moment. */
	if (flags >> PG_ANON & 1)
		out |= 1UL << KPF_UPTODATE;
	if (quire_frame_mapcount(f))
		out |= 1UL << KPF_MMAP;
	return out;
}

u64 quire_frame_mapcount(struct pfn f)
{
	if (!pfn_valid(f))
		return 0;
	const struct page *p = pfn_page(f);
	s32 n = __atomic_load_n(&p->mapcount, __ATOMIC_RELAXED);

	return n > 0 && !page_is_free(p) && !page_test(p, PG_SLAB) ? (u64)n : 0;
}

unsigned quire_free_blocks(u64 nr[QUIRE_ORDERS])
{
	_Static_assert(QUIRE_ORDERS == MAX_ORDER + 1, "QUIRE_ORDERS");
	for (unsigned order = 0; order < QUIRE_ORDERS; order++)
		nr[order] = __atomic_load_n(&zone.nr[order], __ATOMIC_RELAXED);
	return QUIRE_ORDERS;
}
