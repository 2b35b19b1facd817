/* SPDX-License-Identifier: MIT */
/*
 * A stack grows downwards, as far as its limits and the guard gap allow.
 *
 * Locking: mmap_lock held for writing by the caller (the fault handler).
 */
#include <quire/assert.h>
#include <quire/errno.h>

#include "../rmap/rmap.h"
#include "internal.h"

/* The neighbour below must stay out of the guard gap, unless it is a stack itself or
 * nobody can touch it. */
static bool gap_ok(const struct vma *prev, u64 new_start)
{
	u64 gap = (u64)quire_sysctl.stack_guard_gap << QUIRE_PAGE_SHIFT;

	if (!prev)
		return true;
	if (prev->end > new_start)
		return false;
	if ((prev->flags & VM_GROWSDOWN) || !(prev->flags & (VM_READ | VM_WRITE | VM_EXEC)))
		return true;
	return new_start - prev->end >= gap;
}

int vma_expand_down(struct vma *v, u64 new_start)
{
	struct quire_mm *mm = v->mm;
	struct vma_change c = {.grow = v, .start = new_start, .end = v->end};
	u64 pages = (v->start - new_start) >> QUIRE_PAGE_SHIFT;
	struct vma_edit e;

	ASSERT(!(new_start & ~QUIRE_PAGE_MASK) && (v->flags & VM_GROWSDOWN));
	if (new_start >= v->start)
		return 0;
	if (new_start < mm_choose_min() || pages > v->pgoff ||
	    !gap_ok(vma_find_prev(&mm->index, v->start), new_start))
		return -ENOMEM;
	/* As Linux does; it shows where a fork copies what has one. */
	if (anon_vma_prepare(v))
		return -EAGAIN;
	if (!mm_may_expand(mm, v->flags, pages) ||
	    v->end - new_start > quire_host_limit(QUIRE_LIMIT_STACK) ||
	    mm_lock_check(mm, v->flags, pages << QUIRE_PAGE_SHIFT))
		return -ENOMEM;
	if ((v->flags & VM_ACCOUNT) && mm_commit(mm, pages))
		return -ENOMEM;
	if (vma_edit_reserve(&e, &mm->index, 0)) {
		if (v->flags & VM_ACCOUNT)
			mm_uncommit(pages);
		return -EAGAIN;
	}
	change_commit(&c, &e);
	vma_edit_done(&e);
	vma_write_unlock(v);
	mm_account(mm, v->flags, (s64)pages);
	if (v->flags & VM_LOCKED)
		mm->locked_vm += pages;
	return 0;
}
