/* SPDX-License-Identifier: MIT */
/*
 * The TLB gather: frames and page tables that were unmapped are kept here until
 * no CPU can have a translation to them any more, and freed then.
 *
 * Locking: a gather is its thread's own.  gather_flush() holds no lock while it
 * flushes and frees.
 */
#include <quire/assert.h>

#include "../mm/mm.h"
#include "../phys/phys.h"
#include "pt.h"

static void reset(struct tlb_gather *g)
{
	g->start = ~0UL;
	g->end = 0;
	g->tables = false;
	g->n = 0;
	g->freed_tables = NULL;
}

void gather_init(struct tlb_gather *g, struct quire_mm *mm, bool whole)
{
	g->mm = mm;
	g->whole = whole;
	reset(g);
}

void gather_table(struct tlb_gather *g, struct page *table)
{
	table->lru.next = (struct list *)g->freed_tables;
	g->freed_tables = table;
	g->tables = true;
}

void gather_flush(struct tlb_gather *g)
{
	if (!g->whole && (g->tables || g->start < g->end)) {
		if (g->start < g->end)
			quire_host_tlb_flush(g->mm, g->start, g->end, g->tables);
		else
			quire_host_tlb_flush(g->mm, 0, ~0UL, true);
	}
	page_put_batch(g->pages, g->n);
	struct page *t = g->freed_tables;
	while (t) {
		struct page *next = (struct page *)t->lru.next;
		list_init(&t->lru);
		pt_table_free(t);
		t = next;
	}
	reset(g);
}

void pt_walk(struct quire_mm *mm, u64 start, u64 end,
	     bool (*fn)(struct pt_cursor *c, struct pte e, void *arg), void *arg)
{
	struct tlb_gather g;
	struct pt_cursor c;
	u64 addr = start;

	gather_init(&g, mm, false);
	while (pt_find_table(&c, mm, &addr, end)) {
		pt_lock(&c);
		do {
			addr = c.addr + QUIRE_PAGE_SIZE;
			if (fn(&c, pt_get(&c), arg))
				gather_range(&g, c.addr, addr);
		} while (addr < end && pt_next(&c));
		pt_unlock(&c);
	}
	gather_flush(&g);
}
