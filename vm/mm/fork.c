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

/* Copy the present entry *from, which is e, to the empty *to.  True for an anonymous
 * page, which the caller counts. */
static inline bool copy_present(struct pte *to, struct pte *from, struct pte e, struct vma *dst,
				bool shared)
{
	bool anon = false;

	if (quire_likely(!(e.v & PTE_SPECIAL))) {
		struct page *p = pfn_page(pte_pfn(e));

		if (shared) {
			e.v &= ~PTE_D; /* the parent's entry tells of the write */
		} else if (e.v & PTE_W) {
			pte_clear_bits(from, PTE_W);
			e = pte_load(from); /* with D, if the MMU has just set it */
		}
		quire_page_get(p);
		anon = page_test(p, PG_ANON);
		if (anon)
			rmap_anon_more(p);
		else
			rmap_add_file(p, dst);
	}
	pte_store(to, (struct pte){e.v & ~(PTE_A | PTE_UFFD_WP)});
	return anon;
}

/* Copy from the cursor to the end of its table or `end`; returns where it stopped. */
static u64 copy_table(struct pt_cursor *d, struct pt_cursor *s, u64 end, struct vma *dst,
		      bool shared)
{
	u64 addr = s->addr;
	u64 table_end = quire_round_down(addr, QUIRE_PMD_SIZE) + QUIRE_PMD_SIZE;
	struct pte *to = d->entry, *from = s->entry;
	u32 copied = 0;
	s64 anon = 0;

	end = quire_min(end, table_end);
	pt_lock(d);
	pt_lock_nested(s);
	for (; addr < end; addr += QUIRE_PAGE_SIZE, to++, from++) {
		struct pte e = pte_load(from);

		/* A marker of userfaultfd's isn't inherited, as its registration isn't. */
		if (pte_none(e) || pte_kind(e) == PTE_KIND_MARKER)
			continue;
		copied++;
		if (quire_likely(pte_present(e)))
			anon += copy_present(to, from, e, dst, shared);
		else
			pte_store(to, (struct pte){e.v & ~PTE_UFFD_WP});
	}
	pt_set_used(d, d->table->pt_used + copied);
	if (anon)
		mm_rss_add(dst->mm, MM_ANON, anon);
	pt_unlock(s);
	pt_unlock(d);
	return end;
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
		addr = copy_table(&d, &s, end, dst, src->flags & VM_SHARED);
	}
	return 0;
}

/* Would a fault of the child make the same entries again? */
static bool must_copy(const struct vma *src)
{
	return src->anon_vma || (src->flags & VM_PFNMAP);
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
	mm->layout = parent->layout;
	mm->brk = parent->brk;
	mm->pkeys = parent->pkeys;
	mm->exec_pkey = parent->exec_pkey;
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
