/* SPDX-License-Identifier: MIT */
/*
 * The index of an address space's VMAs: a B+-tree that is changed in place while
 * look-ups without any lock go on.
 *
 * Look-ups under mmap_lock are exact.  Look-ups under RCU alone, which faults make, may
 * meet a node in the middle of a change; they can then miss a VMA, or find another than
 * the one they want, but never anything that isn't (or was not a moment ago) a VMA of
 * this address space: every slot of a node holds a valid pointer of its level at all
 * times, a node's level never changes, and nodes and VMAs that are taken out are freed
 * after a grace period.  Whoever looks up that way locks the VMA, looks at its bounds
 * (a VMA that is being changed is write-locked), and falls back to mmap_lock when they
 * don't fit.  So an insertion costs no copy of a path, in a large index or a small one.
 *
 * Every entry knows the first and last byte that it covers and, above the leaves, a
 * bound of the gaps between VMAs inside: none is larger.  An operation raises the
 * bounds on its path to the gap it made; filling a gap leaves them as they are, and
 * a search for room (room.c) that trusted a bound in vain puts it right.  So finding room
 * is one descent, and an insertion looks at no entry but those on its path.
 *
 * Nodes for an edit are reserved before it begins: an insertion splits at most one
 * node a level and makes a new root.  A few stay with the index for the next edit.
 *
 * Locking: edits with mmap_lock held for writing; look-ups with it held in any
 * mode, or under RCU as above.
 *
 * Source: B+-trees as in Comer, "The Ubiquitous B-Tree" (1979).
 */
#include <quire/assert.h>
#include <quire/errno.h>
#include <quire/string.h>

#include "../mm/mm.h"
#include "node.h"

#define MAX_LEVELS 12             /* more than any number of VMAs can need */
#define MERGE_AT (FANOUT * 3 / 4) /* two neighbours with no more entries become one node */

static const struct entry unused_entry = {~0UL, ~0UL, 0, NULL};

static struct quire_kmem *node_kmem;

void vma_index_init(struct vma_index *x)
{
	if (!node_kmem)
		node_kmem = quire_kmem_create("vma_node", sizeof(struct vma_node), 0);
	*x = (struct vma_index){0};
}

static inline u64 word(const u64 *at)
{
	return __atomic_load_n(at, __ATOMIC_RELAXED);
}

static inline u32 node_size(const struct vma_node *node)
{
	return __atomic_load_n(&node->n, __ATOMIC_ACQUIRE);
}

static inline void *entry_ptr(const struct entry *e)
{
	return __atomic_load_n(&e->ptr, __ATOMIC_ACQUIRE);
}

/* ---- look-up --------------------------------------------------------------------- */

/* The first entry that ends above addr, which may be an unused one, or the end of all. */
static inline const struct entry *first_above(const struct vma_node *node, u64 addr)
{
	const struct entry *e = node->e;

	e += word(&e[7].end) <= addr ? 8 : 0;
	e += word(&e[3].end) <= addr ? 4 : 0;
	e += word(&e[1].end) <= addr ? 2 : 0;
	e += word(&e[0].end) <= addr ? 1 : 0;
	return e;
}

/* Its index, or n: for the holder of mmap_lock. */
static inline unsigned place_of(const struct vma_node *node, u64 addr)
{
	unsigned i = (unsigned)(first_above(node, addr) - node->e);

	return i < node->n ? i : node->n;
}

struct vma *vma_find(const struct vma_index *x, u64 addr)
{
	const struct vma_node *node = __atomic_load_n(&x->root, __ATOMIC_ACQUIRE);

	while (node) {
		const struct entry *e = first_above(node, addr);

		if (quire_unlikely(e == node->e + FANOUT))
			return NULL;
		if (!node->level)
			return entry_ptr(e);
		/* Null beyond the last; below the root only in a change. */
		node = entry_ptr(e);
	}
	return NULL;
}

struct vma *vma_find_prev(const struct vma_index *x, u64 addr)
{
	const struct vma_node *node = __atomic_load_n(&x->root, __ATOMIC_ACQUIRE);

	while (node) {
		unsigned n = node_size(node), lo = 0;

		while (lo < n) { /* the first that doesn't start below addr */
			unsigned mid = (lo + n) / 2;

			if (word(&node->e[mid].start) >= addr)
				n = mid;
			else
				lo = mid + 1;
		}
		if (!lo)
			return NULL;
		if (!node->level)
			return entry_ptr(&node->e[lo - 1]);
		node = entry_ptr(&node->e[lo - 1]);
	}
	return NULL;
}

/* The last VMA below the node. */
static struct vma *last_below(const struct vma_node *node)
{
	for (;;) {
		unsigned n = node_size(node);

		if (!n)
			return NULL; /* in a change */
		if (!node->level)
			return entry_ptr(&node->e[n - 1]);
		node = entry_ptr(&node->e[n - 1]);
	}
}

static struct vma *find_both(const struct vma_index *x, u64 addr, struct vma **prev)
{
	const struct vma_node *node = x->root, *left = NULL;

	*prev = NULL;
	while (node) {
		unsigned i = place_of(node, addr);

		if (!node->level) {
			*prev = i ? node->e[i - 1].ptr : left ? last_below(left) : NULL;
			return i < node->n ? node->e[i].ptr : NULL;
		}
		if (i == node->n) {
			*prev = last_below(node);
			return NULL;
		}
		if (i)
			left = node->e[i - 1].ptr;
		node = node->e[i].ptr;
	}
	return NULL;
}

struct vma *vma_find_both(struct vma_index *x, u64 addr, struct vma **prev)
{
	if (!x->next || addr < x->prev->end || addr >= x->next->end) {
		struct vma *next = find_both(x, addr, prev);

		if (!next || !*prev)
			return next;
		x->prev = *prev;
		x->next = next;
	}
	*prev = x->prev;
	return x->next;
}

/* The index changes: what was found last may not be what would be found now. */
static inline void forget(struct vma_index *x)
{
	x->next = NULL;
}

struct vma *vma_next(const struct vma_index *x, const struct vma *v)
{
	return vma_find(x, v->end);
}

/* ---- changing nodes -------------------------------------------------------------- */

/* What one operation may need on a tree of this many levels: a split each, a new root. */
static unsigned nodes_per_op(const struct vma_node *root)
{
	return (root ? root->level + 1u : 0u) + 1;
}

static struct vma_node *node_take(struct vma_edit *e, unsigned level)
{
	struct vma_index *x = e->index;
	struct vma_node *node = x->spare;

	REQUIRE(node);
	x->spare = node->chain;
	x->nspare--;
	node->level = level;
	node->n = 0;
	for (unsigned i = 0; i < FANOUT; i++)
		node->e[i] = unused_entry;
	return node;
}

/* The node is not part of the tree any more. */
static void node_drop(struct vma_edit *e, struct vma_node *node)
{
	node->chain = e->retired;
	e->retired = node;
}

static void tree_drop(struct vma_edit *e, struct vma_node *node)
{
	if (node->level)
		for (unsigned i = 0; i < node->n; i++)
			tree_drop(e, node->e[i].ptr);
	node_drop(e, node);
}

static inline void entry_store(struct entry *to, const struct entry *from)
{
	__atomic_store_n(&to->start, from->start, __ATOMIC_RELAXED);
	__atomic_store_n(&to->end, from->end, __ATOMIC_RELAXED);
	to->gap = from->gap;
	__atomic_store_n(&to->ptr, from->ptr, __ATOMIC_RELEASE);
}

static inline void size_store(struct vma_node *node, unsigned n)
{
	for (unsigned i = n; i < node->n; i++)
		entry_store(&node->e[i], &unused_entry);
	__atomic_store_n(&node->n, n, __ATOMIC_RELEASE);
}

static void entry_insert(struct vma_node *node, unsigned pos, const struct entry *new)
{
	for (unsigned i = node->n; i > pos; i--)
		entry_store(&node->e[i], &node->e[i - 1]);
	entry_store(&node->e[pos], new);
	size_store(node, node->n + 1);
}

/* Take out entries [from, to). */
static void entries_remove(struct vma_node *node, unsigned from, unsigned to)
{
	if (from == to)
		return;
	for (; to < node->n; from++, to++)
		entry_store(&node->e[from], &node->e[to]);
	size_store(node, from);
}

/* The entry that stands for a node in its parent. */
static struct entry node_entry(struct vma_node *node)
{
	return (struct entry){node->e[0].start, node->e[node->n - 1].end, node_largest_gap(node),
			      node};
}

/*
 * Bring entry i of an inner node up to date after a change below it.  *made is the largest
 * gap that came to be inside the child; what comes to be beside it is added.  False: nothing
 * changed here, so nothing does further up.
 */
static inline bool entry_refresh(struct vma_node *node, unsigned i, u64 *made)
{
	struct entry *e = &node->e[i];
	const struct vma_node *child = e->ptr;
	u64 start = child->e[0].start, end = child->e[child->n - 1].end;
	bool changed = e->gap < *made;

	if (changed)
		e->gap = *made;
	if (quire_unlikely(start != e->start)) {
		changed = true;
		if (i)
			*made = quire_max(*made, start - e[-1].end);
		__atomic_store_n(&e->start, start, __ATOMIC_RELAXED);
	}
	if (quire_unlikely(end != e->end)) {
		changed = true;
		if (i + 1 < node->n)
			*made = quire_max(*made, e[1].start - end);
		__atomic_store_n(&e->end, end, __ATOMIC_RELAXED);
	}
	return changed;
}

/* ---- operations ------------------------------------------------------------------ */

/* Put `new` into the full node at pos; half of it (less at the ends, so that runs of
 * insertions fill their nodes) moves to a new node on the right, described in *right. */
static void node_split(struct vma_edit *e, struct vma_node *node, unsigned pos,
		       const struct entry *new, struct entry *right)
{
	struct vma_node *r = node_take(e, node->level);
	unsigned at = pos == node->n ? node->n : pos <= 1 ? pos : FANOUT / 2;

	r->n = node->n - at;
	memcpy(r->e, &node->e[at], r->n * sizeof(*new));
	size_store(node, at);
	if (pos < at || (pos == at && at <= 1))
		entry_insert(node, pos, new);
	else
		entry_insert(r, pos - at, new);
	*right = node_entry(r);
}

/* The largest gap beside an entry that is put into a leaf at pos. */
static u64 gap_beside(const struct vma_node *leaf, unsigned pos, const struct entry *new)
{
	u64 gap = pos ? new->start - leaf->e[pos - 1].end : 0;

	return pos < leaf->n ? quire_max(gap, leaf->e[pos].start - new->end) : gap;
}

static void root_store(struct vma_edit *e, struct vma_node *root)
{
	__atomic_store_n(&e->index->root, root, __ATOMIC_RELEASE);
}

/* The way down to the leaf and the place in it that addr has, or would have. */
struct step {
	struct vma_node *node;
	unsigned i;
};

static struct step *descend(struct vma_node *root, u64 addr, struct step path[MAX_LEVELS])
{
	struct step *at = path;

	for (struct vma_node *node = root;; at++) {
		*at = (struct step){node, place_of(node, addr)};
		if (!node->level)
			return at;
		if (at->i == node->n)
			at->i--;
		node = node->e[at->i].ptr;
	}
}

/* The entries above `at` are brought up to date, as far up as something changes. */
static void refresh_up(const struct step *path, const struct step *at, u64 made)
{
	while (at-- > path)
		if (!entry_refresh(at->node, at->i, &made))
			return;
}

static void raise_root(struct vma_edit *e, const struct entry *right)
{
	struct vma_node *root = e->index->root, *top = node_take(e, root->level + 1);

	top->e[0] = node_entry(root);
	top->e[1] = *right;
	top->n = 2;
	root_store(e, top);
}

/* Nodes that are full are split, from the leaf up. */
static void tree_insert(struct vma_edit *e, struct entry new)
{
	struct step path[MAX_LEVELS], *at = descend(e->index->root, new.start, path);
	unsigned pos = at->i;
	u64 made = gap_beside(at->node, pos, &new);

	while (at->node->n == FANOUT) {
		struct entry right;

		node_split(e, at->node, pos, &new, &right);
		if (at == path) {
			raise_root(e, &right);
			return;
		}
		at--;
		entry_refresh(at->node, at->i, &made);
		new = right;
		pos = at->i + 1;
		made = quire_max(made, gap_beside(at->node, pos, &new));
	}
	entry_insert(at->node, pos, &new);
	refresh_up(path, at, made);
}

void vma_edit_insert(struct vma_edit *e, struct vma *v)
{
	struct entry new = {v->start, v->end, 0, v};

	REQUIRE(e->inserts-- > 0);
	ASSERT(v->start < v->end);
	forget(e->index);
	if (e->index->root) {
		tree_insert(e, new);
	} else {
		struct vma_node *root = node_take(e, 0);

		entry_insert(root, 0, &new);
		root_store(e, root);
	}
	vma_room_taken(e->index, v);
}

/* Make children k and k + 1 one node when they are small. */
static void try_merge(struct vma_edit *e, struct vma_node *node, unsigned k)
{
	if (k + 1 >= node->n)
		return;
	struct vma_node *a = node->e[k].ptr, *b = node->e[k + 1].ptr;
	if (a->n + b->n > MERGE_AT)
		return;
	for (unsigned i = 0; i < b->n; i++)
		entry_store(&a->e[a->n + i], &b->e[i]);
	size_store(a, a->n + b->n);
	struct entry both = node_entry(a);
	entry_store(&node->e[k], &both);
	entries_remove(node, k + 1, k + 2);
	node_drop(e, b);
}

/* Child i may have become small, or be the first after some that went. */
static void merge_around(struct vma_edit *e, struct vma_node *node, unsigned i)
{
	if (i < node->n && ((struct vma_node *)node->e[i].ptr)->n > MERGE_AT / 2)
		return;
	try_merge(e, node, i);
	if (i)
		try_merge(e, node, i - 1);
}

/* Take entries [from, to) out; the gap that this makes between its neighbours. */
static u64 entries_close(struct vma_node *node, unsigned from, unsigned to)
{
	u64 made = from && to < node->n ? node->e[to].start - node->e[from - 1].end : 0;

	entries_remove(node, from, to);
	return made;
}

/* Remove what lies in [start, end) below the node; *made: the largest gap that this
 * makes inside it.  A child that keeps something isn't emptied, so only the top can be. */
static void remove_below(struct vma_edit *e, struct vma_node *node, u64 start, u64 end, u64 *made)
{
	unsigned from = place_of(node, start), to = from;
	u64 right = 0;

	*made = 0;
	if (!node->level) {
		for (; to < node->n && node->e[to].start < end; to++)
			REQUIRE(node->e[to].start >= start && node->e[to].end <= end);
		*made = entries_close(node, from, to);
		return;
	}
	if (from < node->n && node->e[from].start < end &&
	    (node->e[from].start < start || node->e[from].end > end)) {
		remove_below(e, node->e[from].ptr, start, end, made);
		entry_refresh(node, from, made);
		from++;
		if (from == node->n || node->e[from].start >= end) {
			merge_around(e, node, from - 1);
			return;
		}
	}
	for (to = from; to < node->n && node->e[to].end <= end; to++)
		tree_drop(e, node->e[to].ptr);
	if (to < node->n && node->e[to].start < end) {
		remove_below(e, node->e[to].ptr, start, end, &right);
		entry_refresh(node, to, &right);
	}
	*made = quire_max(*made, right);
	right = entries_close(node, from, to);
	*made = quire_max(*made, right);
	merge_around(e, node, from);
}

/* A root that has lost all but one of its children, or all, gives way. */
static void lower_root(struct vma_edit *e, struct vma_node *root)
{
	while (!root->n || (root->level && root->n == 1)) {
		struct vma_node *below = root->n ? root->e[0].ptr : NULL;

		root_store(e, below);
		node_drop(e, root);
		if (!below)
			return;
		root = below;
	}
}

void vma_edit_remove_range(struct vma_edit *e, u64 start, u64 end)
{
	struct vma_node *root = e->index->root;
	u64 made;

	if (!root || start >= end)
		return;
	forget(e->index);
	remove_below(e, root, start, end, &made);
	lower_root(e, root);
	vma_room_made(e->index, end);
}

void vma_edit_remove(struct vma_edit *e, struct vma *v)
{
	vma_edit_remove_range(e, v->start, v->end);
}

void vma_edit_resize(struct vma_edit *edit, struct vma *v, u64 start, u64 end)
{
	struct step path[MAX_LEVELS], *at;
	u64 made;

	ASSERT(start < end && edit->index->root);
	forget(edit->index);
	at = descend(edit->index->root, v->start, path);
	struct entry *e = &at->node->e[at->i];
	REQUIRE(at->i < at->node->n && e->ptr == v);
	made = at->i ? start - e[-1].end : 0;
	if (at->i + 1 < at->node->n)
		made = quire_max(made, e[1].start - end);
	__atomic_store_n(&e->start, start, __ATOMIC_RELAXED);
	__atomic_store_n(&e->end, end, __ATOMIC_RELAXED);
	refresh_up(path, at, made);
	u64 old_start = v->start, old_end = v->end;
	v->start = start;
	v->end = end;
	vma_room_taken(edit->index, v);
	if (end < old_end)
		vma_room_made(edit->index, old_end);
	else if (start > old_start)
		edit->index->full_from = quire_max(edit->index->full_from, start);
}

/* ---- begin and end --------------------------------------------------------------- */

int vma_edit_more(struct vma_edit *e, unsigned inserts)
{
	struct vma_index *x = e->index;
	unsigned all = e->inserts + inserts, need = all * nodes_per_op(x->root);

	if (all > 1)
		need += all; /* the first may add a level */
	while (x->nspare < need) {
		struct vma_node *node = quire_kmem_alloc(node_kmem, GFP_KERNEL);

		if (!node)
			return -ENOMEM;
		node->chain = x->spare;
		x->spare = node;
		x->nspare++;
	}
	e->inserts = all;
	return 0;
}

int vma_edit_reserve(struct vma_edit *e, struct vma_index *x, unsigned inserts)
{
	*e = (struct vma_edit){.index = x};
	return vma_edit_more(e, inserts);
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

void vma_edit_done(struct vma_edit *e)
{
	struct vma_index *x = e->index;
	unsigned keep = nodes_per_op(x->root);

	if (e->retired)
		quire_rcu_call(&e->retired->rcu, free_retired);
	e->retired = NULL;
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

			REQUIRE(want.start == e->start && want.end == e->end && want.gap <= e->gap);
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
	u64 end = 0, count;

	if (!x->root)
		return 0;
	count = check_node(x->root, &end, x->root->level);
	vma_room_check(x);
	if (x->next)
		REQUIRE(vma_next(x, x->prev) == x->next &&
			vma_find_prev(x, x->next->start) == x->prev);
	return count;
}
