/* SPDX-License-Identifier: MIT */
/*
 * fork: a copy of an address space in which private pages are shared until one side
 * writes (copy on write).
 *
 * Entries of VMAs without private pages aren't copied where a fault can make them
 * again from the file.  Where they are copied, writable private entries lose
 * their write bit on both sides, under both tables' locks; the parent's TLBs are
 * flushed once at the end.  Until then its VMAs stay write-locked: a fault that
 * replaced a page while another CPU still wrote the old one through a stale
 * translation would lose that write.
 *
 * Locking: the parent's mmap_lock for writing, and the child's, which nobody else has.
 */
#include <quire/assert.h>
#include <quire/errno.h>

#include "../rmap/rmap.h"
#include "mm.h"

static u32 fork_serial; /* numbers VMAs that came from forks; atomic */

static u32 fork_number(void)
{
	u32 n;

	do
		n = __atomic_add_fetch(&fork_serial, 1, __ATOMIC_RELAXED);
	while (!n);
	return n;
}

/* ---- entries ----------------------------------------------------------------------- */

/* Copy one present entry; the source is at s, the (empty) copy at d. */
static void copy_present(struct pt_cursor *d, struct pt_cursor *s, struct pte e, struct vma *dst,
			 struct vma *src)
{
	bool shared = src->flags & VM_SHARED;

	if (!(e.v & PTE_SPECIAL)) {
		struct page *p = pfn_page(pte_pfn(e));

		if (!shared && (e.v & PTE_W)) {
			e = pt_modify(s, PTE_W, 0);
			e.v &= ~PTE_W;
		}
		if (shared)
			e.v &= ~PTE_D; /* the parent's entry tells of the write */
		quire_page_get(p);
		if (page_test(p, PG_ANON))
			rmap_add_anon(p, dst, d->addr, false);
		else
			rmap_add_file(p, dst);
	}
	e.v &= ~(PTE_A | PTE_UFFD_WP);
	pt_set(d, e);
}

/* Copy from the cursor to the end of its table or `end`; returns where it stopped. */
static u64 copy_table(struct pt_cursor *d, struct pt_cursor *s, u64 end, struct vma *dst,
		      struct vma *src)
{
	bool more;

	pt_lock(d);
	pt_lock_nested(s);
	do {
		struct pte e = pt_get(s);

		switch (pte_kind(e)) {
		case PTE_KIND_NONE:
		case PTE_KIND_MARKER: /* userfaultfd's registration isn't inherited */
			break;
		case PTE_KIND_PRESENT:
			copy_present(d, s, e, dst, src);
			break;
		case PTE_KIND_SWAP:
		case PTE_KIND_MIGRATION:
		case PTE_KIND_POISON:
			pt_set(d, (struct pte){e.v & ~PTE_UFFD_WP});
			break;
		}
		more = pt_next(s);
		pt_next(d);
	} while (more && s->addr < end);
	u64 at = s->addr;
	pt_unlock(s);
	pt_unlock(d);
	return at;
}

int copy_page_range(struct vma *dst, struct vma *src)
{
	u64 addr = src->start, end = src->end;

	while (addr < end) {
		struct pt_cursor s, d;
		int err;

		pt_find(&s, src->mm, addr);
		if (s.level > 1 || !__atomic_load_n(&s.table->pt_used, __ATOMIC_RELAXED)) {
			u64 span = pt_span(s.level > 1 ? s.level : 2);

			addr = quire_round_down(addr, span) + span;
			continue;
		}
		err = pt_make(&d, dst->mm, addr, 1, GFP_KERNEL);
		if (err)
			return err;
		addr = copy_table(&d, &s, end, dst, src);
	}
	return 0;
}

/* Would a fault of the child make the same entries again? */
static bool must_copy(const struct vma *src)
{
	return src->anon_vma || (src->flags & VM_SPECIAL);
}

/* ---- VMAs ------------------------------------------------------------------------------ */

/* The child's copy of src, in its index. */
static int copy_vma(struct quire_mm *mm, struct vma *src, struct vma_edit *e)
{
	u64 pages = vma_pages(src);
	bool wipe = src->flags & VM_WIPEONFORK;
	struct vma *v;
	int err;

	if ((src->flags & VM_ACCOUNT) && mm_commit(mm, pages))
		return -ENOMEM;
	v = vma_dup(mm, src, src->start, src->end);
	err = v ? vma_edit_more(e, 1) : -ENOMEM;
	if (err) {
		if (v)
			vma_free(v);
		if (src->flags & VM_ACCOUNT)
			mm_uncommit(pages);
		return err;
	}
	vma_write_lock(src);
	v->flags &= ~(VM_LOCKED | VM_LOCKONFAULT);
	v->forked = 0;
	vma_rmap_link(v);
	if (src->anon_vma && !wipe) {
		v->forked = fork_number();
		anon_vma_join(v, src);
	}
	vma_edit_insert(e, v);
	mm->map_count++;
	mm_account(mm, v->flags, (s64)pages);
	return must_copy(src) && !wipe ? copy_page_range(v, src) : 0;
}

static int copy_all(struct quire_mm *mm, struct quire_mm *parent)
{
	struct vma_edit e;
	int err = vma_edit_reserve(&e, &mm->index, 0);

	for (struct vma *v = vma_find(&parent->index, 0); v && !err;
	     v = vma_next(&parent->index, v)) {
		if (!(v->flags & VM_DONTCOPY))
			err = copy_vma(mm, v, &e);
		if (!err && quire_host_killed())
			err = -EINTR;
	}
	vma_edit_done(&e);
	quire_host_tlb_flush(parent, 0, ~0UL, false);
	for (struct vma *v = vma_find(&parent->index, 0); v; v = vma_next(&parent->index, v))
		vma_write_unlock(v);
	return err;
}

int quire_mm_fork(struct quire_mm *parent, void *host, struct quire_mm **out)
{
	struct quire_mm *mm;
	int err = quire_mm_create(host, &mm);

	if (err)
		return err;
	write_lock(&parent->mmap_lock);
	write_lock_nested(&mm->mmap_lock);
	mm->limits = parent->limits;
	mm->layout = parent->layout;
	mm->brk = parent->brk;
	err = copy_all(mm, parent);
	mm_update_peaks(mm);
	write_unlock(&mm->mmap_lock);
	write_unlock(&parent->mmap_lock);
	if (err) {
		quire_mm_put(mm);
		return err;
	}
	*out = mm;
	return 0;
}
