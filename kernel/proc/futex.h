/* SPDX-License-Identifier: MIT */
/*
 * Between the files that make up futexes: futex.c has the queues, waiting and waking,
 * futex_requeue.c what is about two words, futex_waitv.c waiting for many,
 * futex_pi.c the locks that the kernel hands over, futex_robust.c what is left of those
 * who died.  The locking is described in futex.c.
 */
#ifndef KERNEL_PROC_FUTEX_H
#define KERNEL_PROC_FUTEX_H

#include "internal.h"

#define FUTEX_PRIVATE 128u
#define FUTEX_CLOCK_REALTIME 256u
#define FUTEX_ANY 0xffffffffu

#define FUTEX_WAITERS 0x80000000u
#define FUTEX_OWNER_DIED 0x40000000u
#define FUTEX_TID 0x3fffffffu

struct futex_bucket {
	struct spinlock lock;
	struct list waiters;
};
struct futex_waiter {
	struct list node;
	u64 key[3];
	struct futex_bucket *bucket; /* null: woken.  Changed under the bucket's lock */
	struct task *task;
	u32 bitset;
};

/* What the word at uaddr is known by.  op: FUTEX_PRIVATE or not; write: it will be written
 * to.  0, -EINVAL, -EFAULT. */
int futex_key(u64 uaddr, u32 op, bool write, u64 key[3]);
struct futex_bucket *futex_bucket(const u64 key[3]);
static inline bool futex_same_key(const u64 a[3], const u64 b[3])
{
	return a[0] == b[0] && a[1] == b[1] && a[2] == b[2];
}

/* The word's value under a spinlock: -EFAULT when it isn't mapped just now. */
int futex_peek(u32 *v, u64 uaddr);

/* Queue w while the word is val.  0, -EAGAIN, -EFAULT. */
int futex_enqueue(struct futex_waiter *w, u64 uaddr, u32 val);
/* Off the queue, wherever it was moved to.  True when it was woken before. */
bool futex_dequeue(struct futex_waiter *w);
/* Sleep until woken.  0, -ETIMEDOUT, -EINTR. */
int futex_sleep(struct futex_waiter *w, u64 deadline);

/* Take w off its queue and let its thread run; the bucket's lock is held.  The waiter may
 * be gone as soon as its bucket is null. */
void futex_wake_waiter(struct futex_waiter *w);
/* Wake up to n that wait for one of these bits; the lock of b, the key's, is held. */
int futex_wake_locked(struct futex_bucket *b, const u64 key[3], u32 n, u32 bitset);
long futex_wake(u64 uaddr, u32 op, u32 n, u32 bitset);

/* futex_requeue.c.  cmp: null, or what the first word must be. */
long futex_requeue(u64 u1, u32 op, s32 n, s32 m, u64 u2, const u32 *cmp);
long futex_wake_op(u64 u1, u32 op, u32 n1, u32 n2, u64 u2, u32 code);

/* futex_pi.c */
long futex_lock_pi(u64 uaddr, u32 op, u64 deadline, bool try_only);
long futex_unlock_pi(u64 uaddr, u32 op);

#endif
