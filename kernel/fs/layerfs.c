/* SPDX-License-Identifier: MIT */
/*
 * The layered file system: nodes, attributes and content.  layerdir.c has
 * directories; layerfs.h says what a layer is.
 *
 * Bytes of a file come from the store below the smallest size the file has had
 * here (store_size); everything else is zero until written.  Pages that were written
 * stay in the cache, since the mapping has no write_pages unless it writes through.
 * A node that differs from its store keeps a reference on itself, so that its changes
 * outlive its dentry; the table of nodes finds it again by the export's file number,
 * also through another name.
 *
 * Locking: table_lock (spin, RANK_HOST_MID + 9) guards the table, and the last
 * reference of a node goes under it.  node->io_lock is taken inside page reads.
 * Attributes and size change under inode->lock.
 *
 * It doesn't notice that others change files of a layer that isn't written through.
 */
#include "layerfs.h"

#include <quire/assert.h>
#include <quire/page.h>
#include <quire/string.h>

#include "../lib/string.h"

#define TABLE_SIZE 512
#define INO_FIRST (1UL << 36) /* numbers of files that are made here */
#define F_SEAL_SHRINK 2u
#define F_SEAL_GROW 4u

static struct spinlock table_lock = SPINLOCK_INIT(RANK_HOST_MID + 9);
static struct list *table;
static struct quire_kmem *node_cache;

static const struct inode_ops layer_ops;
static struct inode_ops through_ops; /* layer_ops with revalidate; set once */
static const struct quire_mapping_ops layer_mapping_ops, through_mapping_ops;

/* ---- the table of nodes ------------------------------------------------------------------ */

static struct list *bucket(const struct layer *l, u64 key)
{
	u64 h = (key ^ (u64)l) * 0x9e3779b97f4a7c15UL;

	return &table[h >> 55 & (TABLE_SIZE - 1)];
}

static struct node *find_locked(struct layer *l, u64 key)
{
	struct node *n;

	list_for_each (n, bucket(l, key), hash)
		if (n->key == key && n->i.fs == &l->fs)
			return n;
	return NULL;
}

static bool node_last(struct inode *i)
{
	s32 refs = __atomic_load_n(&i->refs, __ATOMIC_RELAXED);

	while (refs > 1)
		if (__atomic_compare_exchange_n(&i->refs, &refs, refs - 1, true, __ATOMIC_ACQ_REL,
						__ATOMIC_RELAXED))
			return false;
	spin_lock(&table_lock);
	refs = __atomic_sub_fetch(&i->refs, 1, __ATOMIC_ACQ_REL);
	if (!refs)
		list_del(&node_of(i)->hash);
	spin_unlock(&table_lock);
	return !refs;
}

void node_gone(struct node *n)
{
	spin_lock(&table_lock);
	list_del(&n->hash);
	spin_unlock(&table_lock);
	if (n->fid && !layer_of(&n->i)->through &&
	    __atomic_exchange_n(&n->dirty, 0, __ATOMIC_ACQ_REL))
		inode_put(&n->i); /* nobody can come back for its changes */
}

static void node_dirty(struct inode *i)
{
	struct node *n = node_of(i);

	if (!n->fid || layer_of(i)->through || !i->nlink)
		return;
	if (!__atomic_load_n(&n->dirty, __ATOMIC_RELAXED) &&
	    !__atomic_exchange_n(&n->dirty, 1, __ATOMIC_ACQ_REL))
		inode_get(i);
}

static void node_release(struct inode *i)
{
	struct node *n = node_of(i);

	while (!list_empty(&n->old_fids)) {
		struct p9_fid *f = list_first(&n->old_fids, struct p9_fid, pending);

		list_del(&f->pending);
		p9_clunk(f);
	}
	if (n->fid)
		p9_clunk(n->fid);
	if (n->wfid)
		p9_clunk(n->wfid);
	quire_kfree(n->target);
	hint_drop(n);
	if (layer_of(i)->limited && !n->uncounted)
		layer_give_inode(layer_of(i));
}

/* ---- making nodes --------------------------------------------------------------------------- */

static void set_ops(struct layer *l, struct node *n)
{
	struct inode *i = &n->i;

	i->ops = l->through ? &through_ops : &layer_ops;
	i->fops = S_ISDIR(i->mode) ? &layer_dir_ops : S_ISREG(i->mode) ? &cached_file_ops : NULL;
	if (l->client)
		quire_mapping_init(&i->mapping,
				   l->through ? &through_mapping_ops : &layer_mapping_ops, false);
	else
		i->mapping.charged = true; /* memory is its only store */
	if (l->limited)
		i->mapping.space = &l->space;
}

static struct node *node_alloc(struct layer *l, u32 mode)
{
	struct node *n = quire_kmem_alloc(node_cache, GFP_NOFAIL_OOM);

	if (!n)
		return NULL;
	inode_init(&n->i, &l->fs, mode);
	memset(&n->fid, 0, sizeof(*n) - offsetof(struct node, fid));
	mutex_init(&n->io_lock, RANK_HOST_IO);
	list_init(&n->hash);
	list_init(&n->old_fids);
	set_ops(l, n);
	return n;
}

struct node *node_new(struct layer *l, u32 mode)
{
	struct node *n = node_alloc(l, mode);

	if (n && S_ISDIR(mode))
		n->i.nlink = 2;
	if (n && l->limited && !layer_take_inode(l)) {
		n->uncounted = true;
		inode_put(&n->i);
		return NULL;
	}
	return n;
}

static void fill_attr(struct layer *l, struct node *n, const struct p9_attr *a)
{
	struct inode *i = &n->i;

	i->ino = layer_file_number(l, a->qid.path, &n->dev_index);
	i->mode = a->mode;
	i->uid = a->uid;
	i->gid = a->gid;
	i->nlink = (u32)a->nlink;
	i->rdev = a->rdev;
	i->blocks = a->blocks;
	i->atime = (struct timespec64){a->atime, a->atime_ns};
	i->mtime = (struct timespec64){a->mtime, a->mtime_ns};
	i->ctime = (struct timespec64){a->ctime, a->ctime_ns};
}

int node_from_fid(struct layer *l, struct p9_fid *fid, struct node **out)
{
	struct p9_attr a;
	int err = p9_getattr(fid, &a);

	if (err) {
		p9_clunk(fid);
		return err;
	}
	return node_from_attr(l, fid, &a, out);
}

int node_from_attr(struct layer *l, struct p9_fid *fid, const struct p9_attr *attr,
		   struct node **out)
{
	struct node *n, *other;
	struct p9_attr a = *attr;

	n = NULL;
	spin_lock(&table_lock);
	other = find_locked(l, a.qid.path);
	if (other && (other->i.mode & S_IFMT) == (a.mode & S_IFMT))
		inode_get(&other->i);
	else
		other = NULL;
	spin_unlock(&table_lock);
	if (!other) {
		n = node_alloc(l, a.mode);
		if (!n) {
			p9_clunk(fid);
			return -ENOMEM;
		}
		n->fid = fid;
		n->key = a.qid.path;
		n->i.size = a.size;
		n->store_size = l->through ? ~0UL : a.size;
		fill_attr(l, n, &a);
		spin_lock(&table_lock);
		other = find_locked(l, n->key);
		if (other && (other->i.mode & S_IFMT) == (a.mode & S_IFMT)) {
			inode_get(&other->i);
		} else {
			list_add(bucket(l, n->key), &n->hash);
			other = NULL;
		}
		spin_unlock(&table_lock);
	}
	if (other) {
		if (n)
			inode_put(&n->i); /* somebody was faster; takes fid along */
		else
			p9_clunk(fid);
		n = other;
	}
	*out = n;
	return 0;
}

/* ---- content ----------------------------------------------------------------------------------
 */

int node_open(struct node *n, bool write)
{
	struct p9_fid *f;
	int err = 0;

	if (write ? __atomic_load_n(&n->wfid, __ATOMIC_ACQUIRE) != NULL
		  : __atomic_load_n(&n->rfid, __ATOMIC_ACQUIRE) != NULL)
		return 0;
	mutex_lock(&n->io_lock);
	if (write && !n->wfid) {
		err = p9_walk(n->fid, NULL, &f, NULL);
		if (!err) {
			err = p9_lopen(f, O_RDWR);
			if (err == -EACCES)
				err = p9_lopen(f, O_WRONLY);
			if (err)
				p9_clunk(f);
			else
				__atomic_store_n(&n->wfid, f, __ATOMIC_RELEASE);
		}
	} else if (!write && !n->rfid) {
		err = p9_lopen(n->fid, O_RDONLY);
		if (!err)
			__atomic_store_n(&n->rfid, n->fid, __ATOMIC_RELEASE);
	}
	mutex_unlock(&n->io_lock);
	return err;
}

static int layer_read_pages(struct quire_mapping *m, struct page **pages, unsigned count)
{
	struct node *n = quire_container_of(m, struct node, i.mapping);
	u64 start = pages[0]->index << QUIRE_PAGE_SHIFT;
	u64 valid = __atomic_load_n(&n->store_size, __ATOMIC_ACQUIRE);
	size_t want = count * QUIRE_PAGE_SIZE, got = 0;

	if (n->fid && start < valid) {
		int err = node_open(n, false);
		s64 r;

		/* A file that may only be written still is readable through that handle. */
		if (err && !n->wfid)
			return err == -ENOMEM ? err : -EIO;
		if (valid - start < want)
			want = valid - start;
		r = p9_read_pages(err ? n->wfid : n->rfid, start, pages, count, want);
		if (r < 0)
			return r == -ENOMEM ? -ENOMEM : -EIO;
		got = (size_t)r;
		current()->io.read_bytes += got;
	}
	for (unsigned k = (unsigned)(got >> QUIRE_PAGE_SHIFT); k < count; k++) {
		size_t from = k == got >> QUIRE_PAGE_SHIFT ? got & (QUIRE_PAGE_SIZE - 1) : 0;

		memset((u8 *)page_view(pages[k]) + from, 0, QUIRE_PAGE_SIZE - from);
	}
	return 0;
}

static int through_write_pages(struct quire_mapping *m, struct page **pages, unsigned count)
{
	struct node *n = quire_container_of(m, struct node, i.mapping);
	/* What a write under way has put into the cache counts before the size says so. */
	u64 end = __atomic_load_n(&n->i.writing_end, __ATOMIC_ACQUIRE);
	u64 start = pages[0]->index << QUIRE_PAGE_SHIFT, size = inode_mapping_size(m);
	size_t bytes = count * QUIRE_PAGE_SIZE;
	int err;
	s64 r;

	size = quire_max(size, end);
	if (start >= size)
		return 0;
	if (size - start < bytes)
		bytes = size - start;
	err = node_open(n, true);
	if (err)
		return err;
	r = p9_write_pages(n->wfid, start, pages, count, bytes);
	if (r > 0)
		current()->io.write_bytes += (u64)r;
	return r < 0 ? (int)r : 0;
}

static void layer_dirtied(struct quire_mapping *m)
{
	struct inode *i = quire_container_of(m, struct inode, mapping);

	inode_touch(i, ATTR_MTIME | ATTR_CTIME);
}

static const struct quire_mapping_ops layer_mapping_ops = {
    .read_pages = layer_read_pages,
    .size = inode_mapping_size,
    .dirtied = layer_dirtied,
};
static const struct quire_mapping_ops through_mapping_ops = {
    .read_pages = layer_read_pages,
    .write_pages = through_write_pages,
    .size = inode_mapping_size,
    .dirtied = layer_dirtied,
};

/* A written-through file is opened: what is cached from before it was changed by others
 * goes.  (What was written from here counts as that, too; it is read again.) */
static void drop_outdated(struct inode *i)
{
	struct node *n = node_of(i);

	if (node_refresh(i) || i->mapping.nr_dirty)
		return;
	if (n->read_mtime.sec == i->mtime.sec && n->read_mtime.nsec == i->mtime.nsec)
		return;
	n->read_mtime = i->mtime;
	if (i->mapping.nr_pages)
		quire_cache_drop(&i->mapping, 0, ~0UL & QUIRE_PAGE_MASK);
}

static int layer_open(struct inode *i, struct file *f)
{
	if (S_ISREG(i->mode) && layer_of(i)->through) {
		drop_outdated(i);
		if (f->can_write)
			return node_open(node_of(i), true);
		node_open(node_of(i), false); /* while it has its name */
	}
	return 0;
}

static int layer_fsync(struct inode *i, bool data_only)
{
	struct node *n = node_of(i);

	if (!layer_of(i)->through || !n->fid)
		return 0;
	if (n->wfid)
		return p9_fsync(n->wfid, data_only);
	return 0;
}

int layer_sync(struct fs *fs)
{
	static u32 passes;
	u32 pass = __atomic_add_fetch(&passes, 1, __ATOMIC_RELAXED);
	struct node *n;
	int err, first = 0;

	for (unsigned b = 0; b < TABLE_SIZE; b++) {
		for (;;) {
			struct node *found = NULL;

			spin_lock(&table_lock);
			list_for_each (n, &table[b], hash) {
				if (n->i.fs != fs || n->synced == pass || !n->i.mapping.nr_dirty)
					continue;
				n->synced = pass;
				found = n;
				inode_get(&n->i);
				break;
			}
			spin_unlock(&table_lock);
			if (!found)
				break;
			err = quire_cache_flush(&found->i.mapping, 0, ~0UL & QUIRE_PAGE_MASK);
			if (!first)
				first = err;
			inode_put(&found->i);
		}
	}
	return first;
}

/* ---- attributes
 * ----------------------------------------------------------------------------------- */

int node_refresh(struct inode *i)
{
	struct layer *l = layer_of(i);
	struct node *n = node_of(i);
	struct p9_attr a;
	int err;

	if (n->fid)
		i->dev = layer_device(l, n->dev_index);
	if (!l->through) {
		if (S_ISREG(i->mode) && (!n->fid || n->dirty))
			i->blocks = n->fid ? (i->size + 511) / 512 : i->mapping.nr_pages * 8;
		return 0;
	}
	if (!n->fid || !i->nlink)
		return 0;
	err = p9_getattr(n->fid, &a);
	if (err || (a.mode & S_IFMT) != (i->mode & S_IFMT))
		return err;
	fill_attr(l, n, &a);
	if (S_ISREG(i->mode) && !i->mapping.nr_dirty && a.size != i->size &&
	    mutex_trylock(&i->lock)) {
		/* Changed by others: what is cached is not what is there. */
		__atomic_store_n(&i->size, a.size, __ATOMIC_RELEASE);
		quire_cache_truncate(&i->mapping, a.size);
		quire_cache_drop(&i->mapping, 0, ~0UL & QUIRE_PAGE_MASK);
		mutex_unlock(&i->lock);
	}
	return 0;
}

static int through_setattr(struct node *n, const struct attr *a)
{
	struct p9_setattr s = {0};
	int err;

	if (a->mask & ATTR_MODE)
		s.valid |= P9_SET_MODE;
	if (a->mask & ATTR_UID)
		s.valid |= P9_SET_UID;
	if (a->mask & ATTR_GID)
		s.valid |= P9_SET_GID;
	if (a->mask & ATTR_SIZE)
		s.valid |= P9_SET_SIZE;
	else if (a->mask & ATTR_MTIME)
		s.valid |= P9_SET_MTIME | P9_SET_MTIME_TO;
	if (a->mask & ATTR_ATIME)
		s.valid |= P9_SET_ATIME | P9_SET_ATIME_TO;
	s.mode = a->mode & 07777;
	s.uid = a->uid;
	s.gid = a->gid;
	s.size = a->size;
	s.atime = a->atime.sec;
	s.atime_ns = a->atime.nsec;
	s.mtime = a->mtime.sec;
	s.mtime_ns = a->mtime.nsec;
	if (!s.valid)
		return 0;
	err = p9_setattr(n->fid, &s);
	return err == -ENOENT && !n->i.nlink ? 0 : err;
}

static int set_size(struct node *n, u64 size)
{
	struct inode *i = &n->i;
	/* What fallocate put beyond the size stays there on tmpfs. */
	bool keep = size > i->size && i->mapping.swapbacked;

	if ((i->seals & F_SEAL_SHRINK) && size < i->size)
		return -EPERM;
	if ((i->seals & F_SEAL_GROW) && size > i->size)
		return -EPERM;
	if (!layer_of(i)->through && size < n->store_size)
		__atomic_store_n(&n->store_size, size, __ATOMIC_RELEASE);
	__atomic_store_n(&i->size, size, __ATOMIC_RELEASE);
	if (!keep)
		quire_cache_truncate(&i->mapping, size);
	return 0;
}

static int layer_setattr(struct inode *i, const struct attr *a)
{
	struct node *n = node_of(i);
	int err;

	if (layer_of(i)->through && n->fid) {
		err = through_setattr(n, a);
		if (err)
			return err;
	}
	if (a->mask & ATTR_SIZE) {
		err = set_size(n, a->size);
		if (err)
			return err;
	}
	if (a->mask & ATTR_MODE)
		i->mode = a->mode;
	if (a->mask & ATTR_UID)
		i->uid = a->uid;
	if (a->mask & ATTR_GID)
		i->gid = a->gid;
	if (a->mask & ATTR_ATIME)
		i->atime = a->atime;
	if (a->mask & ATTR_MTIME)
		i->mtime = a->mtime;
	if (a->mask & ATTR_CTIME)
		i->ctime = a->ctime;
	node_dirty(i);
	return 0;
}

static int layer_readlink(struct inode *i, char *buf, size_t max)
{
	struct node *n = node_of(i);
	char *target = __atomic_load_n(&n->target, __ATOMIC_ACQUIRE), *none = NULL;
	size_t len;
	int r;

	if (!target) {
		target = quire_kmalloc(PATH_MAX, GFP_KERNEL);
		if (!target)
			return -ENOMEM;
		r = p9_readlink(n->fid, target, PATH_MAX - 1);
		if (r >= 0) {
			target[r] = 0;
			char *small = quire_krealloc(target, (size_t)r + 1, GFP_KERNEL);

			target = small ? small : target;
		}
		if (r < 0) {
			quire_kfree(target);
			return r;
		}
		if (!__atomic_compare_exchange_n(&n->target, &none, target, false, __ATOMIC_ACQ_REL,
						 __ATOMIC_ACQUIRE)) {
			quire_kfree(target);
			target = none;
		}
	}
	len = strlen(target);
	if (len > max)
		len = max;
	memcpy(buf, target, len);
	return (int)len;
}

void node_rewalk(struct node *n, struct dentry *d)
{
	struct dentry *parent = dentry_parent(d);
	struct p9_fid *f = NULL;
	struct p9_attr a;
	int err = -ENOENT;

	mutex_lock(&parent->inode->lock);
	if (d->parent == parent && !d->unlinked)
		err = p9_walk(node_of(parent->inode)->fid, d->name, &f, NULL);
	mutex_unlock(&parent->inode->lock);
	dentry_put(parent);
	if (err)
		return;
	if (p9_getattr(f, &a) || a.qid.path != n->key) {
		p9_clunk(f);
		return;
	}
	/* Others may be using the old handle: it goes with the node. */
	mutex_lock(&n->io_lock);
	list_add(&n->old_fids, &n->fid->pending);
	__atomic_store_n(&n->fid, f, __ATOMIC_RELEASE);
	__atomic_store_n(&n->stale, false, __ATOMIC_RELEASE);
	mutex_unlock(&n->io_lock);
}

/* A written-through folder is the host's as well: names that aren't there may come. */
static bool layer_revalidate(struct dentry *d)
{
	if (!d->inode)
		return false;
	if (__atomic_load_n(&node_of(d->inode)->stale, __ATOMIC_ACQUIRE))
		node_rewalk(node_of(d->inode), d);
	return true;
}

static const struct inode_ops layer_ops = {
    .lookup = layer_lookup,
    .create = layer_create,
    .mkdir = layer_mkdir,
    .tmpfile = layer_tmpfile,
    .symlink = layer_symlink,
    .link = layer_link,
    .unlink = layer_unlink,
    .rmdir = layer_rmdir,
    .rename = layer_rename,
    .readlink = layer_readlink,
    .setattr = layer_setattr,
    .refresh = node_refresh,
    .open = layer_open,
    .release = node_release,
};

/* ---- the file system
 * ------------------------------------------------------------------------------ */

static void layer_statfs(struct fs *fs, void *out)
{
	struct layer *l = quire_container_of(fs, struct layer, fs);
	struct linux_statfs *s = out;
	struct p9_statfs p;

	if (p9_statfs(l->root_fid, &p))
		return;
	s->type = p.type;
	s->bsize = s->frsize = p.bsize;
	s->blocks = p.blocks;
	s->bfree = p.bfree;
	s->bavail = p.bavail;
	s->files = p.files;
	s->ffree = p.ffree;
	s->fsid[0] = (s32)p.fsid;
	s->fsid[1] = (s32)(p.fsid >> 32);
	s->namelen = p.namelen;
}

static void init_once(void)
{
	table = quire_kmalloc(TABLE_SIZE * sizeof(*table), GFP_KERNEL);
	REQUIRE(table);
	for (unsigned k = 0; k < TABLE_SIZE; k++)
		list_init(&table[k]);
	node_cache = quire_kmem_create("node", sizeof(struct node), 0);
	through_ops = layer_ops;
	through_ops.revalidate = layer_revalidate;
}

struct layer *layer_alloc(const char *type, unsigned devices)
{
	struct layer *l;

	if (!table)
		init_once();
	l = quire_kmalloc(sizeof(*l), GFP_KERNEL | GFP_ZERO);
	if (!l)
		return NULL;
	l->fs.type = type;
	l->fs.dev = fs_new_dev(devices);
	list_init(&l->fs.mounts);
	l->fs.next_ino = INO_FIRST;
	l->fs.inodes = node_cache;
	l->fs.inode_last = node_last;
	l->fs.inode_dirty = node_dirty;
	spin_init(&l->dev_lock, RANK_HOST_MID + 10);
	return l;
}

static struct dentry *root_dentry(struct node *n)
{
	struct dentry *d = dentry_new(NULL, "/", 1);

	if (d)
		dentry_instantiate(d, &n->i);
	return d;
}

struct dentry *layer_root(struct layer *l, u32 mode)
{
	struct node *n = node_new(l, mode);
	struct dentry *d = n ? root_dentry(n) : NULL;

	if (n && !d)
		inode_put(&n->i);
	return d;
}

struct fs *layerfs_new(const char *tag, const char *base, bool through, struct dentry **root,
		       int *err)
{
	struct layer *l = layer_alloc("9p", LAYER_DEVS);
	struct p9_fid *fid;
	struct node *n;

	*err = -ENOMEM;
	if (!l)
		return NULL;
	l->through = through;
	l->base = base;
	l->fs.magic = 0x01021997;
	l->fs.statfs = layer_statfs;
	l->fs.sync = through ? layer_sync : NULL;
	l->fs.fsync = layer_fsync;
	*err = p9_mount(tag, &l->client, &l->root_fid);
	if (!*err)
		*err = p9_walk(l->root_fid, NULL, &fid, NULL);
	if (!*err)
		*err = node_from_fid(l, fid, &n);
	if (*err) {
		quire_kfree(l);
		return NULL;
	}
	*root = root_dentry(n);
	l->fs.root = *root;
	if (*root)
		layer_note_device(l, n->dev_index, *root);
	return &l->fs;
}
