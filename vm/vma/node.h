/* SPDX-License-Identifier: MIT */
/* The nodes of the index of VMAs, for index.c and room.c. */
#ifndef VM_VMA_NODE_H
#define VM_VMA_NODE_H

#include "vma.h"

#define FANOUT 15 /* first_above() takes four steps; a node is 512 bytes */

struct entry {
	u64 start, end; /* of the first and last VMA below */
	u64 gap;        /* largest gap between two VMAs below; 0 in a leaf */
	void *ptr;      /* VMA, or node of the level below */
};

struct vma_node {
	u32 n;
	u32 level;              /* 0: leaf; never changes */
	struct vma_node *chain; /* spare, or retired */
	struct quire_rcu rcu;
	struct entry e[FANOUT]; /* those from n on are unused_entry */
};
_Static_assert(sizeof(struct vma_node) == 512, "a node fills its slab class");

/* The largest gap inside what a node covers, by its entries. */
u64 node_largest_gap(const struct vma_node *node);

/* room.c: v has been put in, or has other bounds. */
void vma_room_taken(struct vma_index *x, const struct vma *v);
/* What ended at `end` is gone, or ends lower. */
void vma_room_made(struct vma_index *x, u64 end);
/* Panics if what it remembers isn't so. */
void vma_room_check(const struct vma_index *x);

#endif
