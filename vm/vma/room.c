/* SPDX-License-Identifier: MIT */
/*
 * Room in an address space: where a new region fits, from the top down or from below.
 *
 * Inner entries of the index bound the gaps inside them, so a search descends only where
 * there may be room.  Gaps are raw; the guard gap below a stack is taken off when a
 * candidate is looked at.  And the index remembers above which address the last search
 * from the top down found no room, since the next one mostly finds it right there.
 *
 * Locking: mmap_lock held for writing.
 */
#include <quire/assert.h>

#include "../mm/mm.h"
#include "node.h"

u64 node_largest_gap(const struct vma_node *node)
{
	u64 gap = node->e[0].gap;

	for (unsigned i = 1; i < node->n; i++) {
		gap = quire_max(gap, node->e[i].start - node->e[i - 1].end);
		gap = quire_max(gap, node->e[i].gap);
	}
	return gap;
}

struct room {
	u64 len, low, high;
	bool down;
};

#define NO_ROOM (~0UL)

static inline u64 room_fit(const struct room *r, u64 from, u64 to)
{
	u64 a = quire_max(from, r->low), b = quire_min(to, r->high);

	if (b <= a || b - a < r->len)
		return NO_ROOM;
	return r->down ? b - r->len : a;
}

/*
 * Room between prev_end and what begins with entry `next` of this level.  From the top down,
 * a gap that would do but for a stack's guard gap makes the search go on below that guard
 * gap, even if other mappings lie in it: so it is on Linux.
 */
static u64 room_before(struct room *r, u64 prev_end, const struct entry *next, unsigned level)
{
	u64 at = room_fit(r, prev_end, next->start);

	if (at == NO_ROOM)
		return at;
	while (level--)
		next = ((const struct vma_node *)next->ptr)->e;
	const struct vma *v = next->ptr;
	if (!(v->flags & VM_GROWSDOWN))
		return at;
	if (r->down)
		r->high = quire_min(r->high, vma_guarded_start(v));
	return room_fit(r, prev_end, vma_guarded_start(v));
}

static u64 room_inside(struct room *r, struct vma_node *node);

/* Room below entry e of an inner node, whose gap says that there may be some. */
static u64 room_below(struct room *r, struct entry *e)
{
	u64 at;

	if (e->start >= r->high || e->end <= r->low)
		return NO_ROOM;
	at = room_inside(r, e->ptr);
	if (at == NO_ROOM && e->start >= r->low && e->end <= r->high)
		e->gap = node_largest_gap(e->ptr); /* it promised too much */
	return at;
}

/* Room strictly inside what the node covers.  The loops are for speed: they look closer
 * only where there may be room. */
static u64 room_inside(struct room *r, struct vma_node *node)
{
	struct entry *first = node->e, *last = first + node->n - 1;
	const unsigned level = node->level;
	const u64 len = r->len;
	u64 at = NO_ROOM;

	if (r->down) {
		for (struct entry *e = last;; e--) {
			if (quire_unlikely(e->gap >= len)) /* never in a leaf */
				at = room_below(r, e);
			if (at != NO_ROOM || e == first)
				return at;
			if (quire_unlikely(e->start - e[-1].end >= len)) {
				at = room_before(r, e[-1].end, e, level);
				if (at != NO_ROOM)
					return at;
			}
		}
	}
	for (struct entry *e = first; e->start < r->high; e++) {
		if (e->gap >= len)
			at = room_below(r, e);
		if (at == NO_ROOM && e < last && e[1].start - e->end >= len)
			at = room_before(r, e->end, e + 1, level);
		if (at != NO_ROOM || e == last)
			break;
	}
	return at;
}

/* What the last search knows: may another one begin lower than at `high`? */
static u64 search_from(const struct vma_index *x, u64 len, u64 high)
{
	return len >= x->full_len && high <= x->full_to ? quire_min(high, x->full_from) : high;
}

/* Room right below `from`, with no stack above it whose guard gap would matter. */
static u64 room_right_below(struct vma_index *x, u64 len, u64 low, u64 from)
{
	struct vma *prev, *next = vma_find_both(x, from, &prev);
	u64 start = prev ? quire_max(prev->end, low) : low;

	if ((next && from > vma_guarded_start(next)) || start >= from || from - start < len)
		return NO_ROOM;
	return from - len;
}

static u64 room_anywhere(struct room *r, struct vma_node *root)
{
	u64 last = root->e[root->n - 1].end;
	u64 at;

	at = r->down ? room_fit(r, last, ~0UL) : room_before(r, 0, &root->e[0], root->level);
	if (at == NO_ROOM)
		at = room_inside(r, root);
	if (at == NO_ROOM)
		at =
		    r->down ? room_before(r, 0, &root->e[0], root->level) : room_fit(r, last, ~0UL);
	return at;
}

u64 vma_gap(struct vma_index *x, u64 len, u64 low, u64 high, bool topdown)
{
	struct room r = {.len = len, .low = low, .high = high, .down = topdown};
	u64 at = NO_ROOM, top;

	if (!x->root)
		return room_fit(&r, 0, ~0UL);
	if (topdown) {
		r.high = search_from(x, len, high);
		if (r.high < high)
			at = room_right_below(x, len, low, r.high);
	}
	top = r.high;
	if (at == NO_ROOM)
		at = room_anywhere(&r, x->root);
	/* Where a stack's guard gap cut off what would have been room, it is not so simple. */
	if (topdown && at != NO_ROOM && r.high == top) {
		x->full_len = len;
		x->full_from = at + len;
		x->full_to = high;
	}
	return at;
}

void vma_room_taken(struct vma_index *x, const struct vma *v)
{
	if (v->start < x->full_from && v->end >= x->full_from)
		x->full_from = v->start;
}

void vma_room_made(struct vma_index *x, u64 end)
{
	const struct vma *next;

	if (end <= x->full_from)
		return;
	next = vma_find(x, end);
	x->full_from = next ? next->start : ~0UL;
}

void vma_room_check(const struct vma_index *x)
{
	struct room r = {.len = x->full_len, .high = x->full_to, .down = true};
	u64 at;

	if (x->full_from >= x->full_to)
		return;
	at = room_anywhere(&r, x->root);
	REQUIRE(at == NO_ROOM || at + x->full_len <= x->full_from);
}
