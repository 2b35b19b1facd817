/* SPDX-License-Identifier: MIT */
/*
 * anon_vma: the family of VMAs that may map the same anonymous pages.
 *
 * A VMA that gets its first private page gets an anon_vma; forks, splits and
 * moves of the VMA join it.  One object serves a whole family, where Linux has a
 * tree of them with a chain for each VMA: joining then allocates nothing and
 * can't fail, which is what fork's and split's commits need.  The price is that a
 * walk for a page visits relatives that can't have it; each such visit is one
 * look at a page-table entry.
 *
 * Locking.  v->anon_vma is set once, under one of prepare_locks, by a thread that
 * holds the VMA or mmap_lock; it is cleared only with the VMA write-locked or
 * gone.  The tree is under anon_vma->lock.  The object is freed after a grace
 * period, so a walk that starts from a page can try to take a reference.
 *
 * What it doesn't do: split a family that no longer shares any page.
 */
#include <quire/assert.h>
#include <quire/errno.h>
#include <quire/page.h>

#include "internal.h"
#include "rmap.h"

#define PREPARE_LOCKS 16

static struct quire_kmem *anon_vma_cache;
static struct spinlock prepare_locks[PREPARE_LOCKS];

void rmap_init(void)
{
	anon_vma_cache = quire_kmem_create("anon_vma", sizeof(struct anon_vma), 0);
	for (unsigned i = 0; i < PREPARE_LOCKS; i++)
		spin_init(&prepare_locks[i], RANK_MAPPING);
}

static void anon_vma_free_rcu(struct quire_rcu *r)
{
	quire_kmem_free(anon_vma_cache, quire_container_of(r, struct anon_vma, rcu));
}

void anon_vma_put(struct anon_vma *av)
{
	if (__atomic_sub_fetch(&av->refs, 1, __ATOMIC_ACQ_REL) == 0)
		quire_rcu_call(&av->rcu, anon_vma_free_rcu);
}

static void set_range(struct interval *n, const struct vma *v)
{
	n->first = v->pgoff;
	n->last = v->pgoff + vma_pages(v) - 1;
}

/* Make av v's own, unless another thread was first.  av->lock held for writing. */
static bool adopt_locked(struct vma *v, struct anon_vma *av)
{
	struct spinlock *l = &prepare_locks[((uintptr_t)v >> 7) % PREPARE_LOCKS];
	bool mine;

	spin_lock(l);
	mine = !v->anon_vma;
	if (mine) {
		set_range(&v->anon, v);
		interval_insert(&av->tree, &v->anon);
		__atomic_add_fetch(&av->refs, 1, __ATOMIC_RELAXED);
		__atomic_store_n(&v->anon_vma, av, __ATOMIC_RELEASE);
	}
	spin_unlock(l);
	return mine;
}

/* Would a and b, which follow each other, merge if they had one anon_vma? */
static bool compatible(const struct vma *a, const struct vma *b)
{
	const u64 ignored = VM_SOFTDIRTY | VM_READ | VM_WRITE | VM_EXEC;

	return a->end == b->start && !((a->flags ^ b->flags) & ~ignored) && a->file == b->file &&
	       b->pgoff == a->pgoff + vma_pages(a) && !a->forked && !b->forked;
}

/* The anon_vma of the VMA beside v, with a reference, if the two could merge. */
static struct anon_vma *neighbour(struct vma *v, bool before)
{
	struct anon_vma *av = NULL;
	struct vma *n;

	quire_rcu_read_lock();
	n = before ? vma_find_prev(&v->mm->index, v->start) : vma_find(&v->mm->index, v->end);
	if (n && n != v && __atomic_load_n(&n->anon_vma, __ATOMIC_ACQUIRE) && vma_read_trylock(n)) {
		av = n->anon_vma;
		if (av && n->mm == v->mm && (before ? compatible(n, v) : compatible(v, n)))
			__atomic_add_fetch(&av->refs, 1, __ATOMIC_RELAXED);
		else
			av = NULL;
		vma_read_unlock(n);
	}
	quire_rcu_read_unlock();
	return av;
}

static struct anon_vma *anon_vma_create(void)
{
	struct anon_vma *av = quire_kmem_alloc(anon_vma_cache, GFP_KERNEL);

	if (!av)
		return NULL;
	rwsem_init(&av->lock, RANK_ANON_VMA);
	av->tree = NULL;
	av->refs = 1; /* this function's caller's */
	return av;
}

int anon_vma_prepare(struct vma *v)
{
	struct anon_vma *av;

	if (quire_likely(__atomic_load_n(&v->anon_vma, __ATOMIC_ACQUIRE)))
		return 0;
	/* Where both have one Linux takes the upper one's: it shows in what merges later. */
	av = neighbour(v, false);
	if (!av)
		av = neighbour(v, true);
	if (!av)
		av = anon_vma_create();
	if (!av)
		return -ENOMEM;
	write_lock(&av->lock);
	adopt_locked(v, av);
	write_unlock(&av->lock);
	anon_vma_put(av);
	return 0;
}

void anon_vma_join(struct vma *dst, struct vma *src)
{
	struct anon_vma *av = src->anon_vma;

	if (!av)
		return;
	ASSERT(!dst->anon_vma);
	write_lock(&av->lock);
	set_range(&dst->anon, dst);
	interval_insert(&av->tree, &dst->anon);
	__atomic_add_fetch(&av->refs, 1, __ATOMIC_RELAXED);
	__atomic_store_n(&dst->anon_vma, av, __ATOMIC_RELEASE);
	write_unlock(&av->lock);
}

void anon_vma_leave(struct vma *v)
{
	struct anon_vma *av = v->anon_vma;

	if (!av)
		return;
	write_lock(&av->lock);
	interval_remove(&av->tree, &v->anon);
	/* neighbour() looks without a lock. */
	__atomic_store_n(&v->anon_vma, NULL, __ATOMIC_RELAXED);
	write_unlock(&av->lock);
	anon_vma_put(av);
}

void rmap_remove_vma(struct vma *v)
{
	if (v->mapping) {
		write_lock(&v->mapping->i_mmap_lock);
		interval_remove((struct interval **)&v->mapping->i_mmap, &v->i_mmap);
		write_unlock(&v->mapping->i_mmap_lock);
	}
	if (v->anon_vma) {
		write_lock(&v->anon_vma->lock);
		interval_remove(&v->anon_vma->tree, &v->anon);
		write_unlock(&v->anon_vma->lock);
	}
}

void rmap_insert_vma(struct vma *v)
{
	if (v->mapping) {
		write_lock(&v->mapping->i_mmap_lock);
		set_range(&v->i_mmap, v);
		interval_insert((struct interval **)&v->mapping->i_mmap, &v->i_mmap);
		write_unlock(&v->mapping->i_mmap_lock);
	}
	if (v->anon_vma) {
		write_lock(&v->anon_vma->lock);
		set_range(&v->anon, v);
		interval_insert(&v->anon_vma->tree, &v->anon);
		write_unlock(&v->anon_vma->lock);
	}
}
