/* SPDX-License-Identifier: MIT */
/*
 * The cache of directory entries: names that were looked up, those that turned
 * out not to exist, and those that exist only here.
 *
 * A dentry holds a reference on its parent, so a tree never loses its upper parts.
 * One whose count is zero stays in the cache until there are too many or memory is
 * short; pinned ones (changed here) stay for good.  A positive dentry keeps its
 * inode until it is freed; a name that is removed gets a new dentry.
 *
 * Locking: d_lock guards the hash, the lists of children, names and parents, and the
 * LRU list.  Counts are atomic; one rises from zero under d_lock only.  Dentries are
 * freed after a grace period of RCU, since dentry_put() looks at them after giving
 * its reference up.
 */
#include "dcache.h"

#include <quire/assert.h>
#include <quire/page.h>
#include <quire/string.h>

#include "../lib/string.h"

struct spinlock d_lock = SPINLOCK_INIT(RANK_HOST_MID + 8);
struct mutex rename_lock = MUTEX_INIT(RANK_HOST_OUTER + 6);

static struct list *buckets;
static u32 bucket_mask;
static struct list lru = LIST_INIT(lru); /* dentries in the tree, cold ones first; d_lock */
static u64 cached, limit;                /* on lru; d_lock */
static u64 last_seq;                     /* d_lock */

static u64 shrink_dcache(u64 pages);

void dcache_init(void)
{
	u64 n = 256;

	while (n < 16384 && n < quire_total_pages() / 32)
		n *= 2;
	buckets = quire_kmalloc(n * sizeof(*buckets), GFP_KERNEL);
	REQUIRE(buckets);
	for (u64 i = 0; i < n; i++)
		list_init(&buckets[i]);
	bucket_mask = (u32)n - 1;
	/* At 700 bytes or so for a name with its inode, a tenth of memory. */
	limit = quire_max(quire_min(quire_total_pages() / 2, 200000UL), 500UL);
	quire_set_shrinker(shrink_dcache);
}

static u32 name_hash(const struct dentry *parent, const char *name, size_t len)
{
	u64 h = (u64)parent * 0x9e3779b97f4a7c15UL;

	for (size_t i = 0; i < len; i++)
		h = (h ^ (u8)name[i]) * 0x100000001b3UL;
	return (u32)(h ^ h >> 32);
}

/* ---- allocation and freeing ---------------------------------------------------------- */

struct dentry *dentry_new(struct dentry *parent, const char *name, size_t len)
{
	struct dentry *d = quire_kmalloc(sizeof(*d) + len + 1, GFP_NOFAIL_OOM);

	if (!d)
		return NULL;
	memset(d, 0, sizeof(*d));
	d->refs = 1;
	d->len = (u16)len;
	memcpy(d->iname, name, len);
	d->iname[len] = 0;
	d->name = d->iname;
	d->hash = name_hash(parent, name, len);
	list_init(&d->hash_node);
	list_init(&d->sibling);
	list_init(&d->children);
	list_init(&d->lru);
	d->parent = parent;
	if (parent)
		dentry_get(parent);
	return d;
}

void dentry_instantiate(struct dentry *d, struct inode *i)
{
	REQUIRE(!d->inode);
	__atomic_store_n(&d->inode, i, __ATOMIC_RELEASE);
}

static void free_rcu(struct quire_rcu *r)
{
	struct dentry *d = quire_container_of(r, struct dentry, rcu);

	if (d->name != d->iname)
		quire_kfree((void *)d->name);
	quire_kfree(d);
}

/*
 * Drop a reference; true when it was the last one of a dentry that is out of the tree,
 * and the caller is to free it.  Between the count's reaching zero and the look at
 * `unlinked` others may take d up again and unlink it: so the decision is made under
 * d_lock, and only once.  RCU keeps the memory until then.
 */
static bool drop_ref(struct dentry *d)
{
	bool gone = false;

	quire_rcu_read_lock();
	if (!__atomic_sub_fetch(&d->refs, 1, __ATOMIC_ACQ_REL) &&
	    __atomic_load_n(&d->unlinked, __ATOMIC_ACQUIRE)) {
		spin_lock(&d_lock);
		gone = !__atomic_load_n(&d->refs, __ATOMIC_ACQUIRE) && !d->dead;
		if (gone)
			d->dead = true;
		spin_unlock(&d_lock);
	}
	quire_rcu_read_unlock();
	return gone;
}

/* Nobody can reach d any more: give up what it holds.  Sleeps. */
static void dentry_free(struct dentry *d)
{
	while (d) {
		struct dentry *parent = d->parent;

		REQUIRE(list_empty(&d->children) && !d->mounted);
		if (d->inode)
			inode_put(d->inode);
		quire_rcu_call(&d->rcu, free_rcu);
		/* The parent may have waited for its last child only. */
		d = parent && drop_ref(parent) ? parent : NULL;
	}
}

void dentry_get(struct dentry *d)
{
	__atomic_add_fetch(&d->refs, 1, __ATOMIC_RELAXED);
}

void dentry_put(struct dentry *d)
{
	if (drop_ref(d))
		dentry_free(d);
}

/* ---- the tree ---------------------------------------------------------------------------- */

static void hash_add_locked(struct dentry *d)
{
	list_add(&buckets[d->hash & bucket_mask], &d->hash_node);
	if (d->parent)
		list_add_tail(&d->parent->children, &d->sibling);
	if (list_empty(&d->lru)) {
		list_add_tail(&lru, &d->lru);
		cached++;
	}
}

static void hash_del_locked(struct dentry *d)
{
	list_del(&d->hash_node);
	list_del(&d->sibling);
	if (!list_empty(&d->lru)) {
		list_del(&d->lru);
		cached--;
	}
}

void dentry_add(struct dentry *d)
{
	spin_lock(&d_lock);
	hash_add_locked(d);
	spin_unlock(&d_lock);
}

void dentry_drop(struct dentry *d)
{
	spin_lock(&d_lock);
	hash_del_locked(d);
	__atomic_store_n(&d->unlinked, true, __ATOMIC_RELEASE);
	spin_unlock(&d_lock);
}

void dentry_drop_new(struct dentry *d)
{
	__atomic_store_n(&d->unlinked, true, __ATOMIC_RELEASE);
	dentry_put(d);
}

void dentry_pin(struct dentry *d)
{
	spin_lock(&d_lock);
	d->pinned = true;
	d->seq = ++last_seq;
	if (d->parent && !list_empty(&d->sibling)) {
		list_del(&d->sibling);
		list_add_tail(&d->parent->children, &d->sibling);
	}
	spin_unlock(&d_lock);
}

void dentry_move(struct dentry *d, struct dentry *parent, const char *name, size_t len)
{
	struct dentry *old_parent = d->parent;
	const char *old_name = d->name;

	dentry_get(parent);
	spin_lock(&d_lock);
	hash_del_locked(d);
	d->parent = parent;
	d->name = name;
	d->len = (u16)len;
	d->hash = name_hash(parent, name, len);
	hash_add_locked(d);
	spin_unlock(&d_lock);
	if (old_name != d->iname)
		quire_kfree((void *)old_name);
	dentry_put(old_parent);
}

bool dentry_is_under(struct dentry *d, struct dentry *a)
{
	bool under = false;

	spin_lock(&d_lock);
	for (; d && !under; d = d->parent)
		under = d == a;
	spin_unlock(&d_lock);
	return under;
}

struct dentry *dentry_parent(struct dentry *d)
{
	struct dentry *p;

	spin_lock(&d_lock);
	p = d->parent ? d->parent : d;
	dentry_get(p);
	spin_unlock(&d_lock);
	return p;
}

void dentry_kill_tree(struct dentry *root)
{
	struct dentry *d;
	bool gone;

	do {
		spin_lock(&d_lock);
		for (d = root; !list_empty(&d->children);)
			d = list_first(&d->children, struct dentry, sibling);
		if (d != root)
			hash_del_locked(d);
		__atomic_store_n(&d->unlinked, true, __ATOMIC_RELEASE);
		/* Who still has it frees it. */
		gone = d != root && !__atomic_load_n(&d->refs, __ATOMIC_ACQUIRE) && !d->dead;
		if (gone)
			d->dead = true;
		spin_unlock(&d_lock);
		if (gone)
			dentry_free(d);
	} while (d != root);
	dentry_put(root);
}

/* ---- look-up -------------------------------------------------------------------------------- */

struct dentry *dentry_cached(struct dentry *parent, const char *name, size_t len)
{
	u32 hash = name_hash(parent, name, len);
	struct list *bucket = &buckets[hash & bucket_mask];
	struct dentry *d, *found = NULL;

	spin_lock(&d_lock);
	list_for_each (d, bucket, hash_node) {
		if (d->hash != hash || d->parent != parent || d->len != len ||
		    memcmp(d->name, name, len))
			continue;
		dentry_get(d);
		found = d;
		break;
	}
	spin_unlock(&d_lock);
	return found;
}

struct dentry *dentry_lookup_locked(struct dentry *parent, const char *name, size_t len, int *err)
{
	struct inode *dir = parent->inode;
	struct dentry *d;

	*err = 0;
	d = dir->fs->uncached ? NULL : dentry_cached(parent, name, len);
	if (d)
		return d;
	d = dentry_new(parent, name, len);
	if (!d) {
		*err = -ENOMEM;
		return NULL;
	}
	if (dir->ops->lookup && !parent->complete)
		*err = dir->ops->lookup(dir, d);
	if (*err || dir->fs->uncached) {
		/* Never in the tree: freed with its last reference. */
		__atomic_store_n(&d->unlinked, true, __ATOMIC_RELEASE);
		if (*err) {
			dentry_put(d);
			return NULL;
		}
		return d;
	}
	dentry_add(d);
	return d;
}

struct dentry *dentry_lookup(struct dentry *parent, const char *name, size_t len, int *err)
{
	struct inode *dir = parent->inode;
	struct dentry *d;
	bool negative;

	*err = 0;
	if (len > NAME_MAX) {
		*err = -ENAMETOOLONG;
		return NULL;
	}
	d = dir->fs->uncached ? NULL : dentry_cached(parent, name, len);
	negative = d && !d->inode;
	if (d && (!dir->ops->revalidate || d->mounted || d->pinned || dir->ops->revalidate(d)))
		return d;
	mutex_lock(&dir->lock);
	if (d) {
		/* It is out of date, unless somebody has just made a file of this name. */
		if (negative && d->inode) {
			mutex_unlock(&dir->lock);
			return d;
		}
		dentry_drop(d);
		dentry_put(d);
	}
	d = dentry_lookup_locked(parent, name, len, err);
	mutex_unlock(&dir->lock);
	return d;
}

/* ---- keeping it small ---------------------------------------------------------------------------
 */

static bool evictable_locked(struct dentry *d, bool quick)
{
	if (__atomic_load_n(&d->refs, __ATOMIC_ACQUIRE) || d->pinned || d->mounted || !d->parent)
		return false;
	/* In a directory without a store only the cache knows what exists. */
	if (d->inode && !d->in_store)
		return false;
	return !quick || !d->inode || !d->inode->mapping.nr_pages;
}

/* Take up to n cold entries out of the tree, onto a list linked by hash_node. */
static u64 collect_locked(struct list *out, u64 n, bool quick)
{
	struct dentry *d, *next;
	u64 scanned = 0, got = 0;

	list_for_each_safe (d, next, &lru, lru) {
		if (got >= n || ++scanned > n * 4 + 64)
			break;
		if (!evictable_locked(d, quick)) {
			list_del(&d->lru);
			list_add_tail(&lru, &d->lru);
			continue;
		}
		hash_del_locked(d);
		d->parent->complete = false;
		d->dead = true;
		list_add(out, &d->hash_node);
		got++;
	}
	return got;
}

static void free_collected(struct list *l)
{
	while (!list_empty(l)) {
		struct dentry *d = list_first(l, struct dentry, hash_node);

		list_del(&d->hash_node);
		dentry_free(d);
	}
}

void dcache_trim(void)
{
	struct list out = LIST_INIT(out);

	if (__atomic_load_n(&cached, __ATOMIC_RELAXED) <= limit)
		return;
	spin_lock(&d_lock);
	if (cached > limit)
		collect_locked(&out, 64, false);
	spin_unlock(&d_lock);
	free_collected(&out);
}

/*
 * For reclaim, which may hold any sleeping lock: only entries whose inodes have no
 * cached pages, so that freeing one waits for nothing.
 */
static u64 shrink_dcache(u64 pages)
{
	struct list out = LIST_INIT(out);
	u64 got;

	if (!spin_trylock(&d_lock))
		return 0;
	got = collect_locked(&out, quire_min(pages * 4, 256UL), true);
	spin_unlock(&d_lock);
	free_collected(&out);
	return got / 8;
}
