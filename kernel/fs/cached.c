/* SPDX-License-Identifier: MIT */
/*
 * Regular files on the page cache: reading, writing, seeking, space, syncing.
 * Every file system's regular files use these operations.
 *
 * Locking: a writer holds inode->lock, which makes appending and the size right; a
 * reader takes nothing.  User memory may fault in the middle: mmap_lock ranks below.
 */
#include <quire/assert.h>
#include <quire/string.h>

#include "dcache.h"

#define RLIMIT_FSIZE 1
#define SIGXFSZ 25
#define FILE_MAX 0x7fffffffffffffffUL
#define F_SEAL_GROW 0x4u
#define F_SEAL_WRITE 0x8u
#define F_SEAL_FUTURE_WRITE 0x10u
/* lseek's values of whence */
enum { FROM_START, FROM_HERE, FROM_END, NEXT_DATA, NEXT_HOLE };

static size_t copy_out(void *arg, void *p, size_t n)
{
	return iter_copy_to(arg, p, n);
}

static size_t copy_in(void *arg, void *p, size_t n)
{
	return iter_copy_from(arg, p, n);
}

static size_t copy_zeros(void *arg, void *p, size_t n)
{
	(void)arg;
	memset(p, 0, n);
	return n;
}

static bool has_store(struct inode *i)
{
	return i->mapping.ops->read_pages != NULL;
}

static s64 cached_read(struct file *f, struct iter *it, u64 *pos)
{
	s64 n;

	if (*pos >= i_size(f->inode) || !it->left)
		return 0;
	n = quire_cache_read(&f->inode->mapping, &f->vm, *pos, it->left, copy_out, it);
	if (n > 0)
		*pos += (u64)n;
	return n;
}

/* How much of n bytes at pos may be there: the limits of files.  > 0 or -errno. */
static s64 size_limit(u64 pos, u64 n)
{
	u64 limit = current()->process ? current()->process->rlim[RLIMIT_FSIZE].cur : ~0UL;

	if (pos >= limit) {
		struct siginfo info = {.si_signo = SIGXFSZ};

		send_signal_task(current(), SIGXFSZ, &info);
		return -EFBIG;
	}
	if (pos >= FILE_MAX)
		return -EFBIG;
	return (s64)quire_min(n, quire_min(limit, FILE_MAX) - pos);
}

/*
 * Written pages that no store takes stay in memory for good.  So that they can't crowd
 * programs out, the last sixteenth of memory, at least 3 MiB, is not for them once they have
 * half of it: -ENOSPC.  Before that it isn't they who fill memory, and when it is out
 * somebody is killed for a file's sake as for any other.
 */
static int check_space(struct inode *i)
{
	u64 floor = quire_max(quire_total_pages() / 16, 768UL);
	struct quire_meminfo m;

	if (i->mapping.ops->write_pages || quire_free_pages() >= floor)
		return 0;
	quire_meminfo(&m);
	if (m.shmem + m.unevictable < m.total / 2)
		return 0;
	while (quire_free_pages() < floor)
		if (!quire_reclaim(256))
			return quire_free_pages() < floor ? -ENOSPC : 0;
	return 0;
}

/* Writing takes set-user-ID and set-group-ID away from a file. */
static void drop_privilege_bits(struct inode *i)
{
	u32 drop = 04000 | (i->mode & 010 ? 02000 : 0);
	struct attr a = {.mask = ATTR_MODE};

	if (!(i->mode & drop) || capable(CAP_FSETID))
		return;
	a.mode = i->mode & ~drop;
	if (i->ops && i->ops->setattr)
		i->ops->setattr(i, &a);
}

static void grow_to(struct inode *i, u64 end)
{
	if (end > i->size)
		__atomic_store_n(&i->size, end, __ATOMIC_RELEASE);
}

/*
 * Copy into the cache; the size follows.  Meanwhile somebody may store the file's
 * pages (msync, too many dirty ones), so the store is told how far the write will go;
 * when it doesn't get there (a bad buffer), the store may have become too long.
 */
static s64 write_and_grow(struct inode *i, u64 pos, size_t n, struct iter *it)
{
	s64 done = 0, r;

	__atomic_store_n(&i->writing_end, pos + n, __ATOMIC_RELEASE);
	do { /* the bytes may be the file's own, and there now that it has grown */
		r = quire_cache_write(&i->mapping, pos + (u64)done, n - (size_t)done, copy_in, it);
		if (r > 0)
			grow_to(i, pos + (u64)(done += r));
	} while (r > 0 && done < (s64)n);
	if (!done)
		done = r;
	__atomic_store_n(&i->writing_end, 0UL, __ATOMIC_RELEASE);
	if (done < (s64)n && pos + n > i->size && i->mapping.ops->write_pages) {
		struct attr a = {.mask = ATTR_SIZE, .size = i->size};
		int err = i->ops->setattr(i, &a);

		if (err && done <= 0)
			return err;
	}
	return done;
}

/* How much of n bytes at pos the seals let in: whole pages, or all.  As Linux, which looks
 * at a page's bytes first. */
static s64 sealed_write(struct inode *i, u64 pos, u64 n, const struct iter *it)
{
	bool none = i->seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE);
	u64 end = none ? 0 : pos + n > i->size ? i->size & QUIRE_PAGE_MASK : pos + n;
	struct iter probe = *it;
	void *bytes;
	size_t got;

	if (end > pos)
		return (s64)(end - pos);
	bytes = quire_kmalloc(QUIRE_PAGE_SIZE, GFP_KERNEL);
	if (!bytes)
		return -ENOMEM;
	got = iter_copy_from(&probe, bytes, quire_min(n, QUIRE_PAGE_SIZE - pos % QUIRE_PAGE_SIZE));
	quire_kfree(bytes);
	return got ? -EPERM : -EFAULT;
}

static s64 write_locked(struct file *f, struct inode *i, struct iter *it, u64 *pos)
{
	s64 n;
	int err;

	if (f->flags & O_APPEND)
		*pos = i->size;
	n = size_limit(*pos, it->left);
	if (n > 0 && (i->seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE | F_SEAL_GROW)))
		n = sealed_write(i, *pos, (u64)n, it);
	if (n <= 0)
		return n;
	err = check_space(i);
	if (err)
		return err;
	drop_privilege_bits(i);
	n = write_and_grow(i, *pos, (size_t)n, it);
	if (n <= 0)
		return n == -ENOMEM ? -ENOSPC : n;
	inode_touch(i, ATTR_MTIME | ATTR_CTIME);
	if (i->mapping.ops->write_pages) {
		err = quire_cache_flush(&i->mapping, *pos & QUIRE_PAGE_MASK,
					quire_round_up(*pos + (u64)n, QUIRE_PAGE_SIZE));
		if (err)
			return err;
	}
	*pos += (u64)n;
	return n;
}

static s64 cached_write(struct file *f, struct iter *it, u64 *pos)
{
	struct inode *i = f->inode;
	s64 n;

	if (!it->left)
		return 0;
	mutex_lock(&i->lock);
	n = write_locked(f, i, it, pos);
	mutex_unlock(&i->lock);
	return n;
}

static s64 seek_content(struct inode *i, u64 off, bool data)
{
	u64 size = i_size(i), at = off;

	if (off >= size)
		return -ENXIO;
	if (has_store(i))
		return (s64)(data ? off : size);
	at = quire_cache_seek(&i->mapping, off, data);
	if (at >= size)
		return data ? -ENXIO : (s64)size;
	return (s64)at;
}

static s64 cached_seek(struct file *f, s64 off, int whence)
{
	struct inode *i = f->inode;

	switch (whence) {
	case FROM_END:
		if (i->ops && i->ops->refresh)
			i->ops->refresh(i);
		if (__builtin_add_overflow((s64)i_size(i), off, &off))
			return -EINVAL;
		return file_seek(f, off, FROM_START);
	case NEXT_DATA:
	case NEXT_HOLE:
		if (off < 0)
			return -ENXIO;
		off = seek_content(i, (u64)off, whence == NEXT_DATA);
		return off < 0 ? off : file_seek(f, off, FROM_START);
	}
	return file_seek(f, off, whence);
}

/* Zero [off, end).  Where a store is below, dropping pages would bring its bytes back. */
static s64 clear_range(struct inode *i, u64 off, u64 end)
{
	s64 n;

	if (!has_store(i))
		return quire_cache_punch(&i->mapping, off, end);
	while (off < end) {
		n = quire_cache_write(&i->mapping, off, (size_t)quire_min(end - off, 1UL << 20),
				      copy_zeros, NULL);
		if (n <= 0)
			return n == -ENOMEM || n == 0 ? -ENOSPC : n;
		off += (u64)n;
	}
	return 0;
}

/* Make the range present, or nothing of it, in steps: memory may end. */
static s64 fill_range(struct inode *i, u64 off, u64 end)
{
	struct quire_space *space = i->mapping.space;
	u64 start = off;
	s64 r = 0;

	if (space && space->limit &&
	    (end - 1) / QUIRE_PAGE_SIZE - off / QUIRE_PAGE_SIZE >= space->limit)
		return -ENOSPC;

	while (!r && off < end) {
		/* Whole pages: one that a step made isn't one that the next finds. */
		u64 to = quire_min(end, (off & QUIRE_PAGE_MASK) + (1UL << 20));

		r = check_space(i);
		if (!r)
			r = quire_cache_fill(&i->mapping, off, to);
		if (r)
			break;
		off = to;
		if (signal_fatal_pending())
			r = -EINTR;
	}
	if (r && off > start)
		quire_cache_unfill(&i->mapping, start, off);
	return r;
}

static s64 set_larger(struct inode *i, u64 end)
{
	struct attr a = {.mask = ATTR_SIZE, .size = end};
	s64 r = size_limit(end - 1, 1);

	if (r < 0)
		return r;
	return i->ops && i->ops->setattr ? i->ops->setattr(i, &a) : -EOPNOTSUPP;
}

static s64 fallocate_locked(struct inode *i, int mode, u64 off, u64 end)
{
	u64 inside = has_store(i) ? quire_min(end, i->size) : end;
	s64 r = 0;

	if (mode & FALLOC_PUNCH) {
		if (i->seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
			return -EPERM;
	} else if ((i->seals & F_SEAL_GROW) && end > i->size) {
		return -EPERM;
	}
	if ((mode & (FALLOC_PUNCH | FALLOC_ZERO)) && off < inside)
		r = clear_range(i, off, inside);
	if (!r && !(mode & FALLOC_PUNCH) && !has_store(i)) {
		r = fill_range(i, off, end);
		if (r == -ENOMEM)
			r = -ENOSPC;
	}
	if (!r && !(mode & FALLOC_KEEP_SIZE) && end > i->size)
		r = set_larger(i, end);
	if (!r)
		inode_touch(i, ATTR_MTIME | ATTR_CTIME);
	return r;
}

static s64 cached_fallocate(struct file *f, int mode, u64 off, u64 len)
{
	struct inode *i = f->inode;
	s64 r;

	if (mode & ~(FALLOC_KEEP_SIZE | FALLOC_PUNCH | FALLOC_ZERO))
		return -EOPNOTSUPP;
	/* Files in memory for their own sake: Linux's tmpfs doesn't know it. */
	if ((mode & FALLOC_ZERO) && i->mapping.swapbacked)
		return -EOPNOTSUPP;
	mutex_lock(&i->lock);
	r = fallocate_locked(i, mode, off, off + len);
	mutex_unlock(&i->lock);
	return r;
}

static int cached_fsync(struct file *f, bool data_only)
{
	struct inode *i = f->inode;
	int err = 0;

	if (i->mapping.ops->write_pages)
		err = quire_cache_flush(&i->mapping, 0, ~0UL & QUIRE_PAGE_MASK);
	if (!err && i->fs && i->fs->fsync)
		err = i->fs->fsync(i, data_only);
	return err;
}

/* The last close or unmapping: what a shared mapping dirtied goes to the store. */
static void cached_release(struct file *f)
{
	struct inode *i = f->inode;

	if (i->mapping.ops->write_pages && i->mapping.nr_dirty)
		quire_cache_flush(&i->mapping, 0, ~0UL & QUIRE_PAGE_MASK);
}

static int cached_mmap(const struct file *f)
{
	return S_ISREG(f->inode->mode) ? 0 : -ENODEV;
}

const struct file_ops cached_file_ops = {
    .read = cached_read,
    .write = cached_write,
    .seek = cached_seek,
    .mmap = cached_mmap,
    .fallocate = cached_fallocate,
    .fsync = cached_fsync,
    .release = cached_release,
};
