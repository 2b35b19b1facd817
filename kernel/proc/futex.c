/* SPDX-License-Identifier: MIT */
/*
 * Futexes: threads that wait on a word of user memory.
 *
 * A waiter is queued in a bucket chosen by the word's key, which the core makes
 * (mm and address, or file and offset when it is shared).  The bucket's lock
 * (RANK_HOST_MID + 12) makes "the word still has that value, and I wait" atomic
 * against wakers; the word is read under it without faulting (preemption is off,
 * so a copy that would fault fails), and faulted in outside before another try.
 * Two buckets are locked in the order of their addresses.
 *
 * Priority inheritance isn't there: the *_PI calls hand the lock over, first come
 * first served, without raising anybody's priority.
 */
#include "internal.h"

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
#define FUTEX_LOCK_PI2 13
#define FUTEX_PRIVATE 128u
#define FUTEX_CLOCK_REALTIME 256u
#define FUTEX_ANY 0xffffffffu

#define FUTEX_WAITERS 0x80000000u
#define FUTEX_OWNER_DIED 0x40000000u
#define FUTEX_TID 0x3fffffffu

struct bucket {
	struct spinlock lock;
	struct list waiters;
};
struct futex_waiter {
	struct list node;
	u64 key[3];
	struct bucket *bucket; /* null: woken.  Changed under the bucket's lock */
	struct task *task;
	u32 bitset;
};

static struct bucket buckets[BUCKETS];

void futex_init(void)
{
	for (unsigned i = 0; i < BUCKETS; i++) {
		spin_init(&buckets[i].lock, RANK_HOST_MID + 12);
		list_init(&buckets[i].waiters);
	}
}

static struct bucket *bucket_of(const u64 key[3])
{
	u64 h = (key[0] >> 4) * 0x9e3779b97f4a7c15UL ^ key[1] * 0xc2b2ae3d27d4eb4fUL ^ key[2];
	return &buckets[(h ^ h >> 32 ^ h >> 17) % BUCKETS];
}

static bool same_key(const u64 a[3], const u64 b[3])
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2];
}

static int key_of(u64 uaddr, u32 op, bool write, u64 key[3])
{
	if (uaddr & 3)
		return -EINVAL;
	if (uaddr >= QUIRE_USER_END)
		return -EFAULT;
	return quire_mm_futex_key(current()->uspace->mm, uaddr, !(op & FUTEX_PRIVATE), write, key);
}

/* Take w off its queue and let its thread run; the bucket's lock is held.  The waiter may
 * be gone as soon as its bucket is null. */
static void wake_waiter(struct futex_waiter *w)
{
	struct task *t = w->task;
	task_get(t);
	list_del(&w->node);
	__atomic_store_n(&w->bucket, NULL, __ATOMIC_RELEASE);
	wake_task(t, WAKE_NORMAL);
	task_put(t);
}

static int wake_locked(struct bucket *b, const u64 key[3], u32 n, u32 bitset)
{
	struct futex_waiter *w, *tmp;
	int woken = 0;
	list_for_each_safe (w, tmp, &b->waiters, node) {
		if ((u32)woken >= n)
			break;
		if (!same_key(w->key, key) || !(w->bitset & bitset))
			continue;
		wake_waiter(w);
		woken++;
	}
	return woken;
}

static long futex_wake(u64 uaddr, u32 op, u32 n, u32 bitset)
{
	u64 key[3];
	if (!bitset)
		return -EINVAL;
	int err = key_of(uaddr, op, false, key);
	if (err)
		return err;
	struct bucket *b = bucket_of(key);
	spin_lock(&b->lock);
	int woken = wake_locked(b, key, n, bitset);
	spin_unlock(&b->lock);
	return woken;
}

u64 futex_wake_one(u64 uaddr)
{
	u64 key[3];
	if ((uaddr & 3) || quire_mm_futex_key(current()->uspace->mm, uaddr, true, true, key))
		return 0;
	/* Waiters may have said it is private, or not: both kinds of key. */
	long n = futex_wake(uaddr, 0, 1, FUTEX_ANY);
	if (n <= 0)
		n = futex_wake(uaddr, FUTEX_PRIVATE, 1, FUTEX_ANY);
	return n > 0 ? (u64)n : 0;
}

/* ---- waiting --------------------------------------------------------------------------- */

/* The word's value under a spinlock: -EFAULT when it isn't mapped just now. */
static int peek(u32 *v, u64 uaddr)
{
	struct task *t = current();
	t->no_fault++;
	int err = user_load_u32(v, uaddr);
	t->no_fault--;
	return err;
}

/* Queue w while the word is val.  0, -EAGAIN, -EFAULT. */
static int enqueue(struct futex_waiter *w, u64 uaddr, u32 val)
{
	u32 v;
	for (;;) {
		struct bucket *b = bucket_of(w->key);
		spin_lock(&b->lock);
		int err = peek(&v, uaddr);
		if (!err && v == val) {
			w->bucket = b;
			list_add_tail(&b->waiters, &w->node);
		}
		spin_unlock(&b->lock);
		if (!err)
			return v == val ? 0 : -EAGAIN;
		if (user_load_u32(&v, uaddr))
			return -EFAULT;
	}
}

/* Off the queue, wherever it was moved to.  True when it was woken before. */
static bool dequeue(struct futex_waiter *w)
{
	for (;;) {
		struct bucket *b = __atomic_load_n(&w->bucket, __ATOMIC_ACQUIRE);
		if (!b)
			return true;
		spin_lock(&b->lock);
		if (w->bucket == b) {
			list_del(&w->node);
			w->bucket = NULL;
			spin_unlock(&b->lock);
			return false;
		}
		spin_unlock(&b->lock);
	}
}

/* Sleep until woken.  0, -ETIMEDOUT, -EINTR. */
static int sleep_on(struct futex_waiter *w, u64 deadline)
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
	return dequeue(w) ? 0 : err;
}

static long futex_restart(struct task *t);

static long futex_wait(u64 uaddr, u32 op, u32 val, u64 deadline, u32 bitset)
{
	struct task *t = current();
	struct futex_waiter w = {.task = t, .bitset = bitset};
	if (!bitset)
		return -EINVAL;
	long err = key_of(uaddr, op, false, w.key);
	if (!err)
		err = enqueue(&w, uaddr, val);
	if (!err)
		err = sleep_on(&w, deadline);
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

/* ---- any of many words ---------------------------------------------------------------------- */

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
		if (dequeue(&w[i]))
			woken = i;
	return woken;
}

/* Have all n words their values, and is none woken meanwhile?  Then sleep on them all. */
static long wait_many(struct futex_waiter *w, const struct waitv *v, u32 n, u64 deadline)
{
	struct task *t = current();
	long err = 0, woken;
	for (u32 i = 0; i < n; i++) {
		err = enqueue(&w[i], v[i].uaddr, (u32)v[i].val);
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
		int err = key_of(v[i].uaddr, v[i].flags, false, w[i].key);
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

/* ---- two words ------------------------------------------------------------------------------ */

static void lock_two(struct bucket *a, struct bucket *b) NO_TSA
{
	spin_lock(a < b ? &a->lock : &b->lock);
	if (a != b)
		spin_lock_nested(a < b ? &b->lock : &a->lock);
}

static void unlock_two(struct bucket *a, struct bucket *b) NO_TSA
{
	spin_unlock(&a->lock);
	if (a != b)
		spin_unlock(&b->lock);
}

/* Wake n waiters of one word and move up to m of the rest to the other. */
static int requeue_locked(struct bucket *from, const u64 k1[3], struct bucket *to, const u64 k2[3],
			  u32 n, u32 m)
{
	struct futex_waiter *w, *tmp;
	struct list moved = LIST_INIT(moved);
	u32 woken = 0, nmoved = 0;
	list_for_each_safe (w, tmp, &from->waiters, node) {
		if (!same_key(w->key, k1))
			continue;
		if (woken < n) {
			wake_waiter(w);
			woken++;
			continue;
		}
		if (nmoved == m)
			break;
		list_del(&w->node);
		list_add_tail(&moved, &w->node);
		memcpy(w->key, k2, sizeof(w->key));
		__atomic_store_n(&w->bucket, to, __ATOMIC_RELEASE);
		nmoved++;
	}
	list_splice_tail(&to->waiters, &moved);
	return (int)(woken + nmoved);
}

static long futex_requeue(u64 u1, u32 op, s32 n, s32 m, u64 u2, const u32 *cmp)
{
	u64 k1[3], k2[3];
	u32 v;
	int err;
	if (n < 0 || m < 0)
		return -EINVAL;
	if ((err = key_of(u1, op, false, k1)) || (err = key_of(u2, op, false, k2)))
		return err;
	struct bucket *a = bucket_of(k1), *b = bucket_of(k2);
	for (;;) {
		lock_two(a, b);
		err = cmp ? peek(&v, u1) : 0;
		if (!err)
			break;
		unlock_two(a, b);
		if (user_load_u32(&v, u1))
			return -EFAULT;
	}
	long r = -EAGAIN;
	if (!cmp || v == *cmp)
		r = requeue_locked(a, k1, b, k2, (u32)n, (u32)m);
	unlock_two(a, b);
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

static long futex_wake_op(u64 u1, u32 op, u32 n1, u32 n2, u64 u2, u32 code)
{
	u64 k1[3], k2[3];
	u32 old;
	int err;
	if ((err = key_of(u1, op, false, k1)) || (err = key_of(u2, op, true, k2)))
		return err;
	if ((err = wake_op(u2, code, &old)))
		return err;
	int also = wake_op_compares(code, old);
	if (also < 0)
		return also;
	struct bucket *a = bucket_of(k1), *b = bucket_of(k2);
	lock_two(a, b);
	long r = wake_locked(a, k1, n1, FUTEX_ANY);
	if (also)
		r += wake_locked(b, k2, n2, FUTEX_ANY);
	unlock_two(a, b);
	return r;
}

/* ---- locks that the kernel hands over ---------------------------------------------------------
 */

static long lock_pi(u64 uaddr, u32 op, u64 deadline, bool try_only)
{
	struct task *t = current();
	struct futex_waiter w = {.task = t, .bitset = FUTEX_ANY};
	u32 v, old;
	long err = key_of(uaddr, op, true, w.key);
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
		err = enqueue(&w, uaddr, want);
		if (!err)
			err = sleep_on(&w, deadline);
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

static long unlock_pi(u64 uaddr, u32 op)
{
	struct task *t = current();
	struct futex_waiter *w, *next = NULL, *more = NULL;
	u64 key[3];
	u32 v, old;
	int err = key_of(uaddr, op, true, key);
	if (err)
		return err;
	if (user_load_u32(&v, uaddr))
		return -EFAULT;
	if ((v & FUTEX_TID) != t->tid)
		return -EPERM;
	struct bucket *b = bucket_of(key);
	for (;;) {
		next = more = NULL;
		spin_lock(&b->lock);
		list_for_each (w, &b->waiters, node)
			if (same_key(w->key, key)) {
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
			wake_waiter(next);
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

/* ---- the call
 * ------------------------------------------------------------------------------------ */

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

SYSCALL6(futex, u64, uaddr, u32, op, u32, val, u64, timeout, u64, uaddr2, u32, val3)
{
	u32 cmd = op & 127;
	u64 deadline;
	int err;
	if ((op & FUTEX_CLOCK_REALTIME) && cmd != FUTEX_WAIT_BITSET && cmd != FUTEX_LOCK_PI2)
		return -ENOSYS;
	switch (cmd) {
	case FUTEX_WAIT:
		val3 = FUTEX_ANY;
		/* fallthrough */
	case FUTEX_WAIT_BITSET:
		err = futex_deadline(op, timeout, &deadline);
		return err ? err : futex_wait(uaddr, op, val, deadline, val3);
	case FUTEX_WAKE:
		val3 = FUTEX_ANY;
		/* fallthrough */
	case FUTEX_WAKE_BITSET:
		return futex_wake(uaddr, op, val ? val : 1, val3);
	case FUTEX_REQUEUE:
		return futex_requeue(uaddr, op, (s32)val, (s32)timeout, uaddr2, NULL);
	case FUTEX_CMP_REQUEUE:
		return futex_requeue(uaddr, op, (s32)val, (s32)timeout, uaddr2, &val3);
	case FUTEX_WAKE_OP:
		return futex_wake_op(uaddr, op, val, (u32)timeout, uaddr2, val3);
	case FUTEX_LOCK_PI:
	case FUTEX_LOCK_PI2:
		err = futex_deadline(op, timeout, &deadline);
		return err ? err : lock_pi(uaddr, op, deadline, false);
	case FUTEX_TRYLOCK_PI:
		return lock_pi(uaddr, op, ~0UL, true);
	case FUTEX_UNLOCK_PI:
		return unlock_pi(uaddr, op);
	}
	return -ENOSYS;
}

/* ---- robust lists
 * ---------------------------------------------------------------------------------- */

#define ROBUST_LIMIT 2048

/* The thread died holding the lock at uaddr: mark it, and wake one who waits. */
static bool robust_death(u64 uaddr, u32 tid, bool pi, bool pending)
{
	u32 v, old;
	if (uaddr & 3)
		return false;
	if (user_load_u32(&v, uaddr))
		return false;
	/* Between unlocking and the wake-up the word is free and a waiter may sleep. */
	if (pending && !pi && !v) {
		futex_wake(uaddr, 0, 1, FUTEX_ANY);
		return true;
	}
	for (;;) {
		if ((v & FUTEX_TID) != tid)
			return true;
		if (user_cmpxchg_u32(uaddr, v, (v & FUTEX_WAITERS) | FUTEX_OWNER_DIED, &old))
			return false;
		if (old == v)
			break;
		v = old;
	}
	if (v & FUTEX_WAITERS) {
		futex_wake(uaddr, 0, 1, FUTEX_ANY);
		futex_wake(uaddr, FUTEX_PRIVATE, 1, FUTEX_ANY);
	}
	return true;
}

void futex_exit_robust(struct task *t)
{
	u64 head = t->robust_list, entry, offset, pending;
	if (!head || get_user_u64(&entry, head) || get_user_u64(&offset, head + 8) ||
	    get_user_u64(&pending, head + 16))
		return;
	for (unsigned n = 0; (entry & ~1UL) != head && n < ROBUST_LIMIT; n++) {
		u64 next = 0;
		bool more = !get_user_u64(&next, entry & ~1UL);
		if ((entry & ~1UL) != (pending & ~1UL) &&
		    !robust_death((entry & ~1UL) + offset, t->tid, entry & 1, false))
			return;
		if (!more)
			return;
		entry = next;
	}
	if (pending & ~1UL)
		robust_death((pending & ~1UL) + offset, t->tid, pending & 1, true);
}

SYSCALL2(set_robust_list, u64, head, u64, len)
{
	if (len != 24)
		return -EINVAL;
	current()->robust_list = head;
	return 0;
}

SYSCALL3(get_robust_list, s32, pid, u64, uhead, u64, ulen)
{
	struct task *t = pid ? task_find((u32)pid) : current();
	if (!t)
		return -ESRCH;
	u64 head = t->robust_list;
	bool ok = !t->process || may_signal(t->process, 0);
	if (pid)
		task_put(t);
	if (!ok)
		return -EPERM;
	return put_user_u64(ulen, 24) || put_user_u64(uhead, head) ? -EFAULT : 0;
}
