/* SPDX-License-Identifier: MIT */
/*
 * Which VMAs may be one, and changing the bounds of neighbours so that they are.
 *
 * The rules are those of Linux 6.1, down to where it does not merge, since
 * programs see the result in /proc/self/maps: same flags (soft-dirty aside), same
 * file at following offsets, same name, not special, and private pages that one
 * anon_vma can find.  A VMA that came from a fork with private pages merges only
 * with pieces of itself.
 *
 * All changes of bounds go through change_commit(), split_commit() and cut_commit(): they
 * write-lock the VMAs, hold the rmap trees that have them for writing while bounds change
 * (a truncation or reclaim sees the old state or the new one, never a VMA missing), and
 * bring the index up to date before anything is unlocked.
 *
 * Locking: mmap_lock held for writing throughout.
 */
#include <quire/assert.h>

#include "../rmap/rmap.h"
#include "internal.h"

static bool mergeable(const struct vma *v, const struct vma_shape *s)
{
	if ((v->flags ^ s->flags) & ~VM_SOFTDIRTY)
		return false;
	if (s->flags & (VM_SPECIAL | VM_DONTEXPAND))
		return false;
	if (v->file != s->file || v->name != s->name || (v->mapping && v->mapping->one_by_one))
		return false;
	/* A fault may give v its anon_vma at this moment; that changes nothing here. */
	const struct anon_vma *av = __atomic_load_n(&v->anon_vma, __ATOMIC_RELAXED);
	/* Both or neither have private pages in the same family ... */
	if (av == s->anon_vma && v->forked == s->forked)
		return true;
	/* ... or only v has, and isn't a fork's child.  (The other way round Linux 6.1
	 * does not merge, 6.18 does.) */
	if (quire_sysctl.newer_merging && !av)
		return !s->forked;
	return av && !v->forked && !s->anon_vma;
}

bool vma_can_append(const struct vma *prev, const struct vma_shape *s)
{
	return prev->end == s->start && s->pgoff == prev->pgoff + vma_pages(prev) &&
	       mergeable(prev, s);
}

bool vma_can_prepend(const struct vma *next, const struct vma_shape *s)
{
	return next->start == s->end &&
	       next->pgoff == s->pgoff + ((s->end - s->start) >> QUIRE_PAGE_SHIFT) &&
	       mergeable(next, s);
}

bool vma_can_bridge(const struct vma *prev, const struct vma *next)
{
	const struct anon_vma *a = __atomic_load_n(&prev->anon_vma, __ATOMIC_RELAXED);
	const struct anon_vma *b = __atomic_load_n(&next->anon_vma, __ATOMIC_RELAXED);

	return !a || !b || (a == b && prev->forked == next->forked);
}

bool vma_lock_bridge(struct vma *prev, struct vma *next)
{
	vma_write_lock(prev);
	vma_write_lock(next);
	if (vma_can_bridge(prev, next))
		return true;
	vma_write_unlock(next);
	return false;
}

/* ---- one commit for all changes of bounds ----------------------------------------- */

static void family_lock(struct quire_mapping *m, struct anon_vma *av) NO_TSA
{
	if (m)
		write_lock(&m->i_mmap_lock);
	if (av)
		write_lock(&av->lock);
}

static void family_unlock(struct quire_mapping *m, struct anon_vma *av) NO_TSA
{
	if (av)
		write_unlock(&av->lock);
	if (m)
		write_unlock(&m->i_mmap_lock);
}

static void tree_remove(struct vma *v)
{
	if (v->mapping)
		interval_remove((struct interval **)&v->mapping->i_mmap, &v->i_mmap);
	if (v->anon_vma)
		interval_remove(&v->anon_vma->tree, &v->anon);
}

static void tree_insert(struct vma *v)
{
	if (v->mapping) {
		v->i_mmap.first = v->pgoff;
		v->i_mmap.last = v->pgoff + vma_pages(v) - 1;
		interval_insert((struct interval **)&v->mapping->i_mmap, &v->i_mmap);
	}
	if (v->anon_vma) {
		v->anon.first = v->pgoff;
		v->anon.last = v->pgoff + vma_pages(v) - 1;
		interval_insert(&v->anon_vma->tree, &v->anon);
	}
}

static void set_bounds(struct vma_edit *e, struct vma *v, u64 start, u64 end)
{
	v->pgoff += (u64)((s64)(start - v->start) >> QUIRE_PAGE_SHIFT);
	vma_edit_resize(e, v, start, end);
}

/* v gets smaller.  Its lock and its family's are held. */
static void shrink_to(struct vma_edit *e, struct vma *v, u64 start, u64 end)
{
	tree_remove(v);
	set_bounds(e, v, start, end);
	tree_insert(v);
}

/* dst gets a share in the family of src's private pages.  The family's lock is held. */
static void adopt(struct vma *dst, struct vma *src)
{
	if (!src->anon_vma || dst->anon_vma)
		return;
	dst->anon_vma = src->anon_vma;
	dst->forked = src->forked;
	__atomic_add_fetch(&dst->anon_vma->refs, 1, __ATOMIC_RELAXED);
}

/* The one anon_vma that the VMAs of a change have, or null. */
static struct anon_vma *change_family(const struct vma_change *c)
{
	const struct vma *all[] = {c->grow, c->shrink, c->gone[0], c->gone[1]};
	struct anon_vma *av = NULL;

	for (unsigned i = 0; i < quire_array_size(all); i++) {
		if (!all[i] || !all[i]->anon_vma)
			continue;
		REQUIRE(!av || av == all[i]->anon_vma);
		av = all[i]->anon_vma;
	}
	return av;
}

static void change_lock(struct vma_change *c)
{
	vma_write_lock(c->grow);
	if (c->shrink)
		vma_write_lock(c->shrink);
	for (unsigned i = 0; i < 2; i++)
		if (c->gone[i])
			vma_write_lock(c->gone[i]);
}

void change_commit(struct vma_change *c, struct vma_edit *e)
{
	struct vma *grow = c->grow, *shrink = c->shrink;
	struct quire_mapping *m = grow->mapping;

	change_lock(c);
	struct anon_vma *av = change_family(c);
	family_lock(m, av);
	tree_remove(grow);
	for (unsigned i = 0; i < 2; i++) {
		struct vma *gone = c->gone[i];

		if (!gone)
			continue;
		tree_remove(gone);
		vma_edit_remove(e, gone);
		vma_detach(gone);
		adopt(grow, gone);
		if (gone->anon_vma) { /* grow has a reference now, so this isn't the last */
			__atomic_sub_fetch(&gone->anon_vma->refs, 1, __ATOMIC_RELEASE);
			gone->anon_vma = NULL;
		}
	}
	if (shrink) {
		adopt(grow, shrink);
		shrink_to(e, shrink, c->shrink_start, c->shrink_end);
	}
	set_bounds(e, grow, c->start, c->end);
	tree_insert(grow);
	family_unlock(m, av);

	if (shrink)
		vma_write_unlock(shrink);
	for (unsigned i = 0; i < 2; i++) {
		if (!c->gone[i])
			continue;
		vma_free(c->gone[i]);
		grow->mm->map_count--;
	}
}

/* A copy of a part of v becomes a VMA of its own. */
static void add_part(struct vma_edit *e, struct vma *part, struct vma *v)
{
	adopt(part, v);
	tree_insert(part);
	vma_edit_insert(e, part);
	v->mm->map_count++;
}

void split_commit(struct vma_edit *e, struct vma *v, struct vma *lower, struct vma *upper)
{
	u64 start = lower ? lower->end : v->start, end = upper ? upper->start : v->end;

	vma_write_lock(v);
	struct anon_vma *av = v->anon_vma;
	family_lock(v->mapping, av);
	shrink_to(e, v, start, end);
	if (lower)
		add_part(e, lower, v);
	if (upper)
		add_part(e, upper, v);
	family_unlock(v->mapping, av);
}

void cut_commit(struct vma_edit *e, struct vma *v, u64 start, u64 end, struct vma *gone,
		struct vma *upper)
{
	vma_write_lock(v);
	struct anon_vma *av = v->anon_vma;
	family_lock(v->mapping, av);
	shrink_to(e, v, start, end);
	adopt(gone, v);
	tree_insert(gone);
	if (upper)
		add_part(e, upper, v);
	family_unlock(v->mapping, av);
	vma_write_unlock(v);
}

/* ---- a new region ---------------------------------------------------------------- */

void vma_place_between(struct vma *prev, struct vma *next, const struct vma_shape *s,
		       struct vma_place *p)
{
	*p = (struct vma_place){NULL, NULL};
	if (prev && vma_can_append(prev, s))
		p->left = prev;
	if (next && vma_can_prepend(next, s) && (!p->left || vma_can_bridge(prev, next)))
		p->right = next;
}

void vma_place_new(struct vma *prev, struct vma *next, const struct vma_shape *s,
		   struct vma_place *p)
{
	struct vma_shape joined = *s;

	if (quire_sysctl.newer_merging) {
		vma_place_between(prev, next, s, p);
		return;
	}
	*p = (struct vma_place){NULL, NULL};
	if (next && vma_can_prepend(next, s)) {
		p->right = next;
		joined.anon_vma = __atomic_load_n(&next->anon_vma, __ATOMIC_RELAXED);
		joined.forked = next->forked;
	}
	if (prev && vma_can_append(prev, &joined))
		p->left = prev;
}

void vma_place_find(struct quire_mm *mm, const struct vma_shape *s, struct vma_place *p)
{
	struct vma *prev, *next = vma_find_both(&mm->index, s->start, &prev);

	vma_place_between(prev, next, s, p);
}

struct vma *vma_place_commit(struct vma_edit *e, const struct vma_place *p,
			     const struct vma_shape *s, struct vma *own)
{
	struct vma_change c = {0};

	if (!p->left && !p->right) {
		vma_write_lock(own);
		vma_rmap_link(own);
		vma_edit_insert(e, own);
		own->mm->map_count++;
		return own;
	}
	c.grow = p->left ? p->left : p->right;
	c.start = p->left ? p->left->start : s->start;
	c.end = p->right ? p->right->end : s->end;
	if (p->left && p->right) {
		if (vma_lock_bridge(p->left, p->right))
			c.gone[0] = p->right;
		else
			c.end = s->end;
	}
	change_commit(&c, e);
	if (s->flags & ~c.grow->flags & VM_SOFTDIRTY)
		vma_set_flags(c.grow, c.grow->flags | VM_SOFTDIRTY);
	return c.grow;
}

void vma_join_at(struct quire_mm *mm, u64 addr)
{
	struct vma *prev, *next = vma_find_both(&mm->index, addr, &prev);
	struct vma_edit e;

	if (!prev || !next || next->start != addr)
		return;
	struct vma_shape s = {
	    .start = next->start,
	    .end = next->end,
	    .flags = next->flags,
	    .pgoff = next->pgoff,
	    .file = next->file,
	    .forked = next->forked,
	    .name = next->name,
	};
	vma_write_lock(next); /* no fault gives it an anon_vma now */
	s.anon_vma = next->anon_vma;
	bool join = vma_can_append(prev, &s);
	vma_write_unlock(next);
	if (!join || !vma_lock_bridge(prev, next)) {
		if (join)
			vma_write_unlock(prev);
		return;
	}
	struct vma_change c = {
	    .grow = prev, .start = prev->start, .end = next->end, .gone = {next}};

	(void)vma_edit_reserve(&e, &mm->index, 0); /* nothing is inserted */
	change_commit(&c, &e);
	vma_edit_done(&e);
	vma_write_unlock(prev);
}
