/* SPDX-License-Identifier: MIT */
/*
 * What /proc/PID shows of an address space: its VMAs, smaps, pagemap, clear_refs.
 *
 * Locking: mmap_lock for reading; for writing where VM_SOFTDIRTY is cleared.  Page
 * counts are read while they may change, each under its entry's table lock.
 *
 * Source of the formats: proc(5); the bits of pagemap: Linux's admin guide, pagemap.
 */
#include <quire/assert.h>
#include <quire/errno.h>
#include <quire/string.h>

#include "../cache/cache.h"
#include "../rmap/rmap.h"
#include "mm.h"

/* ---- VMAs --------------------------------------------------------------------------- */

static const char *vma_name(const struct vma *v)
{
	const struct quire_layout *l = &v->mm->layout;

	if (v->name)
		return v->name;
	if (shared_anon_is(v->file))
		return "/dev/zero (deleted)";
	if (v->file)
		return NULL;
	if (v->start <= quire_max(v->mm->brk, l->start_brk) && v->end >= l->start_brk)
		return "[heap]";
	if (v->start <= l->start_stack && v->end >= l->start_stack)
		return "[stack]";
	return NULL;
}

bool quire_mm_vma_at(struct quire_mm *mm, u64 addr, struct quire_vma_info *out)
{
	struct vma *v;

	read_lock(&mm->mmap_lock);
	v = vma_find(&mm->index, addr);
	if (v) {
		*out = (struct quire_vma_info){
		    .start = v->start,
		    .end = v->end,
		    .flags = v->flags,
		    .pgoff = v->file ? v->pgoff : 0,
		    .name = vma_name(v),
		    .number = shared_anon_number(v->file),
		};
		if (v->file && !shared_anon_is(v->file)) {
			v->file->ops->get(v->file);
			out->file = v->file;
		}
	}
	read_unlock(&mm->mmap_lock);
	return v != NULL;
}

/* Was the retired page one of a file's, which keeps it? */
static bool poisoned_file(struct pte e)
{
	const struct page *p = pfn_page((struct pfn){pte_payload(e)});

	return __atomic_load_n(&p->refs, __ATOMIC_RELAXED) > 0 && !page_test(p, PG_ANON);
}

/* ---- smaps --------------------------------------------------------------------------- */

struct smaps_walk {
	bool locked; /* the VMA is */
	struct quire_smaps *out;
};

/* A page that was retired counts on, as its last user's. */
static void smaps_poisoned(bool locked, bool file, struct quire_smaps *s)
{
	const u64 share = QUIRE_PAGE_SIZE << QUIRE_PSS_SHIFT;

	s->rss += QUIRE_PAGE_SIZE;
	s->pss += share;
	s->pss_dirty += share;
	*(file ? &s->pss_shmem : &s->pss_anon) += share;
	s->private_dirty += QUIRE_PAGE_SIZE;
	s->referenced += QUIRE_PAGE_SIZE;
	s->anonymous += file ? 0 : QUIRE_PAGE_SIZE;
	s->locked += locked ? share : 0;
}

static bool smaps_entry(struct pt_cursor *c, struct pte e, void *arg)
{
	const struct smaps_walk *w = arg;
	struct quire_smaps *s = w->out;

	(void)c;
	if (!pte_none(e) && pte_kind(e) == PTE_KIND_POISON)
		smaps_poisoned(w->locked, poisoned_file(e), s);
	if (!pte_present(e) || (e.v & PTE_SPECIAL))
		return false;
	struct page *p = pfn_page(pte_pfn(e));
	u64 sharers = (u64)quire_max(__atomic_load_n(&p->mapcount, __ATOMIC_RELAXED), 1);
	bool anon = page_test(p, PG_ANON), dirty = (e.v & PTE_D) || page_test(p, PG_DIRTY);
	u64 share = (QUIRE_PAGE_SIZE << QUIRE_PSS_SHIFT) / sharers;

	s->rss += QUIRE_PAGE_SIZE;
	s->pss += share;
	*(anon                          ? &s->pss_anon
	  : page_test(p, PG_SWAPBACKED) ? &s->pss_shmem
					: &s->pss_file) += share;
	if (dirty)
		s->pss_dirty += share;
	if (sharers > 1)
		*(dirty ? &s->shared_dirty : &s->shared_clean) += QUIRE_PAGE_SIZE;
	else
		*(dirty ? &s->private_dirty : &s->private_clean) += QUIRE_PAGE_SIZE;
	if ((e.v & PTE_A) || page_test(p, PG_REFERENCED))
		s->referenced += QUIRE_PAGE_SIZE;
	if (anon)
		s->anonymous += QUIRE_PAGE_SIZE;
	if (anon && !dirty && !page_test(p, PG_SWAPBACKED))
		s->lazyfree += QUIRE_PAGE_SIZE;
	if (w->locked)
		s->locked += share;
	if (page_test(p, PG_ACTIVE))
		s->active += QUIRE_PAGE_SIZE;
	s->mapcount_max = quire_max(s->mapcount_max, sharers);
	return false;
}

void quire_mm_smaps(struct quire_mm *mm, u64 start, u64 end, struct quire_smaps *out)
{
	bool hole = false;
	struct vma *v;
	u64 to;

	*out = (struct quire_smaps){0};
	start &= QUIRE_PAGE_MASK;
	end = quire_round_up(end, QUIRE_PAGE_SIZE);
	read_lock(&mm->mmap_lock);
	for (; (v = vma_part(&mm->index, &start, end, &to, &hole)); start = to) {
		struct smaps_walk w = {v->flags & VM_LOCKED, out};

		pt_walk(mm, start, to, smaps_entry, &w);
	}
	read_unlock(&mm->mmap_lock);
}

/* ---- pagemap ---------------------------------------------------------------------------- */

#define PM_SOFT_DIRTY (1UL << 55)
#define PM_EXCLUSIVE (1UL << 56)
#define PM_UFFD_WP (1UL << 57)
#define PM_FILE (1UL << 61)
#define PM_SWAP (1UL << 62)
#define PM_PRESENT (1UL << 63)

static u64 pagemap_word(const struct vma *v, struct pte e)
{
	u64 w = v->flags & VM_SOFTDIRTY ? PM_SOFT_DIRTY : 0;

	if (pte_none(e))
		return w;
	w |= e.v & PTE_SOFTDIRTY ? PM_SOFT_DIRTY : 0;
	w |= e.v & PTE_UFFD_WP ? PM_UFFD_WP : 0;
	switch (pte_kind(e)) {
	case PTE_KIND_PRESENT: {
		struct page *p = pfn_page(pte_pfn(e));

		w |= PM_PRESENT | pte_pfn(e).n;
		if (e.v & PTE_SPECIAL)
			return w;
		w |= page_test(p, PG_ANON) ? 0 : PM_FILE;
		w |= __atomic_load_n(&p->mapcount, __ATOMIC_RELAXED) == 1 ? PM_EXCLUSIVE : 0;
		return w;
	}
	case PTE_KIND_POISON:
		return w | PM_SWAP | (poisoned_file(e) ? PM_FILE : 0);
	case PTE_KIND_SWAP:
	case PTE_KIND_MIGRATION:
		return w | PM_SWAP;
	default:
		return w;
	}
}

void quire_mm_pagemap(struct quire_mm *mm, u64 addr, u64 n, u64 *out)
{
	struct vma *v;

	read_lock(&mm->mmap_lock);
	v = vma_find(&mm->index, addr);
	for (u64 i = 0; i < n; i++, addr += QUIRE_PAGE_SIZE) {
		struct pt_cursor c;

		out[i] = 0;
		if (v && addr >= v->end)
			v = vma_find(&mm->index, addr);
		if (!v || addr < v->start)
			continue;
		pt_find(&c, mm, addr);
		out[i] = pagemap_word(v, c.level == 1 ? pt_get(&c) : (struct pte){0});
	}
	read_unlock(&mm->mmap_lock);
}

/* ---- what is locked ------------------------------------------------------------------------ */

static bool count_entry(struct pt_cursor *c, struct pte e, void *arg)
{
	(void)c;
	if (pte_present(e) && !(e.v & PTE_SPECIAL))
		++*(u64 *)arg;
	return false;
}

/* Counted when somebody asks; a page that two address spaces have locked counts for each. */
u64 quire_mlocked(void)
{
	u64 n = 0;

	for (struct quire_mm *mm = NULL; (mm = mm_next(mm));) {
		if (!mm->locked_vm)
			continue;
		read_lock(&mm->mmap_lock);
		for (struct vma *v = vma_find(&mm->index, 0); v; v = vma_next(&mm->index, v))
			if (v->flags & VM_LOCKED)
				pt_walk(mm, v->start, v->end, count_entry, &n);
		read_unlock(&mm->mmap_lock);
	}
	return n;
}

/* ---- clear_refs ------------------------------------------------------------------------- */

enum { CLEAR_ALL = 1, CLEAR_ANON, CLEAR_FILE, CLEAR_SOFT_DIRTY, CLEAR_PEAK };

static bool clear_entry(struct pt_cursor *c, struct pte e, void *arg)
{
	int what = *(const int *)arg;

	if (what == CLEAR_SOFT_DIRTY) {
		if (pte_none(e) || !(e.v & (PTE_SOFTDIRTY | PTE_W)))
			return false;
		/* The next write has to fault, so that it can be noted. */
		pt_modify(c, PTE_SOFTDIRTY | (pte_present(e) ? PTE_W : 0), 0);
		return pte_present(e);
	}
	if (!pte_present(e) || (e.v & PTE_SPECIAL))
		return false;
	page_clear(pfn_page(pte_pfn(e)), PG_REFERENCED);
	if (!(e.v & PTE_A))
		return false;
	pt_modify(c, PTE_A, 0);
	return true;
}

int quire_mm_clear_refs(struct quire_mm *mm, int what)
{
	if (what < CLEAR_ALL || what > CLEAR_PEAK)
		return -EINVAL;
	write_lock(&mm->mmap_lock);
	if (what == CLEAR_PEAK) {
		__atomic_store_n(&mm->hiwater_rss, 0, __ATOMIC_RELAXED);
		mm_update_peaks(mm);
		write_unlock(&mm->mmap_lock);
		return 0;
	}
	for (struct vma *v = vma_find(&mm->index, 0); v; v = vma_next(&mm->index, v)) {
		bool special = v->flags & VM_PFNMAP;

		if ((what == CLEAR_ANON && v->file) || (what == CLEAR_FILE && !v->file) ||
		    (special && what != CLEAR_SOFT_DIRTY))
			continue;
		vma_write_lock(v);
		if (what == CLEAR_SOFT_DIRTY)
			vma_set_flags(v, v->flags & ~VM_SOFTDIRTY);
		if (!special)
			pt_walk(mm, v->start, v->end, clear_entry, &what);
		vma_write_unlock(v);
	}
	write_unlock(&mm->mmap_lock);
	return 0;
}
