/* SPDX-License-Identifier: MIT */
/*
 * quire_init(): the rooms come up in the order of their dependence.  One CPU,
 * no other thread in the core.  Also the system-wide settings and their defaults.
 */
#include <quire/assert.h>
#include <quire/page.h>

#include "init.h"

#define SYSCTL_DEFAULTS                                                                 \
	{                                                                               \
		.max_map_count = 65530, .overcommit_memory = 0, .overcommit_ratio = 50, \
		.overcommit_kbytes = 0, .mmap_min_addr = 65536, .stack_guard_gap = 256, \
		.fault_around_pages = 16,                                               \
	}
struct quire_sysctl quire_sysctl = SYSCTL_DEFAULTS;
struct quire_config core_config;
u64 quire_user_end = QUIRE_MAP_WINDOW;

/* Tables of before the page allocator works come from the host. */
static bool pages_work;
static u64 percpu_total;

u64 percpu_bytes(void)
{
	return percpu_total;
}

void *percpu_alloc(size_t size)
{
	size_t total = core_config.cpus * percpu_stride(size);
	percpu_total += total;
	void *p = pages_work ? quire_kmalloc(quire_round_up(total, QUIRE_PAGE_SIZE), GFP_ZERO)
			     : quire_host_alloc(total, 64);
	if (!p)
		quire_host_panic("no memory for %zu bytes of per-CPU data", total);
	return p;
}

static void check_config(const struct quire_config *c)
{
	REQUIRE(c->cpus >= 1 && c->cpus <= QUIRE_MAX_CPUS);
	REQUIRE(c->frame_base && c->max_pfn);
	for (unsigned i = 0; i < c->nr_free; i++) {
		const struct quire_range *r = &c->free[i];
		REQUIRE(r->start <= r->end && r->end <= c->max_pfn << QUIRE_PAGE_SHIFT);
		REQUIRE(((r->start | r->end) & ~QUIRE_PAGE_MASK) == 0);
		REQUIRE(i == 0 || c->free[i - 1].end <= r->start);
	}
}

void quire_init(const struct quire_config *c)
{
	check_config(c);
	core_config = *c;
	if (c->wide)
		quire_user_end = (1UL << 56) - QUIRE_PAGE_SIZE;
	quire_sysctl = (struct quire_sysctl)SYSCTL_DEFAULTS;
	pages_work = false;
	percpu_total = 0;
	stat_init();
	rcu_init();
	frames_init();
	slab_init();
	pages_work = true;
	cache_init();
	reclaim_init();
	fault_init();
	mm_init();
	u64 part = (quire_free_pages() << (QUIRE_PAGE_SHIFT - 10)) / 32;
	quire_sysctl.admin_reserve_kbytes = quire_min(part, 8192UL);
	quire_sysctl.user_reserve_kbytes = quire_min(part, 131072UL);
}
