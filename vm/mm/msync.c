/* SPDX-License-Identifier: MIT */
/*
 * msync: store what was written through shared mappings; mincore: what is in memory.
 *
 * Locking: mmap_lock for reading; dropped while a file is written, with a reference
 * to the file held.
 */
#include <quire/assert.h>
#include <quire/errno.h>

#include "../cache/cache.h"
#include "mm.h"

static int sync_part(struct quire_mm *mm, struct vma *v, u64 start, u64 end)
    REQUIRES_SHARED(mm->mmap_lock)
{
	struct quire_file *f = v->file;
	u64 from = vma_pgoff_of(v, start) << QUIRE_PAGE_SHIFT;
	int err;

	f->ops->get(f);
	read_unlock(&mm->mmap_lock);
	err = quire_cache_flush(f->mapping, from, from + (end - start));
	f->ops->put(f);
	read_lock(&mm->mmap_lock);
	return err;
}

static int msync_locked(struct quire_mm *mm, u64 start, u64 end, int flags)
    REQUIRES_SHARED(mm->mmap_lock)
{
	bool hole = false;
	struct vma *v;
	u64 to;

	for (; (v = vma_part(&mm->index, &start, end, &to, &hole)); start = to) {
		if ((flags & MS_INVALIDATE) && (v->flags & VM_LOCKED))
			return -EBUSY;
		if ((flags & MS_SYNC) && v->mapping && (v->flags & VM_SHARED)) {
			int err = sync_part(mm, v, start, to);

			if (err)
				return err;
		}
	}
	return hole ? -ENOMEM : 0;
}

s64 quire_msync(struct quire_mm *mm, u64 addr, u64 len, int flags)
{
	u64 end;
	int err;

	if ((flags & ~(MS_ASYNC | MS_INVALIDATE | MS_SYNC)) || (addr & ~QUIRE_PAGE_MASK) ||
	    ((flags & MS_ASYNC) && (flags & MS_SYNC)))
		return -EINVAL;
	end = addr + quire_round_up(len, QUIRE_PAGE_SIZE);
	if (end < addr)
		return -ENOMEM;
	if (end == addr)
		return 0;
	read_lock(&mm->mmap_lock);
	err = msync_locked(mm, addr, end, flags);
	read_unlock(&mm->mmap_lock);
	return err;
}

/* ---- mincore ----------------------------------------------------------------------- */

/* Is the page that a fault at addr would find without I/O there? */
static bool in_memory(struct vma *v, u64 addr, struct pte e)
{
	switch (pte_kind(e)) {
	case PTE_KIND_PRESENT:
	case PTE_KIND_MIGRATION:
	case PTE_KIND_POISON:
		return true;
	case PTE_KIND_SWAP:
		return false;
	case PTE_KIND_NONE:
	case PTE_KIND_MARKER:
		break;
	}
	if (!v->mapping)
		return false;
	struct page *p = cache_find(v->mapping, vma_pgoff_of(v, addr));
	bool there = p && page_test(p, PG_UPTODATE);
	if (p)
		quire_page_put(p);
	return there;
}

/* Of others' files, and of special mappings, everything is said to be there. */
static bool may_know(const struct vma *v)
{
	if (!v->file)
		return !(v->flags & VM_SPECIAL);
	return !v->mapping || !v->file->ops->shows_cache || v->file->ops->shows_cache(v->file);
}

s64 quire_mincore(struct quire_mm *mm, u64 addr, u64 pages, u8 *vec)
{
	s64 n = 0;

	if (addr & ~QUIRE_PAGE_MASK)
		return -EINVAL;
	if (addr > mm->layout.task_size ||
	    pages > (mm->layout.task_size - addr) >> QUIRE_PAGE_SHIFT)
		return -ENOMEM;
	read_lock(&mm->mmap_lock);
	struct vma *v = vma_find(&mm->index, addr);
	if (!v || v->start > addr) {
		read_unlock(&mm->mmap_lock);
		return -ENOMEM;
	}
	bool shown = may_know(v);
	for (; (u64)n < pages && addr < v->end; n++, addr += QUIRE_PAGE_SIZE) {
		struct pt_cursor c;

		pt_find(&c, mm, addr);
		vec[n] = !shown || in_memory(v, addr, c.level == 1 ? pt_get(&c) : (struct pte){0});
	}
	read_unlock(&mm->mmap_lock);
	return n;
}
