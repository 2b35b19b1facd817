/* SPDX-License-Identifier: MIT */
/*
 * The run queue, for the files of sched/ that make up the scheduler: sched.c switches,
 * place.c chooses CPUs, account.c keeps time.  The locking is described in sched.c.
 */
#ifndef KERNEL_RUNQ_H
#define KERNEL_RUNQ_H

#include "../arch/arch.h"
#include "rq.h"

#define SLICE_NS 6000000
#define RT_PERIOD_NS 1000000000 /* of each such period ... */
#define RT_RUNTIME_NS 950000000 /* ... real-time tasks get this much while others wait */
#define TICK_NS 10000000        /* a lone task is interrupted this often, for accounting and RCU */

struct rq {
	u16 lock;
	u32 nr;            /* tasks in the queues; read without the lock as a hint */
	u32 nr_rt;         /* of these, in rt */
	s32 prio;          /* of the running task; the same hint */
	struct list rt;    /* real-time tasks, the highest first */
	struct list queue; /* the others */
	u64 rt_used;       /* ns that real-time tasks ran, of the period that ends then */
	u64 rt_period_end;
	struct task *idle;
	struct task *prev; /* whom the last switch left */
	bool prev_dead;    /* ... for good: its reference is dropped after the switch */
	bool prev_moves;   /* ... for another CPU's queue: it may not run here any more */
	u64 tick_at;       /* when the running task is to be looked at; ~0: idle */
	bool rcu_idle;
	struct sched_times times;
	u64 idle_mark; /* since when it is idle; 0: it isn't */
} __attribute__((aligned(64)));

extern struct rq *rqs[QUIRE_MAX_CPUS];
extern u64 sched_idle_cpus;  /* atomic: CPUs whose idle task runs */
extern u32 sched_rt_waiting; /* atomic: real-time tasks in all queues */

static inline struct rq *this_rq(void)
{
	return this_cpu()->sched;
}

static inline void rq_lock(struct rq *rq)
{
	while (__atomic_exchange_n(&rq->lock, (u16)1, __ATOMIC_ACQUIRE))
		cpu_relax();
}

/* For a second queue's lock: gives up after a while, so that no two CPUs wait for each
 * other. */
static inline bool rq_try_lock(struct rq *rq)
{
	for (int i = 0; i < 100; i++) {
		if (!__atomic_exchange_n(&rq->lock, (u16)1, __ATOMIC_ACQUIRE))
			return true;
		cpu_relax();
	}
	return false;
}

static inline void rq_unlock(struct rq *rq)
{
	__atomic_store_n(&rq->lock, (u16)0, __ATOMIC_RELEASE);
}

static inline s64 slice_of(const struct task *t)
{
	s32 nice = t->prio - PRIO_NORMAL;

	if (quire_unlikely(prio_real_time(t->prio)))
		return t->policy == SCHED_RR ? (s64)RR_SLICE_NS : 1L << 60;
	/* nice -20 .. 19: four times the slice .. a fifth of it */
	return nice <= 0 ? SLICE_NS + -nice * (SLICE_NS * 3 / 20)
			 : SLICE_NS - nice * (SLICE_NS / 24);
}

void rq_enqueue_rt(struct rq *rq, struct task *t, bool first); /* place.c */

/* With some of its slice left a task goes to the front; else it waits its turn, and has
 * a new slice then.  So a task that sleeps a lot is served soon, but for no longer
 * than its slice.  A real-time task goes behind those of its priority, unless it only made
 * way for a higher one. */
static inline void enqueue(struct rq *rq, struct task *t, bool preempted)
{
	if (quire_unlikely(prio_real_time(t->prio))) {
		rq_enqueue_rt(rq, t, preempted);
	} else if (t->budget > SLICE_NS / 8) {
		list_add(&rq->queue, &t->run);
	} else {
		t->budget = slice_of(t);
		list_add_tail(&rq->queue, &t->run);
	}
	__atomic_store_n(&rq->nr, rq->nr + 1, __ATOMIC_RELAXED);
}

static inline void dequeue(struct rq *rq, struct task *t)
{
	list_del(&t->run);
	__atomic_store_n(&rq->nr, rq->nr - 1, __ATOMIC_RELAXED);
	if (quire_unlikely(prio_real_time(t->prio))) {
		rq->nr_rt--;
		__atomic_sub_fetch(&sched_rt_waiting, 1, __ATOMIC_RELAXED);
	}
}

static inline bool allowed(const struct task *t, unsigned cpu)
{
	return __atomic_load_n(&t->affinity, __ATOMIC_RELAXED) >> cpu & 1;
}

/* place.c; interrupts off */
struct task *rq_first_allowed(struct rq *rq, unsigned cpu); /* rq is locked */
struct task *rq_steal(unsigned cpu);
/* next (off the queue; may be null), or a real-time task that waits elsewhere and goes
 * before it; not while those have to wait here, too. */
struct task *rq_or_pull_rt(struct rq *rq, struct task *next);
/* Real-time tasks have used up what they get of this period. */
static inline bool rq_throttled(const struct rq *rq)
{
	return rq->rt_used >= RT_RUNTIME_NS;
}
unsigned rq_place(const struct task *t, unsigned home);
void rq_add(unsigned target, struct task *t);
void rq_wake_idle_cpu(struct rq *rq);
void rq_balance(struct rq *rq);

/* account.c */
void rq_account(struct rq *rq, struct task *t, u64 now, bool user);
void sched_load_init(u64 now);

#endif
