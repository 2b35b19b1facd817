/* SPDX-License-Identifier: MIT */
/*
 * The LRU lists and the counts of pages by kind.
 *
 * Every CPU has four lists of its own, with a lock of its own: a page goes on the
 * lists of the CPU that brought it in, and the top bits of page->flags remember
 * which these are.  So the fault path takes a lock that nobody else wants and no
 * reference is parked anywhere.  The lists hold no reference: a page leaves them
 * when its last reference is put (lru_remove, called by the allocator) or when
 * reclaim isolates it.  Dirty file pages that no store will take are on none.
 */
#ifndef VM_LRU_H
#define VM_LRU_H

#include <quire/page.h>

enum lru_list { LRU_INACTIVE_ANON, LRU_ACTIVE_ANON, LRU_INACTIVE_FILE, LRU_ACTIVE_FILE, LRU_LISTS };

#define PAGE_LRU_CPU_SHIFT 56
#define PAGE_LRU_CPU_MASK (0xffUL << PAGE_LRU_CPU_SHIFT)

struct lru {
	struct spinlock lock; /* RANK_LRU: the lists and the counts */
	struct list list[LRU_LISTS];
	u64 size[LRU_LISTS];
};

/* Put a page, which is on no list, at the young end of an inactive list; PG_SWAPBACKED
 * says of which kind.  Doesn't sleep. */
void lru_add(struct page *p);
/* The same for a page that nobody else can see yet: no atomic operation on its flags. */
void lru_add_fresh(struct page *p);
/* Take it off its list, if it is on one.  The allocator calls it for a page with PG_LRU
 * whose last reference went. */
void lru_remove(struct page *p);
/* The same for n pages without any reference; leaves their flags. */
void lru_remove_batch(struct page *const *pages, unsigned n);
/* Move it to the active list of its kind. */
void lru_activate(struct page *p);
/* Pages on a list, over all CPUs. */
u64 lru_size(enum lru_list l);
/* For reclaim: up to n pages from the old end of a list of one CPU, off the list and
 * with a reference each; how many. */
unsigned lru_isolate(unsigned cpu, enum lru_list l, struct page **out, unsigned n);
/* Put an isolated page back on the list it was on, young end, and drop the reference. */
void lru_putback(struct page *p);
/* An isolated page goes on no list again; drop the reference. */
void lru_forget(struct page *p);

/* reclaim.c: is this thread reclaiming?  Its allocations must not start that again. */
bool reclaim_inside(void);
/* Try to free n pages; how many were.  False: as many threads as there are CPUs were at it;
 * one of them is done now, see what that brought.  Sleeps; not while reclaim_inside(). */
bool reclaim_round(u64 n, u64 *freed);

/* ---- counts of pages, per CPU; any context ------------------------------------------ */

enum page_count {
	COUNT_FILE,
	COUNT_SHMEM,
	COUNT_MAPPED,
	COUNT_DIRTY, /* to be stored */
	COUNT_WRITEBACK,
	COUNT_KEPT, /* of COUNT_FILE: dirty, with no store to take them; on no LRU list */
	COUNTS
};
void page_count_add(enum page_count c, s64 n);
s64 page_count(enum page_count c);

#endif
