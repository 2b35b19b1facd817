// SPDX-License-Identifier: MIT
/*
 * Copies between kernel and user memory: range checks around the instructions of
 * usercopy.S, and iterators.  No locks; everything here may fault and sleep.
 */
#include "uaccess.h"

#include <quire/errno.h>
#include <quire/page.h>
#include <quire/string.h>

#include "arch.h"

size_t user_copy(void *dst, const void *src, size_t n);
size_t user_clear(void *dst, size_t n);
int user_read64(u64 *v, u64 addr);
int user_read32(u32 *v, u64 addr);
int user_read8(u8 *v, u64 addr);
int user_write64(u64 addr, u64 v);
int user_write32(u64 addr, u32 v);
int user_cmpxchg32(u64 addr, u32 expected, u32 new, u32 *old);

#define UIO_MAXIOV 1024
#define MAX_RW 0x7ffff000UL /* what one read or write moves at most */

static bool range_ok(u64 addr, size_t n)
{
	return n <= QUIRE_USER_END && addr <= QUIRE_USER_END - n;
}

size_t copy_from_user_partial(void *dst, u64 src, size_t n)
{
	return range_ok(src, n) ? n - user_copy(dst, (const void *)src, n) : 0;
}

size_t copy_to_user_partial(u64 dst, const void *src, size_t n)
{
	return range_ok(dst, n) ? n - user_copy((void *)dst, src, n) : 0;
}

size_t clear_user_partial(u64 dst, size_t n)
{
	return range_ok(dst, n) ? n - user_clear((void *)dst, n) : 0;
}

int copy_from_user(void *dst, u64 src, size_t n)
{
	if (!range_ok(src, n))
		return -EFAULT;
	if (n == 8)
		return user_read64(dst, src);
	if (n == 4)
		return user_read32(dst, src);
	return user_copy(dst, (const void *)src, n) ? -EFAULT : 0;
}

int copy_to_user(u64 dst, const void *src, size_t n)
{
	if (!range_ok(dst, n))
		return -EFAULT;
	if (n == 8) {
		u64 v;
		__builtin_memcpy(&v, src, 8);
		return user_write64(dst, v);
	}
	return user_copy((void *)dst, src, n) ? -EFAULT : 0;
}

/* Eight bytes at a time while they lie within one page (a string may end right before
 * an unmapped one), looking for a zero byte in each word. */
long copy_string_from_user(char *dst, u64 src, size_t max)
{
	size_t n = 0;

	while (n < max) {
		if (!range_ok(src + n, 1))
			return -EFAULT;
		if (max - n >= 8 && ((src + n) & (QUIRE_PAGE_SIZE - 1)) <= QUIRE_PAGE_SIZE - 8) {
			u64 v;
			if (user_read64(&v, src + n))
				return -EFAULT;
			__builtin_memcpy(dst + n, &v, 8);
			u64 zero = (v - 0x0101010101010101UL) & ~v & 0x8080808080808080UL;
			if (zero)
				return (long)n + __builtin_ctzl(zero) / 8;
			n += 8;
			continue;
		}
		u8 c;
		if (user_read8(&c, src + n))
			return -EFAULT;
		dst[n] = (char)c;
		if (!c)
			return (long)n;
		n++;
	}
	return -ENAMETOOLONG;
}

int user_load_u32(u32 *v, u64 addr)
{
	return range_ok(addr, 4) ? user_read32(v, addr) : -EFAULT;
}

int user_cmpxchg_u32(u64 addr, u32 expected, u32 new, u32 *old)
{
	return range_ok(addr, 4) ? user_cmpxchg32(addr, expected, new, old) : -EFAULT;
}

/* ---- iterators --------------------------------------------------------------------- */

enum iter_op { ITER_TO, ITER_FROM, ITER_ZERO };

static size_t move_user(enum iter_op op, u64 base, char *buf, size_t n)
{
	switch (op) {
	case ITER_TO:
		return copy_to_user_partial(base, buf, n);
	case ITER_FROM:
		return copy_from_user_partial(buf, base, n);
	default:
		return clear_user_partial(base, n);
	}
}

static size_t move_kernel(enum iter_op op, u64 base, char *buf, size_t n)
{
	if (op == ITER_TO)
		memcpy((void *)base, buf, n);
	else if (op == ITER_FROM)
		memcpy(buf, (const void *)base, n);
	else
		memset((void *)base, 0, n);
	return n;
}

static size_t iter_move(struct iter *it, enum iter_op op, char *buf, size_t n)
{
	size_t done = 0;

	n = quire_min(n, it->left);
	while (done < n) {
		if (it->off == it->iov->len) {
			it->iov++;
			it->n--;
			it->off = 0;
			continue;
		}
		size_t want = quire_min(n - done, it->iov->len - it->off);
		u64 base = it->iov->base + it->off;
		char *at = op == ITER_ZERO ? NULL : buf + done;
		size_t moved =
		    it->kernel ? move_kernel(op, base, at, want) : move_user(op, base, at, want);
		it->off += moved;
		it->left -= moved;
		done += moved;
		if (moved < want)
			break;
	}
	return done;
}

size_t iter_copy_to(struct iter *it, const void *src, size_t n)
{
	return iter_move(it, ITER_TO, (char *)src, n);
}

size_t iter_copy_from(struct iter *it, void *dst, size_t n)
{
	return iter_move(it, ITER_FROM, dst, n);
}

size_t iter_zero(struct iter *it, size_t n)
{
	return iter_move(it, ITER_ZERO, NULL, n);
}

s64 iter_import(struct iter *it, struct iovec **storage, u64 uvec, u64 count)
{
	size_t total = 0;

	*storage = NULL;
	*it = (struct iter){0};
	if (count > UIO_MAXIOV)
		return -EINVAL;
	if (!count)
		return 0;
	struct iovec *v = quire_kmalloc(count * sizeof(*v), GFP_KERNEL);
	if (!v)
		return -ENOMEM;
	s64 err = copy_from_user(v, uvec, count * sizeof(*v));
	for (u64 i = 0; !err && i < count; i++) {
		if ((s64)v[i].len < 0)
			err = -EINVAL;
		else if (!range_ok(v[i].base, v[i].len))
			err = -EFAULT;
		else if (v[i].len > MAX_RW - total)
			v[i].len = MAX_RW - total;
		total += v[i].len;
	}
	if (err) {
		quire_kfree(v);
		return err;
	}
	*storage = v;
	*it = (struct iter){v, (unsigned)count, 0, total, false};
	return (s64)total;
}
