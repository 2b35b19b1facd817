/* SPDX-License-Identifier: MIT */
/*
 * VMAs: regions [start, end) of an address space with one set of properties,
 * and the index that finds them.
 *
 * The index is a B+-tree that is changed in place.  Look-ups under mmap_lock are
 * exact.  Look-ups under RCU alone need no lock; what they find is a VMA, but while
 * the index changes it may be the wrong one, or none: they lock what they found, look
 * at its bounds, and fall back to mmap_lock when it doesn't fit.  Inner nodes bound the
 * gaps below them, so finding room is one descent.
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
	u32 forked;                /* not 0: came into being by fork with an anon_vma; pieces of one
				      such VMA have the same number, others don't merge with it */
	const char *name;          /* special mappings */
	struct vma_frames *special; /* VM_SPECIAL: the frames, by pgoff; shared by copies */
	struct quire_rcu rcu;
};

#define VMA_WRITER (1u << 31)
#define VMA_DETACHED (1u << 30)

/* The frames of a special mapping, with a reference on each. */
struct vma_frames {
	s32 refs; /* VMAs; atomic */
	u64 n;
	struct pfn frame[];
};

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

/* ---- index: vma/index.c, vma/room.c ------------------------------------------------------------
 */

struct vma_node;
struct vma_index {
	struct vma_node *root;  /* RCU */
	struct vma_node *spare; /* nodes kept for the next edit; guarded by mmap_lock */
	u32 nspare;
	/* No room for full_len bytes or more ends in (full_from, full_to]: where a search from
	 * the top down needn't look.  Guarded by mmap_lock. */
	u64 full_len, full_from, full_to;
	/* Neighbours that vma_find_both() found last, unless next is null. */
	struct vma *prev, *next;
};
void vma_index_init(struct vma_index *x);
/* The first VMA with end > addr, or null.  Under mmap_lock, or under RCU as said above. */
struct vma *vma_find(const struct vma_index *x, u64 addr);
/* The last VMA with start < addr: the one that has addr - 1, or is before its gap; or null. */
struct vma *vma_find_prev(const struct vma_index *x, u64 addr);
/* vma_find(), and the VMA before the one found (before addr, if none is) in *prev, or null.
 * mmap_lock held for writing. */
struct vma *vma_find_both(struct vma_index *x, u64 addr, struct vma **prev);
/* The VMA after v, in the current index. */
struct vma *vma_next(const struct vma_index *x, const struct vma *v);
/* Going over [at, end) VMA by VMA: the next one that has a part of it, with the part in
 * [*at, *to), or null at the end.  *hole becomes true where something isn't mapped.
 * mmap_lock held; it may be let go between the steps:
 *	for (at = start; (v = vma_part(x, &at, end, &to, &hole)); at = to) */
static inline struct vma *vma_part(const struct vma_index *x, u64 *at, u64 end, u64 *to, bool *hole)
{
	struct vma *v = *at < end ? vma_find(x, *at) : NULL;

	if (!v || v->start >= end) {
		*hole |= *at < end;
		return NULL;
	}
	if (v->start > *at) {
		*hole = true;
		*at = v->start;
	}
	*to = end < v->end ? end : v->end;
	return v;
}
/*
 * An edit: changes to the index that can't fail, since what insertions may need is
 * reserved first (which may sleep and fail).  Removals and resizes need nothing.  Look-ups
 * under RCU see each change as it is made; VMAs that change are write-locked, so
 * that nobody acts on what is half done.  mmap_lock held for writing.
 */
struct vma_edit {
	struct vma_index *index;
	struct vma_node *retired; /* nodes to free after a grace period, chained */
	unsigned inserts;         /* that the reservation still covers */
};
/* Begin an edit of at most so many insertions.  0 or -ENOMEM (then there is no edit). */
int vma_edit_reserve(struct vma_edit *e, struct vma_index *x, unsigned inserts);
/* Make room for more insertions in a running edit.  0 or -ENOMEM. */
int vma_edit_more(struct vma_edit *e, unsigned inserts);
void vma_edit_insert(struct vma_edit *e, struct vma *v); /* no overlap */
void vma_edit_remove(struct vma_edit *e, struct vma *v);
/* Remove all VMAs in [start, end); none crosses a border. */
void vma_edit_remove_range(struct vma_edit *e, u64 start, u64 end);
/* v, which is in the index, changes its bounds (they don't pass a neighbour's).  Sets
 * v->start and v->end; pgoff is the caller's. */
void vma_edit_resize(struct vma_edit *e, struct vma *v, u64 start, u64 end);
void vma_edit_done(struct vma_edit *e); /* gives unused nodes back */
/* Lowest address at which a free range for len bytes in [low, high) starts, or the highest
 * (top-down); gaps before a VM_GROWSDOWN VMA shrink by the guard gap.  ~0 if none. */
u64 vma_gap(struct vma_index *x, u64 len, u64 low, u64 high, bool topdown);
/* Free all nodes (the VMAs are the caller's).  Nobody looks anything up any more. */
void vma_index_destroy(struct vma_index *x);
/* Panics unless the index is in order: for quire_check_mm().  Returns the VMAs counted. */
u64 vma_index_check(const struct vma_index *x);

/* ---- set: vma/vma.c ------------------------------------------------------------------- */

void vma_init(void); /* once, from mm_init() */
/* A zeroed VMA of mm that is in no index, unlocked, or null.  Sleeps. */
struct vma *vma_alloc(struct quire_mm *mm);
/* A copy of src for the range [start, end) of it (pgoff follows), with references of its
 * own on file and frames, no anon_vma yet, in no index or rmap tree.  Null: no memory. */
struct vma *vma_dup(struct quire_mm *mm, const struct vma *src, u64 start, u64 end);
/* Make it a mapping of file: takes a reference, counts the mapping.  0, or -EPERM when it
 * is VM_SHARED and the file refuses writable mappings. */
int vma_set_file(struct vma *v, struct quire_file *file);
/* After a grace period; drops file, anon_vma and special frames at once.  It is in no
 * index and no rmap tree. */
void vma_free(struct vma *v);
/* Entries' protection bits from flags (and whether the file wants to know of writes). */
u64 vma_prot(u64 flags, const struct quire_mapping *mapping);
/* flags change: sets prot, too.  VMA write-locked or private to the caller. */
void vma_set_flags(struct vma *v, u64 flags);

/* Bytes below a stack VMA that stay free: its start less the guard gap. */
static inline u64 vma_guarded_start(const struct vma *v)
{
	u64 gap = (u64)quire_sysctl.stack_guard_gap << QUIRE_PAGE_SHIFT;

	if (!(v->flags & VM_GROWSDOWN))
		return v->start;
	return v->start > gap ? v->start - gap : 0;
}

/* ---- change: vma/merge.c, vma/modify.c, vma/grow.c ---------------------------------- */

/* What a new or changed region looks like, for merging. */
struct vma_shape {
	u64 start, end, flags, pgoff;
	struct quire_file *file;
	struct anon_vma *anon_vma;
	u32 forked;
	const char *name;
};
/* May the region be one with the VMA that ends where it starts (starts where it ends)?
 * The rules are Linux 6.1's. */
bool vma_can_append(const struct vma *prev, const struct vma_shape *s);
bool vma_can_prepend(const struct vma *next, const struct vma_shape *s);
/* May prev and next become one through the region between them? */
bool vma_can_bridge(const struct vma *prev, const struct vma *next);

/* Where a new region goes in: the neighbours it can be one with, if any. */
struct vma_place {
	struct vma *left, *right; /* null: doesn't merge that way */
};
/* Which of the neighbours (or null) can s be one with?  mmap_lock held for writing. */
void vma_place_between(struct vma *prev, struct vma *next, const struct vma_shape *s,
		       struct vma_place *p);
/* The same for memory that is mapped anew, as Linux 6.1 does it there: the upper neighbour
 * comes first, and what is below joins if it may be one with that, too. */
void vma_place_new(struct vma *prev, struct vma *next, const struct vma_shape *s,
		   struct vma_place *p);
/* As vma_place_between(), with the neighbours looked up. */
void vma_place_find(struct quire_mm *mm, const struct vma_shape *s, struct vma_place *p);
/* Extend a neighbour over the free range of s, or insert `own`, which has that shape and is
 * used only when there is no neighbour (then it takes an insertion of e).  Can't fail.
 * Returns the VMA that has the range, write-locked. */
struct vma *vma_place_commit(struct vma_edit *e, const struct vma_place *p,
			     const struct vma_shape *s, struct vma *own);

/* Make one VMA of the two that meet at addr, if there are two and the rules allow it. */
void vma_join_at(struct quire_mm *mm, u64 addr);

/* Make a VMA found by rmap, and no longer.  Its anon_vma goes with it. */
void vma_rmap_link(struct vma *v);
void vma_rmap_unlink(struct vma *v);

/*
 * Give [start, end) of v these flags: splits and merges as needed, and sets prot.
 * *out: the VMA that has [start, end) now, write-locked (unlock it when the entries are
 * as the flags say).  mmap_lock held for writing.  0 or -ENOMEM; then nothing changed.
 */
int vma_modify(struct vma *v, u64 start, u64 end, u64 flags, struct vma **out);
/* The same, but merges with nothing, and it is v that has [start, end). */
int vma_cut(struct vma *v, u64 start, u64 end, u64 flags);
/* A stack grows: v->start moves down to new_start.  mmap_lock held for writing.  Checks
 * RLIMIT_STACK, RLIMIT_AS, the guard gap, the lock limit: 0 or -ENOMEM; -EAGAIN: no frame
 * for the index. */
int vma_expand_down(struct vma *v, u64 new_start);

#endif
