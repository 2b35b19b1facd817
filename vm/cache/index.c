/* SPDX-License-Identifier: MIT */
/*
 * The index of a mapping's pages: a radix tree of 64-way nodes over page offsets.
 *
 * Look-ups run under RCU and take no lock: they try for a reference to the page
 * they find, and then look whether it still stands there.  Every change is made
 * under mapping->lock, with the nodes it needs allocated before.  A node that
 * becomes empty is unlinked at once and freed after a grace period.  Each node has
 * a bit for every slot below which a page is dirty, so that a flush of a large
 * file with few dirty pages looks at few nodes.
 *
 * What it doesn't do: make the tree lower again while it has pages.
 */
#include <quire/assert.h>
#include <quire/errno.h>
#include <quire/string.h>

#include "../mm/mm.h"
#include "../reclaim/lru.h"
#include "cache.h"

#define NODE_BITS 6
#define NODE_SLOTS (1u << NODE_BITS)
/* One path down covers every offset of a 64-bit file with 9 nodes; a tree that grows
 * from one leaf needs as many above its old root. */
#define MAX_NODES 18

struct cache_node {
	struct cache_node *parent;
	u8 shift;  /* bits of the offset below this node's; 0: slots are pages */
	u8 offset; /* of this node in its parent */
	u16 count; /* slots in use */
	u64 dirty; /* slots with something dirty in them or below */
	struct quire_rcu rcu;
	void *slot[NODE_SLOTS]; /* struct page or struct cache_node */
};

static struct quire_kmem *node_cache;

void cache_index_init(void)
{
	node_cache = quire_kmem_create("cache_node", sizeof(struct cache_node), 0);
}

static void node_free_rcu(struct quire_rcu *r)
{
	quire_kmem_free(node_cache, quire_container_of(r, struct cache_node, rcu));
}

static unsigned slot_of(const struct cache_node *n, u64 pgoff)
{
	return (unsigned)(pgoff >> n->shift) & (NODE_SLOTS - 1);
}

static void *slot_get(const struct cache_node *n, unsigned i)
{
	return __atomic_load_n(&n->slot[i], __ATOMIC_ACQUIRE);
}

/* The leaf node for pgoff, or null. */
static struct cache_node *leaf_of(struct quire_mapping *m, u64 pgoff)
{
	struct cache_node *n = __atomic_load_n(&m->root, __ATOMIC_ACQUIRE);

	if (!n || pgoff >> n->shift >> NODE_BITS)
		return NULL;
	while (n && n->shift)
		n = slot_get(n, slot_of(n, pgoff));
	return n;
}

static struct page *page_at(struct quire_mapping *m, u64 pgoff)
{
	struct cache_node *n = leaf_of(m, pgoff);

	return n ? slot_get(n, slot_of(n, pgoff)) : NULL;
}

/* ---- look-ups ------------------------------------------------------------------------- */

/* Take a reference to what stands in the slot.  Under RCU. */
static struct page *grab(const struct cache_node *n, unsigned i)
{
	struct page *p;

	while ((p = slot_get(n, i))) {
		if (quire_likely(quire_page_try_get(p))) {
			if (quire_likely(slot_get(n, i) == p))
				break;
			quire_page_put(p);
		}
		/* It is just being removed by somebody who holds mapping->lock. */
		quire_host_relax();
	}
	return p;
}

struct page *cache_find(struct quire_mapping *m, u64 pgoff)
{
	struct cache_node *n;
	struct page *p = NULL;

	quire_rcu_read_lock();
	n = leaf_of(m, pgoff);
	if (n)
		p = grab(n, slot_of(n, pgoff));
	quire_rcu_read_unlock();
	return p;
}

struct page *const *cache_slots(struct quire_mapping *m, u64 pgoff)
{
	struct cache_node *leaf = leaf_of(m, pgoff);

	return leaf ? (struct page *const *)&leaf->slot[slot_of(leaf, pgoff)] : NULL;
}

bool cache_present(struct quire_mapping *m, u64 pgoff)
{
	bool present;

	quire_rcu_read_lock();
	present = page_at(m, pgoff) != NULL;
	quire_rcu_read_unlock();
	return present;
}

/* The first slot >= i of n that is in use (dirty: has its mark), NODE_SLOTS if none. */
static unsigned next_slot(const struct cache_node *n, unsigned i, bool dirty)
{
	if (dirty) {
		u64 bits = __atomic_load_n(&n->dirty, __ATOMIC_RELAXED) >> i;

		return bits ? i + (unsigned)__builtin_ctzl(bits) : NODE_SLOTS;
	}
	while (i < NODE_SLOTS && !slot_get(n, i))
		i++;
	return i;
}

static u64 next_used(struct quire_mapping *m, u64 from, u64 to, bool dirty)
{
	struct cache_node *n, *child;
	unsigned i, j;

	while (from <= to) {
		n = __atomic_load_n(&m->root, __ATOMIC_ACQUIRE);
		if (!n || from >> n->shift >> NODE_BITS)
			break;
		for (;;) {
			i = slot_of(n, from);
			j = next_slot(n, i, dirty);
			if (j == NODE_SLOTS) {
				/* On with what follows all that this node covers. */
				from = ((from >> n->shift >> NODE_BITS) + 1)
				       << n->shift << NODE_BITS;
				break;
			}
			if (j > i)
				from = ((from >> n->shift) + (j - i)) << n->shift;
			if (n->shift == 0)
				return from <= to ? from : ~0UL;
			child = slot_get(n, j);
			if (!child) { /* emptied as we looked */
				from = ((from >> n->shift) + 1) << n->shift;
				break;
			}
			n = child;
		}
	}
	return ~0UL;
}

u64 cache_next(struct quire_mapping *m, u64 from, u64 to)
{
	u64 found;

	quire_rcu_read_lock();
	found = next_used(m, from, to, false);
	quire_rcu_read_unlock();
	return found;
}

u64 cache_next_dirty(struct quire_mapping *m, u64 from, u64 to)
{
	u64 found;

	quire_rcu_read_lock();
	found = next_used(m, from, to, true);
	quire_rcu_read_unlock();
	return found;
}

/* ---- changes: mapping->lock held ------------------------------------------------------ */

/* Nodes made before the lock was taken. */
struct spare_nodes {
	unsigned n;
	struct cache_node *node[MAX_NODES];
};

/* How many nodes an insertion at pgoff has to add. */
static unsigned nodes_missing_locked(struct quire_mapping *m, u64 pgoff)
{
	struct cache_node *n = m->root;
	unsigned missing = 0, shift;

	if (!n) {
		for (missing = 1; pgoff >> (missing * NODE_BITS); missing++)
			;
		return missing;
	}
	shift = n->shift;
	if (pgoff >> shift >> NODE_BITS) {
		/* New levels above the root; below them, a new path down to the leaf. */
		for (; pgoff >> shift >> NODE_BITS; shift += NODE_BITS)
			missing++;
		return missing + shift / NODE_BITS;
	}
	while (n && n->shift) {
		shift = n->shift;
		n = n->slot[slot_of(n, pgoff)];
	}
	return n ? 0 : shift / NODE_BITS;
}

static struct cache_node *node_take(struct spare_nodes *s, unsigned shift)
{
	REQUIRE(s->n > 0);
	struct cache_node *n = s->node[--s->n];

	n->shift = (u8)shift;
	return n;
}

static void link_node_locked(struct cache_node *parent, unsigned i, struct cache_node *n)
{
	n->parent = parent;
	n->offset = (u8)i;
	parent->count++;
	__atomic_store_n(&parent->slot[i], (void *)n, __ATOMIC_RELEASE);
}

/* Raise the tree until it covers pgoff. */
static void grow_locked(struct quire_mapping *m, u64 pgoff, struct spare_nodes *s)
{
	struct cache_node *root = m->root, *n;
	unsigned shift;

	if (!root) {
		for (shift = 0; pgoff >> shift >> NODE_BITS; shift += NODE_BITS)
			;
		__atomic_store_n(&m->root, (void *)node_take(s, shift), __ATOMIC_RELEASE);
		return;
	}
	while (pgoff >> root->shift >> NODE_BITS) {
		n = node_take(s, root->shift + NODE_BITS);
		n->dirty = root->dirty ? 1 : 0;
		link_node_locked(n, 0, root);
		__atomic_store_n(&m->root, (void *)n, __ATOMIC_RELEASE);
		root = n;
	}
}

static void insert_locked(struct quire_mapping *m, struct page *p, u64 pgoff, struct spare_nodes *s)
{
	struct cache_node *n, *child;
	unsigned i;

	grow_locked(m, pgoff, s);
	for (n = m->root; n->shift; n = child) {
		i = slot_of(n, pgoff);
		child = n->slot[i];
		if (!child) {
			child = node_take(s, n->shift - NODE_BITS);
			link_node_locked(n, i, child);
		}
	}
	n->count++;
	__atomic_store_n(&n->slot[slot_of(n, pgoff)], (void *)p, __ATOMIC_RELEASE);
}

static void set_marks_locked(struct quire_mapping *m, u64 pgoff)
{
	struct cache_node *n = leaf_of(m, pgoff);
	u64 bit;

	REQUIRE(n);
	bit = 1UL << slot_of(n, pgoff);
	while (n && !(n->dirty & bit)) {
		__atomic_store_n(&n->dirty, n->dirty | bit, __ATOMIC_RELAXED);
		bit = 1UL << n->offset;
		n = n->parent;
	}
}

static void clear_marks_locked(struct cache_node *n, unsigned i)
{
	while (n) {
		__atomic_store_n(&n->dirty, n->dirty & ~(1UL << i), __ATOMIC_RELAXED);
		if (n->dirty)
			break;
		i = n->offset;
		n = n->parent;
	}
}

/* The counts change under the lock, and are read without. */
static void count_add(u64 *count, s64 n)
{
	__atomic_store_n(count, *count + (u64)n, __ATOMIC_RELAXED);
}

static bool clear_dirty_locked(struct quire_mapping *m, struct page *p)
{
	struct cache_node *n;

	if (!page_clear(p, PG_DIRTY))
		return false;
	if (m->ops->write_pages) {
		n = leaf_of(m, p->index);
		clear_marks_locked(n, slot_of(n, p->index));
		count_add(&m->nr_dirty, -1);
		page_count_add(COUNT_DIRTY, -1);
	} else if (!m->swapbacked) {
		page_count_add(COUNT_KEPT, -1);
	}
	return true;
}

/* One more page in memory: if it is charged it must be possible, and it must have room. */
static bool take_room(struct quire_mapping *m)
{
	struct quire_space *s = m->space;

	if (s) {
		u64 used = __atomic_add_fetch(&s->used, 1, __ATOMIC_RELAXED);
		u64 limit = __atomic_load_n(&s->limit, __ATOMIC_RELAXED);

		if (limit && used > limit) {
			__atomic_sub_fetch(&s->used, 1, __ATOMIC_RELAXED);
			return false;
		}
	}
	if (!m->charged || !mm_commit(NULL, 1))
		return true;
	if (s)
		__atomic_sub_fetch(&s->used, 1, __ATOMIC_RELAXED);
	return false;
}

static void give_room(struct quire_mapping *m)
{
	if (m->charged)
		mm_uncommit(1);
	if (m->space)
		__atomic_sub_fetch(&m->space->used, 1, __ATOMIC_RELAXED);
}

static void delete_locked(struct quire_mapping *m, struct page *p)
{
	struct cache_node *n = leaf_of(m, p->index), *parent;
	unsigned i = slot_of(n, p->index);

	REQUIRE(n->slot[i] == p);
	clear_dirty_locked(m, p);
	__atomic_store_n(&n->slot[i], (void *)NULL, __ATOMIC_RELEASE);
	count_add(&m->nr_pages, -1);
	give_room(m);
	page_count_add(m->swapbacked ? COUNT_SHMEM : COUNT_FILE, -1);
	while (--n->count == 0) {
		parent = n->parent;
		i = n->offset;
		if (parent)
			__atomic_store_n(&parent->slot[i], (void *)NULL, __ATOMIC_RELEASE);
		else
			__atomic_store_n(&m->root, (void *)NULL, __ATOMIC_RELEASE);
		quire_rcu_call(&n->rcu, node_free_rcu);
		if (!parent)
			break;
		n = parent;
	}
	/* A full barrier, the remover's half of the protocol in cache.h. */
	(void)__atomic_exchange_n(&p->mapping, (struct quire_mapping *)NULL, __ATOMIC_SEQ_CST);
}

/* ---- the interface to the rest ---------------------------------------------------------- */

static bool refill(struct spare_nodes *s, unsigned want, unsigned gfp)
{
	while (s->n < want) {
		struct cache_node *n = quire_kmem_alloc(node_cache, gfp);

		if (!n)
			return false;
		memset(n, 0, sizeof(*n));
		s->node[s->n++] = n;
	}
	return true;
}

int cache_insert(struct quire_mapping *m, struct page *p, u64 pgoff, unsigned gfp)
{
	struct spare_nodes s = {.n = 0};
	unsigned want;
	int r = 0;

	ASSERT(page_test(p, PG_LOCKED));
	if (!take_room(m))
		return -ENOSPC;
	for (;;) {
		spin_lock(&m->lock);
		want = nodes_missing_locked(m, pgoff);
		if (want <= s.n)
			break;
		spin_unlock(&m->lock);
		if (!refill(&s, want, gfp)) {
			r = -ENOMEM;
			goto out;
		}
	}
	if (!want && page_at(m, pgoff)) {
		r = -EEXIST;
	} else {
		p->mapping = m;
		p->index = pgoff;
		if (m->swapbacked)
			page_set(p, PG_SWAPBACKED);
		quire_page_get(p);
		insert_locked(m, p, pgoff, &s);
		count_add(&m->nr_pages, 1);
		page_count_add(m->swapbacked ? COUNT_SHMEM : COUNT_FILE, 1);
	}
	spin_unlock(&m->lock);
	if (!r)
		lru_add(p);
out:
	if (r)
		give_room(m);
	while (s.n)
		quire_kmem_free(node_cache, s.node[--s.n]);
	return r;
}

void cache_remove(struct quire_mapping *m, struct page *p)
{
	ASSERT(page_test(p, PG_LOCKED));
	spin_lock(&m->lock);
	delete_locked(m, p);
	spin_unlock(&m->lock);
	lru_remove(p);
	quire_page_put(p);
}

void cache_replace(struct quire_mapping *m, struct page *p, struct page *to)
{
	ASSERT(page_test(p, PG_LOCKED) && page_test(to, PG_LOCKED));
	spin_lock(&m->lock);
	struct cache_node *n = leaf_of(m, p->index);

	REQUIRE(p->mapping == m && !m->ops->read_pages);
	to->mapping = m;
	to->index = p->index;
	page_set(to, PG_UPTODATE);
	if (page_test(p, PG_SWAPBACKED))
		page_set(to, PG_SWAPBACKED);
	if (page_clear(p, PG_DIRTY)) /* the counts stay: there is one such page as before */
		page_set(to, PG_DIRTY);
	quire_page_get(to);
	__atomic_store_n(&n->slot[slot_of(n, p->index)], (void *)to, __ATOMIC_RELEASE);
	(void)__atomic_exchange_n(&p->mapping, (struct quire_mapping *)NULL, __ATOMIC_SEQ_CST);
	spin_unlock(&m->lock);
	lru_remove(p);
	lru_add(to);
	quire_page_put(p);
}

bool cache_remove_unused(struct quire_mapping *m, struct page *p)
{
	s32 two = 2; /* the index's reference and the caller's */
	bool removed = false;

	ASSERT(page_test(p, PG_LOCKED));
	spin_lock(&m->lock);
	if (p->mapping == m && !page_test(p, PG_DIRTY) &&
	    __atomic_compare_exchange_n(&p->refs, &two, 0, false, __ATOMIC_ACQ_REL,
					__ATOMIC_RELAXED)) {
		/* Nobody can take a reference now, and a mapping would have one. */
		delete_locked(m, p);
		__atomic_store_n(&p->refs, 1, __ATOMIC_RELEASE);
		removed = true;
	}
	spin_unlock(&m->lock);
	if (removed)
		lru_remove(p);
	return removed;
}

void cache_mark_dirty(struct page *p)
{
	struct quire_mapping *m = __atomic_load_n(&p->mapping, __ATOMIC_ACQUIRE);
	bool kept = false;

	if (page_test(p, PG_DIRTY) || page_test(p, PG_ANON) || !m)
		return;
	spin_lock(&m->lock);
	if (p->mapping == m && !page_set(p, PG_DIRTY)) {
		if (m->ops->write_pages) {
			set_marks_locked(m, p->index);
			count_add(&m->nr_dirty, 1);
			page_count_add(COUNT_DIRTY, 1);
		} else if (!m->swapbacked) {
			page_count_add(COUNT_KEPT, 1);
			kept = true;
		}
	}
	spin_unlock(&m->lock);
	/* Nothing will ever make it clean: reclaim needn't look at it again. */
	if (kept)
		lru_remove(p);
}

bool cache_clear_dirty(struct quire_mapping *m, struct page *p)
{
	bool was;

	spin_lock(&m->lock);
	was = p->mapping == m && clear_dirty_locked(m, p);
	spin_unlock(&m->lock);
	return was;
}
