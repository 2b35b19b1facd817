/* SPDX-License-Identifier: MIT */
/*
 * The page-table cursor: the one way to read and edit page tables.
 *
 * Descent takes no lock: an upper entry goes from none to a table once, under the
 * lock of the table it stands in, and back to none only when nobody can be on the
 * way through it (pt.h says when).  A table that lost the race to be installed is
 * freed again.
 *
 * Not here: making and splitting large leaves.
 */
#include <quire/assert.h>
#include <quire/errno.h>
#include <quire/string.h>

#include "../base/init.h"
#include "../mm/mm.h"
#include "pt.h"

#define TOP_LEVEL (core_config.wide ? 5u : 4u)
#define UPPER_HALF 256 /* the first entry of a root that is the kernel's */

static s64 nr_tables; /* frames that are page tables, of all roots; atomic */

u64 pt_tables_total(void)
{
	return (u64)__atomic_load_n(&nr_tables, __ATOMIC_RELAXED);
}

static inline unsigned entry_index(u64 addr, unsigned level)
{
	return addr >> (QUIRE_PAGE_SHIFT + 9 * (level - 1)) & 511;
}

static inline bool is_table(struct pte e, unsigned level)
{
	return level > 1 && (e.v & (PTE_P | PTE_PS)) == PTE_P;
}

/* Walk down from `table`, which holds entries of `level`, to level `lowest` at most. */
static inline void descend(struct pt_cursor *c, struct pte *table, unsigned level, u64 addr,
			   unsigned lowest)
{
	struct pte *e;
	for (;;) {
		e = &table[entry_index(addr, level)];
		struct pte v = {__atomic_load_n(&e->v, __ATOMIC_ACQUIRE)};
		if (level == lowest || !is_table(v, level))
			break;
		table = pfn_view(pte_pfn(v));
		level--;
	}
	c->addr = addr & ~(pt_span(level) - 1);
	c->level = level;
	c->entry = e;
	c->table = view_page(table);
}

/* Walk down from the top of an mm. */
static inline void descend_mm(struct pt_cursor *c, u64 addr, unsigned lowest)
{
	if (quire_likely(addr < PT_LOW_END))
		descend(c, pfn_view(c->mm->low), 4, addr, lowest);
	else
		descend(c, pfn_view(c->mm->root), 5, addr, lowest);
}

/* Tables that the host built before the core was there have no lock yet. */
static void adopt(struct pt_cursor *c)
{
	if (quire_unlikely(c->table->ptl.rank == 0))
		spin_init(&c->table->ptl, RANK_PT);
}

void pt_find(struct pt_cursor *c, struct quire_mm *mm, u64 addr)
{
	c->mm = mm;
	descend_mm(c, addr, 1);
}

bool pt_find_table(struct pt_cursor *c, struct quire_mm *mm, u64 *addr, u64 end)
{
	while (*addr < end) {
		pt_find(c, mm, *addr);
		if (c->level == 1)
			return true;
		*addr = pt_end(c);
	}
	return false;
}

void pt_find_at(struct pt_cursor *c, struct quire_mm *mm, u64 addr, unsigned level)
{
	c->mm = mm;
	descend_mm(c, addr, level);
}

void pt_find_root(struct pt_cursor *c, struct pfn root, u64 addr)
{
	c->mm = NULL;
	descend(c, pfn_view(root), TOP_LEVEL, addr, 1);
	adopt(c);
}

/* ---- tables --------------------------------------------------------------------------- */

struct page *pt_table_alloc(struct quire_mm *mm, unsigned gfp)
{
	struct page *t = quire_page_alloc(0, gfp);
	if (!t)
		return NULL;
	__atomic_store_n(&t->flags, 1UL << PG_TABLE, __ATOMIC_RELAXED);
	t->owner = mm;
	spin_init(&t->ptl, RANK_PT);
	t->pt_used = 0;
	__atomic_add_fetch(&nr_tables, 1, __ATOMIC_RELAXED);
	return t;
}

void pt_table_free(struct page *t)
{
	__atomic_store_n(&t->flags, 0, __ATOMIC_RELAXED);
	t->owner = NULL;
	t->private = 0;
	__atomic_sub_fetch(&nr_tables, 1, __ATOMIC_RELAXED);
	quire_page_put(t);
}

/* Hang a new table under the cursor's entry, unless somebody else just did. */
static int install_table(struct pt_cursor *c, unsigned gfp)
{
	struct page *t = pt_table_alloc(c->mm, gfp | GFP_ZERO);
	if (!t)
		return -ENOMEM;
	u64 bits = PTE_P | PTE_W | PTE_A | (c->mm ? PTE_U : 0);
	pt_lock(c);
	bool won = pte_none(pt_get(c));
	if (won)
		pt_set(c, pte_make(page_pfn(t), bits));
	pt_unlock(c);
	if (!won)
		pt_table_free(t);
	else if (c->mm && c->level <= 4)
		__atomic_add_fetch(&c->mm->tables, 1, __ATOMIC_RELAXED);
	return 0;
}

/* From where the cursor stands down to the level, through new tables. */
static int make(struct pt_cursor *c, u64 addr, unsigned level, unsigned gfp)
{
	while (quire_unlikely(c->level > level)) {
		if (!c->mm)
			adopt(c);
		if (!pte_none(pt_get(c)) && !is_table(pt_get(c), c->level))
			return -EEXIST;
		int err = install_table(c, gfp);
		if (err)
			return err;
		/* From this very table on: what is above it doesn't change. */
		struct pte *table = (struct pte *)((uintptr_t)c->entry & QUIRE_PAGE_MASK);
		descend(c, table, c->level, addr, level);
	}
	return 0;
}

int pt_make(struct pt_cursor *c, struct quire_mm *mm, u64 addr, unsigned level, unsigned gfp)
{
	ASSERT(level >= 1 && level <= 4 && addr < QUIRE_USER_END);
	c->mm = mm;
	descend_mm(c, addr, level);
	return make(c, addr, level, gfp);
}

int pt_make_root(struct pt_cursor *c, struct pfn root, u64 addr, unsigned level, unsigned gfp)
{
	c->mm = NULL;
	descend(c, pfn_view(root), TOP_LEVEL, addr, level);
	int err = make(c, addr, level, gfp);
	adopt(c);
	return err;
}

/* ---- entries ------------------------------------------------------------------------------ */

struct pte pt_modify(struct pt_cursor *c, u64 clear, u64 set)
{
	struct pte old = pt_get(c);
	u64 new;
	do {
		new = (old.v & ~clear) | set;
		ASSERT((new == 0) == (old.v == 0));
	} while (!__atomic_compare_exchange_n(&c->entry->v, &old.v, new, false, __ATOMIC_ACQ_REL,
					      __ATOMIC_ACQUIRE));
	return old;
}

/* ---- roots ---------------------------------------------------------------------------------- */

int pt_root_alloc(struct quire_mm *mm)
{
	struct page *t = pt_table_alloc(mm, GFP_KERNEL), *low = t;
	if (t && core_config.wide)
		low = pt_table_alloc(mm, GFP_KERNEL | GFP_ZERO);
	if (!low) {
		if (t)
			pt_table_free(t);
		return -ENOMEM;
	}
	struct pte *root = page_view(t);
	size_t half = UPPER_HALF * sizeof(struct pte);
	memset(root, 0, half);
	if (pfn_valid(core_config.kernel_root)) {
		const struct pte *kernel = pfn_view(core_config.kernel_root);
		memcpy(root + UPPER_HALF, kernel + UPPER_HALF, half);
	} else {
		memset(root + UPPER_HALF, 0, half);
	}
	if (low != t) /* not counted in pt_used: it is there in an empty root, too */
		root[0] = pte_make(page_pfn(low), PTE_P | PTE_W | PTE_A | PTE_U);
	mm->root = page_pfn(t);
	mm->low = page_pfn(low);
	return 0;
}

void pt_root_free(struct quire_mm *mm)
{
	struct page *t = pfn_page(mm->root), *low = pfn_page(mm->low);
	ASSERT(t->pt_used == 0 && low->pt_used == 0);
	if (low != t)
		pt_table_free(low);
	pt_table_free(t);
}
