/* SPDX-License-Identifier: MIT */
/*
 * Taking frames out of use on purpose, to test what happens when memory fails:
 * MADV_HWPOISON, after which the page is gone and an access gives SIGBUS, and
 * MADV_SOFT_OFFLINE, which gives the page another frame first.
 *
 * Both retire anonymous pages that one entry maps; for others they say EBUSY, since
 * a page of a file may be mapped by those who would have to be told.
 *
 * Locking: mmap_lock for reading; the entry changes under its table's lock.
 */
#include <quire/assert.h>
#include <quire/errno.h>
#include <quire/string.h>

#include "../phys/phys.h"
#include "../reclaim/lru.h"
#include "../rmap/rmap.h"
#include "mm.h"

/* The page that the entry maps, if it can be retired. */
static struct page *victim(struct pte e)
{
	struct page *p;

	if (!pte_present(e) || (e.v & PTE_SPECIAL))
		return NULL;
	p = pfn_page(pte_pfn(e));
	return page_test(p, PG_ANON) && __atomic_load_n(&p->mapcount, __ATOMIC_ACQUIRE) == 1 ? p
											     : NULL;
}

/* Put `spare` in the place of the page at the locked cursor, or poison the entry when
 * spare is null.  The old page is retired; its reference goes to the caller. */
static struct page *exchange(struct pt_cursor *c, struct vma *v, struct page *spare)
{
	struct page *old = victim(pt_get(c));
	struct pte e;

	if (!old)
		return NULL;
	e = pt_set(c, (struct pte){0});
	/* Nobody writes to the old frame from here on. */
	quire_host_tlb_flush(v->mm, c->addr, c->addr + QUIRE_PAGE_SIZE, false);
	rmap_remove(old, v);
	(void)page_retire(old);
	if (spare) {
		memcpy(page_view(spare), page_view(old), QUIRE_PAGE_SIZE);
		rmap_add_anon(spare, v, c->addr, true);
		lru_add_fresh(spare);
		e.v = (e.v & ~PTE_PFN_MASK) | page_pfn(spare).n << QUIRE_PAGE_SHIFT;
	} else {
		e = pte_make_kind(PTE_KIND_POISON, pte_pfn(e).n);
	}
	pt_set(c, e);
	return old;
}

static int retire_page(struct quire_mm *mm, u64 addr, bool soft)
{
	struct page *spare = NULL, *old = NULL;
	struct pt_cursor c;
	struct vma *v;

	if (soft && !(spare = quire_page_alloc(0, GFP_KERNEL | GFP_ACCOUNT)))
		return -ENOMEM;
	read_lock(&mm->mmap_lock);
	v = vma_find(&mm->index, addr);
	if (v && v->start <= addr) {
		pt_find(&c, mm, addr);
		if (c.level == 1) {
			pt_lock(&c);
			old = exchange(&c, v, spare);
			pt_unlock(&c);
		}
	}
	read_unlock(&mm->mmap_lock);
	if (old)
		quire_page_put(old); /* the entry's; the allocator keeps the frame */
	else if (spare)
		quire_page_put(spare);
	return old ? 0 : -EBUSY;
}

int mm_retire_frames(struct quire_mm *mm, u64 start, u64 end, bool soft)
{
	int err = 0;

	if (!mm->limits.admin)
		return -EPERM;
	for (; !err && start < end; start += QUIRE_PAGE_SIZE) {
		err = populate_range(mm, start, start + QUIRE_PAGE_SIZE, true);
		if (!err)
			err = retire_page(mm, start, soft);
	}
	return err;
}
