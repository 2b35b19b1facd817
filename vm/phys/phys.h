/* SPDX-License-Identifier: MIT */
/*
 * Frames inside the core: the buddy allocator, the per-CPU lists before it, and
 * what other rooms and tests may ask about them.
 *
 * A free frame has refs == 0 and no flags but PG_BUDDY on the head of a free
 * block; so "is it free" needs no look at the lists.  All of this works in any
 * context, interrupt handlers included: interrupts are off under its locks.
 */
#ifndef VM_PHYS_H
#define VM_PHYS_H

#include <quire/list.h>
#include <quire/lock.h>
#include <quire/mm.h>
#include <quire/page.h>

#define MAX_ORDER 10 /* the largest block: 2^10 frames, 4 MiB */

struct zone {
	struct spinlock lock;            /* RANK_ZONE, interrupts off */
	u64 free;                        /* frames in the lists; read without lock */
	u64 total;                       /* frames that were ever given to the allocator */
	u64 reserve;                     /* the last frames: for GFP_ATOMIC only */
	u64 poisoned;                    /* frames retired; guarded by lock */
	u32 avail;                       /* bit n: free[n] isn't empty; guarded by lock */
	struct list area[MAX_ORDER + 1]; /* free blocks; guarded by lock */
	u64 nr[MAX_ORDER + 1];           /* their number; guarded by lock */
};
extern struct zone zone;

/* buddy.c.  A block of 2^order frames, or null when only `keep` frames would be left.
 * Its struct pages aren't prepared. */
struct page *buddy_alloc(unsigned order, u64 keep);
void buddy_free(struct page *p, unsigned order);
/* Up to n single frames into out; how many. */
unsigned buddy_alloc_batch(struct page **out, unsigned n, u64 keep);
void buddy_free_batch(struct page *const *pages, unsigned n);
/* Give [start, end) to the allocator (initialisation). */
void buddy_add(u64 start, u64 end);

/* pcp.c: single frames, through this CPU's list. */
void pcp_init(void);
struct page *pcp_take(void);
void pcp_give(struct page *p);
void pcp_give_batch(struct page *const *pages, unsigned n);
u64 pcp_taken(void); /* frames that went out, came in, since the start */
u64 pcp_given(void);
u64 pcp_count(void);  /* frames in all CPUs' lists */
void pcp_drain(void); /* give this CPU's frames to the buddy allocator */

/* alloc.c.  quire_page_put() for each of n pages; pages[] is used up. */
void page_put_batch(struct page **pages, unsigned n);
static inline bool page_is_free(const struct page *p)
{
	return __atomic_load_n(&p->refs, __ATOMIC_RELAXED) == 0 &&
	       !(__atomic_load_n(&p->flags, __ATOMIC_RELAXED) &
		 (1UL << PG_RESERVED | 1UL << PG_TAIL | 1UL << PG_HWPOISON));
}
/*
 * Retire a frame for good (memory failure).  A free one leaves the allocator now;
 * one in use when it is freed.  0, or -EBUSY for what the allocator never had.
 */
int page_retire(struct page *p);
u64 pages_retired(void);

/* slab.c */
u64 slab_pages(void);          /* frames that hold slab objects */
u64 kmalloc_large_pages(void); /* frames given out by quire_kmalloc() as a whole */
u64 kmem_objects_in_use(void); /* objects given out and not freed, all caches */

/* fail.c: tests make the nth allocation fail (debug and host builds). */
#ifdef QUIRE_DEBUG
bool fail_point(void);
#else
static inline bool fail_point(void)
{
	return false;
}
#endif

#if defined(__SANITIZE_ADDRESS__)
void __asan_poison_memory_region(const volatile void *addr, size_t size);
void __asan_unpoison_memory_region(const volatile void *addr, size_t size);
#define mem_poison(p, n) __asan_poison_memory_region(p, n)
#define mem_unpoison(p, n) __asan_unpoison_memory_region(p, n)
#else
#define mem_poison(p, n) ((void)(p), (void)(n))
#define mem_unpoison(p, n) ((void)(p), (void)(n))
#endif

#endif
