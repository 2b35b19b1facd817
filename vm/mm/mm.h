/* SPDX-License-Identifier: MIT */
/*
 * struct quire_mm: an address space, inside the core.
 *
 * Locking.  mmap_lock (RANK_MMAP) guards the set of VMAs: held for writing by
 * whatever changes it, for reading by walks that may sleep.  Faults don't take
 * it: they find the VMA in the index under RCU and read-lock the VMA itself
 * (vma.h); they fall back to mmap_lock only when that fails.  Counters of pages
 * are atomics.  limits and layout are words the host writes, read without lock.
 */
#ifndef VM_MM_H
#define VM_MM_H

#include <quire/mm.h>

#include "../vma/vma.h"

enum mm_counter { MM_FILE, MM_ANON, MM_SHMEM, MM_COUNTERS };

struct quire_mm {
	struct pfn root;        /* level-4 table */
	struct vma_index index; /* vma.h; changed under mmap_lock, read under RCU */
	struct rwsem mmap_lock; /* RANK_MMAP */
	s32 refs;               /* atomic */
	u32 map_count;          /* VMAs; guarded by mmap_lock */
	s64 rss[MM_COUNTERS];   /* pages mapped; atomic */
	s64 tables;             /* frames used for page tables; atomic */
	u64 total_vm, data_vm, exec_vm, stack_vm, locked_vm; /* pages; guarded by mmap_lock */
	u64 hiwater_rss, hiwater_vm; /* pages; updated lazily, racy on purpose */
	u64 brk;                     /* guarded by mmap_lock */
	u64 def_flags;               /* mlockall(MCL_FUTURE): VM_LOCKED[ | VM_LOCKONFAULT] */
	struct quire_limits limits;
	struct quire_layout layout;
	void *host;
	struct list all; /* all mms, for checks; guarded by mm_list_lock */
};

static inline void mm_rss_add(struct quire_mm *mm, enum mm_counter c, s64 n)
{
	__atomic_add_fetch(&mm->rss[c], n, __ATOMIC_RELAXED);
}

/* mm.c: commit accounting (overcommit).  0 or -ENOMEM. */
int mm_commit(struct quire_mm *mm, u64 pages);
void mm_uncommit(u64 pages);

/* unmap.c: clear [start, end) of a VMA's entries, dropping pages to the gather.
 * even_cows: private copies too (munmap, DONTNEED); false: only pages of the file
 * itself (truncate of a private mapping keeps copies... see its comment).
 * Needs: mmap_lock (any mode), or the VMA's lock, or an rmap lock. */
void zap_range(struct tlb_gather *g, struct vma *v, u64 start, u64 end, bool even_cows);

/* Truncation: zap every mapping of pages [first, last] of a file.  Takes i_mmap_lock. */
void unmap_mapping_range(struct quire_mapping *m, u64 first, u64 last, bool even_cows);

/* fault.c: fault in [start, end) as an access of this kind would, for MAP_POPULATE,
 * mlock, MADV_POPULATE_*.  mmap_lock not held.  0 or -errno (-EFAULT, -ENOMEM, -EHWPOISON, -EINTR).
 */
int populate_range(struct quire_mm *mm, u64 start, u64 end, bool write);

/* fork.c: copy src's page-table entries to dst, a VMA of the child. */
int copy_page_range(struct vma *dst, struct vma *src);

#endif
