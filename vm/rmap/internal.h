/* SPDX-License-Identifier: MIT */
/*
 * What vm/rmap's own files and reclaim share: walks that give up instead of
 * waiting, and references to an anon_vma.
 */
#ifndef VM_RMAP_INTERNAL_H
#define VM_RMAP_INTERNAL_H

#include "rmap.h"

void rmap_init(void); /* from reclaim_init(), before any VMA */
void anon_vma_put(struct anon_vma *av);

/* What a walk is told and tells. */
enum rmap_walked {
	RMAP_ALL,     /* every VMA was visited */
	RMAP_STOPPED, /* fn said so */
	RMAP_BUSY,    /* the rmap lock was held by another: nothing was visited */
};
/* As rmap_walk(); wait false: give up rather than sleep for the rmap lock. */
enum rmap_walked rmap_walk_how(struct page *p, bool wait,
			       bool (*fn)(struct page *, struct vma *, u64, void *), void *arg);

/* As rmap_referenced(), but never sleeps for a lock; ~0u: couldn't tell.  exec: set when
 * an executable file mapping used it. */
unsigned rmap_referenced_try(struct page *p, bool *exec);
/* As rmap_unmap(), never sleeping for a lock. */
bool rmap_unmap_try(struct page *p);
/* Write-protect a file page everywhere, and clear the dirty bits of its entries, which
 * count for the page: was any set?  Page locked. */
bool rmap_mkclean(struct page *p);

#endif
