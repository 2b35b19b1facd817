/* SPDX-License-Identifier: MIT */
/*
 * System calls that open files, list directories, and change where a process is.
 *
 * Locking: fsctx->lock for the working directory and root.
 */
#include <quire/assert.h>
#include <quire/page.h>
#include <quire/string.h>

#include "../syscall/syscall.h"
#include "sys.h"

/* ---- open -------------------------------------------------------------------------------- */

#define PATH_FLAGS (O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

static long open_at(int dirfd, u64 upath, u32 flags, u32 mode)
{
	struct file *f;
	char *name;
	int err, fd;

	if (flags & O_PATH)
		flags &= PATH_FLAGS;
	/* O_TMPFILE has O_DIRECTORY in it, so that kernels that don't know it refuse it. */
	if ((flags & O_TMPFILE & ~O_DIRECTORY) &&
	    ((flags & (O_TMPFILE | O_CREAT)) != O_TMPFILE || (flags & O_ACCMODE) == O_RDONLY))
		return -EINVAL;
	name = name_from_user(upath, &err);
	if (!name)
		return err;
	err = file_open(dirfd, name, flags, mode, &f);
	name_free(name);
	if (err)
		return err;
	fd = fd_install(f, flags & O_CLOEXEC, 0);
	if (fd < 0)
		file_put(f);
	return fd;
}

SYSCALL3(open, u64, path, u32, flags, u32, mode)
{
	return open_at(AT_FDCWD, path, flags, mode);
}

SYSCALL4(openat, int, dirfd, u64, path, u32, flags, u32, mode)
{
	return open_at(dirfd, path, flags, mode);
}

SYSCALL2(creat, u64, path, u32, mode)
{
	return open_at(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

/* RESOLVE_* restrictions are not there: a program that asks for one must not get less. */
SYSCALL4(openat2, int, dirfd, u64, path, u64, uhow, u64, size)
{
	struct {
		u64 flags, mode, resolve;
	} how;
	u64 more;

	if (size < sizeof(how))
		return -EINVAL;
	if (size > QUIRE_PAGE_SIZE)
		return -E2BIG;
	if (copy_from_user(&how, uhow, sizeof(how)))
		return -EFAULT;
	for (u64 k = sizeof(how); k < size; k += 8) {
		more = 0;
		if (copy_from_user(&more, uhow + k, quire_min(size - k, 8UL)))
			return -EFAULT;
		if (more)
			return -E2BIG;
	}
	if (how.flags >> 32 || (how.flags & ~0x37fffc3UL) || (how.mode & ~07777UL) ||
	    how.resolve >> 6)
		return -EINVAL;
	if (how.mode && !(how.flags & O_CREAT) && (how.flags & O_TMPFILE) != O_TMPFILE)
		return -EINVAL;
	if ((how.flags & O_PATH) && (how.flags & ~(u64)PATH_FLAGS))
		return -EINVAL;
	if (how.resolve) {
		syscall_log_missing("openat2: RESOLVE_*");
		return -EINVAL;
	}
	return open_at(dirfd, path, (u32)how.flags, (u32)how.mode);
}

/* ---- getdents ------------------------------------------------------------------------------- */

struct dirent_buf {
	struct dir_emit emit; /* first */
	u8 *buf;
	size_t size, used;
	bool old, too_small;
	size_t last; /* where the last entry begins: its d_off */
};

static bool emit_dirent(struct dir_emit *e, const char *name, size_t len, u64 ino, u8 type,
			s64 next)
{
	struct dirent_buf *b = (struct dirent_buf *)e;
	/* getdents has the type behind the name's terminator, getdents64 before the name. */
	size_t head = b->old ? 18 : 19;
	size_t need = quire_round_up(head + len + 1 + (b->old ? 1 : 0), 8);
	u16 reclen = (u16)need;
	u8 *p = b->buf + b->used;

	if (b->used + need > b->size) {
		b->too_small = !b->used;
		return false;
	}
	memset(p, 0, need);
	memcpy(p, &ino, 8);
	memcpy(p + 8, &next, 8);
	memcpy(p + 16, &reclen, 2);
	if (b->old)
		p[need - 1] = type;
	else
		p[18] = type;
	memcpy(p + head, name, len);
	b->last = b->used;
	b->used += need;
	return true;
}

/* Copy the entries; those that the buffer can't take any more come with the next call. */
static long give_entries(struct file *f, u64 udir, const struct dirent_buf *b)
{
	size_t done = copy_to_user_partial(udir, b->buf, b->used), at = 0;
	u16 len;

	if (done == b->used)
		return (long)done;
	for (;; at += len) {
		memcpy(&len, b->buf + at + 16, 2);
		if (at + len > done)
			break;
		memcpy(&f->pos, b->buf + at + 8, 8);
	}
	return at ? (long)at : -EFAULT;
}

static long list_dir(int fd, u64 udir, size_t size, bool old)
{
	struct dirent_buf b = {.emit.emit = emit_dirent, .old = old};
	struct file *f = fd_get(fd);
	long r;

	if (!f)
		return -EBADF;
	b.size = quire_min(size, 32768UL);
	b.buf = quire_kmalloc(quire_max(b.size, 1UL), GFP_KERNEL);
	if (!b.buf) {
		r = -ENOMEM;
	} else if (f->flags & O_PATH) {
		r = -EBADF;
	} else if (!f->inode || !S_ISDIR(f->inode->mode) || !f->ops->readdir) {
		r = -ENOTDIR;
	} else if (!f->inode->nlink) {
		r = -ENOENT;
	} else {
		mutex_lock(&f->pos_lock);
		u64 start = f->pos;

		r = f->ops->readdir(f, &b.emit);
		if (b.used)
			r = give_entries(f, udir, &b);
		else if (!r && b.too_small)
			r = -EINVAL;
		if (r == -EFAULT)
			f->pos = start;
		mutex_unlock(&f->pos_lock);
	}
	quire_kfree(b.buf);
	file_put(f);
	return r;
}

SYSCALL3(getdents, int, fd, u64, dir, u32, size)
{
	return list_dir(fd, dir, size, true);
}

SYSCALL3(getdents64, int, fd, u64, dir, u32, size)
{
	return list_dir(fd, dir, size, false);
}

/* ---- where a process is -------------------------------------------------------------------------
 */

/* Make *p (reference consumed) the working directory or the root. */
static long set_place(struct path *p, bool root)
{
	struct fsctx *fs = current()->fs;
	struct path *place = root ? fs->root : fs->cwd;
	struct path old;

	spin_lock(&fs->lock);
	old = *place;
	*place = *p;
	spin_unlock(&fs->lock);
	path_put(&old);
	return 0;
}

SYSCALL1(chdir, u64, upath)
{
	struct path p;
	int err = lookup_at(AT_FDCWD, upath, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &p);

	if (err)
		return err;
	err = inode_permission(p.dentry->inode, 1);
	if (err) {
		path_put(&p);
		return err;
	}
	return set_place(&p, false);
}

SYSCALL1(fchdir, int, fd)
{
	struct file *f = fd_get(fd);
	struct path p;
	int err = 0;

	if (!f)
		return -EBADF;
	if (!f->path.mnt || !f->inode || !S_ISDIR(f->inode->mode))
		err = -ENOTDIR;
	else
		err = inode_permission(f->inode, 1);
	if (!err) {
		p = f->path;
		path_get(&p);
	}
	file_put(f);
	return err ? err : set_place(&p, false);
}

SYSCALL1(chroot, u64, upath)
{
	struct path p;
	int err = lookup_at(AT_FDCWD, upath, LOOKUP_FOLLOW | LOOKUP_DIRECTORY, &p);

	if (err)
		return err;
	err = inode_permission(p.dentry->inode, 1);
	if (!err && !capable(CAP_SYS_CHROOT))
		err = -EPERM;
	if (err) {
		path_put(&p);
		return err;
	}
	return set_place(&p, true);
}

SYSCALL2(getcwd, u64, ubuf, u64, size)
{
	static const char unreachable[] = "(unreachable)";
	char *buf = quire_kmalloc(PATH_MAX, GFP_KERNEL), *name;
	struct path cwd, root;
	bool reached;
	long r;

	if (!buf)
		return -ENOMEM;
	fs_get_cwd(&cwd);
	fs_get_root(&root);
	name = path_name_from(&cwd, &root, buf, PATH_MAX, &reached);
	path_put(&root);
	if (name && !reached) {
		name -= sizeof(unreachable) - 1;
		if (name >= buf)
			memcpy(name, unreachable, sizeof(unreachable) - 1);
		else
			name = NULL;
	}
	if (cwd.dentry->unlinked && !cwd.dentry->inode->fs->uncached) {
		r = -ENOENT;
	} else if (!name) {
		r = -ENAMETOOLONG;
	} else {
		r = buf + PATH_MAX - name;
		if ((u64)r > size)
			r = -ERANGE;
		else if (copy_to_user(ubuf, name, (size_t)r))
			r = -EFAULT;
	}
	path_put(&cwd);
	quire_kfree(buf);
	return r;
}

SYSCALL1(umask, u32, mask)
{
	return (long)__atomic_exchange_n(&current()->fs->umask, mask & 0777, __ATOMIC_RELAXED);
}
