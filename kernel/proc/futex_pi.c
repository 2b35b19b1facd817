/* SPDX-License-Identifier: MIT */
/*
 * Futexes that the kernel hands over: the word is its owner's tid.
 *
 * Priority inheritance isn't there: the *_PI calls hand the lock over, first come
 * first served, without raising anybody's priority.
 */
#include "futex.h"

long futex_lock_pi(u64 uaddr, u32 op, u64 deadline, bool try_only)
{
	struct task *t = current();
	struct futex_waiter w = {.task = t, .bitset = FUTEX_ANY};
	u32 v, old;
	long err = futex_key(uaddr, op, true, w.key);
	if (err)
		return err;
	if (user_load_u32(&v, uaddr))
		return -EFAULT;
	for (;;) {
		u32 owner = v & FUTEX_TID;
		if (owner == t->tid)
			return -EDEADLK;
		/* Free, or its owner died with waiters about: take it, keep the flags. */
		u32 want = owner ? v | FUTEX_WAITERS : (v & ~FUTEX_TID) | t->tid;
		if (owner && try_only)
			return -EAGAIN;
		if (want != v) {
			if (user_cmpxchg_u32(uaddr, v, want, &old))
				return -EFAULT;
			if (old != v) {
				v = old;
				continue;
			}
		}
		if (!owner)
			return 0;
		struct task *o = task_find(owner);
		if (!o)
			return -ESRCH;
		task_put(o);
		err = futex_enqueue(&w, uaddr, want);
		if (!err)
			err = futex_sleep(&w, deadline);
		if (err == -EINTR)
			return -ERESTARTNOINTR;
		if (err && err != -EAGAIN)
			return err;
		if (user_load_u32(&v, uaddr))
			return -EFAULT;
		if ((v & FUTEX_TID) == t->tid)
			return 0; /* handed over */
	}
}

long futex_unlock_pi(u64 uaddr, u32 op)
{
	struct task *t = current();
	struct futex_waiter *w, *next = NULL, *more = NULL;
	u64 key[3];
	u32 v, old;
	int err = futex_key(uaddr, op, true, key);
	if (err)
		return err;
	if (user_load_u32(&v, uaddr))
		return -EFAULT;
	if ((v & FUTEX_TID) != t->tid)
		return -EPERM;
	struct futex_bucket *b = futex_bucket(key);
	for (;;) {
		next = more = NULL;
		spin_lock(&b->lock);
		list_for_each (w, &b->waiters, node)
			if (futex_same_key(w->key, key)) {
				if (next) {
					more = w;
					break;
				}
				next = w;
			}
		u32 want = next ? next->task->tid | (more ? FUTEX_WAITERS : 0) : 0;
		t->no_fault++;
		err = user_cmpxchg_u32(uaddr, v, want, &old);
		t->no_fault--;
		if (!err && old == v && next)
			futex_wake_waiter(next);
		spin_unlock(&b->lock);
		if (!err && old == v)
			return 0;
		/* A write fault, or a new waiter's flag: once more with the present value. */
		if (err && user_cmpxchg_u32(uaddr, v, v, &old))
			return -EFAULT;
		v = old;
		if ((v & FUTEX_TID) != t->tid)
			return -EPERM;
	}
}
