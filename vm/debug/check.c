/* SPDX-License-Identifier: MIT */
/*
 * The whole-state checker of one address space: its VMAs in their index and in the
 * rmap trees, its page tables against its VMAs, entries against frames, and all of
 * its counters.  The first disagreement is dumped and stops the machine.
 *
 * Locking: none.  It is for quiet moments, when no other thread is in the core.
 */
#include <quire/assert.h>
#include <quire/mm.h>

#include "../rmap/rmap.h"
#include "debug.h"

/* What a walk over one mm adds up. */
struct sums {
	struct quire_mm *mm;
	u64 tables;
	s64 rss[MM_COUNTERS];
	check_page_fn *on_page; /* called for each counted entry; or null */
	void *arg;
};

#define BAD(mm, ...)                           \
	do {                                   \
		quire_dump_mm(mm);             \
		quire_host_panic(__VA_ARGS__); \
	} while (0)
#define MUST(mm, cond, what, addr)                                                           \
	do {                                                                                 \
		if (!(cond))                                                                 \
			BAD(mm, "check: %s at %lx: not so: %s", what, (unsigned long)(addr), \
			    #cond);                                                          \
	} while (0)

/* ---- VMAs ------------------------------------------------------------------------------ */

static bool tree_has(struct interval *root, const struct interval *want)
{
	struct interval *n;

	for (n = interval_first(root, want->first, want->last); n;
	     n = interval_next(n, want->first, want->last))
		if (n == want)
			return true;
	return false;
}

static void check_rmap(struct quire_mm *mm, struct vma *v)
{
	u64 last = v->pgoff + vma_pages(v) - 1;

	MUST(mm, v->mapping == (v->file ? v->file->mapping : NULL), "file", v->start);
	if (v->mapping) {
		MUST(mm, v->i_mmap.first == v->pgoff && v->i_mmap.last == last, "i_mmap", v->start);
		MUST(mm, tree_has(v->mapping->i_mmap, &v->i_mmap), "i_mmap", v->start);
		MUST(mm, v->mapping->nr_maps > 0, "nr_maps", v->start);
		MUST(mm, !(v->flags & VM_SHARED) || v->mapping->writable_maps > 0, "writable_maps",
		     v->start);
	}
	if (!v->anon_vma)
		return;
	MUST(mm, v->anon_vma->refs > 0, "anon_vma", v->start);
	MUST(mm, v->anon.first == v->pgoff && v->anon.last == last, "anon_vma", v->start);
	MUST(mm, tree_has(v->anon_vma->tree, &v->anon), "anon_vma", v->start);
}

static void check_vma(struct quire_mm *mm, struct vma *v)
{
	MUST(mm, v->mm == mm, "vma", v->start);
	MUST(mm, !((v->start | v->end) & ~QUIRE_PAGE_MASK), "bounds", v->start);
	MUST(mm, v->start < v->end && v->end <= QUIRE_USER_END, "bounds", v->start);
	MUST(mm, v->lock == 0, "vma lock", v->start);
	MUST(mm, v->prot == vma_prot(v->flags, v->mapping), "prot", v->start);
	/* What is allowed must be among what may be allowed, four bits up. */
	MUST(mm, !(v->flags & ~(v->flags >> 4) & (VM_READ | VM_WRITE | VM_EXEC)), "flags",
	     v->start);
	MUST(mm, !(v->flags & VM_SHARED) || (v->flags & VM_MAYSHARE), "flags", v->start);
	MUST(mm, !(v->flags & VM_SHARED) || v->file, "shared", v->start);
	MUST(mm, !(v->flags & VM_ACCOUNT) || !(v->flags & VM_SHARED), "account", v->start);
	MUST(mm, !(v->flags & VM_SPECIAL) == !v->special, "special", v->start);
	check_rmap(mm, v);
}

static void check_vmas(struct quire_mm *mm)
{
	struct quire_mm sum = {0};
	u64 end = 0, count;

	for (struct vma *v = vma_find(&mm->index, 0); v; v = vma_next(&mm->index, v)) {
		u64 pages = vma_pages(v);

		check_vma(mm, v);
		MUST(mm, v->start >= end, "overlap", v->start);
		end = v->end;
		sum.total_vm += pages;
		if ((v->flags & (VM_EXEC | VM_WRITE | VM_STACK)) == VM_EXEC)
			sum.exec_vm += pages;
		else if (v->flags & VM_STACK)
			sum.stack_vm += pages;
		else if ((v->flags & (VM_WRITE | VM_SHARED)) == VM_WRITE)
			sum.data_vm += pages;
		if (v->flags & VM_LOCKED)
			sum.locked_vm += pages;
		sum.map_count++;
	}
	count = vma_index_check(&mm->index);
	MUST(mm, count == sum.map_count && mm->map_count == sum.map_count, "map_count", count);
	MUST(mm, mm->total_vm == sum.total_vm, "total_vm", sum.total_vm);
	MUST(mm, mm->exec_vm == sum.exec_vm, "exec_vm", sum.exec_vm);
	MUST(mm, mm->stack_vm == sum.stack_vm, "stack_vm", sum.stack_vm);
	MUST(mm, mm->data_vm == sum.data_vm, "data_vm", sum.data_vm);
	MUST(mm, mm->locked_vm == sum.locked_vm, "locked_vm", sum.locked_vm);
}

/* ---- entries ----------------------------------------------------------------------------- */

static void check_bits(struct quire_mm *mm, const struct vma *v, struct pte e, u64 addr)
{
	bool open = v->flags & (VM_READ | VM_WRITE | VM_EXEC);

	MUST(mm, !(e.v & PTE_P) == !open, "entry", addr);
	MUST(mm, !(e.v & PTE_PROTNONE) == open, "entry", addr);
	MUST(mm, !open || (e.v & PTE_U), "entry", addr);
	MUST(mm, (e.v & PTE_NX) == (v->prot & PTE_NX), "entry", addr);
	MUST(mm, !((e.v ^ v->prot) >> PTE_PKEY_SHIFT & 15), "entry", addr);
	MUST(mm, !(e.v & PTE_W) || (v->flags & VM_WRITE), "entry", addr);
}

static void check_page(struct sums *s, const struct vma *v, struct pte e, u64 addr)
{
	struct quire_mm *mm = s->mm;
	struct page *p = pfn_page(pte_pfn(e));
	u64 pgoff = vma_pgoff_of(v, addr);

	MUST(mm, p->refs > 0 && p->mapcount > 0 && p->refs >= p->mapcount, "page", addr);
	MUST(mm,
	     !page_test(p, PG_BUDDY) && !page_test(p, PG_SLAB) && !page_test(p, PG_TABLE) &&
		 !page_test(p, PG_TAIL),
	     "page", addr);
	MUST(mm, p->index == pgoff || v->special, "page index", addr);
	if (v->special && !page_test(p, PG_ANON)) {
		MUST(mm, pgoff < v->special->n && v->special->frame[pgoff].n == pte_pfn(e).n,
		     "special page", addr);
		s->rss[MM_FILE]++;
	} else if (page_test(p, PG_ANON)) {
		MUST(mm, v->anon_vma && p->anon_vma == v->anon_vma, "anon page", addr);
		MUST(mm, !(v->flags & VM_SHARED), "anon page", addr);
		/* Two entries may share it, but none may write it then. */
		MUST(mm, !(e.v & PTE_W) || p->mapcount == 1, "writable shared page", addr);
		s->rss[MM_ANON]++;
	} else {
		MUST(mm, v->mapping, "file page", addr);
		MUST(mm, !p->mapping || p->mapping == v->mapping, "file page", addr);
		MUST(mm, !(e.v & PTE_W) || (v->flags & VM_SHARED), "writable file page", addr);
		s->rss[page_test(p, PG_SWAPBACKED) ? MM_SHMEM : MM_FILE]++;
	}
	if (s->on_page)
		s->on_page(p, s->arg);
}

static void check_leaf(struct sums *s, struct pte e, u64 addr)
{
	struct quire_mm *mm = s->mm;
	const struct vma *v = vma_find(&mm->index, addr);

	MUST(mm, v && v->start <= addr, "entry outside of any vma", addr);
	switch (pte_kind(e)) {
	case PTE_KIND_PRESENT:
		break;
	case PTE_KIND_POISON:
		return;
	default:
		/* Swap and userfaultfd aren't built, and nothing is moved in a quiet moment. */
		BAD(mm, "check: entry %lx of unknown kind at %lx", (unsigned long)e.v,
		    (unsigned long)addr);
	}
	MUST(mm, pfn_valid(pte_pfn(e)), "frame", addr);
	check_bits(mm, v, e, addr);
	if (!(e.v & PTE_SPECIAL)) {
		check_page(s, v, e, addr);
		return;
	}
	MUST(mm, !(e.v & PTE_W), "special page", addr);
	if (v->flags & VM_SPECIAL) {
		u64 i = vma_pgoff_of(v, addr);

		MUST(mm, i < v->special->n && v->special->frame[i].n == pte_pfn(e).n,
		     "special page", addr);
	}
}

/* Does a table for [base, base + span) serve any VMA? */
static bool serves(struct quire_mm *mm, u64 base, u64 span)
{
	const struct vma *v = vma_find(&mm->index, base);

	return v && v->start < base + span;
}

static void check_table(struct sums *s, struct page *t, unsigned level, u64 base)
{
	struct quire_mm *mm = s->mm;
	const struct pte *entry = page_view(t);
	u64 span = pt_span(level);
	unsigned n = page_pfn(t).n == mm->root.n ? 256 : 512, used = 0;

	MUST(mm, page_test(t, PG_TABLE) && t->refs == 1 && !t->ptl.locked, "table", base);
	MUST(mm, t->owner == mm, "table owner", base);
	/* The first entry of a fifth level is always there, and looked at on its own. */
	for (unsigned i = level == 5; i < n; i++) {
		struct pte e = entry[i];
		u64 addr = base + i * span;

		if (pte_none(e))
			continue;
		used++;
		if (level == 1) {
			check_leaf(s, e, addr);
			continue;
		}
		MUST(mm, (e.v & (PTE_P | PTE_PS | PTE_U)) == (PTE_P | PTE_U), "upper entry", addr);
		MUST(mm, pfn_valid(pte_pfn(e)), "upper entry", addr);
		MUST(mm, serves(mm, addr, span), "table that serves nothing", addr);
		s->tables += level <= 4;
		check_table(s, pfn_page(pte_pfn(e)), level - 1, addr);
	}
	MUST(mm, used == t->pt_used, "pt_used", base);
}

void check_mm_pages(struct quire_mm *mm, check_page_fn *fn, void *arg)
{
	struct sums s = {.mm = mm, .on_page = fn, .arg = arg};

	check_vmas(mm);
	check_table(&s, pfn_page(mm->low), 4, 0);
	if (mm->low.n != mm->root.n)
		check_table(&s, pfn_page(mm->root), 5, 0);
	MUST(mm, (s64)s.tables == mm->tables, "tables", s.tables);
	for (unsigned i = 0; i < MM_COUNTERS; i++)
		MUST(mm, s.rss[i] == mm->rss[i], "rss", s.rss[i]);
	MUST(mm, mm->refs > 0, "references", mm->refs);
	MUST(mm, !mm->mmap_lock.word, "mmap_lock", mm->mmap_lock.word);
}

void quire_check_mm(struct quire_mm *mm)
{
	check_mm_pages(mm, NULL, NULL);
}
