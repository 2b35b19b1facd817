/* SPDX-License-Identifier: MIT */
/*
 * Making, copying and freeing VMAs, and what their flags mean for the bits of
 * page-table entries.
 *
 * Locking: none of its own.  A new VMA is its maker's until an index has it.  The
 * counts of a mapping (nr_maps, writable_maps) are atomics: a VMA counts from
 * vma_set_file() to vma_free().
 */
#include <quire/assert.h>
#include <quire/errno.h>
#include <quire/string.h>

#include "../base/init.h"
#include "../cache/cache.h"
#include "../mm/mm.h"
#include "../rmap/rmap.h"
#include "vma.h"

static struct quire_kmem *vma_kmem;

void vma_init(void)
{
	vma_kmem = quire_kmem_create("vma", sizeof(struct vma), 0);
}

struct vma *vma_alloc(struct quire_mm *mm)
{
	struct vma *v = quire_kmem_alloc(vma_kmem, GFP_KERNEL);

	if (v)
		*v = (struct vma){.mm = mm};
	return v;
}

/* Shared, and writable or could become so: what a file with seals refuses. */
static bool shared_maywrite(u64 flags)
{
	return (flags & (VM_SHARED | VM_MAYWRITE)) == (VM_SHARED | VM_MAYWRITE);
}

/* Count a mapping of the file; -EPERM: it refuses shared writable ones. */
static int file_mapped(struct quire_mapping *m, u64 flags)
{
	if (shared_maywrite(flags)) {
		s32 n = __atomic_load_n(&m->writable_maps, __ATOMIC_RELAXED);

		do {
			if (n < 0)
				return -EPERM;
		} while (!__atomic_compare_exchange_n(&m->writable_maps, &n, n + 1, true,
						      __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
	}
	__atomic_add_fetch(&m->nr_maps, 1, __ATOMIC_RELAXED);
	return 0;
}

int vma_set_file(struct vma *v, struct quire_file *file)
{
	int err = file->mapping ? file_mapped(file->mapping, v->flags) : 0;

	if (err)
		return err;
	file->ops->get(file);
	v->file = file;
	v->mapping = file->mapping;
	return 0;
}

struct vma *vma_dup(struct quire_mm *mm, const struct vma *src, u64 start, u64 end)
{
	struct vma *v = quire_kmem_alloc(vma_kmem, GFP_KERNEL);

	if (!v)
		return NULL;
	*v = (struct vma){
	    .start = start,
	    .end = end,
	    .flags = src->flags,
	    .prot = src->prot,
	    .pgoff = vma_pgoff_of(src, start),
	    .mm = mm,
	    .forked = src->forked,
	    .name = src->name,
	    .special = src->special,
	};
	if (src->file) {
		int err = vma_set_file(v, src->file);

		REQUIRE(!err); /* src counts already, so the file can't refuse */
	}
	if (v->special)
		__atomic_add_fetch(&v->special->refs, 1, __ATOMIC_RELAXED);
	return v;
}

static void frames_put(struct vma_frames *f)
{
	if (__atomic_sub_fetch(&f->refs, 1, __ATOMIC_ACQ_REL))
		return;
	for (u64 i = 0; i < f->n; i++)
		if (f->frame[i].n != QUIRE_NO_FRAME)
			quire_page_put(pfn_page(f->frame[i]));
	quire_kfree(f);
}

static void vma_free_rcu(struct quire_rcu *rcu)
{
	quire_kmem_free(vma_kmem, quire_container_of(rcu, struct vma, rcu));
}

void vma_free(struct vma *v)
{
	if (v->mapping) {
		if (shared_maywrite(v->flags))
			__atomic_sub_fetch(&v->mapping->writable_maps, 1, __ATOMIC_RELEASE);
		__atomic_sub_fetch(&v->mapping->nr_maps, 1, __ATOMIC_RELEASE);
	}
	if (v->file)
		v->file->ops->put(v->file);
	if (v->special)
		frames_put(v->special);
	ASSERT(!v->anon_vma);
	quire_rcu_call(&v->rcu, vma_free_rcu);
}

u64 vma_prot(u64 flags, const struct quire_mapping *mapping)
{
	u64 bits = (flags >> VM_PKEY_SHIFT & 15) << PTE_PKEY_SHIFT;

	if (!(flags & (VM_READ | VM_WRITE | VM_EXEC)))
		return bits | PTE_PROTNONE | (core_config.nx ? PTE_NX : 0);
	bits |= PTE_P | PTE_U;
	if (!(flags & VM_EXEC) && core_config.nx)
		bits |= PTE_NX;
	/* Private pages become writable one by one, by the fault that makes them so. */
	/* So do shared ones while somebody asks which are written (VM_SOFTDIRTY is off). */
	if ((flags & (VM_SHARED | VM_WRITE | VM_SOFTDIRTY)) ==
		(VM_SHARED | VM_WRITE | VM_SOFTDIRTY) &&
	    mapping && !cache_tracks_writes(mapping))
		bits |= PTE_W;
	return bits;
}

void vma_set_flags(struct vma *v, u64 flags)
{
	/* Walks from a page read flags without this VMA's lock. */
	__atomic_store_n(&v->flags, flags, __ATOMIC_RELAXED);
	v->prot = vma_prot(flags, v->mapping);
}

void vma_rmap_link(struct vma *v)
{
	rmap_insert_vma(v);
}

void vma_rmap_unlink(struct vma *v)
{
	if (v->mapping) {
		write_lock(&v->mapping->i_mmap_lock);
		interval_remove((struct interval **)&v->mapping->i_mmap, &v->i_mmap);
		write_unlock(&v->mapping->i_mmap_lock);
	}
	anon_vma_leave(v);
}
