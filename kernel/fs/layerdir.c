/* SPDX-License-Identifier: MIT */
/*
 * Directories of the layered file system: look-up, changes of names, listing.
 *
 * A name that is made, moved or replaced here is pinned in the cache of dentries; one
 * that the store has and that was removed here leaves a pinned negative dentry. A
 * listing is the store's, without names that are pinned here, followed by the pinned ones
 * that exist, in the order in which they were made.
 *
 * Where the layer writes through, the store is changed first; then names are the
 * store's and nothing is pinned.
 *
 * Locking: the caller holds the directory's inode lock (both directories' and
 * rename_lock for a rename) and the lock of an inode that loses a name.
 */
#include "layerfs.h"

#include <quire/assert.h>
#include <quire/page.h>
#include <quire/string.h>

#include "../lib/string.h"

#define LIST_BYTES 16384u
#define OWN_TAG 0x7ffe000000000000L /* positions of names that are only here: tag | seq */
#define OWN_MASK 0x7fff000000000000L
#define RENAME_EXCHANGE 2u

/* What a look-up in the store found goes to d. */
static int found(struct inode *dir, struct dentry *d, struct p9_lookup *v)
{
	struct node *n;
	int err = node_from_attr(layer_of(dir), v->fid, &v->attr, &n);

	if (err)
		return err;
	layer_note_device(layer_of(dir), n->dev_index, d);
	d->in_store = true;
	dentry_instantiate(d, &n->i);
	return 0;
}

/* Put a name that wasn't asked for into the cache. */
static void found_early(struct inode *dir, struct dentry *parent, struct p9_lookup *v)
{
	struct dentry *d = dentry_new(parent, v->name, strlen(v->name));

	if (!d) {
		p9_clunk(v->fid);
		return;
	}
	if (found(dir, d, v)) {
		dentry_drop_new(d);
		return;
	}
	dentry_add(d);
	dentry_put(d);
}

/* Names that are cached already needn't be looked up. */
static unsigned drop_cached(struct dentry *parent, char (*names)[NAME_MAX + 1], unsigned n)
{
	unsigned kept = 0;

	for (unsigned k = 0; k < n; k++) {
		struct dentry *d = dentry_cached(parent, names[k], strlen(names[k]));

		if (d)
			dentry_put(d);
		else if (kept++ != k)
			memcpy(names[kept - 1], names[k], sizeof(names[k]));
	}
	return kept;
}

struct batch { /* of a look-up: too large for a kernel stack */
	struct p9_lookup v[P9_BATCH];
	char names[P9_BATCH - 1][NAME_MAX + 1];
};

int layer_lookup(struct inode *dir, struct dentry *d)
{
	struct node *dn = node_of(dir);
	struct batch *b;
	unsigned n;
	int err;

	if (!dn->fid)
		return 0;
	b = quire_kmalloc(sizeof(*b), GFP_NOFAIL_OOM);
	if (!b)
		return -ENOMEM;
	n = hint_next(dn, d->name, d->len, b->names, P9_BATCH - 1);
	n = drop_cached(d->parent, b->names, n);
	b->v[0].name = d->name;
	for (unsigned k = 0; k < n; k++)
		b->v[k + 1].name = b->names[k];
	p9_lookup_many(dn->fid, b->v, n + 1);
	err = b->v[0].err;
	if (!err)
		err = found(dir, d, &b->v[0]);
	for (unsigned k = 1; k <= n; k++)
		if (!b->v[k].err)
			found_early(dir, d->parent, &b->v[k]);
	quire_kfree(b);
	return err == -ENOENT ? 0 : err;
}

/* ---- making names ---------------------------------------------------------------------- */

static void dir_changed(struct inode *dir)
{
	inode_touch(dir, ATTR_MTIME | ATTR_CTIME);
}

static u32 new_gid(struct inode *dir)
{
	const struct cred *c = current()->cred;

	return dir->mode & 02000 ? dir->gid : c ? c->fsgid : 0;
}

/* The file `name` has just been made in the store: its node goes to d. */
static int adopt(struct inode *dir, struct dentry *d)
{
	struct p9_fid *fid;
	struct node *n;
	int err = p9_walk(node_of(dir)->fid, d->name, &fid, NULL);

	if (!err)
		err = node_from_fid(layer_of(dir), fid, &n);
	if (err)
		return err;
	d->in_store = true;
	dentry_instantiate(d, &n->i);
	return 0;
}

static struct node *new_here(struct inode *dir, u32 mode)
{
	struct node *n = node_new(layer_of(dir), mode);

	if (!n)
		return NULL;
	n->i.gid = new_gid(dir);
	if ((dir->mode & 02000) && S_ISDIR(mode))
		n->i.mode |= 02000;
	return n;
}

/* Why there is none. */
static int no_node(struct inode *dir)
{
	return layer_is_full(layer_of(dir)) ? -ENOSPC : -ENOMEM;
}

static void born(struct inode *dir, struct dentry *d, struct node *n)
{
	dentry_instantiate(d, &n->i);
	dentry_pin(d);
	dir_changed(dir);
}

static int create_through(struct inode *dir, struct dentry *d, u32 mode)
{
	struct p9_fid *dfid = node_of(dir)->fid, *opened;
	struct node *n;
	int err;

	err = p9_walk(dfid, NULL, &opened, NULL);
	if (err)
		return err;
	err = p9_lcreate(opened, d->name, O_RDWR | O_EXCL, mode & 07777, new_gid(dir));
	if (!err)
		err = adopt(dir, d);
	if (err) {
		p9_clunk(opened);
		return err;
	}
	/* Keep the handle: the mode may not allow to open the file once more. */
	n = node_of(d->inode);
	if (n->wfid)
		p9_clunk(opened);
	else
		__atomic_store_n(&n->wfid, opened, __ATOMIC_RELEASE);
	return 0;
}

int layer_create(struct inode *dir, struct dentry *d, u32 mode, u64 rdev)
{
	struct node *n;

	/* A pipe or a socket connects programs in here: it isn't the host's business. */
	if (layer_of(dir)->through && S_ISREG(mode))
		return create_through(dir, d, mode);
	n = new_here(dir, mode);
	if (!n)
		return no_node(dir);
	n->i.rdev = rdev;
	born(dir, d, n);
	return 0;
}

int layer_tmpfile(struct inode *dir, u32 mode, struct inode **out)
{
	struct node *n;

	if (layer_of(dir)->through)
		return -EOPNOTSUPP;
	n = new_here(dir, mode);
	if (!n)
		return no_node(dir);
	n->i.nlink = 0;
	*out = &n->i;
	return 0;
}

int layer_mkdir(struct inode *dir, struct dentry *d, u32 mode)
{
	struct node *n;
	int err;

	if (layer_of(dir)->through) {
		err = p9_mkdir(node_of(dir)->fid, d->name, mode & 07777, new_gid(dir));
		return err ? err : adopt(dir, d);
	}
	n = new_here(dir, S_IFDIR | (mode & 07777));
	if (!n)
		return no_node(dir);
	n->i.size = QUIRE_PAGE_SIZE;
	dir->nlink++;
	born(dir, d, n);
	return 0;
}

int layer_symlink(struct inode *dir, struct dentry *d, const char *target)
{
	size_t len = strlen(target);
	struct node *n;
	int err;

	if (layer_of(dir)->through) {
		err = p9_symlink(node_of(dir)->fid, d->name, target, new_gid(dir));
		return err ? err : adopt(dir, d);
	}
	n = new_here(dir, S_IFLNK | 0777);
	if (!n)
		return no_node(dir);
	n->target = quire_kmalloc(len + 1, GFP_KERNEL);
	if (!n->target) {
		inode_put(&n->i);
		return -ENOMEM;
	}
	memcpy(n->target, target, len + 1);
	n->i.size = len;
	born(dir, d, n);
	return 0;
}

int layer_link(struct inode *dir, struct dentry *d, struct inode *target)
{
	int err;

	if (layer_of(dir)->through) {
		if (!node_of(target)->fid)
			return -EPERM;
		err = p9_link(node_of(dir)->fid, node_of(target)->fid, d->name);
		if (err)
			return err;
		d->in_store = true;
	}
	/* Each further name counts as an inode: a name takes memory, too. */
	if (layer_of(dir)->limited && target->nlink && !layer_take_inode(layer_of(dir)))
		return -ENOSPC;
	inode_get(target);
	dentry_instantiate(d, target);
	target->nlink++;
	inode_touch(target, ATTR_CTIME);
	if (!layer_of(dir)->through)
		dentry_pin(d);
	dir_changed(dir);
	return 0;
}

/* ---- removing names ------------------------------------------------------------------------ */

/* What hides the store's entry once d is away: a pinned negative dentry.  *out is null
 * when there is nothing to hide. */
static int prepare_whiteout(struct inode *dir, struct dentry *d, struct dentry **out)
{
	*out = NULL;
	if (!d->in_store || layer_of(dir)->through)
		return 0;
	*out = dentry_new(d->parent, d->name, d->len);
	if (!*out)
		return -ENOMEM;
	(*out)->in_store = true;
	return 0;
}

static void commit_whiteout(struct dentry *w)
{
	if (!w)
		return;
	dentry_add(w);
	dentry_pin(w);
	dentry_put(w);
}

static void lost_name(struct inode *i, u32 names)
{
	if (layer_of(i)->limited && i->nlink > 1 && !S_ISDIR(i->mode))
		layer_give_inode(layer_of(i));
	i->nlink = i->nlink > names ? i->nlink - names : 0;
	inode_touch(i, ATTR_CTIME);
	if (!i->nlink)
		node_gone(node_of(i));
	else if (layer_of(i)->through)
		__atomic_store_n(&node_of(i)->stale, true, __ATOMIC_RELEASE);
}

/* Is a name of i the store's to change? */
static bool stored(struct inode *dir, struct inode *i)
{
	return layer_of(dir)->through && node_of(i)->fid;
}

static int remove(struct inode *dir, struct dentry *d, bool is_dir)
{
	struct inode *i = d->inode;
	struct dentry *whiteout;
	int err;

	if (stored(dir, i)) {
		/* Who has it open must be able to go on without the name. */
		if (S_ISREG(i->mode) && __atomic_load_n(&i->refs, __ATOMIC_RELAXED) > 1)
			node_open(node_of(i), false);
		err = p9_unlinkat(node_of(dir)->fid, d->name, is_dir);
		if (err)
			return err;
	}
	err = prepare_whiteout(dir, d, &whiteout);
	if (err)
		return err;
	dentry_drop(d);
	commit_whiteout(whiteout);
	if (is_dir && dir->nlink > 2)
		dir->nlink--;
	lost_name(i, is_dir ? i->nlink : 1);
	dir_changed(dir);
	return 0;
}

int layer_unlink(struct inode *dir, struct dentry *d)
{
	return remove(dir, d, false);
}

bool layer_next_entry(const u8 *buf, int len, int *at, struct entry *e)
{
	const u8 *p = buf + *at;

	if (len - *at < 24)
		return false;
	memcpy(&e->path, p + 5, 8);
	memcpy(&e->next, p + 13, 8);
	e->type = p[21];
	memcpy(&e->len, p + 22, 2);
	if (len - *at - 24 < e->len || e->len > NAME_MAX)
		return false;
	e->name = (const char *)p + 24;
	*at += 24 + e->len;
	return true;
}

static bool is_dots(const struct entry *e)
{
	return e->name[0] == '.' && (e->len == 1 || (e->len == 2 && e->name[1] == '.'));
}

static int open_listing(struct node *n, struct p9_fid **out)
{
	int err = p9_walk(n->fid, NULL, out, NULL);

	if (err)
		return err;
	err = p9_lopen(*out, O_RDONLY | O_DIRECTORY);
	if (err)
		p9_clunk(*out);
	return err;
}

static bool has_positive_child(struct dentry *d, bool only_pinned)
{
	struct dentry *c;
	bool any = false;

	spin_lock(&d_lock);
	list_for_each (c, &d->children, sibling) {
		if (c->inode && (c->pinned || !only_pinned)) {
			any = true;
			break;
		}
	}
	spin_unlock(&d_lock);
	return any;
}

/* Does the store have a name that isn't hidden here?  0 no, 1 yes, or -errno. */
static int store_has_names(struct dentry *d)
{
	struct p9_fid *list;
	s64 at = 0;
	u8 *buf;
	int err = open_listing(node_of(d->inode), &list), n = 0, pos;

	if (err)
		return err;
	buf = quire_kmalloc(LIST_BYTES, GFP_KERNEL);
	err = buf ? 0 : -ENOMEM;
	while (!err && (n = p9_readdir(list, (u64)at, buf, LIST_BYTES)) > 0) {
		struct entry e;

		for (pos = 0; !err && layer_next_entry(buf, n, &pos, &e); at = e.next) {
			struct dentry *c;

			if (is_dots(&e))
				continue;
			c = dentry_cached(d, e.name, e.len);
			if (!c || !c->pinned || c->inode)
				err = 1;
			if (c)
				dentry_put(c);
		}
	}
	if (n < 0 && !err)
		err = n;
	quire_kfree(buf);
	p9_clunk(list);
	return err;
}

static int check_empty(struct dentry *d)
{
	int r;

	/* Where changes are written through, the store checks its own names. */
	if (has_positive_child(d, layer_of(d->inode)->through))
		return -ENOTEMPTY;
	if (!node_of(d->inode)->fid || layer_of(d->inode)->through)
		return 0;
	r = store_has_names(d);
	return r > 0 ? -ENOTEMPTY : r;
}

int layer_rmdir(struct inode *dir, struct dentry *d)
{
	int err = check_empty(d);

	return err ? err : remove(dir, d, true);
}

/* ---- renaming ---------------------------------------------------------------------------------
 */

static char *copy_name(const struct dentry *d)
{
	char *s = quire_kmalloc(d->len + 1UL, GFP_KERNEL);

	if (s)
		memcpy(s, d->name, d->len + 1UL);
	return s;
}

static int exchange(struct inode *from, struct dentry *fd, struct inode *to, struct dentry *td)
{
	char *fname = copy_name(fd), *tname = copy_name(td);
	struct dentry *fparent = fd->parent, *tparent = td->parent;
	bool was = fd->in_store;
	size_t flen = fd->len, tlen = td->len;

	/* The protocol can't do it in one step. */
	if (layer_of(from)->through || !fname || !tname) {
		quire_kfree(fname);
		quire_kfree(tname);
		return layer_of(from)->through ? -EINVAL : -ENOMEM;
	}
	dentry_get(fparent);
	dentry_get(tparent);
	dentry_move(fd, tparent, tname, tlen);
	dentry_move(td, fparent, fname, flen);
	dentry_put(fparent);
	dentry_put(tparent);
	fd->in_store = td->in_store;
	td->in_store = was;
	dentry_pin(fd);
	dentry_pin(td);
	if (from != to && S_ISDIR(fd->inode->mode) != S_ISDIR(td->inode->mode)) {
		struct inode *gains = S_ISDIR(fd->inode->mode) ? to : from;
		struct inode *loses = gains == to ? from : to;

		gains->nlink++;
		loses->nlink--;
	}
	inode_touch(fd->inode, ATTR_CTIME);
	inode_touch(td->inode, ATTR_CTIME);
	dir_changed(from);
	dir_changed(to);
	return 0;
}

/* The store's part of a rename.  A name that is only here takes a stored one's place by
 * removing that. */
static int rename_stored(struct inode *from, struct dentry *fd, struct inode *to, struct dentry *td)
{
	struct inode *victim = td->inode;

	if (!layer_of(from)->through)
		return 0;
	if (victim && S_ISREG(victim->mode) && node_of(victim)->fid)
		node_open(node_of(victim), false);
	if (stored(from, fd->inode))
		return p9_renameat(node_of(from)->fid, fd->name, node_of(to)->fid, td->name);
	if (victim && stored(to, victim))
		return p9_unlinkat(node_of(to)->fid, td->name, S_ISDIR(victim->mode));
	return 0;
}

int layer_rename(struct inode *from, struct dentry *fd, struct inode *to, struct dentry *td,
		 u32 flags)
{
	bool in_store = stored(from, fd->inode), is_dir = S_ISDIR(fd->inode->mode);
	struct inode *victim = td->inode;
	struct dentry *whiteout = NULL;
	char *name;
	int err = 0;

	if (flags & RENAME_EXCHANGE)
		return exchange(from, fd, to, td);
	if (victim && S_ISDIR(victim->mode))
		err = check_empty(td);
	if (err)
		return err;
	name = copy_name(td);
	err = name ? prepare_whiteout(from, fd, &whiteout) : -ENOMEM;
	if (!err)
		err = rename_stored(from, fd, to, td);
	if (err) {
		quire_kfree(name);
		if (whiteout)
			dentry_drop_new(whiteout);
		return err;
	}
	dentry_drop(td);
	dentry_move(fd, td->parent, name, td->len);
	fd->in_store = in_store || (td->in_store && !layer_of(to)->through);
	if (!in_store)
		dentry_pin(fd);
	commit_whiteout(whiteout);
	if (is_dir && from->nlink > 2)
		from->nlink--;
	if (is_dir && !victim)
		to->nlink++;
	if (victim)
		lost_name(victim, S_ISDIR(victim->mode) ? victim->nlink : 1);
	inode_touch(fd->inode, ATTR_CTIME);
	dir_changed(from);
	if (to != from)
		dir_changed(to);
	return 0;
}

/* ---- listing -----------------------------------------------------------------------------------
 */

struct listing { /* of one open directory; guarded by the inode's lock */
	struct p9_fid *fid;
	u8 *buf;
	int len, at;
	bool own;   /* the store's names are through */
	u64 seq;    /* of the last own name given */
	s64 store;  /* where the next batch begins */
	s64 expect; /* f->pos where the last call stopped; another: seek */
};

static int listing_start(struct file *f)
{
	struct listing *l;
	int err;

	if (f->private)
		return 0;
	l = quire_kmalloc(sizeof(*l), GFP_KERNEL | GFP_ZERO);
	if (!l)
		return -ENOMEM;
	if (node_of(f->inode)->fid) {
		l->buf = quire_kmalloc(LIST_BYTES, GFP_KERNEL);
		err = l->buf ? open_listing(node_of(f->inode), &l->fid) : -ENOMEM;
		if (err) {
			quire_kfree(l->buf);
			quire_kfree(l);
			return err;
		}
	}
	f->private = l;
	return 0;
}

static void listing_seek(struct listing *l, s64 pos)
{
	l->len = l->at = 0;
	l->own = (pos & OWN_MASK) == OWN_TAG;
	l->seq = l->own ? (u64)(pos & ~OWN_MASK) : 0;
	l->store = l->own ? 0 : pos;
	l->expect = pos;
}

static u64 parent_number(struct file *f)
{
	struct dentry *p = dentry_parent(f->path.dentry);
	u64 ino = p->inode ? p->inode->ino : 0;

	dentry_put(p);
	return ino;
}

static bool emit_one(struct file *f, struct listing *l, struct dir_emit *e, const char *name,
		     size_t len, u64 ino, u8 type, s64 next)
{
	if (!e->emit(e, name, len, ino, type, next))
		return false;
	f->pos = (u64)next;
	l->expect = next;
	return true;
}

/* "." and ".." of a directory that no store lists. */
static bool list_dots(struct file *f, struct listing *l, struct dir_emit *e)
{
	if (f->pos == 0 && !emit_one(f, l, e, ".", 1, f->inode->ino, 4, 1))
		return false;
	return f->pos != 1 || emit_one(f, l, e, "..", 2, parent_number(f), 4, OWN_TAG);
}

/* 1: all of the store's names are given; 0: the caller's buffer is full; or -errno. */
static int list_store(struct file *f, struct listing *l, struct dir_emit *e)
{
	struct layer *layer = layer_of(f->inode);

	for (;;) {
		struct entry n;
		int before = l->at;

		if (!layer_next_entry(l->buf, l->len, &l->at, &n)) {
			l->len = p9_readdir(l->fid, (u64)l->store, l->buf, LIST_BYTES);
			l->at = 0;
			if (l->len <= 0)
				return l->len < 0 ? l->len : 1;
			hint_add(node_of(f->inode), l->buf, (u32)l->len, !l->store);
			continue;
		}
		struct dentry *c = dentry_cached(f->path.dentry, n.name, n.len);
		bool hidden = c && c->pinned;
		u8 dev;
		u64 ino = layer_file_number(layer, n.path, &dev);

		if (c)
			dentry_put(c);
		if (is_dots(&n))
			ino = n.len == 1 ? f->inode->ino : parent_number(f);
		if (!hidden && !emit_one(f, l, e, n.name, n.len, ino, n.type, n.next)) {
			l->at = before;
			return 0;
		}
		l->store = n.next;
	}
}

/* The first pinned, existing child behind seq, looking from `after` on; referenced. */
static struct dentry *next_own(struct dentry *dir, u64 seq, struct dentry *after)
{
	struct dentry *found = NULL;
	struct list *at;

	spin_lock(&d_lock);
	at = after && after->parent == dir && !list_empty(&after->sibling) ? &after->sibling
									   : &dir->children;
	for (at = at->next; at != &dir->children; at = at->next) {
		struct dentry *d = list_entry(at, struct dentry, sibling);

		if (d->pinned && d->inode && d->seq > seq) {
			dentry_get(d);
			found = d;
			break;
		}
	}
	spin_unlock(&d_lock);
	return found;
}

static void list_own(struct file *f, struct listing *l, struct dir_emit *e)
{
	struct dentry *dir = f->path.dentry, *last = NULL, *d;

	while ((d = next_own(dir, l->seq, last))) {
		bool ok = emit_one(f, l, e, d->name, d->len, d->inode->ino,
				   (u8)((d->inode->mode & S_IFMT) >> 12), OWN_TAG | (s64)d->seq);

		if (last)
			dentry_put(last);
		last = d;
		if (!ok)
			break;
		l->seq = d->seq;
	}
	if (last)
		dentry_put(last);
}

static int layer_readdir(struct file *f, struct dir_emit *e)
{
	struct inode *i = f->inode;
	struct listing *l;
	int r;

	mutex_lock(&i->lock);
	r = listing_start(f);
	if (r)
		goto out;
	l = f->private;
	if (l->expect != (s64)f->pos || f->pos == 0)
		listing_seek(l, (s64)f->pos);
	if (!l->own && l->fid) {
		r = list_store(f, l, e);
		if (r <= 0)
			goto out;
		l->own = true;
		l->seq = 0;
	} else if (!l->fid && !list_dots(f, l, e)) {
		goto out;
	}
	list_own(f, l, e);
	r = 0;
out:
	mutex_unlock(&i->lock);
	return r;
}

static void layer_dir_release(struct file *f)
{
	struct listing *l = f->private;

	if (!l)
		return;
	if (l->fid)
		p9_clunk(l->fid);
	quire_kfree(l->buf);
	quire_kfree(l);
}

static int layer_dir_fsync(struct file *f, bool data_only)
{
	(void)f, (void)data_only;
	return 0; /* names are written through at once, or not at all */
}

const struct file_ops layer_dir_ops = {
    .readdir = layer_readdir,
    .seek = file_seek,
    .release = layer_dir_release,
    .fsync = layer_dir_fsync,
};
