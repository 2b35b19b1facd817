// SPDX-License-Identifier: MIT
/*
 * Which CPU a task runs on: placing new and woken ones, stealing by idle CPUs, balancing
 * between busy ones, affinity.  Locking as in sched.c.
 */
#include "runq.h"

#define WAKE_PREEMPT_NS 1000000 /* who has run this long gives way to a woken task */
/* A task that wakes another sleeps soon itself, as a rule, so the woken one waits for it
 * that long before another CPU is bothered: that costs more under emulation. */
#define PUSH_NS 200000

struct task *rq_first_allowed(struct rq *rq, unsigned cpu)
{
	struct task *t;

	list_for_each (t, &rq->queue, run)
		if (allowed(t, cpu))
			return t;
	return NULL;
}

/* Take a task that may run here from another queue.  The own queue's lock is held, so
 * the others' are only tried. */
struct task *rq_steal(unsigned cpu)
{
	for (unsigned i = 1; i < ncpus; i++) {
		struct rq *other = rqs[(cpu + i) % ncpus];
		if (!other || !__atomic_load_n(&other->nr, __ATOMIC_RELAXED))
			continue;
		if (!rq_try_lock(other))
			continue;
		struct task *t = rq_first_allowed(other, cpu);
		if (t) {
			dequeue(other, t);
			__atomic_store_n(&t->cpu, cpu, __ATOMIC_RELEASE);
		}
		rq_unlock(other);
		if (t)
			return t;
	}
	return NULL;
}

/* May a task woken by the running one wait for it here? */
static bool waits_here(const struct task *t)
{
	return !this_arch()->in_soft && !current()->idle && !this_rq()->nr &&
	       allowed(t, this_cpu()->cpu);
}

/* The CPU for a task that becomes runnable: where it was if that is idle, another idle
 * one, or where it was. */
unsigned rq_place(const struct task *t, unsigned home)
{
	u64 mask = __atomic_load_n(&t->affinity, __ATOMIC_RELAXED) & ((1UL << ncpus) - 1);
	u64 idle = __atomic_load_n(&sched_idle_cpus, __ATOMIC_RELAXED) & mask;

	if (idle >> home & 1)
		return home;
	if (idle)
		return (unsigned)__builtin_ctzl(idle);
	if (mask >> home & 1 || !mask)
		return home;
	return (unsigned)__builtin_ctzl(mask);
}

/* Somebody waits on this CPU now: preempt, or at least end the running slice in time. */
static void notice_waiting(struct rq *rq, struct task *t)
{
	struct task *cur = current();

	if (cur->idle) {
		resched_set(RESCHED_WANTED);
		return;
	}
	u64 now = time_ns(), look = cur->slice_end;
	if (t->budget > SLICE_NS / 8 && list_first(&rq->queue, struct task, run) == t &&
	    (this_arch()->in_soft || now - cur->time_mark > WAKE_PREEMPT_NS)) {
		resched_set(RESCHED_WANTED);
		return;
	}
	if (__atomic_load_n(&sched_idle_cpus, __ATOMIC_RELAXED))
		look = quire_min(look, now + PUSH_NS);
	if (rq->tick_at > look) {
		rq->tick_at = look;
		sched_program_timer();
	}
}

/* t (on_rq is set, cpu is target, on no list) goes into target's queue.  Interrupts off. */
void rq_add(unsigned target, struct task *t)
{
	struct rq *rq = rqs[target];
	bool own = target == this_cpu()->cpu;

	rq_lock(rq);
	enqueue(rq, t);
	bool was_idle = __atomic_load_n(&sched_idle_cpus, __ATOMIC_RELAXED) >> target & 1;
	if (own)
		notice_waiting(rq, t);
	rq_unlock(rq);
	if (!own && was_idle)
		smp_send_resched(target);
}

/* Nobody waits here, but two or more elsewhere: take one over.  Interrupts off. */
void rq_balance(struct rq *rq)
{
	unsigned cpu = this_cpu()->cpu;
	struct task *t = NULL;

	for (unsigned i = 0; i < ncpus && !t; i++) {
		struct rq *other = rqs[i];
		if (!other || other == rq || __atomic_load_n(&other->nr, __ATOMIC_RELAXED) < 2 ||
		    !rq_try_lock(other))
			continue;
		t = other->nr < 2 ? NULL : rq_first_allowed(other, cpu);
		if (t) {
			dequeue(other, t);
			__atomic_store_n(&t->cpu, cpu, __ATOMIC_RELEASE);
		}
		rq_unlock(other);
	}
	if (t)
		rq_add(cpu, t);
}

bool wake_task(struct task *t, u32 state_mask)
{
	unsigned long irq = quire_host_irq_save();
	struct rq *rq;
	unsigned cpu;
	bool woken = false;

	for (;;) {
		cpu = __atomic_load_n(&t->cpu, __ATOMIC_ACQUIRE);
		rq = rqs[cpu];
		rq_lock(rq);
		if (__atomic_load_n(&t->cpu, __ATOMIC_RELAXED) == cpu)
			break;
		rq_unlock(rq);
	}
	if (!(state_mask >> __atomic_load_n(&t->state, __ATOMIC_SEQ_CST) & 1)) {
		rq_unlock(rq);
	} else {
		woken = true;
		__atomic_store_n(&t->state, (u32)TASK_RUNNING, __ATOMIC_RELEASE);
		if (t->on_rq) {
			rq_unlock(rq);
		} else {
			unsigned target = waits_here(t) ? this_cpu()->cpu : rq_place(t, cpu);
			t->on_rq = 1;
			__atomic_store_n(&t->cpu, target, __ATOMIC_RELEASE);
			rq_unlock(rq);
			rq_add(target, t);
		}
	}
	bool resched = this_cpu()->resched;
	quire_host_irq_restore(irq);
	/* an interrupt's end, or the lock that is held, does it otherwise */
	if (resched && !this_cpu()->preempt)
		preempt_schedule();
	return woken;
}

/* The allowed CPU where the fewest wait. */
static unsigned least_loaded(const struct task *t, unsigned home)
{
	unsigned best = rq_place(t, home);

	for (unsigned i = 0; i < ncpus; i++)
		if (rqs[i] && allowed(t, i) &&
		    __atomic_load_n(&rqs[i]->nr, __ATOMIC_RELAXED) <
			__atomic_load_n(&rqs[best]->nr, __ATOMIC_RELAXED))
			best = i;
	return best;
}

void task_start(struct task *t)
{
	unsigned long irq = quire_host_irq_save();
	unsigned target = least_loaded(t, this_cpu()->cpu);

	t->slice_end = 0;
	t->on_rq = 1;
	__atomic_store_n(&t->cpu, target, __ATOMIC_RELEASE);
	__atomic_store_n(&t->state, (u32)TASK_RUNNING, __ATOMIC_RELEASE);
	rq_add(target, t);
	quire_host_irq_restore(irq);
}

/* Let an idle CPU that may run something of this one's queue have a look at it. */
void rq_wake_idle_cpu(struct rq *rq)
{
	u64 idle = __atomic_load_n(&sched_idle_cpus, __ATOMIC_RELAXED), useful = 0;
	struct task *t;

	if (!idle)
		return;
	rq_lock(rq);
	list_for_each (t, &rq->queue, run)
		if ((useful = idle & __atomic_load_n(&t->affinity, __ATOMIC_RELAXED)))
			break;
	rq_unlock(rq);
	if (useful)
		smp_send_resched((unsigned)__builtin_ctzl(useful));
}

void sched_set_affinity(struct task *t, u64 mask)
{
	__atomic_store_n(&t->affinity, mask, __ATOMIC_RELEASE);
	if (t == current()) {
		quire_host_preempt_disable();
		if (!allowed(t, this_cpu()->cpu))
			resched_set(RESCHED_WANTED);
		quire_host_preempt_enable();
		return;
	}
	unsigned long irq = quire_host_irq_save();
	unsigned cpu = __atomic_load_n(&t->cpu, __ATOMIC_ACQUIRE), target = cpu;
	struct rq *rq = rqs[cpu];

	rq_lock(rq);
	/* waiting in a queue it may not be in: move it; running: its CPU will see */
	bool moves =
	    t->cpu == cpu && t->on_rq && !t->on_cpu && !list_empty(&t->run) && !allowed(t, cpu);
	if (moves) {
		dequeue(rq, t);
		target = rq_place(t, cpu);
		__atomic_store_n(&t->cpu, target, __ATOMIC_RELEASE);
	}
	rq_unlock(rq);
	if (moves)
		rq_add(target, t);
	quire_host_irq_restore(irq);
	sched_kick(t);
}
