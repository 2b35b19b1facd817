/* SPDX-License-Identifier: MIT */
/*
 * mlock, mlock2, munlock, mlockall, munlockall: VM_LOCKED on VMAs, and faulting
 * their pages in; and populating in general, which MAP_POPULATE shares.
 *
 * VM_LOCKED is what keeps pages: reclaim asks the VMAs that map a page.  PG_MLOCKED
 * on the page only spares it the question.
 *
 * Locking: mmap_lock for writing while flags change; none while populating, which
 * looks each VMA up anew.
 */
#include <quire/assert.h>
#include <quire/errno.h>

#include "../rmap/rmap.h"
#include "mm.h"

#define LOCK_FLAGS (VM_LOCKED | VM_LOCKONFAULT)

/* ---- populate ------------------------------------------------------------------------ */

/* The next part of [*at, end) to populate: *at and *to are set; false: there is none. */
static bool next_part(struct quire_mm *mm, u64 *at, u64 *to, u64 end, bool locked_only, bool *write)
{
	struct vma *v;
	bool found = false, hole = false;

	read_lock(&mm->mmap_lock);
	for (; (v = vma_part(&mm->index, at, end, to, &hole)); *at = *to) {
		if (v->flags & (VM_PFNMAP | VM_LOCKONFAULT))
			continue;
		if (locked_only && !(v->flags & VM_LOCKED))
			continue;
		/* Private pages are broken out now; a shared file isn't dirtied for it. */
		*write = (v->flags & (VM_WRITE | VM_SHARED)) == VM_WRITE;
		found = true;
		break;
	}
	read_unlock(&mm->mmap_lock);
	return found;
}

int mm_populate(struct quire_mm *mm, u64 start, u64 end, bool locked_only, bool strict)
{
	u64 at = start, to;
	bool write;

	while (at < end && next_part(mm, &at, &to, end, locked_only, &write)) {
		int err = populate_range(mm, at, to, write);

		if (err && (strict || err == -EINTR))
			return err;
		at = to;
	}
	return 0;
}

/* What mlock says of an error of populating. */
static int lock_error(int err)
{
	if (err == -ENOMEM)
		return -EAGAIN;
	return err == -EFAULT || err == -EINVAL || err == -EHWPOISON ? -ENOMEM : err;
}

/* ---- flags --------------------------------------------------------------------------- */

/* Mark (or unmark) the page that an entry has already. */
static bool mark_page(struct pt_cursor *c, struct pte e, void *arg)
{
	bool locked = *(const bool *)arg;

	(void)c;
	if (pte_present(e) && !(e.v & PTE_SPECIAL)) {
		struct page *p = pfn_page(pte_pfn(e));

		if (page_test(p, PG_MLOCKED) != locked)
			locked ? page_set(p, PG_MLOCKED) : page_clear(p, PG_MLOCKED);
	}
	return false;
}

static int lock_part(struct vma *v, u64 start, u64 end, u64 lockflags)
{
	u64 old = v->flags, flags = (old & ~LOCK_FLAGS) | lockflags;
	s64 pages = (s64)((end - start) >> QUIRE_PAGE_SHIFT);
	struct quire_mm *mm = v->mm;
	struct vma *now;
	int err;

	if (flags == old || (old & VM_SPECIAL))
		return 0;
	err = vma_modify(v, start, end, flags, &now);
	if (err)
		return err;
	if ((old ^ flags) & VM_LOCKED) {
		bool locked = flags & VM_LOCKED;

		pt_walk(mm, start, end, mark_page, &locked);
		mm->locked_vm += (u64)(locked ? pages : -pages);
	}
	vma_write_unlock(now);
	return 0;
}

static int lock_range(struct quire_mm *mm, u64 start, u64 end, u64 lockflags)
{
	bool hole = false;
	struct vma *v;
	u64 to;

	for (; (v = vma_part(&mm->index, &start, end, &to, &hole)) && !hole; start = to) {
		int err = lock_part(v, start, to, lockflags);

		if (err)
			return err;
	}
	return hole ? -ENOMEM : 0;
}

/* Pages of [start, end) that are locked already. */
static u64 locked_pages(struct quire_mm *mm, u64 start, u64 end)
{
	bool hole = false;
	u64 n = 0, to;
	struct vma *v;

	for (; (v = vma_part(&mm->index, &start, end, &to, &hole)); start = to)
		if (v->flags & VM_LOCKED)
			n += (to - start) >> QUIRE_PAGE_SHIFT;
	return n;
}

s64 quire_mlock(struct quire_mm *mm, u64 addr, u64 len, bool onfault)
{
	u64 start = addr & QUIRE_PAGE_MASK, end, pages, limit;
	int err = -ENOMEM;

	if (!mm_can_lock())
		return -EPERM;
	len = quire_round_up(len + (addr - start), QUIRE_PAGE_SIZE);
	end = start + len;
	limit = mm_lockable();
	write_lock(&mm->mmap_lock);
	pages = mm->locked_vm + (len >> QUIRE_PAGE_SHIFT);
	if (pages > limit && end >= start)
		pages -= locked_pages(mm, start, end);
	if (pages <= limit)
		err = end < start
			  ? -EINVAL
			  : lock_range(mm, start, end, VM_LOCKED | (onfault ? VM_LOCKONFAULT : 0));
	write_unlock(&mm->mmap_lock);
	if (err)
		return err;
	return lock_error(mm_populate(mm, start, end, true, true));
}

s64 quire_munlock(struct quire_mm *mm, u64 addr, u64 len)
{
	u64 start = addr & QUIRE_PAGE_MASK, end;
	int err;

	end = start + quire_round_up(len + (addr - start), QUIRE_PAGE_SIZE);
	if (end < start)
		return -EINVAL;
	write_lock(&mm->mmap_lock);
	err = lock_range(mm, start, end, 0);
	write_unlock(&mm->mmap_lock);
	return err;
}

/* ---- all ------------------------------------------------------------------------------- */

/* Each VMA gets the flags if it can; errors are passed over, as Linux does. */
static void lock_all(struct quire_mm *mm, u64 lockflags)
{
	u64 at = 0;
	struct vma *v;

	while ((v = vma_find(&mm->index, at))) {
		at = v->end;
		(void)lock_part(v, v->start, v->end, lockflags);
	}
}

s64 quire_mlockall(struct quire_mm *mm, int flags)
{
	u64 lockflags = VM_LOCKED | (flags & MCL_ONFAULT ? VM_LOCKONFAULT : 0);
	int err = 0;

	if (!flags || (flags & ~(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT)) || flags == MCL_ONFAULT)
		return -EINVAL;
	if (!mm_can_lock())
		return -EPERM;
	write_lock(&mm->mmap_lock);
	if (!(flags & MCL_CURRENT) || mm->total_vm <= mm_lockable()) {
		mm->def_flags = flags & MCL_FUTURE ? lockflags : 0;
		if (flags & MCL_CURRENT)
			lock_all(mm, lockflags);
	} else {
		err = -ENOMEM;
	}
	write_unlock(&mm->mmap_lock);
	if (!err && (flags & MCL_CURRENT))
		mm_populate(mm, 0, mm->layout.task_size, false, false);
	return err;
}

s64 quire_munlockall(struct quire_mm *mm)
{
	write_lock(&mm->mmap_lock);
	mm->def_flags = 0;
	lock_all(mm, 0);
	write_unlock(&mm->mmap_lock);
	return 0;
}
