/* SPDX-License-Identifier: MIT */
/*
 * Futexes: threads that wait on a word of user memory.
 *
 * A waiter is queued in a bucket chosen by the word's key, which the core makes
 * (mm and address, or file and offset when it is shared).  The bucket's lock
 * (RANK_HOST_MID) makes "the word still has that value, and I wait" atomic
 * against wakers; the word is read under it without faulting (preemption is off,
 * so a copy that would fault fails), and faulted in outside before another try.
 * Two buckets are locked in the order of their addresses.
 */
#include "futex.h"

#define BUCKETS 128

#define FUTEX_WAIT 0
#define FUTEX_WAKE 1
#define FUTEX_REQUEUE 3
#define FUTEX_CMP_REQUEUE 4
#define FUTEX_WAKE_OP 5
#define FUTEX_LOCK_PI 6
#define FUTEX_UNLOCK_PI 7
#define FUTEX_TRYLOCK_PI 8
#define FUTEX_WAIT_BITSET 9
#define FUTEX_WAKE_BITSET 10
#define FUTEX_WAIT_REQUEUE_PI 11
#define FUTEX_CMP_REQUEUE_PI 12
#define FUTEX_LOCK_PI2 13

static struct futex_bucket buckets[BUCKETS];

void futex_init(void)
{
	for (unsigned i = 0; i < BUCKETS; i++) {
		spin_init(&buckets[i].lock, RANK_HOST_MID);
		list_init(&buckets[i].waiters);
	}
}

struct futex_bucket *futex_bucket(const u64 key[3])
{
	u64 h = (key[0] >> 4) * 0x9e3779b97f4a7c15UL ^ key[1] * 0xc2b2ae3d27d4eb4fUL ^ key[2];
	return &buckets[(h ^ h >> 32 ^ h >> 17) % BUCKETS];
}

int futex_key(u64 uaddr, u32 op, bool write, u64 key[3])
{
	if (uaddr & 3)
		return -EINVAL;
	if (uaddr >= QUIRE_USER_END)
		return -EFAULT;
	return quire_mm_futex_key(current()->uspace->mm, uaddr, !(op & FUTEX_PRIVATE), write, key);
}

void futex_wake_waiter(struct futex_waiter *w)
{
	struct task *t = w->task;
	task_get(t);
	list_del(&w->node);
	__atomic_store_n(&w->bucket, NULL, __ATOMIC_RELEASE);
	wake_task(t, WAKE_NORMAL);
	task_put(t);
}

int futex_wake_locked(struct futex_bucket *b, const u64 key[3], s32 n, u32 bitset)
{
	struct futex_waiter *w, *tmp;
	int woken = 0;
	list_for_each_safe (w, tmp, &b->waiters, node) {
		if (!futex_same_key(w->key, key))
			continue;
		if (w->pi || w->requeue_key)
			return -EINVAL;
		if (!(w->bitset & bitset))
			continue;
		futex_wake_waiter(w);
		if (++woken >= n)
			break;
	}
	return woken;
}

void futex_queue(struct futex_bucket *b, struct futex_waiter *w)
{
	struct list *before = &b->waiters;
	if (quire_unlikely(policy_real_time(w->task->policy))) {
		s32 prio = own_prio(w->task);
		for (before = before->next; before != &b->waiters; before = before->next)
			if (own_prio(list_entry(before, struct futex_waiter, node)->task) > prio)
				break;
	}
	w->bucket = b;
	list_add_tail(before, &w->node);
}

struct futex_waiter *futex_first(struct futex_bucket *b, const u64 key[3])
{
	struct futex_waiter *w;
	list_for_each (w, &b->waiters, node)
		if (futex_same_key(w->key, key))
			return w;
	return NULL;
}

long futex_wake(u64 uaddr, u32 op, s32 n, u32 bitset)
{
	u64 key[3];
	if (!bitset)
		return -EINVAL;
	int err = futex_key(uaddr, op, false, key);
	if (err)
		return err;
	struct futex_bucket *b = futex_bucket(key);
	spin_lock(&b->lock);
	int woken = futex_wake_locked(b, key, n, bitset);
	spin_unlock(&b->lock);
	return woken;
}

void futex_wake_one(u64 uaddr)
{
	futex_wake(uaddr, 0, 1, FUTEX_ANY);
}

/* ---- waiting --------------------------------------------------------------------------- */

int futex_peek(u32 *v, u64 uaddr)
{
	struct task *t = current();
	t->no_fault++;
	int err = user_load_u32(v, uaddr);
	t->no_fault--;
	return err;
}

int futex_enqueue(struct futex_waiter *w, u64 uaddr, u32 val)
{
	u32 v;
	for (;;) {
		struct futex_bucket *b = futex_bucket(w->key);
		spin_lock(&b->lock);
		int err = futex_peek(&v, uaddr);
		if (!err && v == val)
			futex_queue(b, w);
		spin_unlock(&b->lock);
		if (!err)
			return v == val ? 0 : -EAGAIN;
		if (user_load_u32(&v, uaddr))
			return -EFAULT;
	}
}

bool futex_dequeue_unmoved(struct futex_waiter *w)
{
	struct futex_bucket *b;
	while ((b = __atomic_load_n(&w->bucket, __ATOMIC_ACQUIRE))) {
		spin_lock(&b->lock);
		bool same = w->bucket == b, lock = w->pi;
		if (same && !lock) {
			list_del(&w->node);
			w->bucket = NULL;
		}
		spin_unlock(&b->lock);
		if (same)
			return !lock;
	}
	return false;
}

bool futex_dequeue(struct futex_waiter *w)
{
	return !futex_dequeue_unmoved(w);
}

int futex_sleep(struct futex_waiter *w, u64 deadline)
{
	struct task *t = current();
	int err = 0;
	for (;;) {
		__atomic_store_n(&t->state, (u32)TASK_INTERRUPTIBLE, __ATOMIC_SEQ_CST);
		if (!__atomic_load_n(&w->bucket, __ATOMIC_ACQUIRE))
			break;
		if (signal_pending()) {
			err = -EINTR;
			break;
		}
		if (!schedule_until(deadline)) {
			err = -ETIMEDOUT;
			break;
		}
	}
	__atomic_store_n(&t->state, (u32)TASK_RUNNING, __ATOMIC_RELEASE);
	return futex_dequeue(w) ? 0 : err;
}

static long futex_restart(struct task *t);

static long futex_wait(u64 uaddr, u32 op, u32 val, u64 deadline, u32 bitset)
{
	struct task *t = current();
	struct futex_waiter w = {.task = t, .bitset = bitset};
	if (!bitset)
		return -EINVAL;
	long err = futex_key(uaddr, op, false, w.key);
	if (!err)
		err = futex_enqueue(&w, uaddr, val);
	if (!err)
		err = futex_sleep(&w, deadline);
	if (err != -EINTR)
		return err;
	if (deadline == ~0UL)
		return -ERESTARTSYS;
	t->restart_data[0] = uaddr;
	t->restart_data[1] = op;
	t->restart_data[2] = val;
	t->restart_data[3] = deadline;
	t->restart_data[4] = bitset;
	t->restart = (void *)futex_restart;
	return -ERESTART_RESTARTBLOCK;
}

/* restart_syscall(2): go on with the wait that a stop interrupted. */
static long futex_restart(struct task *t)
{
	return futex_wait(t->restart_data[0], (u32)t->restart_data[1], (u32)t->restart_data[2],
			  t->restart_data[3], (u32)t->restart_data[4]);
}

/* ---- the call ---------------------------------------------------------------------------- */

/* Absolute deadline from the call's timeout: 0 or -errno. */
static int futex_deadline(u32 op, u64 utimeout, u64 *deadline)
{
	u32 cmd = op & 127;
	u64 ns;
	*deadline = ~0UL;
	if (!utimeout)
		return 0;
	int err = timespec_in(&ns, utimeout);
	if (err)
		return err;
	if (cmd == FUTEX_WAIT) {
		*deadline = time_ns() + ns < ns ? ~0UL - 1 : time_ns() + ns;
		return 0;
	}
	if ((op & FUTEX_CLOCK_REALTIME) || cmd == FUTEX_LOCK_PI)
		ns = ns > wall_offset_ns ? ns - wall_offset_ns : 0;
	*deadline = quire_min(ns, ~0UL - 1);
	return 0;
}

static bool has_timeout(u32 cmd)
{
	return cmd == FUTEX_WAIT || cmd == FUTEX_WAIT_BITSET || cmd == FUTEX_LOCK_PI ||
	       cmd == FUTEX_LOCK_PI2 || cmd == FUTEX_WAIT_REQUEUE_PI;
}

SYSCALL6(futex, u64, uaddr, u32, op, u32, val, u64, timeout, u64, uaddr2, u32, val3)
{
	u32 cmd = op & 127;
	u64 deadline = ~0UL;
	int err = has_timeout(cmd) ? futex_deadline(op, timeout, &deadline) : 0;
	if (err)
		return err;
	if ((op & FUTEX_CLOCK_REALTIME) && cmd != FUTEX_WAIT_BITSET &&
	    cmd != FUTEX_WAIT_REQUEUE_PI && cmd != FUTEX_LOCK_PI2)
		return -ENOSYS;
	switch (cmd) {
	case FUTEX_WAIT:
		return futex_wait(uaddr, op, val, deadline, FUTEX_ANY);
	case FUTEX_WAIT_BITSET:
		return futex_wait(uaddr, op, val, deadline, val3);
	case FUTEX_WAKE:
		return futex_wake(uaddr, op, (s32)val, FUTEX_ANY);
	case FUTEX_WAKE_BITSET:
		return futex_wake(uaddr, op, (s32)val, val3);
	case FUTEX_REQUEUE:
		return futex_requeue(uaddr, op, (s32)val, (s32)timeout, uaddr2, NULL);
	case FUTEX_CMP_REQUEUE:
		return futex_requeue(uaddr, op, (s32)val, (s32)timeout, uaddr2, &val3);
	case FUTEX_WAKE_OP:
		return futex_wake_op(uaddr, op, (s32)val, (s32)timeout, uaddr2, val3);
	case FUTEX_LOCK_PI:
	case FUTEX_LOCK_PI2:
		return futex_lock_pi(uaddr, op, deadline, false);
	case FUTEX_TRYLOCK_PI:
		return futex_lock_pi(uaddr, op, ~0UL, true);
	case FUTEX_UNLOCK_PI:
		return futex_unlock_pi(uaddr, op);
	case FUTEX_WAIT_REQUEUE_PI:
		return futex_wait_requeue_pi(uaddr, op, val, deadline, uaddr2);
	case FUTEX_CMP_REQUEUE_PI:
		return futex_cmp_requeue_pi(uaddr, op, (s32)val, (s32)timeout, uaddr2, val3);
	}
	return -ENOSYS;
}
