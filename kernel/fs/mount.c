/* SPDX-License-Identifier: MIT */
/*
 * The trees of mounts: finding the way through them, and changing them.
 *
 * A dentry counts the mounts on it, in any namespace; only where there are some is
 * anything looked up.  A path refers to its mount; a mount whose last reference goes
 * gives up its file system, which ends with its last mount.
 *
 * Locking: mount_lock (spin) guards all links between mounts.  They change with
 * mount_mutex as well, so who holds that may look at them and sleep.  A namespace without
 * references has no users, so taking it apart needs mount_lock alone.
 *
 * What it doesn't do: shared mounts (propagation), so every mount is private.  A directory
 * of /proc isn't kept, so nothing can be mounted on one.
 */
#include "mount.h"

#include <quire/assert.h>
#include <quire/page.h>
#include <quire/string.h>

#include "../lib/string.h"

struct mutex mount_mutex = MUTEX_INIT(RANK_HOST_OUTER + 5);
struct spinlock mount_lock = SPINLOCK_INIT(RANK_HOST_MID + 7);
struct mnt_ns *first_ns;
unsigned mount_max = 100000;

static u32 last_id = 20; /* atomic */

/* ---- one mount ---------------------------------------------------------------------------- */

struct mount *mount_new(struct fs *fs, struct dentry *root, u32 flags, const char *source)
{
	struct mount *m = quire_kmalloc(sizeof(*m), GFP_KERNEL | GFP_ZERO);
	size_t len = strlen(source) + 1;

	if (m)
		m->source = quire_kmalloc(len, GFP_KERNEL);
	if (!m || !m->source) {
		quire_kfree(m);
		return NULL;
	}
	memcpy(m->source, source, len);
	m->refs = 1;
	m->fs = fs;
	fs_use(fs);
	m->root = root;
	dentry_get(root);
	m->flags = flags & MS_MOUNT;
	m->id = __atomic_add_fetch(&last_id, 1, __ATOMIC_RELAXED);
	list_init(&m->children);
	list_init(&m->sibling);
	list_init(&m->all);
	spin_lock(&mount_lock);
	list_add_tail(&fs->mounts, &m->same_fs);
	spin_unlock(&mount_lock);
	return m;
}

static void mount_free(struct mount *m)
{
	struct fs *fs = m->fs;

	REQUIRE(!m->ns && !m->at && list_empty(&m->children) && !m->writers);
	spin_lock(&mount_lock);
	list_del(&m->same_fs);
	spin_unlock(&mount_lock);
	dentry_put(m->root);
	quire_kfree(m->source);
	quire_kfree(m);
	fs_unuse(fs);
}

void mount_get(struct mount *m)
{
	__atomic_add_fetch(&m->refs, 1, __ATOMIC_RELAXED);
}

void mount_put(struct mount *m)
{
	if (quire_unlikely(__atomic_load_n(&m->expiring, __ATOMIC_RELAXED)))
		__atomic_store_n(&m->expiring, false, __ATOMIC_RELAXED);
	mount_put_unused(m);
}

void mount_put_unused(struct mount *m)
{
	if (!__atomic_sub_fetch(&m->refs, 1, __ATOMIC_ACQ_REL))
		mount_free(m);
}

int mount_want_write(struct mount *m)
{
	if (!m)
		return 0;
	__atomic_add_fetch(&m->writers, 1, __ATOMIC_SEQ_CST);
	if (!(__atomic_load_n(&m->flags, __ATOMIC_SEQ_CST) & MS_RDONLY) &&
	    !__atomic_load_n(&m->fs->readonly, __ATOMIC_SEQ_CST))
		return 0;
	mount_drop_write(m);
	return -EROFS;
}

void mount_drop_write(struct mount *m)
{
	if (m)
		__atomic_sub_fetch(&m->writers, 1, __ATOMIC_SEQ_CST);
}

bool path_readonly(const struct path *p)
{
	return p->mnt && (__atomic_load_n(&p->mnt->flags, __ATOMIC_RELAXED) & MS_RDONLY ||
			  p->mnt->fs->readonly);
}

bool path_noexec(const struct path *p)
{
	struct inode *i = p->dentry->inode;

	return (p->mnt && __atomic_load_n(&p->mnt->flags, __ATOMIC_RELAXED) & MS_NOEXEC) ||
	       (i && i->fs && i->fs->noexec);
}

bool path_nodev(const struct path *p)
{
	return p->mnt && __atomic_load_n(&p->mnt->flags, __ATOMIC_RELAXED) & MS_NODEV;
}

bool path_nosymfollow(const struct path *p)
{
	return p->mnt && __atomic_load_n(&p->mnt->flags, __ATOMIC_RELAXED) & MS_NOSYMFOLLOW;
}

int mount_set_flags(struct mount *m, u32 flags)
{
	u32 old = m->flags;

	__atomic_store_n(&m->flags, flags & MS_MOUNT, __ATOMIC_SEQ_CST);
	if ((flags & MS_RDONLY) && !(old & MS_RDONLY) &&
	    __atomic_load_n(&m->writers, __ATOMIC_SEQ_CST)) {
		__atomic_store_n(&m->flags, old, __ATOMIC_SEQ_CST);
		return -EBUSY;
	}
	return 0;
}

int fs_set_readonly(struct fs *fs, bool readonly)
{
	bool old = fs->readonly, busy = false;
	struct mount *m;

	__atomic_store_n(&fs->readonly, readonly, __ATOMIC_SEQ_CST);
	if (!readonly || old)
		return 0;
	spin_lock(&mount_lock);
	list_for_each (m, &fs->mounts, same_fs)
		busy |= __atomic_load_n(&m->writers, __ATOMIC_SEQ_CST) != 0;
	spin_unlock(&mount_lock);
	if (busy)
		__atomic_store_n(&fs->readonly, false, __ATOMIC_SEQ_CST);
	return busy ? -EBUSY : 0;
}

/* ---- the way through the tree ------------------------------------------------------------- */

static struct mount *child_at_locked(struct mount *parent, const struct dentry *d)
{
	struct mount *m;

	list_for_each (m, &parent->children, sibling)
		if (m->at == d)
			return m;
	return NULL;
}

void mount_down(struct path *p)
{
	while (__atomic_load_n(&p->dentry->mounted, __ATOMIC_ACQUIRE) && p->mnt) {
		struct path to = {0};

		spin_lock(&mount_lock);
		to.mnt = child_at_locked(p->mnt, p->dentry);
		if (to.mnt) {
			to.dentry = to.mnt->root;
			path_get(&to);
		}
		spin_unlock(&mount_lock);
		if (!to.mnt)
			return;
		path_put(p);
		*p = to;
	}
}

bool mount_up(struct path *p)
{
	struct path to = {0};

	spin_lock(&mount_lock);
	to.mnt = p->mnt->parent;
	if (to.mnt) {
		to.dentry = p->mnt->at;
		path_get(&to);
	}
	spin_unlock(&mount_lock);
	if (!to.mnt)
		return false;
	path_put(p);
	*p = to;
	return true;
}

struct mnt_ns *current_ns(void)
{
	struct fsctx *fs = current()->fs;

	return fs && fs->ns ? fs->ns : first_ns;
}

bool mount_is_in(const struct mount *m, const struct mnt_ns *ns)
{
	bool in;

	spin_lock(&mount_lock);
	in = m && m->ns == ns;
	spin_unlock(&mount_lock);
	return in;
}

bool dentry_is_mountpoint_here(struct dentry *d)
{
	struct mnt_ns *ns = current_ns();
	bool found = false;
	struct mount *m;

	if (!__atomic_load_n(&d->mounted, __ATOMIC_ACQUIRE))
		return false;
	spin_lock(&mount_lock);
	list_for_each (m, &ns->mounts, all)
		found |= m->at == d;
	spin_unlock(&mount_lock);
	return found;
}

struct mount **mounts_of(struct mnt_ns *ns, unsigned *n)
{
	unsigned room = 16, got;
	struct mount **v = NULL, *m;

	do {
		quire_kfree(v);
		room *= 2;
		v = quire_kmalloc(room * sizeof(struct mount *), GFP_KERNEL);
		if (!v)
			return NULL;
		got = 0;
		spin_lock(&mount_lock);
		list_for_each (m, &ns->mounts, all) {
			if (got < room)
				v[got] = m;
			got++;
		}
		for (unsigned k = 0; got <= room && k < got; k++)
			mount_get(v[k]);
		spin_unlock(&mount_lock);
	} while (got > room);
	*n = got;
	return v;
}

/* ---- changes: mount_mutex held --------------------------------------------------------------- */

/* The next mount of the tree below top, parents first; null: no more. */
static struct mount *next_locked(struct mount *m, struct mount *top)
{
	if (!list_empty(&m->children))
		return list_first(&m->children, struct mount, sibling);
	while (m != top) {
		if (m->sibling.next != &m->parent->children)
			return list_entry(m->sibling.next, struct mount, sibling);
		m = m->parent;
	}
	return NULL;
}

/* The tree below top, in no namespace yet, is the namespace's. */
static void join_locked(struct mnt_ns *ns, struct mount *top)
{
	for (struct mount *m = top; m; m = next_locked(m, top)) {
		m->ns = ns;
		list_add_tail(&ns->mounts, &m->all);
		ns->nr_mounts++;
	}
}

/* at counts m already. */
static void link_locked(struct mount *m, struct mount *parent, struct dentry *at)
{
	m->parent = parent;
	m->at = at;
	dentry_get(at);
	list_add_tail(&parent->children, &m->sibling);
}

/* The mount point's reference is left to the caller. */
static struct dentry *unlink_locked(struct mount *m)
{
	struct dentry *at = m->at;

	m->parent = NULL;
	m->at = NULL;
	list_del(&m->sibling);
	if (at)
		__atomic_sub_fetch(&at->mounted, 1, __ATOMIC_RELEASE);
	return at;
}

/* Would the namespace have more mounts than it may?  (mount_max; unshare() doesn't ask.) */
static bool too_many_locked(const struct mnt_ns *ns, struct mount *top)
{
	unsigned max = __atomic_load_n(&mount_max, __ATOMIC_RELAXED), n = ns->nr_mounts;

	for (struct mount *m = top; m && n <= max; m = next_locked(m, top))
		n++;
	return n > max;
}

/* May m be put there?  If so, the dentry counts one more. */
static int take_place_locked(const struct mount *m, const struct path *to)
{
	struct dentry *d = to->dentry;
	bool gone;

	if (!to->mnt || to->mnt->ns != current_ns())
		return -EINVAL;
	if (S_ISDIR(d->inode->mode) != S_ISDIR(m->root->inode->mode))
		return -ENOTDIR;
	/* Who removes a name marks it under d_lock and looks at the count afterwards: one of
	 * the two sees the other. */
	__atomic_add_fetch(&d->mounted, 1, __ATOMIC_RELEASE);
	spin_lock(&d_lock);
	gone = d->unlinked;
	spin_unlock(&d_lock);
	if (gone)
		__atomic_sub_fetch(&d->mounted, 1, __ATOMIC_RELEASE);
	return gone ? -ENOENT : 0;
}

int mount_attach(struct mount *m, const struct path *to, bool twice)
{
	struct mnt_ns *ns = current_ns();
	struct path top = *to;
	int err;

	path_get(&top);
	mount_down(&top);
	spin_lock(&mount_lock);
	if (!twice && top.mnt && top.mnt->fs == m->fs && top.dentry == top.mnt->root)
		err = -EBUSY;
	else
		err = take_place_locked(m, &top);
	if (!err && too_many_locked(ns, m)) {
		__atomic_sub_fetch(&top.dentry->mounted, 1, __ATOMIC_RELEASE);
		err = -ENOSPC;
	}
	if (!err) {
		link_locked(m, top.mnt, top.dentry);
		join_locked(ns, m);
	}
	spin_unlock(&mount_lock);
	path_put(&top);
	return err;
}

int mount_move(struct mount *m, const struct path *to)
{
	struct dentry *old = NULL;
	struct path top = *to;
	struct mount *p;
	int err;

	path_get(&top);
	mount_down(&top);
	spin_lock(&mount_lock);
	for (p = top.mnt; p && p != m; p = p->parent)
		;
	err = p ? -ELOOP : take_place_locked(m, &top);
	if (err == -ENOTDIR)
		err = -EINVAL;
	if (!err) {
		old = unlink_locked(m);
		link_locked(m, top.mnt, top.dentry);
	}
	spin_unlock(&mount_lock);
	if (old)
		dentry_put(old);
	path_put(&top);
	return err;
}

static void detach_locked(struct mount *m, struct list *gone)
{
	struct list here = LIST_INIT(here);
	struct mount *at;

	for (at = m; at; at = next_locked(at, m)) {
		if (at->ns)
			at->ns->nr_mounts--;
		at->ns = NULL;
		list_del(&at->all);
		list_add_tail(&here, &at->all);
	}
	/* The mount point's reference waits in `at` for mounts_release(). */
	list_for_each (at, &here, all)
		at->at = unlink_locked(at);
	list_splice_tail(gone, &here);
}

void mount_detach(struct mount *m, struct list *gone)
{
	spin_lock(&mount_lock);
	detach_locked(m, gone);
	spin_unlock(&mount_lock);
}

void mounts_release(struct list *gone)
{
	while (!list_empty(gone)) {
		struct mount *m = list_first(gone, struct mount, all);
		struct dentry *at = m->at;

		list_del(&m->all);
		m->at = NULL;
		if (at)
			dentry_put(at);
		mount_put(m);
	}
}

bool mount_busy(struct mount *m, s32 refs)
{
	bool busy;

	spin_lock(&mount_lock);
	busy = !list_empty(&m->children) || __atomic_load_n(&m->refs, __ATOMIC_ACQUIRE) > refs;
	spin_unlock(&mount_lock);
	return busy;
}

/* A tree that never was in a namespace. */
static void drop_tree(struct mount *top)
{
	struct list gone = LIST_INIT(gone);

	mount_detach(top, &gone);
	mounts_release(&gone);
}

/* A copy of m alone, from root on. */
static struct mount *copy_one(struct mount *m, struct dentry *root)
{
	struct mount *copy = mount_new(m->fs, root, m->flags, m->source);

	if (copy)
		copy->unbindable = m->unbindable;
	return copy;
}

/* The copies of the mounts on m, below root, are hung into to, its copy.  The depth of the
 * recursion is that of the tree in copies at work: each level's mounts, one after another. */
struct mount *mount_copy(struct mount *m, struct dentry *root, bool deep,
			 void (*map)(void *arg, struct mount *old, struct mount *copy), void *arg)
{
	struct mount *top = copy_one(m, root), *from = m, *to = top;

	if (!top)
		return NULL;
	if (map)
		map(arg, m, top);
	while (deep) {
		/* On to the next, in from's tree as in to's. */
		struct list *next = from->children.next, *end = &from->children;
		struct mount *copy;

		for (;;) {
			struct mount *c = list_entry(next, struct mount, sibling);

			if (next == end) {
				if (from == m)
					return top;
				next = from->sibling.next;
				from = from->parent;
				end = &from->children;
				to = to->parent;
			} else if (!map && (c->unbindable ||
					    (from == m && !dentry_is_under(c->at, root)))) {
				next = next->next;
			} else {
				break;
			}
		}
		from = list_entry(next, struct mount, sibling);
		copy = copy_one(from, from->root);
		if (!copy) {
			drop_tree(top);
			return NULL;
		}
		spin_lock(&mount_lock);
		__atomic_add_fetch(&from->at->mounted, 1, __ATOMIC_RELEASE);
		link_locked(copy, to, from->at);
		spin_unlock(&mount_lock);
		if (map)
			map(arg, from, copy);
		to = copy;
	}
	return top;
}

/* ---- a mount point's name is removed ------------------------------------------------------ */

void mounts_leave(struct dentry *d)
{
	struct list gone = LIST_INIT(gone);
	struct mount *m, *on;

	if (quire_likely(!__atomic_load_n(&d->mounted, __ATOMIC_ACQUIRE)))
		return;
	mutex_lock(&mount_mutex);
	/* What is mounted on d is a child of a mount of its file system, in any namespace, also
	 * one that ends just now: so it is found and detached at once. */
	spin_lock(&mount_lock);
	list_for_each (m, &d->inode->fs->mounts, same_fs)
		while ((on = child_at_locked(m, d)) != NULL)
			detach_locked(on, &gone);
	spin_unlock(&mount_lock);
	mutex_unlock(&mount_mutex);
	mounts_release(&gone);
}

/* ---- namespaces ---------------------------------------------------------------------------------
 */

static struct mnt_ns *ns_new(void)
{
	static u64 last = 0xf0000000UL; /* as on Linux, where the network's comes first */
	struct mnt_ns *ns = quire_kmalloc(sizeof(*ns), GFP_KERNEL | GFP_ZERO);

	if (!ns)
		return NULL;
	ns->refs = 1;
	ns->ino = __atomic_add_fetch(&last, 1, __ATOMIC_RELAXED);
	list_init(&ns->mounts);
	return ns;
}

static void ns_own(struct mnt_ns *ns, struct mount *root)
{
	spin_lock(&mount_lock);
	ns->root = root;
	join_locked(ns, root);
	spin_unlock(&mount_lock);
}

void mount_first(struct mount *root)
{
	first_ns = ns_new();
	REQUIRE(first_ns);
	ns_own(first_ns, root);
}

void mnt_ns_get(struct mnt_ns *ns)
{
	__atomic_add_fetch(&ns->refs, 1, __ATOMIC_RELAXED);
}

struct mnt_ns *first_mnt_ns(void)
{
	mnt_ns_get(first_ns);
	return first_ns;
}

void mnt_ns_put(struct mnt_ns *ns)
{
	struct list gone = LIST_INIT(gone);

	if (!ns || __atomic_sub_fetch(&ns->refs, 1, __ATOMIC_ACQ_REL))
		return;
	mount_detach(ns->root, &gone);
	mounts_release(&gone);
	quire_kfree(ns);
}

/* A place in the old tree is that place in the copy; what was before goes at the end. */
struct moved {
	struct path *place[2];
	struct mount *was[2];
};

static void move_place(void *arg, struct mount *old, struct mount *copy)
{
	struct moved *v = arg;

	for (unsigned k = 0; k < 2; k++) {
		if (v->was[k] || v->place[k]->mnt != old)
			continue;
		v->was[k] = old;
		v->place[k]->mnt = copy;
		mount_get(copy);
	}
}

int mnt_ns_unshare(struct fsctx *fs)
{
	struct moved v = {.place = {fs->root, fs->cwd}};
	struct mnt_ns *ns = ns_new(), *old = fs->ns;
	struct mount *root;

	if (!ns)
		return -ENOMEM;
	mutex_lock(&mount_mutex);
	root = mount_copy(old->root, old->root->root, true, move_place, &v);
	if (root)
		ns_own(ns, root);
	mutex_unlock(&mount_mutex);
	for (unsigned k = 0; k < 2; k++)
		if (v.was[k])
			mount_put(v.was[k]);
	if (!root) {
		quire_kfree(ns);
		return -ENOMEM;
	}
	fs->ns = ns;
	mnt_ns_put(old);
	return 0;
}

void mnt_ns_root(struct mnt_ns *ns, struct path *out)
{
	spin_lock(&mount_lock);
	out->mnt = ns->root;
	out->dentry = ns->root->root;
	path_get(out);
	spin_unlock(&mount_lock);
	mount_down(out);
}
