/* SPDX-License-Identifier: MIT */
/*
 * Faulting a range in before it is touched: MAP_POPULATE, mlock, MADV_POPULATE_*.
 *
 * Locking: each page is a fault of its own, with the fault's locks; nothing is held
 * between pages, so the region may change meanwhile.  No signal, no record in the
 * totals: nobody faulted.
 */
#include <quire/assert.h>
#include <quire/errno.h>

#include "../cache/cache.h"
#include "fault.h"

/* Whoever populates for writing may write without the MMU's help: the page counts as
 * written to. */
static void note_write(struct pt_cursor *c)
{
	pt_lock(c);
	struct pte e = pt_get(c);
	if (pte_present(e) && (e.v & (PTE_W | PTE_D)) == PTE_W) {
		struct page *p = pfn_page(pte_pfn(e));

		if (!page_test(p, PG_ANON))
			cache_mark_dirty(p);
		else if (!page_test(p, PG_DIRTY))
			page_set(p, PG_DIRTY);
	}
	pt_unlock(c);
}

/* Skip what the entry already allows.  The end of what needs nothing from addr on; nothing
 * is skipped that a key refuses, which doesn't count for foreign memory. */
static u64 skip_present(struct quire_mm *mm, u64 addr, u64 end, bool write, unsigned access)
{
	struct pt_cursor c;
	struct vma *v;

	quire_rcu_read_lock();
	v = vma_find(&mm->index, addr);
	if (v && vma_read_trylock(v)) {
		if (v->start <= addr && addr < v->end &&
		    ((access & FAULT_FOREIGN) || !pkey_refuses(v, write))) {
			/* Who keeps a private page to read it may need one of its own. */
			bool need_w =
			    write || ((access & FAULT_UNSHARE) && !(v->flags & VM_SHARED));

			end = quire_min(end, v->end);
			pt_find(&c, mm, addr);
			while (c.level == 1 && addr < end) {
				struct pte e = pt_get(&c);

				if (!(e.v & PTE_P) || !(e.v & PTE_U) || (need_w && !(e.v & PTE_W)))
					break;
				if (write && !(e.v & PTE_D))
					note_write(&c);
				addr += QUIRE_PAGE_SIZE;
				if (!pt_next(&c))
					break;
			}
		}
		vma_read_unlock(v);
	}
	quire_rcu_read_unlock();
	return addr;
}

static int outcome_error(enum quire_outcome o)
{
	switch (o) {
	case QUIRE_DONE_MINOR:
	case QUIRE_DONE_MAJOR:
	case QUIRE_RETRY:
		return 0;
	case QUIRE_SEGV_MAPERR:
	case QUIRE_OOM:
		return -ENOMEM;
	case QUIRE_SEGV_ACCERR:
		return -EINVAL;
	case QUIRE_SIGBUS_MCE:
		return -EHWPOISON;
	case QUIRE_KILLED:
		return -EINTR;
	default:
		return -EFAULT;
	}
}

/* access: who asks. */
static int populate_page(struct quire_mm *mm, u64 addr, bool write, unsigned access)
{
	struct quire_fault_record rec = {.address = addr};
	struct fault f = {
	    .mm = mm,
	    .addr = addr,
	    .access = access | (write ? QUIRE_WRITE : QUIRE_READ),
	    .write = write,
	    .rec = &rec,
	};

	if (quire_host_killed())
		return -EINTR;
	return outcome_error(fault_run(&f));
}

int populate_foreign(struct quire_mm *mm, u64 addr, bool write)
{
	return populate_page(mm, addr, write, FAULT_FOREIGN);
}

/* Up to end, or the first page that can't be had: *at is where it stopped. */
static int populate(struct quire_mm *mm, u64 *at, u64 end, bool write, unsigned access)
{
	while (*at < end) {
		u64 next = skip_present(mm, *at, end, write, access);

		if (next == *at) {
			int err = populate_page(mm, *at, write, access);

			if (err)
				return err;
			next += QUIRE_PAGE_SIZE;
			if (write && (access & FAULT_FOREIGN)) /* its entry counts as written */
				skip_present(mm, *at, next, true, access);
		}
		*at = next;
	}
	return 0;
}

int populate_pinned(struct quire_mm *mm, u64 *at, u64 end, bool write)
{
	return populate(mm, at, end, write, FAULT_FOREIGN | (write ? 0 : FAULT_UNSHARE));
}

int populate_range(struct quire_mm *mm, u64 start, u64 end, bool write)
{
	ASSERT(!((start | end) & ~QUIRE_PAGE_MASK) && start <= end);
	return populate(mm, &start, end, write, QUIRE_KEY0);
}
