/* SPDX-License-Identifier: MIT */
/*
 * Inodes: allocation, counting, permissions, times, and changes of attributes.
 *
 * Locking: counts are atomic; attributes change under inode->lock.  Readers of
 * single attributes take nothing (each is one aligned word).
 */
#include <quire/assert.h>
#include <quire/page.h>
#include <quire/string.h>

#include "dcache.h"
#include "lock.h"

static struct quire_kmem *inode_cache;

void inode_cache_init(void)
{
	inode_cache = quire_kmem_create("inode", sizeof(struct inode), 0);
}

void now_coarse(struct timespec64 *t)
{
	u64 ns = time_ns() + wall_offset_ns;

	t->sec = (s64)(ns / 1000000000);
	t->nsec = (s64)(ns % 1000000000);
}

static void mapping_dirtied(struct quire_mapping *m)
{
	struct inode *i = quire_container_of(m, struct inode, mapping);

	inode_touch(i, ATTR_MTIME | ATTR_CTIME);
}

u64 inode_mapping_size(struct quire_mapping *m)
{
	return __atomic_load_n(&quire_container_of(m, struct inode, mapping)->size,
			       __ATOMIC_RELAXED);
}

static const struct quire_mapping_ops memory_mapping_ops = {
    .size = inode_mapping_size,
    .dirtied = mapping_dirtied,
};

/* ---- file systems -------------------------------------------------------------------- */

u64 fs_new_dev(unsigned n)
{
	static u32 last = 0x20;

	return MAKEDEV(0, __atomic_fetch_add(&last, n, __ATOMIC_RELAXED) & 0xfffff);
}

static void fs_unref(struct fs *fs)
{
	if (!__atomic_sub_fetch(&fs->refs, 1, __ATOMIC_ACQ_REL))
		quire_kfree(fs);
}

void fs_use(struct fs *fs)
{
	__atomic_add_fetch(&fs->uses, 1, __ATOMIC_RELAXED);
}

void fs_unuse(struct fs *fs)
{
	if (__atomic_sub_fetch(&fs->uses, 1, __ATOMIC_ACQ_REL) || !fs->transient)
		return;
	dentry_kill_tree(fs->root);
	fs_unref(fs);
}

/* ---- allocation and counting --------------------------------------------------------- */

void inode_init(struct inode *i, struct fs *fs, u32 mode)
{
	const struct cred *c = current()->cred;

	memset(i, 0, sizeof(*i));
	i->fs = fs;
	i->refs = 1;
	i->mode = mode;
	i->uid = c ? c->fsuid : 0;
	i->gid = c ? c->fsgid : 0;
	i->nlink = 1;
	if (fs)
		i->ino = __atomic_add_fetch(&fs->next_ino, 1, __ATOMIC_RELAXED);
	if (fs && fs->transient)
		__atomic_add_fetch(&fs->refs, 1, __ATOMIC_RELAXED);
	now_coarse(&i->mtime);
	i->atime = i->ctime = i->mtime;
	mutex_init(&i->lock, RANK_HOST_OUTER + 8);
	list_init(&i->fs_list);
	list_init(&i->lru);
	quire_mapping_init(&i->mapping, &memory_mapping_ops, true);
}

struct inode *inode_new(struct fs *fs, u32 mode)
{
	struct inode *i = quire_kmem_alloc(inode_cache, GFP_NOFAIL_OOM);

	if (i)
		inode_init(i, fs, mode);
	return i;
}

void inode_get(struct inode *i)
{
	__atomic_add_fetch(&i->refs, 1, __ATOMIC_RELAXED);
}

void inode_put(struct inode *i)
{
	struct fs *fs = i->fs;

	/* A file system with a table of its inodes takes the last reference in `release`'s
	 * stead, under its table's lock: see layer_inode_gone(). */
	if (fs && fs->inode_last) {
		if (!fs->inode_last(i))
			return;
	} else if (__atomic_sub_fetch(&i->refs, 1, __ATOMIC_ACQ_REL)) {
		return;
	}
	if (i->ops && i->ops->release)
		i->ops->release(i);
	if (i->flocks)
		locks_free_inode(i);
	if (S_ISREG(i->mode))
		quire_mapping_destroy(&i->mapping);
	quire_kmem_free(fs && fs->inodes ? fs->inodes : inode_cache, i);
	if (fs && fs->transient)
		fs_unref(fs);
}

/* ---- permissions ---------------------------------------------------------------------- */

static int forbidden(struct inode *i)
{
	return i->ops && i->ops->permits && i->ops->permits(i) ? 0 : -EACCES;
}

int inode_permission(struct inode *i, unsigned mask)
{
	const struct cred *c = current()->cred;
	u32 mode = __atomic_load_n(&i->mode, __ATOMIC_RELAXED), bits = mode;

	if (!c)
		return 0;
	if ((mask & 2) && i->fs && i->fs->readonly && (S_ISREG(mode) || S_ISDIR(mode)))
		return -EROFS;
	if (i->ops && i->ops->forbids) {
		int err = i->ops->forbids(i);

		if (err)
			return err;
	}
	if (c->fsuid == i->uid)
		bits >>= 6;
	else if (c->fsgid == i->gid || in_group(c, i->gid))
		bits >>= 3;
	if ((mask & ~bits & 7) == 0)
		return 0;
	if (S_ISDIR(mode)) {
		if (c->cap_effective >> CAP_DAC_OVERRIDE & 1)
			return 0;
		if (!(mask & 2) && (c->cap_effective >> CAP_DAC_READ_SEARCH & 1))
			return 0;
		return forbidden(i);
	}
	if (mask == 4 && (c->cap_effective >> CAP_DAC_READ_SEARCH & 1))
		return 0;
	/* Execution needs at least one execute bit, whoever asks. */
	if ((!(mask & 1) || (mode & 0111)) && (c->cap_effective >> CAP_DAC_OVERRIDE & 1))
		return 0;
	return forbidden(i);
}

bool inode_owner_or_capable(struct inode *i)
{
	return current()->cred->fsuid == i->uid || capable(CAP_FOWNER);
}

int may_create(struct inode *dir)
{
	if (!dir->nlink)
		return -ENOENT; /* the directory itself was removed */
	return inode_permission(dir, 3);
}

int may_delete(struct inode *dir, struct dentry *victim, bool is_dir)
{
	struct inode *i = victim->inode;
	int err = inode_permission(dir, 3);

	if (err)
		return err;
	if ((dir->mode & 01000) && current()->cred->fsuid != i->uid &&
	    current()->cred->fsuid != dir->uid && !capable(CAP_FOWNER))
		return -EPERM;
	if (is_dir && !S_ISDIR(i->mode))
		return -ENOTDIR;
	if (!is_dir && S_ISDIR(i->mode))
		return -EISDIR;
	return dentry_is_mountpoint_here(victim) ? -EBUSY : 0;
}

int inode_deny_write(struct inode *i)
{
	s32 n = __atomic_load_n(&i->writers, __ATOMIC_RELAXED);

	do {
		if (n > 0)
			return -ETXTBSY;
	} while (!__atomic_compare_exchange_n(&i->writers, &n, n - 1, true, __ATOMIC_ACQ_REL,
					      __ATOMIC_RELAXED));
	return 0;
}

void inode_allow_write(struct inode *i)
{
	__atomic_add_fetch(&i->writers, 1, __ATOMIC_RELEASE);
}

/* ---- attributes ------------------------------------------------------------------------ */

void inode_touch(struct inode *i, u32 mask)
{
	struct timespec64 now;

	now_coarse(&now);
	if (mask & ATTR_ATIME)
		i->atime = now;
	if (mask & ATTR_MTIME)
		i->mtime = now;
	if (mask & ATTR_CTIME)
		i->ctime = now;
	if (i->fs && i->fs->inode_dirty)
		i->fs->inode_dirty(i);
}

/* The rules of chown(2) and chmod(2) about who may, and which mode bits go. */
static int check_owner_change(struct inode *i, struct attr *a)
{
	const struct cred *c = current()->cred;

	if ((a->mask & ATTR_UID) && !capable(CAP_CHOWN) && (c->fsuid != i->uid || a->uid != i->uid))
		return -EPERM;
	if ((a->mask & ATTR_GID) && !capable(CAP_CHOWN) &&
	    (c->fsuid != i->uid ||
	     !(a->gid == i->gid || a->gid == c->fsgid || in_group(c, a->gid))))
		return -EPERM;
	if ((a->mask & (ATTR_UID | ATTR_GID)) && !S_ISDIR(i->mode)) {
		u32 mode = a->mask & ATTR_MODE ? a->mode : i->mode;
		u32 drop = 04000 | (mode & 010 ? 02000 : 0);

		if (mode & drop) {
			a->mode = (mode & ~drop & 07777) | (i->mode & S_IFMT);
			a->mask |= ATTR_MODE;
			return 1; /* the mode isn't the caller's wish */
		}
	}
	return 0;
}

static int check_attr(struct inode *i, struct attr *a)
{
	const struct cred *c = current()->cred;
	int r = 0;

	if (a->mask & (ATTR_UID | ATTR_GID)) {
		r = check_owner_change(i, a);
		if (r < 0)
			return r;
	}
	if ((a->mask & ATTR_MODE) && !r) {
		if (!inode_owner_or_capable(i))
			return -EPERM;
		a->mode = (a->mode & 07777) | (i->mode & S_IFMT);
		if ((a->mode & 02000) && !S_ISDIR(i->mode) && c->fsgid != i->gid &&
		    !in_group(c, i->gid) && !capable(CAP_FSETID))
			a->mode &= ~02000u;
	}
	if ((a->mask & ATTR_SIZE) && S_ISDIR(i->mode))
		return -EISDIR;
	if ((a->mask & ATTR_SIZE) && !S_ISREG(i->mode))
		return -EINVAL;
	return 0;
}

int vfs_setattr(struct inode *i, struct attr *a)
{
	int err;

	if (i->fs && i->fs->readonly)
		return -EROFS;
	mutex_lock(&i->lock);
	err = check_attr(i, a);
	if (!err && !(a->mask & ATTR_CTIME)) {
		now_coarse(&a->ctime);
		a->mask |= ATTR_CTIME;
	}
	if (!err)
		err = i->ops && i->ops->setattr ? i->ops->setattr(i, a) : -EPERM;
	mutex_unlock(&i->lock);
	return err;
}

/* ---- stat ----------------------------------------------------------------------------------- */

struct linux_stat {
	u64 dev, ino, nlink;
	u32 mode, uid, gid, pad;
	u64 rdev;
	s64 size, blksize, blocks;
	s64 atime, atime_ns, mtime, mtime_ns, ctime, ctime_ns;
	s64 unused[3];
};
_Static_assert(sizeof(struct linux_stat) == 144, "struct stat");

void vfs_fill_stat(struct inode *i, void *out)
{
	struct linux_stat *s = out;

	if (i->ops && i->ops->refresh)
		i->ops->refresh(i);
	*s = (struct linux_stat){
	    .dev = i->dev  ? i->dev
		   : i->fs ? i->fs->dev
			   : 0,
	    .ino = i->ino,
	    .nlink = i->nlink,
	    .mode = i->mode,
	    .uid = i->uid,
	    .gid = i->gid,
	    .rdev = i->rdev,
	    .size = (s64)i->size,
	    .blksize = QUIRE_PAGE_SIZE,
	    .blocks = (s64)i->blocks,
	    .atime = i->atime.sec,
	    .atime_ns = i->atime.nsec,
	    .mtime = i->mtime.sec,
	    .mtime_ns = i->mtime.nsec,
	    .ctime = i->ctime.sec,
	    .ctime_ns = i->ctime.nsec,
	};
}
