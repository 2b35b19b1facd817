/* SPDX-License-Identifier: MIT */
/*
 * An interval tree: a treap ordered by `first`, where every node knows the
 * largest `last` in its subtree.  Overlapping and equal intervals are fine.
 *
 * A treap, since inserting and removing are the same two rotations and expected
 * depth is logarithmic whatever the order of insertion (C. Aragon, R. Seidel,
 * "Randomized search trees", 1989; the augmentation is in Cormen et al., 14.3).
 * Priorities are a hash of the node's address.
 *
 * Locking: none; the caller's lock guards the tree.
 */
#include <quire/assert.h>

#include "rmap.h"

static u32 node_priority(const struct interval *n)
{
	u64 x = (u64)(uintptr_t)n;

	x ^= x >> 33;
	x *= 0xff51afd7ed558ccdUL;
	x ^= x >> 29;
	return (u32)(x >> 16);
}

/* Recompute what n says about its subtree; true when that changed something. */
static bool node_update(struct interval *n)
{
	u64 last = n->last;

	if (n->left && n->left->subtree_last > last)
		last = n->left->subtree_last;
	if (n->right && n->right->subtree_last > last)
		last = n->right->subtree_last;
	if (n->subtree_last == last)
		return false;
	n->subtree_last = last;
	return true;
}

static void replace_child(struct interval **root, struct interval *parent, struct interval *old,
			  struct interval *n)
{
	if (!parent)
		*root = n;
	else if (parent->left == old)
		parent->left = n;
	else
		parent->right = n;
	if (n)
		n->parent = parent;
}

/* n goes up one place, its parent becomes its child. */
static void rotate_up(struct interval **root, struct interval *n)
{
	struct interval *p = n->parent, *moved;

	replace_child(root, p->parent, p, n);
	if (p->left == n) {
		moved = n->right;
		n->right = p;
		p->left = moved;
	} else {
		moved = n->left;
		n->left = p;
		p->right = moved;
	}
	if (moved)
		moved->parent = p;
	p->parent = n;
	node_update(p);
	node_update(n);
}

void interval_insert(struct interval **root, struct interval *n)
{
	struct interval **link = root, *parent = NULL;

	ASSERT(n->first <= n->last);
	n->left = n->right = NULL;
	n->subtree_last = n->last;
	n->priority = node_priority(n);
	while (*link) {
		parent = *link;
		if (parent->subtree_last < n->last)
			parent->subtree_last = n->last;
		link = n->first < parent->first ? &parent->left : &parent->right;
	}
	n->parent = parent;
	*link = n;
	while (n->parent && n->parent->priority < n->priority)
		rotate_up(root, n);
}

void interval_remove(struct interval **root, struct interval *n)
{
	while (n->left && n->right)
		rotate_up(root, n->left->priority > n->right->priority ? n->left : n->right);

	struct interval *child = n->left ? n->left : n->right, *p = n->parent;

	replace_child(root, p, n, child);
	for (; p && node_update(p); p = p->parent)
		;
	n->parent = n->left = n->right = NULL;
}

/* The leftmost node below n (n included) that overlaps [first, last].  Goes left only
 * where something in there ends late enough, so it never has to turn back. */
static struct interval *leftmost(struct interval *n, u64 first, u64 last)
{
	while (n && n->subtree_last >= first) {
		if (n->left && n->left->subtree_last >= first) {
			n = n->left;
			continue;
		}
		if (n->first > last)
			return NULL; /* and so does all to the right */
		if (n->last >= first)
			return n;
		n = n->right;
	}
	return NULL;
}

struct interval *interval_first(struct interval *root, u64 first, u64 last)
{
	return leftmost(root, first, last);
}

struct interval *interval_next(struct interval *n, u64 first, u64 last)
{
	struct interval *found = leftmost(n->right, first, last);

	while (!found) {
		struct interval *p = n->parent;

		while (p && p->right == n) {
			n = p;
			p = n->parent;
		}
		if (!p || p->first > last)
			return NULL;
		if (p->last >= first)
			return p;
		found = leftmost(p->right, first, last);
		n = p;
	}
	return found;
}
