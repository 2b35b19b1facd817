/* SPDX-License-Identifier: MIT */
/*
 * The index of an address space's VMAs: a persistent B+-tree.
 *
 * A node never changes once a look-up can reach it.  An edit copies the nodes on
 * the path it changes (once: a node that the edit itself made is changed in
 * place), and publishes the new root with one store; the nodes that were
 * replaced are freed after a grace period.  Look-ups need nothing but RCU.
 *
 * Every entry knows the first and last byte that it covers and, above the
 * leaves, the largest gap between VMAs inside, so that finding room is one
 * descent.  Gaps are kept raw; the guard gap below a stack is taken off when a
 * candidate is looked at, so that changing the sysctl needs no rebuilding.
 *
 * Nodes for an edit are reserved before it begins: an operation needs at most
 * two copies a level and a new root.  A few stay with the index for the next edit.
 *
 * Locking: edits with mmap_lock held for writing; look-ups with it held in any
 * mode, or under RCU.
 *
 * Source: B+-trees as in Comer, "The Ubiquitous B-Tree" (1979); path copying as
 * in Driscoll et al., "Making Data Structures Persistent" (1989).
 */
#include <quire/assert.h>
#include <quire/errno.h>
#include <quire/string.h>

#include "../mm/mm.h"
#include "vma.h"

#define FANOUT 20
#define MERGE_AT (FANOUT * 3 / 4) /* two neighbours with no more entries become one node */

struct entry {
	u64 start, end; /* of the first and last VMA below */
	u64 gap;        /* largest gap between two VMAs below; 0 in a leaf */
	void *ptr;      /* VMA, or node of the level below */
};

struct vma_node {
	u64 serial; /* of the edit that made it */
	u16 n;
	u16 level;              /* 0: leaf */
	struct vma_node *chain; /* spare, or retired */
	struct quire_rcu rcu;
	struct entry e[FANOUT];
};

static struct quire_kmem *node_kmem;

void vma_index_init(struct vma_index *x)
{
	if (!node_kmem)
		node_kmem = quire_kmem_create("vma_node", sizeof(struct vma_node), 0);
	*x = (struct vma_index){0};
}

/* ---- look-up --------------------------------------------------------------------- */

/* The first entry that ends above addr; n if none does. */
static inline unsigned first_above(const struct vma_node *node, u64 addr)
{
	unsigned lo = 0, hi = node->n;

	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		if (node->e[mid].end > addr)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

struct vma *vma_find(const struct vma_index *x, u64 addr)
{
	const struct vma_node *node = __atomic_load_n(&x->root, __ATOMIC_ACQUIRE);

	if (!node || node->e[node->n - 1].end <= addr)
		return NULL;
	for (;;) {
		const struct entry *e = &node->e[first_above(node, addr)];

		if (!node->level)
			return e->ptr;
		node = e->ptr;
	}
}

struct vma *vma_find_prev(const struct vma_index *x, u64 addr)
{
	const struct vma_node *node = __atomic_load_n(&x->root, __ATOMIC_ACQUIRE);

	if (!node || node->e[0].start >= addr)
		return NULL;
	for (;;) {
		unsigned i = node->n - 1;

		while (node->e[i].start >= addr)
			i--;
		if (!node->level)
			return node->e[i].ptr;
		node = node->e[i].ptr;
	}
}

struct vma *vma_next(const struct vma_index *x, const struct vma *v)
{
	return vma_find(x, v->end);
}

/* ---- room ------------------------------------------------------------------------ */

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

/* Room between prev_end and what begins with entry `next` of this level. */
static u64 room_before(const struct room *r, u64 prev_end, const struct entry *next, unsigned level)
{
	u64 at = room_fit(r, prev_end, next->start);

	if (at == NO_ROOM)
		return at;
	while (level--)
		next = ((const struct vma_node *)next->ptr)->e;
	const struct vma *v = next->ptr;
	if (!(v->flags & VM_GROWSDOWN))
		return at;
	return room_fit(r, prev_end, vma_guarded_start(v));
}

/* Room strictly inside what the node covers. */
static u64 room_inside(const struct room *r, const struct vma_node *node)
{
	unsigned n = node->n;

	for (unsigned k = 0; k < n; k++) {
		unsigned i = r->down ? n - 1 - k : k;
		const struct entry *e = &node->e[i];
		u64 at;

		if (r->down && i + 1 < n) {
			at = room_before(r, e->end, e + 1, node->level);
			if (at != NO_ROOM)
				return at;
		}
		if (r->down ? e->end <= r->low : e->start >= r->high)
			break;
		if (node->level && e->gap >= r->len && e->start < r->high && e->end > r->low) {
			at = room_inside(r, e->ptr);
			if (at != NO_ROOM)
				return at;
		}
		if (!r->down && i + 1 < n) {
			at = room_before(r, e->end, e + 1, node->level);
			if (at != NO_ROOM)
				return at;
		}
	}
	return NO_ROOM;
}

u64 vma_gap(const struct vma_index *x, u64 len, u64 low, u64 high, bool topdown)
{
	const struct room r = {.len = len, .low = low, .high = high, .down = topdown};
	const struct vma_node *root = x->root;
	u64 at;

	if (!root)
		return room_fit(&r, 0, ~0UL);
	u64 last = root->e[root->n - 1].end;
	at = topdown ? room_fit(&r, last, ~0UL) : room_before(&r, 0, &root->e[0], root->level);
	if (at == NO_ROOM)
		at = room_inside(&r, root);
	if (at == NO_ROOM)
		at = topdown ? room_before(&r, 0, &root->e[0], root->level)
			     : room_fit(&r, last, ~0UL);
	return at;
}

/* ---- nodes of an edit ------------------------------------------------------------ */

/* What one operation may need on a tree of this many levels: two paths (copies, or
 * copies and their split-off halves), and two levels of growth. */
static unsigned nodes_per_op(const struct vma_node *root)
{
	return 2 * (root ? root->level + 1u : 0u) + 3;
}

static bool fresh(const struct vma_edit *e, const struct vma_node *node)
{
	return node->serial == e->index->serial;
}

static struct vma_node *node_take(struct vma_edit *e, unsigned level)
{
	struct vma_index *x = e->index;
	struct vma_node *node = x->spare;

	REQUIRE(node);
	x->spare = node->chain;
	x->nspare--;
	node->serial = x->serial;
	node->level = (u16)level;
	node->n = 0;
	return node;
}

/* The node is not part of the edit's tree any more. */
static void node_drop(struct vma_edit *e, struct vma_node *node)
{
	struct vma_index *x = e->index;

	if (fresh(e, node)) {
		node->chain = x->spare;
		x->spare = node;
		x->nspare++;
	} else {
		node->chain = e->retired;
		e->retired = node;
	}
}

/* A node with the same content that this edit may change. */
static struct vma_node *node_own(struct vma_edit *e, struct vma_node *node)
{
	if (fresh(e, node))
		return node;
	struct vma_node *copy = node_take(e, node->level);
	copy->n = node->n;
	memcpy(copy->e, node->e, node->n * sizeof(node->e[0]));
	node_drop(e, node);
	return copy;
}

static void tree_drop(struct vma_edit *e, struct vma_node *node)
{
	if (node->level)
		for (unsigned i = 0; i < node->n; i++)
			tree_drop(e, node->e[i].ptr);
	node_drop(e, node);
}

/* The entry that stands for a node in its parent. */
static struct entry node_entry(struct vma_node *node)
{
	u64 gap = node->e[0].gap;

	for (unsigned i = 1; i < node->n; i++) {
		gap = quire_max(gap, node->e[i].start - node->e[i - 1].end);
		gap = quire_max(gap, node->e[i].gap);
	}
	return (struct entry){node->e[0].start, node->e[node->n - 1].end, gap, node};
}

static void entry_insert(struct vma_node *node, unsigned pos, const struct entry *new)
{
	memmove(&node->e[pos + 1], &node->e[pos], (node->n - pos) * sizeof(*new));
	node->e[pos] = *new;
	node->n++;
}

/* ---- operations ------------------------------------------------------------------ */

/* Put `new` into the full node at pos; half of it (less at the ends, so that runs of
 * insertions fill their nodes) moves to a new node on the right, described in *right. */
static void node_split(struct vma_edit *e, struct vma_node *node, unsigned pos,
		       const struct entry *new, struct entry *right)
{
	struct vma_node *r = node_take(e, node->level);
	unsigned at = pos == node->n ? node->n : pos <= 1 ? pos : FANOUT / 2;

	r->n = (u16)(node->n - at);
	memcpy(r->e, &node->e[at], r->n * sizeof(*new));
	node->n = (u16)at;
	if (pos < at || (pos == at && at <= 1))
		entry_insert(node, pos, new);
	else
		entry_insert(r, pos - at, new);
	*right = node_entry(r);
}

/* Insert a leaf entry below *slot.  True: the node was split, *right is its new sibling. */
static bool insert_below(struct vma_edit *e, struct vma_node **slot, struct entry new,
			 struct entry *right)
{
	struct vma_node *node = *slot = node_own(e, *slot);
	unsigned pos = first_above(node, new.start);

	if (node->level) {
		unsigned i = quire_min(pos, node->n - 1u);
		struct vma_node *child = node->e[i].ptr;
		bool split = insert_below(e, &child, new, right);

		node->e[i] = node_entry(child);
		if (!split)
			return false;
		new = *right;
		pos = i + 1;
	}
	if (node->n < FANOUT) {
		entry_insert(node, pos, &new);
		return false;
	}
	node_split(e, node, pos, &new, right);
	return true;
}

void vma_edit_insert(struct vma_edit *e, struct vma *v)
{
	struct entry new = {v->start, v->end, 0, v}, right;

	REQUIRE(e->ops-- > 0);
	ASSERT(v->start < v->end);
	if (!e->root) {
		e->root = node_take(e, 0);
		entry_insert(e->root, 0, &new);
	} else if (insert_below(e, &e->root, new, &right)) {
		struct vma_node *root = node_take(e, e->root->level + 1u);

		root->n = 2;
		root->e[0] = node_entry(e->root);
		root->e[1] = right;
		e->root = root;
	}
}

/* Make children k and k + 1 one node when they are small and the edit owns one. */
static void try_merge(struct vma_edit *e, struct vma_node *node, unsigned k)
{
	if (k + 1 >= node->n)
		return;
	struct vma_node *a = node->e[k].ptr, *b = node->e[k + 1].ptr;
	if (a->n + b->n > MERGE_AT || (!fresh(e, a) && !fresh(e, b)))
		return;
	if (fresh(e, a)) {
		memcpy(&a->e[a->n], b->e, b->n * sizeof(b->e[0]));
		a->n = (u16)(a->n + b->n);
		node_drop(e, b);
	} else {
		memmove(&b->e[a->n], b->e, b->n * sizeof(b->e[0]));
		memcpy(b->e, a->e, a->n * sizeof(a->e[0]));
		b->n = (u16)(a->n + b->n);
		node_drop(e, a);
		a = b;
	}
	node->e[k] = node_entry(a);
	node->n--;
	memmove(&node->e[k + 1], &node->e[k + 2], (node->n - k - 1) * sizeof(node->e[0]));
}

/* Remove what lies in [start, end) below *slot, which becomes null when nothing is left. */
static void remove_below(struct vma_edit *e, struct vma_node **slot, u64 start, u64 end)
{
	struct vma_node *node = *slot = node_own(e, *slot);
	unsigned first = first_above(node, start), to = first;

	for (unsigned i = first; i < node->n; i++) {
		struct entry en = node->e[i];

		if (en.start < end) {
			bool whole = en.start >= start && en.end <= end;
			struct vma_node *child = en.ptr;

			if (whole && node->level) {
				tree_drop(e, child);
				continue;
			}
			if (whole)
				continue;
			REQUIRE(node->level);
			remove_below(e, &child, start, end);
			if (!child)
				continue;
			en = node_entry(child);
		}
		node->e[to++] = en;
	}
	node->n = (u16)to;
	if (!to) {
		node_drop(e, node);
		*slot = NULL;
		return;
	}
	if (node->level) {
		try_merge(e, node, first);
		if (first)
			try_merge(e, node, first - 1);
	}
}

void vma_edit_remove_range(struct vma_edit *e, u64 start, u64 end)
{
	REQUIRE(e->ops-- > 0);
	if (!e->root || start >= end)
		return;
	remove_below(e, &e->root, start, end);
	while (e->root && e->root->level && e->root->n == 1) {
		struct vma_node *old = e->root;

		e->root = old->e[0].ptr;
		node_drop(e, old);
	}
}

void vma_edit_remove(struct vma_edit *e, struct vma *v)
{
	vma_edit_remove_range(e, v->start, v->end);
}

static void resize_below(struct vma_edit *e, struct vma_node **slot, const struct vma *v, u64 start,
			 u64 end)
{
	struct vma_node *node = *slot = node_own(e, *slot);
	unsigned i = first_above(node, v->start);

	REQUIRE(i < node->n);
	if (node->level) {
		struct vma_node *child = node->e[i].ptr;

		resize_below(e, &child, v, start, end);
		node->e[i] = node_entry(child);
	} else {
		REQUIRE(node->e[i].ptr == v);
		node->e[i].start = start;
		node->e[i].end = end;
	}
}

void vma_edit_resize(struct vma_edit *e, struct vma *v, u64 start, u64 end)
{
	REQUIRE(e->ops-- > 0);
	ASSERT(start < end && e->root);
	resize_below(e, &e->root, v, start, end);
	v->start = start;
	v->end = end;
}

/* ---- begin and end --------------------------------------------------------------- */

int vma_edit_more(struct vma_edit *e, unsigned ops)
{
	struct vma_index *x = e->index;
	unsigned need = (e->ops + ops) * nodes_per_op(e->root);

	while (x->nspare < need) {
		struct vma_node *node = quire_kmem_alloc(node_kmem, GFP_KERNEL);

		if (!node)
			return -ENOMEM;
		node->chain = x->spare;
		x->spare = node;
		x->nspare++;
	}
	e->ops += ops;
	return 0;
}

int vma_edit_reserve(struct vma_edit *e, struct vma_index *x, unsigned ops)
{
	*e = (struct vma_edit){.index = x, .root = x->root};
	x->serial++;
	return vma_edit_more(e, ops);
}

static void free_chain(struct vma_node *node)
{
	while (node) {
		struct vma_node *next = node->chain;

		quire_kmem_free(node_kmem, node);
		node = next;
	}
}

static void free_retired(struct quire_rcu *rcu)
{
	free_chain(quire_container_of(rcu, struct vma_node, rcu));
}

void vma_edit_publish(struct vma_edit *e)
{
	__atomic_store_n(&e->index->root, e->root, __ATOMIC_RELEASE);
	if (e->retired)
		quire_rcu_call(&e->retired->rcu, free_retired);
	e->retired = NULL;
	e->index->serial++;
}

void vma_edit_done(struct vma_edit *e)
{
	struct vma_index *x = e->index;
	unsigned keep = nodes_per_op(e->root);

	vma_edit_publish(e);
	while (x->nspare > keep) {
		struct vma_node *node = x->spare;

		x->spare = node->chain;
		x->nspare--;
		quire_kmem_free(node_kmem, node);
	}
}

static void free_tree(struct vma_node *node)
{
	if (node->level)
		for (unsigned i = 0; i < node->n; i++)
			free_tree(node->e[i].ptr);
	quire_kmem_free(node_kmem, node);
}

void vma_index_destroy(struct vma_index *x)
{
	if (x->root)
		free_tree(x->root);
	free_chain(x->spare);
	*x = (struct vma_index){0};
}

/* ---- check ----------------------------------------------------------------------- */

static u64 check_node(const struct vma_node *node, u64 *prev_end, unsigned level)
{
	u64 count = 0;

	REQUIRE(node->level == level && node->n > 0 && node->n <= FANOUT);
	for (unsigned i = 0; i < node->n; i++) {
		const struct entry *e = &node->e[i];

		REQUIRE(e->start >= *prev_end && e->start < e->end);
		if (level) {
			struct entry want = node_entry(e->ptr);

			REQUIRE(want.start == e->start && want.end == e->end && want.gap == e->gap);
			count += check_node(e->ptr, prev_end, level - 1);
		} else {
			const struct vma *v = e->ptr;

			REQUIRE(v->start == e->start && v->end == e->end && e->gap == 0);
			count++;
		}
		*prev_end = e->end;
	}
	return count;
}

u64 vma_index_check(const struct vma_index *x)
{
	u64 end = 0;

	return x->root ? check_node(x->root, &end, x->root->level) : 0;
}
