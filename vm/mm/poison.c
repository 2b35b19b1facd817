/* SPDX-License-Identifier: MIT */
/*
 * Taking frames out of use on purpose, to test what happens when memory fails:
 * MADV_HWPOISON, after which the page is gone and an access gives SIGBUS, and
 * MADV_SOFT_OFFLINE, which gives the content another frame first.
 *
 * All entries that map the page are changed.  Pages of files: what a store has is
 * fetched anew; what is nowhere else stays lost until the file is cut or punched there,
 * and reading it is an error.
 *
 * Locking: the page's lock, which waits for whoever reads or cuts the file.
 */
#include <quire/assert.h>
#include <quire/errno.h>
#include <quire/string.h>

#include "../cache/cache.h"
#include "../phys/phys.h"
#include "../reclaim/lru.h"
#include "../rmap/rmap.h"
#include "mm.h"

/* The page at addr, with a reference. */
static int page_at(struct quire_mm *mm, u64 addr, struct page **out)
{
	struct pt_cursor c;
	struct pte e = {0};

	read_lock(&mm->mmap_lock);
	const struct vma *v = vma_find(&mm->index, addr);
	bool mapped = v && v->start <= addr; /* no stack grows for it */
	read_unlock(&mm->mmap_lock);
	int err = mapped ? populate_range(mm, addr, addr + QUIRE_PAGE_SIZE, false) : -EFAULT;
	if (err)
		return err == -EINTR ? err : -EFAULT;
	read_lock(&mm->mmap_lock);
	pt_find(&c, mm, addr);
	if (c.level == 1) {
		pt_lock(&c);
		e = pt_get(&c);
		*out = pfn_page(pte_pfn(e));
		if (pte_present(e))
			quire_page_get(*out);
		pt_unlock(&c);
	}
	read_unlock(&mm->mmap_lock);
	return pte_present(e) ? 0 : -EBUSY; /* somebody took it away again */
}

static int poison(struct page *p, struct quire_mapping *m)
{
	struct pte left = pte_make_kind(PTE_KIND_POISON, page_pfn(p).n);

	(void)page_retire(p);
	if (!m) {
		(void)rmap_vacate(p, left);
		return 0;
	}
	/* From here on who finds it in the cache waits for its lock, and then sees. */
	page_clear(p, PG_UPTODATE);
	if (m->ops->read_pages && !page_test(p, PG_DIRTY))
		left.v = 0;
	(void)rmap_vacate(p, left);
	if (m->ops->read_pages)
		cache_remove(m, p);
	return 0;
}

/* A file's page moves to `to`, or, if there is a store, goes. */
static int offline_file(struct page *p, struct quire_mapping *m, struct page *to)
{
	page_clear(p, PG_UPTODATE);
	/* The index's reference and the caller's: nobody else has it in his hands. */
	if (!rmap_vacate(p, (struct pte){0}) || page_test(p, PG_DIRTY) > !m->ops->read_pages ||
	    __atomic_load_n(&p->refs, __ATOMIC_ACQUIRE) != 2) {
		page_set(p, PG_UPTODATE);
		return -EBUSY;
	}
	if (m->ops->read_pages) {
		cache_remove(m, p);
	} else {
		bool locked = quire_page_trylock(to);

		REQUIRE(locked);
		memcpy(page_view(to), page_view(p), QUIRE_PAGE_SIZE);
		cache_replace(m, p, to);
		quire_page_unlock(to);
	}
	(void)page_retire(p);
	return 0;
}

static int offline(struct page *p, struct quire_mapping *m, struct page *to)
{
	if (m)
		return offline_file(p, m, to);
	rmap_move(p, to);
	lru_add_fresh(to);
	(void)page_retire(p);
	return 0;
}

static int retire(struct page *p, struct page *to)
{
	struct quire_mapping *m = NULL;
	int err = to ? -EIO : -EBUSY; /* of the zero page, and of the kernel's own */

	if (to && !page_test(p, PG_ANON) && p->mapping && page_test(p, PG_DIRTY) &&
	    p->mapping->ops->write_pages)
		quire_cache_flush(p->mapping, p->index << QUIRE_PAGE_SHIFT,
				  (p->index + 1) << QUIRE_PAGE_SHIFT);
	quire_page_lock(p);
	if (!page_test(p, PG_ANON))
		m = p->mapping;
	if (page_test(p, PG_HWPOISON))
		err = -EHWPOISON;
	else if (m || page_test(p, PG_ANON))
		err = to ? offline(p, m, to) : poison(p, m);
	quire_page_unlock(p);
	return err;
}

int mm_retire_frames(struct quire_mm *mm, u64 start, u64 end, bool soft)
{
	int err = 0;

	if (!quire_host_may(QUIRE_MAY_ADMIN))
		return -EPERM;
	for (; !err && start < end; start += QUIRE_PAGE_SIZE) {
		struct page *p = NULL, *to = NULL;

		err = page_at(mm, start, &p);
		if (err)
			break;
		if (soft && !(to = quire_page_alloc(0, GFP_KERNEL | GFP_ACCOUNT)))
			err = -ENOMEM;
		else
			err = retire(p, to);
		quire_page_put(p);
		if (to)
			quire_page_put(to);
	}
	return err;
}
