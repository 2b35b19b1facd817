/* SPDX-License-Identifier: MIT */
/*
 * Frames: struct page, one for each 4 KiB frame of memory, and their allocator.
 *
 * 64 bytes a frame, by static assertion.  A block of 2^order frames is one
 * compound page: its first struct page is the head and stands for all of it.
 */
#ifndef QUIRE_PAGE_H
#define QUIRE_PAGE_H

#include <quire/list.h>
#include <quire/lock.h>
#include <quire/types.h>

/* Bits of page->flags. */
enum page_flag {
	PG_LOCKED,  /* the page lock: I/O, truncation and reclaim of this page exclude each other */
	PG_WAITERS, /* somebody sleeps on this page's lock */
	PG_UPTODATE,   /* its content is valid */
	PG_DIRTY,      /* newer than what it was read from */
	PG_WRITEBACK,  /* being written */
	PG_REFERENCED, /* used since reclaim last looked */
	PG_ACTIVE,     /* on the active LRU list */
	PG_LRU,        /* on an LRU list */
	PG_ANON,       /* mapping is an anon_vma */
	PG_SWAPBACKED, /* goes to swap when reclaimed: anonymous memory and shmem */
	PG_MLOCKED,    /* some VMA that maps it is locked: not reclaimed */
	PG_BUDDY,      /* free, head of a block in the buddy allocator */
	PG_HEAD,       /* head of a compound page */
	PG_TAIL,       /* the rest of one */
	PG_SLAB,       /* holds slab objects */
	PG_TABLE,      /* is a page table */
	PG_RESERVED,   /* never was the allocator's */
	PG_HWPOISON,   /* retired: never given out again */
	PG_READAHEAD,  /* reaching this page starts the next read ahead */
};

struct quire_mapping;

struct page {
	u64 flags;       /* enum page_flag, changed atomically */
	s32 refs;        /* references; the last put frees it */
	s32 mapcount;    /* page-table entries that map it */
	struct list lru; /* free list, per-CPU list, LRU, slab list: by owner */
	union {
		struct quire_mapping *mapping; /* page cache; PG_ANON: see anon_vma */
		struct anon_vma *anon_vma;
		void *owner; /* slab cache, or the mm of a page table */
	};
	u64 index; /* offset in mapping or anonymous region, in pages (pgoff) */
	union {
		u64 private;
		struct {                     /* page tables */
			struct spinlock ptl; /* guards the entries of this table */
			u32 pt_used;         /* entries that are not none; guarded by ptl */
		};
		struct { /* slab pages; guarded by the cache's lock */
			u16 slab_free;
			u16 slab_used;
			u32 slab_total;
		};
	};
	union {
		u64 head; /* tails: the head's address | 1 */
		struct {
			u8 order_pad[7];
			u8 order; /* heads: log2 of the number of frames; low bit of `head` stays 0
				   */
		} block;
	};
};
_Static_assert(sizeof(struct page) == 64, "struct page is 64 bytes");

/* How an allocation may behave. */
enum quire_gfp {
	GFP_KERNEL = 0,     /* may sleep: reclaim, and the OOM killer in the end */
	GFP_ATOMIC = 1,     /* may not sleep; uses the reserve */
	GFP_ZERO = 2,       /* cleared */
	GFP_NOFAIL_OOM = 4, /* reclaim, but fail rather than kill a task */
	GFP_ACCOUNT = 8,    /* user memory (for statistics) */
};

extern struct page *quire_pages; /* indexed by pfn */
extern u64 quire_nr_pages;       /* length of quire_pages */
extern char *quire_frame_base;   /* frame 0 in the host's view */

static inline struct pfn page_pfn(const struct page *p)
{
	return (struct pfn){(u64)(p - quire_pages)};
}
static inline struct page *pfn_page(struct pfn f)
{
	return &quire_pages[f.n];
}
static inline bool pfn_valid(struct pfn f)
{
	return f.n < quire_nr_pages;
}
/* The frame's bytes, in the host's view. */
static inline void *page_view(const struct page *p)
{
	return quire_frame_base + ((u64)(p - quire_pages) << QUIRE_PAGE_SHIFT);
}
static inline void *pfn_view(struct pfn f)
{
	return quire_frame_base + (f.n << QUIRE_PAGE_SHIFT);
}
static inline struct page *view_page(const void *v)
{
	return &quire_pages[(u64)((const char *)v - quire_frame_base) >> QUIRE_PAGE_SHIFT];
}

static inline bool page_test(const struct page *p, enum page_flag f)
{
	return __atomic_load_n(&p->flags, __ATOMIC_ACQUIRE) >> f & 1;
}
static inline bool page_set(struct page *p, enum page_flag f) /* returns the earlier value */
{
	return __atomic_fetch_or(&p->flags, 1UL << f, __ATOMIC_ACQ_REL) >> f & 1;
}
static inline bool page_clear(struct page *p, enum page_flag f) /* returns the earlier value */
{
	return __atomic_fetch_and(&p->flags, ~(1UL << f), __ATOMIC_ACQ_REL) >> f & 1;
}

/* 2^order contiguous frames with one reference, or null.  Sleeps unless
 * GFP_ATOMIC; then it takes RANK_ZONE and nothing above. */
struct page *quire_page_alloc(unsigned order, unsigned gfp);
/* Frees the block when it was the last reference. */
void quire_page_put(struct page *p);
static inline void quire_page_get(struct page *p)
{
	__atomic_add_fetch(&p->refs, 1, __ATOMIC_RELAXED);
}
/* Take a reference unless the count is 0 already. */
bool quire_page_try_get(struct page *p);

/* The page lock.  Sleeps.  Ranks between RANK_HOST_IO and RANK_I_MMAP. */
void quire_page_lock(struct page *p);
bool quire_page_trylock(struct page *p);
void quire_page_unlock(struct page *p);

/* Frames free / in all, in pages. */
u64 quire_free_pages(void);
u64 quire_total_pages(void);

/* ---- slab ------------------------------------------------------------------------ */

struct quire_kmem; /* a cache of objects of one size */
/* Never fails after quire_init(): the descriptor comes from a static pool, and
 * too many caches panic.  align 0: natural. */
struct quire_kmem *quire_kmem_create(const char *name, size_t size, size_t align);
void *quire_kmem_alloc(struct quire_kmem *c, unsigned gfp); /* null when there is none */
void quire_kmem_free(struct quire_kmem *c, void *obj);
/* Any size: up to 2 KiB from size classes, above whole pages, up to 4 MiB. */
void *quire_kmalloc(size_t size, unsigned gfp);
void *quire_krealloc(void *p, size_t size, unsigned gfp);
void quire_kfree(void *p); /* null is fine */
size_t quire_ksize(const void *p);
/* Call fn for each cache, in a fixed order. */
struct quire_kmem_use {
	const char *name;
	size_t size;     /* of an object */
	u64 used, slabs; /* objects given out; blocks of frames */
	u32 per_slab;    /* objects in one */
	u32 slab_pages;  /* frames of one */
};
void quire_kmem_each(void (*fn)(const struct quire_kmem_use *u, void *arg), void *arg);
/* Give empty slab pages back to the buddy allocator; returns how many. */
u64 quire_kmem_shrink(void);

/* ---- RCU: read sections don't sleep; a host reports quiescent states ------------- */

struct quire_rcu {
	struct quire_rcu *next;
	void (*fn)(struct quire_rcu *);
};
static inline void quire_rcu_read_lock(void)
{
	quire_host_preempt_disable();
}
static inline void quire_rcu_read_unlock(void)
{
	quire_host_preempt_enable();
}
/* Call fn(r) once every CPU has passed a quiescent state.  Any context. */
void quire_rcu_call(struct quire_rcu *r, void (*fn)(struct quire_rcu *));
/* The host calls this on a CPU that is in no read section: at a context switch,
 * and at a tick that interrupted user mode or idle.  Runs due callbacks. */
void quire_rcu_quiescent(void);
/* This CPU goes idle (offline) and holds no references until it comes back. */
void quire_rcu_idle(bool idle);
/* Wait for a grace period and run what was queued before.  Sleeps (may busy-wait). */
void quire_rcu_barrier(void);

#endif
