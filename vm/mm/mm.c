/* SPDX-License-Identifier: MIT */
/*
 * Address spaces: making one, counting references, taking it down as a whole, and
 * what it is charged for.
 *
 * Locking.  The list of all mms has a spinlock of its own (all_lock).  The last
 * reference has gone when teardown begins, so it meets no fault and no other
 * caller; rmap walks of truncation and reclaim it does meet, and the rmap locks
 * exclude those.  Committed memory is one atomic counter.
 *
 * Source of the overcommit rules: proc(5), /proc/sys/vm/overcommit_memory.
 */
#include <quire/assert.h>
#include <quire/errno.h>

#include "../base/init.h"
#include "../rmap/rmap.h"
#include "mm.h"

static struct quire_kmem *mm_kmem;
static struct list all_mms = LIST_INIT(all_mms);
static struct spinlock all_lock = SPINLOCK_INIT(RANK_LRU);
static s64 committed; /* pages; atomic */

void mm_init(void)
{
	mm_kmem = quire_kmem_create("quire_mm", sizeof(struct quire_mm), 0);
	list_init(&all_mms);
	committed = 0;
	vma_init();
}

int quire_mm_create(void *host, struct quire_mm **out)
{
	struct quire_mm *mm = quire_kmem_alloc(mm_kmem, GFP_KERNEL);

	if (!mm)
		return -ENOMEM;
	*mm = (struct quire_mm){
	    .refs = 1,
	    .host = host,
	    .layout = {.mmap_base = QUIRE_MAP_WINDOW - (1UL << 30), .task_size = QUIRE_USER_END},
	};
	pkey_init_mm(mm);
	rwsem_init(&mm->mmap_lock, RANK_MMAP);
	vma_index_init(&mm->index);
	if (pt_root_alloc(mm)) {
		quire_kmem_free(mm_kmem, mm);
		return -ENOMEM;
	}
	spin_lock(&all_lock);
	list_add_tail(&all_mms, &mm->all);
	spin_unlock(&all_lock);
	*out = mm;
	return 0;
}

void quire_mm_get(struct quire_mm *mm)
{
	__atomic_add_fetch(&mm->refs, 1, __ATOMIC_RELAXED);
}

/* Everything that is mapped goes; nothing needs a flush, since no CPU has it loaded. */
static void unmap_all(struct quire_mm *mm)
{
	struct vma *gone = NULL, *v;
	u64 charged = 0;

	for (v = vma_find(&mm->index, 0); v; v = vma_next(&mm->index, v)) {
		vma_write_lock(v);
		vma_detach(v);
		if (v->flags & VM_ACCOUNT)
			charged += vma_pages(v);
		mm_account(mm, v->flags, -(s64)vma_pages(v));
		mm->map_count--;
		v->rcu.next = gone ? &gone->rcu : NULL;
		gone = v;
	}
	vma_index_destroy(&mm->index);
	unmap_region(mm, gone, 0, QUIRE_USER_END, true);
	mm_uncommit(charged);
}

void quire_mm_put(struct quire_mm *mm)
{
	if (__atomic_sub_fetch(&mm->refs, 1, __ATOMIC_ACQ_REL))
		return;
	spin_lock(&all_lock);
	list_del(&mm->all);
	spin_unlock(&all_lock);
	write_lock(&mm->mmap_lock);
	unmap_all(mm);
	write_unlock(&mm->mmap_lock);
	pt_root_free(mm);
	for (unsigned i = 0; i < MM_COUNTERS; i++)
		ASSERT(mm->rss[i] == 0);
	ASSERT(mm->map_count == 0 && mm->total_vm == 0);
	quire_kmem_free(mm_kmem, mm);
}

struct quire_mm *mm_next(struct quire_mm *mm)
{
	struct quire_mm *next = NULL;
	struct list *at;

	spin_lock(&all_lock);
	for (at = mm ? mm->all.next : all_mms.next; at != &all_mms && !next; at = at->next) {
		struct quire_mm *m = list_entry(at, struct quire_mm, all);
		s32 refs = __atomic_load_n(&m->refs, __ATOMIC_RELAXED);

		while (refs > 0 && !__atomic_compare_exchange_n(&m->refs, &refs, refs + 1, false,
								__ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			;
		if (refs > 0)
			next = m;
	}
	spin_unlock(&all_lock);
	if (mm)
		quire_mm_put(mm);
	return next;
}

void mm_for_each(void (*fn)(struct quire_mm *mm, void *arg), void *arg)
{
	struct quire_mm *mm;

	list_for_each (mm, &all_mms, all)
		fn(mm, arg);
}

/* ---- what the host sees ------------------------------------------------------------ */

void *quire_mm_host(struct quire_mm *mm)
{
	return mm->host;
}

struct pfn quire_mm_root(struct quire_mm *mm)
{
	return mm->root;
}

struct quire_layout *quire_mm_layout(struct quire_mm *mm)
{
	return &mm->layout;
}

u64 quire_mm_brk(struct quire_mm *mm)
{
	return quire_max(mm->brk, mm->layout.start_brk);
}

void quire_mm_set_brk(struct quire_mm *mm, u64 brk)
{
	write_lock(&mm->mmap_lock);
	mm->brk = brk;
	write_unlock(&mm->mmap_lock);
}

static u64 rss_of(const struct quire_mm *mm, enum mm_counter c)
{
	s64 n = __atomic_load_n(&mm->rss[c], __ATOMIC_RELAXED);

	return n > 0 ? (u64)n : 0;
}

static u64 rss_all(const struct quire_mm *mm)
{
	return rss_of(mm, MM_FILE) + rss_of(mm, MM_ANON) + rss_of(mm, MM_SHMEM);
}

void mm_update_peaks(struct quire_mm *mm)
{
	u64 rss = rss_all(mm);

	if (rss > __atomic_load_n(&mm->hiwater_rss, __ATOMIC_RELAXED))
		__atomic_store_n(&mm->hiwater_rss, rss, __ATOMIC_RELAXED);
	if (mm->total_vm > __atomic_load_n(&mm->hiwater_vm, __ATOMIC_RELAXED))
		__atomic_store_n(&mm->hiwater_vm, mm->total_vm, __ATOMIC_RELAXED);
}

void quire_mm_usage(struct quire_mm *mm, struct quire_mm_usage *out)
{
	u64 rss = rss_all(mm);
	s64 tables = __atomic_load_n(&mm->tables, __ATOMIC_RELAXED);

	*out = (struct quire_mm_usage){
	    .total_vm = mm->total_vm,
	    .data_vm = mm->data_vm,
	    .exec_vm = mm->exec_vm,
	    .stack_vm = mm->stack_vm,
	    .locked_vm = mm->locked_vm,
	    .rss_file = rss_of(mm, MM_FILE),
	    .rss_anon = rss_of(mm, MM_ANON),
	    .rss_shmem = rss_of(mm, MM_SHMEM),
	    .hiwater_rss = quire_max(rss, __atomic_load_n(&mm->hiwater_rss, __ATOMIC_RELAXED)),
	    .hiwater_vm =
		quire_max(mm->total_vm, __atomic_load_n(&mm->hiwater_vm, __ATOMIC_RELAXED)),
	    .page_tables = tables > 0 ? (u64)tables : 0,
	    .map_count = mm->map_count,
	};
}

/* ---- limits and charges ------------------------------------------------------------ */

static bool is_data(u64 flags)
{
	return (flags & (VM_WRITE | VM_SHARED | VM_STACK)) == VM_WRITE;
}

bool mm_may_expand(struct quire_mm *mm, u64 flags, u64 pages)
{
	if (pages > (QUIRE_USER_END >> QUIRE_PAGE_SHIFT) ||
	    mm->total_vm + pages > quire_host_limit(QUIRE_LIMIT_AS) >> QUIRE_PAGE_SHIFT)
		return false;
	if (!is_data(flags))
		return true;
	u64 data = quire_host_limit(QUIRE_LIMIT_DATA);

	if (!data)
		data = quire_host_limit(QUIRE_LIMIT_DATA_HARD);
	return mm->data_vm + pages <= data >> QUIRE_PAGE_SHIFT;
}

void mm_account(struct quire_mm *mm, u64 flags, s64 pages)
{
	if (pages < 0)
		mm_update_peaks(mm);
	mm->total_vm += (u64)pages;
	if ((flags & (VM_EXEC | VM_WRITE | VM_STACK)) == VM_EXEC)
		mm->exec_vm += (u64)pages;
	else if (flags & VM_STACK)
		mm->stack_vm += (u64)pages;
	else if (is_data(flags))
		mm->data_vm += (u64)pages;
}

u64 mm_lockable(void)
{
	if (quire_host_may(QUIRE_MAY_LOCK))
		return ~0UL;
	return quire_host_limit(QUIRE_LIMIT_MEMLOCK) >> QUIRE_PAGE_SHIFT;
}

bool mm_can_lock(void)
{
	return quire_host_limit(QUIRE_LIMIT_MEMLOCK) || quire_host_may(QUIRE_MAY_LOCK);
}

int mm_lock_check(struct quire_mm *mm, u64 flags, u64 len)
{
	u64 pages = mm->locked_vm + (len >> QUIRE_PAGE_SHIFT);

	return (flags & VM_LOCKED) && pages > mm_lockable() ? -EAGAIN : 0;
}

u64 mm_committed(void)
{
	s64 n = __atomic_load_n(&committed, __ATOMIC_RELAXED);

	return n > 0 ? (u64)n : 0;
}

u64 mm_commit_limit(void)
{
	if (quire_sysctl.overcommit_kbytes)
		return quire_sysctl.overcommit_kbytes >> (QUIRE_PAGE_SHIFT - 10);
	return quire_total_pages() * quire_sysctl.overcommit_ratio / 100;
}

int mm_commit(struct quire_mm *mm, u64 pages)
{
	s64 now = __atomic_add_fetch(&committed, (s64)pages, __ATOMIC_RELAXED);
	bool ok = true;

	if (quire_sysctl.overcommit_memory == 0) {
		ok = pages <= quire_total_pages(); /* an obvious excess, no more */
	} else if (quire_sysctl.overcommit_memory == 2) {
		u64 limit = mm_commit_limit(), reserve = 0;

		if (!quire_host_may(QUIRE_MAY_ADMIN))
			reserve += quire_sysctl.admin_reserve_kbytes >> (QUIRE_PAGE_SHIFT - 10);
		/* No single process may take all. */
		if (mm)
			reserve += quire_min(mm->total_vm / 32, quire_sysctl.user_reserve_kbytes >>
								    (QUIRE_PAGE_SHIFT - 10));
		ok = now >= 0 && (u64)now < limit - quire_min(limit, reserve);
	}
	if (ok)
		return 0;
	mm_uncommit(pages);
	return -ENOMEM;
}

void mm_uncommit(u64 pages)
{
	__atomic_sub_fetch(&committed, (s64)pages, __ATOMIC_RELAXED);
}

bool quire_charge(struct quire_mm *mm, u64 pages)
{
	return mm_commit(mm, pages) == 0;
}

void quire_uncharge(u64 pages)
{
	mm_uncommit(pages);
}
