/* SPDX-License-Identifier: MIT */
/*
 * First touches of anonymous memory: the zero page for reads, a new zeroed frame
 * for writes.
 *
 * Locking: as fault.h says.  The frame is allocated before the table's lock is
 * taken, and given back if another thread was faster.
 *
 * What it doesn't do: bring in more than the one page.
 */
#include <quire/assert.h>

#include "../cache/cache.h"
#include "../reclaim/lru.h"
#include "../rmap/rmap.h"
#include "fault.h"

enum quire_outcome fault_anon_read(struct fault *f)
{
	struct pte e = pte_make(page_pfn(zero_page), f->vma->prot | PTE_A | PTE_SPECIAL);
	bool mine;

	pt_lock(&f->at);
	mine = pte_none(pt_get(&f->at));
	if (mine)
		pt_set(&f->at, e);
	pt_unlock(&f->at);
	return mine ? fault_done(f, CAUSE_ANON_ZERO, e, 0) : FAULT_AGAIN;
}

enum quire_outcome fault_map_new(struct fault *f, struct page *p, enum quire_cause cause)
{
	struct pte e = pte_make(page_pfn(p), f->vma->prot | PTE_W | PTE_A | PTE_D | PTE_SOFTDIRTY);

	pt_lock(&f->at);
	if (quire_unlikely(!pte_none(pt_get(&f->at)))) {
		pt_unlock(&f->at);
		return FAULT_AGAIN;
	}
	rmap_add_anon(p, f->vma, f->addr, true);
	lru_add_fresh(p);
	pt_set(&f->at, e);
	pt_unlock(&f->at);
	return fault_done(f, cause, e, 1);
}

enum quire_outcome fault_anon_write(struct fault *f)
{
	enum quire_outcome o;
	struct page *p;

	if (quire_unlikely(anon_vma_prepare(f->vma)))
		return fault_no_memory(f);
	p = quire_page_alloc(0, GFP_KERNEL | GFP_ZERO | GFP_ACCOUNT);
	if (quire_unlikely(!p))
		return fault_no_memory(f);
	o = fault_map_new(f, p, CAUSE_ANON_WRITE);
	if (quire_unlikely(o == FAULT_AGAIN))
		quire_page_put(p);
	return o;
}
