/* SPDX-License-Identifier: MIT */
/*
 * Allocating frames: the fast path through this CPU's list, and what happens when
 * memory is short: reclaim, then the out-of-memory killer.
 *
 * A few frames (zone.reserve) are kept for allocations that can't wait, for those
 * that reclaim itself makes, and for threads that are being killed, which will
 * soon give back more than they take.
 *
 * Locking: none of its own; buddy.c and pcp.c.
 */
#include <quire/assert.h>
#include <quire/cache.h>
#include <quire/string.h>

#include "../base/init.h"
#include "../reclaim/lru.h"
#include "phys.h"

/* ---- slow path ----------------------------------------------------------------------------- */

static struct page *try_both(unsigned order, u64 keep)
{
	struct page *p = buddy_alloc(order, keep);
	if (!p && pcp_count()) {
		/* The frames that lie on this CPU's list may complete a block. */
		pcp_drain();
		p = buddy_alloc(order, keep);
	}
	return p;
}

/* Blocks of this order and above are a convenience: nobody is killed for them. */
#define COSTLY_ORDER 4
#define IDLE_ROUNDS 16 /* rounds of reclaim that freed nothing of use */

static __attribute__((noinline)) struct page *alloc_slow(unsigned order, unsigned gfp)
{
	if (gfp & GFP_ATOMIC)
		return try_both(order, 0);
	if (reclaim_inside())
		return try_both(order, 0);
	unsigned idle = 0;
	for (;;) {
		struct page *p = try_both(order, zone.reserve);
		if (p)
			return p;
		quire_lock_check_may_sleep();
		u64 freed;
		bool mine = reclaim_round(quire_max(32UL, 2UL << order), &freed);
		if ((p = try_both(order, zone.reserve)) != NULL)
			return p;
		if (!quire_host_killed() && (!mine || (freed && ++idle < IDLE_ROUNDS)))
			continue;
		if (order >= COSTLY_ORDER || (gfp & GFP_NOFAIL_OOM))
			return NULL;
		if (quire_host_killed())
			return try_both(order, 0);
		/* User pages stop here; what is left is for unmapping and dying. */
		if (!quire_host_oom(NULL, order))
			return gfp & GFP_ACCOUNT ? NULL : try_both(order, zone.reserve / 2);
		idle = 0;
	}
}

/* ---- preparing, and taking back ---------------------------------------------------------- */

static inline void prepare_one(struct page *p)
{
	p->mapcount = 0;
	list_init(&p->lru);
	p->owner = NULL;
	p->index = 0;
	p->private = 0;
	p->head = 0;
}

static void prepare_block(struct page *p, unsigned order)
{
	for (u64 i = 1; i < 1UL << order; i++) {
		prepare_one(p + i);
		p[i].head = (u64)p | 1;
		__atomic_store_n(&p[i].flags, 1UL << PG_TAIL, __ATOMIC_RELAXED);
	}
	p->block.order = (u8)order;
	__atomic_store_n(&p->flags, 1UL << PG_HEAD, __ATOMIC_RELAXED);
}

struct page *quire_page_alloc(unsigned order, unsigned gfp)
{
	struct page *p = NULL;
	if (!(gfp & GFP_ATOMIC))
		quire_lock_check_may_sleep();
	if (quire_unlikely(order > MAX_ORDER) || fail_point())
		return NULL;
	if (quire_likely(order == 0))
		p = pcp_take();
	if (quire_unlikely(!p)) {
		p = alloc_slow(order, gfp);
		if (!p)
			return NULL;
		quire_count(QUIRE_EV_PGALLOC, 1UL << order);
	}
	mem_unpoison(page_view(p), QUIRE_PAGE_SIZE << order);
	prepare_one(p);
	if (quire_unlikely(order))
		prepare_block(p, order);
	/* A look-up that still has this frame in mind may try to take a reference: the
	 * count comes last. */
	__atomic_store_n(&p->refs, 1, __ATOMIC_RELEASE);
	if (gfp & GFP_ZERO)
		memset(page_view(p), 0, QUIRE_PAGE_SIZE << order);
	return p;
}

/* Free a block whose frames aren't all sound: the others one by one. */
static void free_poisoned(struct page *p, unsigned order)
{
	for (u64 i = 0; i < 1UL << order; i++) {
		u64 flags = __atomic_load_n(&p[i].flags, __ATOMIC_RELAXED) & 1UL << PG_HWPOISON;
		__atomic_store_n(&p[i].flags, flags, __ATOMIC_RELAXED);
		if (!flags)
			buddy_free(&p[i], 0);
	}
}

static void free_block(struct page *p, unsigned order)
{
	u64 seen = 0;
	for (u64 i = 0; i < 1UL << order; i++) {
		seen |= __atomic_load_n(&p[i].flags, __ATOMIC_RELAXED);
		if (i)
			p[i].head = 0;
	}
	if (seen >> PG_HWPOISON & 1) {
		free_poisoned(p, order);
		return;
	}
	for (u64 i = 0; i < 1UL << order; i++)
		__atomic_store_n(&p[i].flags, 0, __ATOMIC_RELAXED);
	buddy_free(p, order);
}

#define MUST_BE_CLEAR (1UL << PG_BUDDY | 1UL << PG_TAIL | 1UL << PG_LOCKED | 1UL << PG_WRITEBACK)
#define SPECIAL_FREE (1UL << PG_HEAD | 1UL << PG_HWPOISON | 1UL << PG_RESERVED | MUST_BE_CLEAR)

static __attribute__((noinline)) void free_special(struct page *p, u64 flags)
{
	if (flags >> PG_RESERVED & 1)
		return; /* the kernel's own image, the zero page: never was ours */
	if (flags & MUST_BE_CLEAR || __atomic_load_n(&p->mapcount, __ATOMIC_RELAXED) != 0) {
		quire_dump_page(p);
		quire_host_panic("a page is freed that is in use: flags %lx, mapcount %d",
				 (unsigned long)flags, p->mapcount);
	}
	if (flags >> PG_LRU & 1)
		lru_remove(p);
	unsigned order = flags >> PG_HEAD & 1 ? p->block.order : 0;
	mem_poison(page_view(p), QUIRE_PAGE_SIZE << order);
	if (order) {
		quire_count(QUIRE_EV_PGFREE, 1UL << order);
		free_block(p, order);
	} else if (flags >> PG_HWPOISON & 1) {
		__atomic_store_n(&p->flags, 1UL << PG_HWPOISON, __ATOMIC_RELAXED);
	} else {
		__atomic_store_n(&p->flags, 0, __ATOMIC_RELAXED);
		pcp_give(p);
	}
}

static inline void page_free(struct page *p)
{
	u64 flags = __atomic_load_n(&p->flags, __ATOMIC_RELAXED);
	if (quire_unlikely((flags & SPECIAL_FREE) || p->mapcount)) {
		free_special(p, flags);
		return;
	}
	if (flags >> PG_LRU & 1)
		lru_remove(p);
	mem_poison(page_view(p), QUIRE_PAGE_SIZE);
	__atomic_store_n(&p->flags, 0, __ATOMIC_RELAXED);
	pcp_give(p);
}

/* A reference went, and this many are left: none, or there was none. */
static void put_last(struct page *p, s32 left)
{
	if (quire_unlikely(left < 0))
		quire_host_panic("page %lu has %d references", (unsigned long)page_pfn(p).n, left);
	page_free(p);
}

void quire_page_put(struct page *p)
{
	s32 left = __atomic_sub_fetch(&p->refs, 1, __ATOMIC_ACQ_REL);
	if (quire_unlikely(left <= 0))
		put_last(p, left);
}

void page_put_batch(struct page **pages, unsigned n)
{
	unsigned dead = 0;

	for (unsigned i = 0; i < n; i++) {
		struct page *p = pages[i];
		s32 left = __atomic_sub_fetch(&p->refs, 1, __ATOMIC_ACQ_REL);

		if (quire_likely(left > 0))
			continue;
		u64 flags = __atomic_load_n(&p->flags, __ATOMIC_RELAXED);
		if (quire_unlikely(left < 0 || (flags & SPECIAL_FREE) || p->mapcount))
			put_last(p, left);
		else
			pages[dead++] = p;
	}
	lru_remove_batch(pages, dead);
	for (unsigned i = 0; i < dead; i++) {
		mem_poison(page_view(pages[i]), QUIRE_PAGE_SIZE);
		__atomic_store_n(&pages[i]->flags, 0, __ATOMIC_RELAXED);
	}
	pcp_give_batch(pages, dead);
}

bool quire_page_try_get(struct page *p)
{
	s32 refs = __atomic_load_n(&p->refs, __ATOMIC_RELAXED);
	while (refs > 0)
		if (__atomic_compare_exchange_n(&p->refs, &refs, refs + 1, false, __ATOMIC_ACQUIRE,
						__ATOMIC_RELAXED))
			return true;
	return false;
}

u64 quire_free_pages(void)
{
	return __atomic_load_n(&zone.free, __ATOMIC_RELAXED) + pcp_count();
}

u64 quire_total_pages(void)
{
	return zone.total;
}
