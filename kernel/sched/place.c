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

u32 sched_rt_waiting;

static struct task *first_in(struct list *queue, unsigned cpu)
{
	struct task *t;

	list_for_each (t, queue, run)
		if (allowed(t, cpu))
			return t;
	return NULL;
}

struct task *rq_first_allowed(struct rq *rq, unsigned cpu)
{
	struct task *t;

	if (quire_likely(!rq->nr_rt))
		return first_in(&rq->queue, cpu);
	if (rq_throttled(rq))
		return (t = first_in(&rq->queue, cpu)) ? t : first_in(&rq->rt, cpu);
	return (t = first_in(&rq->rt, cpu)) ? t : first_in(&rq->queue, cpu);
}

void rq_enqueue_rt(struct rq *rq, struct task *t, bool preempted)
{
	bool first = preempted && t->budget > 0;
	struct list *before;

	if (t->budget <= 0)
		t->budget = slice_of(t);
	for (before = rq->rt.next; before != &rq->rt; before = before->next) {
		s32 prio = list_entry(before, struct task, run)->prio;
		if (first ? prio >= t->prio : prio > t->prio)
			break;
	}
	list_add_tail(before, &t->run);
	rq->nr_rt++;
	__atomic_add_fetch(&sched_rt_waiting, 1, __ATOMIC_RELAXED);
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

/* The own queue's lock is held, so the others' are only tried. */
struct task *rq_or_pull_rt(struct rq *rq, struct task *next)
{
	unsigned cpu = this_cpu()->cpu;

	if (next && rq_throttled(rq))
		return next;
	for (unsigned i = 0; i < ncpus; i++) {
		struct rq *other = rqs[i];
		if (!other || other == rq || !other->nr_rt || !rq_try_lock(other))
			continue;
		struct task *t = first_in(&other->rt, cpu);
		if (t && t->prio < (next ? next->prio : PRIO_IDLE)) {
			dequeue(other, t);
			__atomic_store_n(&t->cpu, cpu, __ATOMIC_RELEASE);
			if (next)
				enqueue(rq, next, true);
			next = t;
		}
		rq_unlock(other);
	}
	return next;
}

/* May a task woken by the running one wait for it here? */
static bool waits_here(const struct task *t)
{
	const struct task *cur = current();

	return !this_arch()->in_soft && !cur->idle && !this_rq()->nr &&
	       !prio_real_time(cur->prio) && !prio_real_time(t->prio) &&
	       allowed(t, this_cpu()->cpu);
}

/* The CPU that runs what matters least. */
static unsigned least_urgent(u64 mask, unsigned home)
{
	s32 prio = mask >> home & 1 ? rqs[home]->prio : -1;

	for (unsigned i = 0; i < ncpus; i++)
		if (mask >> i & 1 && rqs[i] && rqs[i]->prio > prio) {
			home = i;
			prio = rqs[i]->prio;
		}
	return home;
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
	if (quire_unlikely(prio_real_time(t->prio)) && mask)
		return least_urgent(mask, home);
	if (mask >> home & 1 || !mask)
		return home;
	return (unsigned)__builtin_ctzl(mask);
}

/* Somebody waits on this CPU now: preempt, or at least end the running slice in time. */
static void notice_waiting(struct rq *rq, struct task *t)
{
	struct task *cur = current();

	if (cur->idle || (prio_real_time(t->prio) && t->prio < cur->prio)) {
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
	enqueue(rq, t, false);
	bool was_idle = __atomic_load_n(&sched_idle_cpus, __ATOMIC_RELAXED) >> target & 1;
	if (own)
		notice_waiting(rq, t);
	bool preempts = prio_real_time(t->prio) && t->prio < rq->prio;
	rq_unlock(rq);
	if (!own && (was_idle || preempts))
		smp_send_resched(target);
}

/* Two or more wait there, or one for a real-time task, which may run for long. */
static bool too_many(const struct rq *rq)
{
	return __atomic_load_n(&rq->nr, __ATOMIC_RELAXED) + prio_real_time(rq->prio) >= 2;
}

/* Nobody waits here, but too many elsewhere: take one over.  Interrupts off. */
void rq_balance(struct rq *rq)
{
	unsigned cpu = this_cpu()->cpu;
	struct task *t = NULL;

	for (unsigned i = 0; i < ncpus && !t; i++) {
		struct rq *other = rqs[i];
		if (!other || other == rq || !too_many(other) || !rq_try_lock(other))
			continue;
		t = too_many(other) ? rq_first_allowed(other, cpu) : NULL;
		if (t) {
			dequeue(other, t);
			__atomic_store_n(&t->cpu, cpu, __ATOMIC_RELEASE);
		}
		rq_unlock(other);
	}
	if (t)
		rq_add(cpu, t);
}

/* Lock the queue that t belongs to.  Interrupts off. */
static struct rq *lock_queue_of(const struct task *t, unsigned *cpu)
{
	for (;;) {
		*cpu = __atomic_load_n(&t->cpu, __ATOMIC_ACQUIRE);
		struct rq *rq = rqs[*cpu];
		rq_lock(rq);
		if (__atomic_load_n(&t->cpu, __ATOMIC_RELAXED) == *cpu)
			return rq;
		rq_unlock(rq);
	}
}

bool wake_task(struct task *t, u32 state_mask)
{
	unsigned long irq = quire_host_irq_save();
	unsigned cpu;
	struct rq *rq = lock_queue_of(t, &cpu);
	bool woken = false;

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
	unsigned home = this_cpu()->cpu;
	unsigned target = prio_real_time(t->prio) ? rq_place(t, home) : least_loaded(t, home);

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
	list_for_each (t, &rq->rt, run)
		useful |= idle & __atomic_load_n(&t->affinity, __ATOMIC_RELAXED);
	list_for_each (t, &rq->queue, run)
		if ((useful |= idle & __atomic_load_n(&t->affinity, __ATOMIC_RELAXED)))
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

void sched_set_prio(struct task *t, s32 prio)
{
	unsigned long irq = quire_host_irq_save();
	unsigned cpu;
	struct rq *rq = lock_queue_of(t, &cpu);
	bool queued = t->on_rq && !list_empty(&t->run), running = t->on_cpu && !queued;
	s32 before = t->prio;

	if (queued)
		dequeue(rq, t);
	t->prio = prio;
	t->budget = slice_of(t);
	if (queued)
		enqueue(rq, t, prio > before);
	if (running) {
		t->slice_end = time_ns() + (u64)t->budget;
		rq->prio = prio;
	}
	/* somebody else may be due on that CPU now */
	bool look = (queued && prio_real_time(prio) && prio < rq->prio) ||
		    (running && prio_real_time(before) && prio > before);
	rq_unlock(rq);
	if (look && cpu == this_cpu()->cpu)
		resched_set(RESCHED_WANTED);
	else if (look)
		smp_send_resched(cpu);
	bool resched = this_cpu()->resched;
	quire_host_irq_restore(irq);
	if (resched && !this_cpu()->preempt)
		preempt_schedule();
}
