/* SPDX-License-Identifier: MIT */
/*
 * Writes to private pages that are mapped read-only: copy on write; and copies for
 * whoever looks at another process's page for long, which must stay that process's
 * whatever those do that share it: they stay read-only and clean.
 *
 * The page is ours alone when this entry is its one mapping and holds its one
 * reference: then it just becomes writable.  Otherwise a copy takes its place in
 * this entry.  A page can't become shared behind our back, since only fork maps
 * it once more, and fork waits for the VMA's lock.
 *
 * Locking: the source is kept by a reference while it is copied without a lock;
 * the entry is exchanged under the lock of its table.  It is cleared and flushed
 * before the new one is set, so that no CPU reads the old page through a stale
 * translation after another has written to the new one.
 */
#include <quire/assert.h>
#include <quire/mm.h>
#include <quire/string.h>

#include "../cache/cache.h"
#include "../reclaim/lru.h"
#include "../rmap/rmap.h"
#include "fault.h"

#define WRITTEN (PTE_W | PTE_A | PTE_D | PTE_SOFTDIRTY)

/* Try to make the entry writable as it stands. */
static enum quire_outcome reuse(struct fault *f, struct page *p)
{
	struct pte e = {f->entry.v | WRITTEN};
	bool mine;

	pt_lock(&f->at);
	/* With the entry unchanged under its lock, one reference means its own. */
	mine = fault_same(f, pt_get(&f->at)) && __atomic_load_n(&p->refs, __ATOMIC_ACQUIRE) == 1 &&
	       __atomic_load_n(&p->mapcount, __ATOMIC_RELAXED) == 1;
	if (mine)
		pt_modify(&f->at, 0, WRITTEN);
	pt_unlock(&f->at);
	if (!mine)
		return FAULT_AGAIN;
	quire_count(QUIRE_EV_PGREUSE, 1);
	return fault_done(f, CAUSE_COW_REUSE, e, 0);
}

/* Put p, filled, in the place of what the entry maps, with these bits of its own; old: its
 * page, or null for a frame that isn't counted.  Takes p's reference over unless it returns
 * FAULT_AGAIN. */
static enum quire_outcome replace(struct fault *f, struct page *p, struct page *old, u64 bits,
				  enum quire_cause cause)
{
	struct pte e = pte_make(page_pfn(p), f->vma->prot | bits);

	pt_lock(&f->at);
	if (quire_unlikely(!fault_same(f, pt_get(&f->at)))) {
		pt_unlock(&f->at);
		return FAULT_AGAIN;
	}
	pt_set(&f->at, (struct pte){0});
	quire_host_tlb_flush(f->mm, f->addr, f->addr + QUIRE_PAGE_SIZE, false);
	if (old)
		rmap_remove(old, f->vma);
	rmap_add_anon(p, f->vma, f->addr, true);
	lru_add_fresh(p);
	pt_set(&f->at, e);
	pt_unlock(&f->at);
	if (old)
		quire_page_put(old); /* the entry's */
	return fault_done(f, cause, e, 1);
}

/* A reference to the page that the entry maps, or null if it doesn't any more. */
static struct page *get_source(struct fault *f)
{
	struct page *p = pfn_page(pte_pfn(f->entry));

	if (!quire_page_try_get(p))
		return NULL;
	if (quire_likely(fault_same(f, pt_get(&f->at))))
		return p;
	quire_page_put(p);
	return NULL;
}

/* The zero page: nothing to count. */
static enum quire_outcome cow_zero(struct fault *f)
{
	struct page *p = quire_page_alloc(0, GFP_KERNEL | GFP_ACCOUNT | GFP_ZERO);
	enum quire_outcome o;

	if (!p)
		return fault_no_memory(f);
	o = replace(f, p, NULL, WRITTEN, CAUSE_COW_ZERO);
	if (o == FAULT_AGAIN)
		quire_page_put(p);
	return o;
}

/* A copy of the entry's page, with these bits, in its place. */
static enum quire_outcome replace_by_copy(struct fault *f, u64 bits, enum quire_cause cause)
{
	struct page *old = get_source(f), *p;
	enum quire_outcome o;

	if (!old)
		return FAULT_AGAIN;
	p = quire_page_alloc(0, GFP_KERNEL | GFP_ACCOUNT);
	if (quire_unlikely(!p)) {
		quire_page_put(old);
		return fault_no_memory(f);
	}
	memcpy(page_view(p), page_view(old), QUIRE_PAGE_SIZE);
	o = replace(f, p, old, bits, cause);
	if (quire_unlikely(o == FAULT_AGAIN))
		quire_page_put(p);
	quire_page_put(old);
	return o;
}

enum quire_outcome fault_cow(struct fault *f)
{
	struct page *old;
	enum quire_outcome o;
	bool anon;

	if (quire_unlikely(anon_vma_prepare(f->vma)))
		return fault_no_memory(f);
	if (f->entry.v & PTE_SPECIAL)
		return cow_zero(f);
	old = pfn_page(pte_pfn(f->entry));
	anon = page_test(old, PG_ANON);
	if (anon && __atomic_load_n(&old->refs, __ATOMIC_RELAXED) == 1 &&
	    (o = reuse(f, old)) != FAULT_AGAIN)
		return o;
	return replace_by_copy(f, WRITTEN, anon ? CAUSE_COW_COPY : CAUSE_FILE_COW);
}

enum quire_outcome fault_unshare(struct fault *f)
{
	const struct page *p = pfn_page(pte_pfn(f->entry));

	if ((f->entry.v & PTE_SPECIAL) || !page_test(p, PG_ANON) ||
	    __atomic_load_n(&p->refs, __ATOMIC_RELAXED) == 1)
		return fault_done(f, CAUSE_SPURIOUS, f->entry, 0);
	if (anon_vma_prepare(f->vma))
		return fault_no_memory(f);
	return replace_by_copy(f, PTE_A | (f->entry.v & PTE_SOFTDIRTY), CAUSE_COW_COPY);
}
