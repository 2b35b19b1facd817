/* SPDX-License-Identifier: MIT */
/*
 * VMAs: regions [start, end) of an address space with one set of properties,
 * and the index that finds them.
 *
 * The index is a B+-tree whose nodes never change once they can be reached: an
 * update makes new nodes for the path to the root and publishes the new root,
 * and the old ones go after a grace period.  Look-ups need nothing but RCU.
 * Inner nodes know the largest gap below them, so finding room is one descent.
 *
 * Locking.  The set, and start, end, pgoff, flags of every VMA, are changed with
 * mm->mmap_lock held for writing *and* the VMA write-locked (vma_write_lock).
 * They are read with either mmap_lock or the VMA's read lock held.  A VMA is
 * freed after a grace period, so a look-up that loses the race sees `detached`.
 */
#ifndef VM_VMA_H
#define VM_VMA_H

#include <quire/cache.h>
#include <quire/list.h>
#include <quire/lock.h>
#include <quire/mm.h>
#include <quire/page.h>
#include <quire/types.h>

#include "../pt/pt.h"

struct anon_vma;

/* A node of an interval tree over page offsets (rmap); embedded in struct vma. */
struct interval {
	struct interval *parent, *left, *right;
	u64 first, last;  /* inclusive, in pages */
	u64 subtree_last; /* the largest last below and here */
	u32 priority;
};

struct vma {
	u64 start, end; /* bytes, page-aligned */
	u64 flags;      /* VM_* */
	u64 prot;  /* PTE bits for a page mapped here: P, U, NX, pkey; W only where writing needs no
		      fault */
	u64 pgoff; /* of start: in the file, or for anonymous memory start >> 12 at creation */
	struct quire_mm *mm;
	struct quire_file *file;       /* with a reference; null: anonymous */
	struct quire_mapping *mapping; /* file ? file->mapping : null */
	struct anon_vma *anon_vma; /* null until it holds a private page; set once under its lock */
	struct interval i_mmap;    /* in mapping->i_mmap; guarded by mapping->i_mmap_lock */
	struct interval anon;      /* in anon_vma; guarded by anon_vma->lock */
	u32 lock;                  /* readers in the low bits, VMA_WRITER, VMA_DETACHED */
	u32 forked;                /* came into being by fork: doesn't merge by anon_vma alone */
	const char *name;          /* special mappings */
	struct pfn *special;       /* VM_SPECIAL: the frames */
	struct quire_rcu rcu;
};

#define VMA_WRITER (1u << 31)
#define VMA_WAITING (1u << 30)
#define VMA_DETACHED (1u << 29)

static inline u64 vma_pages(const struct vma *v)
{
	return (v->end - v->start) >> QUIRE_PAGE_SHIFT;
}
static inline u64 vma_pgoff_of(const struct vma *v, u64 addr)
{
	return v->pgoff + ((addr - v->start) >> QUIRE_PAGE_SHIFT);
}
static inline bool vma_anonymous(const struct vma *v)
{
	return !v->mapping && !(v->flags & VM_SPECIAL);
}

/* vma/lock.c.  Read lock: try only; false when a writer holds it or it is detached. */
bool vma_read_trylock(struct vma *v);
void vma_read_unlock(struct vma *v);
/* Wait until no fault holds the VMA.  mmap_lock held for writing; the lock stays
 * until vma_write_unlock() or, for a detached VMA, for good. */
void vma_write_lock(struct vma *v);
void vma_write_unlock(struct vma *v);
void vma_detach(struct vma *v); /* write-locked: look-ups that find it now fail */

/* ---- index: vma/index.c ------------------------------------------------------------ */

struct vma_node;
struct vma_index {
	struct vma_node *root; /* RCU */
};
void vma_index_init(struct vma_index *x);
/* The first VMA with end > addr, or null.  Under RCU or mmap_lock. */
struct vma *vma_find(const struct vma_index *x, u64 addr);
/* The last VMA with start < addr... i.e. the one before the gap or VMA at addr; or null. */
struct vma *vma_find_prev(const struct vma_index *x, u64 addr);
/* The VMA after v, in the current index. */
struct vma *vma_next(const struct vma_index *x, const struct vma *v);
/*
 * An edit: replaces VMAs of the index in one step that can't fail.  Reserve
 * first (may sleep and fail), then commit.  Each op counts one towards `ops`.
 */
struct vma_edit {
	struct vma_index *index;
	struct vma_node *spare; /* reserved nodes, chained */
	unsigned reserved;
};
int vma_edit_reserve(struct vma_edit *e, struct vma_index *x, unsigned ops);
void vma_edit_insert(struct vma_edit *e, struct vma *v); /* no overlap */
void vma_edit_remove(struct vma_edit *e, struct vma *v);
/* v, which is in the index, changes its bounds (they don't pass a neighbour's). */
void vma_edit_resize(struct vma_edit *e, struct vma *v, u64 start, u64 end);
void vma_edit_done(struct vma_edit *e); /* gives unused nodes back */
/* The highest (top-down) or lowest free range of len bytes in [low, high), at align
 * with offset; gaps before a VM_GROWSDOWN VMA shrink by the guard gap.  ~0 if none. */
u64 vma_gap(const struct vma_index *x, u64 len, u64 low, u64 high, bool topdown);
/* Free all nodes (the VMAs are the caller's). */
void vma_index_destroy(struct vma_index *x);

/* ---- set: vma/vma.c ------------------------------------------------------------------- */

struct vma *vma_alloc(struct quire_mm *mm);
/* After a grace period; drops file, anon_vma and special frames at once. */
void vma_free(struct vma *v);
/* Entries' protection bits from flags (and whether the file wants to know of writes). */
u64 vma_prot(u64 flags, const struct quire_mapping *mapping);

#endif
