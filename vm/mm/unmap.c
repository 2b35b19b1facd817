/* SPDX-License-Identifier: MIT */
/*
 * Taking mappings away: clearing entries (zap), removing VMAs, freeing the tables
 * that served them.  munmap, and the parts that mmap, mremap, exit and truncation use.
 *
 * Order of a removal.  The VMAs are split at the borders, write-locked, detached and
 * taken out of the index; look-ups from here on find nothing.  Then entries are
 * cleared, the VMAs leave their rmap trees (which waits for walks that are on their
 * tables), tables go, the TLBs are flushed, and only then are frames freed.
 *
 * Locking: mmap_lock held for writing, but for zap_range(), see mm.h.
 */
#include <quire/assert.h>
#include <quire/errno.h>

#include "../cache/cache.h"
#include "../rmap/rmap.h"
#include "../vma/internal.h"
#include "mm.h"

/* ---- zap ------------------------------------------------------------------------- */

/* Clear a present entry.  True: the gather is full. */
static bool zap_present(struct tlb_gather *g, struct vma *v, struct pt_cursor *c, struct pte e,
			bool even_cows)
{
	struct page *p = pfn_page(pte_pfn(e));
	bool special = e.v & PTE_SPECIAL;

	if (!even_cows && !special && page_test(p, PG_ANON))
		return false;
	e = pt_set(c, (struct pte){0});
	gather_range(g, c->addr, c->addr + QUIRE_PAGE_SIZE);
	if (special)
		return false;
	if (!page_test(p, PG_ANON)) {
		if (e.v & PTE_D)
			cache_mark_dirty(p);
		if ((e.v & PTE_A) && !page_test(p, PG_REFERENCED))
			page_set(p, PG_REFERENCED);
	}
	if ((__atomic_load_n(&v->flags, __ATOMIC_RELAXED) & VM_LOCKED) && page_test(p, PG_MLOCKED))
		page_clear(p, PG_MLOCKED);
	rmap_remove(p, v);
	return gather_page(g, p);
}

/* Clear entries of the cursor's table up to end, or until the gather is full (then *full).
 * Returns where it stopped. */
static u64 zap_table(struct tlb_gather *g, struct vma *v, struct pt_cursor *c, u64 end,
		     bool even_cows, bool *full)
{
	bool more;

	pt_lock(c);
	do {
		struct pte e = pt_get(c);

		switch (pte_kind(e)) {
		case PTE_KIND_NONE:
			break;
		case PTE_KIND_PRESENT:
			*full = zap_present(g, v, c, e, even_cows);
			break;
		case PTE_KIND_SWAP:
		case PTE_KIND_MIGRATION:
		case PTE_KIND_MARKER:
		case PTE_KIND_POISON:
			if (even_cows)
				pt_set(c, (struct pte){0});
			break;
		}
		more = pt_next(c);
	} while (more && c->addr < end && !*full);
	u64 at = c->addr;
	pt_unlock(c);
	return at;
}

void zap_range(struct tlb_gather *g, struct vma *v, u64 start, u64 end, bool even_cows)
{
	u64 addr = start;

	ASSERT(!((start | end) & ~QUIRE_PAGE_MASK) && start <= end);
	while (addr < end) {
		struct pt_cursor c;
		bool full = false;

		pt_find(&c, v->mm, addr);
		if (c.level > 1 || !__atomic_load_n(&c.table->pt_used, __ATOMIC_RELAXED)) {
			u64 span = pt_span(c.level > 1 ? c.level : 2);

			addr = quire_round_down(addr, span) + span;
			continue;
		}
		addr = zap_table(g, v, &c, end, even_cows, &full);
		if (full)
			gather_flush(g);
	}
}

void unmap_mapping_range(struct quire_mapping *m, u64 first, u64 last, bool even_cows)
{
	struct interval *i;

	read_lock(&m->i_mmap_lock);
	for (i = interval_first(m->i_mmap, first, last); i; i = interval_next(i, first, last)) {
		struct vma *v = quire_container_of(i, struct vma, i_mmap);
		u64 from = quire_max(first, i->first), to = quire_min(last, i->last) + 1;
		struct tlb_gather g;

		gather_init(&g, v->mm, false);
		zap_range(&g, v, v->start + ((from - v->pgoff) << QUIRE_PAGE_SHIFT),
			  v->start + ((to - v->pgoff) << QUIRE_PAGE_SHIFT), even_cows);
		gather_flush(&g);
	}
	read_unlock(&m->i_mmap_lock);
}

/* ---- removal --------------------------------------------------------------------- */

static struct vma *chain_next(struct vma *v)
{
	return v->rcu.next ? quire_container_of(v->rcu.next, struct vma, rcu) : NULL;
}

void unmap_region(struct quire_mm *mm, struct vma *gone, u64 floor, u64 ceiling, bool whole)
{
	struct tlb_gather g;
	struct vma *v, *next;

	gather_init(&g, mm, whole);
	for (v = gone; v; v = chain_next(v))
		zap_range(&g, v, v->start, v->end, true);
	for (v = gone; v; v = chain_next(v))
		vma_rmap_unlink(v);
	pt_free_range(&g, mm, floor, ceiling);
	gather_flush(&g);
	for (v = gone; v; v = next) {
		next = chain_next(v);
		vma_free(v);
	}
}

int unmap_prepare(struct unmap *u, struct quire_mm *mm, u64 start, u64 end)
{
	struct vma *v = vma_find(&mm->index, start);

	*u = (struct unmap){.mm = mm, .start = start, .end = end};
	if (!v || v->start >= end)
		return 0;
	u->first = v;
	u->last = v->end >= end ? v : vma_find_prev(&mm->index, end);
	if (start > v->start) {
		if (end < v->end && mm->map_count >= quire_sysctl.max_map_count)
			return -ENOMEM;
		u->lower = vma_dup(mm, v, v->start, start);
		if (!u->lower)
			return -ENOMEM;
	}
	if (end < u->last->end) {
		u->upper = vma_dup(mm, u->last, end, u->last->end);
		if (!u->upper) {
			unmap_cancel(u);
			return -ENOMEM;
		}
	}
	return 0;
}

void unmap_cancel(struct unmap *u)
{
	if (u->lower)
		vma_free(u->lower);
	if (u->upper)
		vma_free(u->upper);
	u->lower = u->upper = NULL;
}

/* The VMA leaves the address space's counts. */
static void uncount(struct vma *v)
{
	struct quire_mm *mm = v->mm;
	u64 pages = vma_pages(v);

	mm_account(mm, v->flags, -(s64)pages);
	if (v->flags & VM_LOCKED)
		mm->locked_vm -= pages;
	if (v->flags & VM_ACCOUNT)
		mm_uncommit(pages);
	mm->map_count--;
}

/* Tables that a removal of [start, end) can have emptied lie between these. */
static void table_bounds(const struct unmap *u, u64 *floor, u64 *ceiling)
{
	const u64 top = pt_span(4);
	struct vma *prev = vma_find_prev(&u->mm->index, u->start);
	struct vma *next = vma_find(&u->mm->index, u->end - 1);

	*floor = quire_max(prev ? prev->end : 0, quire_round_down(u->start, top));
	*ceiling = quire_min(next ? next->start : QUIRE_USER_END, quire_round_up(u->end, top));
}

void unmap_commit(struct unmap *u, struct vma_edit *e)
{
	struct vma *gone = NULL, *v, *next;
	u64 floor, ceiling;

	if (!u->first)
		return;
	if (u->first == u->last) {
		if (u->lower || u->upper)
			split_commit(e, u->first, u->lower, u->upper);
	} else {
		if (u->lower)
			split_commit(e, u->first, u->lower, NULL);
		if (u->upper)
			split_commit(e, u->last, NULL, u->upper);
	}
	for (v = u->first; v; v = next) {
		next = v == u->last ? NULL : vma_next(&u->mm->index, v);
		vma_write_lock(v);
		vma_detach(v);
		uncount(v);
		v->rcu.next = gone ? &gone->rcu : NULL;
		gone = v;
	}
	vma_edit_remove_range(e, u->start, u->end);
	table_bounds(u, &floor, &ceiling);
	unmap_region(u->mm, gone, floor, ceiling, false);
}

int unmap_locked(struct quire_mm *mm, u64 start, u64 end)
{
	struct unmap u;
	struct vma_edit e;
	int err = unmap_prepare(&u, mm, start, end);

	if (err || !u.first)
		return err;
	err = vma_edit_reserve(&e, &mm->index, unmap_inserts(&u));
	if (err) {
		unmap_cancel(&u);
		return err;
	}
	unmap_commit(&u, &e);
	vma_edit_done(&e);
	return 0;
}

s64 quire_munmap(struct quire_mm *mm, u64 addr, u64 len)
{
	u64 top = mm->layout.task_size;
	int err;

	if ((addr & ~QUIRE_PAGE_MASK) || addr > top || len > top - addr)
		return -EINVAL;
	len = quire_round_up(len, QUIRE_PAGE_SIZE);
	if (!len)
		return -EINVAL;
	write_lock(&mm->mmap_lock);
	err = unmap_locked(mm, addr, addr + len);
	write_unlock(&mm->mmap_lock);
	return err;
}
