/* SPDX-License-Identifier: MIT */
/*
 * Freeing page tables that serve nothing any more.
 *
 * Locking: the caller holds mmap_lock for writing and no VMA lies in the range, so
 * nobody makes, or walks through, a table that is wholly inside it.  A table that
 * is only partly inside may be in use by faults of its neighbours at this moment:
 * its entries are cleared under its lock, and it stays.
 */
#include <quire/assert.h>

#include "../mm/mm.h"
#include "pt.h"

static bool table_empty(const struct page *t)
{
	return __atomic_load_n(&t->pt_used, __ATOMIC_RELAXED) == 0;
}

/* Unlink the table below the cursor's entry and give it to the gather. */
static void unlink_table(struct tlb_gather *g, struct pt_cursor *c)
{
	pt_lock(c);
	struct pte old = pt_set(c, (struct pte){0});
	pt_unlock(c);
	struct page *t = pfn_page(pte_pfn(old));
	ASSERT(table_empty(t));
	/* What was translated through it may still be in paging-structure caches. */
	gather_range(g, c->addr, pt_end(c));
	gather_table(g, t);
	if (c->level <= 4)
		__atomic_sub_fetch(&c->mm->tables, 1, __ATOMIC_RELAXED);
}

/* What may go, and where to look for it. */
struct extent {
	u64 start, end;     /* only tables that serve some of this */
	u64 floor, ceiling; /* and nothing outside of this */
};

/* Free the tables below `table`, whose entries are of `level` and cover from `base` on. */
static void free_below(struct tlb_gather *g, struct quire_mm *mm, struct page *table,
		       unsigned level, u64 base, const struct extent *x)
{
	u64 span = pt_span(level);
	u64 first = x->start > base ? (x->start - base) / span : 0;
	struct pt_cursor c = {
	    .mm = mm,
	    .level = level,
	    .addr = base + first * span,
	    .entry = (struct pte *)page_view(table) + first,
	    .table = table,
	};
	do {
		if (c.addr >= x->end || table_empty(table))
			return;
		struct pte e = pt_get(&c);
		if ((e.v & (PTE_P | PTE_PS)) != PTE_P)
			continue;
		struct page *below = pfn_page(pte_pfn(e));
		if (level > 2)
			free_below(g, mm, below, level - 1, c.addr, x);
		/* One that has other tables left goes with the last of them. */
		if (c.addr >= x->floor && pt_end(&c) <= x->ceiling && table_empty(below))
			unlink_table(g, &c);
	} while (pt_next(&c));
}

void pt_free_tables(struct tlb_gather *g, struct quire_mm *mm, u64 start, u64 end, u64 floor,
		    u64 ceiling)
{
	/* The last page of user space's half is no one's: what ends there ends with the half. */
	if (ceiling >= QUIRE_USER_END)
		ceiling = QUIRE_USER_END + QUIRE_PAGE_SIZE;
	struct extent x = {start, end, floor, ceiling};
	if (start < quire_min(end, PT_LOW_END))
		free_below(g, mm, pfn_page(mm->low), 4, 0, &x);
	x.start = quire_max(start, PT_LOW_END);
	if (x.start < end)
		free_below(g, mm, pfn_page(mm->root), 5, 0, &x);
}

void pt_free_range(struct tlb_gather *g, struct quire_mm *mm, u64 floor, u64 ceiling)
{
	pt_free_tables(g, mm, floor, ceiling, floor, ceiling);
}
