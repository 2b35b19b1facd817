/* SPDX-License-Identifier: MIT */
/*
 * The page cache, inside the core: the index of a mapping's pages, and what the
 * fault path, unmapping and reclaim need of it.
 *
 * Life of a cached page.  It is put into the index locked, with a reference of
 * the index's own, and becomes PG_UPTODATE when it is filled.  Removal clears
 * page->mapping and then makes sure that nothing maps it.  A fault maps a page
 * without the page lock: it takes a reference, makes the entry and raises
 * mapcount, and then looks whether page->mapping is still there.  Both sides do
 * one atomic operation between their store and their look, so that at least one
 * of the two sees the other: no truncated page stays mapped.
 *
 * Locking.  The index and the counts are changed under mapping->lock, and read
 * under RCU.  page->mapping changes with the page locked.  Dirtiness: PG_DIRTY
 * and the dirty marks of the index change together, under mapping->lock.
 */
#ifndef VM_CACHE_H
#define VM_CACHE_H

#include <quire/cache.h>
#include <quire/page.h>

/* The frame of zeroes: what reads of anonymous memory and of holes see.  Never freed,
 * mapped with PTE_SPECIAL, its counts don't move. */
extern struct page *zero_page;

/* ---- index.c ----------------------------------------------------------------------- */

/* The page at pgoff with a reference, or null.  It may not be up to date.  Doesn't
 * sleep, takes no lock. */
struct page *cache_find(struct quire_mapping *m, u64 pgoff);
/* Where the index keeps the pages from pgoff on, up to the next multiple of CACHE_LEAF;
 * null: none of them is there.  Under RCU.  Slots change at any time; cache_grab() makes a
 * page of one. */
#define CACHE_LEAF 64
struct page *const *cache_slots(struct quire_mapping *m, u64 pgoff);
/* The page in a slot with a reference; null when there is none, or it is just going. */
static inline struct page *cache_grab(struct page *const *slot)
{
	struct page *p = __atomic_load_n(slot, __ATOMIC_ACQUIRE);
	s32 refs;

	if (!p)
		return NULL;
	refs = __atomic_load_n(&p->refs, __ATOMIC_RELAXED);
	do {
		if (quire_unlikely(refs <= 0))
			return NULL;
	} while (quire_unlikely(!__atomic_compare_exchange_n(&p->refs, &refs, refs + 1, false,
							     __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)));
	/* Still there: so this is that page, and not what its frame became. */
	if (quire_likely(__atomic_load_n(slot, __ATOMIC_ACQUIRE) == p))
		return p;
	quire_page_put(p);
	return NULL;
}
void cache_index_init(void);
/* Put a locked page in at pgoff; the index takes a reference.  0, -EEXIST, -ENOMEM,
 * -ENOSPC (the page would be charged, and may not).
 * May sleep as gfp says.  mapping->lock not held. */
int cache_insert(struct quire_mapping *m, struct page *p, u64 pgoff, unsigned gfp);
/* Take a locked page out and drop the index's reference; the caller has one. */
void cache_remove(struct quire_mapping *m, struct page *p);
/* Put `to`, a new locked page with the same content, in the place of p, locked.  References
 * are as with cache_remove() and cache_insert(). */
void cache_replace(struct quire_mapping *m, struct page *p, struct page *to);
/* The same if it is clean and nobody but the caller refers to it. */
bool cache_remove_unused(struct quire_mapping *m, struct page *p);
/* The first offset in [from, to] with a page, ~0 if none.  Doesn't sleep. */
u64 cache_next(struct quire_mapping *m, u64 from, u64 to);
/* The first offset in [from, to] whose page is dirty, ~0 if none. */
u64 cache_next_dirty(struct quire_mapping *m, u64 from, u64 to);

/* Set PG_DIRTY, and the marks in its mapping if it still has one.  The mapping can't
 * go away: the page is locked, or mapped by a VMA that is locked, or referenced by
 * somebody who holds the mapping.  Page-table locks may be held.  Doesn't sleep. */
void cache_mark_dirty(struct page *p);
/* Is there a page at pgoff now?  A hint: nothing keeps it there. */
bool cache_present(struct quire_mapping *m, u64 pgoff);
/* Clear PG_DIRTY and the marks; what it was.  Page locked. */
bool cache_clear_dirty(struct quire_mapping *m, struct page *p);

/* ---- readahead.c, read.c ------------------------------------------------------------ */

/* Most pages that one call of read_pages or write_pages is given. */
#define CACHE_BATCH 128

/* How cache_read_in() may look around the page that is wanted. */
enum cache_why {
	CACHE_READ,  /* read(2) wants n pages from here */
	CACHE_FAULT, /* a mapping faulted here */
};

/*
 * Bring the absent page at pgoff in, with what the readahead window adds; ra may be
 * null.  *page gets the page, up to date and with a reference.  *brought counts the
 * pages that were read.  0, -EIO.., -ENOMEM; -ERANGE: beyond the size.  Sleeps.
 */
int cache_read_in(struct quire_mapping *m, struct quire_file *ra, u64 pgoff, u64 want,
		  enum cache_why why, struct page **page, unsigned *brought);
/* Allocate, insert and fill the absent pages of [pgoff, pgoff + n) that the size covers,
 * adding how many to *brought.  Errors and want of memory count for the page at `must`
 * alone; ~0: the first one ends it and is returned.  Sleeps. */
int cache_fill_range(struct quire_mapping *m, u64 pgoff, u64 n, u64 must, unsigned *brought);
/* Pages that the size covers. */
static inline u64 cache_size_pages(struct quire_mapping *m)
{
	return (m->ops->size(m) + QUIRE_PAGE_SIZE - 1) >> QUIRE_PAGE_SHIFT;
}
/* Wait until a page with a reference is up to date.  0; -EAGAIN: it is not in the
 * mapping any more; -EHWPOISON: its frame was retired.  Sleeps. */
int cache_wait_uptodate(struct quire_mapping *m, struct page *p);
/* What to read around a miss at pgoff; moves ra's window on. */
void cache_window(struct quire_mapping *m, struct quire_file *ra, u64 pgoff, u64 want,
		  enum cache_why why, u64 *start, u64 *n);
/* The page was used by read or write.  Doesn't sleep. */
void cache_mark_accessed(struct page *p);

/* ---- flush.c ---------------------------------------------------------------------- */

/* Too much of memory is dirty: store some of m's pages.  Called by whoever made pages
 * of m dirty, holding no lock that write_pages could need.  Sleeps. */
void cache_balance_dirty(struct quire_mapping *m);
/* Does the mapping want to know of the first write to a clean page? */
static inline bool cache_tracks_writes(const struct quire_mapping *m)
{
	return m->ops->write_pages || (m->ops->dirtied && !m->swapbacked);
}

#endif
