/* SPDX-License-Identifier: MIT */
/*
 * Looking up many names at once: who goes through a directory in the order of its
 * listing (ls -l, find, tar, rm -r) asks for one name after the other, and each would
 * be two trips to the host.  The names of recent listings are kept, and when look-ups
 * follow them, the next ones are fetched along.
 *
 * Locking: the directory's inode lock is held by callers, so one thread at a time uses
 * a directory's hint; hint_lock (spin, RANK_HOST_MID + 11) guards which nodes have one,
 * since the oldest are dropped when there are many.
 */
#include <quire/page.h>
#include <quire/string.h>

#include "../lib/string.h"
#include "layerfs.h"

#define HINTS 8
#define HINT_BYTES 32000U

struct hint {
	u32 len; /* bytes of entries */
	u32 cap;
	int at;     /* behind the name that was looked up last */
	u32 window; /* how many to fetch next time */
	u32 misses; /* look-ups in another order, since the last in order */
	u8 entries[];
};

static struct spinlock hint_lock = SPINLOCK_INIT(RANK_HOST_MID + 11);
static struct node *owners[HINTS]; /* guarded by hint_lock */
static unsigned oldest;            /* guarded by hint_lock */

/* Take n's hint away, so that nobody drops it. */
static struct hint *take(struct node *n)
{
	struct hint *h = NULL;

	if (!__atomic_load_n(&n->hint, __ATOMIC_RELAXED))
		return NULL;
	spin_lock(&hint_lock);
	h = n->hint;
	n->hint = NULL;
	for (unsigned k = 0; k < HINTS; k++)
		if (owners[k] == n)
			owners[k] = NULL;
	spin_unlock(&hint_lock);
	return h;
}

static void give(struct node *n, struct hint *h)
{
	struct hint *drop = NULL;
	unsigned slot;

	spin_lock(&hint_lock);
	for (slot = 0; slot < HINTS && owners[slot]; slot++)
		;
	if (slot == HINTS) {
		slot = oldest;
		oldest = (oldest + 1) % HINTS;
		drop = owners[slot]->hint;
		owners[slot]->hint = NULL;
	}
	owners[slot] = n;
	n->hint = h;
	spin_unlock(&hint_lock);
	quire_kfree(drop);
}

void hint_drop(struct node *n)
{
	quire_kfree(take(n));
}

void hint_add(struct node *n, const u8 *entries, u32 len, bool first)
{
	struct hint *h = take(n);
	u32 cap = (u32)quire_min((u64)HINT_BYTES, quire_total_pages() * 2);

	if (h && (first || h->len + len > h->cap))
		h->len = 0;
	if (h && !h->len)
		h->at = 0;
	if (len > cap) {
		quire_kfree(h);
		return;
	}
	if (!h) {
		h = quire_kmalloc(sizeof(*h) + cap, GFP_NOFAIL_OOM);
		if (!h)
			return;
		*h = (struct hint){.cap = cap};
	}
	memcpy(h->entries + h->len, entries, len);
	h->len += len;
	give(n, h);
}

/* Find the name from `at` on, in at most `steps` entries; *at is behind it then. */
static bool find_from(struct hint *h, int *at, u32 steps, const char *name, size_t len)
{
	struct entry e;

	while (steps-- && layer_next_entry(h->entries, (int)h->len, at, &e))
		if (e.len == len && !memcmp(e.name, name, len))
			return true;
	return false;
}

unsigned hint_next(struct node *n, const char *name, size_t len, char (*names)[NAME_MAX + 1],
		   unsigned max)
{
	struct hint *h = take(n);
	struct entry e;
	unsigned got = 0;
	int at;

	if (!h)
		return 0;
	at = h->at;
	if (find_from(h, &at, 4 + h->window, name, len)) {
		h->window = quire_min(h->window * 2 + 2, max);
		h->misses = 0;
		h->at = at;
		while (got < h->window && layer_next_entry(h->entries, (int)h->len, &at, &e)) {
			if (e.name[0] == '.' && (e.len == 1 || (e.len == 2 && e.name[1] == '.')))
				continue;
			memcpy(names[got], e.name, e.len);
			names[got][e.len] = 0;
			got++;
		}
	} else {
		/* Not in order: remember the place, and wait for a second look-up there.  Who
		 * goes on like that doesn't follow the listing: look less often. */
		at = 0;
		h->window = 0;
		if (!(h->misses & (h->misses + 1)) && find_from(h, &at, ~0u, name, len))
			h->at = at;
		h->misses++;
	}
	give(n, h);
	return got;
}

void vfs_drop_hints(void)
{
	layer_drop_table();
	for (unsigned k = 0; k < HINTS; k++) {
		struct hint *h = NULL;
		spin_lock(&hint_lock);
		if (owners[k]) {
			h = owners[k]->hint;
			owners[k]->hint = NULL;
			owners[k] = NULL;
		}
		spin_unlock(&hint_lock);
		quire_kfree(h);
	}
}
