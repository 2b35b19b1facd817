/* SPDX-License-Identifier: MIT */
/*
 * Taking mappings away: clearing entries (zap), removing VMAs, freeing the tables
 * that served them.  munmap, and the parts that mmap, mremap, exit and truncation use.
 *
 * Order of a removal.  The VMAs are write-locked, detached and taken out of the index, and
 * those at the borders made smaller; look-ups from here on find nothing.  For the part of
 * such a VMA that goes, a VMA that was never in the index stays in the rmap trees.  Then
 * entries are cleared, the VMAs leave their rmap trees (which waits for walks that are on
 * their tables), tables go, the TLBs are flushed, and only then are frames freed.
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

/* What zapping is about. */
struct zap {
	struct tlb_gather *g;
	struct vma *v;
	bool even_cows, locked;
};

/* A page of a file lost the entry `old`. */
static void zap_file(const struct zap *z, struct page *p, struct pte old)
{
	if (old.v & PTE_D)
		cache_mark_dirty(p);
	if ((old.v & PTE_A) && !page_test(p, PG_REFERENCED))
		page_set(p, PG_REFERENCED);
	rmap_remove(p, z->v);
}

/* Is the entry one that stays: empty, or (not even_cows) no page of the file's? */
static inline bool zap_keeps(const struct zap *z, struct pte e)
{
	if (quire_unlikely(!pte_present(e)))
		return pte_none(e) || !z->even_cows;
	if (quire_likely(z->even_cows) || (e.v & PTE_SPECIAL))
		return false;
	return page_test(pfn_page(pte_pfn(e)), PG_ANON);
}

/* Clear entries of the cursor's table up to end, or until the gather is full (then *full).
 * Returns where it stopped.  The loop runs once for each page of a process that ends. */
static u64 zap_table(const struct zap *z, struct pt_cursor *c, u64 end, bool *full)
{
	u64 addr = c->addr, first = ~0UL, last = 0;
	u64 table_end = quire_round_down(addr, QUIRE_PMD_SIZE) + QUIRE_PMD_SIZE;
	u64 stop = quire_min(end, table_end);
	struct pte *entry = c->entry;
	s64 anon = 0;

	pt_lock(c);
	u32 used = c->table->pt_used;
	for (; addr < stop && used && !*full; addr += QUIRE_PAGE_SIZE, entry++) {
		struct pte e = pte_load(entry);

		if (zap_keeps(z, e))
			continue;
		e = pte_take(entry);
		used--;
		if (quire_unlikely(!pte_present(e)))
			continue; /* swap, poison, markers: the entry holds nothing */
		first = quire_min(first, addr);
		last = addr;
		if (quire_unlikely(e.v & PTE_SPECIAL))
			continue;
		struct page *p = pfn_page(pte_pfn(e));
		if (quire_unlikely(z->locked) && page_test(p, PG_MLOCKED))
			page_clear(p, PG_MLOCKED);
		if (page_test(p, PG_ANON)) {
			rmap_anon_less(p);
			anon++;
		} else {
			zap_file(z, p, e);
		}
		*full = gather_page(z->g, p);
	}
	pt_set_used(c, used);
	if (first <= last)
		gather_range(z->g, first, last + QUIRE_PAGE_SIZE);
	if (anon)
		mm_rss_add(z->v->mm, MM_ANON, -anon);
	pt_unlock(c);
	return used ? addr : table_end;
}

void zap_range(struct tlb_gather *g, struct vma *v, u64 start, u64 end, bool even_cows)
{
	u64 addr = start;
	struct zap z = {
	    .g = g,
	    .v = v,
	    .even_cows = even_cows,
	    .locked = __atomic_load_n(&v->flags, __ATOMIC_RELAXED) & VM_LOCKED,
	};

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
		addr = zap_table(&z, &c, end, &full);
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
	for (v = gone; v; v = chain_next(v))
		pt_free_tables(&g, mm, v->start, v->end, floor, ceiling);
	gather_flush(&g);
	for (v = gone; v; v = next) {
		next = chain_next(v);
		vma_free(v);
	}
}

int unmap_prepare(struct unmap *u, struct quire_mm *mm, u64 start, u64 end)
{
	struct vma *before, *v = vma_find_both(&mm->index, start, &before), *last;

	REQUIRE(start < end);
	*u = (struct unmap){.mm = mm, .start = start, .end = end, .before = before, .after = v};
	if (!v || v->start >= end)
		return 0;
	u->first = v;
	u->last = last = v->end >= end ? v : vma_find_prev(&mm->index, end);
	if (start > v->start)
		u->low = v;
	if (end < last->end)
		u->high = last;
	/* Special mappings stay whole. */
	if ((u->low && (v->flags & VM_SPECIAL)) || (u->high && (last->flags & VM_SPECIAL)))
		return -EINVAL;
	if (u->low && u->low == u->high) {
		if (mm->map_count >= quire_sysctl.max_map_count)
			return -ENOMEM;
		u->upper = vma_dup(mm, v, end, v->end);
		if (!u->upper)
			return -ENOMEM;
	}
	if (u->low)
		u->gone_low = vma_dup(mm, v, start, quire_min(v->end, end));
	if (u->high && !u->upper)
		u->gone_high = vma_dup(mm, last, quire_max(last->start, start), end);
	if ((u->low && !u->gone_low) || (u->high && !u->upper && !u->gone_high)) {
		unmap_cancel(u);
		return -ENOMEM;
	}
	return 0;
}

void unmap_cancel(struct unmap *u)
{
	struct vma **own[] = {&u->gone_low, &u->gone_high, &u->upper};

	for (unsigned i = 0; i < quire_array_size(own); i++) {
		if (*own[i])
			vma_free(*own[i]);
		*own[i] = NULL;
	}
}

/* What the VMA covers leaves the address space's counts. */
static void uncount(struct vma *v)
{
	struct quire_mm *mm = v->mm;
	u64 pages = vma_pages(v);

	mm_account(mm, v->flags, -(s64)pages);
	if (v->flags & VM_LOCKED)
		mm->locked_vm -= pages;
	if (v->flags & VM_ACCOUNT)
		mm_uncommit(pages);
}

static void chain(struct vma **gone, struct vma *v)
{
	uncount(v);
	v->rcu.next = *gone ? &(*gone)->rcu : NULL;
	*gone = v;
}

/* Tables that a removal of [start, end) can have emptied lie between these. */
static void table_bounds(const struct unmap *u, u64 *floor, u64 *ceiling)
{
	const u64 top = pt_span(u->end > PT_LOW_END ? 5 : 4);
	const struct vma *prev = u->low ? u->low : u->before;
	u64 end = u->end;

	if (!u->high) {
		const struct vma *next = vma_find(&u->mm->index, u->end);

		end = next ? next->start : ~0UL;
	}
	*floor = quire_max(prev ? prev->end : 0, quire_round_down(u->start, top));
	*ceiling = quire_min(quire_min(end, QUIRE_USER_END), quire_round_up(u->end, top));
}

void unmap_commit(struct unmap *u, struct vma_edit *e)
{
	struct vma *gone = NULL, *v, *next;
	u64 floor, ceiling;

	if (!u->first)
		return;
	if (u->low) {
		cut_commit(e, u->low, u->low->start, u->start, u->gone_low, u->upper);
		chain(&gone, u->gone_low);
	}
	if (u->gone_high) {
		cut_commit(e, u->high, u->end, u->high->end, u->gone_high, NULL);
		chain(&gone, u->gone_high);
	}
	if (u->first != u->last || !gone) { /* some go as a whole */
		v = u->low ? vma_find(&u->mm->index, u->start) : u->first;
		for (; v && v->start < u->end; v = next) {
			next = v == u->last ? NULL : vma_next(&u->mm->index, v);
			vma_write_lock(v);
			vma_detach(v);
			u->mm->map_count--;
			chain(&gone, v);
		}
		vma_edit_remove_range(e, u->start, u->end);
	}
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

/* ---- what is taken from the dying ------------------------------------------------------------ */

static void reap_all(struct quire_mm *mm) REQUIRES_SHARED(mm->mmap_lock)
{
	struct tlb_gather g;
	struct vma *v;

	mm_update_peaks(mm);
	for (u64 at = 0; (v = vma_find(&mm->index, at)) != NULL; at = v->end) {
		if (v->flags & (VM_SHARED | VM_PFNMAP))
			continue;
		gather_init(&g, mm, false);
		zap_range(&g, v, v->start, v->end, true);
		gather_flush(&g);
	}
}

NO_TSA int quire_mm_reap(struct quire_mm *mm, bool wait)
{
	if (wait)
		read_lock(&mm->mmap_lock);
	else if (!read_trylock(&mm->mmap_lock))
		return -EAGAIN;
	__atomic_store_n(&mm->reaped, 1u, __ATOMIC_SEQ_CST);
	reap_all(mm);
	read_unlock(&mm->mmap_lock);
	return 0;
}

bool quire_mm_reaped(const struct quire_mm *mm)
{
	return __atomic_load_n(&mm->reaped, __ATOMIC_SEQ_CST);
}
