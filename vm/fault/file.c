/* SPDX-License-Identifier: MIT */
/*
 * First touches of file mappings: map what the page cache has, with its
 * neighbours; read what it hasn't.  And the first write to a clean shared page.
 *
 * Locking: pages are kept by references, which become the entries' own; no page
 * lock is taken.  mapcount is raised before page->mapping is looked at, so
 * truncation and this fault can't miss each other (cache/cache.h).  All entries
 * of a fault are made under one hold of their table's lock.
 *
 * What it doesn't do: map neighbours for writing.
 */
#include <quire/assert.h>
#include <quire/errno.h>
#include <quire/mm.h>
#include <quire/string.h>

#include "../cache/cache.h"
#include "../reclaim/lru.h"
#include "../rmap/rmap.h"
#include "fault.h"

#define AROUND_MAX 64

static enum quire_outcome bus(struct fault *f, enum quire_cause cause)
{
	f->rec->cause = (u8)cause;
	return QUIRE_SIGBUS;
}

/* ---- getting the page ---------------------------------------------------------------------- */

/*
 * The page of the fault, up to date, with a reference.  DONE_MINOR: it was there, or
 * it is new in a file that has no store; DONE_MAJOR: it was read; else *page is null
 * and that is the fault's outcome.
 */
static enum quire_outcome get_page(struct fault *f, struct page **page, enum quire_cause *cause)
{
	struct quire_mapping *m = f->vma->mapping;
	unsigned brought = 0;
	int r = cache_read_in(m, f->vma->file, f->pgoff, 1, CACHE_FAULT, page, &brought);

	f->rec->brought += brought;
	if (quire_likely(!r)) {
		*cause = CAUSE_FILE_MAP;
		if (!brought)
			return QUIRE_DONE_MINOR;
		*cause = m->ops->read_pages ? CAUSE_FILE_READ : CAUSE_ANON_WRITE;
		return m->ops->read_pages ? QUIRE_DONE_MAJOR : QUIRE_DONE_MINOR;
	}
	*page = NULL;
	if (r == -ERANGE)
		return bus(f, CAUSE_FILE_EOF);
	if (r == -EHWPOISON) {
		f->rec->cause = CAUSE_POISON;
		return QUIRE_SIGBUS_MCE;
	}
	if (r == -ENOMEM)
		return fault_no_memory(f);
	if (r == -EINTR && quire_host_killed())
		return QUIRE_KILLED;
	return bus(f, CAUSE_FILE_IO);
}

/* ---- mapping what is cached, and what lies around it ----------------------------------------- */

struct around {
	u64 first; /* page offset */
	unsigned n, target;
	unsigned mapped, fresh; /* entries made; pages that had none before */
	struct pte after;       /* the target's entry, if it was made */
};

/* The window around the fault, inside the VMA, the page table and the file.  It begins at an
 * aligned address, or with the VMA, and has its full size in both cases: as Linux's. */
static void window(struct fault *f, struct around *w, u64 limit)
{
	struct vma *v = f->vma;
	u64 size = quire_sysctl.fault_around_pages;
	u64 table = f->addr & ~(QUIRE_PMD_SIZE - 1), start, end;

	if (f->write || size <= 1 || v->mapping->one_by_one)
		size = 1;
	else if (size > AROUND_MAX)
		size = AROUND_MAX;
	while (size & (size - 1))
		size &= size - 1;
	start = f->addr & ~(size * QUIRE_PAGE_SIZE - 1);
	start = quire_max(quire_max(start, table), v->start);
	end = start + size * QUIRE_PAGE_SIZE;
	end = quire_min(quire_min(end, table + QUIRE_PMD_SIZE), v->end);
	w->target = (unsigned)((f->addr - start) >> QUIRE_PAGE_SHIFT);
	w->n = (unsigned)((end - start) >> QUIRE_PAGE_SHIFT);
	w->first = f->pgoff - w->target;
	w->n = limit > w->first ? (unsigned)quire_min((u64)w->n, limit - w->first) : 0;
	w->mapped = w->fresh = 0;
	w->after = (struct pte){0};
}

/* May a page that is referenced go into an entry?  Its mapcount is raised then, and COUNT_MAPPED
 * is left to the caller. */
static inline bool hold_mapping(struct quire_mapping *m, struct page *p, unsigned *fresh)
{
	u64 flags = __atomic_load_n(&p->flags, __ATOMIC_ACQUIRE);

	if ((flags & (1UL << PG_UPTODATE | 1UL << PG_HWPOISON)) != 1UL << PG_UPTODATE)
		return false;
	bool first = __atomic_fetch_add(&p->mapcount, 1, __ATOMIC_SEQ_CST) == 0;
	if (quire_likely(__atomic_load_n(&p->mapping, __ATOMIC_SEQ_CST) == m)) {
		*fresh += first;
		return true;
	}
	__atomic_sub_fetch(&p->mapcount, 1, __ATOMIC_SEQ_CST);
	return false;
}

/* Map pages [i, i + n) of the window, whose slots these are, where nothing is mapped yet.
 * Table locked, which also makes this an RCU read section. */
static inline void map_run_locked(struct fault *f, struct around *w, unsigned i, unsigned n,
				  struct page *const *slot)
{
	struct quire_mapping *m = f->vma->mapping;
	struct pt_cursor c = f->at;
	u64 prot = f->vma->prot;

	c.entry += (s64)i - w->target;
	for (; n; n--, i++, slot++, c.entry++) {
		struct page *p;
		u64 bits = prot;

		if (!pte_none(pt_get(&c)) || !(p = cache_grab(slot)))
			continue;
		if (quire_unlikely(!hold_mapping(m, p, &w->fresh))) {
			quire_page_put(p);
			continue;
		}
		if (i == w->target) {
			bits |= PTE_A;
			if (f->write) {
				bits |= PTE_D | PTE_SOFTDIRTY;
				cache_mark_dirty(p);
			}
			w->after = pte_make(page_pfn(p), bits);
		}
		pt_set(&c, pte_make(page_pfn(p), bits));
		w->mapped++;
	}
}

static void map_window_locked(struct fault *f, struct around *w)
{
	struct quire_mapping *m = f->vma->mapping;

	for (unsigned i = 0, n; i < w->n; i += n) {
		u64 pgoff = w->first + i;
		struct page *const *slot = cache_slots(m, pgoff);

		n = (unsigned)quire_min((u64)(w->n - i), CACHE_LEAF - pgoff % CACHE_LEAF);
		if (slot)
			map_run_locked(f, w, i, n, slot);
	}
	if (w->fresh)
		page_count_add(COUNT_MAPPED, w->fresh);
	if (w->mapped)
		mm_rss_add(f->mm, m->swapbacked ? MM_SHMEM : MM_FILE, w->mapped);
}

/* Map the fault's page if it is cached, with its neighbours.  FAULT_AGAIN: it isn't, or
 * something else is mapped there now. */
static enum quire_outcome map_cached(struct fault *f, enum quire_cause cause)
{
	struct quire_mapping *m = f->vma->mapping;
	u64 limit = cache_size_pages(m);
	struct around w;

	window(f, &w, limit);
	if (!w.n)
		return FAULT_AGAIN;
	pt_lock(&f->at);
	if (quire_likely(pte_none(pt_get(&f->at))))
		map_window_locked(f, &w);
	pt_unlock(&f->at);
	if (pte_none(w.after))
		return FAULT_AGAIN;
	return fault_done(f, cause, w.after, cause == CAUSE_FILE_MAP ? w.mapped : 0);
}

static enum quire_outcome file_read(struct fault *f)
{
	enum quire_outcome o, how;
	enum quire_cause cause;
	struct page *p;

	o = map_cached(f, CAUSE_FILE_MAP);
	if (quire_likely(o != FAULT_AGAIN))
		return o;
	how = get_page(f, &p, &cause);
	if (!p)
		return how;
	/* The reference keeps reclaim from it until it is mapped. */
	o = map_cached(f, cause);
	quire_page_put(p);
	return o == FAULT_AGAIN ? o : how;
}

/* ---- writes ------------------------------------------------------------------------------------
 */

/* A private mapping, written where nothing is mapped: the copy comes at once. */
static enum quire_outcome file_cow(struct fault *f)
{
	struct quire_mapping *m = f->vma->mapping;
	enum quire_outcome how, o = FAULT_AGAIN;
	enum quire_cause cause;
	struct page *from, *p;

	if (anon_vma_prepare(f->vma))
		return fault_no_memory(f);
	how = get_page(f, &from, &cause);
	if (!from)
		return how;
	p = quire_page_alloc(0, GFP_KERNEL | GFP_ACCOUNT);
	if (!p) {
		quire_page_put(from);
		return fault_no_memory(f);
	}
	memcpy(page_view(p), page_view(from), QUIRE_PAGE_SIZE);
	if (f->pgoff < cache_size_pages(m) &&
	    __atomic_load_n(&from->mapping, __ATOMIC_ACQUIRE) == m)
		o = fault_map_new(f, p, CAUSE_FILE_COW);
	if (o == FAULT_AGAIN) {
		quire_page_put(p);
	} else {
		o = how;
		cache_mark_accessed(from);
	}
	quire_page_put(from);
	return o;
}

/* A shared mapping of a file that wants to know, written where nothing is mapped. */
static enum quire_outcome file_write_shared(struct fault *f)
{
	struct quire_mapping *m = f->vma->mapping;
	enum quire_outcome how;
	enum quire_cause cause;
	struct pte e;
	struct page *p;
	unsigned fresh = 0;
	bool mapped = false;

	how = get_page(f, &p, &cause);
	if (!p)
		return how;
	if (m->ops->dirtied)
		m->ops->dirtied(m);
	e = pte_make(page_pfn(p), f->vma->prot | PTE_W | PTE_A | PTE_D | PTE_SOFTDIRTY);
	pt_lock(&f->at);
	if (pte_none(pt_get(&f->at)) && f->pgoff < cache_size_pages(m) &&
	    hold_mapping(m, p, &fresh)) {
		if (fresh)
			page_count_add(COUNT_MAPPED, 1);
		mm_rss_add(f->mm, m->swapbacked ? MM_SHMEM : MM_FILE, 1);
		pt_set(&f->at, e);
		/* The mark comes after the entry, under one hold of the lock: see flush.c. */
		cache_mark_dirty(p);
		mapped = true;
	}
	pt_unlock(&f->at);
	if (!mapped) {
		quire_page_put(p);
		return FAULT_AGAIN;
	}
	fault_done(f, cause, e, cause == CAUSE_FILE_MAP);
	cache_balance_dirty(m);
	return how;
}

enum quire_outcome fault_file(struct fault *f)
{
	bool shared = f->vma->flags & VM_SHARED;

	if (f->write && !shared)
		return file_cow(f);
	if (f->write && cache_tracks_writes(f->vma->mapping))
		return file_write_shared(f);
	if (f->write && f->vma->mapping->ops->dirtied)
		f->vma->mapping->ops->dirtied(f->vma->mapping);
	return file_read(f);
}

enum quire_outcome fault_shared_dirty(struct fault *f)
{
	struct quire_mapping *m = f->vma->mapping;
	const u64 bits = PTE_W | PTE_A | PTE_D | PTE_SOFTDIRTY;
	bool mine;

	REQUIRE(m); /* shared and writable: a file's */
	if (m->ops->dirtied)
		m->ops->dirtied(m);
	pt_lock(&f->at);
	mine = fault_same(f, pt_get(&f->at));
	if (mine) {
		pt_modify(&f->at, 0, bits);
		cache_mark_dirty(pfn_page(pte_pfn(f->entry)));
	}
	pt_unlock(&f->at);
	if (!mine)
		return FAULT_AGAIN;
	fault_done(f, CAUSE_SHARED_DIRTY, (struct pte){f->entry.v | bits}, 0);
	cache_balance_dirty(m);
	return QUIRE_DONE_MINOR;
}

/* ---- frames that were given -------------------------------------------------------------------
 */

enum quire_outcome fault_special(struct fault *f)
{
	struct vma_frames *s = f->vma->special;
	struct pte e;
	bool mine;

	if (!s || f->pgoff >= s->n || s->frame[f->pgoff].n == QUIRE_NO_FRAME)
		return bus(f, CAUSE_FILE_EOF);
	/* Data isn't counted as anybody's memory; code is, like a file's. */
	bool counted = !(f->vma->flags & VM_PFNMAP);

	e = pte_make(s->frame[f->pgoff],
		     (f->vma->prot & ~PTE_W) | PTE_A | (counted ? 0 : PTE_SPECIAL));
	pt_lock(&f->at);
	mine = pte_none(pt_get(&f->at));
	if (mine) {
		if (counted) {
			quire_page_get(pfn_page(s->frame[f->pgoff]));
			rmap_add_file(pfn_page(s->frame[f->pgoff]), f->vma);
		}
		pt_set(&f->at, e);
	}
	pt_unlock(&f->at);
	return mine ? fault_done(f, CAUSE_FILE_MAP, e, 0) : FAULT_AGAIN;
}
