/* SPDX-License-Identifier: MIT */
/*
 * madvise: hints, and several things that are no hints at all.
 *
 * A range with holes is advised as far as it is mapped, and the call then fails with
 * ENOMEM.  Advice about huge pages and same-page merging gives EINVAL, as on a
 * kernel that was built without them.
 *
 * MADV_FREE: pages lose PG_SWAPBACKED and their dirty bit.  Until they are written
 * again reclaim may take them; a write sets the dirty bit, which saves them.
 *
 * Locking: mmap_lock for writing where flags change, else for reading; dropped
 * around file operations and faults.
 */
#include <quire/assert.h>
#include <quire/errno.h>

#include "../cache/cache.h"
#include "../reclaim/lru.h"
#include "../rmap/rmap.h"
#include "mm.h"

/* ---- advice that is a flag ------------------------------------------------------------ */

static int advise_flags(struct vma *v, u64 start, u64 end, int advice)
{
	u64 flags = v->flags;
	struct vma *now;
	int err;

	switch (advice) {
	case MADV_NORMAL:
		flags &= ~(VM_RAND_READ | VM_SEQ_READ);
		break;
	case MADV_RANDOM:
		flags = (flags & ~VM_SEQ_READ) | VM_RAND_READ;
		break;
	case MADV_SEQUENTIAL:
		flags = (flags & ~VM_RAND_READ) | VM_SEQ_READ;
		break;
	case MADV_DONTFORK:
		flags |= VM_DONTCOPY;
		break;
	case MADV_DOFORK:
		if (flags & VM_IO)
			return -EINVAL;
		flags &= ~VM_DONTCOPY;
		break;
	case MADV_WIPEONFORK:
		if (v->file || (flags & VM_SHARED))
			return -EINVAL;
		flags |= VM_WIPEONFORK;
		break;
	case MADV_KEEPONFORK:
		flags &= ~VM_WIPEONFORK;
		break;
	case MADV_DONTDUMP:
		flags |= VM_DONTDUMP;
		break;
	case MADV_DODUMP:
		if (flags & (VM_SPECIAL | VM_DONTEXPAND))
			return -EINVAL;
		flags &= ~VM_DONTDUMP;
		break;
	}
	if (flags == v->flags)
		return 0;
	err = vma_modify(v, start, end, flags, &now);
	if (err)
		return err == -ENOMEM ? -EAGAIN : err;
	vma_write_unlock(now);
	return 0;
}

/* ---- advice about pages ------------------------------------------------------------------ */

static int advise_dontneed(struct vma *v, u64 start, u64 end, int advice)
{
	struct tlb_gather g;

	if ((v->flags & VM_PFNMAP) || (advice == MADV_DONTNEED && (v->flags & VM_LOCKED)))
		return -EINVAL;
	mm_update_peaks(v->mm);
	gather_init(&g, v->mm, false);
	zap_range(&g, v, start, end, true);
	gather_flush(&g);
	return 0;
}

/* The page of its own that a present entry maps; or null. */
static struct page *own_page(struct pte e)
{
	return pte_present(e) && !(e.v & PTE_SPECIAL) ? pfn_page(pte_pfn(e)) : NULL;
}

static bool free_page_lazily(struct pt_cursor *c, struct pte e, void *arg)
{
	struct page *p = own_page(e);

	(void)arg;
	if (!p || !page_test(p, PG_ANON))
		return false;
	if (page_test(p, PG_DIRTY)) {
		/* The others still want it. */
		if (__atomic_load_n(&p->mapcount, __ATOMIC_RELAXED) != 1)
			return false;
		page_clear(p, PG_DIRTY);
	}
	page_clear(p, PG_REFERENCED);
	if (!(e.v & (PTE_A | PTE_D)))
		return false;
	pt_modify(c, PTE_A | PTE_D, 0);
	return true;
}

static bool make_page_cold(struct pt_cursor *c, struct pte e, void *arg)
{
	struct page *p = own_page(e);

	(void)arg;
	if (!p || __atomic_load_n(&p->mapcount, __ATOMIC_RELAXED) != 1)
		return false;
	page_clear(p, PG_REFERENCED);
	if (!(e.v & PTE_A))
		return false;
	pt_modify(c, PTE_A, 0);
	return true;
}

static int advise_free(struct vma *v, u64 start, u64 end)
{
	if (!vma_anonymous(v) || (v->flags & VM_LOCKED))
		return -EINVAL;
	pt_walk(v->mm, start, end, free_page_lazily, NULL);
	return 0;
}

/* Does the entry at addr map a page of the file that nobody else maps? */
static bool maps_alone(struct quire_mm *mm, u64 addr)
{
	struct pt_cursor c;
	bool alone = false;

	pt_find(&c, mm, addr);
	if (c.level > 1)
		return false;
	pt_lock(&c);
	struct page *p = own_page(pt_get(&c));
	if (p)
		alone =
		    !page_test(p, PG_ANON) && __atomic_load_n(&p->mapcount, __ATOMIC_RELAXED) == 1;
	pt_unlock(&c);
	return alone;
}

static void page_out(struct vma *v, u64 start, u64 end)
{
	u64 pos = vma_pgoff_of(v, start) << QUIRE_PAGE_SHIFT;
	struct tlb_gather g;

	gather_init(&g, v->mm, false);
	zap_range(&g, v, start, end, false);
	gather_flush(&g);
	quire_cache_drop(v->mapping, pos, pos + (end - start));
}

static int advise_cold(struct vma *v, u64 start, u64 end, bool out)
{
	if (v->flags & (VM_LOCKED | VM_PFNMAP))
		return -EINVAL;
	pt_walk(v->mm, start, end, make_page_cold, NULL);
	if (!out || !v->mapping)
		return 0;
	/* Private copies have nowhere to go without swap; the file's own pages do. */
	for (u64 to; start < end; start = to + QUIRE_PAGE_SIZE) {
		for (to = start; to < end && maps_alone(v->mm, to);)
			to += QUIRE_PAGE_SIZE;
		if (to > start)
			page_out(v, start, to);
	}
	return 0;
}

static int advise_willneed(struct quire_mm *mm, struct vma *v, u64 start, u64 end)
    REQUIRES_SHARED(mm->mmap_lock)
{
	struct quire_file *f = v->file;
	u64 pgoff = vma_pgoff_of(v, start);

	if (!v->mapping || v->mapping->swapbacked)
		return 0;
	f->ops->get(f);
	read_unlock(&mm->mmap_lock);
	quire_cache_readahead(f->mapping, pgoff, (end - start) >> QUIRE_PAGE_SHIFT);
	f->ops->put(f);
	read_lock(&mm->mmap_lock);
	return 0;
}

/* Punch a hole into the file behind a shared mapping. */
static int advise_remove(struct quire_mm *mm, struct vma *v, u64 start, u64 end)
    REQUIRES_SHARED(mm->mmap_lock)
{
	struct quire_file *f = v->file;
	u64 pos = vma_pgoff_of(v, start) << QUIRE_PAGE_SHIFT;
	int err;

	if ((v->flags & VM_LOCKED) || !f)
		return -EINVAL;
	if ((v->flags & (VM_SHARED | VM_MAYWRITE)) != (VM_SHARED | VM_MAYWRITE))
		return -EACCES;
	if (!f->ops->punch)
		return -EOPNOTSUPP;
	f->ops->get(f);
	read_unlock(&mm->mmap_lock);
	err = f->ops->punch(f, pos, pos + (end - start));
	f->ops->put(f);
	read_lock(&mm->mmap_lock);
	return err;
}

/* Fault [start, end) in, as far as it stays a VMA that allows it. */
static int advise_populate(struct quire_mm *mm, u64 start, u64 end, bool write)
    REQUIRES_SHARED(mm->mmap_lock)
{
	u64 need = write ? VM_WRITE : VM_READ, to;
	bool hole = false;
	int err = 0;

	while (!err && start < end) {
		struct vma *v = vma_part(&mm->index, &start, end, &to, &hole);

		if (!v || hole)
			return -ENOMEM;
		if ((v->flags & (VM_IO | VM_PFNMAP)) || !(v->flags & need) ||
		    pkey_refuses(v, write))
			return -EINVAL;
		read_unlock(&mm->mmap_lock);
		err = populate_range(mm, start, to, write);
		read_lock(&mm->mmap_lock);
		start = to;
	}
	return err;
}

/* ---- the call ------------------------------------------------------------------------ */

static bool known(int advice)
{
	switch (advice) {
	case MADV_NORMAL:
	case MADV_RANDOM:
	case MADV_SEQUENTIAL:
	case MADV_WILLNEED:
	case MADV_DONTNEED:
	case MADV_DONTNEED_LOCKED:
	case MADV_FREE:
	case MADV_REMOVE:
	case MADV_DONTFORK:
	case MADV_DOFORK:
	case MADV_DONTDUMP:
	case MADV_DODUMP:
	case MADV_WIPEONFORK:
	case MADV_KEEPONFORK:
	case MADV_COLD:
	case MADV_PAGEOUT:
	case MADV_POPULATE_READ:
	case MADV_POPULATE_WRITE:
	case MADV_HWPOISON:
	case MADV_SOFT_OFFLINE:
		return true;
	default:
		return false;
	}
}

/* Does it leave all VMAs as they are? */
static bool reads_only(int advice)
{
	switch (advice) {
	case MADV_WILLNEED:
	case MADV_DONTNEED:
	case MADV_DONTNEED_LOCKED:
	case MADV_FREE:
	case MADV_REMOVE:
	case MADV_COLD:
	case MADV_PAGEOUT:
	case MADV_POPULATE_READ:
	case MADV_POPULATE_WRITE:
		return true;
	default:
		return false;
	}
}

static int advise_vma(struct quire_mm *mm, struct vma *v, u64 start, u64 end, int advice)
    REQUIRES_SHARED(mm->mmap_lock)
{
	switch (advice) {
	case MADV_WILLNEED:
		return advise_willneed(mm, v, start, end);
	case MADV_DONTNEED:
	case MADV_DONTNEED_LOCKED:
		return advise_dontneed(v, start, end, advice);
	case MADV_FREE:
		return advise_free(v, start, end);
	case MADV_REMOVE:
		return advise_remove(mm, v, start, end);
	case MADV_COLD:
	case MADV_PAGEOUT:
		return advise_cold(v, start, end, advice == MADV_PAGEOUT);
	case MADV_POPULATE_READ:
	case MADV_POPULATE_WRITE:
		return advise_populate(mm, start, end, advice == MADV_POPULATE_WRITE);
	default:
		return advise_flags(v, start, end, advice);
	}
}

static int advise_range(struct quire_mm *mm, u64 start, u64 end, int advice)
    REQUIRES_SHARED(mm->mmap_lock)
{
	bool hole = false;
	struct vma *v;
	u64 to;

	for (; (v = vma_part(&mm->index, &start, end, &to, &hole)); start = to) {
		/* Newer Linux populates up to the first hole. */
		if (hole && quire_sysctl.newer_merging &&
		    (advice == MADV_POPULATE_READ || advice == MADV_POPULATE_WRITE))
			break;
		int err = advise_vma(mm, v, start, to, advice);

		if (err)
			return err;
	}
	return hole ? -ENOMEM : 0;
}

s64 quire_madvise(struct quire_mm *mm, u64 addr, u64 len, int advice)
{
	u64 end;
	int err;

	if (!known(advice) || (addr & ~QUIRE_PAGE_MASK))
		return -EINVAL;
	end = addr + quire_round_up(len, QUIRE_PAGE_SIZE);
	if ((len && end == addr) || end < addr)
		return -EINVAL;
	if (end == addr)
		return 0;
	if (advice == MADV_HWPOISON || advice == MADV_SOFT_OFFLINE)
		return mm_retire_frames(mm, addr, end, advice == MADV_SOFT_OFFLINE);
	if (reads_only(advice)) {
		read_lock(&mm->mmap_lock);
		err = advise_range(mm, addr, end, advice);
		read_unlock(&mm->mmap_lock);
	} else {
		write_lock(&mm->mmap_lock);
		err = advise_range(mm, addr, end, advice);
		write_unlock(&mm->mmap_lock);
	}
	return err;
}
