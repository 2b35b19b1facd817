/* SPDX-License-Identifier: MIT */
/*
 * mremap: grow in place, shrink, or move a mapping with its page-table entries.
 *
 * A move makes the tables at the destination, the new VMA, and everything that
 * unmapping the old range needs, before it moves the first entry.  While entries
 * move, both VMAs are write-locked and the rmap trees that have them are held: a
 * walk finds a page at the old place or at the new one.
 *
 * Locking: mmap_lock for writing; populating what grew comes after.
 */
#include <quire/assert.h>
#include <quire/errno.h>

#include "../rmap/rmap.h"
#include "mm.h"

struct move {
	struct quire_mm *mm;
	u64 from, old_len, to, new_len;
	u64 flags;    /* MREMAP_* */
	u64 populate; /* bytes at the end that are to be faulted in afterwards */
};

/* ---- entries --------------------------------------------------------------------------- */

/*
 * How what is mapped from `from` on goes to `to`: as entries of which level.  Tables that
 * lie alike in both places, and there as a whole, move with all that they hold.  Nothing
 * is mapped where they go, so there is hardly ever a table in the way.
 */
static unsigned move_level(struct quire_mm *mm, u64 from, u64 to, u64 len)
{
	for (unsigned level = 3; level > 1; level--) {
		struct pt_cursor d;

		if (((from | to) & (pt_span(level) - 1)) || len < pt_span(level))
			continue;
		pt_find_at(&d, mm, to, level);
		if (pte_none(pt_get(&d)))
			return level;
	}
	return 1;
}

/* Stand on the entry of `level` for addr, if it, or the table it stands in, has something
 * to move.  Else false, and *step is how far nothing comes. */
static bool find_source(struct pt_cursor *s, struct quire_mm *mm, u64 addr, unsigned level,
			u64 *step)
{
	u64 span;

	pt_find_at(s, mm, addr, level);
	if (s->level > level)
		span = pt_span(s->level);
	else if (level > 1 ? !pte_none(pt_get(s))
			   : __atomic_load_n(&s->table->pt_used, __ATOMIC_RELAXED) != 0)
		return true;
	else
		span = pt_span(quire_max(level, 2u));
	*step = quire_round_down(addr, span) + span - addr;
	return false;
}

/* Make the tables that entries of [from, from + len) need at `to`. */
static int tables_prepare(struct quire_mm *mm, u64 from, u64 len, u64 to)
{
	u64 end = from + len;

	while (from < end) {
		unsigned level = move_level(mm, from, to, end - from);
		struct pt_cursor c;
		u64 step;
		int err;

		if (find_source(&c, mm, from, level, &step)) {
			step = pt_span(quire_max(level, 2u));
			step -= from & (step - 1);
			err = pt_make(&c, mm, to, level, GFP_KERNEL);
			/* One source table reaches into two at the destination. */
			if (!err && level == 1) {
				u64 last = to + quire_min(step, end - from) - 1;

				err = pt_make(&c, mm, last & QUIRE_PAGE_MASK, 1, GFP_KERNEL);
			}
			if (err)
				return err;
		}
		from += step;
		to += step;
	}
	return 0;
}

static void both_lock(struct pt_cursor *s, struct pt_cursor *d) NO_TSA
{
	pt_lock(s);
	if (d->table != s->table)
		pt_lock_nested(d);
}

static void both_unlock(struct pt_cursor *s, struct pt_cursor *d) NO_TSA
{
	if (d->table != s->table)
		pt_unlock(d);
	pt_unlock(s);
}

/* Entries that are left in the cursor's table, from its own on. */
static u64 entries_left(const struct pt_cursor *c)
{
	return (QUIRE_PAGE_SIZE - ((uintptr_t)c->entry & ~QUIRE_PAGE_MASK)) / sizeof(*c->entry);
}

/* Move pages' entries from one cursor on to the other while both tables last; how many
 * bytes. */
static u64 move_pages(struct pt_cursor *s, struct pt_cursor *d, u64 end) NO_TSA
{
	u64 n = quire_min(entries_left(s), entries_left(d));
	u32 moved = 0;

	n = quire_min(n, (end - s->addr) >> QUIRE_PAGE_SHIFT);
	both_lock(s, d);
	for (struct pte *from = s->entry, *to = d->entry; from < s->entry + n; from++, to++) {
		if (pte_none(pte_load(from)))
			continue;
		pte_store(to, (struct pte){pte_take(from).v | PTE_SOFTDIRTY});
		moved++;
	}
	pt_set_used(s, s->table->pt_used - moved);
	pt_set_used(d, d->table->pt_used + moved);
	both_unlock(s, d);
	return n << QUIRE_PAGE_SHIFT;
}

/* Hang the table below s under d.  Its entries don't become soft-dirty one by one: their
 * new VMA is so as a whole. */
static u64 move_table(struct pt_cursor *s, struct pt_cursor *d) NO_TSA
{
	both_lock(s, d);
	REQUIRE(pte_none(pt_get(d)));
	pt_set(d, pt_set(s, (struct pte){0}));
	both_unlock(s, d);
	return pt_span(s->level);
}

static void move_entries(struct vma *src, struct vma *dst, u64 from, u64 len, u64 to) NO_TSA
{
	struct anon_vma *av = src->anon_vma;
	u64 start = from, end = from + len;

	if (src->mapping)
		write_lock(&src->mapping->i_mmap_lock);
	if (av)
		write_lock(&av->lock);
	while (from < end) {
		unsigned level = move_level(src->mm, from, to, end - from);
		struct pt_cursor s, d;
		u64 step;

		if (find_source(&s, src->mm, from, level, &step)) {
			pt_find_at(&d, dst->mm, to, level);
			REQUIRE(d.level == level);
			step = level > 1 ? move_table(&s, &d) : move_pages(&s, &d, end);
		}
		from += step;
		to += step;
	}
	/* Before the trees are let go: reclaim flushes the new place only. */
	quire_host_tlb_flush(src->mm, start, end, false);
	if (av)
		write_unlock(&av->lock);
	if (src->mapping)
		write_unlock(&src->mapping->i_mmap_lock);
}

/* ---- moving ------------------------------------------------------------------------ */

/* What moving needs, allocated in advance. */
struct move_plan {
	struct vma_shape shape;
	struct vma_place place;
	struct vma *own;
	struct unmap unmap;
	struct vma_edit edit;
	bool beside_itself; /* the destination touches v: they may be one, afterwards */
	bool apart;         /* from the rest of the mapping that it was in */
	u64 charged;
};

static void plan_cancel(struct move *m, struct move_plan *p)
{
	struct tlb_gather g;
	struct vma *prev = vma_find_prev(&m->mm->index, m->to);
	struct vma *next = vma_find(&m->mm->index, m->to);

	if (p->own)
		vma_free(p->own);
	unmap_cancel(&p->unmap);
	mm_uncommit(p->charged);
	gather_init(&g, m->mm, false);
	pt_free_range(&g, m->mm, prev ? prev->end : 0, next ? next->start : QUIRE_USER_END);
	gather_flush(&g);
}

static int plan_make(struct move *m, struct vma *v, struct move_plan *p)
{
	bool unfaulted = vma_anonymous(v) && !v->anon_vma;
	u64 pages = m->new_len >> QUIRE_PAGE_SHIFT;
	int err;

	p->shape = (struct vma_shape){
	    .start = m->to,
	    .end = m->to + m->new_len,
	    .flags = v->flags & ~VM_SOFTDIRTY, /* a neighbour that it joins stays as it is */
	    .pgoff = unfaulted ? m->to >> QUIRE_PAGE_SHIFT : vma_pgoff_of(v, m->from),
	    .file = v->file,
	    .anon_vma = v->anon_vma,
	    .forked = v->forked,
	    .name = v->name,
	};
	if (v->flags & VM_ACCOUNT) {
		if (mm_commit(m->mm, pages))
			return -ENOMEM;
		p->charged = pages;
	}
	vma_place_find(m->mm, &p->shape, &p->place);
	p->beside_itself = p->place.left == v || p->place.right == v;
	/* As on Linux 6.1: what is there twice stays apart, from its other neighbour, too. */
	if (p->beside_itself && (m->flags & MREMAP_DONTUNMAP)) {
		p->apart = true;
		p->place = (struct vma_place){NULL, NULL};
		p->beside_itself = false;
	}
	if (p->place.left == v)
		p->place.left = NULL;
	if (p->place.right == v)
		p->place.right = NULL;
	err = tables_prepare(m->mm, m->from, m->old_len, m->to);
	if (!err && !p->place.left && !p->place.right) {
		p->own = vma_dup(m->mm, v, v->start, v->end);
		err = p->own ? 0 : -ENOMEM;
	}
	if (!err && m->old_len && !(m->flags & MREMAP_DONTUNMAP))
		err = unmap_prepare(&p->unmap, m->mm, m->from, m->from + m->old_len);
	if (!err)
		err = vma_edit_reserve(&p->edit, &m->mm->index,
				       unmap_inserts(&p->unmap) + (p->own != NULL));
	if (err)
		plan_cancel(m, p);
	return err;
}

static void leave_empty(struct move *m, struct vma *v)
{
	if (v->start == m->from && v->end == m->from + m->old_len && v->anon_vma) {
		anon_vma_leave(v);
		v->forked = 0;
	}
}

/* MREMAP_DONTUNMAP: the old range stays, empty and not locked, apart from its neighbours. */
static void leave_unlocked(struct move *m)
{
	struct vma *v = vma_find(&m->mm->index, m->from);

	/* What moved has taken its share of the count along; unless memory is short. */
	if (vma_cut(v, m->from, m->from + m->old_len, v->flags & ~(VM_LOCKED | VM_LOCKONFAULT))) {
		m->mm->locked_vm += m->old_len >> QUIRE_PAGE_SHIFT;
		return;
	}
	leave_empty(m, v);
	vma_write_unlock(v);
}

/* The destination touches what stays of the source: they may be one VMA. */
static void join_itself(struct move *m)
{
	vma_join_at(m->mm, m->to + m->new_len);
	vma_join_at(m->mm, m->to);
}

static s64 move_vma(struct move *m, struct vma *v)
{
	struct move_plan p = {.unmap = {.mm = m->mm}};
	u64 flags = v->flags, pages = m->new_len >> QUIRE_PAGE_SHIFT;
	struct vma *new;
	int err;

	if (m->mm->map_count + 3 >= quire_sysctl.max_map_count)
		return -ENOMEM;
	/* From here on no fault gives v pages or an anon_vma. */
	vma_write_lock(v);
	err = plan_make(m, v, &p);
	if (err) {
		vma_write_unlock(v);
		return err;
	}
	if (p.own) {
		p.own->start = p.shape.start;
		p.own->end = p.shape.end;
		p.own->pgoff = p.shape.pgoff;
	}
	new = vma_place_commit(&p.edit, &p.place, &p.shape, p.own);
	if (p.own || (v->anon_vma && !new->anon_vma))
		anon_vma_join(new, v);
	if (m->old_len)
		move_entries(v, new, m->from, m->old_len, m->to);
	vma_write_unlock(new);
	mm_account(m->mm, flags, (s64)pages);
	if (m->flags & MREMAP_DONTUNMAP)
		leave_empty(m, v);
	else if (flags & VM_LOCKED)
		m->mm->locked_vm += pages;
	vma_write_unlock(v);
	unmap_commit(&p.unmap, &p.edit);
	vma_edit_done(&p.edit);
	if (p.beside_itself)
		join_itself(m);
	if ((m->flags & MREMAP_DONTUNMAP) && (flags & VM_LOCKED))
		leave_unlocked(m);
	if (p.apart && (flags & VM_LOCKED)) { /* from what isn't locked any more, that is */
		vma_join_at(m->mm, m->to);
		vma_join_at(m->mm, m->to + m->new_len);
	}
	if (flags & VM_LOCKED)
		m->populate = m->new_len - quire_min(m->old_len, m->new_len);
	return (s64)m->to;
}

/* ---- checks -------------------------------------------------------------------------- */

/* May [from, from + old_len) become new_len long? */
static int check_resize(struct move *m, const struct vma *v)
{
	u64 grow = m->new_len - m->old_len, pgoff;
	int err;

	if (!m->old_len && !(v->flags & (VM_SHARED | VM_MAYSHARE)))
		return -EINVAL;
	if ((m->flags & MREMAP_DONTUNMAP) && (v->flags & (VM_DONTEXPAND | VM_SPECIAL)))
		return -EINVAL;
	if (m->old_len > v->end - m->from)
		return -EFAULT;
	if (m->new_len == m->old_len)
		return 0;
	pgoff = vma_pgoff_of(v, m->from);
	if (pgoff + (m->new_len >> QUIRE_PAGE_SHIFT) < pgoff)
		return -EINVAL;
	if (v->flags & (VM_DONTEXPAND | VM_SPECIAL))
		return -EFAULT;
	err = mm_lock_check(m->mm, v->flags, grow);
	if (err)
		return err;
	return mm_may_expand(m->mm, v->flags, grow >> QUIRE_PAGE_SHIFT) ? 0 : -ENOMEM;
}

static u64 map_flags(const struct vma *v)
{
	return v->flags & VM_MAYSHARE ? MAP_SHARED : MAP_PRIVATE;
}

/* MREMAP_FIXED and MREMAP_DONTUNMAP. */
static s64 mremap_to(struct move *m, u64 new_addr)
{
	u64 top = m->mm->layout.task_size;
	bool fixed = m->flags & MREMAP_FIXED;
	struct vma *v;
	s64 at;
	int err;

	if ((new_addr & ~QUIRE_PAGE_MASK) || m->new_len > top || new_addr > top - m->new_len)
		return -EINVAL;
	if (m->from + m->old_len > new_addr && new_addr + m->new_len > m->from)
		return -EINVAL;
	if (m->mm->map_count + 5 >= quire_sysctl.max_map_count)
		return -ENOMEM;
	if (fixed) {
		err = unmap_locked(m->mm, new_addr, new_addr + m->new_len);
		if (err)
			return err;
	}
	if (m->old_len > m->new_len) {
		if (m->old_len > top || m->from > top - m->old_len)
			return -EINVAL;
		err = unmap_locked(m->mm, m->from + m->new_len, m->from + m->old_len);
		if (err)
			return err;
		m->old_len = m->new_len;
	}
	v = vma_find(&m->mm->index, m->from);
	if (!v || v->start > m->from)
		return -EFAULT;
	err = check_resize(m, v);
	if (err)
		return err;
	if ((m->flags & MREMAP_DONTUNMAP) &&
	    !mm_may_expand(m->mm, v->flags, m->old_len >> QUIRE_PAGE_SHIFT))
		return -ENOMEM;
	at = mm_unmapped_area(m->mm, new_addr, m->new_len, map_flags(v) | (fixed ? MAP_FIXED : 0));
	if (at < 0)
		return at;
	m->to = (u64)at;
	return move_vma(m, v);
}

/* ---- in place -------------------------------------------------------------------------- */

static bool room_above(struct quire_mm *mm, const struct vma *v, u64 grow)
{
	struct vma *next = vma_next(&mm->index, v);
	u64 end = v->end + grow;

	return end > v->end && end <= mm->layout.task_size && (!next || next->start >= end);
}

static int grow_in_place(struct move *m, struct vma *v)
{
	u64 grow = m->new_len - m->old_len, pages = grow >> QUIRE_PAGE_SHIFT;
	struct vma_shape s = {
	    .start = v->end,
	    .end = v->end + grow,
	    .flags = v->flags,
	    .pgoff = vma_pgoff_of(v, v->end),
	    .file = v->file,
	    .forked = v->forked,
	    .name = v->name,
	};
	struct vma_place p;
	struct vma_edit e;
	int err;

	if ((v->flags & VM_ACCOUNT) && mm_commit(m->mm, pages))
		return -ENOMEM;
	vma_write_lock(v); /* no fault gives it an anon_vma now */
	s.anon_vma = v->anon_vma;
	/* A segment's VMAs stay apart from others, but this one grows. */
	if (v->mapping && v->mapping->one_by_one)
		p = (struct vma_place){.left = v};
	else
		vma_place_find(m->mm, &s, &p);
	REQUIRE(p.left == v);
	err = vma_edit_reserve(&e, &m->mm->index, 0);
	if (err) {
		vma_write_unlock(v);
		if (v->flags & VM_ACCOUNT)
			mm_uncommit(pages);
		return err;
	}
	v = vma_place_commit(&e, &p, &s, NULL);
	vma_edit_done(&e);
	vma_write_unlock(v);
	mm_account(m->mm, v->flags, (s64)pages);
	if (v->flags & VM_LOCKED) {
		m->mm->locked_vm += pages;
		m->populate = grow;
	}
	m->to = m->from;
	return 0;
}

static s64 mremap_locked(struct move *m, u64 new_addr)
{
	struct vma *v = vma_find(&m->mm->index, m->from);
	s64 at;
	int err;

	if (!v || v->start > m->from)
		return -EFAULT;
	if (m->flags & (MREMAP_FIXED | MREMAP_DONTUNMAP))
		return mremap_to(m, new_addr);
	if (m->old_len >= m->new_len) {
		u64 top = m->mm->layout.task_size;

		if (m->old_len == m->new_len)
			return (s64)m->from; /* however long it is */
		if (m->old_len > top || m->from > top - m->old_len)
			return -EINVAL;
		err = unmap_locked(m->mm, m->from + m->new_len, m->from + m->old_len);
		return err ? err : (s64)m->from;
	}
	err = check_resize(m, v);
	if (err)
		return err;
	if (m->old_len == v->end - m->from && room_above(m->mm, v, m->new_len - m->old_len)) {
		err = grow_in_place(m, v);
		return err ? err : (s64)m->from;
	}
	if (!(m->flags & MREMAP_MAYMOVE))
		return -ENOMEM;
	at = mm_unmapped_area(m->mm, 0, m->new_len, map_flags(v));
	if (at < 0)
		return at;
	m->to = (u64)at;
	return move_vma(m, v);
}

s64 quire_mremap(struct quire_mm *mm, u64 addr, u64 old_len, u64 new_len, u64 flags, u64 new_addr)
{
	struct move m = {.mm = mm, .from = addr, .flags = flags};
	s64 at;

	if ((flags & ~(u64)(MREMAP_FIXED | MREMAP_MAYMOVE | MREMAP_DONTUNMAP)) ||
	    ((flags & MREMAP_FIXED) && !(flags & MREMAP_MAYMOVE)) ||
	    ((flags & MREMAP_DONTUNMAP) && (!(flags & MREMAP_MAYMOVE) || old_len != new_len)) ||
	    (addr & ~QUIRE_PAGE_MASK))
		return -EINVAL;
	m.old_len = quire_round_up(old_len, QUIRE_PAGE_SIZE);
	m.new_len = quire_round_up(new_len, QUIRE_PAGE_SIZE);
	if (!m.new_len)
		return -EINVAL;
	if (!(flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)))
		new_addr = 0;
	write_lock(&mm->mmap_lock);
	at = mremap_locked(&m, new_addr);
	write_unlock(&mm->mmap_lock);
	if (at >= 0 && m.populate)
		mm_populate(mm, m.to + m.new_len - m.populate, m.to + m.new_len, false, false);
	return at;
}
