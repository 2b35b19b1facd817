/* SPDX-License-Identifier: MIT */
/*
 * From a frame to the page-table entries that map it.
 *
 * page->mapcount counts the entries.  It and the mm's page counters change under
 * the page-table lock of the entry concerned; a page may be mapped through many
 * tables at once, so they are atomics.  Each entry also holds a reference.
 *
 * Walks hold i_mmap_lock or anon_vma->lock for reading: the VMAs of the tree stay,
 * and so do their page tables.  They look the entry up afresh in each VMA, and
 * believe it only under its page-table lock.
 *
 * What it doesn't do: entries of higher levels (huge pages), and entries for swap
 * or migration, which hold no mapcount.
 */
#include <quire/assert.h>
#include <quire/string.h>
#include <quire/list.h>

#include "../cache/cache.h"
#include "../reclaim/lru.h"
#include "internal.h"

static enum mm_counter counter_of(const struct page *p)
{
	u64 flags = __atomic_load_n(&p->flags, __ATOMIC_RELAXED);

	if (flags & (1UL << PG_ANON))
		return MM_ANON;
	return flags & (1UL << PG_SWAPBACKED) ? MM_SHMEM : MM_FILE;
}

void rmap_add_anon(struct page *p, struct vma *v, u64 addr, bool fresh)
{
	if (fresh) {
		ASSERT(v->anon_vma);
		p->anon_vma = v->anon_vma;
		p->index = vma_pgoff_of(v, addr);
		p->mapcount = 1;
		/* Nobody changes its flags before the entry is there: no atomic addition. */
		__atomic_store_n(&p->flags,
				 p->flags | 1UL << PG_ANON | 1UL << PG_SWAPBACKED |
				     1UL << PG_UPTODATE,
				 __ATOMIC_RELAXED);
	} else {
		__atomic_add_fetch(&p->mapcount, 1, __ATOMIC_RELAXED);
	}
	mm_rss_add(v->mm, MM_ANON, 1);
}

void rmap_add_file(struct page *p, struct vma *v)
{
	/* Sequentially consistent: see the protocol at the top of cache/cache.h. */
	if (__atomic_fetch_add(&p->mapcount, 1, __ATOMIC_SEQ_CST) == 0)
		page_count_add(COUNT_MAPPED, 1);
	mm_rss_add(v->mm, counter_of(p), 1);
}

void rmap_remove(struct page *p, struct vma *v)
{
	enum mm_counter c = counter_of(p);
	s32 left = __atomic_sub_fetch(&p->mapcount, 1, __ATOMIC_ACQ_REL);

	ASSERT(left >= 0);
	if (left == 0 && c != MM_ANON)
		page_count_add(COUNT_MAPPED, -1);
	mm_rss_add(v->mm, c, -1);
}

/* The page's anon_vma with a reference, or null when the page has just lost its last
 * mapping: then the anon_vma may be on its way out. */
static struct anon_vma *page_anon_vma_get(struct page *p)
{
	struct anon_vma *av = NULL;
	s32 refs;

	quire_rcu_read_lock();
	if (page_test(p, PG_ANON) && __atomic_load_n(&p->mapcount, __ATOMIC_ACQUIRE) > 0) {
		av = p->anon_vma;
		refs = __atomic_load_n(&av->refs, __ATOMIC_RELAXED);
		do {
			if (refs <= 0) {
				av = NULL;
				break;
			}
		} while (!__atomic_compare_exchange_n(&av->refs, &refs, refs + 1, true,
						      __ATOMIC_ACQUIRE, __ATOMIC_RELAXED));
		if (av && __atomic_load_n(&p->mapcount, __ATOMIC_ACQUIRE) <= 0) {
			/* It may have been another object at that address by then. */
			anon_vma_put(av);
			av = NULL;
		}
	}
	quire_rcu_read_unlock();
	return av;
}

/* Flags change under locks that a walk doesn't have; each bit that is asked for is right
 * as of some moment of the walk. */
static u64 flags_of(const struct vma *v)
{
	return __atomic_load_n(&v->flags, __ATOMIC_RELAXED);
}

static u64 address_in(const struct vma *v, u64 pgoff)
{
	return v->start + ((pgoff - v->pgoff) << QUIRE_PAGE_SHIFT);
}

/* Call fn for the VMAs of a tree that have page p; `member` is where in a VMA its nodes are. */
static enum rmap_walked walk_tree(struct interval *tree, size_t member, struct page *p,
				  bool (*fn)(struct page *, struct vma *, u64, void *), void *arg)
{
	u64 index = p->index;

	for (struct interval *n = interval_first(tree, index, index); n;
	     n = interval_next(n, index, index)) {
		struct vma *v = (struct vma *)((char *)n - member);

		if (!fn(p, v, address_in(v, index), arg))
			return RMAP_STOPPED;
	}
	return RMAP_ALL;
}

static NO_TSA enum rmap_walked walk_anon(struct page *p, bool wait,
					 bool (*fn)(struct page *, struct vma *, u64, void *),
					 void *arg)
{
	struct anon_vma *av = page_anon_vma_get(p);
	enum rmap_walked result;

	if (!av)
		return RMAP_ALL;
	if (wait) {
		read_lock(&av->lock);
	} else if (!read_trylock(&av->lock)) {
		anon_vma_put(av);
		return RMAP_BUSY;
	}
	result = walk_tree(av->tree, offsetof(struct vma, anon), p, fn, arg);
	read_unlock(&av->lock);
	anon_vma_put(av);
	return result;
}

NO_TSA enum rmap_walked rmap_walk_how(struct page *p, bool wait,
				      bool (*fn)(struct page *, struct vma *, u64, void *),
				      void *arg)
{
	enum rmap_walked result;
	struct quire_mapping *m;

	if (page_test(p, PG_ANON))
		return walk_anon(p, wait, fn, arg);
	m = __atomic_load_n(&p->mapping, __ATOMIC_ACQUIRE);
	if (!m)
		return RMAP_ALL;
	if (wait)
		read_lock(&m->i_mmap_lock);
	else if (!read_trylock(&m->i_mmap_lock))
		return RMAP_BUSY;
	result = walk_tree(m->i_mmap, offsetof(struct vma, i_mmap), p, fn, arg);
	read_unlock(&m->i_mmap_lock);
	return result;
}

bool rmap_walk(struct page *p, bool (*fn)(struct page *, struct vma *, u64 addr, void *), void *arg)
{
	return rmap_walk_how(p, true, fn, arg) == RMAP_ALL;
}

/* Stand on v's entry for addr and lock its table, if it maps p.  Otherwise false, with
 * nothing locked. */
static NO_TSA bool lock_entry(struct pt_cursor *c, struct page *p, struct vma *v, u64 addr)
{
	struct pte e;

	pt_find(c, v->mm, addr);
	if (c->level != 1)
		return false;
	e = pt_get(c);
	if (!pte_present(e) || (e.v & PTE_SPECIAL) || pte_pfn(e).n != page_pfn(p).n)
		return false;
	pt_lock(c);
	e = pt_get(c);
	if (pte_present(e) && !(e.v & PTE_SPECIAL) && pte_pfn(e).n == page_pfn(p).n)
		return true;
	pt_unlock(c);
	return false;
}

/* ---- referenced ------------------------------------------------------------------- */

struct referenced {
	unsigned count;
	bool exec;
};

static NO_TSA bool referenced_one(struct page *p, struct vma *v, u64 addr, void *arg)
{
	struct referenced *r = arg;
	struct pt_cursor c;

	if (!lock_entry(&c, p, v, addr))
		return true;
	if (quire_unlikely(flags_of(v) & VM_LOCKED)) {
		/* munlock() takes the flag first, and the marks under the tables' locks then:
		 * so this one can't come too late. */
		page_set(p, PG_MLOCKED);
		pt_unlock(&c);
		return false;
	}
	/* No flush: a stale translation only hides a later use from us, and
	 * costs at worst that a warm page is taken for a cold one. */
	if ((pt_modify(&c, PTE_A, 0).v & PTE_A) && !(flags_of(v) & VM_SEQ_READ)) {
		r->count++;
		r->exec |= (flags_of(v) & VM_EXEC) != 0;
	}
	pt_unlock(&c);
	return true;
}

unsigned rmap_referenced_try(struct page *p, bool *exec)
{
	struct referenced r = {0, false};

	if (__atomic_load_n(&p->mapcount, __ATOMIC_RELAXED) > 0 &&
	    rmap_walk_how(p, false, referenced_one, &r) == RMAP_BUSY)
		return ~0u;
	*exec = r.exec;
	return r.count;
}

unsigned rmap_referenced(struct page *p)
{
	struct referenced r = {0, false};

	if (__atomic_load_n(&p->mapcount, __ATOMIC_RELAXED) > 0)
		rmap_walk_how(p, true, referenced_one, &r);
	return r.count;
}

/* ---- unmap -------------------------------------------------------------------------- */

static NO_TSA bool unmap_one(struct page *p, struct vma *v, u64 addr, void *arg)
{
	struct pt_cursor c;
	struct pte old;

	(void)arg;
	if (flags_of(v) & VM_LOCKED)
		return false;
	if (!lock_entry(&c, p, v, addr))
		return true;
	old = pt_set(&c, (struct pte){0});
	/* The flush comes before the dirty bit is moved: until then another CPU can still
	 * write through its translation. */
	quire_host_tlb_flush(v->mm, addr, addr + QUIRE_PAGE_SIZE, false);
	if (old.v & PTE_D)
		cache_mark_dirty(p);
	if (old.v & PTE_A)
		page_set(p, PG_REFERENCED);
	rmap_remove(p, v);
	pt_unlock(&c);
	quire_page_put(p);
	return __atomic_load_n(&p->mapcount, __ATOMIC_RELAXED) > 0;
}

static bool unmap_how(struct page *p, bool wait)
{
	ASSERT(!page_test(p, PG_ANON));
	if (__atomic_load_n(&p->mapcount, __ATOMIC_ACQUIRE) > 0)
		rmap_walk_how(p, wait, unmap_one, NULL);
	return __atomic_load_n(&p->mapcount, __ATOMIC_ACQUIRE) == 0;
}

bool rmap_unmap(struct page *p)
{
	return unmap_how(p, true);
}

bool rmap_unmap_try(struct page *p)
{
	return unmap_how(p, false);
}

/* ---- retiring frames ------------------------------------------------------------------ */

static NO_TSA bool vacate_one(struct page *p, struct vma *v, u64 addr, void *arg)
{
	struct pt_cursor c;
	struct pte old;

	if (!lock_entry(&c, p, v, addr))
		return true;
	old = pt_set(&c, (struct pte){0});
	quire_host_tlb_flush(v->mm, addr, addr + QUIRE_PAGE_SIZE, false);
	pt_set(&c, *(const struct pte *)arg);
	if (old.v & PTE_D)
		cache_mark_dirty(p);
	rmap_remove(p, v);
	pt_unlock(&c);
	quire_page_put(p);
	return true;
}

bool rmap_vacate(struct page *p, struct pte left)
{
	/* A VMA may be out of the tree for a moment while its bounds change. */
	for (unsigned tries = 0;
	     __atomic_load_n(&p->mapcount, __ATOMIC_SEQ_CST) > 0 && tries < 1000; tries++) {
		rmap_walk(p, vacate_one, &left);
		quire_host_relax();
	}
	return __atomic_load_n(&p->mapcount, __ATOMIC_ACQUIRE) == 0;
}

static NO_TSA bool freeze_one(struct page *p, struct vma *v, u64 addr, void *arg)
{
	struct pt_cursor c;

	(void)arg;
	if (!lock_entry(&c, p, v, addr))
		return true;
	if (pt_modify(&c, PTE_W, 0).v & PTE_W)
		quire_host_tlb_flush(v->mm, addr, addr + QUIRE_PAGE_SIZE, false);
	pt_unlock(&c);
	return true;
}

static NO_TSA bool move_one(struct page *p, struct vma *v, u64 addr, void *arg)
{
	struct page *to = arg;
	struct pt_cursor c;
	struct pte old;

	if (!lock_entry(&c, p, v, addr))
		return true;
	old = pt_set(&c, (struct pte){0});
	quire_host_tlb_flush(v->mm, addr, addr + QUIRE_PAGE_SIZE, false);
	quire_page_get(to);
	rmap_add_anon(to, v, addr, !__atomic_load_n(&to->mapcount, __ATOMIC_RELAXED));
	old.v = (old.v & ~PTE_PFN_MASK) | page_pfn(to).n << QUIRE_PAGE_SHIFT;
	pt_set(&c, old);
	rmap_remove(p, v);
	pt_unlock(&c);
	quire_page_put(p);
	return true;
}

void rmap_move(struct page *p, struct page *to)
{
	/* Nobody takes the page over for writing while there is the caller's reference. */
	rmap_walk(p, freeze_one, NULL);
	memcpy(page_view(to), page_view(p), QUIRE_PAGE_SIZE);
	rmap_walk(p, move_one, to);
}

/* ---- mkclean -------------------------------------------------------------------------- */

static NO_TSA bool mkclean_one(struct page *p, struct vma *v, u64 addr, void *arg)
{
	bool *dirty = arg;
	struct pt_cursor c;
	struct pte old;

	if (!(flags_of(v) & VM_SHARED) || !lock_entry(&c, p, v, addr))
		return true;
	old = pt_get(&c);
	if (old.v & (PTE_W | PTE_D)) {
		/* Write-protect, flush, and only then believe the dirty bit. */
		old = pt_modify(&c, PTE_W, 0);
		if (old.v & PTE_W)
			quire_host_tlb_flush(v->mm, addr, addr + QUIRE_PAGE_SIZE, false);
		old = pt_modify(&c, PTE_D, 0);
		if (old.v & PTE_D)
			*dirty = true;
	}
	pt_unlock(&c);
	return true;
}

bool rmap_mkclean(struct page *p)
{
	bool dirty = false;

	if (__atomic_load_n(&p->mapcount, __ATOMIC_ACQUIRE) > 0)
		rmap_walk_how(p, true, mkclean_one, &dirty);
	return dirty;
}
