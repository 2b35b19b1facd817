/* SPDX-License-Identifier: MIT */
/*
 * The buddy allocator: free frames in blocks of 2^order, aligned to their size;
 * a freed block merges with its buddy as long as that is free as a whole.
 * (K. Knowlton, "A Fast Storage Allocator", CACM 1965.)
 *
 * Locking: zone.lock, interrupts off.  The head of a free block has PG_BUDDY and
 * its order; all other free frames have no flags, so that a frame taken out of
 * the middle of a block needs no clean-up.
 *
 * Not here: zones and nodes (there is one of each), grouping by mobility.
 */
#include <quire/assert.h>
#include <quire/errno.h>

#include "phys.h"

struct zone zone;

static void area_add(struct page *p, unsigned order)
{
	__atomic_store_n(&p->flags, 1UL << PG_BUDDY, __ATOMIC_RELAXED);
	p->block.order = (u8)order;
	list_add(&zone.area[order], &p->lru);
	zone.nr[order]++;
	zone.avail |= 1u << order;
}

static void area_del(struct page *p, unsigned order)
{
	list_del(&p->lru);
	__atomic_store_n(&p->flags, 0, __ATOMIC_RELAXED);
	if (--zone.nr[order] == 0)
		zone.avail &= ~(1u << order);
}

static void free_add(s64 n)
{
	__atomic_store_n(&zone.free, zone.free + (u64)n, __ATOMIC_RELAXED);
}

/* The smallest block that holds 2^order frames, cut to size; null when there is none. */
static struct page *take_locked(unsigned order)
{
	u32 fits = zone.avail >> order;
	if (!fits)
		return NULL;
	unsigned from = order + (unsigned)__builtin_ctz(fits);
	struct page *p = list_first(&zone.area[from], struct page, lru);
	area_del(p, from);
	while (from > order) {
		from--;
		area_add(p + (1UL << from), from);
	}
	free_add(-(s64)(1UL << order));
	return p;
}

static bool is_free_buddy(u64 pfn, unsigned order)
{
	if (pfn + (1UL << order) > quire_nr_pages)
		return false;
	struct page *p = pfn_page((struct pfn){pfn});
	return __atomic_load_n(&p->flags, __ATOMIC_RELAXED) == 1UL << PG_BUDDY &&
	       p->block.order == order;
}

static void give_locked(struct page *p, unsigned order)
{
	u64 pfn = page_pfn(p).n;
	free_add((s64)(1UL << order));
	while (order < MAX_ORDER) {
		u64 buddy = pfn ^ (1UL << order);
		if (!is_free_buddy(buddy, order))
			break;
		area_del(pfn_page((struct pfn){buddy}), order);
		pfn &= ~(1UL << order);
		order++;
	}
	area_add(pfn_page((struct pfn){pfn}), order);
}

struct page *buddy_alloc(unsigned order, u64 keep)
{
	struct page *p = NULL;
	unsigned long irq = spin_lock_irq(&zone.lock);
	if (zone.free >= keep + (1UL << order))
		p = take_locked(order);
	spin_unlock_irq(&zone.lock, irq);
	return p;
}

void buddy_free(struct page *p, unsigned order)
{
	ASSERT((page_pfn(p).n & ((1UL << order) - 1)) == 0);
	unsigned long irq = spin_lock_irq(&zone.lock);
	give_locked(p, order);
	spin_unlock_irq(&zone.lock, irq);
}

unsigned buddy_alloc_batch(struct page **out, unsigned n, u64 keep)
{
	unsigned got = 0;
	unsigned long irq = spin_lock_irq(&zone.lock);
	if (zone.free < keep + n)
		n = zone.free > keep ? (unsigned)(zone.free - keep) : 0;
	while (got < n) {
		/* Whole blocks where they fit: they cost the same as one frame.  Their
		 * frames go backwards, since the list is used from its end. */
		unsigned order = 31 - (unsigned)__builtin_clz(n - got);
		struct page *p = NULL;
		if (order > MAX_ORDER)
			order = MAX_ORDER;
		while (!(p = take_locked(order)) && order > 0)
			order--;
		if (!p)
			break;
		for (unsigned i = 1u << order; i-- > 0;)
			out[got++] = p + i;
	}
	spin_unlock_irq(&zone.lock, irq);
	return got;
}

/* Free frames [start, end) as the blocks that they form. */
static void give_range_locked(u64 start, u64 end)
{
	while (start < end) {
		unsigned order = start ? (unsigned)__builtin_ctzl(start) : MAX_ORDER;
		if (order > MAX_ORDER)
			order = MAX_ORDER;
		while (start + (1UL << order) > end)
			order--;
		give_locked(pfn_page((struct pfn){start}), order);
		start += 1UL << order;
	}
}

/* Frames that were retired while they were free stay out. */
static bool is_sound(const struct page *p)
{
	return quire_likely(!__atomic_load_n(&p->flags, __ATOMIC_RELAXED));
}

void buddy_free_batch(struct page *const *pages, unsigned n)
{
	unsigned long irq = spin_lock_irq(&zone.lock);
	for (unsigned i = 0; i < n;) {
		/* Frames that were brought in one after the other mostly follow each other. */
		struct page *first = pages[i];
		u64 run = 0;
		for (; i < n && pages[i] == first + run && is_sound(pages[i]); i++)
			run++;
		if (run)
			give_range_locked(page_pfn(first).n, page_pfn(first).n + run);
		else
			i++;
	}
	spin_unlock_irq(&zone.lock, irq);
}

void buddy_add(u64 start, u64 end)
{
	unsigned long irq = spin_lock_irq(&zone.lock);
	give_range_locked(start, end);
	spin_unlock_irq(&zone.lock, irq);
}

/* Cut the free block that holds p down until p stands alone, and keep it.  Zone locked. */
static void take_out_locked(struct page *p)
{
	u64 pfn = page_pfn(p).n;
	for (unsigned order = 0; order <= MAX_ORDER; order++) {
		u64 head = pfn & ~((1UL << order) - 1);
		if (!is_free_buddy(head, order))
			continue;
		struct page *block = pfn_page((struct pfn){head});
		area_del(block, order);
		while (order-- > 0) {
			struct page *upper = block + (1UL << order);
			struct page *other = p >= upper ? block : upper;
			area_add(other, order);
			block = p >= upper ? upper : block;
		}
		free_add(-1);
		return;
	}
}

int page_retire(struct page *p)
{
	if (page_test(p, PG_RESERVED))
		return -EBUSY;
	unsigned long irq = spin_lock_irq(&zone.lock);
	take_out_locked(p); /* else it goes when it is freed, or leaves a CPU's list */
	if (!page_set(p, PG_HWPOISON))
		zone.poisoned++;
	spin_unlock_irq(&zone.lock, irq);
	return 0;
}

u64 pages_retired(void)
{
	return zone.poisoned;
}
