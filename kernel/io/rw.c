/* SPDX-License-Identifier: MIT */
/*
 * Reading and writing: the calls, and the moves from file to file.
 *
 * Locking: a file's own position is guarded by pos_lock, which read and write
 * hold for seekable files, so that two users of one open file get disjoint
 * parts.  Streams have no position and take no lock here.
 */
#include <quire/string.h>

#include "../syscall/syscall.h"
#include "io.h"
#include "pipe.h"

#define BOUNCE 16384u /* bytes moved at once from file to file */

/* A move by a file's read or write; pos null: at its own position, which moves on. */
static s64 move(struct file *f, s64 (*op)(struct file *f, struct iter *it, u64 *pos),
		struct iter *it, u64 *pos)
{
	it->left = quire_min(it->left, MAX_RW_COUNT);
	if (pos)
		return op(f, it, pos);
	if (!f->seekable) {
		u64 none = 0;
		return op(f, it, &none);
	}
	mutex_lock(&f->pos_lock);
	s64 r = op(f, it, &f->pos);
	mutex_unlock(&f->pos_lock);
	return r;
}

/* For /proc/PID/io, here and below: what was tried, and what came of it. */
s64 io_read(struct file *f, struct iter *it, u64 *pos)
{
	if (!f->can_read)
		return -EBADF;
	if (quire_unlikely(!f->ops->read))
		return f->inode && S_ISDIR(f->inode->mode) ? -EISDIR : -EINVAL;
	s64 r = move(f, f->ops->read, it, pos);
	struct io_counts *io = &current()->io;
	io->syscr++;
	io->rchar += r > 0 ? (u64)r : 0;
	return r;
}

s64 io_write(struct file *f, struct iter *it, u64 *pos)
{
	if (!f->can_write)
		return -EBADF;
	if (quire_unlikely(!f->ops->write))
		return -EINVAL;
	s64 r = move(f, f->ops->write, it, pos);
	struct io_counts *io = &current()->io;
	io->syscw++;
	io->wchar += r > 0 ? (u64)r : 0;
	return r;
}

static inline s64 read_or_write(struct file *f, struct iter *it, u64 *pos, bool write)
{
	return write ? io_write(f, it, pos) : io_read(f, it, pos);
}

/* A user range that can't be one at all is refused before anything is moved. */
static bool range_ok(u64 base, u64 len)
{
	return len <= QUIRE_USER_END && base <= QUIRE_USER_END - len;
}

/* What is wrong before anything is moved: of the file, then of where the bytes are. */
static s64 rw_check(const struct file *f, u64 buf, u64 len, bool write)
{
	if (!(write ? f->can_write : f->can_read))
		return -EBADF;
	if (!(write ? (void *)f->ops->write : (void *)f->ops->read))
		return 0; /* io_read(), io_write() say what it is */
	return range_ok(buf, len) ? 0 : -EFAULT;
}

static s64 rw_here(int fd, u64 buf, u64 len, bool write)
{
	struct file *f = fd_get(fd);
	if (!f)
		return -EBADF;
	struct iovec iov;
	struct iter it = iter_user(&iov, buf, quire_min(len, MAX_RW_COUNT));
	s64 r = rw_check(f, buf, len, write);
	if (!r)
		r = read_or_write(f, &it, NULL, write);
	file_put(f);
	return r;
}

SYSCALL3(read, int, fd, u64, buf, u64, len)
{
	return rw_here(fd, buf, len, false);
}

SYSCALL3(write, int, fd, u64, buf, u64, len)
{
	return rw_here(fd, buf, len, true);
}

/* A call at a position: pread and its kin; buf and len are 0 where vectors tell. */
static s64 rw_at(int fd, struct iter *it, u64 buf, u64 len, s64 pos, bool write)
{
	if (pos < 0)
		return -EINVAL;
	struct file *f = fd_get(fd);
	if (!f)
		return -EBADF;
	u64 p = (u64)pos;
	s64 r = f->seekable ? rw_check(f, buf, len, write) : -ESPIPE;
	if (!r)
		r = read_or_write(f, it, &p, write);
	file_put(f);
	return r;
}

static s64 buffer_at(int fd, u64 buf, u64 len, s64 pos, bool write)
{
	struct iovec iov;
	struct iter it = iter_user(&iov, buf, quire_min(len, MAX_RW_COUNT));
	return rw_at(fd, &it, buf, len, pos, write);
}

SYSCALL4(pread64, int, fd, u64, buf, u64, len, s64, pos)
{
	return buffer_at(fd, buf, len, pos, false);
}
SYSCALL4(pwrite64, int, fd, u64, buf, u64, len, s64, pos)
{
	return buffer_at(fd, buf, len, pos, true);
}

static s64 vector(int fd, u64 uvec, u64 count, bool write)
{
	struct file *f = fd_get(fd);
	if (!f)
		return -EBADF;
	struct iter it;
	struct iovec *storage = NULL;
	s64 r = iter_import(&it, &storage, uvec, count);
	if (r > 0)
		r = read_or_write(f, &it, NULL, write);
	else if (!r && !(write ? f->can_write : f->can_read))
		r = -EBADF;
	quire_kfree(storage);
	file_put(f);
	return r;
}

static s64 vector_at(int fd, u64 uvec, u64 count, s64 pos, bool write)
{
	struct iter it;
	struct iovec *storage = NULL;
	s64 r = iter_import(&it, &storage, uvec, count);
	if (r >= 0)
		r = rw_at(fd, &it, 0, 0, pos, write);
	quire_kfree(storage);
	return r;
}

SYSCALL3(readv, int, fd, u64, vec, u64, n)
{
	return vector(fd, vec, n, false);
}
SYSCALL3(writev, int, fd, u64, vec, u64, n)
{
	return vector(fd, vec, n, true);
}
SYSCALL4(preadv, int, fd, u64, vec, u64, n, s64, pos)
{
	return vector_at(fd, vec, n, pos, false);
}
SYSCALL4(pwritev, int, fd, u64, vec, u64, n, s64, pos)
{
	return vector_at(fd, vec, n, pos, true);
}

#define RWF_HIPRI 1u
#define RWF_DSYNC 2u
#define RWF_SYNC 4u
#define RWF_NOWAIT 8u
#define RWF_APPEND 16u

/* The flags that are hints here, or done after the write. */
static s64 vector2(int fd, u64 uvec, u64 count, s64 pos, u32 flags, bool write)
{
	if (flags & ~(RWF_HIPRI | RWF_DSYNC | RWF_SYNC))
		return -EOPNOTSUPP;
	s64 r = pos == -1 ? vector(fd, uvec, count, write) : vector_at(fd, uvec, count, pos, write);
	if (r > 0 && write && (flags & (RWF_DSYNC | RWF_SYNC))) {
		struct file *f = fd_get(fd);
		if (f && f->ops->fsync)
			f->ops->fsync(f, !(flags & RWF_SYNC));
		if (f)
			file_put(f);
	}
	return r;
}
SYSCALL6(preadv2, int, fd, u64, vec, u64, n, s64, pos, u64, high, u32, flags)
{
	(void)high;
	return vector2(fd, vec, n, pos, flags, false);
}
SYSCALL6(pwritev2, int, fd, u64, vec, u64, n, s64, pos, u64, high, u32, flags)
{
	(void)high;
	return vector2(fd, vec, n, pos, flags, true);
}

SYSCALL3(lseek, int, fd, s64, off, int, whence)
{
	struct file *f = fd_get(fd);
	if (!f)
		return -EBADF;
	s64 r = -ESPIPE;
	if (f->flags & O_PATH)
		r = -EBADF;
	else if (whence < 0 || whence > 4)
		r = -EINVAL;
	else if (f->ops->seek && (f->seekable || (f->inode && S_ISDIR(f->inode->mode)))) {
		mutex_lock(&f->pos_lock);
		r = f->ops->seek(f, off, whence);
		mutex_unlock(&f->pos_lock);
	}
	file_put(f);
	return r;
}

/* ---- from file to file ------------------------------------------------------------------ */

static void put_both(struct file *a, struct file *b)
{
	if (a)
		file_put(a);
	if (b)
		file_put(b);
}

/* Write all of buf; pos null: the file's own position.  Bytes, or -errno when none. */
static s64 write_all(struct file *f, const char *buf, size_t n, u64 *pos)
{
	size_t done = 0;
	while (done < n) {
		struct iovec iov;
		struct iter it = iter_kernel(&iov, buf + done, n - done);
		s64 r = io_write(f, &it, pos);
		if (r <= 0)
			return done ? (s64)done : r;
		done += (size_t)r;
	}
	return (s64)done;
}

static s64 copy_file(struct file *out, u64 *out_pos, struct file *in, u64 *in_pos, u64 count)
{
	char *buf = quire_kmalloc(BOUNCE, GFP_KERNEL);
	if (!buf)
		return -ENOMEM;
	s64 total = 0, r = 0;
	while ((u64)total < count) {
		u64 start = *in_pos;
		size_t want = quire_min(count - (u64)total, (u64)BOUNCE);
		struct iovec iov;
		struct iter it = iter_kernel(&iov, buf, want);
		r = io_read(in, &it, in_pos);
		if (r <= 0)
			break;
		s64 got = r;
		r = write_all(out, buf, (size_t)got, out_pos);
		*in_pos = start + (r > 0 ? (u64)r : 0);
		if (r <= 0)
			break;
		total += r;
		if (r < got || signal_pending())
			break;
	}
	quire_kfree(buf);
	return total ? total : r;
}

/* at: where to read instead of the file's own position, moved on; null: none was given. */
static s64 send_file(struct file *out, struct file *in, u64 *at, u64 count)
{
	if (!in || !in->can_read)
		return -EBADF;
	if (!in->seekable)
		return at ? -ESPIPE : -EINVAL;
	if (at && (s64)*at < 0)
		return -EINVAL;
	if (!out || !out->can_write)
		return -EBADF;
	if (out->flags & O_APPEND)
		return -EINVAL;
	/* The files' own positions are read once and set once, without their locks, as Linux
	 * does it: two of them in any order would be a deadlock. */
	u64 pos = at ? *at : in->pos, out_pos = out->pos;
	s64 r = copy_file(out, &out_pos, in, &pos, quire_min(count, MAX_RW_COUNT));
	if (r > 0 && out->seekable)
		out->pos = out_pos;
	if (at)
		*at = pos;
	else if (r > 0 && in != out)
		in->pos = pos;
	return r;
}

SYSCALL4(sendfile, int, out_fd, int, in_fd, u64, upos, u64, count)
{
	u64 pos = 0;
	if (upos && get_user_u64(&pos, upos))
		return -EFAULT;
	struct file *in = fd_get(in_fd), *out = fd_get(out_fd);
	s64 r = send_file(out, in, upos ? &pos : NULL, count);
	put_both(in, out);
	/* Whatever came of it. */
	return upos && put_user_u64(upos, pos) ? -EFAULT : r;
}

/* splice(2) on files that are held: pos null means the file's own position. */
static s64 splice_files(struct file *in, u64 *in_pos, struct file *out, u64 *out_pos, u64 len,
			u32 flags)
{
	bool nowait = flags & SPLICE_F_NONBLOCK;
	if (file_is_pipe(in))
		return pipe_splice_to(in, out, out_pos, len, nowait);
	if (file_is_pipe(out))
		return pipe_splice_from(out, in, in_pos, len, nowait);
	return -EINVAL;
}

SYSCALL6(splice, int, in_fd, u64, uin, int, out_fd, u64, uout, u64, len, u32, flags)
{
	if (flags & ~SPLICE_F_ALL)
		return -EINVAL;
	u64 in_pos = 0, out_pos = 0;
	struct file *in = fd_get(in_fd), *out = fd_get(out_fd);
	s64 r = -EBADF;
	if (!in || !out || !in->can_read || !out->can_write)
		goto end;
	r = -ESPIPE;
	if ((uin && !in->seekable) || (uout && !out->seekable))
		goto end;
	r = -EFAULT;
	if ((uin && get_user_u64(&in_pos, uin)) || (uout && get_user_u64(&out_pos, uout)))
		goto end;
	r = -EINVAL;
	if ((s64)in_pos < 0 || (s64)out_pos < 0 || (out->flags & O_APPEND))
		goto end;
	r = splice_files(in, uin ? &in_pos : NULL, out, uout ? &out_pos : NULL,
			 quire_min(len, MAX_RW_COUNT), flags);
	if (r > 0 && ((uin && put_user_u64(uin, in_pos)) || (uout && put_user_u64(uout, out_pos))))
		r = -EFAULT;
end:
	put_both(in, out);
	return r;
}

SYSCALL4(tee, int, in_fd, int, out_fd, u64, len, u32, flags)
{
	if (flags & ~SPLICE_F_ALL)
		return -EINVAL;
	struct file *in = fd_get(in_fd), *out = fd_get(out_fd);
	s64 r = -EBADF;
	if (in && out && in->can_read && out->can_write)
		r = file_is_pipe(in) && file_is_pipe(out) && in->private != out->private
			? pipe_tee(in, out, quire_min(len, MAX_RW_COUNT), flags & SPLICE_F_NONBLOCK)
			: -EINVAL;
	put_both(in, out);
	return r;
}

SYSCALL4(vmsplice, int, fd, u64, uvec, u64, n, u32, flags)
{
	if (flags & ~SPLICE_F_ALL)
		return -EINVAL;
	struct file *f = fd_get(fd);
	if (!f)
		return -EBADF;
	struct iovec *storage = NULL;
	struct iter it;
	s64 r = file_is_pipe(f) ? iter_import(&it, &storage, uvec, n) : -EBADF;
	if (r > 0)
		r = f->can_write ? pipe_gift(f, &it) : io_read(f, &it, NULL);
	quire_kfree(storage);
	file_put(f);
	return r;
}
