/* SPDX-License-Identifier: MIT */
/*
 * Special mappings: frames that the host gives (vdso, vvar), mapped by faults; and
 * remap_file_pages, which Linux, too, only emulates with an ordinary mapping.
 *
 * Locking: mmap_lock for writing.
 */
#include <quire/assert.h>
#include <quire/errno.h>

#include "mm.h"

static struct vma_frames *frames_make(const struct pfn *frames, u64 n)
{
	struct vma_frames *f = quire_kmalloc(sizeof(*f) + n * sizeof(f->frame[0]), GFP_KERNEL);

	if (!f)
		return NULL;
	f->refs = 1;
	f->n = n;
	for (u64 i = 0; i < n; i++) {
		f->frame[i] = frames[i];
		if (frames[i].n != QUIRE_NO_FRAME)
			quire_page_get(pfn_page(frames[i]));
	}
	return f;
}

static s64 map_special_locked(struct quire_mm *mm, u64 addr, const struct pfn *frames, u64 n,
			      u64 flags, const char *name)
{
	u64 len = n << QUIRE_PAGE_SHIFT;
	struct vma_edit e;
	struct vma *v;
	s64 at = mm_unmapped_area(mm, addr, len, 0);
	int err = -ENOMEM;

	if (at < 0)
		return at;
	if (!mm_may_expand(mm, flags, n))
		return -ENOMEM;
	v = vma_alloc(mm);
	if (!v)
		return -ENOMEM;
	v->special = frames_make(frames, n);
	if (!v->special)
		goto free;
	v->start = (u64)at;
	v->end = v->start + len;
	v->name = name;
	vma_set_flags(v, flags);
	err = vma_edit_reserve(&e, &mm->index, 1);
	if (err)
		goto free;
	vma_write_lock(v);
	vma_edit_insert(&e, v);
	vma_edit_done(&e);
	mm->map_count++;
	mm_account(mm, flags, (s64)n);
	vma_write_unlock(v);
	return at;
free:
	vma_free(v);
	return err;
}

s64 quire_map_special(struct quire_mm *mm, u64 addr, const struct pfn *frames, u64 n, u64 prot,
		      const char *name)
{
	u64 flags = VM_SPECIAL | VM_DONTEXPAND | VM_SOFTDIRTY | VM_MAYREAD;
	s64 at;

	if (!n || n > mm->layout.task_size >> QUIRE_PAGE_SHIFT)
		return -EINVAL;
	flags |= prot & PROT_READ ? VM_READ : 0;
	flags |= prot & PROT_WRITE ? VM_WRITE | VM_MAYWRITE : 0;
	/* Code may be written, to a private copy: breakpoints.  Data is the host's. */
	flags |=
	    prot & PROT_EXEC ? VM_EXEC | VM_MAYEXEC | VM_MAYWRITE : VM_IO | VM_PFNMAP | VM_DONTDUMP;
	write_lock(&mm->mmap_lock);
	at = map_special_locked(mm, addr & QUIRE_PAGE_MASK, frames, n, flags, name);
	write_unlock(&mm->mmap_lock);
	return at;
}

/* ---- remap_file_pages ------------------------------------------------------------ */

/* The file that [start, end) maps as a whole with one set of flags; null if it doesn't. */
static struct quire_file *one_file(struct quire_mm *mm, u64 start, u64 end, u64 *flags)
{
	struct vma *first = vma_find(&mm->index, start), *v, *next;

	if (!first || first->start > start || !(first->flags & VM_SHARED) || !first->file)
		return NULL;
	for (v = first; v->end < end; v = next) {
		next = vma_next(&mm->index, v);
		if (!next || next->start != v->end || next->file != first->file ||
		    next->flags != first->flags)
			return NULL;
	}
	*flags = first->flags;
	first->file->ops->get(first->file);
	return first->file;
}

s64 quire_remap_file_pages(struct quire_mm *mm, u64 addr, u64 size, u64 prot, u64 pgoff, u64 flags)
{
	struct quire_file *f;
	u64 vm = 0, start = addr & QUIRE_PAGE_MASK;
	s64 at;

	size &= QUIRE_PAGE_MASK;
	if (prot || start + size <= start || pgoff + (size >> QUIRE_PAGE_SHIFT) < pgoff ||
	    pgoff > ~0UL >> QUIRE_PAGE_SHIFT)
		return -EINVAL;
	read_lock(&mm->mmap_lock);
	f = one_file(mm, start, start + size, &vm);
	read_unlock(&mm->mmap_lock);
	if (!f)
		return -EINVAL;
	prot = (vm & VM_READ ? PROT_READ : 0) | (vm & VM_WRITE ? PROT_WRITE : 0) |
	       (vm & VM_EXEC ? PROT_EXEC : 0);
	flags = (flags & MAP_NONBLOCK) | MAP_SHARED | MAP_FIXED | MAP_POPULATE |
		(vm & VM_LOCKED ? MAP_LOCKED : 0);
	at = quire_mmap(mm, start, size, prot, flags, f, pgoff << QUIRE_PAGE_SHIFT, vm);
	f->ops->put(f);
	return at < 0 ? at : 0;
}
