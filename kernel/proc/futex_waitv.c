/* SPDX-License-Identifier: MIT */
/*
 * futex_waitv(2): waiting for any of many words.  Each is queued in its bucket by a
 * waiter of its own; there is no moment at which all the buckets are locked.
 */
#include "futex.h"

#define WAITV_MAX 128u
#define FUTEX2_SIZE_U32 2u
#define CLOCK_REALTIME 0
#define CLOCK_MONOTONIC 1

struct waitv { /* struct futex_waitv */
	u64 val, uaddr;
	u32 flags, reserved;
};

/* Off all n queues.  The last that was woken before, or -1. */
static long dequeue_all(struct futex_waiter *w, u32 n)
{
	long woken = -1;
	for (u32 i = 0; i < n; i++)
		if (futex_dequeue(&w[i]))
			woken = i;
	return woken;
}

/* Have all n words their values, and is none woken meanwhile?  Then sleep on them all. */
static long wait_many(struct futex_waiter *w, const struct waitv *v, u32 n, u64 deadline)
{
	struct task *t = current();
	long err = 0, woken;
	for (u32 i = 0; i < n; i++) {
		err = futex_enqueue(&w[i], v[i].uaddr, (u32)v[i].val);
		if (err) {
			woken = dequeue_all(w, i);
			return woken >= 0 ? woken : err;
		}
	}
	for (;;) {
		__atomic_store_n(&t->state, (u32)TASK_INTERRUPTIBLE, __ATOMIC_SEQ_CST);
		bool waiting = true;
		for (u32 i = 0; i < n && waiting; i++)
			waiting = __atomic_load_n(&w[i].bucket, __ATOMIC_ACQUIRE);
		if (!waiting || err)
			break;
		if (signal_pending())
			err = -ERESTARTSYS;
		else if (!schedule_until(deadline))
			err = -ETIMEDOUT;
	}
	__atomic_store_n(&t->state, (u32)TASK_RUNNING, __ATOMIC_RELEASE);
	woken = dequeue_all(w, n);
	return woken >= 0 ? woken : err;
}

static int waitv_in(struct futex_waiter *w, struct waitv *v, u64 uv, u32 n)
{
	for (u32 i = 0; i < n; i++) {
		if (copy_from_user(&v[i], uv + i * sizeof(*v), sizeof(*v)))
			return -EFAULT;
		if ((v[i].flags & ~(FUTEX2_SIZE_U32 | FUTEX_PRIVATE)) || v[i].reserved ||
		    !(v[i].flags & FUTEX2_SIZE_U32))
			return -EINVAL;
	}
	for (u32 i = 0; i < n; i++) {
		w[i] = (struct futex_waiter){.task = current(), .bitset = FUTEX_ANY};
		int err = futex_key(v[i].uaddr, v[i].flags, false, w[i].key);
		if (err)
			return err;
	}
	return 0;
}

SYSCALL5(futex_waitv, u64, uv, u32, n, u32, flags, u64, utimeout, s32, clock)
{
	u64 deadline = ~0UL;
	if (flags || !n || n > WAITV_MAX || !uv)
		return -EINVAL;
	if (utimeout) {
		if (clock != CLOCK_REALTIME && clock != CLOCK_MONOTONIC)
			return -EINVAL;
		int err = timespec_in(&deadline, utimeout);
		if (err)
			return err;
		if (clock == CLOCK_REALTIME)
			deadline = deadline > wall_offset_ns ? deadline - wall_offset_ns : 0;
		deadline = quire_min(deadline, ~0UL - 1);
	}
	struct waitv *v = quire_kmalloc(n * (sizeof(*v) + sizeof(struct futex_waiter)), GFP_KERNEL);
	if (!v)
		return -ENOMEM;
	struct futex_waiter *w = (struct futex_waiter *)(v + n);
	long r = waitv_in(w, v, uv, n);
	if (!r)
		r = wait_many(w, v, n, deadline);
	quire_kfree(v);
	return r;
}
