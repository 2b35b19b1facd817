/* SPDX-License-Identifier: MIT */
/* What the files of vm/vma share: the commits of changed bounds (merge.c). */
#ifndef VM_VMA_INTERNAL_H
#define VM_VMA_INTERNAL_H

#include "../mm/mm.h"
#include "vma.h"

/* One VMA grows; a neighbour gives way or VMAs vanish into it.  All have the same file,
 * and one anon_vma at most. */
struct vma_change {
	struct vma *grow; /* never null */
	u64 start, end;   /* its bounds afterwards */
	struct vma *shrink;
	u64 shrink_start, shrink_end;
	struct vma *gone[2]; /* in address order */
};
/* Can't fail, and inserts nothing; grow stays write-locked. */
void change_commit(struct vma_change *c, struct vma_edit *e);
/* Write-lock two VMAs that were found to be mergeable over what is between them.  False:
 * faults have given them different anon_vmas meanwhile; next isn't locked then. */
bool vma_lock_bridge(struct vma *prev, struct vma *next);
/* v, write-locked from here on, loses what lower and upper (copies of those parts of it,
 * or null) take over.  They go into the index (an insertion of e each) and the rmap trees. */
void split_commit(struct vma_edit *e, struct vma *v, struct vma *lower, struct vma *upper);
/* v keeps [start, end) only.  gone, a copy of what it loses, goes into the rmap trees alone,
 * upper, a copy of what is above that, or null, into the index, too (an insertion of e). */
void cut_commit(struct vma_edit *e, struct vma *v, u64 start, u64 end, struct vma *gone,
		struct vma *upper);

#endif
