/* SPDX-License-Identifier: MIT */
/*
 * Reverse mapping: from a frame to the page-table entries that map it.
 *
 * File pages: page->mapping->i_mmap holds the VMAs by page offset.  Anonymous
 * pages: page->anon_vma is one object shared by a VMA and all its descendants by
 * fork and split, and holds them by page offset.  page->mapcount counts entries.
 */
#ifndef VM_RMAP_H
#define VM_RMAP_H

#include "../mm/mm.h"

struct anon_vma {
	struct rwsem lock;     /* RANK_ANON_VMA: tree */
	struct interval *tree; /* VMAs by page offset; guarded by lock */
	s32 refs;              /* VMAs in it, and walks that hold it; atomic.  Freed under RCU */
	struct quire_rcu rcu;
};

/* Give v an anon_vma if it has none (sharing a neighbour's where Linux would merge
 * them).  mmap_lock or v's lock held.  0 or -ENOMEM.  Sleeps. */
int anon_vma_prepare(struct vma *v);
/* dst (a copy, a fork or a split part of src) joins src's anon_vma, at dst's range.
 * Can't fail. */
void anon_vma_join(struct vma *dst, struct vma *src);
void anon_vma_leave(struct vma *v);
/* v's start, end or pgoff change: take it out of its trees, and put it back. */
void rmap_remove_vma(struct vma *v); /* from i_mmap and anon_vma; keeps references */
void rmap_insert_vma(struct vma *v);

/* The page gets (loses) one more mapping at addr of v: mapcount and rss.  Page-table
 * lock held. */
void rmap_add_anon(struct page *p, struct vma *v, u64 addr, bool fresh);
void rmap_add_file(struct page *p, struct vma *v);
void rmap_remove(struct page *p, struct vma *v);

/* The same for one entry more (less) of an anonymous page that stays (was) mapped, for
 * loops that add up rss[MM_ANON] by themselves. */
static inline void rmap_anon_more(struct page *p)
{
	(void)__atomic_fetch_add(&p->mapcount, 1, __ATOMIC_RELAXED);
}
static inline void rmap_anon_less(struct page *p)
{
	(void)__atomic_fetch_sub(&p->mapcount, 1, __ATOMIC_ACQ_REL);
}

/* Call fn for each VMA and address that may map p, the page locked; fn returns false
 * to stop.  Takes the rmap lock. */
bool rmap_walk(struct page *p, bool (*fn)(struct page *, struct vma *, u64 addr, void *),
	       void *arg);
/* Was it used, through any mapping, since last asked?  Clears the accessed bits. */
unsigned rmap_referenced(struct page *p);
/* Unmap a file page everywhere, moving dirty bits to the page.  True when nothing maps
 * it any more.  Page locked. */
bool rmap_unmap(struct page *p);

/* Take the page out of every entry; they become what `left` says (none, or poison).  When
 * nothing maps it any more: true.  Page locked. */
bool rmap_vacate(struct page *p, struct pte left);
/* An anonymous page gives all its entries to `to`, which has nothing yet and gets its bytes
 * and a reference for each entry.  Page locked, with a reference of the caller's own. */
void rmap_move(struct page *p, struct page *to);

/* interval.c: a treap by first, augmented with the largest last. */
void interval_insert(struct interval **root, struct interval *n);
void interval_remove(struct interval **root, struct interval *n);
struct interval *interval_first(struct interval *root, u64 first, u64 last); /* overlapping */
struct interval *interval_next(struct interval *n, u64 first, u64 last);

#endif
