/* SPDX-License-Identifier: MIT */
/*
 * System calls about file systems and stored content: statfs, sync, space,
 * advice, copying between files, extended attributes.
 *
 * Locking: none of its own.
 *
 * Extended attributes aren't kept: reading one says that there is none, setting one
 * that it isn't supported.
 */
#include <quire/assert.h>
#include <quire/page.h>
#include <quire/string.h>

#include "../lib/string.h"
#include "../syscall/syscall.h"
#include "mount.h"
#include "sys.h"

#define PIPEFS_MAGIC 0x50495045
#define ANON_MAGIC 0x09041934

/* ---- statfs ------------------------------------------------------------------------------ */

/* ST_* of a mount's flags. */
static s64 statfs_flags(const struct path *p)
{
	static const u32 st[][2] = {{MS_RDONLY, 1},        {MS_NOSUID, 2},
				    {MS_NODEV, 4},         {MS_NOEXEC, 8},
				    {MS_NOATIME, 0x400},   {MS_NODIRATIME, 0x800},
				    {MS_RELATIME, 0x1000}, {MS_NOSYMFOLLOW, 0x2000}};
	s64 flags = 0x20; /* ST_VALID */

	for (unsigned k = 0; p->mnt && k < quire_array_size(st); k++)
		if (p->mnt->flags & st[k][0])
			flags |= st[k][1];
	return p->mnt && p->mnt->fs->readonly ? flags | 1 : flags;
}

static long statfs_out(struct fs *fs, const struct path *p, u64 uout)
{
	struct linux_statfs s = {.bsize = QUIRE_PAGE_SIZE,
				 .frsize = QUIRE_PAGE_SIZE,
				 .namelen = NAME_MAX,
				 .type = fs ? fs->magic : ANON_MAGIC};

	if (fs && fs->statfs)
		fs->statfs(fs, &s);
	s.flags = statfs_flags(p);
	return copy_to_user(uout, &s, sizeof(s));
}

SYSCALL2(statfs, u64, upath, u64, out)
{
	struct path p;
	int err = lookup_at(AT_FDCWD, upath, LOOKUP_FOLLOW, &p);

	if (err)
		return err;
	err = (int)statfs_out(p.dentry->inode->fs, &p, out);
	path_put(&p);
	return err;
}

SYSCALL2(fstatfs, int, fd, u64, out)
{
	struct file *f = fd_get(fd);
	long r;

	if (!f)
		return -EBADF;
	r = statfs_out(f->inode ? f->inode->fs : NULL, &f->path, out);
	file_put(f);
	return r;
}

/* ---- sync ---------------------------------------------------------------------------------- */

SYSCALL0(sync)
{
	vfs_sync_all();
	return 0;
}

SYSCALL1(syncfs, int, fd)
{
	struct file *f = fd_get(fd);
	long r = 0;

	if (!f)
		return -EBADF;
	if (f->flags & O_PATH)
		r = -EBADF;
	else if (f->inode && f->inode->fs && f->inode->fs->sync)
		r = f->inode->fs->sync(f->inode->fs);
	file_put(f);
	return r;
}

static long sync_fd(int fd, bool data_only)
{
	struct file *f = fd_get(fd);
	long r;

	if (!f)
		return -EBADF;
	if (f->flags & O_PATH)
		r = -EBADF;
	else
		r = f->ops->fsync ? f->ops->fsync(f, data_only) : -EINVAL;
	file_put(f);
	return r;
}

SYSCALL1(fsync, int, fd)
{
	return sync_fd(fd, false);
}

SYSCALL1(fdatasync, int, fd)
{
	return sync_fd(fd, true);
}

SYSCALL4(sync_file_range, int, fd, s64, off, s64, len, u32, flags)
{
	struct file *f;
	long r = 0;
	s64 end;

	if (flags & ~7u || off < 0 || len < 0 || __builtin_add_overflow(off, len, &end))
		return -EINVAL;
	f = fd_get(fd);
	if (!f)
		return -EBADF;
	if (!f->inode || (!S_ISREG(f->inode->mode) && !S_ISDIR(f->inode->mode)))
		r = -ESPIPE;
	else if (S_ISREG(f->inode->mode) && f->inode->mapping.ops->write_pages)
		r = quire_cache_flush(&f->inode->mapping, (u64)off & QUIRE_PAGE_MASK,
				      len ? quire_round_up((u64)end, QUIRE_PAGE_SIZE)
					  : ~0UL & QUIRE_PAGE_MASK);
	file_put(f);
	return r;
}

/* ---- space, advice --------------------------------------------------------------------------- */

/* Modes that exist, and don't contradict each other. */
static int fallocate_mode(int mode)
{
	if (mode & ~(FALLOC_KEEP_SIZE | FALLOC_PUNCH | FALLOC_COLLAPSE | FALLOC_ZERO |
		     FALLOC_INSERT | FALLOC_UNSHARE))
		return -EOPNOTSUPP;
	if ((mode & FALLOC_PUNCH) && (mode & FALLOC_ZERO || !(mode & FALLOC_KEEP_SIZE)))
		return -EOPNOTSUPP;
	if (((mode & FALLOC_COLLAPSE) && mode != FALLOC_COLLAPSE) ||
	    ((mode & FALLOC_INSERT) && mode != FALLOC_INSERT) ||
	    ((mode & FALLOC_UNSHARE) && (mode & ~(FALLOC_UNSHARE | FALLOC_KEEP_SIZE))))
		return -EINVAL;
	return 0;
}

static long fallocate_file(struct file *f, int mode, s64 off, s64 len)
{
	s64 end;

	if (!f->can_write)
		return -EBADF;
	if (f->inode && S_ISFIFO(f->inode->mode))
		return -ESPIPE;
	if (f->inode && S_ISDIR(f->inode->mode))
		return -EISDIR;
	if (!f->inode || !S_ISREG(f->inode->mode))
		return -ENODEV;
	if (__builtin_add_overflow(off, len, &end))
		return -EFBIG;
	if (!f->ops->fallocate)
		return -EOPNOTSUPP;
	return f->ops->fallocate(f, mode, (u64)off, (u64)len);
}

SYSCALL4(fallocate, int, fd, int, mode, s64, off, s64, len)
{
	struct file *f;
	long r;

	if (off < 0 || len <= 0)
		return -EINVAL;
	f = fd_get(fd);
	if (!f)
		return -EBADF;
	r = fallocate_mode(mode);
	if (!r)
		r = fallocate_file(f, mode, off, len);
	file_put(f);
	return r;
}

static void advise(struct file *f, u64 off, u64 len, int advice)
{
	struct quire_mapping *m = &f->inode->mapping;
	u64 size = i_size(f->inode), end = len && off + len > off ? off + len : ~0UL;

	end = quire_min(end, size);
	switch (advice) {
	case 0:
	case 1:
	case 2:
		__atomic_store_n(&f->vm.ra_mode, (u32)advice, __ATOMIC_RELAXED);
		break;
	case 3:
		if (off < end)
			quire_cache_readahead(m, off >> QUIRE_PAGE_SHIFT,
					      ((end - 1) >> QUIRE_PAGE_SHIFT) -
						  (off >> QUIRE_PAGE_SHIFT) + 1);
		break;
	case 4:
		if (m->ops->write_pages)
			quire_cache_flush(m, off & QUIRE_PAGE_MASK,
					  quire_round_up(end, QUIRE_PAGE_SIZE));
		/* Without a store the pages are all there is. */
		if (m->ops->read_pages && off < end)
			quire_cache_drop(m, quire_round_up(off, QUIRE_PAGE_SIZE),
					 end == size ? quire_round_up(end, QUIRE_PAGE_SIZE)
						     : end & QUIRE_PAGE_MASK);
		break;
	default:
		break;
	}
}

SYSCALL4(fadvise64, int, fd, s64, off, s64, len, int, advice)
{
	struct file *f = fd_get(fd);
	long r = 0;

	if (!f)
		return -EBADF;
	if (f->flags & O_PATH)
		r = -EBADF;
	else if (f->inode && S_ISFIFO(f->inode->mode))
		r = -ESPIPE;
	else if (advice < 0 || advice > 5 || len < 0)
		r = -EINVAL;
	else if (f->inode && S_ISREG(f->inode->mode) && off >= 0)
		advise(f, (u64)off, (u64)len, advice);
	file_put(f);
	return r;
}

SYSCALL3(readahead, int, fd, s64, off, u64, count)
{
	struct file *f = fd_get(fd);
	long r = 0;

	if (!f)
		return -EBADF;
	if (!f->can_read)
		r = -EBADF;
	else if (!f->inode || !S_ISREG(f->inode->mode) || off < 0)
		r = -EINVAL;
	else
		advise(f, (u64)off, count, 3);
	file_put(f);
	return r;
}

/* ---- copy_file_range
 * ----------------------------------------------------------------------------- */

#define COPY_CHUNK 65536UL

/* Copy through a buffer; bytes, or -errno when none were moved. */
static s64 copy_loop(struct file *in, u64 *from, struct file *out, u64 *to, u64 len)
{
	u8 *buf = quire_kmalloc(COPY_CHUNK, GFP_KERNEL);
	s64 done = 0, r = 0;

	if (!buf)
		return -ENOMEM;
	while (len) {
		struct iovec v;
		struct iter it = iter_kernel(&v, buf, quire_min(len, COPY_CHUNK));
		u64 at = *from;
		s64 got;

		r = in->ops->read(in, &it, &at);
		if (r <= 0)
			break;
		got = r;
		it = iter_kernel(&v, buf, (size_t)got);
		r = out->ops->write(out, &it, to);
		if (r <= 0)
			break;
		*from += (u64)r;
		done += r;
		len -= (u64)r;
		if (r < got || signal_fatal_pending())
			break;
	}
	quire_kfree(buf);
	return done ? done : r;
}

/* May these two be the ends of a copy? */
static int check_copy(const struct file *in, const struct file *out)
{
	if (!in->inode || !out->inode)
		return -EINVAL;
	if (S_ISDIR(in->inode->mode) || S_ISDIR(out->inode->mode))
		return -EISDIR;
	if (!S_ISREG(in->inode->mode) || !S_ISREG(out->inode->mode))
		return -EINVAL;
	if (!in->can_read || !out->can_write || (out->flags & O_APPEND))
		return -EBADF;
	if (in->inode->fs != out->inode->fs || in->ops != &cached_file_ops ||
	    out->ops != &cached_file_ops)
		return -EXDEV;
	return 0;
}

/* Where from, where to; u64's that the caller gives, or the files' own positions. */
struct copy_places {
	u64 from, to, ufrom, uto;
};

static s64 copy_range(struct file *in, struct file *out, struct copy_places *at, u64 len, u32 flags)
{
	u64 size;
	s64 r;

	if (at->ufrom && get_user_u64(&at->from, at->ufrom))
		return -EFAULT;
	if (at->uto && get_user_u64(&at->to, at->uto))
		return -EFAULT;
	if (flags)
		return -EINVAL;
	r = check_copy(in, out);
	if (r)
		return r;
	if (at->from + len < at->from || at->to + len < at->to)
		return -EOVERFLOW;
	size = i_size(in->inode);
	len = at->from < size ? quire_min(len, size - at->from) : 0;
	if (in->inode == out->inode && at->from < at->to + len && at->to < at->from + len)
		return -EINVAL;
	if ((s64)at->from < 0 || (s64)at->to < 0)
		return -EINVAL;
	r = len ? copy_loop(in, &at->from, out, &at->to, quire_min(len, 0x7ffff000UL)) : 0;
	if (r <= 0)
		return r;
	if (at->ufrom ? put_user_u64(at->ufrom, at->from) : 0)
		return -EFAULT;
	if (at->uto ? put_user_u64(at->uto, at->to) : 0)
		return -EFAULT;
	if (!at->ufrom)
		in->pos = at->from;
	if (!at->uto)
		out->pos = at->to;
	return r;
}

SYSCALL6(copy_file_range, int, fdin, u64, uin, int, fdout, u64, uout, u64, len, u32, flags)
{
	struct file *in, *out;
	long r = -EBADF;

	in = fd_get(fdin);
	out = fd_get(fdout);
	if (in && out) {
		struct copy_places at = {in->pos, out->pos, uin, uout};

		r = copy_range(in, out, &at, len, flags);
	}
	if (in)
		file_put(in);
	if (out)
		file_put(out);
	return r;
}

/* ---- extended attributes
 * ---------------------------------------------------------------------------- */

static long xattr_name(char name[256], u64 uname)
{
	long n = copy_string_from_user(name, uname, 256);

	if (n == -ENAMETOOLONG || n == 0)
		return -ERANGE;
	return n < 0 ? n : 0;
}

static long get_xattr(struct inode *i, u64 uname, u64 uvalue, u64 size)
{
	char name[256];
	long r = xattr_name(name, uname);
	u8 *buf;

	if (r)
		return r;
	if (!i->ops || !i->ops->getxattr) {
		static const char *const kept[] = {"user.", "trusted.", "security."};

		for (unsigned k = 0; k < quire_array_size(kept); k++)
			if (!strncmp(name, kept[k], strlen(kept[k])))
				return -ENODATA;
		return -EOPNOTSUPP;
	}
	size = quire_min(size, 65536UL);
	buf = size ? quire_kmalloc(size, GFP_KERNEL) : NULL;
	if (size && !buf)
		return -ENOMEM;
	r = i->ops->getxattr(i, name, buf, size);
	if (r > 0 && size && copy_to_user(uvalue, buf, (size_t)r))
		r = -EFAULT;
	quire_kfree(buf);
	return r;
}

/* The calls by path: look the file up, so that its errors come first. */
static long xattr_path(u64 upath, u32 flags, u64 uname, u64 uvalue, u64 size, char what)
{
	struct path p;
	char name[256];
	long r = lookup_at(AT_FDCWD, upath, flags, &p);

	if (r)
		return r;
	if (what == 'g')
		r = get_xattr(p.dentry->inode, uname, uvalue, size);
	else if (what == 'l')
		r = 0;
	else
		r = xattr_name(name, uname);
	if (what == 's' || what == 'r')
		r = r ? r : -EOPNOTSUPP;
	path_put(&p);
	return r;
}

static long xattr_fd(int fd, u64 uname, u64 uvalue, u64 size, char what)
{
	struct file *f = fd_get(fd);
	char name[256];
	long r;

	if (!f)
		return -EBADF;
	if (f->flags & O_PATH || !f->inode)
		r = -EBADF;
	else if (what == 'g')
		r = get_xattr(f->inode, uname, uvalue, size);
	else if (what == 'l')
		r = 0;
	else
		r = xattr_name(name, uname);
	if (what == 's' || what == 'r')
		r = r ? r : -EOPNOTSUPP;
	file_put(f);
	return r;
}

SYSCALL4(getxattr, u64, path, u64, name, u64, value, u64, size)
{
	return xattr_path(path, LOOKUP_FOLLOW, name, value, size, 'g');
}
SYSCALL4(lgetxattr, u64, path, u64, name, u64, value, u64, size)
{
	return xattr_path(path, 0, name, value, size, 'g');
}
SYSCALL4(fgetxattr, int, fd, u64, name, u64, value, u64, size)
{
	return xattr_fd(fd, name, value, size, 'g');
}
SYSCALL3(listxattr, u64, path, u64, list, u64, size)
{
	return xattr_path(path, LOOKUP_FOLLOW, 0, list, size, 'l');
}
SYSCALL3(llistxattr, u64, path, u64, list, u64, size)
{
	return xattr_path(path, 0, 0, list, size, 'l');
}
SYSCALL3(flistxattr, int, fd, u64, list, u64, size)
{
	return xattr_fd(fd, 0, list, size, 'l');
}
SYSCALL5(setxattr, u64, path, u64, name, u64, value, u64, size, int, flags)
{
	(void)flags;
	return xattr_path(path, LOOKUP_FOLLOW, name, value, size, 's');
}
SYSCALL5(lsetxattr, u64, path, u64, name, u64, value, u64, size, int, flags)
{
	(void)flags;
	return xattr_path(path, 0, name, value, size, 's');
}
SYSCALL5(fsetxattr, int, fd, u64, name, u64, value, u64, size, int, flags)
{
	(void)flags;
	return xattr_fd(fd, name, value, size, 's');
}
SYSCALL2(removexattr, u64, path, u64, name)
{
	return xattr_path(path, LOOKUP_FOLLOW, name, 0, 0, 'r');
}
SYSCALL2(lremovexattr, u64, path, u64, name)
{
	return xattr_path(path, 0, name, 0, 0, 'r');
}
SYSCALL2(fremovexattr, int, fd, u64, name)
{
	return xattr_fd(fd, name, 0, 0, 'r');
}
