/* SPDX-License-Identifier: MIT */
/*
 * System calls about a file's attributes: the stat family, access, chmod, chown,
 * times, truncation.
 *
 * Locking: vfs_setattr() takes the inode's lock; nothing else is held.
 */
#include <quire/assert.h>
#include <quire/page.h>
#include <quire/string.h>

#include "../syscall/syscall.h"
#include "mount.h"
#include "sys.h"

#define AT_EACCESS 0x200
#define AT_STATX_SYNC 0x6000
#define STATX_BASIC 0x7ffu
#define STATX_MNT_ID 0x1000u
#define STATX_RESERVED 0x80000000u
#define UTIME_NOW 0x3fffffffL
#define UTIME_OMIT 0x3ffffffeL

int lookup_at(int dirfd, u64 upath, u32 flags, struct path *out)
{
	int err;
	char *name = name_from_user(upath, &err);

	if (!name)
		return err;
	err = path_lookup(dirfd, name, flags, out);
	name_free(name);
	return err;
}

/* The inode of p and, if asked for, its mount, which may be null; p's references go. */
static void take(struct path *p, struct inode **out, struct mount **mnt)
{
	*out = p->dentry->inode;
	inode_get(*out);
	if (mnt) {
		*mnt = p->mnt;
		p->mnt = NULL;
	}
	path_put(p);
}

/* What dirfd itself is open on; referenced. */
static int inode_of_fd(int dirfd, struct inode **out, struct mount **mnt)
{
	struct file *f;
	struct path p;

	if (dirfd == AT_FDCWD) {
		fs_get_cwd(&p);
		take(&p, out, mnt);
		return 0;
	}
	f = fd_get(dirfd);
	if (!f)
		return -EBADF;
	*out = f->inode;
	if (f->inode)
		inode_get(f->inode);
	if (mnt && f->path.mnt) {
		*mnt = f->path.mnt;
		mount_get(*mnt);
	}
	file_put(f);
	return *out ? 0 : -EBADF;
}

/* The inode that a call with AT_* flags means, and, where mnt isn't null, its mount (or null);
 * referenced. */
static int inode_at(int dirfd, u64 upath, int flags, struct inode **out, struct mount **mnt)
{
	u32 lookup = flags & AT_SYMLINK_NOFOLLOW ? 0 : LOOKUP_FOLLOW;
	struct path p;
	u8 first = 0;
	int err;

	*out = NULL;
	if (mnt)
		*mnt = NULL;
	if (flags & AT_EMPTY_PATH) {
		if (upath && copy_from_user(&first, upath, 1))
			return -EFAULT;
		if (!first)
			return inode_of_fd(dirfd, out, mnt);
	}
	err = lookup_at(dirfd, upath, lookup, &p);
	if (err)
		return err;
	take(&p, out, mnt);
	return 0;
}

/* Give back what inode_at() gave. */
static void place_put(struct inode *i, struct mount *mnt)
{
	inode_put(i);
	if (mnt)
		mount_put(mnt);
}

/* ---- stat ------------------------------------------------------------------------------ */

static long stat_out(struct inode *i, u64 ustat)
{
	u8 st[144];

	vfs_fill_stat(i, st);
	inode_put(i);
	return copy_to_user(ustat, st, sizeof(st));
}

static long stat_at(int dirfd, u64 upath, u64 ustat, int flags)
{
	struct inode *i;
	int err = inode_at(dirfd, upath, flags, &i, NULL);

	return err ? err : stat_out(i, ustat);
}

SYSCALL2(stat, u64, path, u64, st)
{
	return stat_at(AT_FDCWD, path, st, 0);
}

SYSCALL2(lstat, u64, path, u64, st)
{
	return stat_at(AT_FDCWD, path, st, AT_SYMLINK_NOFOLLOW);
}

SYSCALL2(fstat, int, fd, u64, st)
{
	return stat_at(fd, 0, st, AT_EMPTY_PATH);
}

SYSCALL4(newfstatat, int, dirfd, u64, path, u64, st, int, flags)
{
	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH))
		return -EINVAL;
	return stat_at(dirfd, path, st, flags);
}

struct linux_statx_time {
	s64 sec;
	u32 nsec;
	s32 pad;
};
struct linux_statx {
	u32 mask, blksize;
	u64 attributes;
	u32 nlink, uid, gid;
	u16 mode, pad;
	u64 ino, size, blocks, attributes_mask;
	struct linux_statx_time atime, btime, ctime, mtime;
	u32 rdev_major, rdev_minor, dev_major, dev_minor;
	u64 mnt_id;
	u32 dio_mem_align, dio_offset_align;
	u64 spare[12];
};
_Static_assert(sizeof(struct linux_statx) == 256, "struct statx");

static void fill_statx(struct inode *i, struct linux_statx *x)
{
	u64 dev;

	if (i->ops && i->ops->refresh)
		i->ops->refresh(i);
	dev = i->dev ? i->dev : i->fs ? i->fs->dev : 0;
	*x = (struct linux_statx){
	    .mask = STATX_BASIC | STATX_MNT_ID,
	    .blksize = QUIRE_PAGE_SIZE,
	    .nlink = i->nlink,
	    .uid = i->uid,
	    .gid = i->gid,
	    .mode = (u16)i->mode,
	    .ino = i->ino,
	    .size = i->size,
	    .blocks = i->blocks,
	    .atime = {i->atime.sec, (u32)i->atime.nsec, 0},
	    .ctime = {i->ctime.sec, (u32)i->ctime.nsec, 0},
	    .mtime = {i->mtime.sec, (u32)i->mtime.nsec, 0},
	    .rdev_major = MAJOR(i->rdev),
	    .rdev_minor = MINOR(i->rdev),
	    .dev_major = MAJOR(dev),
	    .dev_minor = MINOR(dev),
	};
}

SYSCALL5(statx, int, dirfd, u64, path, int, flags, u32, mask, u64, out)
{
	struct linux_statx x;
	struct mount *mnt;
	struct inode *i;
	int err;

	if ((flags & ~(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC)) ||
	    (flags & AT_STATX_SYNC) == AT_STATX_SYNC || (mask & STATX_RESERVED))
		return -EINVAL;
	err = inode_at(dirfd, path, flags, &i, &mnt);
	if (err)
		return err;
	fill_statx(i, &x);
	x.mnt_id = mnt ? mnt->id : NO_MOUNT_ID;
	place_put(i, mnt);
	return copy_to_user(out, &x, sizeof(x));
}

/* ---- access ------------------------------------------------------------------------------ */

/* access(2) asks for the real user: swap the credentials' file-system identity. */
static struct cred *real_cred(void)
{
	const struct cred *c = current()->cred;
	size_t size = sizeof(*c) + c->ngroups * sizeof(c->groups[0]);
	struct cred *r = quire_kmalloc(size, GFP_KERNEL);

	if (!r)
		return NULL;
	memcpy(r, c, size);
	r->fsuid = c->uid;
	r->fsgid = c->gid;
	r->cap_effective = c->uid ? 0 : c->cap_permitted;
	return r;
}

static int access_inode(struct inode *i, struct mount *mnt, u32 mode)
{
	bool special = !S_ISREG(i->mode) && !S_ISDIR(i->mode) && !S_ISLNK(i->mode);
	int err;

	if ((mode & 1) && S_ISREG(i->mode) && mnt && (mnt->flags & MS_NOEXEC))
		return -EACCES;
	err = inode_permission(i, mode);
	if (!err && (mode & 2) && !special && mnt && (mnt->flags & MS_RDONLY))
		err = -EROFS;
	return err;
}

static long access_at(int dirfd, u64 path, u32 mode, int flags)
{
	struct cred *real = NULL, *saved = current()->cred;
	struct mount *mnt;
	struct inode *i;
	int err;

	if ((mode & ~7u) || (flags & ~(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH)))
		return -EINVAL;
	if (!(flags & AT_EACCESS) && (saved->uid != saved->fsuid || saved->gid != saved->fsgid)) {
		real = real_cred();
		if (!real)
			return -ENOMEM;
		current()->cred = real;
	}
	err = inode_at(dirfd, path, flags, &i, &mnt);
	if (!err) {
		if (mode)
			err = access_inode(i, mnt, mode);
		place_put(i, mnt);
	}
	if (real) {
		current()->cred = saved;
		quire_kfree(real);
	}
	return err;
}

SYSCALL2(access, u64, path, u32, mode)
{
	return access_at(AT_FDCWD, path, mode, 0);
}

SYSCALL3(faccessat, int, dirfd, u64, path, u32, mode)
{
	return access_at(dirfd, path, mode, 0);
}

SYSCALL4(faccessat2, int, dirfd, u64, path, u32, mode, int, flags)
{
	return access_at(dirfd, path, mode, flags);
}

/* ---- chmod, chown ---------------------------------------------------------------------------- */

/* As vfs_setattr(), through a mount (or none). */
static int setattr_through(struct mount *mnt, struct inode *i, struct attr *a)
{
	int err = mount_want_write(mnt);

	if (err)
		return err;
	err = vfs_setattr(i, a);
	mount_drop_write(mnt);
	return err;
}

static long setattr_at(int dirfd, u64 path, int flags, struct attr *a)
{
	struct mount *mnt;
	struct inode *i;
	int err = inode_at(dirfd, path, flags, &i, &mnt);

	if (err)
		return err;
	err = setattr_through(mnt, i, a);
	place_put(i, mnt);
	return err;
}

static long setattr_fd(int fd, struct attr *a)
{
	struct file *f = fd_get(fd);
	int err = -EBADF;

	if (!f)
		return err;
	if (f->inode && !(f->flags & O_PATH))
		err = setattr_through(f->path.mnt, f->inode, a);
	file_put(f);
	return err;
}

SYSCALL2(chmod, u64, path, u32, mode)
{
	struct attr a = {.mask = ATTR_MODE, .mode = mode & 07777};

	return setattr_at(AT_FDCWD, path, 0, &a);
}

SYSCALL2(fchmod, int, fd, u32, mode)
{
	struct attr a = {.mask = ATTR_MODE, .mode = mode & 07777};

	return setattr_fd(fd, &a);
}

SYSCALL3(fchmodat, int, dirfd, u64, path, u32, mode)
{
	struct attr a = {.mask = ATTR_MODE, .mode = mode & 07777};

	return setattr_at(dirfd, path, 0, &a);
}

static struct attr owner_attr(u32 uid, u32 gid)
{
	struct attr a = {.uid = uid, .gid = gid};

	if (uid != ~0u)
		a.mask |= ATTR_UID;
	if (gid != ~0u)
		a.mask |= ATTR_GID;
	return a;
}

SYSCALL3(chown, u64, path, u32, uid, u32, gid)
{
	struct attr a = owner_attr(uid, gid);

	return setattr_at(AT_FDCWD, path, 0, &a);
}

SYSCALL3(lchown, u64, path, u32, uid, u32, gid)
{
	struct attr a = owner_attr(uid, gid);

	return setattr_at(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, &a);
}

SYSCALL3(fchown, int, fd, u32, uid, u32, gid)
{
	struct attr a = owner_attr(uid, gid);

	return setattr_fd(fd, &a);
}

SYSCALL5(fchownat, int, dirfd, u64, path, u32, uid, u32, gid, int, flags)
{
	struct attr a = owner_attr(uid, gid);

	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	return setattr_at(dirfd, path, flags, &a);
}

/* ---- truncation --------------------------------------------------------------------------------
 */

static int truncate_inode(struct inode *i, s64 size)
{
	struct attr a = {.mask = ATTR_SIZE | ATTR_MTIME, .size = (u64)size};
	u64 limit = current()->process->rlim[1].cur;

	if (size < 0)
		return -EINVAL;
	if ((u64)size > limit && (u64)size > i->size) {
		struct siginfo info = {.si_signo = 25};

		send_signal_task(current(), 25, &info); /* SIGXFSZ */
		return -EFBIG;
	}
	now_coarse(&a.mtime);
	return vfs_setattr(i, &a);
}

SYSCALL2(truncate, u64, path, s64, size)
{
	struct mount *mnt;
	struct inode *i;
	int err;

	if (size < 0)
		return -EINVAL;
	err = inode_at(AT_FDCWD, path, 0, &i, &mnt);
	if (err)
		return err;
	if (S_ISDIR(i->mode))
		err = -EISDIR;
	else if (!S_ISREG(i->mode))
		err = -EINVAL;
	else
		err = mount_want_write(mnt);
	if (err) {
		place_put(i, mnt);
		return err;
	}
	err = inode_permission(i, 2);
	if (!err && __atomic_load_n(&i->writers, __ATOMIC_RELAXED) < 0)
		err = -ETXTBSY;
	if (!err)
		err = truncate_inode(i, size);
	mount_drop_write(mnt);
	place_put(i, mnt);
	return err;
}

SYSCALL2(ftruncate, int, fd, s64, size)
{
	struct file *f;
	int err;

	if (size < 0)
		return -EINVAL;
	f = fd_get(fd);
	if (!f)
		return -EBADF;
	if (f->flags & O_PATH)
		err = -EBADF;
	else if (!f->can_write || !f->inode || !S_ISREG(f->inode->mode))
		err = -EINVAL;
	else
		err = truncate_inode(f->inode, size);
	file_put(f);
	return err;
}

/* ---- times
 * ------------------------------------------------------------------------------------------ */

struct times { /* what to set; null pointer in the calls: both to now */
	bool now_both;
	s64 sec[2], nsec[2];
};

static int set_times(struct inode *i, const struct times *t)
{
	struct timespec64 *out[2];
	struct attr a = {0};
	bool all_now = true;

	out[0] = &a.atime;
	out[1] = &a.mtime;
	for (int k = 0; k < 2; k++) {
		u32 bit = k ? ATTR_MTIME : ATTR_ATIME;

		if (t->now_both || t->nsec[k] == UTIME_NOW) {
			now_coarse(out[k]);
			a.mask |= bit;
			continue;
		}
		all_now = false;
		if (t->nsec[k] == UTIME_OMIT)
			continue;
		*out[k] = (struct timespec64){t->sec[k], t->nsec[k]};
		a.mask |= bit;
	}
	if (!a.mask)
		return 0;
	if (!inode_owner_or_capable(i)) {
		if (!all_now)
			return -EPERM;
		if (inode_permission(i, 2))
			return -EACCES;
	}
	return vfs_setattr(i, &a);
}

static long utimes_at(int dirfd, u64 path, const struct times *t, int flags)
{
	struct mount *mnt;
	struct inode *i;
	int err;

	if (!path && dirfd != AT_FDCWD) {
		if (flags)
			return -EINVAL;
		flags = AT_EMPTY_PATH;
	}
	err = inode_at(dirfd, path, flags, &i, &mnt);
	if (err)
		return err;
	err = mount_want_write(mnt);
	if (!err) {
		err = set_times(i, t);
		mount_drop_write(mnt);
	}
	place_put(i, mnt);
	return err;
}

SYSCALL4(utimensat, int, dirfd, u64, path, u64, utimes, int, flags)
{
	struct times t = {.now_both = !utimes};
	s64 v[4];

	if (flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	if (utimes) {
		if (copy_from_user(v, utimes, sizeof(v)))
			return -EFAULT;
		for (int k = 0; k < 2; k++) {
			t.sec[k] = v[2 * k];
			t.nsec[k] = v[2 * k + 1];
			if (t.nsec[k] != UTIME_NOW && t.nsec[k] != UTIME_OMIT &&
			    (t.nsec[k] < 0 || t.nsec[k] > 999999999))
				return -EINVAL;
		}
		if (t.nsec[0] == UTIME_OMIT && t.nsec[1] == UTIME_OMIT)
			return 0;
	}
	return utimes_at(dirfd, path, &t, flags);
}

static long utimes_micro(int dirfd, u64 path, u64 utimes)
{
	struct times t = {.now_both = !utimes};
	s64 v[4];

	if (utimes) {
		if (copy_from_user(v, utimes, sizeof(v)))
			return -EFAULT;
		for (int k = 0; k < 2; k++) {
			if (v[2 * k + 1] < 0 || v[2 * k + 1] > 999999)
				return -EINVAL;
			t.sec[k] = v[2 * k];
			t.nsec[k] = v[2 * k + 1] * 1000;
		}
	}
	return utimes_at(dirfd, path, &t, 0);
}

SYSCALL2(utimes, u64, path, u64, times)
{
	return utimes_micro(AT_FDCWD, path, times);
}

SYSCALL3(futimesat, int, dirfd, u64, path, u64, times)
{
	return utimes_micro(dirfd, path, times);
}

SYSCALL2(utime, u64, path, u64, times)
{
	struct times t = {.now_both = !times};
	s64 v[2];

	if (times) {
		if (copy_from_user(v, times, sizeof(v)))
			return -EFAULT;
		t.sec[0] = v[0];
		t.sec[1] = v[1];
	}
	return utimes_at(AT_FDCWD, path, &t, 0);
}
