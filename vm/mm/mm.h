/* SPDX-License-Identifier: MIT */
/*
 * struct quire_mm: an address space, inside the core.
 *
 * Locking.  mmap_lock (RANK_MMAP) guards the set of VMAs: held for writing by
 * whatever changes it, for reading by walks that may sleep.  Faults don't take
 * it: they find the VMA in the index under RCU and read-lock the VMA itself
 * (vma.h); they fall back to mmap_lock only when that fails.  Counters of pages
 * are atomics.  layout is words the host writes, read without lock.
 */
#ifndef VM_MM_H
#define VM_MM_H

#include <quire/mm.h>

#include "../vma/vma.h"

enum mm_counter { MM_FILE, MM_ANON, MM_SHMEM, MM_COUNTERS };

struct quire_mm {
	struct pfn root; /* the top page table */
	struct pfn low;  /* the level-4 table of what lies below 2^48; root with four levels */
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
	u32 pkeys;                   /* protection keys in use, a bit each; guarded by mmap_lock */
	int exec_pkey; /* the one of memory that may only be run; -1: none yet; the same lock */
	u32 reaped;    /* quire_mm_reap() took pages away; atomic */
	struct quire_layout layout;
	void *host;
	struct list all; /* all mms, for checks; guarded by mm_list_lock */
};

static inline void mm_rss_add(struct quire_mm *mm, enum mm_counter c, s64 n)
{
	__atomic_add_fetch(&mm->rss[c], n, __ATOMIC_RELAXED);
}

/* mm.c: commit accounting (overcommit).  0 or -ENOMEM.  mm null: for nobody's own pages. */
int mm_commit(struct quire_mm *mm, u64 pages);
void mm_uncommit(u64 pages);
/* Pages charged, and what may be in strict mode (for /proc/meminfo). */
u64 mm_committed(void);
u64 mm_commit_limit(void);
/* The address space after this one (null: the first), with a reference; drops that on mm.
 * Null: there are no more.  Sleeps. */
struct quire_mm *mm_next(struct quire_mm *mm);
/* Call fn for every mm, for checks in quiet moments. */
void mm_for_each(void (*fn)(struct quire_mm *mm, void *arg), void *arg);

/* May the mm have this many more pages of a VMA with these flags (RLIMIT_AS, RLIMIT_DATA)? */
bool mm_may_expand(struct quire_mm *mm, u64 flags, u64 pages);
/* The statistics for such pages that come (or go, negative).  mmap_lock held for writing. */
void mm_account(struct quire_mm *mm, u64 flags, s64 pages);
/* -EAGAIN when flags has VM_LOCKED and len more bytes pass RLIMIT_MEMLOCK. */
int mm_lock_check(struct quire_mm *mm, u64 flags, u64 len);
/* How many pages the calling thread may lock, ~0: no limit; may it lock any at all? */
u64 mm_lockable(void);
bool mm_can_lock(void);
/* Would private memory with these flags be charged (VM_ACCOUNT)? */
static inline bool mm_chargeable(u64 flags)
{
	return (flags & (VM_NORESERVE | VM_SHARED | VM_WRITE)) == VM_WRITE;
}
/* Raise the recorded peaks.  Racy on purpose. */
void mm_update_peaks(struct quire_mm *mm);

/* Below this no address is chosen, nor a hint followed, whatever mmap_min_addr allows (as
 * the security modules of Debian's Linux have it). */
#define MM_CHOOSE_MIN 65536UL
static inline u64 mm_choose_min(void)
{
	return quire_max(quire_sysctl.mmap_min_addr, MM_CHOOSE_MIN);
}
/* mmap.c: an address for a mapping of len bytes, by Linux's rules; or -errno. */
s64 mm_unmapped_area(struct quire_mm *mm, u64 addr, u64 len, u64 map_flags);
/* mlock.c: fault in what populate_range() can of [start, end), VMA by VMA; with
 * `locked_only` only locked VMAs, with `strict` only up to the first error.  mmap_lock not
 * held. */
int mm_populate(struct quire_mm *mm, u64 start, u64 end, bool locked_only, bool strict);

/*
 * unmap.c: taking [start, end) out of the address space, in steps, so that the
 * caller can reserve all it needs before anything changes.
 */
struct unmap {
	struct quire_mm *mm;
	u64 start, end;
	struct vma *first; /* of the range; null: nothing is there */
	struct vma *last;
	struct vma *low, *high;           /* first and last, if a part of them stays; or null */
	struct vma *gone_low, *gone_high; /* VMAs for the parts of them that go */
	struct vma *upper;                /* and for what stays above, where both are one */
	struct vma *before, *after;       /* neighbours, if first is null */
};
/* Insertions of an edit that unmap_commit() makes. */
static inline unsigned unmap_inserts(const struct unmap *u)
{
	return u->upper != NULL;
}
/* mmap_lock held for writing, to the end.  0 or -ENOMEM. */
int unmap_prepare(struct unmap *u, struct quire_mm *mm, u64 start, u64 end);
void unmap_cancel(struct unmap *u);
/* Can't fail.  The edit may go on. */
void unmap_commit(struct unmap *u, struct vma_edit *e);
/* All of it in one.  0 or -ENOMEM. */
int unmap_locked(struct quire_mm *mm, u64 start, u64 end);
/* VMAs chained by rcu.next, in no index any more: clear their entries, free tables between
 * floor and ceiling, free them. */
void unmap_region(struct quire_mm *mm, struct vma *gone, u64 floor, u64 ceiling, bool whole);

/* shared.c: a file without a name for MAP_SHARED | MAP_ANONYMOUS, with one reference; the
 * VMA takes its own.  Null: no memory. */
struct quire_file *shared_anon_create(struct quire_mm *mm, u64 len, bool charge);
/* Is it such a file (and not one of the host's)? */
bool shared_anon_is(const struct quire_file *f);
/* A number that no other has; 0: it is none. */
u64 shared_anon_number(const struct quire_file *f);

/* unmap.c: clear [start, end) of a VMA's entries, dropping pages to the gather.
 * even_cows: private copies too (munmap, DONTNEED); false: only pages of the file
 * itself (truncate of a private mapping keeps copies... see its comment).
 * Needs: mmap_lock (any mode), or the VMA's lock, or an rmap lock. */
void zap_range(struct tlb_gather *g, struct vma *v, u64 start, u64 end, bool even_cows);

/* Truncation: zap every mapping of pages [first, last] of a file.  Takes i_mmap_lock. */
void unmap_mapping_range(struct quire_mapping *m, u64 first, u64 last, bool even_cows);

/* pkey.c: no key is taken yet, in a new address space. */
void pkey_init_mm(struct quire_mm *mm);
/* The key for memory that may only be run, which the calling thread then can't read; 0: there
 * is none.  mmap_lock held for writing. */
unsigned pkey_exec_only(struct quire_mm *mm);
/* Has the program allocated it?  mmap_lock held. */
bool pkey_is_allocated(const struct quire_mm *mm, int pkey);
static inline unsigned vma_pkey(const struct vma *v)
{
	return v->flags >> VM_PKEY_SHIFT & 15;
}
/* Do the calling thread's rights for v's key, which is of its own mm, refuse the access? */
bool pkey_refuses(const struct vma *v, bool write);

/* populate.c: fault in [start, end) as an access of this kind by the calling thread would, for
 * MAP_POPULATE, mlock, MADV_POPULATE_*.  mmap_lock not held.  0 or -errno (-EFAULT, -ENOMEM,
 * -EHWPOISON, -EINTR). */
int populate_range(struct quire_mm *mm, u64 start, u64 end, bool write);
/* One page of an address space that need not be the caller's: its keys don't count. */
int populate_foreign(struct quire_mm *mm, u64 addr, bool write);
/* The same from *at to end, for who keeps the pages for a while: private ones that are read are
 * not shared any more, either.  0, or why the page at *at could not be had. */
int populate_pinned(struct quire_mm *mm, u64 *at, u64 end, bool write);

/* poison.c: retire the frames of anonymous pages; soft: give the pages others first.
 * 0, -EPERM, -EBUSY, or an error of populating. */
int mm_retire_frames(struct quire_mm *mm, u64 start, u64 end, bool soft);

/* fork.c: copy src's page-table entries to dst, a VMA of the child. */
int copy_page_range(struct vma *dst, struct vma *src);

#endif
