/* SPDX-License-Identifier: MIT */
/*
 * Copies between the kernel and the current task's user memory.  Addresses are
 * user addresses as plain u64.  A copy may fault and so sleep: no spinlock held.
 * Any address is safe: out of range or unmapped gives -EFAULT (through the
 * exception table, arch/extable.c), never an oops.
 */
#ifndef KERNEL_ARCH_UACCESS_H
#define KERNEL_ARCH_UACCESS_H

#include <quire/types.h>

/* How many bytes could be copied (n when all). */
size_t copy_from_user_partial(void *dst, u64 src, size_t n);
size_t copy_to_user_partial(u64 dst, const void *src, size_t n);
size_t clear_user_partial(u64 dst, size_t n);

/* 0 or -EFAULT. */
int copy_from_user(void *dst, u64 src, size_t n);
int copy_to_user(u64 dst, const void *src, size_t n);

/* The string at src with its terminator into dst[max]: its length, -EFAULT, or
 * -ENAMETOOLONG when no terminator comes within max bytes. */
long copy_string_from_user(char *dst, u64 src, size_t max);

static inline int get_user_u32(u32 *v, u64 src)
{
	return copy_from_user(v, src, sizeof(*v));
}
static inline int get_user_u64(u64 *v, u64 src)
{
	return copy_from_user(v, src, sizeof(*v));
}
static inline int put_user_u32(u64 dst, u32 v)
{
	return copy_to_user(dst, &v, sizeof(v));
}
static inline int put_user_u64(u64 dst, u64 v)
{
	return copy_to_user(dst, &v, sizeof(v));
}

/* Atomics on user memory for futexes; fault in as needed.  0 or -EFAULT. */
int user_load_u32(u32 *v, u64 addr);
/* *old = value before; stores new when it was expected. */
int user_cmpxchg_u32(u64 addr, u32 expected, u32 new, u32 *old);

/* ---- iterators: the user (or kernel) buffers of a read or write ------------------ */

struct iovec {
	u64 base, len;
};
struct iter {
	const struct iovec *iov; /* kernel copy of the vector */
	unsigned n;              /* vectors left */
	size_t off;              /* into iov[0] */
	size_t left;             /* bytes left in all */
	bool kernel;             /* bases are kernel pointers */
};
/* Move up to n bytes and advance; fewer than n: the end or a fault. */
size_t iter_copy_to(struct iter *it, const void *src, size_t n);
size_t iter_copy_from(struct iter *it, void *dst, size_t n);
size_t iter_zero(struct iter *it, size_t n);
/* One buffer as an iterator; iov is the caller's storage. */
static inline struct iter iter_user(struct iovec *iov, u64 base, size_t len)
{
	*iov = (struct iovec){base, len};
	return (struct iter){iov, 1, 0, len, false};
}
static inline struct iter iter_kernel(struct iovec *iov, const void *base, size_t len)
{
	*iov = (struct iovec){(u64)base, len};
	return (struct iter){iov, 1, 0, len, true};
}
/* Copy a user iovec array in, checked as readv(2): fills it and *storage (kfree it when
 * not null).  Total length or -errno. */
s64 iter_import(struct iter *it, struct iovec **storage, u64 uvec, u64 count);

#endif
