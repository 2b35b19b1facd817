/* SPDX-License-Identifier: MIT */
/*
 * The kernel's lazily mapped areas: stacks and other large things that are rarely
 * used as a whole.  An area has its page tables from the start and gets a frame
 * where it is touched, from a small reserve that each CPU keeps for this.
 *
 * A bitmap with a bit for each page of the range says which pages belong to an
 * area.  The page before an area is in none: a guard that never gets a frame.
 *
 * Locking.  area_lock guards allocation.  The fault takes no lock, since it may
 * interrupt any code: it reads the bitmap atomically, sets the entry by
 * compare-and-swap, and uses its own CPU's reserve with interrupts off.  Entries
 * of an area are cleared only after its owner stopped using it.
 *
 * What it doesn't do: give page tables back.  A range is at most MAX_PAGES long.
 */
#include <quire/assert.h>
#include <quire/errno.h>
#include <quire/string.h>

#include "../base/init.h"
#include "../pt/pt.h"
#include "fault.h"

#define MAX_PAGES (1UL << 18) /* 1 GiB; a bitmap of 32 KiB */
#define RESERVE 8             /* frames a CPU keeps */
#define RESERVE_LOW 4
/* Global: one invlpg then reaches the translations of every address space. */
#define KERNEL_BITS (PTE_P | PTE_W | PTE_A | PTE_D | PTE_G)

struct reserve {
	u32 n;
	struct page *page[RESERVE];
};

static struct mutex area_lock = MUTEX_INIT(RANK_I_MMAP);
static struct pfn range_root;
static u64 range_start, range_pages;
static u64 *area_map;   /* bits: pages of areas; changed under area_lock, atomically */
static u64 search_from; /* no room below; guarded by area_lock */
static s64 area_frames; /* atomic */
static u64 area_tables; /* of the range, below what was there first; guarded by area_lock */
static struct reserve *reserves;

void kernel_range_reset(void)
{
	range_pages = 0;
	area_map = NULL;
	area_frames = 0;
	area_tables = 0;
	reserves = percpu_alloc(sizeof(*reserves));
}

int quire_kernel_range_init(struct pfn root, u64 start, u64 end)
{
	u64 pages = quire_min((end - start) >> QUIRE_PAGE_SHIFT, MAX_PAGES);
	struct pt_cursor c;
	int r;

	REQUIRE(!area_map && start < end && !((start | end) & ~QUIRE_PAGE_MASK));
	area_map = quire_kmalloc((pages + 63) / 64 * 8, GFP_KERNEL);
	if (!area_map)
		return -ENOMEM;
	memset(area_map, 0, (pages + 63) / 64 * 8);
	/* Level 3 tables hang in the root's entries, which every root copies. */
	for (u64 at = start; at < start + pages * QUIRE_PAGE_SIZE; at += pt_span(4)) {
		r = pt_make_root(&c, root, at, 3, GFP_KERNEL);
		if (r)
			return r;
	}
	range_root = root;
	range_start = start;
	search_from = 0;
	__atomic_store_n(&range_pages, pages, __ATOMIC_RELEASE);
	return 0;
}

static bool in_area(u64 page)
{
	return __atomic_load_n(&area_map[page / 64], __ATOMIC_ACQUIRE) >> (page % 64) & 1;
}

/* The page's number in the range; false: it isn't in it. */
static bool page_of(u64 address, u64 *page)
{
	u64 pages = __atomic_load_n(&range_pages, __ATOMIC_ACQUIRE);

	*page = (address - range_start) >> QUIRE_PAGE_SHIFT;
	return pages && address >= range_start && *page < pages;
}

/* ---- areas -------------------------------------------------------------------------------- */

/* The first page of a free run of n with a free page on either side: the one before is
 * this area's guard, the one after the next area's.  ~0: there is none. */
static u64 find_room_locked(u64 n)
{
	u64 run = 0;

	for (u64 page = search_from; page < range_pages; page++) {
		run = in_area(page) ? 0 : run + 1;
		if (run == n + 2)
			return page - n;
		if (run == n + 1 && page + 1 == range_pages)
			return page + 1 - n;
	}
	return ~0UL;
}

static void mark(u64 page, u64 n, bool used)
{
	for (; n; page++, n--) {
		if (used)
			__atomic_fetch_or(&area_map[page / 64], 1UL << (page % 64),
					  __ATOMIC_RELEASE);
		else
			__atomic_fetch_and(&area_map[page / 64], ~(1UL << (page % 64)),
					   __ATOMIC_RELEASE);
	}
}

u64 quire_kernel_area_alloc(u64 pages)
{
	struct pt_cursor c;
	u64 page, start = 0, at;

	if (!pages || pages > range_pages)
		return 0;
	mutex_lock(&area_lock);
	page = find_room_locked(pages);
	if (page != ~0UL) {
		start = range_start + page * QUIRE_PAGE_SIZE;
		for (at = start & ~(QUIRE_PMD_SIZE - 1); at < start + pages * QUIRE_PAGE_SIZE;
		     at += QUIRE_PMD_SIZE) {
			pt_find_root(&c, range_root, quire_max(at, start));
			area_tables += (u64)(c.level - 1); /* those that are made now, and stay */
			if (pt_make_root(&c, range_root, quire_max(at, start), 1, GFP_KERNEL))
				break;
		}
		if (at < start + pages * QUIRE_PAGE_SIZE)
			start = 0;
		else
			mark(page, pages, true);
		if (start && page == search_from + 1)
			search_from = page + pages;
	}
	mutex_unlock(&area_lock);
	return start;
}

void quire_kernel_area_free(u64 start, u64 pages)
{
	struct page *chain = NULL, *p;
	struct pt_cursor c;
	u64 page, end = start + pages * QUIRE_PAGE_SIZE;
	bool known = page_of(start, &page);

	REQUIRE(known && in_area(page) && pages <= range_pages - page);
	mark(page, pages, false);
	for (u64 at = start; at < end; at += QUIRE_PAGE_SIZE) {
		struct pte old;

		pt_find_root(&c, range_root, at);
		REQUIRE(c.level == 1);
		old.v = __atomic_exchange_n(&c.entry->v, 0UL, __ATOMIC_ACQ_REL);
		if (pte_present(old)) {
			p = pfn_page(pte_pfn(old));
			p->lru.next = (struct list *)chain;
			chain = p;
		}
	}
	if (chain)
		quire_host_tlb_flush(NULL, start, end, false);
	while ((p = chain)) {
		chain = (struct page *)p->lru.next;
		list_init(&p->lru);
		__atomic_sub_fetch(&area_frames, 1, __ATOMIC_RELAXED);
		quire_page_put(p);
	}
	mutex_lock(&area_lock);
	if (page && page - 1 < search_from)
		search_from = page - 1;
	mutex_unlock(&area_lock);
}

bool quire_kernel_guard(u64 address)
{
	u64 page;

	return page_of(address, &page) && !in_area(page) && page + 1 < range_pages &&
	       in_area(page + 1);
}

u64 kernel_area_frames(void)
{
	return (u64)__atomic_load_n(&area_frames, __ATOMIC_RELAXED);
}

u64 kernel_area_tables(void)
{
	return __atomic_load_n(&area_tables, __ATOMIC_RELAXED);
}

/* ---- the fault ------------------------------------------------------------------------------ */

static struct page *reserve_take(void)
{
	struct reserve *r = percpu_at(reserves, quire_host_cpu());

	return r->n ? r->page[--r->n] : NULL;
}

bool quire_kernel_fault(u64 address, unsigned access, u64 ip, struct quire_fault_record *rec)
{
	struct pt_cursor c;
	struct pte none = {0}, e;
	struct page *p;
	unsigned long irq;
	bool done = false;
	u64 page;

	if ((access & (QUIRE_PRESENT | QUIRE_EXEC | QUIRE_RSVD)) || !page_of(address, &page) ||
	    !in_area(page))
		return false;
	*rec = (struct quire_fault_record){
	    .time = quire_host_time_ns(),
	    .address = address,
	    .ip = ip,
	    .pgoff = page,
	    .access = (u16)access,
	    .cause = CAUSE_KERNEL_LAZY,
	    .outcome = QUIRE_DONE_MINOR,
	};
	pt_find_root(&c, range_root, address);
	if (c.level != 1)
		return false;
	irq = quire_host_irq_save();
	rec->before = pt_get(&c);
	if (pte_present(rec->before)) {
		done = true; /* another CPU was faster */
	} else if ((p = reserve_take())) {
		e = pte_make(page_pfn(p), KERNEL_BITS | (core_config.nx ? PTE_NX : 0));
		done = true;
		if (__atomic_compare_exchange_n(&c.entry->v, &none.v, e.v, false, __ATOMIC_ACQ_REL,
						__ATOMIC_ACQUIRE)) {
			__atomic_add_fetch(&area_frames, 1, __ATOMIC_RELAXED);
			rec->brought = 1;
		} else {
			struct reserve *r = percpu_at(reserves, quire_host_cpu());

			r->page[r->n++] = p;
		}
	}
	rec->after = pt_get(&c);
	quire_host_irq_restore(irq);
	rec->cost = quire_host_time_ns() - rec->time;
	if (done)
		fault_totals_add(rec);
	return done;
}

bool quire_kernel_reserve_low(void)
{
	bool low;

	quire_host_preempt_disable();
	low = percpu_at(reserves, quire_host_cpu())->n < RESERVE_LOW;
	quire_host_preempt_enable();
	return low;
}

static void fill(unsigned gfp)
{
	for (;;) {
		struct page *p = quire_page_alloc(0, gfp | GFP_ZERO);
		unsigned long irq;
		struct reserve *r;
		bool kept, full;

		if (!p)
			return;
		/* The thread may have moved to another CPU since: this one's reserve counts. */
		irq = quire_host_irq_save();
		r = percpu_at(reserves, quire_host_cpu());
		kept = r->n < RESERVE;
		if (kept)
			r->page[r->n++] = p;
		full = r->n == RESERVE;
		quire_host_irq_restore(irq);
		if (!kept)
			quire_page_put(p);
		if (full)
			return;
	}
}

void quire_kernel_reserve_fill(void)
{
	fill(GFP_KERNEL);
}

void quire_kernel_reserve_top_up(void)
{
	fill(GFP_ATOMIC);
}

u64 kernel_reserve_frames(void)
{
	u64 n = 0;

	for (unsigned cpu = 0; cpu < core_config.cpus; cpu++)
		n += percpu_at(reserves, cpu)->n;
	return n;
}
