/* SPDX-License-Identifier: MIT */
/*
 * Changing the flags of a part of a VMA: merge it with a neighbour that looks the
 * same afterwards, or split it off.  mprotect, madvise, mlock stand on this.
 *
 * Prepares (new VMAs, nodes of the index), then commits what can't fail.
 * Locking: mmap_lock held for writing; the result comes back write-locked, so that
 * no fault sees new flags with old entries.
 */
#include <quire/assert.h>
#include <quire/errno.h>

#include "internal.h"

static void find_partners(struct vma *v, const struct vma_shape *s, struct vma_place *p)
{
	struct vma_index *x = &v->mm->index;
	struct vma *prev = s->start == v->start ? vma_find_prev(x, s->start) : NULL;
	struct vma *next = s->end == v->end ? vma_next(x, v) : NULL;

	*p = (struct vma_place){NULL, NULL};
	if (prev && vma_can_append(prev, s))
		p->left = prev;
	if (next && vma_can_prepend(next, s) && (!p->left || vma_can_bridge(prev, next)))
		p->right = next;
}

/* [s->start, s->end) of v becomes part of a neighbour, or of both. */
static int merge_part(struct vma *v, const struct vma_shape *s, const struct vma_place *p,
		      struct vma **out)
{
	bool whole = s->start == v->start && s->end == v->end;
	struct vma_change c = {.grow = p->left ? p->left : p->right};
	struct vma_edit e;
	int err = vma_edit_reserve(&e, &v->mm->index, 0);

	if (err)
		return err;
	c.start = p->left ? p->left->start : s->start;
	c.end = p->right ? p->right->end : s->end;
	if (whole) {
		c.gone[0] = v;
		if (p->left && p->right) {
			if (vma_lock_bridge(p->left, p->right))
				c.gone[1] = p->right;
			else
				c.end = s->end;
		}
	} else {
		c.shrink = v;
		c.shrink_start = p->left ? s->end : v->start;
		c.shrink_end = p->left ? v->end : s->start;
	}
	change_commit(&c, &e);
	vma_edit_done(&e);
	/* Neighbours may differ in VM_SOFTDIRTY: as on Linux the part that changes decides. */
	vma_set_flags(c.grow, s->flags);
	*out = c.grow;
	return 0;
}

static int split_part(struct vma *v, u64 start, u64 end)
{
	struct quire_mm *mm = v->mm;
	unsigned parts = (start > v->start) + (end < v->end);
	struct vma *lower = NULL, *upper = NULL;
	struct vma_edit e;

	if (mm->map_count + parts > quire_sysctl.max_map_count)
		return -ENOMEM;
	if (start > v->start && !(lower = vma_dup(mm, v, v->start, start)))
		return -ENOMEM;
	if (end < v->end && !(upper = vma_dup(mm, v, end, v->end)))
		goto no_memory;
	if (vma_edit_reserve(&e, &mm->index, parts))
		goto no_memory;
	split_commit(&e, v, lower, upper);
	vma_edit_done(&e);
	return 0;

no_memory:
	if (lower)
		vma_free(lower);
	if (upper)
		vma_free(upper);
	return -ENOMEM;
}

int vma_cut(struct vma *v, u64 start, u64 end, u64 flags)
{
	int err;

	vma_write_lock(v);
	err = start == v->start && end == v->end ? 0 : split_part(v, start, end);
	if (err)
		vma_write_unlock(v);
	else
		vma_set_flags(v, flags);
	return err;
}

int vma_modify(struct vma *v, u64 start, u64 end, u64 flags, struct vma **out)
{
	if ((start != v->start || end != v->end) && (v->flags & VM_SPECIAL))
		return -EINVAL;
	/* From here on no fault gives v an anon_vma. */
	vma_write_lock(v);

	struct vma_shape s = {
	    .start = start,
	    .end = end,
	    .flags = flags,
	    .pgoff = vma_pgoff_of(v, start),
	    .file = v->file,
	    .anon_vma = v->anon_vma,
	    .forked = v->forked,
	    .name = v->name,
	};
	struct vma_place p;
	int err;

	REQUIRE(start >= v->start && start < end && end <= v->end);
	ASSERT(!((start | end) & ~QUIRE_PAGE_MASK));
	find_partners(v, &s, &p);
	if (p.left || p.right) {
		err = merge_part(v, &s, &p, out);
		if (err)
			vma_write_unlock(v);
		return err;
	}
	if (start != v->start || end != v->end) {
		err = split_part(v, start, end);
		if (err) {
			vma_write_unlock(v);
			return err;
		}
	}
	vma_set_flags(v, flags);
	*out = v;
	return 0;
}
