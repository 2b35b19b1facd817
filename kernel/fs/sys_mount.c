/* SPDX-License-Identifier: MIT */
/*
 * mount, umount2: the calls that change what a namespace shows.
 *
 * Nothing of it reaches the host: what is mounted is a file system in memory, the kernel's
 * own (/proc, /sys, /dev, /dev/pts), or a part of what is there already.
 *
 * Locking: mount_mutex around looking at the tree and changing it.
 *
 * What it doesn't do: shared mounts; pivot_root; sync, dirsync, mand and lazytime, which say how a
 * disk is written, are taken and mean nothing.
 */
#include "../lib/string.h"
#include "../syscall/syscall.h"
#include "mount.h"
#include "procfs.h"
#include "sys.h"

#include <quire/page.h>
#include <quire/string.h>

#define MS_MGC 0xc0ed0000u
#define MS_MGC_MASK 0xffff0000u
enum { MNT_FORCE = 1, MNT_DETACH = 2, MNT_EXPIRE = 4, UMOUNT_NOFOLLOW = 8 };

/* ---- what can be mounted ----------------------------------------------------------------------
 */

static int plain(struct fs *(*get)(struct dentry **), const char *options, struct fs **out,
		 struct dentry **root)
{
	if (*options)
		return -EINVAL;
	*out = get(root);
	return *out ? 0 : -ENOMEM;
}

/* The file system of this type, used once. */
static int fs_get(const char *type, char *options, struct fs **out, struct dentry **root)
{
	if (!strcmp(type, "tmpfs"))
		return memfs_mount(options, out, root);
	if (!strcmp(type, "proc"))
		return proc_mount(options, out, root);
	if (!strcmp(type, "sysfs"))
		return plain(sysfs, options, out, root);
	if (!strcmp(type, "devpts"))
		return plain(devpts, options, out, root);
	if (!strcmp(type, "devtmpfs"))
		return plain(devtmpfs, options, out, root);
	return -ENODEV;
}

/* ---- the kinds of mount(2)
 * ----------------------------------------------------------------------- */

static int mount_type(const struct path *to, u32 flags, const char *type, const char *source,
		      char *options)
{
	struct dentry *root;
	struct mount *m;
	struct fs *fs;
	int err;

	if (!type)
		return -EINVAL;
	err = fs_get(type, options, &fs, &root);
	if (err)
		return err;
	fs_use(fs);
	m = mount_new(fs, root, flags, source && *source ? source : "none");
	fs_unuse(fs);
	if (!m)
		return -ENOMEM;
	if ((flags & MS_RDONLY) && fs->transient)
		err = fs_set_readonly(fs, true);
	mutex_lock(&mount_mutex);
	if (!err)
		err = mount_attach(m, to, false);
	mutex_unlock(&mount_mutex);
	if (err)
		mount_put(m);
	return err;
}

/* Take a copy that was never attached apart. */
static void drop_copy(struct mount *m)
{
	struct list gone = LIST_INIT(gone);

	mount_detach(m, &gone);
	mounts_release(&gone);
}

static int mount_bind(const struct path *to, const char *source, bool deep)
{
	struct mount *copy = NULL;
	struct path from;
	int err = source && *source ? path_lookup(AT_FDCWD, source, LOOKUP_FOLLOW, &from) : -EINVAL;

	if (err)
		return err;
	mutex_lock(&mount_mutex);
	if (!from.mnt || from.mnt->unbindable || !mount_is_in(from.mnt, current_ns()) ||
	    !mount_is_in(to->mnt, current_ns()))
		err = -EINVAL;
	else
		copy = mount_copy(from.mnt, from.dentry, deep, NULL, NULL);
	if (!err)
		err = copy ? mount_attach(copy, to, true) : -ENOMEM;
	mutex_unlock(&mount_mutex);
	if (err && copy)
		drop_copy(copy);
	path_put(&from);
	return err;
}

/* Is p the root of a mount of the caller's namespace? */
static bool is_mount_here(const struct path *p)
{
	return p->mnt && p->dentry == p->mnt->root && mount_is_in(p->mnt, current_ns());
}

static int mount_moved(const struct path *to, const char *source)
{
	struct path from;
	int err = source && *source ? path_lookup(AT_FDCWD, source, LOOKUP_FOLLOW, &from) : -EINVAL;

	if (err)
		return err;
	mutex_lock(&mount_mutex);
	err = is_mount_here(&from) && from.mnt->parent ? mount_move(from.mnt, to) : -EINVAL;
	mutex_unlock(&mount_mutex);
	path_put(&from);
	return err;
}

/* keep_atime: who says nothing of access times means to change nothing there. */
static int remount(const struct path *p, u32 flags, bool keep_atime, char *options)
{
	struct mount *m = p->mnt;
	struct fs *fs = m ? m->fs : NULL;
	int err = 0;

	if (!is_mount_here(p))
		return -EINVAL;
	if (keep_atime)
		flags = (flags & ~MS_ATIME) | (m->flags & MS_ATIME);
	mutex_lock(&mount_mutex);
	if (flags & MS_BIND) {
		err = mount_set_flags(m, flags);
	} else {
		/* What can fail, or be undone, comes first. */
		bool was = fs->readonly;
		err = fs_set_readonly(fs, flags & MS_RDONLY);
		if (!err && *options)
			err = fs->remount ? fs->remount(fs, options) : -EINVAL;
		if (!err)
			err = mount_set_flags(m, flags);
		if (err)
			fs_set_readonly(fs, was);
	}
	mutex_unlock(&mount_mutex);
	return err;
}

/* Every mount is private, which is what a slave of nobody is, too. */
static int set_propagation(const struct path *p, u32 flags)
{
	u32 kind = flags & ~(MS_REC | MS_SILENT);
	struct mount **v;
	unsigned n;

	if ((kind & (kind - 1)) || (kind & ~(MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE)))
		return -EINVAL;
	if (!p->mnt || p->dentry != p->mnt->root)
		return -EINVAL;
	if (kind == MS_SLAVE)
		return 0;
	if (!(flags & MS_REC)) {
		p->mnt->unbindable = kind == MS_UNBINDABLE;
		return 0;
	}
	v = mounts_of(current_ns(), &n);
	if (!v)
		return -ENOMEM;
	mutex_lock(&mount_mutex);
	for (unsigned k = 0; k < n; k++)
		for (struct mount *m = v[k]; m; m = m->parent)
			if (m == p->mnt)
				v[k]->unbindable = kind == MS_UNBINDABLE;
	mutex_unlock(&mount_mutex);
	for (unsigned k = 0; k < n; k++)
		mount_put(v[k]);
	quire_kfree(v);
	return 0;
}

static int mount_as_asked(const struct path *to, const char *source, const char *type, u32 flags,
			  char *options)
{
	bool says_atime;

	if ((flags & MS_MGC_MASK) == MS_MGC)
		flags &= ~MS_MGC_MASK;
	says_atime = flags & (MS_ATIME | MS_STRICTATIME);
	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (!(flags & MS_NOATIME))
		flags |= MS_RELATIME;
	if (flags & MS_STRICTATIME)
		flags &= ~(MS_RELATIME | MS_NOATIME);
	if (flags & MS_REMOUNT)
		return remount(to, flags, !says_atime, options);
	if (flags & MS_BIND)
		return mount_bind(to, source, flags & MS_REC);
	if (flags & (MS_SHARED | MS_PRIVATE | MS_SLAVE | MS_UNBINDABLE))
		return set_propagation(to, flags & ~MS_RELATIME);
	if (flags & MS_MOVE)
		return mount_moved(to, source);
	return mount_type(to, flags, type, source, options);
}

/* A string, or null where the user gives none; kmalloc'ed. */
static int string_from_user(u64 ustring, char **out)
{
	int err = 0;

	*out = ustring ? name_from_user(ustring, &err) : NULL;
	return err == -ENAMETOOLONG ? -EINVAL : err;
}

/* A page of options, or what of it can be read. */
static int options_from_user(u64 udata, char **out)
{
	char *page = quire_kmalloc(QUIRE_PAGE_SIZE, GFP_KERNEL | GFP_ZERO);
	size_t got = 0;

	*out = page;
	if (!page)
		return -ENOMEM;
	if (udata)
		got = copy_from_user_partial(page, udata, QUIRE_PAGE_SIZE - 1);
	return udata && !got ? -EFAULT : 0;
}

SYSCALL5(mount, u64, usource, u64, target, u64, utype, u64, flags, u64, data)
{
	char *source = NULL, *type = NULL, *options = NULL;
	struct path to;
	int err = string_from_user(utype, &type);

	if (!err)
		err = string_from_user(usource, &source);
	if (!err)
		err = options_from_user(data, &options);
	if (!err)
		err = lookup_at(AT_FDCWD, target, LOOKUP_FOLLOW, &to);
	if (!err) {
		err = mount_as_asked(&to, source, type, (u32)flags, options);
		path_put(&to);
	}
	name_free(source);
	name_free(type);
	quire_kfree(options);
	return err;
}

/* ---- umount2 ------------------------------------------------------------------------------------
 */

/* *p is the root of a mount: detach it onto gone. */
static int unmount_locked(struct path *p, int flags, struct list *gone)
{
	struct mount *m = p->mnt;
	struct path root;
	bool is_root;

	fs_get_root(&root);
	is_root = root.mnt == m;
	path_put(&root);
	if (flags & MNT_EXPIRE) {
		if (is_root || flags & (MNT_FORCE | MNT_DETACH))
			return -EINVAL;
		if (mount_busy(m, 2))
			return -EBUSY;
		if (!__atomic_exchange_n(&m->expiring, true, __ATOMIC_RELAXED))
			return -EAGAIN;
	}
	/* The root isn't unmounted, only made safe. */
	if (is_root && !(flags & MNT_DETACH))
		return fs_set_readonly(m->fs, true);
	if (!m->parent)
		return -EINVAL;
	if (!(flags & MNT_DETACH) && mount_busy(m, 2))
		return -EBUSY;
	mount_detach(m, gone);
	return 0;
}

SYSCALL2(umount2, u64, target, int, flags)
{
	struct list gone = LIST_INIT(gone);
	struct path p;
	int err;

	if (flags & ~(MNT_FORCE | MNT_DETACH | MNT_EXPIRE | UMOUNT_NOFOLLOW))
		return -EINVAL;
	err = lookup_at(AT_FDCWD, target, flags & UMOUNT_NOFOLLOW ? 0 : LOOKUP_FOLLOW, &p);
	if (err)
		return err;
	mount_down(&p); /* a working directory may be covered */
	if (!capable(CAP_SYS_ADMIN)) {
		err = -EPERM;
	} else if (!is_mount_here(&p)) {
		err = -EINVAL;
	} else {
		mutex_lock(&mount_mutex);
		err = mount_is_in(p.mnt, current_ns()) ? unmount_locked(&p, flags, &gone) : -EINVAL;
		mutex_unlock(&mount_mutex);
	}
	/* To have been asked for is no use of it. */
	if (err == -EAGAIN) {
		dentry_put(p.dentry);
		mount_put_unused(p.mnt);
	} else {
		path_put(&p);
	}
	mounts_release(&gone);
	return err;
}
