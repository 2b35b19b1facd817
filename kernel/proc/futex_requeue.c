/* SPDX-License-Identifier: MIT */
/*
 * Futexes by twos: waiters of one word moved to another, and FUTEX_WAKE_OP.
 * Two buckets are locked in the order of their addresses.
 */
#include "futex.h"

void futex_lock_two(struct futex_bucket *a, struct futex_bucket *b) NO_TSA
{
	spin_lock(a < b ? &a->lock : &b->lock);
	if (a != b)
		spin_lock_nested(a < b ? &b->lock : &a->lock);
}

void futex_unlock_two(struct futex_bucket *a, struct futex_bucket *b) NO_TSA
{
	spin_unlock(&a->lock);
	if (a != b)
		spin_unlock(&b->lock);
}

/* Wake n waiters of one word and move up to m of the rest to the other.  -EINVAL: there are
 * some that wait for a lock, or are to. */
static int requeue_locked(struct futex_bucket *from, const u64 k1[3], struct futex_bucket *to,
			  const u64 k2[3], u32 n, u32 m)
{
	struct futex_waiter *w, *tmp;
	struct list moved = LIST_INIT(moved);
	u32 woken = 0, nmoved = 0;
	int err = 0;
	list_for_each_safe (w, tmp, &from->waiters, node) {
		if (woken == n && nmoved == m)
			break;
		if (!futex_same_key(w->key, k1))
			continue;
		if (w->pi || w->requeue_key) {
			err = -EINVAL;
			break;
		}
		if (woken < n) {
			futex_wake_waiter(w);
			woken++;
			continue;
		}
		list_del(&w->node);
		list_add_tail(&moved, &w->node);
		memcpy(w->key, k2, sizeof(w->key));
		__atomic_store_n(&w->bucket, to, __ATOMIC_RELEASE);
		nmoved++;
	}
	list_for_each_safe (w, tmp, &moved, node) {
		list_del(&w->node);
		futex_queue(to, w);
	}
	return err ? err : (int)(woken + nmoved);
}

long futex_requeue(u64 u1, u32 op, s32 n, s32 m, u64 u2, const u32 *cmp)
{
	u64 k1[3], k2[3];
	u32 v;
	int err;
	if (n < 0 || m < 0)
		return -EINVAL;
	if ((err = futex_key(u1, op, false, k1)) || (err = futex_key(u2, op, false, k2)))
		return err;
	struct futex_bucket *a = futex_bucket(k1), *b = futex_bucket(k2);
	for (;;) {
		futex_lock_two(a, b);
		err = cmp ? futex_peek(&v, u1) : 0;
		if (!err)
			break;
		futex_unlock_two(a, b);
		if (user_load_u32(&v, u1))
			return -EFAULT;
	}
	long r = -EAGAIN;
	if (!cmp || v == *cmp)
		r = requeue_locked(a, k1, b, k2, (u32)n, (u32)m);
	futex_unlock_two(a, b);
	return r;
}

/* FUTEX_WAKE_OP's operation on a word; its old value in *old. */
static int wake_op(u64 uaddr, u32 code, u32 *old)
{
	s32 arg = (s32)(code << 8) >> 20;
	u32 kind = code >> 28 & 7, now;
	if (code >> 31) {
		if (arg < 0 || arg > 31)
			arg &= 31;
		arg = (s32)(1u << arg);
	}
	if (user_load_u32(&now, uaddr))
		return -EFAULT;
	for (;;) {
		u32 v;
		switch (kind) {
		case 0:
			v = (u32)arg;
			break;
		case 1:
			v = now + (u32)arg;
			break;
		case 2:
			v = now | (u32)arg;
			break;
		case 3:
			v = now & ~(u32)arg;
			break;
		case 4:
			v = now ^ (u32)arg;
			break;
		default:
			return -ENOSYS;
		}
		if (user_cmpxchg_u32(uaddr, now, v, old))
			return -EFAULT;
		if (*old == now)
			return 0;
		now = *old;
	}
}

static int wake_op_compares(u32 code, u32 old)
{
	s32 arg = (s32)(code << 20) >> 20, v = (s32)old;
	switch (code >> 24 & 15) {
	case 0:
		return v == arg;
	case 1:
		return v != arg;
	case 2:
		return v < arg;
	case 3:
		return v <= arg;
	case 4:
		return v > arg;
	case 5:
		return v >= arg;
	default:
		return -ENOSYS;
	}
}

long futex_wake_op(u64 u1, u32 op, s32 n1, s32 n2, u64 u2, u32 code)
{
	u64 k1[3], k2[3];
	u32 old;
	int err;
	if ((err = futex_key(u1, op, false, k1)) || (err = futex_key(u2, op, true, k2)))
		return err;
	if ((err = wake_op(u2, code, &old)))
		return err;
	int also = wake_op_compares(code, old);
	if (also < 0)
		return also;
	struct futex_bucket *a = futex_bucket(k1), *b = futex_bucket(k2);
	futex_lock_two(a, b);
	int r = futex_wake_locked(a, k1, n1, FUTEX_ANY), more = 0;
	if (also && r >= 0)
		more = futex_wake_locked(b, k2, n2, FUTEX_ANY);
	futex_unlock_two(a, b);
	return more < 0 ? more : r + more;
}
