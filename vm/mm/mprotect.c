/* SPDX-License-Identifier: MIT */
/*
 * mprotect and pkey_mprotect: new permissions for a range, VMA by VMA, as Linux
 * does it: what was changed before an error stays changed.
 *
 * Entries follow their VMA at once where permissions shrink; a write permission
 * that is gained comes with the next fault, but for private pages that nobody
 * shares and that were written before, which get it here.
 *
 * Locking: mmap_lock for writing; the VMA stays write-locked until its entries and
 * the TLBs are as its flags say.
 */
#include <quire/assert.h>
#include <quire/errno.h>

#include "../rmap/rmap.h"
#include "mm.h"

#define PROT_BITS (PTE_P | PTE_PROTNONE | PTE_W | PTE_U | PTE_NX | (15UL << PTE_PKEY_SHIFT))
#define VM_ACCESS (VM_READ | VM_WRITE | VM_EXEC)
#define VM_PKEY_MASK (15UL << VM_PKEY_SHIFT)

/* May this entry of v have its write bit now, without a fault? */
static bool writable_now(const struct vma *v, struct pte e)
{
	const u64 written = PTE_D | PTE_SOFTDIRTY;

	if ((v->flags & (VM_WRITE | VM_SHARED)) != VM_WRITE ||
	    (e.v & (PTE_SPECIAL | PTE_UFFD_WP)) || (e.v & written) != written)
		return false;
	struct page *p = pfn_page(pte_pfn(e));
	return page_test(p, PG_ANON) && __atomic_load_n(&p->mapcount, __ATOMIC_ACQUIRE) == 1 &&
	       __atomic_load_n(&p->refs, __ATOMIC_ACQUIRE) == 1;
}

/* Does a translation cached from `old` allow what the new bits don't? */
static bool needs_flush(struct pte old, u64 bits)
{
	if (!(old.v & PTE_P))
		return false;
	if (old.v & (PTE_P | PTE_W | PTE_U) & ~bits)
		return true;
	return (bits & ~old.v & PTE_NX) || ((bits ^ old.v) & (15UL << PTE_PKEY_SHIFT));
}

static u64 protect_table(struct vma *v, struct pt_cursor *c, u64 end, struct tlb_gather *g)
{
	bool more;

	pt_lock(c);
	do {
		struct pte e = pt_get(c);

		if (pte_present(e)) {
			u64 bits = v->prot;

			/* A shared page whose first write the file knows of keeps its bit. */
			if (writable_now(v, e) ||
			    ((v->flags & (VM_WRITE | VM_SHARED)) == (VM_WRITE | VM_SHARED) &&
			     (e.v & PTE_W)))
				bits |= PTE_W;
			if ((e.v & PROT_BITS) != bits)
				e = pt_modify(c, PROT_BITS & ~bits, bits);
			if (needs_flush(e, bits))
				gather_range(g, c->addr, c->addr + QUIRE_PAGE_SIZE);
		}
		more = pt_next(c);
	} while (more && c->addr < end);
	u64 at = c->addr;
	pt_unlock(c);
	return at;
}

/* Give the entries of [start, end) the VMA's permissions. */
static void protect_range(struct vma *v, u64 start, u64 end)
{
	struct tlb_gather g;
	struct pt_cursor c;
	u64 addr = start;

	gather_init(&g, v->mm, false);
	while (pt_find_table(&c, v->mm, &addr, end))
		addr = protect_table(v, &c, end, &g);
	gather_flush(&g);
}

/* [start, end) of v gets newflags. */
static int protect_part(struct vma *v, u64 start, u64 end, u64 newflags, bool *populate)
{
	struct quire_mm *mm = v->mm;
	u64 oldflags = v->flags, pages = (end - start) >> QUIRE_PAGE_SHIFT, charged = 0;
	struct vma *now;
	int err;

	if (newflags == oldflags)
		return 0;
	if (newflags & VM_WRITE) {
		if (!mm_may_expand(mm, newflags, pages) && mm_may_expand(mm, oldflags, pages))
			return -ENOMEM;
		if (!(oldflags & (VM_ACCOUNT | VM_WRITE | VM_SHARED | VM_NORESERVE))) {
			if (mm_commit(mm, pages))
				return -ENOMEM;
			charged = pages;
			newflags |= VM_ACCOUNT;
		}
	}
	if (quire_sysctl.newer_merging && !(newflags & VM_WRITE) && vma_anonymous(v) &&
	    !v->anon_vma)
		newflags &= ~VM_ACCOUNT;
	err = vma_modify(v, start, end, newflags, &now);
	if (err) {
		mm_uncommit(charged);
		return err;
	}
	if (oldflags & ~newflags & VM_ACCOUNT)
		mm_uncommit(pages);
	protect_range(now, start, end);
	vma_write_unlock(now);
	/* Locked private pages are copied before the first write. */
	if ((oldflags & (VM_WRITE | VM_SHARED | VM_LOCKED | VM_LOCKONFAULT)) == VM_LOCKED &&
	    (newflags & VM_WRITE))
		*populate = true;
	mm_account(mm, oldflags, -(s64)pages);
	mm_account(mm, newflags, (s64)pages);
	return 0;
}

/* Where the change begins, for PROT_GROWSDOWN: the start of the stack. */
static int first_address(const struct vma *v, u64 *start, u64 end, u64 grows)
{
	if (!v)
		return -ENOMEM;
	if (grows & PROT_GROWSDOWN) {
		if (v->start >= end)
			return -ENOMEM;
		*start = v->start;
		return v->flags & VM_GROWSDOWN ? 0 : -EINVAL;
	}
	if (v->start > *start)
		return -ENOMEM;
	return grows ? -EINVAL : 0; /* no VMA of ours grows upwards */
}

/* The key of what is v and gets these permissions.  What could only be run and now can be
 * read, too, doesn't keep the key that forbids just that. */
static u64 key_for(const struct vma *v, u64 prot, int pkey)
{
	if (pkey >= 0)
		return (u64)pkey;
	if (prot == PROT_EXEC) {
		unsigned key = pkey_exec_only(v->mm);

		if (key)
			return key;
	} else if ((v->flags & VM_ACCESS) == VM_EXEC && (int)vma_pkey(v) == v->mm->exec_pkey) {
		return 0;
	}
	return vma_pkey(v);
}

/* Lets mmap_lock go for a moment where it populates: the calls on what follows see it
 * then as another thread's calls in between would have left it. */
static int mprotect_locked(struct quire_mm *mm, u64 start, u64 end, u64 prot, u64 grows, int pkey)
    REQUIRES(&mm->mmap_lock)
{
	struct vma *v = vma_find(&mm->index, start);
	u64 want = 0;
	int err = first_address(v, &start, end, grows);

	if (err)
		return err;
	want |= prot & PROT_READ ? VM_READ : 0;
	want |= prot & PROT_WRITE ? VM_WRITE : 0;
	want |= prot & PROT_EXEC ? VM_EXEC : 0;
	for (u64 at = start; at < end;) {
		v = vma_find(&mm->index, at);
		if (!v || v->start > at)
			return -ENOMEM;
		u64 to = quire_min(end, v->end), flags = v->flags & ~(VM_ACCESS | VM_PKEY_MASK);
		bool populate = false;

		flags |= want | key_for(v, prot, pkey) << VM_PKEY_SHIFT;
		if ((want & VM_READ) && (v->flags & VM_MAYEXEC) &&
		    quire_host_may(QUIRE_MAY_RUN_DATA))
			flags |= VM_EXEC;
		/* VM_MAY* are the permissions four bits up. */
		if (flags & ~(flags >> 4) & VM_ACCESS)
			return -EACCES;
		err = protect_part(v, at, to, flags, &populate);
		if (err)
			return err;
		if (populate) {
			write_unlock(&mm->mmap_lock);
			populate_range(mm, at, to, true);
			write_lock(&mm->mmap_lock);
		}
		at = to;
	}
	return 0;
}

s64 quire_mprotect(struct quire_mm *mm, u64 addr, u64 len, u64 prot, int pkey)
{
	const u64 grows = prot & (PROT_GROWSDOWN | PROT_GROWSUP);
	u64 end;
	int err;

	prot &= ~grows;
	if (grows == (PROT_GROWSDOWN | PROT_GROWSUP) || (addr & ~QUIRE_PAGE_MASK))
		return -EINVAL;
	if (!len)
		return 0;
	len = quire_round_up(len, QUIRE_PAGE_SIZE);
	end = addr + len;
	if (end <= addr)
		return -ENOMEM;
	if (prot & ~(u64)(PROT_READ | PROT_WRITE | PROT_EXEC | PROT_SEM))
		return -EINVAL;
	write_lock(&mm->mmap_lock);
	if (pkey != -1 && !pkey_is_allocated(mm, pkey))
		err = -EINVAL;
	else
		err = mprotect_locked(mm, addr, end, prot, grows, pkey);
	write_unlock(&mm->mmap_lock);
	return err;
}
