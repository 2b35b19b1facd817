/* SPDX-License-Identifier: MIT */
/*
 * Requeueing from a word to a lock: what condition variables are made of.
 *
 * FUTEX_WAIT_REQUEUE_PI waits for a word, and says for which lock it is to wait then;
 * FUTEX_CMP_REQUEUE_PI takes the lock for the first waiter or makes it one of the lock's, as
 * all the others.  The sleeper sees only when it wakes up which queue it is in.
 */
#include "futex.h"

/* Move w, which waits for the lock now, to the lock's queue; both are locked. */
static void move_to_lock(struct futex_waiter *w, struct futex_bucket *to, const u64 key[3])
{
	list_del(&w->node);
	memcpy(w->key, key, sizeof(w->key));
	futex_queue(to, w);
	if (w->granted)
		wake_task(w->task, WAKE_NORMAL);
}

static bool meant_for(const struct futex_waiter *w, const u64 key[3])
{
	return w->requeue_key && !w->pi && futex_same_key(w->requeue_key, key);
}

/* Up to m waiters, and one more unless the first could be given the lock.  *again: nothing
 * was done, see pi_retry(); else how many, or -errno. */
static int requeue_locked(struct futex_bucket *from, const u64 k1[3], struct futex_bucket *to,
			  const u64 k2[3], u64 u2, s64 m, struct pi_attach *a, bool *again)
{
	struct futex_waiter *w = futex_first(from, k1), *tmp;
	s64 done = 0;
	u32 v;
	int err = futex_peek(&v, u2);
	if (err)
		*again = true;
	if (err || !w)
		return err;
	if (!meant_for(w, k2))
		return -EINVAL;
	int taken = pi_take(u2, to, k2, w->task, m > 0, a);
	if (taken < 0) {
		*again = taken == -EFAULT || taken == -EBUSY || taken == -EAGAIN;
		return taken;
	}
	if (taken) {
		w->granted = true;
		futex_wake_waiter(w);
		done = 1;
	}
	list_for_each_safe (w, tmp, &from->waiters, node) {
		if (done - 1 >= m)
			break;
		if (!futex_same_key(w->key, k1))
			continue;
		err = meant_for(w, k2) ? pi_block(w, a->pi) : -EINVAL;
		if (err)
			break;
		move_to_lock(w, to, k2);
		done++;
	}
	pi_release(a->pi);
	return err ? err : (int)done;
}

long futex_cmp_requeue_pi(u64 u1, u32 op, s32 n, s32 m, u64 u2, u32 cmp)
{
	u64 k1[3], k2[3];
	struct pi_attach a = {0};
	bool again = true;
	int r = 0;
	if (n < 0 || m < 0 || u1 == u2 || n != 1)
		return -EINVAL;
	while (again) {
		u32 v;
		again = false;
		if (!pi_prepare(&a))
			return -ENOMEM;
		if ((r = futex_key(u1, op, false, k1)) || (r = futex_key(u2, op, true, k2)))
			break;
		if (futex_same_key(k1, k2)) {
			r = -EINVAL;
			break;
		}
		struct futex_bucket *from = futex_bucket(k1), *to = futex_bucket(k2);
		futex_lock_two(from, to);
		bool absent = futex_peek(&v, u1);
		if (!absent)
			r = v == cmp ? requeue_locked(from, k1, to, k2, u2, m, &a, &again)
				     : -EAGAIN;
		futex_unlock_two(from, to);
		if (absent)
			again = !(r = user_load_u32(&v, u1));
		else if (again)
			again = !(r = pi_retry(r, &a, u2));
	}
	pi_forget(&a);
	return r;
}

long futex_wait_requeue_pi(u64 u1, u32 op, u32 val, u64 deadline, u64 u2)
{
	struct futex_waiter w = {.task = current(), .bitset = FUTEX_ANY};
	u64 lock_key[3];
	if (u1 == u2)
		return -EINVAL;
	int err = futex_key(u2, op, true, lock_key);
	if (!err)
		err = futex_key(u1, op, false, w.key);
	bool same = !err && futex_same_key(w.key, lock_key); /* before the key can change */
	w.requeue_key = lock_key;
	if (!err)
		err = futex_enqueue(&w, u1, val);
	if (err)
		return err;
	if (same) {
		futex_dequeue(&w);
		return -EINVAL;
	}
	err = pi_sleep(&w, deadline);
	/* Woken: with the lock.  Moved: to be seen.  Neither: time passed, or a signal came. */
	if (futex_dequeue_unmoved(&w))
		return err == -EINTR ? -ERESTARTNOINTR : err;
	if (!w.bucket)
		return 0;
	err = pi_finish(&w, u2, err);
	return err == -EINTR ? -EAGAIN : err;
}
