/* SPDX-License-Identifier: MIT */
/*
 * Where memory is: what /proc/meminfo and the checkers are told.
 *
 * Locking: none.  Every number is right by itself at some moment; they are not of
 * one moment.
 */
#include <quire/mm.h>
#include <quire/page.h>
#include <quire/string.h>

#include "../base/init.h"
#include "../fault/fault.h"
#include "../mm/mm.h"
#include "../phys/phys.h"
#include "../pt/pt.h"
#include "lru.h"

/* What could be had without hurting: free frames beyond the reserve, and the file pages
 * that reclaim may take, less a part that programs need to run at all. */
static u64 available(const struct quire_meminfo *i)
{
	u64 reserve = zone.reserve, file = i->active_file + i->inactive_file;
	u64 n = i->free > reserve ? i->free - reserve : 0;

	n += file - quire_min(file / 2, reserve);
	n += i->slab_reclaimable - quire_min(i->slab_reclaimable / 2, reserve);
	return quire_min(n, i->total);
}

/* Pages with PG_MLOCKED aren't moved off the lists; what is locked is known by mm. */
void quire_meminfo(struct quire_meminfo *out)
{
	memset(out, 0, sizeof(*out));
	out->total = quire_total_pages();
	out->free = quire_free_pages();
	out->shmem = (u64)page_count(COUNT_SHMEM);
	out->file_cache = (u64)page_count(COUNT_FILE);
	out->mapped = (u64)page_count(COUNT_MAPPED);
	out->dirty = (u64)page_count(COUNT_DIRTY);
	out->writeback = (u64)page_count(COUNT_WRITEBACK);
	out->active_anon = lru_size(LRU_ACTIVE_ANON);
	out->inactive_anon = lru_size(LRU_INACTIVE_ANON);
	out->active_file = lru_size(LRU_ACTIVE_FILE);
	out->inactive_file = lru_size(LRU_INACTIVE_FILE);
	/* The anonymous lists also hold shmem. */
	out->anon = out->active_anon + out->inactive_anon;
	out->anon -= quire_min(out->anon, out->shmem);
	out->unevictable = (u64)page_count(COUNT_KEPT);
	out->slab_unreclaimable = slab_pages();
	out->page_tables = pt_tables_total() - kernel_area_tables();
	out->kernel_areas = kernel_area_frames() + kernel_area_tables() + kernel_reserve_frames();
	out->kernel_stacks = kernel_area_frames();
	out->reserve = zone.reserve;
	out->per_cpu = percpu_bytes() >> QUIRE_PAGE_SHIFT;
	out->committed = mm_committed();
	out->commit_limit = mm_commit_limit();
	out->retired = pages_retired();
	out->reserved = core_config.max_pfn - quire_min(core_config.max_pfn, out->total);
	out->available = available(out);
}
