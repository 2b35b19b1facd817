/* SPDX-License-Identifier: MIT */
/*
 * Futexes that are locks: the word is its owner's tid, the kernel hands it over to the
 * waiter of the highest priority, and meanwhile the owner runs at that priority.
 *
 * What the kernel knows of such a lock, struct pi_state, is there while somebody waits for
 * it.  The word must agree with it, or the program has broken its lock (-EINVAL).
 *
 * Locking: the lock of the key's bucket guards the word against the queue, as for all
 * futexes; within it pi_lock (RANK_HOST_MID + 12), one for all, guards who holds what, who
 * waits for it, and everybody's priority.  Who dies hands over under pi_lock alone, since
 * the word may not be in its memory where the waiters have it: they write it themselves.
 */
#include "futex.h"

#define CHAIN_MAX 1024 /* locks and their waiters, one behind the other: more is a deadlock */

struct pi_state {
	struct task *owner;  /* as the word says; null: died, and the holder is to write it */
	struct task *holder; /* null: died when nobody waited yet */
	struct list owned;   /* in holder->pi_owned */
	struct list blocked; /* who waits for it: futex_waiter.blocked */
	u32 waiters;         /* queued ones that have it as their pi; by the bucket's lock */
};

static struct spinlock pi_lock = SPINLOCK_INIT(RANK_HOST_MID + 12);
static struct waitq exits = WAITQ_INIT(exits);

/* ---- lending priorities; pi_lock is held ------------------------------------------------------
 */

/* Who is next: by real-time priority; all others take turns.  Null: nobody. */
static struct futex_waiter *next_of(struct pi_state *pi)
{
	struct futex_waiter *w, *best = NULL;
	list_for_each (w, &pi->blocked, blocked)
		if (!best || (prio_real_time(w->task->prio) && w->task->prio < best->task->prio))
			best = w;
	return best;
}

static s32 lent_prio(struct task *t)
{
	struct pi_state *pi;
	s32 prio = own_prio(t);
	list_for_each (pi, &t->pi_owned, owned) {
		struct futex_waiter *w = next_of(pi);
		if (w)
			prio = quire_min(prio, w->task->prio);
	}
	return prio;
}

/* Those who wait for what t holds are others now, or t itself is: and so on along the chain. */
static void lend(struct task *t)
{
	for (int n = 0; t && n < CHAIN_MAX; n++) {
		s32 prio = lent_prio(t);
		if (prio == t->prio)
			break;
		sched_set_prio(t, prio);
		t = t->pi_blocked ? t->pi_blocked->pi->holder : NULL;
	}
}

void pi_set_policy(struct task *t, u32 policy, u32 rt_prio, s32 nice)
{
	spin_lock(&pi_lock);
	t->policy = policy;
	t->rt_prio = rt_prio;
	t->nice = nice;
	s32 prio = lent_prio(t);
	bool changed = prio != t->prio;
	sched_set_prio(t, prio); /* in any case: its slice depends on the policy */
	if (changed && t->pi_blocked)
		lend(t->pi_blocked->pi->holder);
	spin_unlock(&pi_lock);
}

/* As Linux does it: a real-time priority that was lent stays, and lenders aren't asked. */
void pi_set_nice(struct task *t, s32 nice)
{
	spin_lock(&pi_lock);
	t->nice = nice;
	if (!prio_real_time(t->prio))
		sched_set_prio(t, own_prio(t));
	spin_unlock(&pi_lock);
}

/* ---- the state of a lock ------------------------------------------------------------------------
 */

static void hold_locked(struct pi_state *pi, struct task *t)
{
	pi->holder = t;
	list_add_tail(&t->pi_owned, &pi->owned);
}

static void new_state_locked(struct pi_attach *a, struct task *owner)
{
	struct pi_state *pi = a->spare;
	a->spare = NULL;
	a->pi = pi;
	*pi = (struct pi_state){.owner = owner};
	list_init(&pi->blocked);
	hold_locked(pi, owner);
}

bool pi_prepare(struct pi_attach *a)
{
	if (!a->spare)
		a->spare = quire_kmalloc(sizeof(struct pi_state), GFP_KERNEL);
	return a->spare;
}

void pi_forget(struct pi_attach *a)
{
	quire_kfree(a->spare);
}

void pi_release(struct pi_state *pi)
{
	if (!pi || pi->waiters)
		return;
	ASSERT(list_empty(&pi->blocked));
	spin_lock(&pi_lock);
	list_del(&pi->owned);
	spin_unlock(&pi_lock);
	quire_kfree(pi);
}

/* Hand over to the next; pi_lock is held. */
static void grant_locked(struct pi_state *pi, bool died)
{
	struct task *old = pi->holder;
	struct futex_waiter *w = next_of(pi);
	struct task *t = w->task;
	list_del(&pi->owned);
	list_del(&w->blocked);
	t->pi_blocked = NULL;
	hold_locked(pi, t);
	pi->owner = died ? NULL : t;
	lend(t);
	lend(old);
	__atomic_store_n(&w->granted, true, __ATOMIC_RELEASE);
	wake_task(t, WAKE_NORMAL);
}

static bool deadlocks_locked(const struct task *t, const struct pi_state *pi)
{
	const struct task *h = pi->holder;
	for (int n = 0; h; n++) {
		if (h == t || n == CHAIN_MAX)
			return true;
		h = h->pi_blocked ? h->pi_blocked->pi->holder : NULL;
	}
	return false;
}

int pi_block(struct futex_waiter *w, struct pi_state *pi)
{
	int err = 0;
	spin_lock(&pi_lock);
	if (!pi->holder) {
		hold_locked(pi, w->task);
		w->granted = true;
	} else if (deadlocks_locked(w->task, pi)) {
		err = -EDEADLK;
	} else {
		list_add_tail(&pi->blocked, &w->blocked);
		w->task->pi_blocked = w;
	}
	if (!err) {
		w->pi = pi;
		pi->waiters++;
		if (next_of(pi) == w)
			lend(pi->holder);
	}
	spin_unlock(&pi_lock);
	return err;
}

/* ---- the word
 * -------------------------------------------------------------------------------------- */

/* Under a spinlock: -EFAULT when it can't be done just now; -EAGAIN: it isn't v. */
static int change_word(u64 uaddr, u32 v, u32 to)
{
	struct task *t = current();
	u32 old;
	t->no_fault++;
	int err = user_cmpxchg_u32(uaddr, v, to, &old);
	t->no_fault--;
	return err ? err : old == v ? 0 : -EAGAIN;
}

static int fault_in_word(u64 uaddr)
{
	u32 v;
	return user_load_u32(&v, uaddr) ? -EFAULT : user_cmpxchg_u32(uaddr, v, v, &v);
}

int pi_retry(int err, struct pi_attach *a, u64 uaddr)
{
	if (err == -EFAULT)
		return fault_in_word(uaddr);
	if (err == -EBUSY) {
		wait_event(&exits, __atomic_load_n(&a->exiting->futex_exit, __ATOMIC_ACQUIRE) !=
				       FUTEX_EXITS);
		task_put(a->exiting);
		a->exiting = NULL;
	}
	return 0;
}

/* The word names nobody who is alive: unless it does so no longer. */
static int owner_gone(u64 uaddr, u32 v)
{
	u32 now;
	int err = futex_peek(&now, uaddr);
	return err ? err : now == v ? -ESRCH : -EAGAIN;
}

/* Nobody waits yet for the lock, whose word is v. */
static int attach_to_owner(u64 uaddr, u32 v, struct pi_attach *a)
{
	struct task *o = task_find(v & FUTEX_TID);
	if (!o)
		return owner_gone(uaddr, v);
	if (!o->process || o->kernel_thread) {
		task_put(o);
		return -EPERM;
	}
	spin_lock(&pi_lock);
	u32 exits_now = o->futex_exit;
	if (exits_now == FUTEX_LIVES)
		new_state_locked(a, o);
	spin_unlock(&pi_lock);
	if (exits_now == FUTEX_EXITS) {
		a->exiting = o;
		return -EBUSY;
	}
	task_put(o);
	return exits_now == FUTEX_GONE ? owner_gone(uaddr, v) : 0;
}

/* Others wait already: does the word say what they know? */
static int attach_to_state(struct pi_state *pi, u32 v, struct pi_attach *a)
{
	u32 tid = v & FUTEX_TID;
	bool right = false;
	if (!pi)
		return -EINVAL; /* somebody who only waits, as for other futexes */
	spin_lock(&pi_lock);
	if ((v & FUTEX_OWNER_DIED) && (!pi->owner || !tid))
		right = !tid;
	else
		right = pi->owner && pi->owner->tid == tid;
	spin_unlock(&pi_lock);
	if (!right)
		return -EINVAL;
	a->pi = pi;
	return 0;
}

int pi_take(u64 uaddr, struct futex_bucket *b, const u64 key[3], struct task *t, bool waiters,
	    struct pi_attach *a)
{
	u32 v;
	a->pi = NULL;
	int err = futex_peek(&v, uaddr);
	if (err)
		return err;
	if ((v & FUTEX_TID) == t->tid)
		return -EDEADLK;
	struct futex_waiter *top = futex_first(b, key);
	if (top)
		return attach_to_state(top->pi, v, a);
	if (v & FUTEX_TID) {
		err = change_word(uaddr, v, v | FUTEX_WAITERS);
		return err ? err : attach_to_owner(uaddr, v | FUTEX_WAITERS, a);
	}
	/* Free: the mark of an owner that died is for the new one to see. */
	err =
	    change_word(uaddr, v, (v & FUTEX_OWNER_DIED) | t->tid | (waiters ? FUTEX_WAITERS : 0));
	if (err)
		return err;
	if (waiters) {
		spin_lock(&pi_lock);
		new_state_locked(a, t);
		spin_unlock(&pi_lock);
	}
	return 1;
}

/* ---- waiting
 * --------------------------------------------------------------------------------------- */

int pi_sleep(struct futex_waiter *w, u64 deadline)
{
	struct task *t = current();
	int err = 0;
	for (;;) {
		__atomic_store_n(&t->state, (u32)TASK_INTERRUPTIBLE, __ATOMIC_SEQ_CST);
		if (__atomic_load_n(&w->granted, __ATOMIC_ACQUIRE) ||
		    !__atomic_load_n(&w->bucket, __ATOMIC_ACQUIRE))
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
	return err;
}

/* The owner died and left it to us: write so.  b's lock is held, but not while the word is
 * faulted in. */
static int take_over_word(u64 uaddr, struct futex_bucket *b) REQUIRES(b->lock)
{
	u32 v, mine = current()->tid | FUTEX_WAITERS | FUTEX_OWNER_DIED;
	for (;;) {
		int err = futex_peek(&v, uaddr);
		if (!err)
			err = change_word(uaddr, v, mine);
		if (!err)
			return 0;
		if (err == -EAGAIN)
			continue;
		spin_unlock(&b->lock);
		err = fault_in_word(uaddr);
		spin_lock(&b->lock);
		if (err)
			return err;
	}
}

int pi_finish(struct futex_waiter *w, u64 uaddr, int err)
{
	struct task *t = current();
	struct futex_bucket *b = w->bucket; /* waiters of locks aren't moved */
	struct pi_state *pi = w->pi;
	bool died = false;
	spin_lock(&b->lock);
	spin_lock(&pi_lock);
	if (w->granted) {
		err = 0;
		died = !pi->owner;
	} else {
		bool first = next_of(pi) == w;
		list_del(&w->blocked);
		t->pi_blocked = NULL;
		if (first)
			lend(pi->holder);
	}
	spin_unlock(&pi_lock);
	if (died) {
		err = take_over_word(uaddr, b);
		spin_lock(&pi_lock);
		pi->owner = t;
		spin_unlock(&pi_lock);
	}
	list_del(&w->node);
	w->bucket = NULL;
	pi->waiters--;
	pi_release(pi);
	spin_unlock(&b->lock);
	return err;
}

long futex_lock_pi(u64 uaddr, u32 op, u64 deadline, bool try_only)
{
	struct task *t = current();
	struct futex_waiter w = {.task = t, .bitset = FUTEX_ANY};
	struct pi_attach a = {0};
	int err = futex_key(uaddr, op, true, w.key), taken = 0;
	struct futex_bucket *b = futex_bucket(w.key);
	while (!err) {
		if (!pi_prepare(&a))
			return -ENOMEM;
		spin_lock(&b->lock);
		taken = pi_take(uaddr, b, w.key, t, false, &a);
		if (!taken) {
			err = try_only ? -EAGAIN : pi_block(&w, a.pi);
			if (!err)
				futex_queue(b, &w);
			else
				pi_release(a.pi);
		}
		spin_unlock(&b->lock);
		if (taken != -EFAULT && taken != -EBUSY && taken != -EAGAIN)
			break;
		err = pi_retry(taken, &a, uaddr);
	}
	pi_forget(&a);
	if (err || taken)
		return err ? err : taken < 0 ? taken : 0;
	err = pi_finish(&w, uaddr, pi_sleep(&w, deadline));
	return err == -EINTR ? -ERESTARTNOINTR : err;
}

/* ---- unlocking
 * ------------------------------------------------------------------------------------- */

/* Give it to the next of those that top, the first in the queue, is of. */
static int hand_over(u64 uaddr, u32 v, struct futex_waiter *top)
{
	struct pi_state *pi = top->pi;
	if (!pi)
		return -EINVAL;
	spin_lock(&pi_lock);
	struct futex_waiter *next = pi->holder == current() && pi->owner ? next_of(pi) : NULL;
	int err = next ? change_word(uaddr, v, next->task->tid | FUTEX_WAITERS) : -EINVAL;
	if (!err)
		grant_locked(pi, false);
	spin_unlock(&pi_lock);
	return err;
}

long futex_unlock_pi(u64 uaddr, u32 op)
{
	struct task *t = current();
	u64 key[3];
	u32 v;
	for (;;) {
		if (user_load_u32(&v, uaddr))
			return -EFAULT;
		if ((v & FUTEX_TID) != t->tid)
			return -EPERM;
		int err = futex_key(uaddr, op, true, key);
		if (err)
			return err;
		struct futex_bucket *b = futex_bucket(key);
		spin_lock(&b->lock);
		struct futex_waiter *top = futex_first(b, key);
		err = top ? hand_over(uaddr, v, top) : change_word(uaddr, v, 0);
		spin_unlock(&b->lock);
		if (err == -EFAULT)
			err = fault_in_word(uaddr);
		else if (err != -EAGAIN || !top)
			return err;
		if (err && err != -EAGAIN)
			return err;
		/* A write fault, or the mark of a new waiter: once more with the present value. */
	}
}

/* ---- the end of a thread
 * --------------------------------------------------------------------------- */

static void set_exit(struct task *t, u32 to)
{
	spin_lock(&pi_lock);
	__atomic_store_n(&t->futex_exit, to, __ATOMIC_RELEASE);
	spin_unlock(&pi_lock);
}

/* What t held goes to those who wait. */
static void leave_locks(struct task *t)
{
	spin_lock(&pi_lock);
	while (!list_empty(&t->pi_owned)) {
		struct pi_state *pi = list_first(&t->pi_owned, struct pi_state, owned);
		if (!list_empty(&pi->blocked)) {
			grant_locked(pi, true);
		} else {
			list_del(&pi->owned);
			pi->owner = pi->holder = NULL;
		}
	}
	spin_unlock(&pi_lock);
}

void futex_exit(struct task *t, bool for_good)
{
	set_exit(t, FUTEX_EXITS);
	futex_exit_robust(t);
	leave_locks(t);
	set_exit(t, for_good ? FUTEX_GONE : FUTEX_LIVES);
	waitq_wake_all(&exits);
}
