/* SPDX-License-Identifier: MIT */
/*
 * Between the files that make up futexes: futex.c has the queues, waiting and waking,
 * futex_requeue.c what is about two words, futex_waitv.c waiting for many,
 * futex_pi.c locks that the kernel hands over, futex_requeue_pi.c moving to these, futex_robust.c
 * what is left of those who died.  The locking is described in futex.c.
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
struct pi_state;

struct futex_waiter {
	struct list node;
	u64 key[3];
	struct futex_bucket *bucket; /* null: woken.  Changed under the bucket's lock */
	struct task *task;
	u32 bitset;
	/* Waiting for a lock, futex_pi.c; or to be made to, futex_requeue_pi.c. */
	bool granted;           /* the lock is ours */
	const u64 *requeue_key; /* the only one it may be moved to; null: any word's, no lock's */
	struct pi_state *pi;    /* the lock; changed under the bucket's lock */
	struct list blocked;    /* in pi->blocked */
};

/* task->futex_exit: as Linux, who meets an owner that is ending waits until it has. */
enum futex_exit { FUTEX_LIVES, FUTEX_EXITS, FUTEX_GONE };

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

/* Behind those of its priority: real-time ones come first.  b's lock is held. */
void futex_queue(struct futex_bucket *b, struct futex_waiter *w);
/* The first that waits for the word; null: nobody. */
struct futex_waiter *futex_first(struct futex_bucket *b, const u64 key[3]);
/* Queue w while the word is val.  0, -EAGAIN, -EFAULT. */
int futex_enqueue(struct futex_waiter *w, u64 uaddr, u32 val);
/* Off the queue, wherever it was moved to.  True when it was woken before. */
bool futex_dequeue(struct futex_waiter *w);
/* The same unless it waits for a lock now; false: it was moved there, or woken. */
bool futex_dequeue_unmoved(struct futex_waiter *w);
/* Sleep until woken.  0, -ETIMEDOUT, -EINTR. */
int futex_sleep(struct futex_waiter *w, u64 deadline);

/* Take w off its queue and let its thread run; the bucket's lock is held.  The waiter may
 * be gone as soon as its bucket is null. */
void futex_wake_waiter(struct futex_waiter *w);
/* Wake n (at least one) that wait for one of these bits; the lock of b, the key's, is held.
 * How many; -EINVAL: it is a lock that one waits for, or is to. */
int futex_wake_locked(struct futex_bucket *b, const u64 key[3], s32 n, u32 bitset);
long futex_wake(u64 uaddr, u32 op, s32 n, u32 bitset);

/* futex_requeue.c.  cmp: null, or what the first word must be. */
long futex_requeue(u64 u1, u32 op, s32 n, s32 m, u64 u2, const u32 *cmp);
long futex_wake_op(u64 u1, u32 op, s32 n1, s32 n2, u64 u2, u32 code);
void futex_lock_two(struct futex_bucket *a, struct futex_bucket *b);
void futex_unlock_two(struct futex_bucket *a, struct futex_bucket *b);

/* ---- futex_pi.c: locks ---------------------------------------------------------------- */

struct pi_attach {
	struct pi_state *pi;    /* what pi_take() found or made */
	struct pi_state *spare; /* to make it of */
	struct task *exiting;   /* with -EBUSY: an owner that is ending */
};
bool pi_prepare(struct pi_attach *a); /* before pi_take(); false: no memory */
void pi_forget(struct pi_attach *a);  /* after the last one */
/*
 * Take the lock at uaddr for t; waiters: others of t's queue will follow, so mark it.  1: it is
 * t's; 0: it isn't free, and a->pi is its state, to pi_block() on; -EFAULT, -EBUSY and
 * -EAGAIN: try again if pi_retry(), without locks, says 0; other errors are the call's.
 * The lock of b, the key's, is held from here to pi_release().
 */
int pi_take(u64 uaddr, struct futex_bucket *b, const u64 key[3], struct task *t, bool waiters,
	    struct pi_attach *a);
int pi_retry(int err, struct pi_attach *a, u64 uaddr);
/* Make w, in no queue of the lock yet, wait for it; 0 or -EDEADLK. */
int pi_block(struct futex_waiter *w, struct pi_state *pi);
/* Nobody may have come to wait: then it goes.  Null is fine. */
void pi_release(struct pi_state *pi);
/* Sleep until it is granted, or woken.  0, -ETIMEDOUT, -EINTR; the lock may be ours yet. */
int pi_sleep(struct futex_waiter *w, u64 deadline);
/* Off the lock's queue.  0: it is ours; else err, or -EFAULT. */
int pi_finish(struct futex_waiter *w, u64 uaddr, int err);

long futex_lock_pi(u64 uaddr, u32 op, u64 deadline, bool try_only);
long futex_unlock_pi(u64 uaddr, u32 op);

/* futex_requeue_pi.c */
long futex_wait_requeue_pi(u64 u1, u32 op, u32 val, u64 deadline, u64 u2);
long futex_cmp_requeue_pi(u64 u1, u32 op, s32 n, s32 m, u64 u2, u32 cmp);

/* futex_robust.c: the robust list of current, which is ending. */
void futex_exit_robust(struct task *t);

#endif
