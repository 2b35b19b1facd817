/* SPDX-License-Identifier: MIT */
/*
 * System calls that make, remove and change names: mkdir, rmdir, unlink, rename,
 * link, symlink, mknod, readlink.
 *
 * Locking: the parent's inode lock around look-up and change, then the lock of an inode
 * that gains or loses a name.  A rename takes rename_lock, then both parents (an
 * ancestor first, else by address), then the inode that is replaced.
 */
#include <quire/assert.h>
#include <quire/page.h>
#include <quire/string.h>

#include "../lib/string.h"
#include "../syscall/syscall.h"
#include "sys.h"

enum { RENAME_NOREPLACE = 1, RENAME_EXCHANGE = 2, RENAME_WHITEOUT = 4 };

/* ---- parent and last name -------------------------------------------------------------- */

/* Walk to the parent of a user's path; walk_end() it when 0 comes back. */
static int parent_from_user(struct walk *w, int dirfd, u64 upath)
{
	char *name;
	int err;

	name = name_from_user(upath, &err);
	if (!name)
		return err;
	err = *name ? walk_start(w, dirfd, name) : -ENOENT;
	if (!err) {
		err = walk_along(w, name, LOOKUP_FOLLOW, true);
		if (err)
			walk_end(w);
	}
	name_free(name);
	return err;
}

static bool plain_name(const struct walk *w)
{
	return w->last_len && !w->last_dot && !w->last_dotdot;
}

/*
 * Lock the parent and find the place for a new name: negative, or -EEXIST.  On success
 * the parent's lock is held, and the mount is being written to.
 */
static struct dentry *start_create(struct walk *w, bool is_dir, int *err) NO_TSA
{
	struct dentry *parent = w->path.dentry, *d;
	struct inode *dir = parent->inode;

	*err = -EEXIST;
	if (!plain_name(w))
		return NULL;
	mutex_lock(&dir->lock);
	d = dentry_lookup_locked(parent, w->last, w->last_len, err);
	if (d && d->inode)
		*err = -EEXIST;
	else if (d && w->last_slash && !is_dir)
		*err = -ENOENT;
	else if (d && !dir->ops->create)
		*err = -ENOENT; /* what /proc says */
	else if (d)
		*err = mount_want_write(w->path.mnt);
	if (d && !*err) {
		*err = may_create(dir);
		if (*err)
			mount_drop_write(w->path.mnt);
	}
	if (*err) {
		mutex_unlock(&dir->lock);
		if (d)
			dentry_put(d);
		return NULL;
	}
	return d;
}

static void end_create(struct walk *w, struct dentry *d) NO_TSA
{
	mutex_unlock(&w->path.dentry->inode->lock);
	mount_drop_write(w->path.mnt);
	dentry_put(d);
}

static const struct inode_ops *dir_ops(struct walk *w)
{
	return w->path.dentry->inode->ops;
}

/* ---- making ------------------------------------------------------------------------------- */

static long mkdir_at(int dirfd, u64 upath, u32 mode)
{
	struct dentry *d;
	struct walk w;
	int err = parent_from_user(&w, dirfd, upath);

	if (err)
		return err;
	d = start_create(&w, true, &err);
	if (d) {
		mode &= 01777 & ~current_umask();
		err =
		    dir_ops(&w)->mkdir ? dir_ops(&w)->mkdir(w.path.dentry->inode, d, mode) : -EPERM;
		end_create(&w, d);
	}
	walk_end(&w);
	return err;
}

SYSCALL2(mkdir, u64, path, u32, mode)
{
	return mkdir_at(AT_FDCWD, path, mode);
}

SYSCALL3(mkdirat, int, dirfd, u64, path, u32, mode)
{
	return mkdir_at(dirfd, path, mode);
}

static int mknod_walked(struct walk *w, u32 mode, u64 rdev, struct path *out)
{
	struct dentry *d;
	int err;

	d = start_create(w, false, &err);
	if (!d)
		return err;
	mode &= S_IFMT | (07777 & ~current_umask());
	if ((S_ISCHR(mode) || S_ISBLK(mode)) && !capable(CAP_MKNOD))
		err = -EPERM;
	else
		err = dir_ops(w)->create(w->path.dentry->inode, d, mode, rdev);
	if (!err && out) {
		out->mnt = w->path.mnt;
		out->dentry = d;
		path_get(out);
	}
	end_create(w, d);
	return err;
}

int vfs_mknod(int dirfd, const char *path, u32 mode, u64 rdev, struct path *out)
{
	struct walk w;
	int err = *path ? walk_start(&w, dirfd, path) : -ENOENT;

	if (err)
		return err;
	err = walk_along(&w, path, LOOKUP_FOLLOW, true);
	if (!err)
		err = mknod_walked(&w, mode, rdev, out);
	walk_end(&w);
	return err;
}

static long mknod_at(int dirfd, u64 upath, u32 mode, u64 rdev)
{
	struct walk w;
	int err;

	switch (mode & S_IFMT) {
	case 0:
		mode |= S_IFREG;
		break;
	case S_IFREG:
	case S_IFIFO:
	case S_IFSOCK:
	case S_IFCHR:
	case S_IFBLK:
		break;
	case S_IFDIR:
		return -EPERM;
	default:
		return -EINVAL;
	}
	err = parent_from_user(&w, dirfd, upath);
	if (err)
		return err;
	if (!S_ISCHR(mode) && !S_ISBLK(mode))
		rdev = 0;
	err = mknod_walked(&w, mode, rdev, NULL);
	walk_end(&w);
	return err;
}

SYSCALL3(mknod, u64, path, u32, mode, u32, dev)
{
	return mknod_at(AT_FDCWD, path, mode, dev);
}

SYSCALL4(mknodat, int, dirfd, u64, path, u32, mode, u32, dev)
{
	return mknod_at(dirfd, path, mode, dev);
}

static long symlink_at(u64 utarget, int dirfd, u64 upath)
{
	struct dentry *d;
	struct walk w;
	int err;
	char *target = name_from_user(utarget, &err);

	if (!target)
		return err;
	err = *target ? parent_from_user(&w, dirfd, upath) : -ENOENT;
	if (!err) {
		d = start_create(&w, false, &err);
		if (d) {
			err = dir_ops(&w)->symlink
				  ? dir_ops(&w)->symlink(w.path.dentry->inode, d, target)
				  : -EPERM;
			end_create(&w, d);
		}
		walk_end(&w);
	}
	name_free(target);
	return err;
}

SYSCALL2(symlink, u64, target, u64, path)
{
	return symlink_at(target, AT_FDCWD, path);
}

SYSCALL3(symlinkat, u64, target, int, dirfd, u64, path)
{
	return symlink_at(target, dirfd, path);
}

/* The file that link(2) gives one more name; referenced. */
static int link_source(int dirfd, u64 upath, int flags, struct path *out)
{
	u32 lookup = flags & AT_SYMLINK_FOLLOW ? LOOKUP_FOLLOW : 0;
	struct file *f;
	u8 first = 1;

	if (flags & AT_EMPTY_PATH) {
		if (copy_from_user(&first, upath, 1))
			return -EFAULT;
		if (!first && !capable(CAP_DAC_READ_SEARCH))
			return -ENOENT;
		if (!first) {
			f = fd_get(dirfd);
			if (!f)
				return -EBADF;
			*out = f->path;
			if (out->dentry)
				path_get(out);
			file_put(f);
			return out->mnt ? 0 : -EXDEV;
		}
	}
	return lookup_at(dirfd, upath, lookup, out);
}

/* Who doesn't own a file may link it only if it is plain and theirs to read and write. */
static bool may_link(struct inode *i)
{
	if (inode_owner_or_capable(i))
		return true;
	return S_ISREG(i->mode) && !(i->mode & 04000) && (i->mode & 02010) != 02010 &&
	       !inode_permission(i, 6);
}

static int link_walked(struct walk *w, struct path *from)
{
	struct inode *target = from->dentry->inode;
	struct dentry *d;
	int err;

	d = start_create(w, false, &err);
	if (!d)
		return err == -EACCES && !may_link(target) ? -EPERM : err;
	if (w->path.mnt != from->mnt) {
		err = -EXDEV;
	} else if (!may_link(target) || S_ISDIR(target->mode) || !dir_ops(w)->link) {
		err = -EPERM;
	} else {
		mutex_lock_nested(&target->lock);
		err = target->nlink || target->linkable
			  ? dir_ops(w)->link(w->path.dentry->inode, d, target)
			  : -ENOENT;
		if (!err)
			target->linkable = false;
		mutex_unlock(&target->lock);
	}
	end_create(w, d);
	return err;
}

static long link_at(int olddir, u64 old, int newdir, u64 new, int flags)
{
	struct path from = {0};
	struct walk w;
	int err;

	if (flags & ~(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	err = link_source(olddir, old, flags, &from);
	if (!err)
		err = parent_from_user(&w, newdir, new);
	if (!err) {
		err = link_walked(&w, &from);
		walk_end(&w);
	}
	path_put(&from);
	return err;
}

SYSCALL2(link, u64, old, u64, new)
{
	return link_at(AT_FDCWD, old, AT_FDCWD, new, 0);
}

SYSCALL5(linkat, int, olddir, u64, old, int, newdir, u64, new, int, flags)
{
	return link_at(olddir, old, newdir, new, flags);
}

/* ---- removing ---------------------------------------------------------------------------------
 */

/* *gone: the name that was removed, referenced. */
static int remove_locked(struct walk *w, bool is_dir, struct dentry **gone)
{
	struct dentry *parent = w->path.dentry, *d;
	struct inode *dir = parent->inode;
	int err;

	d = dentry_lookup_locked(parent, w->last, w->last_len, &err);
	if (!d)
		return err;
	if (!d->inode) {
		err = -ENOENT;
	} else {
		err = may_delete(dir, d, is_dir);
		if (!err && w->last_slash && !is_dir)
			err = -ENOTDIR;
	}
	if (!err) {
		mutex_lock_nested(&d->inode->lock);
		if (is_dir)
			err = dir->ops->rmdir ? dir->ops->rmdir(dir, d) : -EPERM;
		else
			err = dir->ops->unlink ? dir->ops->unlink(dir, d) : -EPERM;
		mutex_unlock(&d->inode->lock);
	}
	if (err)
		dentry_put(d);
	else
		*gone = d;
	return err;
}

static int remove_walked(struct walk *w, bool is_dir)
{
	struct inode *dir = w->path.dentry->inode;
	struct dentry *gone = NULL;
	int err = mount_want_write(w->path.mnt);

	if (err)
		return err;
	mutex_lock(&dir->lock);
	err = remove_locked(w, is_dir, &gone);
	mutex_unlock(&dir->lock);
	mount_drop_write(w->path.mnt);
	if (gone) {
		mounts_leave(gone);
		dentry_put(gone);
	}
	return err;
}

static long remove_at(int dirfd, u64 upath, bool is_dir)
{
	struct walk w;
	int err = parent_from_user(&w, dirfd, upath);

	if (err)
		return err;
	if (plain_name(&w)) {
		err = remove_walked(&w, is_dir);
	} else if (!is_dir) {
		err = -EISDIR;
	} else {
		err = w.last_dot ? -EINVAL : w.last_dotdot ? -ENOTEMPTY : -EBUSY;
	}
	walk_end(&w);
	return err;
}

SYSCALL1(unlink, u64, path)
{
	return remove_at(AT_FDCWD, path, false);
}

SYSCALL1(rmdir, u64, path)
{
	return remove_at(AT_FDCWD, path, true);
}

SYSCALL3(unlinkat, int, dirfd, u64, path, int, flags)
{
	if (flags & ~AT_REMOVEDIR)
		return -EINVAL;
	return remove_at(dirfd, path, flags & AT_REMOVEDIR);
}

/* ---- renaming
 * ------------------------------------------------------------------------------------- */

static void lock_parents(struct dentry *a, struct dentry *b) NO_TSA
{
	if (a == b) {
		mutex_lock(&a->inode->lock);
		return;
	}
	mutex_lock(&rename_lock);
	/* The ancestor first; unrelated ones by address. */
	if (dentry_is_under(a, b) || (!dentry_is_under(b, a) && b->inode < a->inode)) {
		struct dentry *t = a;

		a = b;
		b = t;
	}
	mutex_lock(&a->inode->lock);
	mutex_lock_nested(&b->inode->lock);
}

static void unlock_parents(struct dentry *a, struct dentry *b) NO_TSA
{
	mutex_unlock(&a->inode->lock);
	if (a == b)
		return;
	mutex_unlock(&b->inode->lock);
	mutex_unlock(&rename_lock);
}

/* May fd take td's place?  Both parents are locked. */
static int check_rename(struct walk *from, struct dentry *fd, struct walk *to, struct dentry *td,
			u32 flags)
{
	struct inode *fdir = from->path.dentry->inode, *tdir = to->path.dentry->inode;
	bool is_dir, exchange = flags & RENAME_EXCHANGE;
	int err;

	if (!fd->inode)
		return -ENOENT;
	is_dir = S_ISDIR(fd->inode->mode);
	if (!is_dir && (from->last_slash || (!exchange && to->last_slash)))
		return -ENOTDIR;
	if (td->inode && (flags & RENAME_NOREPLACE))
		return -EEXIST;
	if (!td->inode && exchange)
		return -ENOENT;
	if (dentry_is_under(to->path.dentry, fd))
		return -EINVAL; /* into itself */
	if (td->inode && dentry_is_under(from->path.dentry, td))
		return exchange ? -EINVAL : -ENOTEMPTY;
	err = may_delete(fdir, fd, is_dir);
	if (err)
		return err;
	if (!td->inode)
		err = may_create(tdir);
	else
		err = may_delete(tdir, td, exchange ? S_ISDIR(td->inode->mode) : is_dir);
	/* A directory that moves changes its "..". */
	if (!err && is_dir && fdir != tdir)
		err = inode_permission(fd->inode, 2);
	return err;
}

/* *gone: the name that was replaced, referenced. */
static int rename_locked(struct walk *from, struct walk *to, u32 flags, struct dentry **gone) NO_TSA
{
	struct inode *fdir = from->path.dentry->inode, *tdir = to->path.dentry->inode, *victim;
	struct dentry *fd, *td = NULL;
	int err;

	fd = dentry_lookup_locked(from->path.dentry, from->last, from->last_len, &err);
	if (fd)
		td = dentry_lookup_locked(to->path.dentry, to->last, to->last_len, &err);
	if (td)
		err = check_rename(from, fd, to, td, flags);
	victim = td && !err ? td->inode : NULL;
	/* Two names of one file: nothing happens. */
	if (td && !err && victim != fd->inode) {
		if (victim)
			mutex_lock_nested(&victim->lock);
		err = fdir->ops->rename ? fdir->ops->rename(fdir, fd, tdir, td, flags) : -EPERM;
		if (victim)
			mutex_unlock(&victim->lock);
	}
	if (fd)
		dentry_put(fd);
	if (td && !err && victim && !(flags & RENAME_EXCHANGE))
		*gone = td;
	else if (td)
		dentry_put(td);
	return err;
}

static int rename_walked(struct walk *from, struct walk *to, u32 flags)
{
	struct dentry *gone = NULL;
	int err = mount_want_write(from->path.mnt);

	if (err)
		return err;
	lock_parents(from->path.dentry, to->path.dentry);
	err = rename_locked(from, to, flags, &gone);
	unlock_parents(from->path.dentry, to->path.dentry);
	mount_drop_write(from->path.mnt);
	if (gone) {
		if (gone->unlinked)
			mounts_leave(gone);
		dentry_put(gone);
	}
	return err;
}

static long rename_at(int olddir, u64 old, int newdir, u64 new, u32 flags)
{
	struct walk from, to;
	int err;

	if ((flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE | RENAME_WHITEOUT)) ||
	    ((flags & RENAME_EXCHANGE) && (flags & (RENAME_NOREPLACE | RENAME_WHITEOUT))))
		return -EINVAL;
	if (flags & RENAME_WHITEOUT)
		return -EINVAL; /* what a file system without it says */
	err = parent_from_user(&from, olddir, old);
	if (err)
		return err;
	err = parent_from_user(&to, newdir, new);
	if (!err) {
		if (from.path.mnt != to.path.mnt) {
			err = -EXDEV;
		} else if (!plain_name(&from) || !plain_name(&to)) {
			err = !plain_name(&to) && (flags & RENAME_NOREPLACE) && plain_name(&from)
				  ? -EEXIST
				  : -EBUSY;
		} else {
			err = rename_walked(&from, &to, flags);
		}
		walk_end(&to);
	}
	walk_end(&from);
	return err;
}

SYSCALL2(rename, u64, old, u64, new)
{
	return rename_at(AT_FDCWD, old, AT_FDCWD, new, 0);
}

SYSCALL4(renameat, int, olddir, u64, old, int, newdir, u64, new)
{
	return rename_at(olddir, old, newdir, new, 0);
}

SYSCALL5(renameat2, int, olddir, u64, old, int, newdir, u64, new, u32, flags)
{
	return rename_at(olddir, old, newdir, new, flags);
}

/* ---- reading links
 * ---------------------------------------------------------------------------------- */

static long readlink_at(int dirfd, u64 upath, u64 ubuf, int size)
{
	struct inode *i;
	struct path p;
	char *buf;
	int err;
	long r;

	if (size <= 0)
		return -EINVAL;
	buf = name_from_user(upath, &err);
	if (!buf)
		return err;
	/* An empty path means the symbolic link that dirfd (O_PATH) is. */
	r = path_lookup(dirfd, buf, LOOKUP_EMPTY, &p);
	if (!r && !*buf && !S_ISLNK(p.dentry->inode->mode)) {
		path_put(&p);
		r = -ENOENT;
	}
	if (!r) {
		i = p.dentry->inode;
		r = S_ISLNK(i->mode) && i->ops->readlink ? i->ops->readlink(i, buf, PATH_MAX)
							 : -EINVAL;
		path_put(&p);
		if (r > size)
			r = size;
		if (r > 0 && copy_to_user(ubuf, buf, (size_t)r))
			r = -EFAULT;
	}
	name_free(buf);
	return r;
}

SYSCALL3(readlink, u64, path, u64, buf, int, size)
{
	return readlink_at(AT_FDCWD, path, buf, size);
}

SYSCALL4(readlinkat, int, dirfd, u64, path, u64, buf, int, size)
{
	return readlink_at(dirfd, path, buf, size);
}
